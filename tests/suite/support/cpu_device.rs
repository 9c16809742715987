//! A device for the CUDA engine that needs none: the kernels' text, compiled by the machine's C++ compiler
//! with sanitizers on, in a process that serves memory and launches through a pipe.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pcc::diag::{Code, Diagnostic};
use pcc::engine::cuda::{Buffer, Device, Kernel, Launch, Specialisation, source};

/// The folder of the headers that kernels on the processor need.
pub const HEADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/host");

/// The order in which the threads of a block run between barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
    Shuffled,
}

/// Kernels compiled for this machine's processor.
pub struct Compiled {
    program: PathBuf,
    pub specialisation: Specialisation,
}

impl Compiled {
    /// Compiles a module; `None` where there is no C++ compiler.
    ///
    /// # Panics
    /// With the compiler's words, where it refuses the source.
    pub fn new(specialisation: Specialisation) -> Option<Compiled> {
        has_compiler().then(|| Compiled::of_text(&source(&specialisation), specialisation))
    }

    /// Compiles this text of a module's source.
    ///
    /// # Panics
    /// As [`Compiled::new`].
    pub fn of_text(text: &str, specialisation: Specialisation) -> Compiled {
        let names: Vec<&str> = Kernel::ALL.iter().map(|kernel| kernel.name()).collect();
        let text = format!(
            "#include \"cuda_on_cpu.h\"\n{text}\n#define KERNELS {}\n#include \"serve.h\"\n",
            names.join(", ")
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let headers = ["cuda_on_cpu.h", "serve.h"];
        let headers =
            headers.map(|name| std::fs::read_to_string(format!("{HEADERS}/{name}")).unwrap());
        let key = blake3::hash(format!("{text}{}", headers.concat()).as_bytes()).to_hex();
        let program = folder.join(format!("kernels-{}", &key[..16]));
        if !program.exists() {
            compile(&text, &program);
        }
        Compiled { program, specialisation }
    }

    /// Starts a process that runs the kernels.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, order: Order) -> CpuDevice {
        let mut child = Command::new(&self.program)
            .arg(format!("{order:?}").to_lowercase())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take());
        CpuDevice { to, from: from.unwrap(), child, allocations: 0 }
    }
}

/// Whether there is a C++ compiler.
pub fn has_compiler() -> bool {
    let version = Command::new("c++").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn compile(text: &str, program: &Path) {
    let source = program.with_extension("cpp");
    std::fs::write(&source, text).unwrap();
    // Renamed when it is whole: another test may look for it.
    let partial = program.with_extension("partial");
    run(Command::new("c++").args(OPTIONS).args(["-I", HEADERS, "-o"]).args([&partial, &source]));
    std::fs::rename(partial, program).unwrap();
}

/// How kernels are compiled.
pub const OPTIONS: [&str; 13] = [
    "-std=c++17",
    "-O1",
    "-g1",
    "-Wall",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-unused-function",
    "-Wno-uninitialized",
    "-Wno-maybe-uninitialized",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
];

/// What a command prints.
///
/// # Panics
/// With what it says, where it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process that runs kernels.
pub struct CpuDevice {
    to: Option<ChildStdin>,
    from: ChildStdout,
    child: Child,
    allocations: usize,
}

impl CpuDevice {
    fn send(&mut self, request: u8, numbers: &[u64], data: &[u8]) -> Result<(), Diagnostic> {
        let mut bytes = vec![request];
        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(data);
        let sent = self.to.as_mut().map(|to| to.write_all(&bytes).and_then(|()| to.flush()));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.lost()),
        }
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        self.from.read_exact(bytes).map_err(|_| self.lost())
    }

    /// What the process said when it ended.
    fn lost(&mut self) -> Diagnostic {
        self.to = None;
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut said);
        }
        Diagnostic::new(Code::E0701, format!("the kernels stopped: {said}"))
    }
}

impl Drop for CpuDevice {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.wait();
    }
}

impl Device for CpuDevice {
    fn free(&self) -> Result<usize, Diagnostic> {
        Ok(usize::MAX)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic> {
        self.send(b'A', &[bytes as u64], &[])?;
        let mut address = [0; 8];
        self.receive(&mut address)?;
        self.allocations += 1;
        let (index, address) = (self.allocations - 1, u64::from_le_bytes(address));
        Ok(Buffer { index, address, bytes })
    }

    fn write_at(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), Diagnostic> {
        assert!(at + bytes.len() <= buffer.bytes);
        self.send(b'W', &[buffer.address + at as u64, bytes.len() as u64], bytes)
    }

    fn read(&mut self, buffer: Buffer, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        assert!(bytes.len() <= buffer.bytes);
        self.send(b'R', &[buffer.address, bytes.len() as u64], &[])?;
        self.receive(bytes)
    }

    fn launch(&mut self, launches: &[Launch], buffers: &[u64]) -> Result<(), Diagnostic> {
        for launch in launches {
            let kernel = Kernel::ALL.iter().position(|&kernel| kernel == launch.kernel).unwrap();
            let mut numbers = vec![kernel as u64];
            numbers.extend([launch.blocks, launch.threads, launch.shared_bytes].map(u64::from));
            numbers.extend(buffers);
            self.send(b'L', &numbers, &[])?;
            self.receive(&mut [0])?;
        }
        Ok(())
    }

    fn arithmetic(&self) -> String {
        "kernels on the processor".into()
    }
}
