//! Learning.

pub mod batches;
pub mod optimizer;
pub mod schedule;
