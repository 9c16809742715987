//! Gradients by coefficients, gathered on either way back: by mantissas over a tile, or by logarithms of
//! one row.

use pulp::Simd;

use super::backward::Gather;
use super::densities::moments;
use super::forward::Unit;
use super::kernels::{indicators, outer, partial_outer};
use super::logs::{GatherLogs, LogRow};
use crate::leaf::counts::log_poisson_slope;
use crate::plan::{INDICATORS, LANES, Op, Step, Term};
use crate::simd::PARTIAL;

/// Gradients by coefficients while they are summed: a number for each, or [`PARTIAL`] of which it is
/// the total. Partial sums save adding across a vector for each tile, where there are several.
pub(super) struct Sums<'a> {
    pub(super) numbers: &'a mut [f32],
    pub(super) partial: bool,
}

impl Gather for Sums<'_> {
    const FLOWS: bool = false;

    fn weights<S: Simd>(
        &mut self,
        simd: S,
        at: u32,
        left: &[f32],
        right: &[f32],
        scratch: &mut [f32],
    ) {
        let (at, len) = (at as usize, left.len() / LANES * (right.len() / LANES));
        if self.partial {
            let sums = &mut self.numbers[at * PARTIAL..(at + len) * PARTIAL];
            partial_outer(simd, left, right, sums);
        } else {
            outer(simd, left, right, scratch, &mut self.numbers[at..at + len]);
        }
    }

    fn weight(&mut self, at: usize, d: &[f32], weighed: &[f32]) {
        self.add(at, d.iter().zip(weighed).map(|(d, x)| d * x).sum());
    }

    fn leaf<S: Simd>(
        &mut self,
        simd: S,
        unit: &Unit<'_>,
        step: &Step,
        gradient: &[f32],
        scratch: (&mut [f32], &mut [f32]),
    ) {
        match step.op {
            Op::Lookup { column, table, states } => {
                self.lookup(simd, unit, (column, table, states as usize), gradient, scratch);
            }
            Op::Gaussian { column, table } => self.gaussian(simd, unit, (column, table), gradient),
            Op::LogLookup { column, table, states } => {
                self.rows(unit, (column, table, states as usize), gradient);
            }
            Op::Poisson { column, table } => self.poisson(unit, column, table, gradient),
            _ => {}
        }
    }

    fn logs(&mut self, _: &[f32], _: &[f32]) {}

    /// Nothing of a sparse sum is learned.
    fn terms(&self) -> &[Term] {
        &[]
    }
}

impl Sums<'_> {
    fn add(&mut self, at: usize, d: f32) {
        self.numbers[if self.partial { at * PARTIAL } else { at }] += d;
    }

    /// The gradient by a table of probabilities.
    fn lookup<S: Simd>(
        &mut self,
        simd: S,
        unit: &Unit<'_>,
        (column, table, states): (u32, u32, usize),
        gradient: &[f32],
        (states_scratch, sums): (&mut [f32], &mut [f32]),
    ) {
        if states > INDICATORS {
            return self.rows(unit, (column, table, states), gradient);
        }
        let mut fixed = [0.0; LANES];
        let column = unit.column(column, &mut fixed);
        indicators(simd, column, states, states_scratch);
        self.weights(simd, table, gradient, &states_scratch[..states * LANES], sums);
    }

    /// The gradient by a table [units, states] of which each row has read one entry a unit.
    fn rows(
        &mut self,
        unit: &Unit<'_>,
        (column, table, states): (u32, u32, usize),
        gradient: &[f32],
    ) {
        let mut fixed = [0.0; LANES];
        let column = unit.column(column, &mut fixed);
        for (unit, d) in gradient.chunks_exact(LANES).enumerate() {
            for (&d, &x) in d.iter().zip(column).filter(|(_, x)| !x.is_nan()) {
                self.add(table as usize + unit * states + x as usize, d);
            }
        }
    }

    fn gaussian<S: Simd>(
        &mut self,
        simd: S,
        unit: &Unit<'_>,
        (column, table): (u32, u32),
        gradient: &[f32],
    ) {
        let mut fixed = [0.0; LANES];
        let column = unit.column(column, &mut fixed);
        for (index, d) in gradient.chunks_exact(LANES).enumerate() {
            let at = table as usize + 3 * index;
            let (mean, precision) = (unit.coefficients[at], unit.coefficients[at + 1]);
            let mut sums = [0.0; 3];
            moments(simd, column, mean, d, &mut sums);
            let sums = [sums[0] * f64::from(precision), -0.5 * sums[1], sums[2]];
            sums.iter().enumerate().for_each(|(i, &sum)| self.add(at + i, sum as f32));
        }
    }

    fn poisson(&mut self, unit: &Unit<'_>, column: u32, table: u32, gradient: &[f32]) {
        let mut fixed = [0.0; LANES];
        let column = unit.column(column, &mut fixed);
        for (index, d) in gradient.chunks_exact(LANES).enumerate() {
            let at = table as usize + index;
            let rate = unit.coefficients[at].exp();
            let rows = d.iter().zip(column).filter(|(d, x)| **d != 0.0 && !x.is_nan());
            self.add(at, rows.map(|(d, x)| d * (x - rate)).sum());
        }
    }
}

/// Gradients by coefficients, row by row.
pub(super) struct LogSums<'a>(pub(super) &'a mut [f32]);

impl GatherLogs for LogSums<'_> {
    fn weight(&mut self, at: usize, d: f64) {
        self.0[at] += d.min(f64::from(f32::MAX)) as f32;
    }

    fn leaf(&mut self, row: &LogRow<'_>, step: &Step, flows: &[f64]) {
        match step.op {
            Op::Lookup { column, table, states } => {
                self.lookup(row, (column, table, states as usize), flows);
            }
            Op::Gaussian { column, table } => self.gaussian(row, column, table, flows),
            Op::LogLookup { column, table, states } => {
                let x = row.column(column);
                for (unit, &flow) in flows.iter().enumerate().filter(|_| !x.is_nan()) {
                    let at = table as usize + unit * states as usize + x as usize;
                    self.0[at] += flow as f32;
                }
            }
            Op::Poisson { column, table } => self.poisson(row, column, table, flows),
            _ => {}
        }
    }
}

impl LogSums<'_> {
    fn lookup(
        &mut self,
        row: &LogRow<'_>,
        (column, table, states): (u32, u32, usize),
        flows: &[f64],
    ) {
        let x = row.column(column);
        if x.is_nan() {
            return;
        }
        for (unit, &flow) in flows.iter().enumerate() {
            let at = table as usize + unit * states + x as usize;
            let p = f64::from(row.unit.coefficients[at]);
            if p > 0.0 {
                self.0[at] += (flow / p) as f32;
            }
        }
    }

    fn poisson(&mut self, row: &LogRow<'_>, column: u32, table: u32, flows: &[f64]) {
        let x = f64::from(row.column(column));
        let table = table as usize..table as usize + flows.len();
        let log_rates = &row.unit.coefficients[table.clone()];
        let units = self.0[table].iter_mut().zip(log_rates).zip(flows);
        for ((d, &log_rate), flow) in units.filter(|(_, flow)| **flow > 0.0 && !x.is_nan()) {
            *d += (flow * log_poisson_slope(f64::from(log_rate), x)) as f32;
        }
    }

    fn gaussian(&mut self, row: &LogRow<'_>, column: u32, table: u32, flows: &[f64]) {
        let x = f64::from(row.column(column));
        if x.is_nan() {
            return;
        }
        for (unit, &flow) in flows.iter().enumerate() {
            let at = table as usize + 3 * unit;
            let off = x - f64::from(row.unit.coefficients[at]);
            let precision = f64::from(row.unit.coefficients[at + 1]);
            self.0[at] += (flow * off * precision) as f32;
            self.0[at + 1] -= (flow * 0.5 * off * off) as f32;
            self.0[at + 2] += flow as f32;
        }
    }
}
