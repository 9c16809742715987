//! The backward pass of a program over one tile, after its forward pass.
//!
//! Gradients are by mantissas: every mantissa is a function of others with powers of two as
//! constants, so the derivative of ln p by it is linear arithmetic too. What a step formed on the way
//! is formed again rather than kept.

use pulp::Simd;

use super::forward::{Unit, alignment, factor, formed_units, gather, multiply};
use super::kernels::{indicators, matrix, outer, partial_outer, product_backward};
use super::kronecker::{pairs_to_left, pairs_to_right};
use super::product_sum::{Target, form, is_small, reach};
use super::tile::{Arenas, Scratch, span};
use crate::plan::{INDICATORS, Input, LANES, NOWHERE, Op, Step, Value};
use crate::simd::{Matrix, PARTIAL};

/// Takes what the head finds to be the gradient by an output of a part.
pub(super) trait Exports {
    /// The gradient, [units][LANES], by an output of a part.
    fn export(&mut self, part: u32, output: u32, gradient: &[f32]);
}

/// Parts export nothing.
pub(super) struct NoExports;

impl Exports for NoExports {
    fn export(&mut self, _part: u32, _output: u32, _gradient: &[f32]) {}
}

/// Runs all steps back. The gradients by the program's outputs are in their places already; those by
/// the coefficients are added to `d_coefficients`.
pub(super) fn backward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    exports: &mut impl Exports,
    arenas: &mut Arenas<'_>,
    scratch: &mut Scratch<'_>,
    d_coefficients: &mut Sums<'_>,
) {
    for step in unit.program.steps.iter().rev() {
        let value = &unit.program.values[step.output as usize];
        if value.gradient == NOWHERE {
            continue;
        }
        let mut back = Back { simd, unit, step, value, arenas, scratch, d_coefficients };
        match step.op {
            Op::ProductSum { .. } => back.product_sum(),
            Op::Product => back.product(),
            Op::Kronecker => back.kronecker(),
            Op::Sum { .. } | Op::Mix { .. } => back.sum(),
            Op::Lookup { .. } => back.stored_lookup(),
            Op::Gaussian { column, table } => back.gaussian(column, table),
            Op::LogLookup { column, table, states } => back.log_lookup(column, table, states),
            Op::Poisson { column, table } => back.poisson(column, table),
            Op::AddLogs => back.add_logs(),
            Op::Exponentiate => back.exponentiate(),
            Op::Import { part, output } => {
                let gradient = &back.arenas.gradients[span(value.gradient, value.units)];
                exports.export(part, output, gradient);
            }
            // Nothing of a sparse sum is learned.
            Op::One | Op::Sparse { .. } => {}
        }
    }
}

/// One step on the way back.
struct Back<'s, 'a, 'b, 'c, S> {
    simd: S,
    unit: &'s Unit<'s>,
    step: &'s Step,
    value: &'s Value,
    arenas: &'s mut Arenas<'a>,
    scratch: &'s mut Scratch<'b>,
    d_coefficients: &'s mut Sums<'c>,
}

impl<S: Simd> Back<'_, '_, '_, '_, S> {
    /// Where the gradient by the step's output lies.
    fn own(&self) -> std::ops::Range<usize> {
        span(self.value.gradient, self.value.units)
    }
    fn inputs(&self) -> &'_ [Input] {
        self.unit.program.inputs(self.step)
    }
    fn product_sum(&mut self) {
        if self.unit.certified && is_small(formed_units(self.unit, self.step)) {
            self.small_product_sum();
            return;
        }
        self.form_product();
        self.through_weights();
        self.reach_factors();
    }
    /// The step of which a RAT-SPN consists.
    fn small_product_sum(&mut self) {
        let Op::ProductSum { weights } = self.step.op else { return };
        let (unit, simd) = (self.unit, self.simd);
        let [a, b] = unit.factors(self.step);
        let (width, own) = (a.units as usize, self.own());
        let Scratch { formed, scale, left, right, d_left, d_right, indicators, sums, .. } =
            &mut *self.scratch;
        let factor_a = factor(simd, unit, a, left, indicators);
        let factor_b = factor(simd, unit, b, right, indicators);
        form(simd, width, factor_a, factor_b, self.arenas.values, formed, scale);
        let gradient = &self.arenas.gradients[own.clone()];
        self.d_coefficients.add_outer(simd, weights, gradient, &formed[..width * LANES], sums);
        let table = unit.table(weights, self.value.units as usize * width);
        let inputs = unit.program.inputs(self.step);
        let targets = [target(a, &inputs[0], d_left), target(b, &inputs[1], d_right)];
        let Arenas { values, gradients, .. } = &mut *self.arenas;
        let factors = [factor_a, factor_b];
        reach(simd, width, factors, table, scale, values, gradients, own.start, targets);
        for (value, d) in [(a, d_left), (b, d_right)] {
            if wanted_inline(value) {
                let step = &unit.program.steps[value.step as usize];
                let d = &d[..width * LANES];
                table_gradient(simd, unit, step, d, indicators, sums, self.d_coefficients);
            }
        }
    }

    fn product(&mut self) {
        self.form_product();
        let own = self.own();
        self.scratch.d_formed[..own.len()].copy_from_slice(&self.arenas.gradients[own]);
        self.reach_factors();
    }

    /// Forms the product again, with its scale; its inline factors stay in scratch.
    fn form_product(&mut self) {
        let (mut exponents, mut bound) = ([0; LANES], [0.0; LANES]);
        let (unit, step) = (self.unit, self.step);
        multiply(self.simd, unit, step, self.arenas, self.scratch, &mut exponents, &mut bound);
    }

    /// From the gradient by the output of a sum to those by its weights and by what was formed.
    fn through_weights(&mut self) {
        let (Op::Sum { weights } | Op::ProductSum { weights }) = self.step.op else { return };
        let (units, width) = (self.value.units as usize, formed_units(self.unit, self.step));
        let formed = &self.scratch.formed[..width * LANES];
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        self.d_coefficients.add_outer(self.simd, weights, gradient, formed, self.scratch.sums);
        let table = self.unit.table(weights, units * width);
        let transposed = Matrix::row_major(table, units, width).transposed();
        let d_formed = &mut self.scratch.d_formed[..width * LANES];
        matrix(self.simd, transposed, gradient, d_formed);
    }

    /// From the gradient by a product to those by its factors.
    fn reach_factors(&mut self) {
        let unit = self.unit;
        let inputs = unit.program.inputs(self.step);
        let [a, b] = unit.factors(self.step);
        let len = a.units as usize * LANES;
        let Scratch { d_formed, scale, left, right, d_left, d_right, .. } = &mut *self.scratch;
        let factor_a = match a.is_inline() {
            true => &left[..len],
            false => &self.arenas.values[span(a.rows, a.units)],
        };
        let factor_b = match b.is_inline() {
            true => &right[..len],
            false => &self.arenas.values[span(b.rows, b.units)],
        };
        let d = &d_formed[..len];
        for (input, value, other, inline) in [
            (&inputs[0], a, factor_b, &mut d_left[..len]),
            (&inputs[1], b, factor_a, &mut d_right[..len]),
        ] {
            // Scratch if the factor is inline, its place if it is stored, none if it does not learn.
            if wanted_inline(value) {
                product_backward(self.simd, other, d, scale, inline, false);
            } else if value.gradient != NOWHERE {
                let target = &mut self.arenas.gradients[span(value.gradient, value.units)];
                product_backward(self.simd, other, d, scale, target, !input.first);
            }
        }
        if wanted_inline(a) {
            self.lookup(a, Side::Left);
        }
        if wanted_inline(b) {
            self.lookup(b, Side::Right);
        }
    }

    fn kronecker(&mut self) {
        self.form_product();
        let unit = self.unit;
        let inputs = unit.program.inputs(self.step);
        let [a, b] = unit.factors(self.step);
        let own = self.own();
        let len = own.len();
        self.scratch.d_formed[..len].copy_from_slice(&self.arenas.gradients[own]);
        for side in [Side::Left, Side::Right] {
            let (value, input) = match side {
                Side::Left => (a, &inputs[0]),
                Side::Right => (b, &inputs[1]),
            };
            if !value.learns {
                continue;
            }
            let width = value.units as usize * LANES;
            let sum = std::mem::take(match side {
                Side::Left => &mut self.scratch.d_left,
                Side::Right => &mut self.scratch.d_right,
            });
            sum[..width].fill(0.0);
            let other = if side == Side::Left { b } else { a };
            let factor = match (other.is_inline(), side) {
                (true, Side::Left) => &self.scratch.right[..other.units as usize * LANES],
                (true, Side::Right) => &self.scratch.left[..other.units as usize * LANES],
                (false, _) => &self.arenas.values[span(other.rows, other.units)],
            };
            let (d, scale) = (&self.scratch.d_formed[..len], &*self.scratch.scale);
            match side {
                Side::Left => pairs_to_left(self.simd, factor, d, scale, &mut sum[..width]),
                Side::Right => pairs_to_right(self.simd, factor, d, scale, &mut sum[..width]),
            }
            if value.gradient != NOWHERE {
                let target = &mut self.arenas.gradients[span(value.gradient, value.units)];
                deliver(&sum[..width], target, input.first);
            }
            match side {
                Side::Left => self.scratch.d_left = sum,
                Side::Right => self.scratch.d_right = sum,
            }
            if wanted_inline(value) {
                self.lookup(value, side);
            }
        }
    }

    fn sum(&mut self) {
        let (mut common, mut bound) = ([0; LANES], [0.0; LANES]);
        let (unit, step) = (self.unit, self.step);
        gather(self.simd, unit, step, self.arenas, self.scratch, &mut common, &mut bound);
        if let Op::Mix { weights } = step.op {
            self.through_mix(weights);
        } else {
            self.through_weights();
        }
        let inputs = unit.program.inputs(step);
        let mut first = 0;
        for input in inputs {
            let value = unit.value(input);
            let len = value.units as usize * LANES;
            let range = first..first + len;
            first += len;
            if wanted_inline(value) {
                self.scratch.d_left[..len].copy_from_slice(&self.scratch.d_formed[range]);
                self.lookup(value, Side::Left);
                continue;
            }
            if value.gradient == NOWHERE {
                continue;
            }
            if inputs.len() > 1 {
                let factors = alignment(value, self.arenas, &common);
                for row in self.scratch.d_formed[range.clone()].chunks_exact_mut(LANES) {
                    row.iter_mut().zip(&factors).for_each(|(d, &factor)| *d *= factor);
                }
            }
            let target = &mut self.arenas.gradients[span(value.gradient, value.units)];
            deliver(&self.scratch.d_formed[range], target, input.first);
        }
    }

    fn through_mix(&mut self, weights: u32) {
        let inputs = self.inputs().len();
        let units = self.value.units as usize;
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        let table = self.unit.table(weights, units * inputs);
        for (unit, d) in gradient.chunks_exact(LANES).enumerate() {
            for input in 0..inputs {
                let row = (input * units + unit) * LANES..(input * units + unit + 1) * LANES;
                let formed = &self.scratch.formed[row.clone()];
                let dot: f32 = d.iter().zip(formed).map(|(d, x)| d * x).sum();
                self.d_coefficients.add(weights as usize + unit * inputs + input, dot);
                let weight = table[unit * inputs + input];
                let d_formed = &mut self.scratch.d_formed[row];
                d_formed.iter_mut().zip(d).for_each(|(out, &d)| *out = weight * d);
            }
        }
    }

    /// From the gradient by an inline look-up, in scratch, to that by its table.
    fn lookup(&mut self, value: &Value, side: Side) {
        let step = &self.unit.program.steps[value.step as usize];
        let Scratch { d_left, d_right, indicators, sums, .. } = &mut *self.scratch;
        let gradient = match side {
            Side::Left => &d_left[..value.units as usize * LANES],
            Side::Right => &d_right[..value.units as usize * LANES],
        };
        table_gradient(self.simd, self.unit, step, gradient, indicators, sums, self.d_coefficients);
    }

    fn stored_lookup(&mut self) {
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        let Scratch { indicators, sums, .. } = &mut *self.scratch;
        let (unit, step) = (self.unit, self.step);
        table_gradient(self.simd, unit, step, gradient, indicators, sums, self.d_coefficients);
    }

    fn gaussian(&mut self, column: u32, table: u32) {
        let mut fixed = [0.0; LANES];
        let column = self.unit.column(column, &mut fixed);
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        for (unit, d) in gradient.chunks_exact(LANES).enumerate() {
            let at = table as usize + 3 * unit;
            let (mean, precision) = (self.unit.coefficients[at], self.unit.coefficients[at + 1]);
            let (mut first, mut second, mut zeroth) = (0.0, 0.0, 0.0);
            // In f64: rows far out on either side cancel.
            for (&d, &x) in d.iter().zip(column).filter(|(_, x)| !x.is_nan()) {
                let (d, off) = (f64::from(d), f64::from(x - mean));
                first += d * off;
                second += d * off * off;
                zeroth += d;
            }
            let sums = [first * f64::from(precision), -0.5 * second, zeroth];
            let sums = sums.iter().enumerate();
            sums.for_each(|(i, &sum)| self.d_coefficients.add(at + i, sum as f32));
        }
    }

    fn log_lookup(&mut self, column: u32, table: u32, states: u32) {
        let mut fixed = [0.0; LANES];
        let column = self.unit.column(column, &mut fixed);
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        for (unit, d) in gradient.chunks_exact(LANES).enumerate() {
            let at = table as usize + unit * states as usize;
            for (&d, &x) in d.iter().zip(column).filter(|(_, x)| !x.is_nan()) {
                self.d_coefficients.add(at + x as usize, d);
            }
        }
    }

    fn poisson(&mut self, column: u32, table: u32) {
        let mut fixed = [0.0; LANES];
        let column = self.unit.column(column, &mut fixed);
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        for (unit, d) in gradient.chunks_exact(LANES).enumerate() {
            let at = table as usize + unit;
            let rate = self.unit.coefficients[at].exp();
            let rows = d.iter().zip(column).filter(|(d, x)| **d != 0.0 && !x.is_nan());
            self.d_coefficients.add(at, rows.map(|(d, x)| d * (x - rate)).sum());
        }
    }

    fn add_logs(&mut self) {
        let own = self.own();
        let d = &mut self.scratch.d_formed[..own.len()];
        d.copy_from_slice(&self.arenas.gradients[own]);
        for input in self.unit.program.inputs(self.step) {
            let value = self.unit.value(input);
            if value.gradient != NOWHERE {
                let target = &mut self.arenas.gradients[span(value.gradient, value.units)];
                deliver(d, target, input.first);
            }
        }
    }

    fn exponentiate(&mut self) {
        let own = self.own();
        let d = &mut self.scratch.d_formed[..own.len()];
        let units = &self.arenas.values[span(self.value.rows, self.value.units)];
        for ((d, gradient), unit) in d.iter_mut().zip(&self.arenas.gradients[own]).zip(units) {
            *d = gradient * unit;
        }
        let input = &self.unit.program.inputs(self.step)[0];
        let value = self.unit.value(input);
        if value.gradient != NOWHERE {
            let target = &mut self.arenas.gradients[span(value.gradient, value.units)];
            deliver(d, target, input.first);
        }
    }
}

/// Which scratch holds an inline input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}
fn wanted_inline(value: &Value) -> bool {
    value.is_inline() && value.learns
}

/// Where the gradient by a factor of a small product goes: that by an inline one to `rows`.
fn target<'a>(value: &Value, input: &Input, rows: &'a mut [f32]) -> Target<'a> {
    if wanted_inline(value) {
        Target::Rows(rows)
    } else if value.gradient != NOWHERE {
        Target::Arena { first: span(value.gradient, value.units).start, add: !input.first }
    } else {
        Target::Nowhere
    }
}

fn deliver(gradient: &[f32], target: &mut [f32], first: bool) {
    if first {
        target.copy_from_slice(gradient);
    } else {
        target.iter_mut().zip(gradient).for_each(|(target, &d)| *target += d);
    }
}

/// Adds the gradient by a table, given that by its look-up.
fn table_gradient<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    gradient: &[f32],
    states_scratch: &mut [f32],
    sums: &mut [f32],
    d_coefficients: &mut Sums<'_>,
) {
    let Op::Lookup { column, table, states } = step.op else { return };
    let (units, states) = (gradient.len() / LANES, states as usize);
    let mut fixed = [0.0; LANES];
    let column = unit.column(column, &mut fixed);
    if states <= INDICATORS {
        indicators(simd, column, states, states_scratch);
        let states = &states_scratch[..states * LANES];
        d_coefficients.add_outer(simd, table, gradient, states, sums);
        return;
    }
    for (unit, d) in gradient.chunks_exact(LANES).enumerate().take(units) {
        for (&d, &x) in d.iter().zip(column).filter(|(_, x)| !x.is_nan()) {
            d_coefficients.add(table as usize + unit * states + x as usize, d);
        }
    }
}

/// Gradients by coefficients while they are summed: a number for each, or [`PARTIAL`] of which it is
/// the total. Partial sums save adding across a vector for each tile, where there are several.
pub(super) struct Sums<'a> {
    pub(super) numbers: &'a mut [f32],
    pub(super) partial: bool,
}

impl Sums<'_> {
    fn add(&mut self, at: usize, d: f32) {
        self.numbers[if self.partial { at * PARTIAL } else { at }] += d;
    }

    /// Adds `left` · `right`ᵀ, summed over the lanes, at `at`.
    fn add_outer<S: Simd>(
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
}
