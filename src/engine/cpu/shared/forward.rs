//! The forward pass of a program over entries.

use pulp::Simd;

use super::bounds::Bounds;
use super::bundle::{self, tables};
use super::eight::{self, Index, Operand, Results};
use super::find::Found;
use super::narrow::product_sum;
use super::rows::{Factor, form_pairs, form_product, rows_times, taken};
use crate::plan::bundles::Bundle;
use crate::plan::layout::{BLOCK, Form, Layout, NARROW, Placed, Read, SLACK, Sizes, Value, stride};
use crate::simd::{align, take, transpose};

/// A part, as it is run over entries.
#[derive(Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) layout: &'a Layout,
    /// The part's coefficients.
    pub(super) coefficients: &'a [f32],
    pub(super) found: &'a Found,
    /// Whether tables are evaluated side by side where they may be; what their entries may lack is known
    /// only where they are not.
    pub(super) bundled: bool,
}

impl<'a> Unit<'a> {
    /// The bundles, and the steps that are run one by one.
    pub(super) fn steps<S: Simd>(&self) -> (&'a [Bundle], &'a [Placed]) {
        match self.bundled && bundle::runs::<S>(self.layout) {
            true => (&self.layout.bundles, self.layout.single_steps()),
            false => (&[], &self.layout.steps),
        }
    }

    pub(super) fn entries(&self, value: &Value) -> usize {
        self.found.entries(value.space)
    }

    /// Where the rows of a value lie, of the entries that there are.
    pub(super) fn rows(&self, value: &Value) -> std::ops::Range<usize> {
        value.rows..value.rows + self.entries(value) * value.stride
    }

    /// Where its scales and exponents lie.
    pub(super) fn scales(&self, value: &Value) -> std::ops::Range<usize> {
        value.entries..value.entries + self.entries(value)
    }

    /// Which entry of an input each entry of a step's output reads.
    pub(super) fn index(&self, step: &Placed, read: &Read) -> &'a [u32] {
        self.layout.index(read, &self.found.through, self.entries(&step.output))
    }

    /// An input's rows, where values lie in `values`.
    pub(super) fn factor<'b>(&self, step: &Placed, input: usize, values: &'b [f32]) -> Factor<'b>
    where
        'a: 'b,
    {
        let read = &step.inputs[input];
        let rows = &values[self.rows(&read.value)];
        Factor { rows, stride: read.value.stride, index: self.index(step, read) }
    }

    /// The same, with the exponents of its entries.
    fn operand<'b>(
        &self,
        step: &Placed,
        input: usize,
        (values, exponents): (&'b [f32], &'b [i32]),
    ) -> Operand<'b>
    where
        'a: 'b,
    {
        let read = &step.inputs[input];
        let (rows, exponents) =
            (&values[self.rows(&read.value)], &exponents[self.scales(&read.value)]);
        // Also where an entry reads that of its own number, which of a last, short group is not there.
        Operand { rows, exponents, index: Index::Long(self.index(step, read)) }
    }

    pub(super) fn table(&self, at: usize, len: usize) -> &'a [f32] {
        &self.coefficients[at..at + len]
    }
}

/// What the entries of a part have come to.
pub(super) struct Values<'a> {
    pub(super) rows: &'a mut [f32],
    /// What each entry was multiplied with, a power of two.
    pub(super) scales: &'a mut [f32],
}

/// The buffers of [`Values`].
#[derive(Default)]
pub(in crate::engine::cpu) struct ValueBuffers {
    rows: Vec<f32>,
    scales: Vec<f32>,
}

/// What a step works in, one for each worker.
pub(super) struct Scratch<'a> {
    pub(super) exponents: &'a mut [i32],
    pub(super) bounds: Bounds<'a>,
    /// A block of what entries form, and the gradient by it.
    pub(super) formed: &'a mut [f32],
    pub(super) d_formed: &'a mut [f32],
    /// A matrix of weights, padded.
    pub(super) weights: &'a mut [f32],
    /// The gradients by the rows of all values.
    pub(super) gradients: &'a mut [f32],
    /// What a bundle is evaluated in.
    pub(super) bundle: &'a mut [f32],
}

/// The buffers of [`Scratch`].
#[derive(Default)]
pub(in crate::engine::cpu) struct ScratchBuffers {
    exponents: Vec<i32>,
    bounds: Vec<f32>,
    formed: Vec<f32>,
    gradients: Vec<f32>,
    bundle: Vec<f32>,
}

impl ValueBuffers {
    pub(super) fn new(sizes: &Sizes) -> Self {
        ValueBuffers { rows: vec![0.0; sizes.rows + SLACK], scales: vec![0.0; sizes.entries] }
    }

    pub(super) fn values(&mut self) -> Values<'_> {
        Values { rows: align(&mut self.rows), scales: &mut self.scales }
    }
}

impl ScratchBuffers {
    /// Of so many numbers; gradients only if they are wanted.
    pub(super) fn new(sizes: &Sizes, train: bool) -> Self {
        let several = 2 * sizes.formed + sizes.weights + SLACK;
        ScratchBuffers {
            exponents: vec![0; sizes.entries],
            bounds: vec![0.0; 2 * sizes.entries],
            formed: vec![0.0; several],
            gradients: vec![0.0; if train { sizes.rows + SLACK } else { 0 }],
            bundle: vec![0.0; sizes.bundle + SLACK],
        }
    }

    pub(super) fn scratch(&mut self, sizes: &Sizes) -> Scratch<'_> {
        let mut rest = align(&mut self.formed);
        let (bounds, tops) = self.bounds.split_at_mut(self.exponents.len());
        Scratch {
            exponents: &mut self.exponents,
            bounds: Bounds { bounds, tops },
            formed: take(&mut rest, sizes.formed),
            d_formed: take(&mut rest, sizes.formed),
            weights: rest,
            gradients: align(&mut self.gradients),
            bundle: align(&mut self.bundle),
        }
    }
}

/// Runs all steps; with `exponents`, says what was scaled out of each entry too.
pub(super) fn forward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    values: &mut Values<'_>,
    scratch: &mut Scratch<'_>,
    exponents: bool,
) {
    let (bundles, steps) = unit.steps::<S>();
    for bundle in bundles {
        let exponents = exponents.then_some(&mut scratch.exponents[..]);
        let Unit { layout, coefficients, .. } = *unit;
        tables(simd, bundle, layout, coefficients, values.rows, exponents, scratch.bundle);
    }
    for step in steps {
        if unit.entries(&step.output) == 0 {
            continue;
        }
        if eight::fits::<S>() && by_eights(simd, unit, step, values, scratch.exponents) {
            continue;
        }
        let (below, out) = values.rows.split_at_mut(step.output.rows);
        let out = &mut out[..unit.rows(&step.output).len()];
        let scales = &mut values.scales[unit.scales(&step.output)];
        match step.form {
            Form::Lookup { table, states } => {
                lookup(unit.table(table, step.output.units * states), states, step, out);
                scales.fill(1.0);
            }
            Form::One => {
                for row in out.chunks_exact_mut(step.output.stride) {
                    row[..step.output.units].fill(1.0);
                    row[step.output.units..].fill(0.0);
                }
                scales.fill(1.0);
            }
            Form::ProductSum { weights, narrow: true } => {
                let (a, b) = (unit.factor(step, 0, below), unit.factor(step, 1, below));
                let shape = (step.width, step.output.units);
                let table = unit.table(weights, shape.0 * shape.1);
                product_sum(simd, shape, a, b, table, out, scales);
            }
            Form::ProductSum { weights, .. }
            | Form::PairSum { weights }
            | Form::Sum { weights } => {
                weighted(simd, unit, step, weights, below, (out, scales), scratch);
            }
            Form::Product { .. } => form(simd, unit, step, 0, below, out, scales),
        }
        if exponents {
            add_exponents(unit, step, scales, scratch.exponents);
        }
    }
}

/// Runs a step on narrow rows eight entries at a time, exponents and all, if it has such a kernel.
fn by_eights<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    values: &mut Values<'_>,
    exponents: &mut [i32],
) -> bool {
    let has_kernel = match step.form {
        Form::ProductSum { narrow, .. } => narrow,
        Form::Product { pairs } => unit.layout.narrow && !pairs,
        Form::Lookup { .. } | Form::One | Form::Sum { .. } | Form::PairSum { .. } => false,
    };
    if !has_kernel {
        return false;
    }
    let output = &step.output;
    let entries = unit.entries(output).next_multiple_of(NARROW);
    let (below, rows) = values.rows.split_at_mut(output.rows);
    let (exponents_below, exponents) = exponents.split_at_mut(output.entries);
    let to = Results {
        rows: &mut rows[..entries * NARROW],
        exponents: &mut exponents[..entries],
        scales: &mut values.scales[output.entries..][..entries],
    };
    let [a, b] = [0, 1].map(|input| unit.operand(step, input, (below, exponents_below)));
    match step.form {
        Form::ProductSum { weights, .. } => {
            let shape = (step.width, output.units);
            let table = unit.table(weights, shape.0 * shape.1);
            eight::product_sum(simd, shape, a, b, table, to);
        }
        _ => eight::product(simd, a, b, to),
    }
    true
}

/// A row for each state: the table's columns; and one of ones where a value may be missing.
pub(super) fn lookup(table: &[f32], states: usize, step: &Placed, out: &mut [f32]) {
    let units = step.output.units;
    for (state, row) in out.chunks_exact_mut(step.output.stride).enumerate() {
        row[units..].fill(0.0);
        let row = &mut row[..units];
        if state < states {
            row.iter_mut().zip(table[state..].iter().step_by(states)).for_each(|(r, &t)| *r = t);
        } else {
            row.fill(1.0);
        }
    }
}

/// A sum, block by block of entries.
fn weighted<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    weights: usize,
    below: &[f32],
    (out, scales): (&mut [f32], &mut [f32]),
    scratch: &mut Scratch<'_>,
) {
    let (width, units, own) = (step.width, step.output.units, step.output.stride);
    let formed_stride = stride(unit.layout.narrow, width);
    let table = unit.table(weights, width * units);
    let columns = &mut scratch.weights[..width * own];
    columns.fill(0.0);
    transpose((table, width), (columns, own), units, width);
    let blocks = out.chunks_mut(BLOCK * own).zip(scales.chunks_mut(BLOCK));
    for (block, (out, scales)) in blocks.enumerate() {
        let formed = &mut scratch.formed[..scales.len() * formed_stride];
        form(simd, unit, step, block * BLOCK, below, formed, scales);
        rows_times(simd, (formed, formed_stride), width, columns, own, out);
    }
}

/// Forms what a sum is taken over, or a product that is a value of its own, for a block of entries.
pub(super) fn form<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    first: usize,
    below: &[f32],
    formed: &mut [f32],
    scales: &mut [f32],
) {
    let factors = [0, 1].map(|input| unit.factor(step, input, below));
    form_of(simd, step, unit.layout.narrow, factors, first, formed, scales);
}

/// The same of given inputs, of a layout of `narrow` rows or of wide; a step with one has it twice.
pub(super) fn form_of<S: Simd>(
    simd: S,
    step: &Placed,
    narrow: bool,
    [a, b]: [Factor<'_>; 2],
    first: usize,
    formed: &mut [f32],
    scales: &mut [f32],
) {
    match step.form {
        Form::Sum { .. } => {
            for (entry, formed) in formed.chunks_exact_mut(a.stride).enumerate() {
                S::as_mut_simd_f32s(formed).0.copy_from_slice(a.row::<S>(first + entry));
            }
            scales.fill(1.0);
        }
        _ if step.forms_pairs() => {
            let units = (step.inputs[0].value.units, step.inputs[1].value.units);
            let own = stride(narrow, step.width);
            form_pairs(simd, first, a, b, units, own, formed, scales);
        }
        _ => form_product(simd, first, a, b, formed, scales),
    }
}

/// The exponents of a step's output: its inputs', and what the scales take.
fn add_exponents(unit: &Unit<'_>, step: &Placed, scales: &[f32], exponents: &mut [i32]) {
    let (below, out) = exponents.split_at_mut(step.output.entries);
    let out = &mut out[..scales.len()];
    out.iter_mut().zip(scales).for_each(|(out, &scale)| *out = taken(scale));
    for read in &step.inputs[..step.form.inputs()] {
        let below = &below[unit.scales(&read.value)];
        let index = unit.index(step, read);
        out.iter_mut().zip(index).for_each(|(out, &entry)| *out += below[entry as usize]);
    }
}
