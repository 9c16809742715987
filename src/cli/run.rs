//! The choices of how to run, made once for all verbs.

use super::args::{EngineName, PrecisionName, Run};
use super::failure::Failure;
use crate::circuit::Weights;
use crate::compile::Compiled;
use crate::diag::{Code, Diagnostic};
use crate::engine::cuda;

/// Checks that what was chosen can be had, and sets the number of threads.
///
/// # Errors
/// E0701 for the CUDA engine on a machine that cannot run it, E0702 for a precision that only this engine has.
pub fn check(run: &Run) -> Result<(), Failure> {
    check_for(run, run.engine == EngineName::Cuda)
}

/// The same for what is compiled to run on a device, or is not.
///
/// # Errors
/// As [`check`].
pub fn check_for(run: &Run, device: bool) -> Result<(), Failure> {
    if run.precision != PrecisionName::F32 && !device {
        let fault =
            Diagnostic::new(Code::E0702, "the CPU engine has single precision and no other");
        let help =
            "leave `--precision` out, or add `--engine cuda`, or to compile `--target cuda:sm_NN`";
        return Err(fault.help(help).into());
    }
    if run.engine == EngineName::Cuda {
        cuda::probe()?;
    }
    if run.threads.is_some() {
        // It fails only where the threads have been made before, by a check of the same choice.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads(run)).build_global();
    }
    Ok(())
}

/// How many threads to use: those asked for, or as many as the machine has.
pub fn threads(run: &Run) -> usize {
    match run.threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// All mixture weights of a circuit as written, learnable or not.
pub fn weights(compiled: &Compiled) -> usize {
    compiled.written.weights().values().map(Weights::len).sum()
}

/// How to run where the command line leaves no choice.
pub fn defaults() -> Run {
    Run {
        engine: EngineName::Cpu,
        precision: PrecisionName::F32,
        threads: None,
        memory: None,
        no_sharing: false,
        no_rewrite: false,
    }
}
