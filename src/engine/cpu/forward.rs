//! The forward pass of a program over one tile.
//!
//! Two ways of it. *Certified*: the plan's chain and the least coefficient of the part show that no
//! product can lose a unit, so nothing is watched. *Guarded*: every value carries a bound on what each
//! of its units may lack, and units too small to keep are set to zero.

use pulp::Simd;

use super::densities::{exponentiate, log_counts, log_densities, log_rows};
use super::kernels::{
    add_exponents, align_rows, guarded_product, indicators, matrix, mind_terms, power, product,
    raise,
};
use super::kronecker::pairs;
use super::product_sum::{Binary, Exponents, Factor, is_small, lookup_binary, product_sum};
use super::sparse;
use super::tile::{Arenas, Scratch, exponent_span, span};
use crate::plan::{Column, INDICATORS, Input, LANES, NOWHERE, Op, Program, Step, Value};
use crate::simd::Matrix;

/// A logarithm beyond this is rounded by so much that what shares it would be off by some 2⁻¹⁷.
pub(super) const STEEP: f32 = 64.0;
/// Shares that are too small to move a distribution, wherever they go.
pub(super) const SLIGHT: f32 = 1.0 / (1 << 20) as f32;

/// A part as it is run: its program, its numbers and the rows it reads.
#[derive(Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) program: &'a Program,
    pub(super) columns: &'a [Column],
    /// The part's coefficients.
    pub(super) coefficients: &'a [f32],
    /// The tile, [variables][LANES].
    pub(super) data: &'a [f32],
    /// Whether some of the data are missing.
    pub(super) missing: bool,
    /// Whether no product can lose a unit.
    pub(super) certified: bool,
    /// Whether exponents are wanted. A certified part forward again on the way back needs none: where
    /// its inputs would meet with different exponents, it would not be certified.
    pub(super) exponents: bool,
}

impl<'a> Unit<'a> {
    /// The lane row of a column; `fixed` is filled where the column is one value.
    pub(super) fn column<'b>(&'b self, column: u32, fixed: &'b mut [f32; LANES]) -> &'b [f32] {
        match self.columns[column as usize] {
            Column::Variable(var) => &self.data[span(var.0, 1)],
            Column::Fixed(value) => {
                fixed.fill(value);
                fixed
            }
        }
    }

    pub(super) fn table(&self, at: u32, len: usize) -> &'a [f32] {
        &self.coefficients[at as usize..at as usize + len]
    }

    pub(super) fn value(&self, input: &Input) -> &'a Value {
        &self.program.values[input.value as usize]
    }

    /// The two inputs of a product.
    pub(super) fn factors(&self, step: &Step) -> [&'a Value; 2] {
        let inputs = self.program.inputs(step);
        [self.value(&inputs[0]), self.value(&inputs[1])]
    }
}

/// What the head reads of the parts for this tile.
pub(super) trait Imports {
    /// Units, exponents and bounds of an output of a part.
    fn import(&self, part: u32, output: u32) -> (&[f32], &[i32], &[f32]);
}

/// Parts import nothing.
pub(super) struct NoImports;

impl Imports for NoImports {
    fn import(&self, _part: u32, _output: u32) -> (&[f32], &[i32], &[f32]) {
        (&[], &[], &[])
    }
}

/// Runs all steps.
pub(super) fn forward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    imports: &impl Imports,
    arenas: &mut Arenas<'_>,
    scratch: &mut Scratch<'_>,
) {
    for step in &unit.program.steps {
        let value = &unit.program.values[step.output as usize];
        if value.is_inline() {
            continue;
        }
        match step.op {
            Op::ProductSum { weights } if unit.certified && is_small(formed_units(unit, step)) => {
                small_product_sum(simd, unit, step, weights, arenas, scratch);
            }
            Op::Sparse { left, .. } => {
                sparse::forward(simd, unit, step, left as usize, arenas, scratch);
            }
            _ => other(simd, unit, step, value, imports, arenas, scratch),
        }
    }
}

/// The step of which a RAT-SPN consists.
fn small_product_sum<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    weights: u32,
    arenas: &mut Arenas<'_>,
    scratch: &mut Scratch<'_>,
) {
    let value = &unit.program.values[step.output as usize];
    let [a, b] = unit.factors(step);
    let (width, units) = (a.units as usize, value.units as usize);
    let table = unit.table(weights, units * width);
    let place = |value: &Value| (value.exponent != NOWHERE).then(|| exponent_span(value).start);
    let exponents = unit.exponents.then(|| Exponents {
        factors: [place(a), place(b)],
        out: exponent_span(value).start,
        arena: arenas.exponents,
    });
    let Scratch { left, right, indicators, .. } = scratch;
    let a = factor(simd, unit, a, left, indicators);
    let b = factor(simd, unit, b, right, indicators);
    let out = span(value.rows, value.units).start;
    product_sum(simd, width, a, b, table, arenas.values, out, exponents);
}

/// A factor of a small product: where its units lie, or what they are looked up in. Other look-ups than
/// those of a binary variable are made in `inline`.
pub(super) fn factor<'a, S: Simd>(
    simd: S,
    unit: &Unit<'a>,
    value: &Value,
    inline: &'a mut [f32],
    states_scratch: &mut [f32],
) -> Factor<'a> {
    if !value.is_inline() {
        return Factor::Stored(span(value.rows, value.units).start);
    }
    let step = &unit.program.steps[value.step as usize];
    if let Op::Lookup { column, table, states: 2 } = step.op
        && let Column::Variable(var) = unit.columns[column as usize]
    {
        let (table, missing) = (unit.table(table, 2 * value.units as usize), unit.missing);
        return Factor::Binary(Binary { table, column: &unit.data[span(var.0, 1)], missing });
    }
    let out = &mut inline[..value.units as usize * LANES];
    lookup(simd, unit, step, states_scratch, out);
    Factor::Rows(out)
}

/// The units of an input: from its arena, or made in `inline`.
pub(super) fn operand<'a, S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    value: &Value,
    values: &'a [f32],
    inline: &'a mut [f32],
    states: &mut [f32],
) -> &'a [f32] {
    if !value.is_inline() {
        return &values[span(value.rows, value.units)];
    }
    let out = &mut inline[..value.units as usize * LANES];
    lookup(simd, unit, &unit.program.steps[value.step as usize], states, out);
    out
}

/// A look-up in a table [units, states].
fn lookup<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    states_scratch: &mut [f32],
    out: &mut [f32],
) {
    let Op::Lookup { column, table, states } = step.op else { return };
    let (units, states) = (out.len() / LANES, states as usize);
    let mut fixed = [0.0; LANES];
    let column = unit.column(column, &mut fixed);
    let table = unit.table(table, units * states);
    if states == 2 {
        lookup_binary(simd, Binary { table, column, missing: unit.missing }, out);
        return;
    }
    if states <= INDICATORS {
        indicators(simd, column, states, states_scratch);
        let table = Matrix::row_major(table, units, states);
        matrix(simd, table, &states_scratch[..states * LANES], out);
    } else {
        for (row, out) in table.chunks_exact(states).zip(out.chunks_exact_mut(LANES)) {
            for (out, &x) in out.iter_mut().zip(column) {
                *out = row[x as usize];
            }
        }
    }
    if unit.missing {
        for (lane, _) in column.iter().enumerate().filter(|(_, x)| x.is_nan()) {
            out.iter_mut().skip(lane).step_by(LANES).for_each(|out| *out = 1.0);
        }
    }
}

/// Every step but the certified product and sum.
fn other<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    value: &Value,
    imports: &impl Imports,
    arenas: &mut Arenas<'_>,
    scratch: &mut Scratch<'_>,
) {
    let mut exponents = [0; LANES];
    let mut bound = [0.0; LANES];
    let units = value.units as usize;
    let out = span(value.rows, value.units);
    match step.op {
        Op::Lookup { .. } => {
            lookup(simd, unit, step, scratch.indicators, &mut arenas.values[out.clone()]);
        }
        Op::Gaussian { column, table } => {
            let mut fixed = [0.0; LANES];
            let column = unit.column(column, &mut fixed);
            let table = unit.table(table, units * 3);
            log_densities(simd, column, table, &mut arenas.values[out.clone()]);
        }
        Op::LogLookup { column, table, states } => {
            let mut fixed = [0.0; LANES];
            let column = unit.column(column, &mut fixed);
            let table = unit.table(table, units * states as usize);
            log_rows(column, table, states as usize, &mut arenas.values[out.clone()]);
        }
        Op::Poisson { column, table } => {
            let mut fixed = [0.0; LANES];
            let column = unit.column(column, &mut fixed);
            log_counts(column, unit.table(table, units), &mut arenas.values[out.clone()]);
        }
        Op::One => arenas.values[out.clone()].fill(1.0),
        Op::Import { part, output } => {
            let (rows, part_exponents, part_bound) = imports.import(part, output);
            arenas.values[out.clone()].copy_from_slice(rows);
            exponents.copy_from_slice(part_exponents);
            bound.copy_from_slice(part_bound);
        }
        Op::AddLogs => {
            let inputs = unit.program.inputs(step);
            let [a, b] = [0, 1].map(|i| span(unit.value(&inputs[i]).rows, value.units));
            let formed = &mut scratch.formed[..units * LANES];
            let rows = arenas.values[a].iter().zip(&arenas.values[b]);
            formed.iter_mut().zip(rows).for_each(|(out, (a, b))| *out = a + b);
            arenas.values[out.clone()].copy_from_slice(formed);
        }
        Op::Exponentiate => {
            let input = unit.value(&unit.program.inputs(step)[0]);
            let formed = &mut scratch.formed[..units * LANES];
            formed.copy_from_slice(&arenas.values[span(input.rows, input.units)]);
            let variables = unit.data.len() / LANES;
            exponentiate(simd, formed, variables, &mut exponents, &mut bound);
            arenas.values[out.clone()].copy_from_slice(formed);
        }
        Op::Product | Op::Kronecker | Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
            multiply(simd, unit, step, arenas, scratch, &mut exponents, &mut bound);
        }
        // Done by itself.
        Op::Sparse { .. } => return,
        Op::Sum { .. } | Op::Mix { .. } => {
            gather(simd, unit, step, arenas, scratch, &mut exponents, &mut bound);
        }
    }
    finish(simd, unit, step, value, arenas, scratch);
    if let Some(weights) = step.op.weights()
        && !unit.certified
    {
        let width = formed_units(unit, step);
        let rows = if matches!(step.op, Op::Mix { .. }) { width } else { units * width };
        let positive = unit.table(weights, rows).iter().copied().filter(|&weight| weight > 0.0);
        let least = positive.fold(f32::INFINITY, f32::min);
        mind_terms(simd, &scratch.formed[..width * LANES], least, &mut bound);
    }
    if value.exponent != NOWHERE {
        arenas.exponents[exponent_span(value)].copy_from_slice(&exponents);
        arenas.bounds[exponent_span(value)].copy_from_slice(&bound);
    }
}

/// Takes what was formed to the step's output.
fn finish<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    value: &Value,
    arenas: &mut Arenas<'_>,
    scratch: &Scratch<'_>,
) {
    let units = value.units as usize;
    let out = &mut arenas.values[span(value.rows, value.units)];
    let inputs = unit.program.inputs(step);
    match step.op {
        Op::Product | Op::Kronecker => out.copy_from_slice(&scratch.formed[..units * LANES]),
        Op::Sum { weights } | Op::ProductSum { weights } | Op::KroneckerSum { weights } => {
            let width = formed_units(unit, step);
            let table = Matrix::row_major(unit.table(weights, units * width), units, width);
            let formed = &scratch.formed[..width * LANES];
            matrix(simd, table, formed, out);
        }
        Op::Mix { weights } => {
            mix(unit.table(weights, units * inputs.len()), inputs.len(), scratch.formed, out);
        }
        _ => {}
    }
}

/// Units of what a sum is taken over.
pub(super) fn formed_units(unit: &Unit<'_>, step: &Step) -> usize {
    unit.program.formed(step) as usize
}

/// out[j] = Σᵢ weights[j, i] · formed[i][j].
fn mix(weights: &[f32], inputs: usize, formed: &[f32], out: &mut [f32]) {
    let units = out.len() / LANES;
    for (unit, out) in out.chunks_exact_mut(LANES).enumerate() {
        out.fill(0.0);
        for input in 0..inputs {
            let weight = weights[unit * inputs + input];
            let row = &formed[(input * units + unit) * LANES..][..LANES];
            out.iter_mut().zip(row).for_each(|(out, &x)| *out += weight * x);
        }
    }
}

/// Forms the product of two inputs in scratch, elementwise or of all pairs, its top in [1, 2).
pub(super) fn multiply<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    arenas: &Arenas<'_>,
    scratch: &mut Scratch<'_>,
    exponents: &mut [i32; LANES],
    bound: &mut [f32; LANES],
) {
    let [a, b] = unit.factors(step);
    let left = operand(simd, unit, a, arenas.values, scratch.left, scratch.indicators);
    let right = operand(simd, unit, b, arenas.values, scratch.right, scratch.indicators);
    let bounds = |value: &Value| match value.exponent {
        NOWHERE => &[][..],
        _ => &arenas.bounds[exponent_span(value)],
    };
    let bounds = (bounds(a), bounds(b));
    if matches!(step.op, Op::Kronecker | Op::KroneckerSum { .. }) {
        let units = left.len() * right.len() / LANES;
        let formed = &mut scratch.formed[..units];
        pairs(simd, left, right, formed, scratch.scale, exponents, bounds, bound);
    } else {
        let formed = &mut scratch.formed[..left.len()];
        if unit.certified {
            product(simd, left, right, formed, scratch.scale, exponents);
        } else {
            let factors = (left, right);
            guarded_product(simd, factors, bounds, formed, scratch.scale, exponents, bound);
        }
    }
    add_exponents(exponents, arenas.exponents, a);
    add_exponents(exponents, arenas.exponents, b);
}

/// Concatenates the inputs of a sum in scratch, brought to one exponent a lane: the top of all lies
/// in [1, 2) where there are several. The factor of each input is not kept: [`alignment`] gives it.
pub(super) fn gather<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    arenas: &Arenas<'_>,
    scratch: &mut Scratch<'_>,
    exponents: &mut [i32; LANES],
    bound: &mut [f32; LANES],
) {
    let inputs = unit.program.inputs(step);
    if let [input] = inputs {
        let value = unit.value(input);
        let rows = operand(simd, unit, value, arenas.values, scratch.left, scratch.indicators);
        scratch.formed[..rows.len()].copy_from_slice(rows);
        if value.exponent != NOWHERE {
            exponents.copy_from_slice(&arenas.exponents[exponent_span(value)]);
            bound.copy_from_slice(&arenas.bounds[exponent_span(value)]);
        }
        return;
    }
    highest(simd, unit, inputs, arenas, exponents);
    let mut first = 0;
    for input in inputs {
        let value = unit.value(input);
        let rows = &arenas.values[span(value.rows, value.units)];
        let out = &mut scratch.formed[first..first + rows.len()];
        first += rows.len();
        let (own, bounds) = match value.exponent {
            NOWHERE => (&[0; LANES][..], &[0.0; LANES][..]),
            _ => (&arenas.exponents[exponent_span(value)], &arenas.bounds[exponent_span(value)]),
        };
        align_rows(simd, rows, own, bounds, exponents, out, bound);
    }
}

/// The exponent of the largest unit of all inputs, by lane.
fn highest<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    inputs: &[Input],
    arenas: &Arenas<'_>,
    exponents: &mut [i32; LANES],
) {
    exponents.fill(i32::MIN);
    for input in inputs {
        let value = unit.value(input);
        let own = exponents_of(value, arenas);
        raise(simd, &arenas.values[span(value.rows, value.units)], own, exponents);
    }
    exponents.iter_mut().filter(|highest| **highest == i32::MIN).for_each(|highest| *highest = 0);
}

/// The exponents of a value, [LANES].
fn exponents_of<'a>(value: &Value, arenas: &'a Arenas<'_>) -> &'a [i32] {
    match value.exponent {
        NOWHERE => &[0; LANES],
        _ => &arenas.exponents[exponent_span(value)],
    }
}

/// The powers of two that bring an input to the common exponent.
pub(super) fn alignment(value: &Value, arenas: &Arenas<'_>, common: &[i32; LANES]) -> [f32; LANES] {
    let own = exponents_of(value, arenas);
    std::array::from_fn(|lane| power(own[lane], common[lane]))
}
