//! The engine that a command runs on.

use std::sync::Arc;

use super::args::{EngineName, Run};
use super::failure::Failure;
use super::run;
use super::size::ByteSize;
use crate::compile::Compiled;
use crate::diag::{Code, Diagnostic};
use crate::engine::Executable;
use crate::engine::cpu::CpuExecutable;
use crate::engine::cuda;
use crate::plan::{self, Plan, Purpose, Schedule, Sharing, plan};

/// Plans the circuit for rows in batches of `batch`, within the memory that the user allows, if any:
/// level by level where that fits, else depth first.
///
/// # Errors
/// E0702 when not even that fits.
pub fn planned(
    compiled: &Compiled,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Plan, Failure> {
    let make = |schedule| {
        let sharing = match run.no_sharing || run.engine != EngineName::Cpu {
            true => Sharing::Off,
            false => Sharing::WherePays,
        };
        let options = plan::Options { purpose, schedule, batch, sharing };
        plan(&compiled.circuit, &compiled.parameters, &options)
    };
    let wide = make(Schedule::Wide);
    let Some(limit) = run.memory else { return Ok(wide) };
    let needs = |plan: &Plan| ByteSize(plan.memory().activations(run::threads(run)) as u64);
    if needs(&wide) <= limit {
        return Ok(wide);
    }
    let deep = make(Schedule::Deep);
    if needs(&deep) <= limit {
        return Ok(deep);
    }
    let message = format!("the plan keeps {} of values, more than {limit}", needs(&deep));
    Err(Diagnostic::new(Code::E0702, message)
        .help("fewer threads or smaller batches need less")
        .into())
}

/// The circuit, ready to run on the engine that the user chose.
///
/// # Errors
/// E0701 where the engine cannot be had, E0702 where the memory does not suffice.
pub fn executable(
    compiled: &Arc<Compiled>,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Box<dyn Executable>, Failure> {
    run::check(run)?;
    let plan = planned(compiled, run, purpose, batch)?;
    if run.engine == EngineName::Cuda {
        let cache = super::cuda::cache();
        let threads = run::threads(run);
        return Ok(Box::new(cuda::executable(
            Arc::clone(compiled),
            plan,
            threads,
            cache.as_ref(),
        )?));
    }
    Ok(Box::new(CpuExecutable::new(Arc::clone(compiled), plan, run::threads(run))?))
}
