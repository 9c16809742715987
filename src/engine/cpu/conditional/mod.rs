//! Every variable's distribution given each row: all parts forward, the head forward and back, all parts
//! forward again and back, over a few tiles at a time.
//!
//! The gradient of ln p by the units of a leaf whose variable is missing, which are one, is the *flow*
//! through them: how likely a draw given the row takes the unit's value from there. The flows over all
//! leaves of a variable sum to one, and weigh what the leaves say of it (`leaves.rs`). Where they do not
//! sum to one, linear arithmetic has lost a part of the row: it is in doubt, as where the root says so,
//! and goes through the log domain (`logs.rs` here).
//!
//! No row's numbers depend on another's, so neither the number of threads nor of tiles counts.

mod leaves;
mod logs;
mod pass;

use std::sync::Mutex;

use rayon::prelude::*;

use self::leaves::{Layout, Mixture};
use self::pass::{Buffers, Given, Task};
use super::{CpuExecutable, impossible};
use crate::data::Dataset;
use crate::engine::{Conditionals, Tally};
use crate::ids::VarId;
use crate::plan::LANES;

/// Most tiles that a task takes: its parts' weights come into cache once for all of them.
const TILES: usize = 4;

impl CpuExecutable {
    /// The distributions given some rows; `None` if the plan is not for queries.
    pub(super) fn conditionals_of(
        &self,
        data: &Dataset,
        rows: &[u32],
    ) -> Option<(Conditionals, Tally)> {
        let ways = self.ways.as_ref()?;
        let layout = Layout::new(data.variables(), &ways.depends);
        let mut found = Conditionals::new(data.variables(), rows.len());
        let width = found.width();
        let threads = self.workers.len();
        let tiles = rows.len().div_ceil(LANES).div_ceil(2 * threads).clamp(1, TILES);
        let given = Given { engine: self, ways, layout: &layout, data };
        let buffers = || Mutex::new(Buffers::new(&given, tiles));
        let buffers: Vec<Mutex<Buffers>> = (0..threads).map(|_| buffers()).collect();
        let Conditionals { log_p, numbers, .. } = &mut found;
        let at_once = tiles * LANES;
        let tasks = rows.par_chunks(at_once).zip(log_p.par_chunks_mut(at_once));
        let tasks = tasks.zip(numbers.par_chunks_mut(at_once * width.max(1)));
        let in_doubt: Vec<Vec<u32>> = tasks
            .enumerate()
            .map(|(number, ((rows, log_p), numbers))| {
                let buffers = &mut *super::own_worker(&buffers);
                let mut worker = super::own_worker(&self.workers);
                let workspace = &mut worker.workspace;
                let task = Task { given, rows, log_p, numbers };
                let first = (number * at_once) as u32;
                task.run(buffers, workspace).into_iter().map(|row| first + row).collect()
            })
            .collect();
        let in_doubt: Vec<u32> = match width {
            // Of a circuit without variables nothing is gathered, so that there were no tasks.
            0 => (0..rows.len() as u32).collect(),
            _ => in_doubt.into_iter().flatten().collect(),
        };
        let again: Vec<(f64, Vec<f64>)> = in_doubt
            .par_iter()
            .map(|&row| logs::row(self, &layout, data, rows[row as usize], width))
            .collect();
        for (&row, (log, of)) in in_doubt.iter().zip(&again) {
            log_p[row as usize] = *log;
            numbers[row as usize * width..(row as usize + 1) * width].copy_from_slice(of);
        }
        let tally = Tally { impossible: impossible(log_p), in_logs: in_doubt.len() };
        Some((found, tally))
    }

    /// Says of row `at` of what is found how a row of `data` goes on, of which another engine has found ln p and the
    /// flows over the states of all variables, none of them real. Returns whether they can be relied upon.
    pub(crate) fn tell_flows(
        &self,
        (data, row): (&Dataset, u32),
        log_p: f64,
        flow: impl Fn(usize) -> f64,
        (found, at): (&mut Conditionals, usize),
    ) -> bool {
        let Some(ways) = &self.ways else { return false };
        found.log_p[at] = log_p;
        if log_p == f64::NEG_INFINITY {
            return true;
        }
        let layout = Layout::new(data.variables(), &ways.depends);
        let width = found.width();
        let out = &mut found.numbers[at * width..(at + 1) * width];
        let value = |var: usize| data.value(row as usize, VarId(var as u32)).unwrap_or(f32::NAN);
        layout.tell(value, flow, |_| Mixture::default(), out)
    }

    /// The same by the log domain, under the parameters loaded last.
    pub(crate) fn tell_in_logs(
        &self,
        (data, row): (&Dataset, u32),
        (found, at): (&mut Conditionals, usize),
    ) {
        let Some(ways) = &self.ways else { return };
        let layout = Layout::new(data.variables(), &ways.depends);
        let (log_p, numbers) = logs::row(self, &layout, data, row, found.width());
        found.set(at, log_p, &numbers);
    }
}
