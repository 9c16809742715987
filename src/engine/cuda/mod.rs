//! The CUDA engine: the same plan as the CPU engine's, run by fused kernels on an NVIDIA GPU.
//!
//! A thread owns one row of the batch, a block some rows of one part. The kernels, hand-written under
//! `kernels/`, walk the steps of a part's program, which lie in tables; they hold the units of a value in
//! registers where these are few, mantissas with a shared power-of-two exponent as everywhere. Gradients by
//! coefficients are summed over a block's rows in a fixed order, then over blocks: no two runs differ.
//!
//! [`mod@tables`] turns a plan into tables, [`mod@emit`] makes the source, [`mod@buffers`] knows all memory
//! before anything runs, [`mod@executable`] runs a plan on any [`Device`].

mod buffers;
mod device;
mod emit;
mod executable;
mod tables;

pub use self::device::{Buffer, Device, Kernel, Launch};
pub use self::emit::{Specialisation, WIDEST, source};
pub use self::executable::DeviceExecutable;
pub use self::tables::Tables;
