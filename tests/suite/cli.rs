//! The command as people and programs use it: the binary, run in folders of its own.

mod bad_input;
mod cuda;
mod em;
mod files;
mod foreign;
mod help;
mod image;
mod learned;
mod memory;
mod query;
mod readme;
mod resume;
mod round_trip;
mod sharing;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the command came to.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Done {
    /// The JSON object that is all of standard output.
    fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error} in `{}`; stderr: {}", self.stdout, self.stderr),
        }
    }

    /// Itself, if all went well.
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }
}

/// A folder that is gone after the test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    /// A folder with a small circuit, `c.ron`, and data for it, `train.data` and `test.data`.
    fn with_circuit() -> Self {
        let folder = Folder::new();
        folder.write("c.ron", CIRCUIT);
        folder.write("train.data", rows(120));
        folder.write("test.data", rows(40));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_default()
    }

    /// Names of all files, in order.
    fn files(&self) -> Vec<String> {
        let entries = self.0.path().read_dir().unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The command, to be run in this folder.
    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pcc"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null());
        command.env_remove("COLUMNS").env_remove("CLICOLOR_FORCE");
        command
    }

    /// Runs a command line; words are parted by spaces.
    fn pcc(&self, line: &str) -> Done {
        let output = self.command(line.split_whitespace()).output().unwrap();
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

const CIRCUIT: &str = r#"(
    variables: Binary(6),
    structure: RatSpn(units: 3, replicas: 4, seed: 1),
    parameterizer: Hyper(embedding: 3, hidden: [5]),
)
"#;

/// Rows of six bits, in which neighbours tend to be equal.
fn rows(count: u32) -> String {
    let bits = |row: u32| {
        let noise = row.wrapping_mul(2_654_435_761) >> 7;
        let start = row & 1;
        let bits = (0..6).map(|bit| (start ^ u32::from(noise >> (3 * bit) & 7 == 0)).to_string());
        bits.collect::<Vec<_>>().join(",")
    };
    (0..count).map(|row| bits(row) + "\n").collect()
}

/// The keys of a JSON object, in order.
fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Whether a file is there.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
