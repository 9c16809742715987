//! Whole steps of learning on an engine.
//!
//! A step by [`Executable::gradient`](super::Executable::gradient) brings every gradient to the caller, whose
//! optimiser then goes through all parameters and moments. An engine may do better: a device keeps them in its own
//! memory, a processor updates what is still in its caches. So it owns them while it learns, and gives copies of them
//! away when the caller wants to evaluate, to write a checkpoint, or to end. What a step *is* stays with the caller:
//! it comes as numbers, an [`Update`] for each tensor, whose arithmetic is the same wherever it is done.

use super::{Tally, Update};
use crate::data::Dataset;

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It was taken, and all numbers are finite.
    Taken,
    /// A log-likelihood is NaN or +∞, or a gradient is not finite: parameters and moments are as before. So they are,
    /// too, when the machine has failed, see [`Executable::fault`](super::Executable::fault).
    NotTaken,
    /// It was taken, and a parameter or a mean square is no longer finite. An engine that updates some parameters
    /// while the gradients of others are not yet known may find a gradient that is not finite too late: then this is
    /// what became of the step.
    OutOfRange,
}

/// An engine that takes whole steps, with parameters and moments of its own.
pub trait Stepper {
    /// Takes parameters and their moments over, first and second; the second has no entries where updates descend by
    /// velocity. `data` is what it will learn from. From now on `Executable::load` and `Executable::gradient` set the
    /// parameters that the next step begins with: to evaluate others in between, begin again after that.
    ///
    /// Returns whether it has begun. An engine that has no room for the data has not, and nothing has changed: its
    /// caller takes the steps, batch by batch.
    #[must_use]
    fn begin(&mut self, data: &Dataset, parameters: &[f32], moments: [&[f32]; 2]) -> bool;

    /// Takes a step by the gradient of Σ ln p over these rows of `data`, the data that it has begun with. There is an
    /// update for each tensor, in order. Writes ln p of each row, in nats, under the parameters before the step.
    /// Weights made before are no longer those of the parameters: to evaluate, load.
    ///
    /// # Panics
    /// When the plan is for evaluation only, there are more rows than its batch, or it has not begun.
    fn step(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        updates: &[Update],
        log_p: &mut [f64],
    ) -> (Tally, Stepped);

    /// Copies parameters and moments out. Where the machine has failed, leaves them as they are.
    fn read(&mut self, parameters: &mut [f32], moments: [&mut [f32]; 2]);
}
