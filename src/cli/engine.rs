//! The engine that a command runs on.

use std::sync::Arc;

use super::args::{EngineName, Run};
use super::cuda;
use super::failure::Failure;
use super::run;
use super::size::ByteSize;
use crate::compile::Compiled;
use crate::diag::{Code, Diagnostic};
use crate::engine::cpu::{BoundedExecutable, CpuExecutable};
use crate::engine::cuda::Layout;
use crate::engine::{self, Executable};
use crate::plan::{self, LANES, Plan, Purpose, Schedule, Sharing};

/// Rows evaluated together, where there is room.
const MOST_EVALUATED: u32 = 512;

/// A plan and what memory allows it.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Threads that there is room for.
    pub threads: usize,
    /// Bytes for what is found in data that are prepared.
    pub spare: usize,
}

/// Plans the circuit for rows in batches of `batch`, within the memory that the user allows, if any:
/// level by level where that fits, else depth first, else segment by segment. Which one it is does not
/// depend on the number of threads, nor does what is kept of data, on both of which bits depend.
///
/// # Errors
/// E0702 when not even one thread has room.
pub fn planned(
    compiled: &Compiled,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Planned, Failure> {
    let sharing = match run.no_sharing {
        true => Sharing::Off,
        false => Sharing::WherePays,
    };
    let options = plan::Options { purpose, schedule: Schedule::Wide, batch, sharing };
    let threads = run::threads(run);
    if run.engine == EngineName::Cuda {
        let plan = laid_out(compiled, run, purpose, batch, usize::MAX)?.plan().clone();
        return Ok(Planned { plan, threads, spare: usize::MAX });
    }
    let Some(limit) = run.memory else {
        let plan = plan::plan(&compiled.circuit, &compiled.parameters, &options);
        return Ok(Planned { plan, threads, spare: usize::MAX });
    };
    let plan = within(compiled, &options, limit)?;
    let memory = plan.memory();
    let spare = spare(&plan, Some(limit));
    // While it looks for rows that agree an engine may hold as much again as it keeps.
    let room = limit.bytes() - 2 * spare;
    let fitting = (1..=threads).rev().find(|&threads| memory.limited(threads) <= room);
    Ok(Planned { plan, threads: fitting.unwrap_or(1), spare })
}

/// Bytes of a limit for what is found in data that are prepared: a quarter of those that one thread
/// leaves.
pub fn spare(plan: &Plan, limit: Option<ByteSize>) -> usize {
    let left = |limit: ByteSize| limit.bytes().saturating_sub(plan.memory().limited(1));
    limit.map_or(usize::MAX, |limit| left(limit) / 4)
}

/// A plan that one thread has room for.
///
/// # Errors
/// E0702 if there is none; it says what the least one takes.
pub fn within(
    compiled: &Compiled,
    options: &plan::Options,
    limit: ByteSize,
) -> Result<Plan, Diagnostic> {
    let planned = plan::within(&compiled.circuit, &compiled.parameters, options, limit.bytes());
    planned.map_err(|least| {
        let (least, batch) = (ByteSize(least as u64), options.batch);
        let message = format!("values and weights take {least} at least, more than {limit}");
        Diagnostic::new(Code::E0702, message).help(format!(
            "allow more by `--memory`, or take smaller batches: these are of {batch} rows"
        ))
    })
}

/// The circuit, ready to evaluate rows, as many together as memory has room for.
///
/// # Errors
/// As [`executable`], for the fewest rows.
pub fn evaluator(compiled: &Arc<Compiled>, run: &Run) -> Result<Box<dyn Executable>, Failure> {
    let mut batch = MOST_EVALUATED;
    loop {
        match executable(compiled, run, Purpose::Evaluate, batch) {
            Err(failure) if failure.lacks_room() && batch > LANES as u32 => batch /= 2,
            found => return found,
        }
    }
}

/// The circuit, ready to run on the engine that the user chose.
///
/// # Errors
/// E0701 where the engine cannot be had, E0702 where the memory that is allowed does not suffice, E0705 where a
/// device's does not.
pub fn executable(
    compiled: &Arc<Compiled>,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Box<dyn Executable>, Failure> {
    run::check(run)?;
    if run.engine == EngineName::Cuda {
        return on_device(compiled, run, purpose, batch);
    }
    let Planned { plan, threads, spare } = planned(compiled, run, purpose, batch)?;
    Ok(match plan.bounded {
        Some(_) => Box::new(BoundedExecutable::new(compiled, plan, threads)?),
        None => Box::new(CpuExecutable::new(Arc::clone(compiled), plan, threads)?.keeping(spare)),
    })
}

/// Rows that a device takes together for queries: a way down keeps every value, but in as many arenas as there
/// are blocks.
const ON_DEVICE: u32 = 4096;

/// The circuit, ready for queries on the engine that the user chose; `None` where it is to be walked as it is
/// written: with a limit on memory, as the ways down read every value, and where a device has no room for that.
///
/// # Errors
/// As [`executable`].
pub fn for_queries(
    compiled: &Arc<Compiled>,
    run: &Run,
) -> Result<Option<Box<dyn Executable>>, Failure> {
    if run.memory.is_some() {
        return Ok(None);
    }
    let batch = match run.engine {
        EngineName::Cpu => LANES as u32,
        EngineName::Cuda => ON_DEVICE,
    };
    match executable(compiled, run, Purpose::Query, batch) {
        Err(failure) if failure.lacks_room() => Ok(None),
        made => made.map(Some),
    }
}

/// The circuit laid out for a device, within the memory that the user allows there and `free`, what it has.
///
/// # Errors
/// E0702 where the one does not suffice, E0705 where the other does not.
pub fn laid_out(
    compiled: &Compiled,
    run: &Run,
    purpose: Purpose,
    batch: u32,
    free: usize,
) -> Result<Layout, Diagnostic> {
    let (schedule, sharing) = (Schedule::Wide, Sharing::Off);
    cuda::layout(compiled, &plan::Options { purpose, schedule, batch, sharing }, run, free)
}

/// The same as [`executable`] on the first GPU, within the memory that the user allows there and that it has free.
///
/// # Errors
/// As [`executable`].
fn on_device(
    compiled: &Arc<Compiled>,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Box<dyn Executable>, Failure> {
    let layout = laid_out(compiled, run, purpose, batch, engine::cuda::free()?)?;
    let (threads, cache) = (run::threads(run), cuda::cache());
    let made = engine::cuda::executable(Arc::clone(compiled), layout, threads, cache.as_ref());
    Ok(Box::new(made?))
}
