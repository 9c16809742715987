//! Whole steps of learning, where all that is learned are logits.
//!
//! As soon as the parts of a group have gone back, their gradients are taken to the logits, these and their
//! moments updated and the next weights made ([`super::learned`]): while the gradients are still in the cache,
//! and in one pass over everything that a step reads and writes. So weights are always those of the
//! parameters. The arithmetic is that of [`Update::apply`], and so are the bits.
//!
//! Nothing changes where a gradient is not finite. While every part is certified, gradients are far from
//! overflow: that by a weight is at most what flows into its sum, a row's share of one, over the weight, which
//! is bounded from below. The head has no certificate, and its gradients are looked at, which are known by then.
//! (Should one overflow on its way all the same, the step ends as one out of range.) Where a part is not
//! certified, or a row in doubt, all parts go back first, and gradients are looked at before anything is updated.

use rayon::prelude::*;

use super::learned::Learned;
use super::movements::{Moving, Tasks};
use super::state::{HeadShard, PartState};
use super::weights::Making;
use super::{CpuExecutable, by_group, impossible, own_worker};
use crate::data::Dataset;
use crate::engine::{Executable, Stepped, Stepper, Tally, Update, tell_of_nothing};
use crate::plan::Group;

impl CpuExecutable {
    /// Takes numbers of one kind over, if it has begun to learn.
    pub(super) fn set_learned(&mut self, kind: usize, flat: &[f32]) {
        let CpuExecutable { numbers, plan, learned, .. } = self;
        for (group, learned) in plan.groups.iter().zip(learned) {
            Making::of(numbers, plan, group).set(learned, kind, flat);
        }
    }

    /// Copies numbers of one kind out.
    fn get_learned(&self, kind: usize, flat: &mut [f32]) {
        for (group, learned) in self.plan.groups.iter().zip(&self.learned) {
            Making::of(&self.numbers, &self.plan, group).get(learned, kind, flat);
        }
    }

    /// Whether no gradient of the batch, whose forward pass is done, is near overflow.
    fn is_sure(&self) -> bool {
        let Some((head, parts)) = self.states.split_last() else { return false };
        parts.iter().all(|state| state.certified)
            && head.is_moderate()
            && self.head_shards.iter().all(HeadShard::is_sure)
            && self.rows.log_p.iter().copied().all(is_possible)
    }

    /// Runs every part back, and takes the step of each group as soon as its parts are done.
    fn backward_and_update(&mut self, missing: bool, updates: &[Update]) -> Stepped {
        let Moving { tasks, states, head_shards, learned } = self.moving(missing);
        let plan = tasks.batch.plan;
        let below = plan.below_head().len();
        let one = |((group, states), learned): (OfGroup<'_>, &mut Learned)| {
            let first = group.parts.0 as usize;
            let parts = states.par_iter_mut().enumerate().filter(|(at, _)| first + at < below);
            parts.for_each(|(at, state)| tasks.back(first + at, state, head_shards));
            states.iter_mut().for_each(PartState::join_shards);
            tasks.update(group, states, learned, updates)
        };
        let groups = by_group(&plan.groups, states).zip(learned);
        became(tasks.pool.install(|| groups.map(one).reduce(|| true, |a, b| a & b)))
    }

    /// Runs every part back, settles rows in doubt, and then takes the step of every group. Returns how many rows
    /// were in doubt, and what became of the step.
    fn backward_then_update(&mut self, missing: bool, updates: &[Update]) -> (usize, Stepped) {
        self.backward(missing);
        let in_logs = self.settle_doubt(missing, true);
        if !self.rows.log_p.iter().copied().all(is_possible) {
            return (in_logs, Stepped::NotTaken);
        }
        let Moving { tasks, states, learned, .. } = self.moving(missing);
        let plan = tasks.batch.plan;
        let is_finite = |(group, states): OfGroup<'_>| {
            states.iter_mut().for_each(PartState::join_shards);
            let scratch = &mut own_worker(tasks.workers).weights;
            Making::of(tasks.numbers, plan, group).has_finite_gradients(states, scratch)
        };
        let one = |((group, states), learned): (OfGroup<'_>, &mut Learned)| {
            tasks.update(group, states, learned, updates)
        };
        let stepped = tasks.pool.install(|| {
            if !by_group(&plan.groups, states).map(is_finite).reduce(|| true, |a, b| a & b) {
                return Stepped::NotTaken;
            }
            let groups = by_group(&plan.groups, states).zip(learned);
            became(groups.map(one).reduce(|| true, |a, b| a & b))
        });
        (in_logs, stepped)
    }
}

/// A group with the states of its parts.
type OfGroup<'a> = (&'a Group, &'a mut [PartState]);

/// What became of a step that was taken.
fn became(finite: bool) -> Stepped {
    if finite { Stepped::Taken } else { Stepped::OutOfRange }
}

impl Tasks<'_> {
    /// Takes the step of one group and makes its weights. Returns whether all parameters and second moments are
    /// finite.
    fn update(
        &self,
        group: &Group,
        states: &mut [PartState],
        learned: &mut Learned,
        updates: &[Update],
    ) -> bool {
        let plan = self.batch.plan;
        let making = Making::of(self.numbers, plan, group);
        let scratch = &mut own_worker(self.workers).weights;
        let (finite, least) = making.step(updates, learned, states, scratch);
        making.certify(plan, least, states);
        finite
    }
}

/// Whether a log-likelihood is one that learning may meet.
fn is_possible(log_p: f64) -> bool {
    !log_p.is_nan() && log_p < f64::INFINITY
}

impl Stepper for CpuExecutable {
    fn begin(&mut self, _: &Dataset, parameters: &[f32], [first, second]: [&[f32]; 2]) -> bool {
        let CpuExecutable { numbers, plan, learned, .. } = self;
        let room = |group| Making::of(numbers, plan, group).learned(!second.is_empty());
        *learned = plan.groups.iter().map(room).collect();
        self.set_learned(1, first);
        if !second.is_empty() {
            self.set_learned(2, second);
        }
        self.load(parameters);
        true
    }

    fn step(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        updates: &[Update],
        log_p: &mut [f64],
    ) -> (Tally, Stepped) {
        assert!(!self.learned.is_empty(), "it has not begun");
        assert!(rows.len() <= self.plan.batch as usize, "more rows than the plan's batch");
        let tensors = self.numbers.parameters.tensors().count();
        assert_eq!(updates.len(), tensors, "an update for each tensor");
        let missing = data.has_missing();
        // Entered once: each entry from outside costs a wake-up.
        let pool = self.pool.clone();
        let (in_logs, stepped) = pool.install(|| {
            self.gather(data, rows);
            self.forward(missing, true);
            if !self.is_sure() {
                return self.backward_then_update(missing, updates);
            }
            (0, self.backward_and_update(missing, updates))
        });
        self.rows.tell(log_p);
        tell_of_nothing(self.numbers.is_whole, data, rows, log_p);
        (Tally { impossible: impossible(log_p), in_logs }, stepped)
    }

    fn read(&mut self, parameters: &mut [f32], moments: [&mut [f32]; 2]) {
        for (kind, flat) in [parameters].into_iter().chain(moments).enumerate() {
            if !flat.is_empty() {
                self.get_learned(kind, flat);
            }
        }
    }
}
