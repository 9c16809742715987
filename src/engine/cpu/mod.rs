//! The vectorised CPU engine.
//!
//! A batch is worked through in four movements, each parallel and none depending on how many threads
//! there are: the weights of every part; every part forward over every tile; the head over every tile,
//! forward and, for gradients, back; every part forward again and back. What a part keeps of a tile
//! stays in the cache of the core that works on it: parts are evaluated twice rather than stored.
//! To learn, the step of a group of parts may follow right behind (`stepper.rs`).
//! Gradients by coefficients are summed tile after tile within a shard, shards in their order, and those
//! by shared tensors group after group of parts.

mod backward;
mod bounded;
mod conditional;
mod densities;
mod doubt;
mod forward;
mod gradients;
mod host;
mod kernels;
mod kronecker;
mod learned;
mod logs;
mod movements;
mod outputs;
mod passes;
mod places;
mod product_sum;
mod row_logs;
mod rows;
mod shared;
mod sparse;
mod state;
mod stepper;
mod tables;
mod tile;
mod trees;
mod ways;
mod weights;
mod whole;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

pub use self::bounded::BoundedExecutable;
use self::doubt::Doubt;
pub(crate) use self::host::constant_coefficients;
use self::learned::Learned;
use self::rows::BatchRows;
pub use self::shared::Evaluated;
use self::shared::{How, Prepared, Refused, Shared, WholeSet};
use self::state::{HeadShard, PartState};
use self::tile::Workspace;
use self::ways::Ways;
use self::weights::{Making, WeightScratch, constants, split};
use self::whole::Whole;
use super::{
    Completions, Conditionals, Counts, Draws, Executable, Stepper, Tally, tell_of_nothing,
};
use crate::compile::{Compiled, Numbers};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::drawing::Agreement;
use crate::plan::{self, Choice, Group, LANES, Part, Plan, Purpose, check};
use crate::simd::take;

/// Where a plan would share values of some data, if at most `limit` bytes of them were interned: what
/// [`Executable::prepare_within`] chooses. It takes about as long as to intern them.
pub fn choice(plan: &Plan, data: &Dataset, limit: usize) -> Choice {
    shared::choice(plan, data, limit)
}

/// How the engine would evaluate some data once, keeping at most `limit` bytes for that: what
/// [`Executable::prepare_evaluations`] chooses. It takes about as long as to intern them.
pub fn evaluated_once(plan: &Plan, data: &Dataset, limit: usize) -> plan::Evaluated {
    shared::evaluated_once(plan, data, limit)
}

/// How much the rows of some data agree on the scopes of a plan's regions, and batches of its size. `None`
/// where the data are not all of categories, or no part is of discrete variables alone.
pub fn agreement(plan: &Plan, data: &Dataset) -> Option<Agreement> {
    shared::agreement(plan, data)
}

/// A plan, ready to run on this machine's processor.
pub struct CpuExecutable {
    numbers: Numbers,
    plan: Plan,
    pool: Arc<rayon::ThreadPool>,
    workers: Vec<Mutex<Worker>>,
    /// The parts of the plan; the head is last.
    states: Vec<PartState>,
    head_shards: Vec<HeadShard>,
    /// The batch, [tiles][variables][LANES].
    data: Vec<f32>,
    rows: BatchRows,
    /// What is shared of each program.
    shared: Vec<Option<Shared>>,
    /// Data sets that were prepared, the last one last.
    prepared: Vec<Prepared>,
    /// Data sets that are evaluated whole, and what that works in.
    sets: Vec<WholeSet>,
    whole: Whole,
    /// Bytes that data still to be prepared may take.
    spare: usize,
    /// Gradients by shared tensors, a buffer a group: those of all makers one after the other.
    d_shared: Vec<Vec<f32>>,
    /// What each group alone learns, ascending, with the number of the group.
    ranges: Vec<(Range<usize>, usize)>,
    /// What each group learns, once it has begun to.
    learned: Vec<Learned>,
    /// Where the units of each value of each program begin.
    offsets: Vec<Vec<usize>>,
    /// The ways down to leaves, in a plan for queries.
    ways: Option<Ways>,
}

/// The memory of one thread.
struct Worker {
    workspace: Workspace,
    shared: shared::Workspace,
    weights: WeightScratch,
}

/// The memory of the thread that calls. A worker is locked by its own thread alone; one that panicked
/// left nothing behind that the next task does not overwrite.
fn own_worker<W>(workers: &[Mutex<W>]) -> MutexGuard<'_, W> {
    let index = rayon::current_thread_index().unwrap_or(0) % workers.len();
    workers[index].lock().unwrap_or_else(PoisonError::into_inner)
}

impl CpuExecutable {
    /// Prepares a plan of `compiled` for `threads` threads; 0 for as many as the machine has.
    ///
    /// # Errors
    /// E0702 for a plan that may not be run, or is bounded; E0701 when threads cannot be started.
    pub fn new(compiled: Arc<Compiled>, plan: Plan, threads: usize) -> Result<Self, Diagnostic> {
        check(&plan).map_err(|fault| Diagnostic::new(Code::E0702, fault.to_string()))?;
        if plan.bounded.is_some() {
            return Err(Diagnostic::new(Code::E0702, "a plan of segments is not run part by part"));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Diagnostic::new(Code::E0701, format!("no threads: {error}")))?;
        let numbers = compiled.numbers();
        let shared = Shared::all(&plan);
        let worker = |_| {
            Mutex::new(Worker {
                workspace: Workspace::new(&plan),
                shared: shared::Workspace::new(&plan, &shared),
                weights: WeightScratch::new(plan.making),
            })
        };
        let workers = (0..pool.current_num_threads()).map(worker).collect();
        let state = |part: &Part| {
            let shared = shared[part.program as usize].as_ref();
            PartState::new(&plan, part, shared)
        };
        let mut states: Vec<PartState> = plan.parts.iter().map(state).collect();
        for (part, state) in plan.parts.iter().zip(&mut states) {
            state.constant_least =
                constants(&numbers.weights, &numbers.dists, part, &mut state.coefficients);
        }
        let mut ranges = Vec::new();
        for (number, group) in plan.groups.iter().enumerate() {
            let making = Making::of(&numbers, &plan, group);
            ranges.extend(making.own_ranges().into_iter().map(|range| (range, number)));
        }
        ranges.sort_by_key(|(range, _)| range.start);
        let d_shared = match plan.purpose {
            Purpose::Train => vec![vec![0.0; plan.making.shared]; plan.groups.len()],
            Purpose::Evaluate | Purpose::Query => Vec::new(),
        };
        let head_shards = HeadShard::all(&plan);
        let data = vec![0.0; plan.tiles() * plan.variables as usize * LANES];
        let offsets = plan.programs.iter().map(logs::offsets).collect();
        let plan_rows = plan.tiles() * LANES;
        let ways = Ways::of(&plan);
        Ok(CpuExecutable {
            numbers,
            plan,
            pool: Arc::new(pool),
            workers,
            states,
            head_shards,
            data,
            rows: BatchRows::new(plan_rows),
            shared,
            prepared: Vec::new(),
            sets: Vec::new(),
            whole: Whole::default(),
            spare: usize::MAX,
            d_shared,
            ranges,
            learned: Vec::new(),
            offsets,
            ways,
        })
    }

    /// The same, keeping at most so many bytes of all data that are prepared.
    pub fn keeping(self, bytes: usize) -> Self {
        CpuExecutable { spare: bytes, ..self }
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the forward pass over the last batch took.
    pub fn evaluated(&self) -> Evaluated {
        let prepared = self.rows.prepared().map(|known| &self.prepared[known]);
        let mut taken = Evaluated::default();
        let parts = self.plan.below_head().iter().zip(&self.states).enumerate();
        for (number, (part, state)) in parts {
            let how = How::of(&self.shared, prepared, self.rows.missing, (number, part));
            match how.filter(|_| state.may_share()) {
                Some(how) => {
                    let found = state.shards.iter().filter_map(|shard| shard.found.as_ref());
                    found.for_each(|found| taken += how.evaluated(found));
                }
                None => {
                    let steps = self.plan.program(part).steps.len();
                    taken.dense += (steps * self.rows.read().len()) as u64;
                }
            }
        }
        taken
    }

    /// Fills the batch with rows of the data.
    fn gather(&mut self, data: &Dataset, rows: &[u32]) {
        let prepared = self.prepared.iter_mut();
        let known = prepared.enumerate().find(|(_, known)| known.is_of(data));
        self.pool.install(|| self.rows.take(rows, known));
        self.rows.missing = data.has_missing();
        let tile = self.plan.variables as usize * LANES;
        let rows = self.rows.read();
        let tiles = self.data.par_chunks_mut(tile.max(1)).zip(rows.par_chunks(LANES));
        self.pool.install(|| tiles.for_each(|(tile, rows)| data.tile(rows, tile)));
    }

    fn make_weights(&mut self, flat: &[f32]) {
        let CpuExecutable { numbers, plan, pool, workers, states, .. } = self;
        pool.install(|| {
            let make = |(group, states): (&Group, &mut [PartState])| {
                let making = Making::of(numbers, plan, group);
                let least = making.make(flat, states, &mut own_worker(workers).weights);
                making.certify(plan, least, states);
            };
            by_group(&plan.groups, states).for_each(make);
        });
        self.set_learned(0, flat);
    }

    /// Evaluates the rows in doubt in the log domain. Returns how many there were.
    fn settle_doubt(&mut self, missing: bool, train: bool) -> usize {
        let doubt: Vec<u32> =
            self.head_shards.iter().flat_map(|shard| shard.in_doubt.iter().copied()).collect();
        if doubt.is_empty() {
            return 0;
        }
        self.settle_rows(&doubt, missing, train);
        doubt.iter().map(|&row| self.rows.standing_for(row)).sum()
    }

    /// Evaluates some rows of the batch in the log domain.
    fn settle_rows(&mut self, doubt: &[u32], missing: bool, train: bool) {
        let CpuExecutable { plan, pool, states, data, offsets, rows, .. } = self;
        let mut log_p = std::mem::take(&mut rows.log_p);
        let batch = rows.batch(plan, data, missing);
        if let Some((head, parts)) = states.split_last_mut() {
            let settle = Doubt { batch, offsets, rows: doubt };
            pool.install(|| settle.settle(parts, head, train, &mut log_p));
        }
        rows.log_p = log_p;
    }

    /// From the gradients by coefficients to those by parameters.
    fn collect(&mut self, flat: &[f32], gradient: &mut [f32]) {
        let CpuExecutable { numbers, plan, pool, workers, states, d_shared, ranges, .. } = self;
        let own = split(gradient, ranges, plan.groups.len());
        pool.install(|| {
            let groups = by_group(&plan.groups, states).zip(own).zip(&mut *d_shared);
            groups.for_each(|(((group, states), mut own), d_shared)| {
                states.iter_mut().for_each(PartState::join_shards);
                d_shared.fill(0.0);
                let scratch = &mut own_worker(workers).weights;
                let making = Making::of(numbers, plan, group);
                making.back(flat, states, &mut own, d_shared, scratch);
            });
        });
        let mut first = 0;
        for maker in numbers.parameters.makers() {
            let target = &mut gradient[maker.shared.clone()];
            target.fill(0.0);
            let range = first..first + target.len();
            first = range.end;
            for d_shared in &*d_shared {
                let more = &d_shared[range.clone()];
                target.iter_mut().zip(more).for_each(|(target, &more)| *target += more);
            }
        }
    }

    /// From the gradients by coefficients to expected counts.
    fn count(&mut self, counts: &mut Counts<f32>) {
        counts.clear();
        let CpuExecutable { numbers, plan, pool, states, ranges, .. } = self;
        let own = split(&mut counts.weights, ranges, plan.groups.len());
        pool.install(|| {
            let groups = by_group(&plan.groups, states).zip(own);
            groups.for_each(|((group, states), mut own)| {
                states.iter_mut().for_each(PartState::join_shards);
                Making::of(numbers, plan, group).count_weights(states, &mut own);
            });
        });
        let mut states = &states[..];
        for group in &plan.groups {
            let (own, rest) = states.split_at((group.parts.1 - group.parts.0) as usize);
            states = rest;
            Making::of(numbers, plan, group).count_leaves(own, counts);
        }
    }

    /// Writes ln p of rows, batch by batch. Returns how many were evaluated in the log domain.
    fn evaluate_in_batches(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> usize {
        let (batch, missing) = (self.plan.batch as usize, data.has_missing());
        let mut in_logs = 0;
        for (rows, log_p) in rows.chunks(batch).zip(log_p.chunks_mut(batch)) {
            self.gather(data, rows);
            self.forward(missing, false);
            in_logs += self.settle_doubt(missing, false);
            self.rows.tell(log_p);
        }
        in_logs
    }

    /// Writes ln p of rows that differ, evaluated in the log domain, batch by batch.
    fn evaluate_in_logs(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) {
        let batch = self.plan.batch as usize;
        for (rows, log_p) in rows.chunks(batch).zip(log_p.chunks_mut(batch)) {
            self.gather(data, rows);
            let all: Vec<u32> = (0..self.rows.read().len() as u32).collect();
            self.settle_rows(&all, data.has_missing(), false);
            self.rows.tell(log_p);
        }
    }

    /// Loads parameters, writes ln p of each row, and leaves the gradients by coefficients in the
    /// shards. Returns how many rows were evaluated in the log domain.
    ///
    /// # Panics
    /// When the plan is for evaluation only, or there are more rows than its batch.
    fn differentiate(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
    ) -> usize {
        assert!(self.plan.purpose == Purpose::Train, "a plan for evaluation has no gradients");
        assert!(rows.len() <= self.plan.batch as usize, "more rows than the plan's batch");
        let missing = data.has_missing();
        self.make_weights(parameters);
        self.gather(data, rows);
        self.forward(missing, true);
        self.backward(missing);
        let in_logs = self.settle_doubt(missing, true);
        self.rows.tell(log_p);
        tell_of_nothing(self.numbers.is_whole, data, rows, log_p);
        in_logs
    }
}

/// Rows of probability zero.
fn impossible(log_p: &[f64]) -> usize {
    log_p.iter().filter(|&&log| log == f64::NEG_INFINITY).count()
}

/// The states of each group's parts.
fn by_group<'a>(
    groups: &'a [Group],
    mut states: &'a mut [PartState],
) -> rayon::vec::IntoIter<(&'a Group, &'a mut [PartState])> {
    let mut pairs = Vec::with_capacity(groups.len());
    for group in groups {
        let count = (group.parts.1 - group.parts.0) as usize;
        pairs.push((group, take(&mut states, count)));
    }
    pairs.into_par_iter()
}

impl Executable for CpuExecutable {
    fn load(&mut self, parameters: &[f32]) {
        self.make_weights(parameters);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        let pool = self.pool.clone();
        let in_logs = pool.install(|| match self.known_whole(data, rows.len()) {
            Some(known) => self.evaluate_whole(known, data, rows, log_p),
            None => self.evaluate_in_batches(data, rows, log_p),
        });
        tell_of_nothing(self.numbers.is_whole, data, rows, log_p);
        Tally { impossible: impossible(log_p), in_logs }
    }

    /// # Panics
    /// When the plan is for evaluation only, or there are more rows than its batch.
    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        // Entered once: each entry from outside costs a wake-up.
        let pool = self.pool.clone();
        let in_logs = pool.install(|| {
            let in_logs = self.differentiate(parameters, data, rows, log_p);
            if self.ranges.iter().map(|(range, _)| range.len()).sum::<usize>() < gradient.len() {
                gradient.fill(0.0);
            }
            self.collect(parameters, gradient);
            in_logs
        });
        Tally { impossible: impossible(log_p), in_logs }
    }

    /// # Panics
    /// As [`CpuExecutable::gradient`] does.
    fn expected_counts(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        counts: &mut Counts<f32>,
    ) -> Option<Tally> {
        let pool = self.pool.clone();
        let in_logs = pool.install(|| {
            let in_logs = self.differentiate(parameters, data, rows, log_p);
            self.count(counts);
            in_logs
        });
        Some(Tally { impossible: impossible(log_p), in_logs })
    }

    fn conditionals(&mut self, data: &Dataset, rows: &[u32]) -> Option<(Conditionals, Tally)> {
        let pool = self.pool.clone();
        let (mut found, tally) = pool.install(|| self.conditionals_of(data, rows))?;
        tell_of_nothing(self.numbers.is_whole, data, rows, &mut found.log_p);
        Some((found, tally))
    }

    fn draws(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        each: usize,
        seed: u64,
    ) -> Option<(Draws, Tally)> {
        let pool = self.pool.clone();
        let (mut found, tally) = pool.install(|| self.draws_of(data, rows, each, seed))?;
        tell_of_nothing(self.numbers.is_whole, data, rows, &mut found.log_p);
        Some((found, tally))
    }

    fn completions(&mut self, data: &Dataset, rows: &[u32]) -> Option<Completions> {
        let pool = self.pool.clone();
        pool.install(|| self.completions_of(data, rows))
    }

    fn prepare_within(&mut self, data: &Dataset, limit: usize) -> usize {
        if let Some(known) = self.prepared.iter().find(|known| known.is_of(data)) {
            return known.bytes();
        }
        let plan = &self.plan;
        let limit = limit.min(self.spare);
        let Some(prepared) = self.pool.install(|| Prepared::new(data, plan, limit)) else {
            return 0;
        };
        let bytes = prepared.bytes();
        for worker in &self.workers {
            let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            worker.shared.reserve(&prepared);
        }
        for (state, part) in self.states.iter_mut().zip(self.plan.below_head()) {
            let found = state.shards.iter_mut().filter_map(|shard| shard.found.as_mut());
            found.for_each(|found| found.reserve(prepared.found(part)));
        }
        self.spare = self.spare.saturating_sub(bytes);
        self.prepared.push(prepared);
        bytes
    }

    fn prepare_evaluations(&mut self, data: &Dataset, times: usize) -> usize {
        if let Some(known) = self.sets.iter().find(|set| set.is_of(data)) {
            return known.bytes();
        }
        let (plan, limits) = (&self.plan, (self.workers.len(), self.spare));
        let set = match self.pool.install(|| WholeSet::new(data, plan, times, limits)) {
            Ok(set) => set,
            // What does not fit may pay batch by batch, if it is done again and again.
            Err(Refused::TooLarge) if times > 1 => return self.prepare(data),
            Err(_) => return 0,
        };
        self.whole.reserve(&self.plan, &set);
        let bytes = set.bytes();
        // Not of the workers that there are: what is left must not depend on their number.
        self.spare = self.spare.saturating_sub(set.most_bytes);
        self.sets.push(set);
        bytes
    }

    fn stepper(&mut self) -> Option<&mut dyn Stepper> {
        let takes_steps = self.plan.purpose == Purpose::Train && self.plan.making.learned > 0;
        if takes_steps { Some(self) } else { None }
    }

    fn arithmetic(&self) -> String {
        format!("cpu {:?}", pulp::Arch::new())
    }
}
