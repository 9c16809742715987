//! The backward pass of a program over entries, after its forward pass.
//!
//! What flows back to an entry is the sum over all rows that agree on it; it is complete before the
//! entry's own step runs back, so each step runs once for each entry here too.

use pulp::Simd;

use super::bundle::tables_back;
use super::forward::{Scratch, Unit, Values, form};
use super::narrow::product_sum_back;
use super::rows::{Half, add_outer, give_back, give_back_pairs, rows_times};
use crate::plan::layout::{BLOCK, Form, Placed, stride};

/// Sets the gradients of all entries to zero.
pub(super) fn clear<S: Simd>(_: S, unit: &Unit<'_>, gradients: &mut [f32]) {
    let (bundles, steps) = unit.steps::<S>();
    let tables = bundles.iter().flat_map(|bundle| &bundle.tables);
    for value in tables.chain(steps.iter().map(|step| &step.output)) {
        gradients[unit.rows(value)].fill(0.0);
    }
}

/// Runs all steps back. The gradients by the program's outputs are in their places; those by the
/// coefficients are added to `d_coefficients`.
pub(super) fn backward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    values: &mut Values<'_>,
    scratch: &mut Scratch<'_>,
    d_coefficients: &mut [f32],
) {
    let (bundles, steps) = unit.steps::<S>();
    for step in steps.iter().rev() {
        if unit.entries(&step.output) == 0 || !step.output.learns {
            continue;
        }
        let numbers = step.width * step.output.units;
        match step.form {
            Form::Lookup { table, states } => {
                let d_table = &mut d_coefficients[table..][..step.output.units * states];
                lookup(&scratch.gradients[unit.rows(&step.output)], step, states, d_table);
            }
            Form::ProductSum { weights, narrow: true } => {
                let d_table = &mut d_coefficients[weights..][..numbers];
                weighted_product(simd, unit, step, weights, values, scratch, d_table);
            }
            Form::ProductSum { weights, .. }
            | Form::PairSum { weights }
            | Form::Sum { weights } => {
                let d_table = &mut d_coefficients[weights..][..numbers];
                weighted(simd, unit, step, weights, values, scratch, d_table);
            }
            Form::One => {}
            Form::Product { .. } => product(simd, unit, step, values, scratch.gradients),
        }
    }
    for bundle in bundles {
        let Unit { layout, coefficients, .. } = *unit;
        let Scratch { gradients, bundle: room, .. } = &mut *scratch;
        tables_back(simd, bundle, layout, coefficients, gradients, d_coefficients, room);
    }
}

fn lookup(gradients: &[f32], step: &Placed, states: usize, d_table: &mut [f32]) {
    for (state, row) in gradients.chunks_exact(step.output.stride).take(states).enumerate() {
        let sums = d_table[state..].iter_mut().step_by(states);
        sums.zip(row).for_each(|(sum, &d)| *sum += d);
    }
}

fn weighted_product<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    weights: usize,
    values: &Values<'_>,
    scratch: &mut Scratch<'_>,
    d_table: &mut [f32],
) {
    let own = unit.rows(&step.output);
    let (gradients, d) = scratch.gradients.split_at_mut(own.start);
    let (a, b) = (unit.factor(step, 0, values.rows), unit.factor(step, 1, values.rows));
    let places = (step.inputs[0].value.rows, step.inputs[1].value.rows);
    let scale = &values.scales[unit.scales(&step.output)];
    let shape = (step.width, step.output.units);
    let table = unit.table(weights, shape.0 * shape.1);
    product_sum_back(simd, shape, a, b, table, &d[..own.len()], scale, gradients, places, d_table);
}

/// A sum, block by block of entries.
fn weighted<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    weights: usize,
    values: &mut Values<'_>,
    scratch: &mut Scratch<'_>,
    d_table: &mut [f32],
) {
    let (width, units, own_stride) = (step.width, step.output.units, step.output.stride);
    let width_stride = stride(unit.layout.narrow, width);
    let table = unit.table(weights, width * units);
    let rows = &mut scratch.weights[..units * width_stride];
    for (row, weights) in rows.chunks_exact_mut(width_stride).zip(table.chunks_exact(width)) {
        row[..width].copy_from_slice(weights);
        row[width..].fill(0.0);
    }
    let (own, scales) = (unit.rows(&step.output), unit.scales(&step.output));
    let (gradients, d) = scratch.gradients.split_at_mut(own.start);
    let blocks = d[..own.len()].chunks(BLOCK * own_stride);
    let scales = values.scales[scales].chunks_mut(BLOCK);
    for (block, (d, scales)) in blocks.zip(scales).enumerate() {
        let first = block * BLOCK;
        let formed = &mut scratch.formed[..scales.len() * width_stride];
        form(simd, unit, step, first, values.rows, formed, scales);
        add_outer(simd, (d, own_stride), (formed, width_stride), width, d_table);
        let d_formed = &mut scratch.d_formed[..scales.len() * width_stride];
        rows_times(simd, (d, own_stride), units, rows, width_stride, d_formed);
        give(simd, unit, step, first, values.rows, (d_formed, scales), gradients);
    }
}

/// From the gradient by a product that is a value of its own.
fn product<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    values: &Values<'_>,
    gradients: &mut [f32],
) {
    let own = unit.rows(&step.output);
    let (gradients, d) = gradients.split_at_mut(own.start);
    let scales = &values.scales[unit.scales(&step.output)];
    give(simd, unit, step, 0, values.rows, (&d[..own.len()], scales), gradients);
}

/// Takes the gradient by what entries formed, and their scales, to those by the step's inputs.
fn give<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Placed,
    first: usize,
    values: &[f32],
    (d, scales): (&[f32], &[f32]),
    gradients: &mut [f32],
) {
    let [a, b] = &step.inputs;
    if let Form::Sum { .. } = step.form {
        let index = &unit.index(step, a)[first..];
        let gradients = &mut gradients[unit.rows(&a.value)];
        for (d, &entry) in d.chunks_exact(a.value.stride).zip(index) {
            let gradient = &mut gradients[entry as usize * a.value.stride..][..a.value.stride];
            gradient.iter_mut().zip(d).for_each(|(sum, &d)| *sum += d);
        }
        return;
    }
    for (half, read, other) in [(Half::Left, a, 1), (Half::Right, b, 0)] {
        if !read.value.learns {
            continue;
        }
        let (other, index) = (unit.factor(step, other, values), unit.index(step, read));
        let gradient = &mut gradients[unit.rows(&read.value)];
        if step.forms_pairs() {
            let own = stride(unit.layout.narrow, step.width);
            let (d, gradient) = ((d, own), (gradient, read.value.stride));
            let units = (a.value.units, b.value.units);
            give_back_pairs(simd, first, d, scales, units, half, other, gradient, index);
        } else {
            give_back(simd, first, d, scales, other, gradient, index);
        }
    }
}
