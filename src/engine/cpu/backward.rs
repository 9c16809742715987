//! The backward pass of a program over one tile, after its forward pass.
//!
//! Gradients are by mantissas: every mantissa is a function of others with powers of two as
//! constants, so the derivative of ln p by it is linear arithmetic too. What a step formed on the way
//! is formed again rather than kept.

use pulp::Simd;

use super::forward::{Unit, alignment, factor, formed_units, gather, multiply};
use super::kernels::{matrix, possible, product_backward};
use super::kronecker::{pairs_to_left, pairs_to_right};
use super::product_sum::{Target, form, is_small, reach};
use super::sparse;
use super::tile::{Arenas, Scratch, span};
use crate::plan::{Domain, Input, LANES, NOWHERE, Op, Step, Term, Value};
use crate::simd::Matrix;

/// What is gathered on the way back, besides gradients by values: gradients by coefficients, or what
/// leaves say of their variables.
pub(super) trait Gather {
    /// Whether a gradient by a unit that is zero is not wanted: no flow goes through the unit. It is
    /// set to zero, so that it cannot pass the largest number on the way down.
    const FLOWS: bool;

    /// The gradient by a matrix of weights, `left` · `right`ᵀ summed over the lanes.
    fn weights<S: Simd>(
        &mut self,
        simd: S,
        at: u32,
        left: &[f32],
        right: &[f32],
        scratch: &mut [f32],
    );

    /// The gradient by one weight, `d` · `weighed`.
    fn weight(&mut self, at: usize, d: &[f32], weighed: &[f32]);

    /// The gradient by the units of a leaf, [units][LANES], linear or by logarithms as the leaf is.
    fn leaf<S: Simd>(
        &mut self,
        simd: S,
        unit: &Unit<'_>,
        step: &Step,
        gradient: &[f32],
        scratch: (&mut [f32], &mut [f32]),
    );

    /// What is exponentiated, [units][LANES], and the gradient by it.
    fn logs(&mut self, logs: &[f32], gradient: &[f32]);

    /// The terms of the program's sparse sums, with lane rows of gradients instead of values.
    fn terms(&self) -> &[Term];
}

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

/// Runs all steps back. The gradients by the program's outputs are in their places already.
pub(super) fn backward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    exports: &mut impl Exports,
    arenas: &mut Arenas<'_>,
    scratch: &mut Scratch<'_>,
    gathered: &mut impl Gather,
) {
    for step in unit.program.steps.iter().rev() {
        let value = &unit.program.values[step.output as usize];
        if value.gradient == NOWHERE {
            continue;
        }
        let mut back = Back { simd, unit, step, value, arenas, scratch, gathered };
        back.keep_possible();
        match step.op {
            Op::ProductSum { .. } => back.product_sum(),
            Op::Product => back.product(),
            Op::Kronecker => back.kronecker(),
            Op::KroneckerSum { .. } => back.kronecker_sum(),
            Op::Sum { .. } | Op::Mix { .. } => back.sum(),
            Op::Lookup { .. } | Op::Gaussian { .. } | Op::LogLookup { .. } | Op::Poisson { .. } => {
                back.leaf()
            }
            Op::AddLogs => back.add_logs(),
            Op::Exponentiate => back.exponentiate(),
            Op::Import { part, output } => {
                let gradient = &back.arenas.gradients[span(value.gradient, value.units)];
                exports.export(part, output, gradient);
            }
            Op::Sparse { .. } => back.sparse(),
            Op::One => {}
        }
    }
}

/// One step on the way back.
struct Back<'s, 'a, 'b, S, G> {
    simd: S,
    unit: &'s Unit<'s>,
    step: &'s Step,
    value: &'s Value,
    arenas: &'s mut Arenas<'a>,
    scratch: &'s mut Scratch<'b>,
    gathered: &'s mut G,
}

impl<S: Simd, G: Gather> Back<'_, '_, '_, S, G> {
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
        self.gathered.weights(simd, weights, gradient, &formed[..width * LANES], sums);
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
                self.gathered.leaf(simd, unit, step, d, (indicators, sums));
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
        let Some(weights) = self.step.op.weights() else { return };
        let (units, width) = (self.value.units as usize, formed_units(self.unit, self.step));
        let formed = &self.scratch.formed[..width * LANES];
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        self.gathered.weights(self.simd, weights, gradient, formed, self.scratch.sums);
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
        let own = self.own();
        self.scratch.d_formed[..own.len()].copy_from_slice(&self.arenas.gradients[own]);
        self.reach_pairs();
    }

    fn kronecker_sum(&mut self) {
        self.form_product();
        self.through_weights();
        self.reach_pairs();
    }

    /// From the gradient by all pairs to those by their factors.
    fn reach_pairs(&mut self) {
        let unit = self.unit;
        let inputs = unit.program.inputs(self.step);
        let [a, b] = unit.factors(self.step);
        let len = (a.units * b.units) as usize * LANES;
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
                self.gathered.weight(weights as usize + unit * inputs + input, d, formed);
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
        self.gathered.leaf(self.simd, self.unit, step, gradient, (indicators, sums));
    }

    /// From the gradient by a leaf that is stored.
    fn leaf(&mut self) {
        let gradient = &self.arenas.gradients[span(self.value.gradient, self.value.units)];
        let Scratch { indicators, sums, .. } = &mut *self.scratch;
        self.gathered.leaf(self.simd, self.unit, self.step, gradient, (indicators, sums));
    }

    /// Leaves no gradient by units of the output that are zero, if flows alone are wanted.
    fn keep_possible(&mut self) {
        if G::FLOWS && !self.unit.certified && self.value.domain == Domain::Linear {
            let units = &self.arenas.values[span(self.value.rows, self.value.units)];
            let own = self.own();
            possible(self.simd, units, &mut self.arenas.gradients[own]);
        }
    }

    fn sparse(&mut self) {
        let own = self.own();
        let d = &mut self.scratch.d_formed[..own.len()];
        d.copy_from_slice(&self.arenas.gradients[own]);
        let terms = self.gathered.terms();
        sparse::backward(self.simd, self.unit, self.step, terms, d, self.arenas);
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
        self.gathered.logs(&self.arenas.values[span(value.rows, value.units)], d);
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
