//! Sparse sums: what is irregular, a list of terms a unit.
//!
//! ```text
//! unit k  =  Σₜ wₜ · left[iₜ] · right[jₜ],   all units brought to a top in [1, 2)
//! ```
//! *What can be lost.* Units keep their relative precision, however far below their top they are, until
//! a product of two of them leaves the normal numbers of f32. The least non-zero units of both sides
//! and the least weight say for each lane whether that can have happened. Where it can, each term may
//! lack the last digit of the smallest numbers there are, and the bound says so.

use pulp::{Simd, WithSimd};

use super::forward::Unit;
use super::kernels::{add_exponents, inherited, kernel, normaliser, power, tops_of};
use super::tile::{Arenas, Scratch, exponent_span, span};
use crate::plan::{Input, LANES, NOWHERE, Step, Term};

/// Runs a step whose first `left` inputs are left factors.
pub(super) fn forward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    left: usize,
    arenas: &mut Arenas<'_>,
    scratch: &mut Scratch<'_>,
) {
    let value = &unit.program.values[step.output as usize];
    let lists = unit.program.lists(step);
    let (lefts, rights) = unit.program.inputs(step).split_at(left);
    let formed = &mut scratch.formed[..value.units as usize * LANES];
    let (mut exponents, mut least) = ([0; LANES], [f32::INFINITY]);
    sums(
        simd,
        lists,
        &unit.program.terms,
        unit.coefficients,
        arenas.values,
        formed,
        scratch.scale,
        &mut exponents,
        &mut least,
    );
    let bound = bound(simd, unit, (lefts, rights), least[0], lists, arenas, scratch.scale);
    for input in lefts.iter().chain(rights) {
        add_exponents(&mut exponents, arenas.exponents, unit.value(input));
    }
    // The output may lie where an input does: it was formed in scratch.
    scaled(simd, formed, scratch.scale, &mut arenas.values[span(value.rows, value.units)]);
    arenas.exponents[exponent_span(value)].copy_from_slice(&exponents);
    arenas.bounds[exponent_span(value)].copy_from_slice(&bound);
}

/// Takes the gradient by the output, `d`, to those by the factors, which `terms` finds by lane rows of
/// gradients. `d` is scaled on the way.
pub(super) fn backward<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    step: &Step,
    terms: &[Term],
    d: &mut [f32],
    arenas: &mut Arenas<'_>,
) {
    let mut exponents = [0; LANES];
    for input in unit.program.inputs(step) {
        let value = unit.value(input);
        add_exponents(&mut exponents, arenas.exponents, value);
        if input.first && value.gradient != NOWHERE {
            arenas.gradients[span(value.gradient, value.units)].fill(0.0);
        }
    }
    // What the units were scaled by is what the exponents have gained.
    let value = &unit.program.values[step.output as usize];
    let own = &arenas.exponents[exponent_span(value)];
    let scale: [f32; LANES] = std::array::from_fn(|lane| power(exponents[lane], own[lane]));
    for row in d.chunks_exact_mut(LANES) {
        row.iter_mut().zip(&scale).for_each(|(d, scale)| *d *= scale);
    }
    let Arenas { values, gradients, .. } = arenas;
    let terms = [&unit.program.terms, terms];
    factors(simd, unit.program.lists(step), terms, unit.coefficients, d, values, gradients);
}

kernel!(
    /// Adds to the gradients by the factors of each term, given those by the units. `terms` are by lane
    /// rows of values, then by those of gradients.
    factors / FactorsTask<'a>(
        lists: &'a [(u32, u32)],
        terms: [&'a [Term]; 2],
        coefficients: &'a [f32],
        d: &'a [f32],
        values: &'a [f32],
        gradients: &'a mut [f32],
    )
    run_factors
);

#[inline(always)]
fn run_factors<S: Simd>(
    simd: S,
    lists: &[(u32, u32)],
    [terms, targets]: [&[Term]; 2],
    coefficients: &[f32],
    d: &[f32],
    values: &[f32],
    gradients: &mut [f32],
) {
    let width = LANES / S::F32_LANES;
    let (values, d) = (S::as_simd_f32s(values).0, S::as_simd_f32s(d).0);
    let gradients = S::as_mut_simd_f32s(gradients).0;
    for (&(first, end), d) in lists.iter().zip(d.chunks_exact(width)) {
        let range = first as usize..end as usize;
        for (term, target) in terms[range.clone()].iter().zip(&targets[range]) {
            let weight = match term.weight {
                NOWHERE => 1.0,
                at => coefficients[at as usize],
            };
            let weight = simd.splat_f32s(weight);
            for lane in 0..width {
                let own = simd.mul_f32s(weight, d[lane]);
                let mut add = |target: u32, value: S::f32s| {
                    let gradient = &mut gradients[target as usize * width + lane];
                    *gradient = simd.mul_add_e_f32s(own, value, *gradient);
                };
                let left = values[term.left as usize * width + lane];
                let right = match term.right {
                    NOWHERE => simd.splat_f32s(1.0),
                    row => values[row as usize * width + lane],
                };
                if target.left != NOWHERE {
                    add(target.left, right);
                }
                if target.right != NOWHERE {
                    add(target.right, left);
                }
            }
        }
    }
}

/// The smallest normal number.
const NORMAL: f32 = f32::MIN_POSITIVE;
/// What a term whose product is no normal number may lack: twice the smallest number.
const DIGIT: f32 = 2.0 * f32::from_bits(1);

/// What each unit may lack after scaling.
fn bound<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    (lefts, rights): (&[Input], &[Input]),
    least_weight: f32,
    lists: &[(u32, u32)],
    arenas: &Arenas<'_>,
    scale: &[f32],
) -> [f32; LANES] {
    let mut bound = from_factors(unit, (lefts, rights), arenas, scale);
    let [left, right] = [lefts, rights].map(|side| {
        let mut least = [f32::INFINITY; LANES];
        for input in side {
            let value = unit.value(input);
            least_units(simd, &arenas.values[span(value.rows, value.units)], &mut least);
        }
        least
    });
    let least_weight = least_weight.min(1.0);
    let most = lists.iter().map(|&(first, end)| end - first).max().unwrap_or(0);
    for lane in 0..LANES {
        let least = left[lane] * right[lane].min(f32::MAX) * least_weight;
        if least < NORMAL {
            bound[lane] += (most as f32 * DIGIT * scale[lane]).max(NORMAL);
        }
    }
    bound
}

/// What the units may lack because their factors do; rows of weights sum to one.
fn from_factors(
    unit: &Unit<'_>,
    (lefts, rights): (&[Input], &[Input]),
    arenas: &Arenas<'_>,
    scale: &[f32],
) -> [f32; LANES] {
    // Only a side of one value has a bound.
    let bounded = |side: &[Input]| match side {
        [input] => Some(unit.value(input)).filter(|value| value.exponent != NOWHERE),
        _ => None,
    };
    let bounds = |side: &[Input]| match bounded(side) {
        Some(value) => &arenas.bounds[exponent_span(value)],
        None => &[],
    };
    let mut bound = [0.0; LANES];
    let (left, right) = (bounds(lefts), bounds(rights));
    if left.iter().chain(right).all(|&bound| bound == 0.0) {
        return bound;
    }
    let [top_left, top_right] = [lefts, rights].map(|side| {
        let mut tops = [if side.is_empty() { 1.0 } else { 0.0f32 }; LANES];
        for input in side {
            let value = unit.value(input);
            let more = tops_of(&arenas.values[span(value.rows, value.units)]);
            tops.iter_mut().zip(more).for_each(|(top, more)| *top = top.max(more));
        }
        tops
    });
    for lane in 0..LANES {
        let of = |bounds: &[f32]| bounds.get(lane).copied().unwrap_or(0.0);
        let tops = (top_left[lane], top_right[lane]);
        bound[lane] = inherited((of(left), of(right)), tops, scale[lane]);
    }
    bound
}

kernel!(
    /// The units before scaling, [lists][LANES]; in `scale` the power of two that brings the top of
    /// each lane to [1, 2), in `exponents` what it takes, and in `least` the least weight.
    sums / SumsTask<'a>(
        lists: &'a [(u32, u32)],
        terms: &'a [Term],
        coefficients: &'a [f32],
        values: &'a [f32],
        out: &'a mut [f32],
        scale: &'a mut [f32],
        exponents: &'a mut [i32],
        least: &'a mut [f32; 1],
    )
    run_sums
);

/// Vectors of a lane row in registers at once.
const V: usize = 4;

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_sums<S: Simd>(
    simd: S,
    lists: &[(u32, u32)],
    terms: &[Term],
    coefficients: &[f32],
    values: &[f32],
    out: &mut [f32],
    scale: &mut [f32],
    exponents: &mut [i32],
    least: &mut [f32; 1],
) {
    let width = LANES / S::F32_LANES;
    let values = S::as_simd_f32s(values).0;
    let out = S::as_mut_simd_f32s(out).0;
    let scale = S::as_mut_simd_f32s(scale).0;
    let exponents = S::as_mut_simd_i32s(exponents).0;
    let zero = simd.splat_f32s(0.0);
    for chunk in (0..width).step_by(V) {
        let row = |row: u32| -> &[S::f32s] { &values[row as usize * width + chunk..][..V] };
        let mut tops = [zero; V];
        for (&(first, end), out) in lists.iter().zip(out.chunks_exact_mut(width)) {
            let mut sums = [zero; V];
            for term in &terms[first as usize..end as usize] {
                let left = row(term.left);
                let mut products = [zero; V];
                if term.right == NOWHERE {
                    products.copy_from_slice(left);
                } else {
                    let right = row(term.right);
                    for vector in 0..V {
                        products[vector] = simd.mul_f32s(left[vector], right[vector]);
                    }
                }
                if term.weight == NOWHERE {
                    for vector in 0..V {
                        sums[vector] = simd.add_f32s(sums[vector], products[vector]);
                    }
                } else {
                    let weight = coefficients[term.weight as usize];
                    if weight > 0.0 {
                        least[0] = least[0].min(weight);
                    }
                    let weight = simd.splat_f32s(weight);
                    for vector in 0..V {
                        sums[vector] = simd.mul_add_e_f32s(weight, products[vector], sums[vector]);
                    }
                }
            }
            for vector in 0..V {
                out[chunk + vector] = sums[vector];
                tops[vector] = simd.max_f32s(tops[vector], sums[vector]);
            }
        }
        for vector in 0..V {
            let (down, exponent) = normaliser(simd, tops[vector]);
            scale[chunk + vector] = down;
            exponents[chunk + vector] = exponent;
        }
    }
}

kernel!(
    /// out = rows · scale for each lane.
    scaled / ScaledTask<'a>(rows: &'a [f32], scale: &'a [f32], out: &'a mut [f32])
    run_scaled
);

#[inline(always)]
fn run_scaled<S: Simd>(simd: S, rows: &[f32], scale: &[f32], out: &mut [f32]) {
    let width = LANES / S::F32_LANES;
    let (rows, scale) = (S::as_simd_f32s(rows).0, S::as_simd_f32s(scale).0);
    let out = S::as_mut_simd_f32s(out).0;
    for (rows, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for lane in 0..width {
            out[lane] = simd.mul_f32s(rows[lane], scale[lane]);
        }
    }
}

kernel!(
    /// Lowers each lane of `least` to the least unit that is above zero.
    least_units / LeastTask<'a>(rows: &'a [f32], least: &'a mut [f32])
    run_least_units
);

#[inline(always)]
fn run_least_units<S: Simd>(simd: S, rows: &[f32], least: &mut [f32]) {
    let width = LANES / S::F32_LANES;
    let rows = S::as_simd_f32s(rows).0;
    let least = S::as_mut_simd_f32s(least).0;
    let (zero, infinity) = (simd.splat_f32s(0.0), simd.splat_f32s(f32::INFINITY));
    for chunk in (0..width).step_by(V) {
        let mut low = [infinity; V];
        for row in rows.chunks_exact(width) {
            for vector in 0..V {
                let unit = row[chunk + vector];
                let positive = simd.greater_than_f32s(unit, zero);
                low[vector] =
                    simd.min_f32s(low[vector], simd.select_f32s(positive, unit, infinity));
            }
        }
        for vector in 0..V {
            least[chunk + vector] = simd.min_f32s(least[chunk + vector], low[vector]);
        }
    }
}
