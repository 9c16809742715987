//! Forward passes of max-product, by logarithms in double precision: a product adds, a sum takes its greatest
//! term, a missing value is the likeliest in each leaf. There is nothing to scale and nothing to lose, and
//! no exponential or logarithm but of the coefficients, once for all rows.

use pulp::{Simd, WithSimd};

use super::super::outputs::At;
use super::super::ways::Numbered;
use super::best::likeliest;
use super::follow::Values;
use super::grow::{Passes, Root};
use crate::leaf::counts::log_poisson;
use crate::plan::{LANES, NOWHERE, Op, Step};

/// What the passes of a task work in.
pub(super) struct MaxPlus<'a> {
    /// For each part the logarithms of its coefficients: of weights and probabilities, for of others they
    /// mean nothing.
    pub(super) logs: &'a [Vec<f64>],
    /// The values of one program, [units][LANES], by the units' numbers.
    pub(super) values: Vec<f64>,
    /// Outputs of parts, as [`At`] has them.
    pub(super) handed: Vec<f64>,
}

impl MaxPlus<'_> {
    fn run(&mut self, of: &Numbered<'_>, number: usize, at: Option<At<'_>>) -> Maxima<'_> {
        let logs = &self.logs[number];
        let (values, handed) = (&mut self.values[..], &self.handed[..]);
        pulp::Arch::new().dispatch(Forward { of, logs, values, handed, at });
        Maxima { logs, values: &self.values }
    }
}

impl Passes for MaxPlus<'_> {
    type Values<'v>
        = Maxima<'v>
    where
        Self: 'v;

    fn part(&mut self, of: &Numbered<'_>, number: usize, at: Option<At<'_>>) -> Maxima<'_> {
        self.run(of, number, None);
        for (index, &output) in (0..).zip(&of.unit.program.outputs) {
            if let Some(at) = at {
                let own = span(of.numbering.first[output as usize], &of.unit, output);
                let (to, _) = at.output(number as u32, index);
                self.handed[to].copy_from_slice(&self.values[own]);
            }
        }
        Maxima { logs: &self.logs[number], values: &self.values }
    }

    fn head(&mut self, of: &Numbered<'_>, at: At<'_>) -> Maxima<'_> {
        self.run(of, at.plan.below_head().len(), Some(at))
    }

    fn root(of: &Numbered<'_>, values: &Maxima<'_>, lane: usize) -> Root {
        let root = of.numbering.first[of.unit.program.outputs[0] as usize] as usize;
        Root { log: values.values[root * LANES + lane], is_sure: true }
    }
}

/// Greatest trees of all units of one program.
pub(super) struct Maxima<'a> {
    logs: &'a [f64],
    values: &'a [f64],
}

impl Values for Maxima<'_> {
    fn scores(&self, of: &Numbered<'_>, lane: usize, at: (&Step, u32), scores: &mut Vec<f64>) {
        let value = |number: u32| match number {
            NOWHERE => 0.0,
            number => self.values[number as usize * LANES + lane],
        };
        let weight = |at: u32| if at == NOWHERE { 0.0 } else { self.logs[at as usize] };
        of.each_term(at.0, at.1, |term| {
            scores.push(weight(term.weight) + (value(term.left) + value(term.right)));
        });
    }
}

/// All steps over one tile.
struct Forward<'r> {
    of: &'r Numbered<'r>,
    logs: &'r [f64],
    values: &'r mut [f64],
    handed: &'r [f64],
    at: Option<At<'r>>,
}

/// The numbers of some units.
fn span(first: u32, unit: &super::super::forward::Unit<'_>, value: u32) -> std::ops::Range<usize> {
    super::super::tile::span(first, unit.program.values[value as usize].units)
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Forward { of, logs, values, handed, at } = self;
        for step in &of.unit.program.steps {
            let own = span(of.numbering.first[step.output as usize], &of.unit, step.output);
            // Values are numbered in the order of their steps: inputs lie before outputs.
            let (below, above) = values.split_at_mut(own.start);
            let made = Made { of, logs, step, below };
            let out = &mut above[..own.len()];
            match (step.op, at) {
                (Op::Import { part, output }, Some(at)) => {
                    out.copy_from_slice(&handed[at.output(part, output).0]);
                }
                _ => made.make(out),
            }
        }
    }
}

/// One step.
struct Made<'r> {
    of: &'r Numbered<'r>,
    logs: &'r [f64],
    step: &'r Step,
    /// The values before its own.
    below: &'r [f64],
}

impl Made<'_> {
    #[inline(always)]
    fn make(&self, out: &mut [f64]) {
        match self.step.op {
            Op::Lookup { column, .. }
            | Op::Gaussian { column, .. }
            | Op::LogLookup { column, .. }
            | Op::Poisson { column, .. } => self.leaf(column, out),
            Op::One | Op::Import { .. } => out.fill(0.0),
            Op::Exponentiate => out.copy_from_slice(self.input(0)),
            Op::Product | Op::AddLogs => add(out, self.input(0), self.input(1)),
            Op::Kronecker => {
                let [left, right] = [0, 1].map(|index| self.input(index));
                let rows = right.chunks_exact(LANES);
                for (out, right) in out.chunks_exact_mut(left.len()).zip(rows) {
                    let pairs = out.chunks_exact_mut(LANES).zip(left.chunks_exact(LANES));
                    pairs.for_each(|(out, left)| add(out, left, right));
                }
            }
            Op::Sum { .. }
            | Op::Mix { .. }
            | Op::ProductSum { .. }
            | Op::KroneckerSum { .. }
            | Op::Sparse { .. } => {
                for (unit, out) in (0..).zip(out.chunks_exact_mut(LANES)) {
                    self.sum(unit, out);
                }
            }
        }
    }

    fn input(&self, index: usize) -> &[f64] {
        let input = self.of.unit.program.inputs(self.step)[index];
        &self.below[span(self.of.numbering.first[input.value as usize], &self.of.unit, input.value)]
    }

    /// The greatest term of a unit, in blocks of lanes that stay in registers.
    #[inline(always)]
    fn sum(&self, unit: u32, out: &mut [f64]) {
        const BLOCK: usize = 32;
        let row = |number: u32, first: usize| {
            let at = number as usize * LANES + first;
            &self.below[at..at + BLOCK]
        };
        for (index, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let first = index * BLOCK;
            let mut best = [f64::NEG_INFINITY; BLOCK];
            self.of.each_term(self.step, unit, |term| {
                let weight =
                    if term.weight == NOWHERE { 0.0 } else { self.logs[term.weight as usize] };
                let left = row(term.left, first);
                // The same order of additions as where trees are followed.
                if term.right == NOWHERE {
                    raise(&mut best, left.iter().map(|left| weight + left));
                } else {
                    let pairs = left.iter().zip(row(term.right, first));
                    raise(&mut best, pairs.map(|(left, right)| weight + (left + right)));
                }
            });
            out.copy_from_slice(&best);
        }
    }

    /// Logarithms of a leaf, the greatest where the value is missing.
    #[inline(always)]
    fn leaf(&self, column: u32, out: &mut [f64]) {
        let mut fixed = [0.0; LANES];
        let column = self.of.unit.column(column, &mut fixed);
        let op = self.step.op;
        for (unit, out) in out.chunks_exact_mut(LANES).enumerate() {
            let best = self.log(unit, likeliest(self.of.unit.coefficients, op, unit));
            if let Op::Lookup { table, states: 2, .. } = op {
                let [zero, one] = [0, 1].map(|state| self.logs[table as usize + 2 * unit + state]);
                for (out, &x) in out.iter_mut().zip(column) {
                    let known = if x == 1.0 { one } else { zero };
                    *out = if x.is_nan() { best } else { known };
                }
                continue;
            }
            for (out, &x) in out.iter_mut().zip(column) {
                *out = if x.is_nan() { best } else { self.log(unit, x) };
            }
        }
    }

    /// The logarithm of a unit of the leaf at a value.
    #[inline(always)]
    fn log(&self, unit: usize, x: f32) -> f64 {
        let coefficients = self.of.unit.coefficients;
        match self.step.op {
            Op::Lookup { table, states, .. } => {
                self.logs[table as usize + unit * states as usize + x as usize]
            }
            Op::LogLookup { table, states, .. } => {
                coefficients[table as usize + unit * states as usize + x as usize].into()
            }
            Op::Gaussian { table, .. } => {
                let at = |entry: usize| f64::from(coefficients[table as usize + 3 * unit + entry]);
                let off = f64::from(x) - at(0);
                at(2) - 0.5 * off * off * at(1)
            }
            Op::Poisson { table, .. } => {
                log_poisson(f64::from(coefficients[table as usize + unit]), x.into())
            }
            _ => f64::NAN,
        }
    }
}

/// out = left + right.
#[inline(always)]
fn add(out: &mut [f64], left: &[f64], right: &[f64]) {
    let rows = left.iter().zip(right);
    out.iter_mut().zip(rows).for_each(|(out, (left, right))| *out = left + right);
}

/// Each number that is greater.
#[inline(always)]
fn raise(best: &mut [f64], terms: impl Iterator<Item = f64>) {
    for (best, term) in best.iter_mut().zip(terms) {
        *best = if term > *best { term } else { *best };
    }
}
