//! Gaussian leaves.
//!
//! Raw parameters of a unit are [mean, r] with variance min + e^r, or, under a finite greatest
//! variance, min + (max − min) / (1 + e^−r), as Peharz et al. 2020 (Einsum Networks) bound it.

use std::f64::consts::PI;

use rand::Rng;

use crate::real::Real;

/// The bounds of the variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Least variance, above zero.
    pub min_var: f64,
    /// Greatest variance; +∞ for none.
    pub max_var: f64,
}

/// Natural parameters of one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Density<T> {
    /// Mean.
    pub mean: T,
    /// Variance.
    pub var: T,
}

impl<T: Real> Density<T> {
    /// ln N(x; mean, var), in nats.
    pub fn log(self, x: T) -> T {
        let d = x - self.mean;
        -(d * d / self.var + self.var.ln() + T::of((2.0 * PI).ln())) / T::of(2.0)
    }
}

impl Bounds {
    /// Raw parameters of `[mean, variance]`; a variance outside the bounds is moved just inside.
    pub fn raw_of(self, natural: &[f64], raw: &mut [f64]) {
        let over = (natural[1] - self.min_var).max(1e-12 * self.min_var.max(1e-12));
        raw[0] = natural[0];
        raw[1] = if self.max_var.is_finite() {
            let range = self.max_var - self.min_var;
            let share = (over / range).clamp(1e-6, 1.0 - 1e-6);
            (share / (1.0 - share)).ln()
        } else {
            over.ln()
        };
    }

    /// The variance of raw parameter `r`, and its derivative by `r`.
    pub fn variance<T: Real>(self, r: T) -> (T, T) {
        let (over, d_over) = self.over(r);
        (T::of(self.min_var) + over, d_over)
    }

    /// Mean and variance of raw parameters.
    pub fn density<T: Real>(self, raw: &[T]) -> Density<T> {
        Density { mean: raw[0], var: self.variance(raw[1]).0 }
    }

    /// What the variance has over its least value, and the derivative of that by `r`.
    fn over<T: Real>(self, r: T) -> (T, T) {
        if self.max_var.is_finite() {
            let range = T::of(self.max_var - self.min_var);
            let share = T::one() / (T::one() + (-r).exp());
            (range * share, range * share * (T::one() - share))
        } else {
            (r.exp(), r.exp())
        }
    }

    /// Adds to `d_raw` the derivative of the log-density at `x` times `d_log`.
    pub fn log_backward<T: Real>(self, raw: &[T], x: T, d_log: T, d_raw: &mut [T]) {
        let (var, d_over) = self.variance(raw[1]);
        let d = x - raw[0];
        d_raw[0] += d_log * d / var;
        d_raw[1] += d_log * d_over * (d * d / var - T::one()) / (T::of(2.0) * var);
    }
}

/// A draw from N(0, 1), by Box and Muller.
pub fn standard_normal(rng: &mut impl Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (2.0 * PI * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Bounds; 2] =
        [Bounds { min_var: 1e-6, max_var: f64::INFINITY }, Bounds { min_var: 1e-6, max_var: 0.5 }];

    #[test]
    fn the_density_integrates_to_one() {
        for bounds in BOUNDS {
            let density = bounds.density(&[0.4, -1.2]);
            let (steps, width) = (20_000, 20.0);
            let sum: f64 = (0..steps)
                .map(|i| density.log(width * ((i as f64 + 0.5) / steps as f64 - 0.5)).exp())
                .sum();
            assert!((sum * width / steps as f64 - 1.0).abs() < 1e-9, "{bounds:?}");
        }
    }

    #[test]
    fn raw_parameters_give_back_mean_and_variance() {
        for bounds in BOUNDS {
            let mut raw = [0.0; 2];
            bounds.raw_of(&[-3.0, 0.25], &mut raw);
            let density = bounds.density(&raw);
            assert_eq!(density.mean, -3.0);
            assert!((density.var - 0.25).abs() < 1e-12, "{bounds:?} {density:?}");
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let (raw, x, h) = ([0.4, -1.2], 1.3, 1e-6);
        for bounds in BOUNDS {
            let mut d_raw = [0.0; 2];
            bounds.log_backward(&raw, x, 3.0, &mut d_raw);
            for i in 0..2 {
                let at = |step: f64| {
                    let mut moved = raw;
                    moved[i] += step;
                    bounds.density(&moved).log(x)
                };
                let slope = 3.0 * (at(h) - at(-h)) / (2.0 * h);
                assert!((slope - d_raw[i]).abs() < 1e-7, "{bounds:?} {i}: {slope} {}", d_raw[i]);
            }
        }
    }
}
