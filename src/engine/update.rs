//! The arithmetic of a step of learning.
//!
//! The loops are plain; they are compiled once for each instruction set and the best is taken when
//! they run. Additions and products are never fused, so that all of them give the same bits.

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

/// The bits of +∞: those of the magnitude of a number are below if and only if it is finite.
const INFINITE: u32 = f32::INFINITY.to_bits();

/// The magnitude of a number, as bits that compare as magnitudes do.
#[inline(always)]
fn magnitude(x: f32) -> u32 {
    x.to_bits() & !(1 << 31)
}

/// Whether all numbers are finite.
pub fn all_finite(numbers: &[f32]) -> bool {
    all_below(numbers, f32::INFINITY)
}

/// Whether the magnitudes of all numbers are below a limit.
pub(crate) fn all_below(numbers: &[f32], limit: f32) -> bool {
    let worst = || numbers.iter().map(|&x| magnitude(x)).fold(0, u32::max);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || worst() < limit.to_bits(),
    )
}

impl Update {
    /// Updates parameters by the gradient of what is to be ascended, and their moments; the second has
    /// no entries where it descends by velocity. Returns whether all parameters and second moments are
    /// finite.
    pub fn apply(
        &self,
        parameters: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> bool {
        let arch = pulp::Arch::new();
        let worst = if self.descends {
            arch.dispatch(
                #[inline(always)]
                || descend(self, parameters, gradient, first),
            )
        } else {
            arch.dispatch(
                #[inline(always)]
                || by_moments(self, parameters, gradient, first, second),
            )
        };
        worst < INFINITE
    }
}

/// Returns the greatest magnitude among parameters and second moments.
#[inline(always)]
fn by_moments(by: &Update, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) -> u32 {
    let mut worst = 0;
    for (((theta, &g), m), v) in theta.iter_mut().zip(g).zip(m).zip(v) {
        let d = by.decay * *theta - g;
        *m = by.beta1 * *m + by.fresh1 * d;
        *v = by.beta2 * *v + by.fresh2 * (d * d);
        let root = v.sqrt() * by.unbias + by.epsilon;
        *theta = by.shrink * *theta - by.rate * (*m / root);
        worst = worst.max(magnitude(*theta)).max(magnitude(*v));
    }
    worst
}

/// Returns the greatest magnitude among parameters.
#[inline(always)]
fn descend(by: &Update, theta: &mut [f32], g: &[f32], m: &mut [f32]) -> u32 {
    let mut worst = 0;
    for ((theta, &g), m) in theta.iter_mut().zip(g).zip(m) {
        let d = by.decay * *theta - g;
        *m = by.beta1 * *m + d;
        *theta -= by.rate * *m;
        worst = worst.max(magnitude(*theta));
    }
    worst
}
