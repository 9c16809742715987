//! Input distributions: what a leaf says of its one variable.
//!
//! A [`Dist`] is an array of `units` distributions of one [`Family`]. Its learnable numbers are
//! *raw* (unconstrained); [`discrete`], [`gaussian`] and [`counts`] map them to the *natural* ones a person
//! writes (probabilities, mean and variance, rates), evaluate, differentiate and sample. All formulas are
//! generic over [`Real`], so that the oracle and the engines share them and nothing else.
//!
//! Leaves are a closed set: an engine must know each one.

pub mod counts;
pub mod discrete;
pub mod gaussian;
pub mod statistics;

use rand::Rng;

use crate::real::Real;
use crate::variables::VarKind;

/// A kind of input distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    /// Unit j is the indicator of x = j; as many units as states; nothing to learn.
    Indicators {
        /// Number of states.
        states: u32,
    },
    /// p(x = 1) a unit, over a binary variable.
    Bernoulli,
    /// A probability a state and unit.
    Categorical {
        /// Number of states.
        states: u32,
    },
    /// A normal density with its variance kept within bounds.
    Gaussian {
        /// Least variance, above zero.
        min_var: f64,
        /// Greatest variance; +∞ for none.
        max_var: f64,
    },
    /// The number of successes among trials of one chance, over a variable of a state more.
    Binomial {
        /// Number of trials.
        trials: u32,
    },
    /// A number of events of one rate, over a real variable.
    Poisson,
}

impl Family {
    /// The bounds of a Gaussian whose author gave none.
    pub const GAUSSIAN: Family = Family::Gaussian { min_var: 1e-6, max_var: f64::INFINITY };

    /// Learnable numbers of one unit.
    pub fn raw_len(self) -> usize {
        match self {
            Family::Indicators { .. } => 0,
            Family::Bernoulli | Family::Binomial { .. } | Family::Poisson => 1,
            Family::Categorical { states } => states as usize,
            Family::Gaussian { .. } => 2,
        }
    }

    /// Numbers that a person writes for one unit: p; a probability a state; mean and variance; a rate.
    pub fn natural_len(self) -> usize {
        self.raw_len()
    }

    /// Number of states of a discrete family, `None` of one over a real variable.
    pub fn states(self) -> Option<usize> {
        match self {
            Family::Indicators { states } | Family::Categorical { states } => Some(states as usize),
            Family::Bernoulli => Some(2),
            Family::Binomial { trials } => Some(trials as usize + 1),
            Family::Gaussian { .. } | Family::Poisson => None,
        }
    }

    /// Whether the family describes a variable of this kind.
    pub fn suits(self, kind: VarKind) -> bool {
        match kind {
            VarKind::Categorical { states } => self.states() == Some(states as usize),
            VarKind::Real => self.states().is_none(),
        }
    }

    /// The name of the family in RON.
    pub fn name(self) -> &'static str {
        match self {
            Family::Indicators { .. } => "Indicators",
            Family::Bernoulli => "Bernoulli",
            Family::Categorical { .. } => "Categorical",
            Family::Gaussian { .. } => "Gaussian",
            Family::Binomial { .. } => "Binomial",
            Family::Poisson => "Poisson",
        }
    }

    /// The name of the tensor that holds this family's raw parameters, a row a unit.
    pub fn tensor_name(self) -> String {
        match self {
            Family::Indicators { .. } => "leaf.indicators".into(),
            Family::Bernoulli => "leaf.bernoulli".into(),
            Family::Categorical { states } => format!("leaf.categorical{states}"),
            Family::Gaussian { max_var, min_var } => match max_var.is_finite() {
                true => format!("leaf.gaussian[{min_var:e},{max_var:e}]"),
                false => format!("leaf.gaussian[{min_var:e}]"),
            },
            Family::Binomial { trials } => format!("leaf.binomial{trials}"),
            Family::Poisson => "leaf.poisson".into(),
        }
    }
}

/// An array of distributions of one family over one variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Dist {
    /// What kind.
    pub family: Family,
    /// How many; `Indicators` has as many as states.
    pub units: u32,
    /// Natural parameters given by the author, [units, natural_len]; else drawn at random.
    pub given: Option<Vec<f64>>,
    /// Whether the given parameters stay as they are. Only with `given`, or without parameters.
    pub frozen: bool,
}

impl Dist {
    /// The fixed indicators of a variable of `states` states.
    pub fn indicators(states: u32) -> Self {
        Dist { family: Family::Indicators { states }, units: states, given: None, frozen: true }
    }

    /// `units` learnable distributions.
    pub fn learnable(family: Family, units: u32) -> Self {
        Dist { family, units, given: None, frozen: false }
    }

    /// Learnable numbers, [units, raw_len]; 0 when frozen.
    pub fn learnable_len(&self) -> usize {
        if self.frozen { 0 } else { self.units as usize * self.family.raw_len() }
    }

    /// Raw parameters of the given natural ones, [units, raw_len]. `None` if none are given.
    pub fn given_raw(&self) -> Option<Vec<f64>> {
        let given = self.given.as_ref()?;
        let len = self.family.natural_len();
        let mut raw = vec![0.0; given.len()];
        for (natural, raw) in given.chunks_exact(len).zip(raw.chunks_exact_mut(len)) {
            match self.family {
                Family::Indicators { .. } => {}
                Family::Bernoulli | Family::Categorical { .. } | Family::Binomial { .. } => {
                    discrete::raw_of(natural, raw);
                }
                Family::Poisson => raw[0] = natural[0].ln(),
                Family::Gaussian { min_var, max_var } => {
                    gaussian::Bounds { min_var, max_var }.raw_of(natural, raw);
                }
            }
        }
        Some(raw)
    }

    /// Raw parameters to begin learning with, [units, raw_len]: the given ones, else logits uniform
    /// on [0, 1) as the paper has them; and of the other families numbers around `moments`, mean and
    /// standard deviation of the variable in the training data: means normal about that mean with that
    /// deviation, of a Gaussian as of a Binomial, and rates log-normal about it. Without data a mean
    /// of zero and a deviation of one stand for them, and logits of a Binomial are standard normal.
    pub fn initial_raw(&self, rng: &mut impl Rng, moments: Option<(f64, f64)>) -> Vec<f64> {
        let (location, scale) = moments.unwrap_or((0.0, 1.0));
        if let Some(raw) = self.given_raw() {
            return raw;
        }
        let units = self.units as usize;
        match self.family {
            Family::Indicators { .. } => Vec::new(),
            Family::Bernoulli | Family::Categorical { .. } => {
                (0..units * self.family.raw_len()).map(|_| rng.random::<f64>()).collect()
            }
            Family::Gaussian { min_var, max_var } => {
                let bounds = gaussian::Bounds { min_var, max_var };
                let mut raw = vec![0.0; units * 2];
                for raw in raw.chunks_exact_mut(2) {
                    let mean = location + scale * gaussian::standard_normal(rng);
                    bounds.raw_of(&[mean, scale * scale], raw);
                }
                raw
            }
            Family::Binomial { trials } => (0..units)
                .map(|_| match (moments, gaussian::standard_normal(rng)) {
                    (None, normal) => normal,
                    (Some(_), normal) => counts::logit_of_mean(trials, location + scale * normal),
                })
                .collect(),
            Family::Poisson => {
                // Half of an event is less than any that is seen; no deviation fits a rate.
                let middle = location.max(0.5).ln();
                (0..units).map(|_| middle + 0.5 * gaussian::standard_normal(rng)).collect()
            }
        }
    }

    /// The logarithm of the probability, or density, of `unit` at `value`, given its raw parameters; a missing value
    /// is integrated out and gives one.
    pub fn log_value<T: Real>(&self, unit: usize, raw: &[T], value: Option<f32>) -> T {
        let Some(value) = value else { return T::zero() };
        match self.family {
            Family::Indicators { .. } if value as usize == unit => T::zero(),
            Family::Indicators { .. } => T::neg_infinity(),
            Family::Bernoulli | Family::Categorical { .. } => {
                discrete::log_probability(raw, value as usize)
            }
            Family::Gaussian { min_var, max_var } => {
                gaussian::Bounds { min_var, max_var }.density(raw).log(T::of(value.into()))
            }
            Family::Binomial { trials } => counts::log_binomial(raw[0], trials, value.into()),
            Family::Poisson => counts::log_poisson(raw[0], value.into()),
        }
    }

    /// Adds to `d_raw` the derivative of [`Dist::log_value`] times `d_log`.
    pub fn log_value_backward<T: Real>(&self, raw: &[T], value: f32, d_log: T, d_raw: &mut [T]) {
        match self.family {
            Family::Indicators { .. } => {}
            Family::Bernoulli | Family::Categorical { .. } => {
                discrete::log_probability_backward(raw, value as usize, d_log, d_raw);
            }
            Family::Gaussian { min_var, max_var } => {
                let bounds = gaussian::Bounds { min_var, max_var };
                bounds.log_backward(raw, T::of(value.into()), d_log, d_raw);
            }
            Family::Binomial { trials } => {
                d_raw[0] += d_log * counts::log_binomial_slope(raw[0], trials, value.into());
            }
            Family::Poisson => d_raw[0] += d_log * counts::log_poisson_slope(raw[0], value.into()),
        }
    }

    /// Draws a value from `unit`.
    pub fn sample(&self, unit: usize, raw: &[f64], rng: &mut impl Rng) -> f32 {
        match self.family {
            Family::Indicators { .. } => unit as f32,
            Family::Bernoulli | Family::Categorical { .. } => discrete::sample(raw, rng) as f32,
            Family::Gaussian { min_var, max_var } => {
                let density = gaussian::Bounds { min_var, max_var }.density(raw);
                (density.mean + density.var.sqrt() * gaussian::standard_normal(rng)) as f32
            }
            Family::Binomial { trials } => counts::sample_binomial(raw[0], trials, rng) as f32,
            Family::Poisson => counts::sample_poisson(raw[0], rng) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn binomials_begin_where_the_data_are() {
        let dist = Dist::learnable(Family::Binomial { trials: 255 }, 400);
        let means = |moments| -> Vec<f64> {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
            let raw = dist.initial_raw(&mut rng, moments);
            raw.iter().map(|logit| 255.0 / (1.0 + (-logit).exp())).collect()
        };
        let average = |means: &[f64]| means.iter().sum::<f64>() / means.len() as f64;
        let dark = means(Some((20.0, 4.0)));
        assert!((average(&dark) - 20.0).abs() < 1.0, "{}", average(&dark));
        let apart = dark.iter().map(|mean| (mean - 20.0).powi(2)).sum::<f64>() / 400.0;
        assert!((apart.sqrt() - 4.0).abs() < 0.8, "{apart}");
        assert!((average(&means(None)) - 127.5).abs() < 10.0);
    }
}
