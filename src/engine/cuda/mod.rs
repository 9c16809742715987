//! The CUDA engine: the same plan as the CPU engine's, run by fused kernels on an NVIDIA GPU.
//!
//! A thread owns one row of the batch, a block some rows of one part. The kernels, hand-written under
//! `kernels/`, walk the steps of a part's program, which lie in tables; they hold the units of a value in
//! registers where these are few, mantissas with a shared power-of-two exponent as everywhere. Gradients by
//! coefficients are summed over a block's rows in a fixed order, then over blocks: no two runs differ.
//!
//! `tables` turns a plan into tables, `emit` makes the source, `layout` knows all memory before anything runs,
//! `executable` and `passes` run a plan on any [`Device`], `stepper` takes whole steps of learning there, `queries`
//! draws rows and finds conditionals, `completions` completes rows, `compile` and `cache` make code of source and keep it, `gpu` is the device that
//! the driver offers, and `raw` has the calls that only promises make safe.

mod arenas;
mod cache;
mod compile;
mod completions;
mod device;
mod emit;
mod executable;
mod gpu;
mod held;
mod launches;
mod layout;
mod manifest;
mod passes;
mod precision;
mod queries;
mod raw;
mod stepper;
mod tables;
mod weights;

use std::sync::Arc;

pub use self::arenas::Arenas;
pub use self::cache::Cache;
pub use self::compile::{Architecture, Form, Module, compile, compiler};

pub use self::device::{Buffer, Device, Kernel, Launch};
pub use self::emit::{Specialisation, WIDEST, source};
pub use self::executable::DeviceExecutable;
pub use self::gpu::Gpu;
pub use self::layout::Layout;
pub use self::manifest::Manifest;
pub use self::precision::{Accuracy, Precision};
pub use self::queries::Drawn;
use crate::compile::Compiled;
use crate::diag::Diagnostic;

/// A plan, ready to run on the first GPU of this machine.
pub type CudaExecutable = DeviceExecutable<Gpu>;

/// Whether this machine can run the engine.
///
/// # Errors
/// E0701 without a driver, with one that is too old, and without a device that the kernels are made for.
pub fn probe() -> Result<Architecture, Diagnostic> {
    gpu::open().map(|(_, architecture)| architecture)
}

/// Bytes of memory that the first GPU of this machine has free.
///
/// # Errors
/// As [`probe`]; E0701 for a device that does not say.
pub fn free() -> Result<usize, Diagnostic> {
    gpu::open().and_then(|(context, _)| gpu::free(&context))
}

/// Prepares a layout of `compiled` for the first GPU of this machine; `threads` are the host's, 0 for as many as it
/// has. Modules are looked for in the cache, and kept there.
///
/// # Errors
/// E0701 for what the machine lacks, E0702 for a plan that may not be run, E0705 for one whose least blocks and shards
/// take more memory than is free.
pub fn executable(
    compiled: Arc<Compiled>,
    layout: Layout,
    threads: usize,
    cache: Option<&Cache>,
) -> Result<CudaExecutable, Diagnostic> {
    let specialisation = layout.specialisation();
    let gpu = Gpu::new(&source(specialisation), specialisation.shared_bytes(), cache)?;
    DeviceExecutable::new(compiled, layout, gpu, threads)
}
