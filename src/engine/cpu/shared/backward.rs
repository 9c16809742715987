//! The backward pass of a program over entries, after its forward pass.
//!
//! What flows back to an entry is the sum over all rows that agree on it; it is complete before the
//! entry's own step runs back, so each step runs once for each entry here too.

use pulp::Simd;

use super::forward::{Arenas, Unit, form};
use super::layout::{BLOCK, stride};
use super::narrow::{self, product_sum_back};
use super::rows::{Half, add_outer, give_back, give_back_pairs, rows_times};
use crate::plan::{Op, Step};

/// Sets the gradients of all entries to zero.
pub(super) fn clear(unit: &Unit<'_>, arenas: &mut Arenas<'_>) {
    for value in 0..unit.program.values.len() as u32 {
        arenas.gradients[unit.rows(value)].fill(0.0);
    }
}

/// Runs all steps back. The gradients by the program's outputs are in their places; those by the
/// coefficients are added to `d_coefficients`.
pub(super) fn backward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    arenas: &mut Arenas<'_>,
    d_coefficients: &mut [f32],
) {
    for step in unit.program.steps.iter().rev() {
        if unit.entries(step.output) == 0 || !unit.value(step.output).learns {
            continue;
        }
        match step.op {
            Op::Lookup { table, states, .. } => {
                lookup(unit, step, table, states as usize, arenas, d_coefficients);
            }
            Op::ProductSum { weights } if is_narrow(unit, step) => {
                weighted_product(simd, unit, step, weights, arenas, d_coefficients);
            }
            Op::ProductSum { weights } | Op::Sum { weights } => {
                weighted(simd, unit, step, weights, arenas, d_coefficients);
            }
            Op::One => {}
            _ => product(simd, unit, step, arenas),
        }
    }
}

fn is_narrow(unit: &Unit<'_>, step: &Step) -> bool {
    let units = unit.value(step.output).units as usize;
    unit.layout.narrow && narrow::fits(unit.width(step), units)
}

fn lookup(
    unit: &Unit<'_>,
    step: &Step,
    table: u32,
    states: usize,
    arenas: &Arenas<'_>,
    d_coefficients: &mut [f32],
) {
    let units = unit.value(step.output).units as usize;
    let d_table = &mut d_coefficients[table as usize..][..units * states];
    let rows = arenas.gradients[unit.rows(step.output)].chunks_exact(unit.layout.stride(units as u32));
    for (state, row) in rows.take(states).enumerate() {
        let sums = d_table[state..].iter_mut().step_by(states);
        sums.zip(row).for_each(|(sum, &d)| *sum += d);
    }
}

fn weighted_product<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    weights: u32,
    arenas: &mut Arenas<'_>,
    d_coefficients: &mut [f32],
) {
    let (width, units) = (unit.width(step), unit.value(step.output).units as usize);
    let own = unit.rows(step.output);
    let (gradients, d) = arenas.gradients.split_at_mut(own.start);
    let (a, b) = (unit.factor(step, 0, arenas.values), unit.factor(step, 1, arenas.values));
    let places = [0, 1].map(|input| unit.layout.rows[unit.input(step, input).0 as usize]);
    let scale = &arenas.scales[unit.scales(step.output)];
    let table = unit.table(weights, width * units);
    let d_table = &mut d_coefficients[weights as usize..][..width * units];
    let (d, places) = (&d[..own.len()], (places[0], places[1]));
    product_sum_back(simd, (width, units), a, b, table, d, scale, gradients, places, d_table);
}

/// A sum, block by block of entries.
fn weighted<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    weights: u32,
    arenas: &mut Arenas<'_>,
    d_coefficients: &mut [f32],
) {
    let (width, units) = (unit.width(step), unit.value(step.output).units as usize);
    let own_stride = unit.layout.stride(units as u32);
    let width_stride = stride(unit.layout.narrow, width);
    let table = unit.table(weights, width * units);
    let d_table = &mut d_coefficients[weights as usize..][..width * units];
    let rows = &mut arenas.weights[..units * width_stride];
    for (row, weights) in rows.chunks_exact_mut(width_stride).zip(table.chunks_exact(width)) {
        row[..width].copy_from_slice(weights);
        row[width..].fill(0.0);
    }
    let entries = unit.entries(step.output);
    let (own, scales) = (unit.rows(step.output), unit.scales(step.output));
    for first in (0..entries).step_by(BLOCK) {
        let count = BLOCK.min(entries - first);
        let formed = &mut arenas.formed[..count * width_stride];
        let scales = &mut arenas.scales[scales.start + first..][..count];
        form(simd, unit, step, first, arenas.values, formed, scales);
        let d = &arenas.gradients[own.start + first * own_stride..][..count * own_stride];
        add_outer(simd, (d, own_stride), (formed, width_stride), width, d_table);
        let d_formed = &mut arenas.d_formed[..count * width_stride];
        rows_times(simd, (d, own_stride), units, rows, width_stride, d_formed);
        let gradients = &mut arenas.gradients[..own.start];
        give(simd, unit, step, first, arenas.values, d_formed, scales, gradients);
    }
}

/// From the gradient by a product that is a value of its own.
fn product<S: Simd>(simd: S, unit: &Unit<'_>, step: &Step, arenas: &mut Arenas<'_>) {
    let own = unit.rows(step.output);
    let (gradients, d) = arenas.gradients.split_at_mut(own.start);
    let scales = &arenas.scales[unit.scales(step.output)];
    give(simd, unit, step, 0, arenas.values, &d[..own.len()], scales, gradients);
}

/// Takes the gradient by what entries formed to those by the step's inputs.
#[allow(clippy::too_many_arguments)]
fn give<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    first: usize,
    values: &[f32],
    d: &[f32],
    scales: &[f32],
    gradients: &mut [f32],
) {
    if let Op::Sum { .. } = step.op {
        let (value, index) = unit.input(step, 0);
        let stride = unit.layout.stride(unit.value(value).units);
        let gradients = &mut gradients[unit.rows(value)];
        for (d, &entry) in d.chunks_exact(stride).zip(&index[first..]) {
            let gradient = &mut gradients[entry as usize * stride..][..stride];
            gradient.iter_mut().zip(d).for_each(|(sum, &d)| *sum += d);
        }
        return;
    }
    for (half, input) in [(Half::Left, 0), (Half::Right, 1)] {
        let (value, index) = unit.input(step, input);
        if !unit.value(value).learns {
            continue;
        }
        let other = unit.factor(step, 1 - input, values);
        let gradient = &mut gradients[unit.rows(value)];
        if step.op == Op::Kronecker {
            let units = [0, 1].map(|input| unit.value(unit.input(step, input).0).units as usize);
            let width = unit.layout.stride((units[0] * units[1]) as u32);
            let stride = unit.layout.stride(unit.value(value).units);
            let (d, gradient, units) = ((d, width), (gradient, stride), (units[0], units[1]));
            give_back_pairs(simd, first, d, scales, units, half, other, gradient, index);
        } else {
            give_back(simd, first, d, scales, other, gradient, index);
        }
    }
}
