//! Expectation-maximisation: the maximisation step.
//!
//! An engine counts how often a batch is expected to have taken each input of each sum
//! ([`Counts`]); the weights of greatest likelihood, were that what happened, are the relative
//! frequencies of each normalisation group (Dempster, Laird & Rubin 1977; for circuits, Peharz et al.
//! 2017). The objective that a step over all rows with a rate of one never lowers is
//!
//! Σ ln p(row) + Σ over groups and outcomes of (α/K) ln w,
//!
//! the posterior under symmetric Dirichlet priors: K outcomes of a group share the pseudo-count α. A
//! batch of some of the rows stands for all of them, so its counts weigh as much more, and the weights
//! go a part of the way, the learning rate: w ← (1 − η) w + η w_new (stochastic EM as in Peharz et al.
//! 2020, Einsum Networks); a group that was taken less than once goes less, 1 − (1 − η)^count.
//!
//! EM goes to what is near. From weights that are nearly equal, as gradients are content to begin
//! with, all units learn the same for long; so it begins from weights that differ much ([`begin`]),
//! and the rate of mini-batches had better fall to zero than stay ([`super::Schedule`]).
//!
//! Only logits that are parameters themselves can be learned so. All arithmetic is in f64.

use std::ops::Range;

use rayon::prelude::*;

use super::optimizer::{Group, segments};
use super::update::Segment;
use crate::circuit::ValidCircuit;
use crate::diag::{Code, Diagnostic};
use crate::engine::Counts;
use crate::ids::DistId;
use crate::leaf::Family;
use crate::leaf::discrete::ZERO_LOGIT;
use crate::leaf::statistics::{Smoothing, frequencies};
use crate::param::Init;
use crate::real::Real;
use crate::sector::{MakerBinding, Parameters};

/// How unequal weights begin: proportional to this power of independent exponential numbers. At 1
/// they would be uniform on the simplex.
const UNEQUAL: f64 = 2.0;
/// The least exponential number taken for one.
const LEAST_DRAWN: f64 = 1e-9;

/// Makes what was drawn for a beginning unequal: weights and probabilities that are not given by the
/// author, and were drawn as logits uniform on [0, 1), become powers of exponential numbers, each the
/// same function of what was drawn for it. To be called once on the initial parameters.
///
/// # Panics
/// When `flat` is of another model.
pub fn begin<T: Real>(circuit: &ValidCircuit, parameters: &Parameters, flat: &mut [T]) {
    for (id, spec) in parameters.tensors().iter() {
        let logits = flat[parameters.tensors().range(id)].iter_mut();
        match &spec.init {
            Init::Uniform(low, high) if (*low, *high) == (0.0, 1.0) => logits.for_each(part),
            Init::Mixed(given) => {
                let drawn = logits.zip(given).filter(|(_, given)| given.is_none());
                drawn.for_each(|(logit, _)| part(logit));
            }
            Init::Uniform(..) | Init::Normal(_) | Init::Leaves(_) => {}
        }
    }
    for (id, dist) in circuit.dists().iter().filter(|(_, dist)| dist.given.is_none()) {
        let logits = flat[parameters.leaf(id)].iter_mut();
        match dist.family {
            Family::Categorical { .. } => logits.for_each(part),
            // The difference of two such logits: a logistic number.
            Family::Bernoulli => logits.for_each(|logit| {
                let u = logit.double().clamp(LEAST_DRAWN, 1.0 - LEAST_DRAWN);
                *logit = T::of(UNEQUAL * (u / (1.0 - u)).ln());
            }),
            _ => {}
        }
    }
}

/// From a number uniform on [0, 1) to the logit of a power of an exponential one.
fn part<T: Real>(logit: &mut T) {
    let exponential = -(-logit.double()).ln_1p();
    *logit = T::of(UNEQUAL * exponential.max(LEAST_DRAWN).ln());
}

/// The maximisation step for one model. It remembers nothing from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct Em {
    pseudo_count: f64,
    groups: Vec<Run>,
    leaves: Vec<Leaf>,
}

/// Neighbouring normalisation groups of one length in the flat buffer.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    range: Range<usize>,
    /// Entries of a group.
    len: usize,
    rate: f64,
}

/// A learnable distribution.
#[derive(Clone, Debug, PartialEq)]
struct Leaf {
    dist: DistId,
    family: Family,
    range: Range<usize>,
    rate: f64,
}

impl Em {
    /// The maximisation step of a model, with this pseudo-count for each distribution, and a learning
    /// rate for all tensors but those of `groups` that say otherwise.
    ///
    /// # Errors
    /// E0405 for logits that are no parameters themselves, and for L2; E0404 for a group that matches no
    /// tensor.
    pub fn new(
        parameters: &Parameters,
        pseudo_count: f64,
        rate: f64,
        groups: &[Group],
    ) -> Result<Self, Diagnostic> {
        refuse(parameters, groups)?;
        let segments = segments(parameters.tensors(), rate, 0.0, groups)?;
        let rate_at = |at: usize| {
            let segment = segments.partition_point(|segment: &Segment| segment.end <= at);
            segments.get(segment).map_or(rate, |segment| segment.rate)
        };
        let mut runs = Vec::new();
        for maker in parameters.makers() {
            append_runs(parameters, maker, rate_at(maker.own.start), &mut runs);
        }
        let leaf = |(dist, &family): (DistId, &Family)| {
            let range = parameters.leaf(dist);
            (!range.is_empty()).then(|| Leaf { dist, family, rate: rate_at(range.start), range })
        };
        let leaves = parameters.families().iter().filter_map(leaf).collect();
        Ok(Em { pseudo_count, groups: runs, leaves })
    }

    /// Moves `flat` towards the parameters of greatest likelihood given `counts`, by the learning
    /// rates times `factor`. The counts are of so many `rows`, `share` of those to learn from, in
    /// (0, 1]. A group that nothing was counted of keeps its weights. Returns whether all parameters are
    /// finite.
    ///
    /// # Panics
    /// When `flat` or `counts` are of another model.
    pub fn step<T: Real>(
        &self,
        factor: f64,
        (rows, share): (usize, f64),
        counts: &Counts<T>,
        flat: &mut [T],
    ) -> bool {
        let pseudo_count = self.pseudo_count * share;
        let rows = rows as f64;
        let smoothing = |rate: f64| Smoothing { pseudo_count, rate: rate * factor, rows };
        for run in &self.groups {
            let counts = counts.weights[run.range.clone()].par_chunks_exact(run.len);
            let logits = flat[run.range.clone()].par_chunks_exact_mut(run.len);
            // Whole pages a task.
            let least = (1 << 12) / run.len.min(1 << 12);
            logits.zip(counts).with_min_len(least).for_each_init(Vec::new, |weights, pair| {
                maximise(pair.1, smoothing(run.rate), pair.0, weights);
            });
        }
        for leaf in &self.leaves {
            let statistics = counts.leaf(leaf.dist).chunks_exact(leaf.family.statistics_len());
            let units = flat[leaf.range.clone()].chunks_exact_mut(leaf.family.raw_len());
            for (raw, statistics) in units.zip(statistics) {
                leaf.family.maximise(statistics, smoothing(leaf.rate), raw);
            }
        }
        flat.par_iter().all(|value| value.is_finite())
    }
}

/// E0405 for what this cannot learn.
fn refuse(parameters: &Parameters, groups: &[Group]) -> Result<(), Diagnostic> {
    let refusal = |what: &str| Diagnostic::new(Code::E0405, format!("EM cannot learn {what}"));
    if parameters.makers().iter().any(|maker| !maker.is_direct()) {
        let fault = refusal("weights that a parameterizer makes of shared parameters");
        return Err(
            fault.help("use `parameterizer: Direct`, or an optimiser that follows gradients")
        );
    }
    if parameters.decay() > 0.0 || groups.iter().any(|group| group.decay.is_some_and(|l| l > 0.0)) {
        let fault = refusal("under weight decay");
        return Err(fault.help("use `parameterizer: Direct`, and a pseudo-count to smooth weights"));
    }
    Ok(())
}

/// Appends the normalisation groups of a maker, whose sectors lie in its own tensor in their order.
fn append_runs(parameters: &Parameters, maker: &MakerBinding, rate: f64, runs: &mut Vec<Run>) {
    for (ordinal, &id) in maker.sectors.iter().enumerate() {
        let sector = parameters.table().sectors()[id];
        let len = sector.shape.cols as usize * sector.span as usize;
        let range = maker.own_row(ordinal as u32);
        match runs.last_mut() {
            Some(last) if (last.len, last.rate, last.range.end) == (len, rate, range.start) => {
                last.range.end = range.end;
            }
            _ => runs.push(Run { range, len, rate }),
        }
    }
}

/// Moves the weights of one group; `weights` is scratch.
fn maximise<T: Real>(counts: &[T], smoothing: Smoothing, logits: &mut [T], weights: &mut Vec<f64>) {
    if !counts.iter().any(|&count| count > T::zero()) {
        return;
    }
    weights.clear();
    weights.extend(logits.iter().map(|logit| logit.double()));
    crate::param::normalise::softmax(weights, counts.len());
    frequencies(counts, smoothing, weights);
    for (logit, &w) in logits.iter_mut().zip(weights.iter()) {
        *logit = T::of(if w > 0.0 { w.ln() } else { ZERO_LOGIT });
    }
}
