//! Rows in doubt, evaluated in the log domain.

use rayon::prelude::*;

use super::gradients::LogSums;
use super::logs::LogRow;
use super::passes::Batch;
use super::state::PartState;
use crate::plan::{LANES, Part};

/// What the log domain needs of an engine.
pub(super) struct Doubt<'a> {
    pub(super) batch: Batch<'a>,
    /// Where the units of each value of each program begin.
    pub(super) offsets: &'a [Vec<usize>],
    /// The rows, of the batch.
    pub(super) rows: &'a [u32],
}

/// A number for each unit of each value, for each row.
type PerRow = Vec<Vec<f64>>;

impl<'a> Doubt<'a> {
    fn row(&self, part: &'a Part, coefficients: &'a [f32], row: u32) -> LogRow<'a> {
        let unit = self.batch.unit(part, coefficients, false, row as usize / LANES);
        let offsets = &self.offsets[part.program as usize];
        LogRow { unit, offsets, lane: row as usize % LANES }
    }

    /// Where an output of a part lies among the numbers of its program.
    fn output(&self, part: u32, output: u32) -> std::ops::Range<usize> {
        let part = &self.batch.plan.below_head()[part as usize];
        let value = self.batch.plan.program(part).outputs[output as usize] as usize;
        let offsets = &self.offsets[part.program as usize];
        offsets[value]..offsets[value + 1]
    }

    /// Writes ln p of the rows; with `train`, adds their gradients to those of the first shards.
    pub(super) fn settle(
        &self,
        parts: &mut [PartState],
        head: &mut PartState,
        train: bool,
        log_p: &mut [f64],
    ) {
        let below = self.batch.plan.below_head();
        let made: Vec<PerRow> = parts
            .par_iter()
            .zip(below)
            .map(|(state, part)| {
                let rows = self.rows.iter();
                rows.map(|&row| self.row(part, &state.coefficients, row).forward(|_, _| &[]))
                    .collect()
            })
            .collect();
        let flows = self.head(&made, head, train, log_p);
        if !train {
            return;
        }
        let work = made.par_iter().zip(flows);
        parts.par_iter_mut().zip(below).zip(work).for_each(|((state, part), (made, flows))| {
            let PartState { coefficients, shards, .. } = state;
            let mut gathered = LogSums(&mut shards[0].d_coefficients);
            for ((&row, logs), mut flows) in self.rows.iter().zip(made).zip(flows) {
                let row = self.row(part, coefficients, row);
                row.backward(logs, &mut flows, &mut gathered, |_, _, _| {});
            }
        });
    }

    /// The head of each row, and the flows that it hands back.
    fn head(
        &self,
        made: &[PerRow],
        head: &mut PartState,
        train: bool,
        log_p: &mut [f64],
    ) -> Vec<PerRow> {
        let plan = self.batch.plan;
        let zeros = |rows: &PerRow| rows.iter().map(|logs| vec![0.0; logs.len()]).collect();
        let mut flows: Vec<PerRow> =
            if train { made.iter().map(zeros).collect() } else { Vec::new() };
        let PartState { coefficients, shards, .. } = head;
        for (index, &row) in self.rows.iter().enumerate() {
            let log_row = self.row(plan.head(), coefficients, row);
            let logs = log_row
                .forward(|part, output| &made[part as usize][index][self.output(part, output)]);
            let root = log_row.output_range(0).start;
            log_p[row as usize] = logs[root];
            if !train || logs[root] == f64::NEG_INFINITY {
                continue;
            }
            let mut own = vec![0.0; logs.len()];
            own[root] = f64::from(self.batch.weights[row as usize]);
            let mut gathered = LogSums(&mut shards[0].d_coefficients);
            log_row.backward(&logs, &mut own, &mut gathered, |part, output, flow| {
                let place = self.output(part, output);
                flows[part as usize][index][place].copy_from_slice(flow);
            });
        }
        flows
    }
}
