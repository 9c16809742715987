//! What queries ask of one unit of a leaf: moments, entropy, and the mean of another's logarithm.
//!
//! States and counts stand for themselves as numbers. Logarithms are natural.

use std::f64::consts::{E, PI};

use crate::leaf::counts::ln_factorial;
use crate::leaf::gaussian::{Bounds, Density};
use crate::leaf::{Dist, Family};

/// Standard deviations on either side of its mean within which a Poisson's counts are summed, with as
/// many more counts as that squared: what lies beyond has less than e^−200 of the mass.
const DEVIATIONS: f64 = 20.0;

/// One unit of a leaf's distributions.
#[derive(Clone, Copy)]
pub(super) struct LeafUnit<'a> {
    /// The distributions.
    pub dist: &'a Dist,
    /// Which of them.
    pub unit: usize,
    /// Its raw parameters.
    pub raw: &'a [f64],
}

/// How one unit sees another that lies over the same variable; see [`LeafUnit::seen_through`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// The mass that the first has where the second has some.
    pub mass: f64,
    /// The mean, over that mass, of the second's logarithm: ∫ p(x) [q(x) > 0] ln q(x) dx.
    pub log: f64,
}

impl Seen {
    /// Two that have nothing in common.
    pub(super) const NOTHING: Seen = Seen { mass: 0.0, log: 0.0 };
    /// Two that say the same for certain.
    pub(super) const CERTAIN: Seen = Seen { mass: 1.0, log: 0.0 };
}

impl LeafUnit<'_> {
    /// ln p(value), in nats.
    fn log(&self, value: f64) -> f64 {
        self.dist.log_value(self.unit, self.raw, Some(value as f32))
    }

    /// Each state of a discrete leaf; none of one over a real variable.
    fn states(&self) -> impl Iterator<Item = f64> + use<> {
        (0..self.dist.family.states().unwrap_or(0)).map(|state| state as f64)
    }

    /// The probability of each state of a discrete leaf.
    pub(super) fn probabilities(&self) -> impl Iterator<Item = f64> {
        self.states().map(|state| self.log(state).exp())
    }

    /// Mean and variance.
    pub(super) fn moments(&self) -> (f64, f64) {
        match self.dist.family {
            Family::Gaussian { min_var, max_var } => {
                let Density { mean, var } = Bounds { min_var, max_var }.density(self.raw);
                (mean, var)
            }
            Family::Poisson => (self.rate(), self.rate()),
            Family::Indicators { .. } => (self.unit as f64, 0.0),
            Family::Bernoulli | Family::Categorical { .. } | Family::Binomial { .. } => {
                let p: Vec<f64> = self.probabilities().collect();
                let mean_of = |of: &dyn Fn(f64) -> f64| -> f64 {
                    p.iter().zip(self.states()).map(|(p, state)| p * of(state)).sum()
                };
                let mean = mean_of(&|state| state);
                (mean, mean_of(&|state| (state - mean).powi(2)))
            }
        }
    }

    /// −∫ p(x) ln p(x) dx, in nats: of a density its differential entropy.
    pub(super) fn entropy(&self) -> f64 {
        match self.dist.family {
            Family::Gaussian { .. } => (2.0 * PI * E * self.moments().1).ln() / 2.0,
            _ => -self.seen_through(self).log,
        }
    }

    /// The mass that this unit has where `other` has some, and the mean of the logarithm of `other`
    /// there. Both are of discrete variables, both Gaussian, or both Poisson.
    pub(super) fn seen_through(&self, other: &LeafUnit<'_>) -> Seen {
        match (self.dist.family, other.dist.family) {
            (Family::Gaussian { .. }, Family::Gaussian { .. }) => {
                let ((mean, var), (mu, sigma2)) = (self.moments(), other.moments());
                let square = (var + (mean - mu).powi(2)) / sigma2;
                Seen { mass: 1.0, log: -((2.0 * PI * sigma2).ln() + square) / 2.0 }
            }
            (Family::Poisson, Family::Poisson) => {
                let log = self.rate() * other.raw[0] - other.rate() - self.mean_log_factorial();
                Seen { mass: 1.0, log }
            }
            _ => self.states().fold(Seen::NOTHING, |seen, state| {
                let (p, log) = (self.log(state).exp(), other.log(state));
                match p > 0.0 && log > f64::NEG_INFINITY {
                    true => Seen { mass: seen.mass + p, log: seen.log + p * log },
                    false => seen,
                }
            }),
        }
    }

    /// The rate of a Poisson.
    fn rate(&self) -> f64 {
        self.raw[0].exp()
    }

    /// The mean of ln n! of a Poisson's counts n.
    fn mean_log_factorial(&self) -> f64 {
        let reach = DEVIATIONS * self.rate().sqrt();
        let least = (self.rate() - reach).floor().max(0.0);
        let most = self.rate() + reach + DEVIATIONS * DEVIATIONS;
        let counts = std::iter::successors(Some(least), |n| (*n < most).then_some(n + 1.0));
        // About the greatest term and over their sum, so that what rounding does to all probabilities alike
        // is not multiplied by a large logarithm.
        let middle = ln_factorial(self.rate().round());
        let add = |(mass, sum): (f64, f64), n: f64| {
            let p = (n * self.raw[0] - self.rate() - ln_factorial(n)).exp();
            (mass + p, sum + p * (ln_factorial(n) - middle))
        };
        let (mass, sum) = counts.fold((0.0, 0.0), add);
        middle + sum / mass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit<'a>(dist: &'a Dist, raw: &'a [f64]) -> LeafUnit<'a> {
        LeafUnit { dist, unit: 0, raw }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-10 * expected.abs().max(1.0), "{found} {expected}");
    }

    #[test]
    fn a_poisson_has_the_entropy_that_is_known_of_it() {
        let dist = Dist::learnable(Family::Poisson, 1);
        // λ (1 − ln λ) + e^−λ Σ λⁿ ln n! / n!, of which the first terms at λ = 0.01; and for a large rate
        // the series ln(2πeλ)/2 − 1/(12λ) − 1/(24λ²) − 19/(360λ³).
        let small: f64 = 0.01;
        let sum = small.powi(2) / 2.0 * 2f64.ln() + small.powi(3) / 6.0 * 6f64.ln();
        let fourth = small.powi(4) / 24.0 * 24f64.ln() + small.powi(5) / 120.0 * 120f64.ln();
        let exact = small * (1.0 - small.ln()) + (-small).exp() * (sum + fourth);
        close(unit(&dist, &[small.ln()]).entropy(), exact);
        let large = 2000f64;
        let series = (2.0 * PI * E * large).ln() / 2.0
            - 1.0 / (12.0 * large)
            - 1.0 / (24.0 * large.powi(2))
            - 19.0 / (360.0 * large.powi(3));
        close(unit(&dist, &[large.ln()]).entropy(), series);
    }

    #[test]
    fn a_gaussian_seen_through_another_is_the_integral() {
        let dist = Dist::learnable(Family::GAUSSIAN, 1);
        let (p, q) = ([0.4, -0.3], [-1.0, 0.7]);
        let (p, q) = (unit(&dist, &p), unit(&dist, &q));
        let (mut seen, mut entropy) = (0.0, 0.0);
        for step in 0..400_000 {
            let x = -20.0 + 40.0 * (f64::from(step) + 0.5) / 400_000.0;
            let log = |of: LeafUnit<'_>| {
                Bounds { min_var: 1e-6, max_var: f64::INFINITY }.density(of.raw).log(x)
            };
            seen += log(p).exp() * log(q) * 1e-4;
            entropy -= log(p).exp() * log(p) * 1e-4;
        }
        close(p.seen_through(&q).log, seen);
        close(p.entropy(), entropy);
    }

    #[test]
    fn states_without_mass_take_no_part() {
        let dist = Dist::learnable(Family::Categorical { states: 3 }, 1);
        let zero = crate::leaf::discrete::ZERO_LOGIT;
        let (p, q) = ([0.5f64.ln(), 0.5f64.ln(), zero], [0.25f64.ln(), zero, 0.75f64.ln()]);
        let seen = unit(&dist, &p).seen_through(&unit(&dist, &q));
        close(seen.mass, 0.5);
        close(seen.log, 0.5 * 0.25f64.ln());
        close(unit(&dist, &p).entropy(), 2f64.ln());
        let (mean, variance) = unit(&dist, &q).moments();
        close(mean, 1.5);
        close(variance, 0.75);
    }
}
