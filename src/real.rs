//! Arithmetic that holds for `f32` and `f64`: what engines, leaves and parameterizers are generic
//! over, so that a formula is written once and checked in double precision.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

/// A floating-point number: `f32` where speed counts, `f64` where truth does.
pub trait Real:
    num_traits::Float
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
    + Default
    + Debug
    + Display
    + Send
    + Sync
    + 'static
{
    /// Rounds to the nearest number of this type.
    fn of(value: f64) -> Self;
    /// The same value in double precision.
    fn double(self) -> f64;
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn double(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn double(self) -> f64 {
        self
    }
}

/// ln Σ exp(xᵢ) of log-domain numbers; −∞ of none, and of −∞ alone. Never NaN for inputs that are
/// not NaN or +∞.
pub fn log_sum_exp<T: Real>(logs: impl Iterator<Item = T> + Clone) -> T {
    let top = logs.clone().fold(T::neg_infinity(), T::max);
    if top == T::neg_infinity() {
        return top;
    }
    top + logs.map(|log| (log - top).exp()).sum::<T>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_of_nothing_possible_is_minus_infinity() {
        assert_eq!(log_sum_exp(std::iter::empty::<f64>()), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp([f64::NEG_INFINITY; 2].into_iter()), f64::NEG_INFINITY);
        let halves = [0.5f64.ln() - 2000.0; 2];
        assert!((log_sum_exp(halves.into_iter()) + 2000.0).abs() < 1e-12);
    }
}
