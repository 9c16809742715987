//! Input distributions: what a leaf says of its one variable.
//!
//! A [`Dist`] is an array of `units` distributions of one [`Family`]. Its learnable numbers are
//! *raw* (unconstrained); [`discrete`] and [`gaussian`] map them to the *natural* ones a person
//! writes (probabilities, mean and variance), evaluate, differentiate and sample. All formulas are
//! generic over [`Real`], so that the oracle and the engines share them and nothing else.
//!
//! Leaves are a closed set: an engine must know each one.

pub mod discrete;
pub mod gaussian;

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
}

impl Family {
    /// The bounds of a Gaussian whose author gave none.
    pub const GAUSSIAN: Family = Family::Gaussian { min_var: 1e-6, max_var: f64::INFINITY };

    /// Learnable numbers of one unit.
    pub fn raw_len(self) -> usize {
        match self {
            Family::Indicators { .. } => 0,
            Family::Bernoulli => 1,
            Family::Categorical { states } => states as usize,
            Family::Gaussian { .. } => 2,
        }
    }

    /// Numbers that a person writes for one unit: p; a probability a state; mean and variance.
    pub fn natural_len(self) -> usize {
        self.raw_len()
    }

    /// Number of states of a discrete family, `None` of a density.
    pub fn states(self) -> Option<usize> {
        match self {
            Family::Indicators { states } | Family::Categorical { states } => Some(states as usize),
            Family::Bernoulli => Some(2),
            Family::Gaussian { .. } => None,
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
                Family::Bernoulli | Family::Categorical { .. } => discrete::raw_of(natural, raw),
                Family::Gaussian { min_var, max_var } => {
                    gaussian::Bounds { min_var, max_var }.raw_of(natural, raw);
                }
            }
        }
        Some(raw)
    }

    /// Raw parameters to begin learning with, [units, raw_len]: the given ones, else logits uniform
    /// on [0, 1) as the paper has them, means standard normal and variances near one, moved to
    /// `location` and `scale` (mean and standard deviation of the variable in the training data).
    pub fn initial_raw(&self, rng: &mut impl Rng, location: f64, scale: f64) -> Vec<f64> {
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
        }
    }

    /// The linear value, or density, of `unit` at `value`, given its raw parameters; a missing value
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
        }
    }
}
