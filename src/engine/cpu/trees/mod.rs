//! Rows drawn given others, and likeliest completions: both follow *induced trees* down the plan, from the
//! root through one term of each sum and both factors of each product to a leaf of each variable.
//!
//! A forward pass leaves in its arenas all that the way down asks (`grow.rs`): a plan for queries keeps every
//! value. What is one for both is the walk through a program (`follow.rs`, `terms.rs`). They differ in how
//! units compare, by mantissas (`linear.rs`, `values.rs`) or by logarithms of max-product (`max_plus.rs`), and
//! in what is picked: terms at random (`draw.rs`, `samples.rs`) or the greatest (`best.rs`, `completions.rs`).
//!
//! No tree depends on another's, so neither the number of threads nor of rows counts.

mod best;
mod completions;
mod draw;
mod follow;
mod grow;
mod linear;
mod max_plus;
mod samples;
mod terms;
#[cfg(test)]
mod tests;
mod values;

use rayon::prelude::*;

use self::grow::Ground;
use self::max_plus::MaxPlus;
use self::samples::Drawn;
use super::outputs::Handed;
use super::{CpuExecutable, impossible};
use crate::data::Dataset;
use crate::engine::{Completions, Draws, Tally};
use crate::plan::LANES;

/// Most tiles that a task takes: the more rows, the fuller the tiles of those that reach a part.
const TILES: usize = 8;

impl CpuExecutable {
    /// Draws given some rows, so many each; `None` if the plan is not for queries.
    pub(super) fn draws_of(
        &self,
        data: &Dataset,
        rows: &[u32],
        each: usize,
        seed: u64,
    ) -> Option<(Draws, Tally)> {
        let ground = Ground { engine: self, ways: self.ways.as_ref()?, data };
        let width = data.columns();
        // Of no variables there are no values to be cut into tasks: such a circuit is walked.
        if width == 0 {
            return None;
        }
        let mut found = Draws::new(rows.len(), each, width);
        let at_once = self.rows_of_a_task(rows.len() * each);
        let Draws { log_p, values, .. } = &mut found;
        let tasks = values.par_chunks_mut(at_once * width).enumerate();
        let drawn: Vec<Drawn> = tasks
            .map(|(number, out)| {
                let workspace = &mut super::own_worker(&self.workers).workspace;
                let first = number * at_once;
                samples::Task { ground, rows, each, first, seed, out }.run(workspace)
            })
            .collect();
        for &(given, log) in drawn.iter().flat_map(|drawn| &drawn.log_p) {
            log_p[given] = log;
        }
        let in_logs = drawn.iter().map(|drawn| drawn.in_logs).sum();
        let tally = Tally { impossible: impossible(log_p), in_logs };
        Some((found, tally))
    }

    /// The likeliest completions of some rows; `None` if the plan is not for queries.
    pub(super) fn completions_of(&self, data: &Dataset, rows: &[u32]) -> Option<Completions> {
        let ground = Ground { engine: self, ways: self.ways.as_ref()?, data };
        let width = data.columns();
        // Of no variables there are no values to be cut into tasks: such a circuit is walked.
        if width == 0 {
            return None;
        }
        let mut found = Completions::new(rows.len(), width);
        let ln = |&coefficient: &f32| f64::from(coefficient).ln();
        let logs: Vec<Vec<f64>> =
            self.states.par_iter().map(|of| of.coefficients.iter().map(ln).collect()).collect();
        let at_once = self.rows_of_a_task(rows.len());
        let Completions { log_best, values, .. } = &mut found;
        let tasks = rows.par_chunks(at_once).zip(log_best.par_chunks_mut(at_once));
        let tasks = tasks.zip(values.par_chunks_mut(at_once * width));
        let units = self.offsets.iter().filter_map(|offsets| offsets.last()).max();
        tasks.for_each(|((rows, log_best), out)| {
            let passes = MaxPlus {
                logs: &logs,
                values: vec![0.0; units.copied().unwrap_or(0) * LANES],
                handed: vec![
                    0.0;
                    ground.ways.places.total().0 * rows.len().div_ceil(LANES) * LANES
                ],
            };
            completions::Task { ground, rows, log_best, out }.run(passes);
        });
        Some(found)
    }

    /// How many of so many rows a task takes, so that there are tasks for all threads.
    fn rows_of_a_task(&self, rows: usize) -> usize {
        let tiles = rows.div_ceil(LANES).div_ceil(2 * self.workers.len());
        tiles.clamp(1, TILES) * LANES
    }
}

impl Ground<'_> {
    /// Room for what parts hand to the head, of so many tiles.
    fn handed(&self, tiles: usize) -> Handed {
        Handed::new(&self.ways.places, tiles)
    }
}
