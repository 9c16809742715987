//! Files that a test writes many times.

use std::path::Path;

/// Puts other contents in the place of a file. It is removed first, for some file systems put a file
/// that is overwritten on the disk at once, which takes longer than all that is tested.
///
/// # Panics
/// When the file cannot be removed or written.
pub fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}
