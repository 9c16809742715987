//! The movements of a batch: parts forward, the head forward and back, parts back.

use std::sync::Mutex;

use rayon::prelude::*;

use super::learned::Learned;
use super::passes::{Batch, HeadPass, PartBack, PartForward};
use super::shared::{How, Prepared, Shared, SharedPart};
use super::state::{HeadShard, PartState};
use super::{CpuExecutable, Worker, own_worker};
use crate::compile::Numbers;

/// The engine while a batch moves: what all tasks read, and what each has for itself.
pub(super) struct Moving<'a> {
    pub(super) tasks: Tasks<'a>,
    /// Of the parts; that of the head is last.
    pub(super) states: &'a mut [PartState],
    pub(super) head_shards: &'a mut [HeadShard],
    pub(super) learned: &'a mut [Learned],
}

/// What the tasks of a batch read.
#[derive(Clone, Copy)]
pub(super) struct Tasks<'a> {
    pub(super) numbers: &'a Numbers,
    pub(super) batch: Batch<'a>,
    pub(super) pool: &'a rayon::ThreadPool,
    pub(super) workers: &'a [Mutex<Worker>],
    prepared: Option<&'a Prepared>,
    shared: &'a [Option<Shared>],
}

impl CpuExecutable {
    /// Begins a movement of the batch gathered last.
    pub(super) fn moving(&mut self, missing: bool) -> Moving<'_> {
        let rows = &self.rows;
        let tasks = Tasks {
            numbers: &self.numbers,
            batch: rows.batch(&self.plan, &self.data, missing),
            pool: &self.pool,
            workers: &self.workers,
            prepared: rows.prepared().map(|known| &self.prepared[known]),
            shared: &self.shared,
        };
        let CpuExecutable { states, head_shards, learned, .. } = self;
        Moving { tasks, states, head_shards, learned }
    }

    /// Runs all parts forward over the batch, then the head, which leaves ln p of each row. To train,
    /// the head goes back too.
    pub(super) fn forward(&mut self, missing: bool, train: bool) {
        let Moving { tasks, states, head_shards, .. } = self.moving(missing);
        let Some((head, parts)) = states.split_last_mut() else { return };
        tasks.pool.install(|| {
            let each = parts.par_iter_mut().enumerate();
            each.for_each(|(number, state)| tasks.forward(number, state));
            tasks.head(parts, head, head_shards, train);
        });
        self.head_shards.iter().for_each(|shard| shard.read(&mut self.rows.log_p));
    }

    /// Runs every part forward again and back.
    pub(super) fn backward(&mut self, missing: bool) {
        let Moving { tasks, states, head_shards, .. } = self.moving(missing);
        let Some((_, parts)) = states.split_last_mut() else { return };
        tasks.pool.install(|| {
            let each = parts.par_iter_mut().enumerate();
            each.for_each(|(number, state)| tasks.back(number, state, head_shards));
        });
    }
}

impl Tasks<'_> {
    /// How a part's values are shared, if they are.
    fn how(&self, number: usize, state: &PartState) -> Option<How<'_>> {
        let Tasks { batch, prepared, shared, .. } = *self;
        let part = &batch.plan.parts[number];
        let how = How::of(shared, prepared, batch.missing, (number, part));
        how.filter(|_| state.may_share())
    }

    /// Runs one part forward over all of its shards.
    fn forward(&self, number: usize, state: &mut PartState) {
        let (how, batch) = (self.how(number, state), self.batch);
        let part = &batch.plan.parts[number];
        let PartState { coefficients, certified, shards, .. } = state;
        let (coefficients, certified) = (&*coefficients, *certified);
        shards.par_iter_mut().for_each(|shard| {
            let Worker { workspace, shared: own, .. } = &mut *own_worker(self.workers);
            if let Some(how) = how {
                let workspace = own;
                SharedPart { batch, part, how, coefficients, certified, shard, workspace }
                    .forward();
                return;
            }
            let task = PartForward { batch, part, coefficients, certified, shard, workspace };
            pulp::Arch::new().dispatch(task);
        });
    }

    /// Runs the head over what all parts have handed to it.
    fn head(
        &self,
        parts: &[PartState],
        head: &mut PartState,
        shards: &mut [HeadShard],
        train: bool,
    ) {
        let PartState { coefficients, certified, shards: own, .. } = head;
        let (coefficients, certified) = (&*coefficients, *certified);
        shards.par_iter_mut().zip(own).enumerate().for_each(|(number, (shard, own))| {
            pulp::Arch::new().dispatch(HeadPass {
                batch: self.batch,
                coefficients,
                certified,
                parts,
                number,
                d_coefficients: &mut own.d_coefficients,
                shard,
                train,
                workspace: &mut own_worker(self.workers).workspace,
            });
        });
    }

    /// Runs one part forward again and back, over all of its shards.
    pub(super) fn back(&self, number: usize, state: &mut PartState, heads: &[HeadShard]) {
        let (how, batch) = (self.how(number, state), self.batch);
        let part = &batch.plan.parts[number];
        let PartState { coefficients, certified, shards, .. } = state;
        let (coefficients, certified) = (&*coefficients, *certified);
        shards.par_iter_mut().zip(heads).for_each(|(shard, head)| {
            let Worker { workspace, shared: own, .. } = &mut *own_worker(self.workers);
            if let Some(how) = how {
                let workspace = own;
                SharedPart { batch, part, how, coefficients, certified, shard, workspace }
                    .backward(number, head);
                return;
            }
            pulp::Arch::new().dispatch(PartBack {
                batch,
                part,
                number,
                coefficients,
                certified,
                shard,
                head,
                workspace,
            });
        });
    }
}
