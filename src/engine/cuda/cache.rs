//! Compiled modules on disk, named by all that they depend on.
//!
//! Several processes may share a folder: files are written whole or not at all, and never changed. A file
//! begins with the hash of what follows, so that a damaged one is compiled anew. When a module is added and
//! the folder has grown beyond [`LARGEST`], the oldest are removed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::compile::{Architecture, Form, options};
use crate::data::write::write_whole;

/// Bytes of all modules of a folder, at most.
pub const LARGEST: u64 = 256 << 20;

/// A folder of modules.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    largest: u64,
}

const EXTENSION: &str = "module";
const HASH: usize = 32;

impl Cache {
    /// The cache in this folder, which is made when it is first written to.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Cache { folder: folder.into(), largest: LARGEST }
    }

    /// The name of a module: its source, architecture, options, and the compiler's version, hashed.
    pub fn key(source: &str, architecture: Architecture, form: Form, compiler: &str) -> String {
        let mut hash = blake3::Hasher::new();
        let options = options(architecture, form);
        for text in options.iter().map(String::as_str).chain([compiler, source]) {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize().to_hex().to_string()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key).with_extension(EXTENSION)
    }

    /// A module, if it is there and whole.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        let (hash, code) = bytes.split_at_checked(HASH)?;
        (blake3::hash(code).as_bytes() == hash).then(|| code.to_vec())
    }

    /// Keeps a module. A cache that cannot be written to is no cache; nothing depends on it.
    pub fn put(&self, key: &str, code: &[u8]) {
        let hash = *blake3::hash(code).as_bytes();
        let written = std::fs::create_dir_all(&self.folder).and_then(|()| {
            write_whole(&self.path(key), |out| {
                out.write_all(&hash)?;
                out.write_all(code)
            })
        });
        if written.is_ok() {
            self.shrink(&self.path(key));
        }
    }

    /// Removes the oldest modules, but for the one kept last, until the others are small enough.
    fn shrink(&self, newest: &Path) {
        let mut modules = self.modules();
        modules.sort();
        let mut total: u64 = modules.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, path, bytes) in modules {
            if total <= self.largest {
                return;
            }
            // Another process may have removed it; then it is gone, which is what is wanted.
            if path != newest && std::fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
    }

    /// When each module was written, where it is, and its size.
    fn modules(&self) -> Vec<(SystemTime, PathBuf, u64)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let modules = entries.flatten().filter_map(|entry| {
            let (path, about) = (entry.path(), entry.metadata().ok()?);
            let is_module = path.extension().is_some_and(|extension| extension == EXTENSION);
            is_module.then_some((about.modified().ok()?, path, about.len()))
        });
        modules.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> String {
        Cache::key("source", Architecture(80 + n), Form::Cubin, "13.0")
    }

    #[test]
    fn a_module_is_found_by_all_that_it_depends_on_and_by_nothing_less() {
        let keys = [
            key(0),
            key(1),
            Cache::key("source", Architecture(80), Form::Ptx, "13.0"),
            Cache::key("source", Architecture(80), Form::Cubin, "13.1"),
            Cache::key("source ", Architecture(80), Form::Cubin, "13.0"),
        ];
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(key(0), key(0));
    }

    #[test]
    fn what_was_put_is_found_unless_it_was_damaged() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = Cache::new(folder.path().join("made when first written"));
        assert_eq!(cache.get(&key(0)), None);
        cache.put(&key(0), b"code");
        assert_eq!(cache.get(&key(0)).as_deref(), Some(&b"code"[..]));
        let path = cache.path(&key(0));
        let mut bytes = std::fs::read(&path)?;
        bytes.pop();
        std::fs::write(&path, bytes)?;
        assert_eq!(cache.get(&key(0)), None);
        Ok(())
    }

    #[test]
    fn the_oldest_modules_make_room_and_other_files_stay() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("other"), [0; 1000])?;
        let cache = Cache { largest: 3 * (HASH as u64 + 100), ..Cache::new(folder.path()) };
        for n in 0..5 {
            cache.put(&key(n), &[n as u8; 100]);
            let file = std::fs::File::open(cache.path(&key(n)))?;
            file.set_modified(
                SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n)),
            )?;
        }
        let kept: Vec<bool> = (0..5).map(|n| cache.get(&key(n)).is_some()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
        assert!(folder.path().join("other").exists());
        Ok(())
    }
}
