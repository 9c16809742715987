//! The log-domain path of a plan: one row at a time, in f64.
//!
//! Rows come here whose bound says that linear arithmetic may have lost a part of them. Gradients are
//! *flows*, derivatives of ln p by the logarithms of values, which lie between 0 and 1 and need no
//! exponent: a product hands its flow to each factor, a sum shares it out by what each term adds.
//!
//! This path allocates; it is rare except on peaked densities.

use super::forward::Unit;
use super::tile::span;
use crate::leaf::counts::log_poisson;
use crate::plan::{Column, NOWHERE, Op, Program, Step, Term, Value};
use crate::real::log_sum_exp;

/// Where the units of each value begin.
pub(super) fn offsets(program: &Program) -> Vec<usize> {
    let mut total = 0;
    let widths = program.values.iter().map(|value| value.units as usize);
    let begin = |width: usize| {
        total += width;
        total - width
    };
    let mut offsets: Vec<usize> = widths.map(begin).collect();
    offsets.push(total);
    offsets
}

/// What is gathered on the way back; see [`super::backward::Gather`].
pub(super) trait GatherLogs {
    /// The derivative by one weight.
    fn weight(&mut self, at: usize, d: f64);

    /// The flows through the units of a leaf.
    fn leaf(&mut self, row: &LogRow<'_>, step: &Step, flows: &[f64]);
}

/// A part and one row of its tile.
pub(super) struct LogRow<'a> {
    pub(super) unit: Unit<'a>,
    pub(super) offsets: &'a [usize],
    pub(super) lane: usize,
}

impl LogRow<'_> {
    fn range(&self, value: u32) -> std::ops::Range<usize> {
        self.offsets[value as usize]..self.offsets[value as usize + 1]
    }

    /// What a column holds; NaN where it is missing.
    pub(super) fn column(&self, column: u32) -> f32 {
        match self.unit.columns[column as usize] {
            Column::Variable(var) => self.unit.data[span(var.0, 1)][self.lane],
            Column::Fixed(value) => value,
        }
    }

    /// Where the units of an output of the program lie.
    pub(super) fn output_range(&self, output: usize) -> std::ops::Range<usize> {
        self.range(self.unit.program.outputs[output])
    }

    /// Logarithms of all values. `import` gives those of an output of a part.
    pub(super) fn forward<'b>(&self, import: impl Fn(u32, u32) -> &'b [f64]) -> Vec<f64> {
        let mut logs = vec![f64::NEG_INFINITY; self.offsets[self.offsets.len() - 1]];
        for step in &self.unit.program.steps {
            let (below, above) = logs.split_at_mut(self.range(step.output).start);
            let out = &mut above[..self.range(step.output).len()];
            self.step(step, below, out, &import);
        }
        logs
    }

    fn step<'b>(
        &self,
        step: &Step,
        below: &[f64],
        out: &mut [f64],
        import: &impl Fn(u32, u32) -> &'b [f64],
    ) {
        let program = self.unit.program;
        let inputs = program.inputs(step);
        let input = |index: usize| &below[self.range(inputs[index].value)];
        match step.op {
            Op::Lookup { column, table, states } => {
                let x = self.column(column);
                let table = self.unit.table(table, out.len() * states as usize);
                for (row, out) in table.chunks_exact(states as usize).zip(out) {
                    *out = if x.is_nan() { 0.0 } else { f64::from(row[x as usize]).ln() };
                }
            }
            Op::Gaussian { column, table } => {
                let x = self.column(column);
                let table = self.unit.table(table, out.len() * 3);
                for (unit, out) in table.chunks_exact(3).zip(out) {
                    let off = f64::from(x) - f64::from(unit[0]);
                    let log = f64::from(unit[2]) - 0.5 * off * off * f64::from(unit[1]);
                    *out = if x.is_nan() { 0.0 } else { log };
                }
            }
            Op::LogLookup { column, table, states } => {
                let x = self.column(column);
                let table = self.unit.table(table, out.len() * states as usize);
                for (row, out) in table.chunks_exact(states as usize).zip(out) {
                    *out = if x.is_nan() { 0.0 } else { row[x as usize].into() };
                }
            }
            Op::Poisson { column, table } => {
                let x = self.column(column);
                for (&log_rate, out) in self.unit.table(table, out.len()).iter().zip(out) {
                    let log = || log_poisson(f64::from(log_rate), x.into());
                    *out = if x.is_nan() { 0.0 } else { log() };
                }
            }
            Op::One => out.fill(0.0),
            Op::Import { part, output } => out.copy_from_slice(import(part, output)),
            Op::Product | Op::AddLogs => {
                let rows = input(0).iter().zip(input(1));
                out.iter_mut().zip(rows).for_each(|(out, (a, b))| *out = a + b);
            }
            Op::Kronecker => {
                let wide = input(0).len();
                for (pair, out) in out.iter_mut().enumerate() {
                    *out = input(0)[pair % wide] + input(1)[pair / wide];
                }
            }
            Op::Exponentiate => out.copy_from_slice(input(0)),
            Op::Sparse { .. } => self.sparse(step, below, out),
            Op::Sum { .. } | Op::Mix { .. } | Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
                for (unit, out) in out.iter_mut().enumerate() {
                    *out = log_sum_exp(
                        self.terms(step, below, unit).map(|(_, w, log)| f64::from(w).ln() + log),
                    );
                }
            }
        }
    }

    /// Sums of products of units, which the terms name by their lane rows.
    fn sparse(&self, step: &Step, below: &[f64], out: &mut [f64]) {
        let rows = self.sparse_rows(step);
        for (&(first, end), out) in self.unit.program.lists(step).iter().zip(out) {
            let terms = self.unit.program.terms[first as usize..end as usize].iter();
            *out = log_sum_exp(terms.map(|term| self.sparse_term(&rows, term, below)));
        }
    }

    /// The first lane row of each input of a sparse sum, and where its units lie here, by lane row.
    fn sparse_rows(&self, step: &Step) -> Vec<(u32, usize)> {
        let program = self.unit.program;
        let inputs = program.inputs(step).iter();
        let mut rows: Vec<(u32, usize)> = inputs
            .map(|input| (program.values[input.value as usize].rows, self.range(input.value).start))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// The logarithm of a term of a sparse sum.
    fn sparse_term(&self, rows: &[(u32, usize)], term: &Term, logs: &[f64]) -> f64 {
        let right = if term.right == NOWHERE { 0.0 } else { logs[place_of(rows, term.right)] };
        let weight = match term.weight {
            NOWHERE => 0.0,
            at => f64::from(self.unit.coefficients[at as usize]).ln(),
        };
        weight + logs[place_of(rows, term.left)] + right
    }

    fn share_out_sparse(&self, step: &Step, logs: &[f64], own: &[f64], below: &mut [f64]) {
        let rows = self.sparse_rows(step);
        let out = &logs[self.range(step.output)];
        let lists = self.unit.program.lists(step).iter();
        for ((&(first, end), &flow), &log) in lists.zip(own).zip(out) {
            if flow == 0.0 || log == f64::NEG_INFINITY {
                continue;
            }
            for term in &self.unit.program.terms[first as usize..end as usize] {
                let share = flow * (self.sparse_term(&rows, term, logs) - log).exp();
                below[place_of(&rows, term.left)] += share;
                if term.right != NOWHERE {
                    below[place_of(&rows, term.right)] += share;
                }
            }
        }
    }

    /// What one unit of a sum adds up: the place of each weight, the weight, and the logarithm of
    /// what it weighs.
    fn terms<'b>(&'b self, step: &'b Step, logs: &'b [f64], unit: usize) -> Terms<'b> {
        let program = self.unit.program;
        let width = match step.op {
            Op::Mix { .. } => program.inputs(step).len(),
            _ => program.formed(step) as usize,
        };
        let Some(weights) = step.op.weights() else { return Terms::default() };
        let at = weights as usize + unit * width;
        let weights = &self.unit.coefficients[at..at + width];
        Terms {
            row: Some(self),
            step: Some(step),
            logs,
            unit,
            at,
            weights,
            col: 0,
            input: 0,
            in_input: 0,
        }
    }

    /// Takes flows back from the outputs, where they are in `flows` already, to everything else.
    pub(super) fn backward(
        &self,
        logs: &[f64],
        flows: &mut [f64],
        gathered: &mut impl GatherLogs,
        mut export: impl FnMut(u32, u32, &[f64]),
    ) {
        let program = self.unit.program;
        for step in program.steps.iter().rev() {
            let value: &Value = &program.values[step.output as usize];
            if !value.learns {
                continue;
            }
            let (below, above) = flows.split_at_mut(self.range(step.output).start);
            let own = &above[..self.range(step.output).len()];
            let inputs = program.inputs(step);
            match step.op {
                Op::Lookup { .. }
                | Op::Gaussian { .. }
                | Op::LogLookup { .. }
                | Op::Poisson { .. } => gathered.leaf(self, step, own),
                Op::One => {}
                Op::Sparse { .. } => self.share_out_sparse(step, logs, own, below),
                Op::Import { part, output } => export(part, output, own),
                Op::Product | Op::AddLogs | Op::Exponentiate => {
                    for input in inputs {
                        let target = &mut below[self.range(input.value)];
                        target.iter_mut().zip(own).for_each(|(target, &flow)| *target += flow);
                    }
                }
                Op::Kronecker => {
                    let wide = self.range(inputs[0].value).len();
                    for (pair, &flow) in own.iter().enumerate() {
                        below[self.range(inputs[0].value).start + pair % wide] += flow;
                        below[self.range(inputs[1].value).start + pair / wide] += flow;
                    }
                }
                Op::Sum { .. }
                | Op::Mix { .. }
                | Op::ProductSum { .. }
                | Op::KroneckerSum { .. } => {
                    self.share_out(step, logs, own, below, gathered);
                }
            }
        }
    }

    fn share_out(
        &self,
        step: &Step,
        logs: &[f64],
        own: &[f64],
        below: &mut [f64],
        gathered: &mut impl GatherLogs,
    ) {
        let out = &logs[self.range(step.output)];
        for (unit, (&flow, &log)) in own.iter().zip(out).enumerate() {
            if flow == 0.0 || log == f64::NEG_INFINITY {
                continue;
            }
            let mut terms = self.terms(step, logs, unit);
            while let Some((at, weight, term)) = terms.next() {
                // The softmax hides whatever a weight of zero would gain, which may pass any number.
                if weight == 0.0 {
                    continue;
                }
                let share = flow * (term - log).exp();
                gathered.weight(at, share);
                let flow = share * f64::from(weight);
                match terms.factors() {
                    Some(factors) => factors.into_iter().for_each(|place| below[place] += flow),
                    None => below[terms.place()] += flow,
                }
            }
        }
    }
}

/// Where the unit of a lane row lies, among inputs of which [`LogRow::sparse_rows`] says where each begins.
fn place_of(rows: &[(u32, usize)], row: u32) -> usize {
    let (first, start) = rows[rows.partition_point(|&(first, _)| first <= row) - 1];
    start + (row - first) as usize
}

/// The terms of one unit of a sum; see [`LogRow::terms`].
#[derive(Clone, Default)]
struct Terms<'a> {
    row: Option<&'a LogRow<'a>>,
    step: Option<&'a Step>,
    logs: &'a [f64],
    unit: usize,
    at: usize,
    weights: &'a [f32],
    /// The next column.
    col: usize,
    /// The input that it lies in, and where in it.
    input: usize,
    in_input: usize,
}

impl Terms<'_> {
    /// Where the factors of the product that the last term weighs lie among all logarithms, if it is one.
    fn factors(&self) -> Option<[usize; 2]> {
        let (row, step) = (self.row?, self.step?);
        let of = |index: usize| row.range(row.unit.program.inputs(step)[index].value);
        let col = self.col - 1;
        match step.op {
            Op::ProductSum { .. } => Some([0, 1].map(|index| of(index).start + col)),
            Op::KroneckerSum { .. } => {
                let wide = of(0).len();
                Some([of(0).start + col % wide, of(1).start + col / wide])
            }
            _ => None,
        }
    }

    /// Where what the last term weighs lies among all logarithms.
    fn place(&self) -> usize {
        let (Some(row), Some(step)) = (self.row, self.step) else { return 0 };
        let inputs = row.unit.program.inputs(step);
        match step.op {
            Op::Mix { .. } => row.range(inputs[self.col - 1].value).start + self.unit,
            _ => row.range(inputs[self.input].value).start + self.in_input - 1,
        }
    }
}

impl Iterator for Terms<'_> {
    type Item = (usize, f32, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let (row, step) = (self.row?, self.step?);
        let &weight = self.weights.get(self.col)?;
        let at = self.at + self.col;
        self.col += 1;
        let inputs = row.unit.program.inputs(step);
        let log = match step.op {
            Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
                self.factors().map_or(f64::NAN, |[a, b]| self.logs[a] + self.logs[b])
            }
            Op::Mix { .. } => self.logs[self.place()],
            _ => {
                if self.in_input == row.range(inputs[self.input].value).len() {
                    self.input += 1;
                    self.in_input = 0;
                }
                self.in_input += 1;
                self.logs[self.place()]
            }
        };
        Some((at, weight, log))
    }
}
