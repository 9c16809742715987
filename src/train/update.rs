//! What the next step of each tensor is, and which chunks of memory a task of it has.

use std::ops::Range;

use rayon::prelude::*;

use super::Moments;
use super::optimizer::Rule;
use crate::engine::{Update, all_finite};

/// Parameters updated by one task: a few pages of each buffer, so that a task is long against the
/// cost of handing it out.
pub(super) const CHUNK: usize = 1 << 14;

/// Tensors that are treated alike, in the flat buffer: up to `end`, from the end of those before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Segment {
    pub end: usize,
    pub rate: f64,
    pub decay: f64,
}

/// Calls `f` with each part of `start..start + len` that one update is for, counted from `start`.
pub(super) fn each_update(
    updates: &[Update],
    start: usize,
    len: usize,
    mut f: impl FnMut(Range<usize>, Update),
) {
    let mut at = start;
    for &update in &updates[updates.partition_point(|update| update.end <= start)..] {
        let end = update.end.min(start + len);
        if at < end {
            f(at - start..end - start, update);
        }
        at = end;
    }
}

/// The first number that is not finite.
pub(super) fn first_not_finite(numbers: &[f32]) -> Option<usize> {
    let chunk = numbers.par_chunks(CHUNK).position_first(|chunk| !all_finite(chunk))?;
    let start = chunk * CHUNK;
    numbers[start..].iter().position(|x| !x.is_finite()).map(|at| start + at)
}

/// Step `steps`, counted from 1, of a rule on one segment, with its learning rate times `factor`.
pub(super) fn update(rule: Rule, segment: Segment, factor: f64, steps: u64) -> Update {
    let rate = segment.rate * factor;
    match rule {
        Rule::Sgd { momentum } => Update {
            end: segment.end,
            descends: true,
            rate: rate as f32,
            decay: segment.decay as f32,
            shrink: 1.0,
            beta1: momentum as f32,
            fresh1: 1.0,
            beta2: 0.0,
            fresh2: 0.0,
            unbias: 0.0,
            epsilon: 0.0,
        },
        Rule::Adam(moments) => adam(moments, segment.end, rate, (segment.decay, 0.0), steps),
        Rule::AdamW(moments) => adam(moments, segment.end, rate, (0.0, segment.decay), steps),
    }
}

/// The decay is L2 added to the gradient, and what is outside of the moments.
fn adam(moments: Moments, end: usize, rate: f64, (l2, outside): (f64, f64), steps: u64) -> Update {
    let Moments { beta1, beta2, epsilon } = moments;
    let bias = |beta: f64| 1.0 - num_traits::pow(beta, steps as usize);
    Update {
        end,
        descends: false,
        rate: (rate / bias(beta1)) as f32,
        decay: l2 as f32,
        shrink: (1.0 - rate * outside) as f32,
        beta1: beta1 as f32,
        fresh1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        fresh2: (1.0 - beta2) as f32,
        unbias: bias(beta2).sqrt().recip() as f32,
        epsilon: epsilon as f32,
    }
}
