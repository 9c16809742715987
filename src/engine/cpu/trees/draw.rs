//! A tree drawn at random: a term with its share of the sum, a value from its leaf.

use rand::Rng;

use super::follow::Pick;
use crate::leaf::{counts, gaussian};
use crate::plan::Op;
use crate::sample::{RowRng, row_rng};

/// How near to where the terms part a number may fall, as a share of their sum, and still decide: what
/// single precision makes of the shares is nearer to the truth than that.
const NEAR: f64 = 1.0 / (1 << 18) as f64;

/// Picks by random numbers of its own.
pub(super) struct Draw {
    rng: RowRng,
    near: f64,
}

impl Draw {
    /// The tree of a number, by scores in single precision. Where a number falls so near to where two terms
    /// part that these do not tell them apart, nothing is picked.
    pub(super) fn roughly(seed: u64, number: u64) -> Self {
        Draw { rng: row_rng(seed, number), near: NEAR }
    }

    /// The same tree, by scores that are what they are.
    pub(super) fn exactly(seed: u64, number: u64) -> Self {
        Draw { rng: row_rng(seed, number), near: 0.0 }
    }

    /// An index with a probability in proportion to its number, `count` of them; `None` unless they sum to
    /// a number above zero, or where the draw falls within `near` of their sum of another index.
    fn index(&mut self, count: usize, score: impl Fn(usize) -> f64, near: f64) -> Option<usize> {
        let total: f64 = (0..count).map(&score).sum();
        // Written so that what is no number is no sum.
        if !(total > 0.0 && total < f64::INFINITY) {
            return None;
        }
        let near = near * total;
        let drawn = self.rng.random::<f64>() * total;
        let (mut before, mut last) = (0.0, None);
        for index in 0..count {
            let score = score(index);
            if score <= 0.0 {
                continue;
            }
            if last.is_some() && drawn - before < near {
                return None;
            }
            // Rounding may leave a remainder, which falls to the last possible index.
            last = Some(index);
            before += score;
            if drawn < before {
                let is_near = before - drawn < near && before < total;
                return if is_near { None } else { last };
            }
        }
        last
    }
}

impl Pick for Draw {
    fn term(&mut self, scores: &[f64]) -> Option<usize> {
        let near = self.near;
        self.index(scores.len(), |term| scores[term], near)
    }

    fn leaf(&mut self, coefficients: &[f32], op: Op, unit: usize) -> f32 {
        let at = |place: usize| f64::from(coefficients[place]);
        match op {
            Op::Lookup { table, states, .. } => {
                let (states, row) = (states as usize, table as usize + unit * states as usize);
                self.index(states, |state| at(row + state), 0.0).unwrap_or_default() as f32
            }
            Op::LogLookup { table, states, .. } => {
                let (states, row) = (states as usize, table as usize + unit * states as usize);
                self.index(states, |state| at(row + state).exp(), 0.0).unwrap_or_default() as f32
            }
            Op::Gaussian { table, .. } => {
                let [mean, precision] = [0, 1].map(|entry| at(table as usize + 3 * unit + entry));
                (mean + gaussian::standard_normal(&mut self.rng) / precision.sqrt()) as f32
            }
            Op::Poisson { table, .. } => {
                counts::sample_poisson(at(table as usize + unit), &mut self.rng) as f32
            }
            _ => f32::NAN,
        }
    }
}
