//! The greatest tree: the first of the greatest terms, the likeliest value of a leaf.

use super::follow::Pick;
use crate::leaf::counts;
use crate::plan::Op;

/// Picks what is greatest.
pub(super) struct Best;

impl Pick for Best {
    fn term(&mut self, scores: &[f64]) -> Option<usize> {
        greatest(scores.iter().copied())
    }

    fn leaf(&mut self, coefficients: &[f32], op: Op, unit: usize) -> f32 {
        likeliest(coefficients, op, unit)
    }
}

/// The first index of the greatest number; none if all are −∞.
fn greatest(numbers: impl Iterator<Item = f64>) -> Option<usize> {
    let none = (None, f64::NEG_INFINITY);
    let better = |best: (Option<usize>, f64), (index, number)| {
        if number > best.1 { (Some(index), number) } else { best }
    };
    numbers.enumerate().fold(none, better).0
}

/// The likeliest value of a unit of a leaf, the least of several, from its table.
pub(super) fn likeliest(coefficients: &[f32], op: Op, unit: usize) -> f32 {
    match op {
        Op::Lookup { table, states, .. } | Op::LogLookup { table, states, .. } => {
            let row = &coefficients[table as usize + unit * states as usize..][..states as usize];
            greatest(row.iter().map(|&entry| entry.into())).unwrap_or_default() as f32
        }
        Op::Gaussian { table, .. } => coefficients[table as usize + 3 * unit],
        Op::Poisson { table, .. } => {
            counts::poisson_mode(f64::from(coefficients[table as usize + unit])) as f32
        }
        _ => f32::NAN,
    }
}
