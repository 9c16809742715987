//! Whole steps of learning on an engine.
//!
//! A step by [`Executable::gradient`](super::Executable::gradient) brings every gradient to the caller, whose
//! optimiser then goes through all parameters and moments. An engine may do better: a device keeps them in its own
//! memory, a processor updates what is still in its caches. So it owns them while it learns, and gives copies of them
//! away when the caller wants to evaluate, to write a checkpoint, or to end. What a step *is* stays with the caller:
//! it comes as numbers, an [`Update`] for each tensor.

use super::Tally;
use crate::data::Dataset;

/// A step of an optimiser on the parameters below `end` that no update before it has. Per parameter θ, whose
/// derivative of what is ascended is g, and with m and v for its moments, all in single precision and none of it fused:
///
/// ```text
/// d = decay · θ − g
/// m ← beta1 · m + fresh1 · d              fresh1 is one where it descends by velocity
/// v ← beta2 · v + fresh2 · d²             none there
/// θ ← shrink · θ − rate · m / (√v · unbias + epsilon)         rate · m there
/// ```
/// Kingma & Ba 2015, with `decay`; Loshchilov & Hutter 2019, with `shrink`; or gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The end of its parameters in the flat buffer.
    pub end: usize,
    /// Whether it descends by velocity: there is no mean square.
    pub descends: bool,
    /// Learning rate, with the correction of the mean's bias.
    pub rate: f32,
    /// L2 added to the gradient.
    pub decay: f32,
    /// What the parameter is multiplied by before.
    pub shrink: f32,
    /// What is kept of the mean of the gradient, or of the velocity.
    pub beta1: f32,
    /// What is taken of the gradient.
    pub fresh1: f32,
    /// What is kept of the mean square.
    pub beta2: f32,
    /// What is taken of the square.
    pub fresh2: f32,
    /// Corrects the bias of the root of the mean square.
    pub unbias: f32,
    /// Added to that root.
    pub epsilon: f32,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It was taken, and all numbers are finite.
    Taken,
    /// A log-likelihood is NaN or +∞, or a gradient is not finite: parameters and moments are as before. So they are,
    /// too, when the machine has failed, see [`Executable::fault`](super::Executable::fault).
    NotTaken,
    /// It was taken, and a parameter or a mean square is no longer finite.
    OutOfRange,
}

/// An engine that takes whole steps, with parameters and moments of its own.
pub trait Stepper {
    /// Takes parameters and their moments over, first and second; the second has no entries where updates descend by
    /// velocity. `data` is what it will learn from. From now on `Executable::load` and `Executable::gradient` set the
    /// parameters that the next step begins with: to evaluate others in between, begin again after that.
    fn begin(&mut self, data: &Dataset, parameters: &[f32], moments: [&[f32]; 2]);

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
