//! The engine that a command runs on.

use std::sync::Arc;

use super::args::{EngineName, Run};
use super::failure::Failure;
use super::run;
use super::size::ByteSize;
use crate::compile::Compiled;
use crate::diag::{Code, Diagnostic};
use crate::engine::Executable;
use crate::engine::cpu::{BoundedExecutable, CpuExecutable};
use crate::engine::cuda;
use crate::plan::{self, Plan, Purpose, Schedule, Sharing};

/// Plans the circuit for rows in batches of `batch`, within the memory that the user allows, if any:
/// level by level where that fits, else depth first, else segment by segment. Which one it is does not
/// depend on the number of threads; how many of these there is room for comes with it.
///
/// # Errors
/// E0702 when not even one thread has room.
pub fn planned(
    compiled: &Compiled,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<(Plan, usize), Failure> {
    let sharing = match run.no_sharing || run.engine != EngineName::Cpu {
        true => Sharing::Off,
        false => Sharing::WherePays,
    };
    let options = plan::Options { purpose, schedule: Schedule::Wide, batch, sharing };
    let (circuit, parameters) = (&compiled.circuit, &compiled.parameters);
    let threads = run::threads(run);
    let Some(ByteSize(limit)) = run.memory else {
        return Ok((plan::plan(circuit, parameters, &options), threads));
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let plan = plan::within(circuit, parameters, &options, limit).map_err(|least| {
        let (least, limit) = (ByteSize(least as u64), ByteSize(limit as u64));
        let message = format!("values and weights take {least} at least, more than {limit}");
        Diagnostic::new(Code::E0702, message).help(format!(
            "allow more by `--memory`, or take smaller batches: these are of {batch} rows"
        ))
    })?;
    let memory = plan.memory();
    let fitting = (1..=threads).rev().find(|&threads| memory.limited(threads) <= limit);
    Ok((plan, fitting.unwrap_or(1)))
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
    let (plan, threads) = planned(compiled, run, purpose, batch)?;
    if run.engine == EngineName::Cuda {
        let cache = super::cuda::cache();
        if plan.bounded.is_some() {
            let fault = Diagnostic::new(Code::E0702, "the CUDA engine runs no plan of segments");
            return Err(fault.help("allow more by `--memory`, or use the CPU engine").into());
        }
        return Ok(Box::new(cuda::executable(
            Arc::clone(compiled),
            plan,
            threads,
            cache.as_ref(),
        )?));
    }
    Ok(match plan.bounded {
        Some(_) => Box::new(BoundedExecutable::new(compiled, plan, threads)?),
        None => Box::new(CpuExecutable::new(Arc::clone(compiled), plan, threads)?),
    })
}
