//! From source to code for a device, by NVRTC.

use std::ffi::CString;
use std::fmt;
use std::str::FromStr;

pub use super::raw::Form;
use super::raw::{self, Compilation};
use crate::diag::{Code, Diagnostic};

/// A compute capability, such as `sm_90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture(pub u32);

impl Architecture {
    /// The oldest that the kernels are made for.
    pub const OLDEST: Architecture = Architecture(80);
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

impl FromStr for Architecture {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix("sm_").ok_or(())?;
        digits.parse().map(Architecture).map_err(|_| ())
    }
}

/// What was compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The code, or the text of PTX.
    pub code: Vec<u8>,
    /// What NVRTC said on the way: with `-v`, registers and spills of each kernel.
    pub log: String,
}

/// The options of a compilation. They are part of what a module in the cache is known by.
pub fn options(architecture: Architecture, form: Form) -> Vec<String> {
    let target = match form {
        Form::Cubin => format!("--gpu-architecture={architecture}"),
        Form::Ptx => format!("--gpu-architecture=compute_{}", architecture.0),
    };
    // Multiply-adds are fused; division and square roots are exact.
    let mut options = vec![target, "--std=c++17".into(), "--fmad=true".into(), "-lineinfo".into()];
    if form == Form::Cubin {
        options.push("--ptxas-options=-v".into());
    }
    options
}

/// The version of NVRTC, `13.0`; `None` where it cannot be loaded.
pub fn compiler() -> Option<String> {
    if !raw::nvrtc_is_present() {
        return None;
    }
    raw::nvrtc_version().ok().map(|(major, minor)| format!("{major}.{minor}"))
}

/// Compiles the source of a module.
///
/// # Errors
/// E0701 where NVRTC cannot be loaded, or refuses the source: with its log.
pub fn compile(source: &str, architecture: Architecture, form: Form) -> Result<Module, Diagnostic> {
    if architecture < Architecture::OLDEST {
        let message =
            format!("the kernels need {} or later, not {architecture}", Architecture::OLDEST);
        return Err(Diagnostic::new(Code::E0701, message));
    }
    if !raw::nvrtc_is_present() {
        return Err(Diagnostic::new(
            Code::E0701,
            "NVRTC, CUDA's run-time compiler, cannot be loaded",
        )
        .help("install it, and put the folder of libnvrtc.so on LD_LIBRARY_PATH"));
    }
    let source = CString::new(source)
        .map_err(|_| Diagnostic::new(Code::E0701, "the source of the kernels has a zero byte"))?;
    let Compilation { made, log } = raw::nvrtc_compile(&source, &options(architecture, form), form);
    match made {
        Ok(code) => Ok(Module { code, log }),
        Err(fault) => {
            let message =
                format!("NVRTC does not compile the kernels for {architecture}: {fault:?}");
            Err(Diagnostic::new(Code::E0701, message).note(log.trim().to_string()))
        }
    }
}
