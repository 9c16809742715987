//! The forward pass of a program over entries.

use pulp::Simd;

use super::find::Found;
use super::layout::{BLOCK, Layout, stride};
use super::narrow::{self, product_sum};
use super::rows::{Factor, form_pairs, form_product, rows_times, taken};
use crate::plan::{Op, Program, Spaces, Step, Value};
use crate::simd::{align, take, transpose};

/// A part, as it is run over entries.
#[derive(Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) program: &'a Program,
    pub(super) spaces: &'a Spaces,
    pub(super) layout: &'a Layout,
    /// The part's coefficients.
    pub(super) coefficients: &'a [f32],
    pub(super) found: &'a Found,
}

impl<'a> Unit<'a> {
    pub(super) fn entries(&self, value: u32) -> usize {
        self.found.entries(self.spaces, value as usize)
    }

    pub(super) fn value(&self, id: u32) -> &'a Value {
        &self.program.values[id as usize]
    }

    /// Where the rows of a value lie, of the entries that there are.
    pub(super) fn rows(&self, value: u32) -> std::ops::Range<usize> {
        let first = self.layout.rows[value as usize];
        first..first + self.entries(value) * self.layout.stride(self.value(value).units)
    }

    /// Where its scales and exponents lie.
    pub(super) fn scales(&self, value: u32) -> std::ops::Range<usize> {
        let first = self.layout.entries[value as usize];
        first..first + self.entries(value)
    }

    /// The values that a step reads, and which entries of them.
    pub(super) fn input(&self, step: &Step, input: usize) -> (u32, &'a [u32]) {
        let at = step.inputs.0 as usize + input;
        let entries = self.entries(step.output);
        let index = self.layout.index(self.spaces, at, &self.found.through, entries);
        (self.program.inputs[at].value, index)
    }

    /// An input's rows, where values lie in `values`.
    pub(super) fn factor<'b>(&self, step: &Step, input: usize, values: &'b [f32]) -> Factor<'b>
    where
        'a: 'b,
    {
        let (value, index) = self.input(step, input);
        let rows = &values[self.rows(value)];
        Factor { rows, stride: self.layout.stride(self.value(value).units), index }
    }

    pub(super) fn table(&self, at: u32, len: usize) -> &'a [f32] {
        &self.coefficients[at as usize..at as usize + len]
    }

    /// Units of what a step forms of its inputs.
    pub(super) fn width(&self, step: &Step) -> usize {
        let units = |input: usize| self.value(self.input(step, input).0).units as usize;
        match step.op {
            Op::Kronecker => units(0) * units(1),
            _ => units(0),
        }
    }
}

/// What a part over entries works in, one for each worker.
pub(super) struct Arenas<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) gradients: &'a mut [f32],
    pub(super) scales: &'a mut [f32],
    pub(super) exponents: &'a mut [i32],
    /// A block of what entries form, and the gradient by it.
    pub(super) formed: &'a mut [f32],
    pub(super) d_formed: &'a mut [f32],
    /// A matrix of weights, padded.
    pub(super) weights: &'a mut [f32],
}

/// The buffers of [`Arenas`].
#[derive(Default)]
pub(in crate::engine::cpu) struct Buffers {
    values: Vec<f32>,
    gradients: Vec<f32>,
    scales: Vec<f32>,
    exponents: Vec<i32>,
    formed: Vec<f32>,
}

/// Numbers that let a buffer begin on a line of the cache.
const SLACK: usize = 16;

impl Buffers {
    /// Of so many numbers; gradients only if they are wanted.
    pub(super) fn new(sizes: &super::layout::Sizes, train: bool) -> Self {
        let several = 2 * sizes.formed + sizes.weights + SLACK;
        Buffers {
            values: vec![0.0; sizes.rows + SLACK],
            gradients: vec![0.0; if train { sizes.rows + SLACK } else { 0 }],
            scales: vec![0.0; sizes.entries],
            exponents: vec![0; sizes.entries],
            formed: vec![0.0; several],
        }
    }

    pub(super) fn arenas(&mut self, sizes: &super::layout::Sizes) -> Arenas<'_> {
        let mut rest = align(&mut self.formed);
        Arenas {
            values: align(&mut self.values),
            gradients: align(&mut self.gradients),
            scales: &mut self.scales,
            exponents: &mut self.exponents,
            formed: take(&mut rest, sizes.formed),
            d_formed: take(&mut rest, sizes.formed),
            weights: rest,
        }
    }
}

/// Runs all steps; with `exponents`, says what was scaled out of each entry too.
pub(super) fn forward<S: Simd>(simd: S, unit: &Unit<'_>, arenas: &mut Arenas<'_>, exponents: bool) {
    for step in &unit.program.steps {
        if unit.entries(step.output) == 0 {
            continue;
        }
        match step.op {
            Op::Lookup { table, states, .. } => lookup(unit, step, table, states as usize, arenas),
            Op::One => one(unit, step, arenas),
            Op::ProductSum { weights } => weighted_product(simd, unit, step, weights, arenas),
            Op::Sum { weights } => weighted(simd, unit, step, weights, arenas),
            _ => product(simd, unit, step, arenas),
        }
        if exponents {
            add_exponents(unit, step, arenas);
        }
    }
}

/// A row for each state: the table's columns; and one of ones where a value may be missing.
fn lookup(unit: &Unit<'_>, step: &Step, table: u32, states: usize, arenas: &mut Arenas<'_>) {
    let units = unit.value(step.output).units;
    let stride = unit.layout.stride(units);
    let table = unit.table(table, units as usize * states);
    let rows = &mut arenas.values[unit.rows(step.output)];
    for (state, row) in rows.chunks_exact_mut(stride).enumerate() {
        row[units as usize..].fill(0.0);
        let row = &mut row[..units as usize];
        if state < states {
            row.iter_mut().zip(table[state..].iter().step_by(states)).for_each(|(r, &t)| *r = t);
        } else {
            row.fill(1.0);
        }
    }
    arenas.scales[unit.scales(step.output)].fill(1.0);
}

fn one(unit: &Unit<'_>, step: &Step, arenas: &mut Arenas<'_>) {
    let units = unit.value(step.output).units;
    for row in arenas.values[unit.rows(step.output)].chunks_exact_mut(unit.layout.stride(units)) {
        row[..units as usize].fill(1.0);
        row[units as usize..].fill(0.0);
    }
    arenas.scales[unit.scales(step.output)].fill(1.0);
}

fn weighted_product<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    weights: u32,
    arenas: &mut Arenas<'_>,
) {
    let (width, units) = (unit.width(step), unit.value(step.output).units as usize);
    if !(unit.layout.narrow && narrow::fits(width, units)) {
        weighted(simd, unit, step, weights, arenas);
        return;
    }
    let own = unit.rows(step.output);
    let (below, out) = arenas.values.split_at_mut(own.start);
    let (a, b) = (unit.factor(step, 0, below), unit.factor(step, 1, below));
    let table = unit.table(weights, width * units);
    let scale = &mut arenas.scales[unit.scales(step.output)];
    product_sum(simd, (width, units), a, b, table, &mut out[..own.len()], scale);
}

/// A sum, block by block of entries.
fn weighted<S: Simd>(simd: S, unit: &Unit<'_>, step: &Step, weights: u32, arenas: &mut Arenas<'_>) {
    let (width, units) = (unit.width(step), unit.value(step.output).units as usize);
    let own = unit.layout.stride(units as u32);
    let formed_stride = stride(unit.layout.narrow, width);
    let table = unit.table(weights, width * units);
    let columns = &mut arenas.weights[..width * own];
    columns.fill(0.0);
    transpose((table, width), (columns, own), units, width);
    let entries = unit.entries(step.output);
    let range = unit.rows(step.output);
    let (below, out) = arenas.values.split_at_mut(range.start);
    let out = out[..range.len()].chunks_mut(BLOCK * own);
    let scales = &mut arenas.scales[unit.scales(step.output)];
    for (block, (out, scales)) in out.zip(scales.chunks_mut(BLOCK)).enumerate() {
        let first = block * BLOCK;
        let count = BLOCK.min(entries - first);
        let formed = &mut arenas.formed[..count * formed_stride];
        form(simd, unit, step, first, below, formed, scales);
        rows_times(simd, (formed, formed_stride), width, columns, own, out);
    }
}

/// Forms what a sum is taken over, for a block of entries.
pub(super) fn form<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    first: usize,
    below: &[f32],
    formed: &mut [f32],
    scales: &mut [f32],
) {
    let a = unit.factor(step, 0, below);
    match step.op {
        Op::Sum { .. } => {
            for (entry, formed) in formed.chunks_exact_mut(a.stride).enumerate() {
                S::as_mut_simd_f32s(formed).0.copy_from_slice(a.row::<S>(first + entry));
            }
            scales.fill(1.0);
        }
        Op::Kronecker => {
            let b = unit.factor(step, 1, below);
            let units = [0, 1].map(|input| unit.value(unit.input(step, input).0).units as usize);
            let width = unit.layout.stride((units[0] * units[1]) as u32);
            form_pairs(simd, first, a, b, (units[0], units[1]), width, formed, scales);
        }
        _ => form_product(simd, first, a, unit.factor(step, 1, below), formed, scales),
    }
}

/// A product that is a value of its own.
fn product<S: Simd>(simd: S, unit: &Unit<'_>, step: &Step, arenas: &mut Arenas<'_>) {
    let own = unit.rows(step.output);
    let (below, out) = arenas.values.split_at_mut(own.start);
    let scales = &mut arenas.scales[unit.scales(step.output)];
    form(simd, unit, step, 0, below, &mut out[..own.len()], scales);
}

/// The exponents of a step's output: its inputs', and what the scales take.
fn add_exponents(unit: &Unit<'_>, step: &Step, arenas: &mut Arenas<'_>) {
    let own = unit.scales(step.output);
    let (below, out) = arenas.exponents.split_at_mut(own.start);
    let out = &mut out[..own.len()];
    let scales = &arenas.scales[own];
    out.iter_mut().zip(scales).for_each(|(out, &scale)| *out = taken(scale));
    for input in 0..unit.program.inputs(step).len() {
        let (value, index) = unit.input(step, input);
        let below = &below[unit.scales(value)];
        out.iter_mut().zip(index).for_each(|(out, &entry)| *out += below[entry as usize]);
    }
}
