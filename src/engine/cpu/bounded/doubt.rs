//! Rows in doubt, evaluated in the log domain, segment by segment.

use std::sync::{Mutex, PoisonError};

use super::super::forward::Unit;
use super::super::gradients::LogSums;
use super::super::logs::{LogRow, offsets};
use super::worker::{LocalRows, Run, Worker};
use crate::plan::Group;

/// The rows of a batch in doubt, and what segments hand on for them.
pub(super) struct Doubt {
    /// Their numbers in the batch.
    rows: Vec<u32>,
    /// Where the units that each segment hands on begin; one more than segments.
    starts: Vec<usize>,
    /// Logarithms of these units, a list for each row.
    logs: Vec<Vec<f64>>,
    /// Flows by them.
    flows: Vec<Mutex<Vec<f64>>>,
}

impl Doubt {
    pub(super) fn new(run: Run<'_>, rows: Vec<u32>) -> Self {
        let mut starts = vec![0];
        let mut total = 0;
        for part in run.plan.parts.iter().filter(|_| !rows.is_empty()) {
            total += run.plan.output_units(part) as usize;
            starts.push(total);
        }
        let zeros = || vec![0.0; total];
        let logs = rows.iter().map(|_| zeros()).collect();
        let flows = rows.iter().map(|_| Mutex::new(zeros())).collect();
        Doubt { rows, starts, logs, flows }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn units(&self, part: u32) -> std::ops::Range<usize> {
        self.starts[part as usize]..self.starts[part as usize + 1]
    }

    /// Runs a group forward whose weights `worker` made last.
    pub(super) fn forward(&mut self, run: Run<'_>, worker: &mut Worker, group: &Group) {
        let (made, local) = worker.made();
        for (number, coefficients) in (group.parts.0..group.parts.1).zip(made) {
            let offsets = offsets(run.plan.program(&run.plan.parts[number as usize]));
            for index in 0..self.rows.len() {
                let row = self.row(run, number as usize, index, coefficients, local, &offsets);
                let logs = self.values(run, number as usize, index, &row);
                let output = row.output_range(0);
                let place = self.units(number);
                self.logs[index][place].copy_from_slice(&logs[output]);
            }
        }
    }

    /// Writes ln p of the rows once the head has run, and the flow that the root begins with.
    pub(super) fn tell(&mut self, log_p: &mut [f64]) {
        let Some(root) = self.starts.len().checked_sub(2) else { return };
        let root = self.units(root as u32).start;
        for (index, &row) in self.rows.iter().enumerate() {
            let log = self.logs[index][root];
            log_p[row as usize] = log;
            let flow = if log == f64::NEG_INFINITY { 0.0 } else { 1.0 };
            self.flows[index].get_mut().unwrap_or_else(PoisonError::into_inner)[root] = flow;
        }
    }

    /// Runs a segment forward again and back, and adds the gradients by its coefficients.
    pub(super) fn backward(
        &self,
        run: Run<'_>,
        number: usize,
        coefficients: &[f32],
        local: &mut LocalRows,
        d_coefficients: &mut [f32],
    ) {
        if self.rows.is_empty() {
            return;
        }
        let part = &run.plan.parts[number];
        let offsets = offsets(run.plan.program(part));
        for index in 0..self.rows.len() {
            let mut shared = self.flows[index].lock().unwrap_or_else(PoisonError::into_inner);
            let own = self.units(number as u32);
            if shared[own.clone()].iter().all(|&flow| flow == 0.0) {
                continue;
            }
            let row = self.row(run, number, index, coefficients, local, &offsets);
            let logs = self.values(run, number, index, &row);
            let mut flows = vec![0.0; logs.len()];
            flows[row.output_range(0)].copy_from_slice(&shared[own]);
            let mut gathered = LogSums(&mut *d_coefficients);
            row.backward(&logs, &mut flows, &mut gathered, |slot, _, flow| {
                let place = self.units(part.imports[slot as usize]);
                shared[place].copy_from_slice(flow);
            });
        }
    }

    /// A segment and one row, which is taken into the first lane.
    fn row<'a>(
        &self,
        run: Run<'a>,
        number: usize,
        index: usize,
        coefficients: &'a [f32],
        local: &'a mut LocalRows,
        offsets: &'a [usize],
    ) -> LogRow<'a> {
        let part = &run.plan.parts[number];
        let row = run.rows[self.rows[index] as usize];
        local.take(run.data, &[row], part);
        let unit = Unit {
            program: run.plan.program(part),
            columns: &local.columns,
            coefficients,
            data: &local.data,
            missing: run.data.has_missing(),
            certified: false,
            exponents: true,
        };
        LogRow { unit, offsets, lane: 0 }
    }

    /// Logarithms of all values of a segment.
    fn values(&self, run: Run<'_>, number: usize, index: usize, row: &LogRow<'_>) -> Vec<f64> {
        let imports = &run.plan.parts[number].imports;
        row.forward(|slot, _| &self.logs[index][self.units(imports[slot as usize])])
    }
}
