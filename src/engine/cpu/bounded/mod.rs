//! Runs bounded plans: segment by segment, each with weights and values of its own that are forgotten
//! after it.
//!
//! A wave of the plan is a few groups of segments that do not depend on each other; each is a task, and a
//! worker makes the weights of a group, runs it over all tiles of the batch, and keeps nothing but what
//! segments hand on ([`Handed`]). To train, the waves are then gone through once more, from the head down:
//! weights again, each segment forward again and back, and the gradient by its weights at once to the
//! parameters. So a step costs about a forward pass more than a plan that keeps its weights.
//!
//! Gradients are summed tile after tile, and those by shared tensors group after group, so no bit of a
//! result depends on the number of threads.

mod doubt;
mod handed;
mod passes;
mod worker;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use self::doubt::Doubt;
use self::handed::{Gradients, Handed};
use self::worker::{Found, Run, Worker};
use super::weights::{Making, split};
use super::{impossible, own_worker};
use crate::compile::{Compiled, Numbers};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::engine::{Counts, Executable, Tally, tell_of_nothing};
use crate::plan::{Bounded, Plan, Purpose, check};

/// A bounded plan, ready to run on this machine's processor.
pub struct BoundedExecutable {
    numbers: Numbers,
    plan: Plan,
    bounded: Bounded,
    pool: Arc<rayon::ThreadPool>,
    workers: Vec<Mutex<Worker>>,
    handed: Handed,
    /// The parameters loaded last, for evaluations.
    flat: Vec<f32>,
    /// Gradients by shared tensors, a buffer for each group of a wave: those of all makers one after the
    /// other.
    d_shared: Vec<Vec<f32>>,
    /// Of each wave what its groups alone learn, ascending, with the number of the group in it.
    ranges: Vec<Vec<(Range<usize>, usize)>>,
}

impl BoundedExecutable {
    /// Prepares a bounded plan of `compiled` for `threads` threads; 0 for as many as the machine has. Of
    /// the circuit it keeps what its numbers are made from; the rest may go.
    ///
    /// # Errors
    /// E0702 for a plan that may not be run, or is not bounded; E0701 when threads cannot be started.
    pub fn new(compiled: &Compiled, mut plan: Plan, threads: usize) -> Result<Self, Diagnostic> {
        check(&plan).map_err(|fault| Diagnostic::new(Code::E0702, fault.to_string()))?;
        let Some(bounded) = plan.bounded.take() else {
            return Err(Diagnostic::new(Code::E0702, "the plan is not one of segments"));
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Diagnostic::new(Code::E0701, format!("no threads: {error}")))?;
        let workers = (0..pool.current_num_threads()).map(|_| Mutex::new(Worker::new(&plan)));
        let workers = workers.collect();
        let numbers = compiled.numbers();
        let train = plan.purpose == Purpose::Train;
        let shared = || vec![0.0; plan.making.shared];
        let widest = bounded.waves.iter().map(|&(first, end)| end - first).max().unwrap_or(0);
        let d_shared = (0..if train { widest } else { 0 }).map(|_| shared()).collect();
        let waves = if train { &bounded.waves[..] } else { &[] };
        let ranges = waves.iter().map(|&wave| own_ranges(&numbers, &plan, wave)).collect();
        let handed = Handed::new(&plan, &bounded);
        let pool = Arc::new(pool);
        let flat = Vec::new();
        Ok(BoundedExecutable {
            numbers,
            plan,
            bounded,
            pool,
            workers,
            handed,
            flat,
            d_shared,
            ranges,
        })
    }

    /// Runs all waves forward over a batch and writes ln p of its rows. Returns those in doubt, which it
    /// has settled.
    fn forward(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
    ) -> Doubt {
        let BoundedExecutable { numbers, plan, bounded, workers, handed, .. } = self;
        let run = Run { numbers, plan, bounded, parameters, data, rows };
        let (&head, waves) = bounded.waves.split_last().unwrap_or((&(0, 0), &[]));
        for &wave in waves {
            handed.wave(plan, bounded, wave).into_par_iter().for_each(|task| {
                let mut worker = own_worker(workers);
                worker.make(run, task.group);
                worker.forward(run, task);
            });
        }
        let mut worker = own_worker(workers);
        let head = &plan.groups[head.0 as usize];
        worker.make(run, head);
        let mut doubt = Doubt::new(run, worker.head(run, handed, log_p));
        if doubt.len() > 0 {
            for group in &plan.groups {
                worker.make(run, group);
                doubt.forward(run, &mut worker, group);
            }
            doubt.tell(log_p);
        }
        doubt
    }

    /// Runs all waves forward again and back, the head first, and writes the gradient by the parameters;
    /// or, where counts are wanted, those of weights in its place, and those of leaves to them.
    fn backward(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        doubt: &Doubt,
        gradient: &mut [f32],
        counts: Option<&Mutex<&mut Counts<f32>>>,
    ) {
        gradient.fill(0.0);
        let BoundedExecutable { numbers, plan, bounded, workers, handed, d_shared, ranges, .. } =
            self;
        let run = Run { numbers, plan, bounded, parameters, data, rows };
        let (given, returned) = handed.given();
        for (&wave, ranges) in bounded.waves.iter().zip(&*ranges).rev() {
            let groups = &plan.groups[wave.0 as usize..wave.1 as usize];
            let own = split(gradient, ranges, groups.len());
            let back = |group, gradients: Gradients<'_>, mut own, d_shared: &mut Vec<f32>| {
                let mut worker = own_worker(workers);
                worker.make(run, group);
                let found = Found { own: &mut own, d_shared, counts };
                worker.backward(run, group, &given, gradients, doubt, found);
            };
            let tasks: Vec<_> = groups.iter().zip(own).zip(&mut *d_shared).collect();
            match groups {
                [group] => tasks.into_iter().for_each(|((_, own), d_shared)| {
                    back(group, Gradients::Write(&mut *returned), own, d_shared);
                }),
                _ => tasks.into_par_iter().for_each(|((group, own), d_shared)| {
                    back(group, Gradients::Read(&*returned), own, d_shared);
                }),
            }
            if counts.is_none() {
                add_shared(numbers, &d_shared[..groups.len()], gradient);
            }
        }
    }

    /// Forward and back over a batch.
    ///
    /// # Panics
    /// When the plan is for evaluation only, or there are more rows than its batch.
    fn differentiate(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
        counts: Option<&Mutex<&mut Counts<f32>>>,
    ) -> Tally {
        assert!(self.plan.purpose == Purpose::Train, "a plan for evaluation has no gradients");
        assert!(rows.len() <= self.plan.batch as usize, "more rows than the plan's batch");
        let in_logs = self.pool.clone().install(|| {
            let doubt = self.forward(parameters, data, rows, log_p);
            self.backward(parameters, data, rows, &doubt, gradient, counts);
            doubt.len()
        });
        tell_of_nothing(self.numbers.is_whole, data, rows, log_p);
        Tally { impossible: impossible(log_p), in_logs }
    }
}

/// What the groups of a wave alone learn, as ranges of the flat buffer, each with the number of its group.
fn own_ranges(numbers: &Numbers, plan: &Plan, wave: (u32, u32)) -> Vec<(Range<usize>, usize)> {
    let mut ranges = Vec::new();
    for (number, group) in plan.groups[wave.0 as usize..wave.1 as usize].iter().enumerate() {
        let own = Making::of(numbers, plan, group).own_ranges();
        ranges.extend(own.into_iter().map(|range| (range, number)));
    }
    ranges.sort_by_key(|(range, _)| range.start);
    ranges
}

/// Adds the gradients by shared tensors, group after group.
fn add_shared(numbers: &Numbers, d_shared: &[Vec<f32>], gradient: &mut [f32]) {
    for d_shared in d_shared {
        let mut first = 0;
        for maker in numbers.parameters.makers() {
            let target = &mut gradient[maker.shared.clone()];
            let more = &d_shared[first..first + target.len()];
            first += target.len();
            target.iter_mut().zip(more).for_each(|(target, &more)| *target += more);
        }
    }
}

impl Executable for BoundedExecutable {
    fn load(&mut self, parameters: &[f32]) {
        self.flat.clear();
        self.flat.extend_from_slice(parameters);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        let mut tally = Tally::default();
        let batch = self.plan.batch as usize;
        let flat = std::mem::take(&mut self.flat);
        self.pool.clone().install(|| {
            for (rows, log_p) in rows.chunks(batch).zip(log_p.chunks_mut(batch)) {
                tally.in_logs += self.forward(&flat, data, rows, log_p).len();
            }
        });
        self.flat = flat;
        tell_of_nothing(self.numbers.is_whole, data, rows, log_p);
        tally.impossible = impossible(log_p);
        tally
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
        self.differentiate(parameters, data, rows, log_p, gradient, None)
    }

    /// # Panics
    /// As [`BoundedExecutable::gradient`] does.
    fn expected_counts(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        counts: &mut Counts<f32>,
    ) -> Option<Tally> {
        counts.clear();
        let mut weights = std::mem::take(&mut counts.weights);
        let leaves = Mutex::new(&mut *counts);
        let out = &mut weights;
        let tally = self.differentiate(parameters, data, rows, log_p, out, Some(&leaves));
        counts.weights = weights;
        Some(tally)
    }

    fn arithmetic(&self) -> String {
        format!("cpu {:?}", pulp::Arch::new())
    }
}
