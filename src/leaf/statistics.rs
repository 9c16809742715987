//! Expected sufficient statistics of leaves, and the parameters of greatest likelihood given them.
//!
//! What expectation-maximisation (Dempster, Laird & Rubin 1977) needs of an exponential family: how
//! responsible a unit is for each value, summed as its family takes values in, then matched by the
//! family's moments. The numbers of a unit are
//! - of a discrete family with a probability a state: the expected count of each state;
//! - of a Binomial: [Σγ, Σγx];
//! - of a Gaussian of mean μ before: [Σγ, Σγ(x − μ), Σγ(x − μ)²];
//! - of a Poisson of rate λ before: [Σγ(x − λ)],
//!
//! where γ is the responsibility for an observed value x; missing values count for nothing.

use super::counts;
use super::discrete;
use super::gaussian::{Bounds, Density};
use super::{Dist, Family};
use crate::real::Real;

/// The least probability that a maximisation leaves behind where there was any. A probability of zero
/// would stay zero for ever, whatever later batches have to say.
pub const LEAST: f64 = 1e-26;

/// The least rate of a Poisson, for the same reason.
pub const LEAST_RATE: f64 = 1e-9;

/// How a maximisation treats what it is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    /// Pseudo-count of each distribution, shared by its outcomes alike; at least 0.
    pub pseudo_count: f64,
    /// How far to go from the parameters before to those of greatest likelihood, in [0, 1]; less of it
    /// where less than one row was seen.
    pub rate: f64,
    /// Rows that were looked at, of which a unit is responsible for all at most.
    pub rows: f64,
}

impl Smoothing {
    /// The part of the way that a distribution goes which was seen so many times: less than the rate
    /// where that is less than once. Else one row would pull all distributions alike, however little
    /// each is responsible for it.
    fn part(self, seen: f64) -> f64 {
        1.0 - (1.0 - self.rate).powf(seen.min(1.0))
    }
}

impl Family {
    /// Expected statistics of one unit.
    pub fn statistics_len(self) -> usize {
        match self {
            Family::Indicators { .. } => 0,
            Family::Poisson => 1,
            Family::Bernoulli => 2,
            Family::Categorical { states } => states as usize,
            Family::Gaussian { .. } => 3,
            Family::Binomial { .. } => 2,
        }
    }

    /// Adds what a unit of responsibility `gamma` learns from `value` to its statistics. `raw` are its
    /// parameters.
    pub fn add_statistics<T: Real>(self, raw: &[T], value: f32, gamma: T, statistics: &mut [T]) {
        match self {
            Family::Indicators { .. } => {}
            Family::Poisson => {
                statistics[0] += gamma * counts::log_poisson_slope(raw[0], value.into());
            }
            Family::Bernoulli | Family::Categorical { .. } => statistics[value as usize] += gamma,
            Family::Gaussian { .. } => {
                let off = T::of(value.into()) - raw[0];
                statistics[0] += gamma;
                statistics[1] += gamma * off;
                statistics[2] += gamma * off * off;
            }
            Family::Binomial { .. } => {
                statistics[0] += gamma;
                statistics[1] += gamma * T::of(value.into());
            }
        }
    }

    /// Moves the raw parameters of a unit towards those of greatest likelihood given its statistics,
    /// on the line between their expectation parameters: probabilities, or the first two moments. A
    /// unit that is responsible for nothing keeps its parameters.
    ///
    /// A Gaussian's variance is kept within its bounds, which are all that smooths it. A Poisson's rate
    /// goes Σγ/n of the way in n rows: as far as can be told from its one number, and a step of
    /// generalised EM (Dempster, Laird & Rubin 1977), which does not lower the objective either.
    pub fn maximise<T: Real>(self, statistics: &[T], smoothing: Smoothing, raw: &mut [T]) {
        let mass = |numbers: &[T]| numbers.iter().map(|n| n.double()).sum::<f64>();
        match self {
            Family::Indicators { .. } => {}
            Family::Poisson => {
                let excess = statistics[0].double() / smoothing.rows.max(1.0);
                let rate = raw[0].double().exp() + smoothing.rate * excess;
                raw[0] = T::of(rate.max(LEAST_RATE).ln());
            }
            Family::Bernoulli | Family::Categorical { .. } => {
                if mass(statistics) > 0.0 {
                    let counts = statistics.iter().map(|n| n.double()).collect();
                    probabilities(counts, smoothing, raw);
                }
            }
            Family::Binomial { trials } => {
                if mass(&statistics[..1]) > 0.0 {
                    let successes = statistics[1].double();
                    let failures = f64::from(trials) * statistics[0].double() - successes;
                    probabilities(vec![failures.max(0.0), successes], smoothing, raw);
                }
            }
            Family::Gaussian { min_var, max_var } => {
                if mass(&statistics[..1]) > 0.0 {
                    moments(Bounds { min_var, max_var }, statistics, smoothing, raw);
                }
            }
        }
    }
}

/// Moves probabilities towards the relative frequencies of `counts`, smoothed.
fn probabilities<T: Real>(counts: Vec<f64>, smoothing: Smoothing, raw: &mut [T]) {
    let before: Vec<f64> = raw.iter().map(|raw| raw.double()).collect();
    let mut p = vec![0.0; counts.len()];
    discrete::probabilities(&before, &mut p);
    frequencies(&counts, smoothing, &mut p);
    let mut after = before;
    match after.len() {
        1 => discrete::raw_of(&p[1..], &mut after),
        _ => discrete::raw_of(&p, &mut after),
    }
    raw.iter_mut().zip(after).for_each(|(raw, after)| *raw = T::of(after));
}

/// Moves a distribution `p` over outcomes towards (n + α/K) / Σ (n + α/K) of their expected counts n,
/// where α is the pseudo-count. Outcomes of probability zero are no outcomes: they stay so, and K
/// counts the others, of which none falls below [`LEAST`].
pub fn frequencies<T: Real>(counts: &[T], smoothing: Smoothing, p: &mut [f64]) {
    let possible = p.iter().filter(|&&p| p > 0.0).count();
    let each = smoothing.pseudo_count / possible.max(1) as f64;
    let pairs = p.iter().zip(counts).filter(|&(&p, _)| p > 0.0);
    let seen: f64 = pairs.map(|(_, &n)| n.double()).sum();
    let (total, rate) = (seen + each * possible as f64, smoothing.part(seen));
    for (p, &n) in p.iter_mut().zip(counts).filter(|(p, _)| **p > 0.0) {
        *p = (*p + rate * ((n.double() + each) / total - *p)).max(LEAST);
    }
}

/// Moves mean and mean square towards those of the statistics.
fn moments<T: Real>(bounds: Bounds, statistics: &[T], smoothing: Smoothing, raw: &mut [T]) {
    let before: Vec<f64> = raw.iter().map(|raw| raw.double()).collect();
    let Density { mean, var } = bounds.density(&before);
    let [n, first, second] = [0, 1, 2].map(|at| statistics[at].double());
    let rate = smoothing.part(n);
    // Relative to the mean before, where the mean is zero and the mean square is the variance.
    let (shift, square) = (rate * first / n, var + rate * (second / n - var));
    let mut after = before;
    bounds.raw_of(&[mean + shift, (square - shift * shift).max(bounds.min_var)], &mut after);
    raw.iter_mut().zip(after).for_each(|(raw, after)| *raw = T::of(after));
}

impl Dist {
    /// Expected statistics to learn from, [units, statistics_len]; 0 when frozen.
    pub fn statistics_len(&self) -> usize {
        if self.frozen { 0 } else { self.units as usize * self.family.statistics_len() }
    }
}
