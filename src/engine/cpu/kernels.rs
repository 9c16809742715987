//! Kernels on the lane rows of values, besides those of [`crate::simd`].
//!
//! A value's k units are k lane rows; its *top* is the largest unit of a lane. Products bring their
//! top to [1, 2) by a power of two, which is exact: the top's exponent bits, negated.
//!
//! Each kernel is a function of its own, compiled once for each instruction set: the passes that call
//! them are large, and would take minutes to compile if all of this were inlined into them.

use pulp::{Simd, WithSimd};

use super::tile::exponent_span;
use crate::plan::{LANES, NOWHERE, Value};
use crate::simd::{After, Kernels, Matrix, PARTIAL, Vector};

/// Bits of the exponent of an `f32`.
pub(super) const EXPONENT: u32 = 0x7f80_0000;
/// Those of 2^127: what the exponent bits of x are taken from to give 2^−⌊log₂ x⌋.
pub(super) const MIRROR: u32 = 0x7f00_0000;

/// A kernel: arguments of `$run`, which is inlined into a function compiled for the instruction set.
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $name:ident / $task:ident<$life:lifetime> ($($arg:ident: $type:ty),* $(,)?) $run:ident
    ) => {
        struct $task<$life> { $($arg: $type),* }

        impl<$life> WithSimd for $task<$life> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let $task { $($arg),* } = self;
                $run(simd, $($arg),*);
            }
        }

        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name<$life, S: Simd>(simd: S, $($arg: $type),*) {
            simd.vectorize($task { $($arg),* });
        }
    };
}
pub(super) use kernel;

kernel!(
    /// out = matrix · input for each lane; `input` is [cols][LANES], `out` [rows][LANES].
    matrix / MatrixTask<'a>(entries: Matrix<'a, f32>, input: &'a [f32], out: &'a mut [f32])
    run_matrix
);

#[inline(always)]
fn run_matrix<S: Simd>(simd: S, entries: Matrix<'_, f32>, input: &[f32], out: &mut [f32]) {
    Vector(simd).matrix_times_lanes(entries, &[], input, out, After::Store);
}

kernel!(
    /// Adds `left` · `right`ᵀ, summed over the lanes, to `out` [rows of left][rows of right].
    outer / OuterTask<'a>(
        left: &'a [f32],
        right: &'a [f32],
        sums: &'a mut [f32],
        out: &'a mut [f32],
    )
    run_outer
);

#[inline(always)]
fn run_outer<S: Simd>(simd: S, left: &[f32], right: &[f32], sums: &mut [f32], out: &mut [f32]) {
    const ROWS: usize = 4;
    let cols = right.len() / LANES;
    for (left, out) in left.chunks(ROWS * LANES).zip(out.chunks_mut(ROWS * cols)) {
        let sums = &mut sums[..out.len() * PARTIAL];
        sums.fill(0.0);
        Vector(simd).add_outer(left, right, sums);
        Vector(simd).add_sums(sums, out);
    }
}

kernel!(
    /// The same, to partial sums [rows of left][rows of right][PARTIAL].
    partial_outer / PartialOuterTask<'a>(left: &'a [f32], right: &'a [f32], sums: &'a mut [f32])
    run_partial_outer
);

#[inline(always)]
fn run_partial_outer<S: Simd>(simd: S, left: &[f32], right: &[f32], sums: &mut [f32]) {
    Vector(simd).add_outer(left, right, sums);
}

kernel!(
    /// Adds partial sums up: `out` gains the total of each.
    total / TotalTask<'a>(sums: &'a [f32], out: &'a mut [f32])
    run_total
);

#[inline(always)]
fn run_total<S: Simd>(simd: S, sums: &[f32], out: &mut [f32]) {
    Vector(simd).add_sums(sums, out);
}

/// Power of two that brings `top` to [1, 2), and the exponent that it takes; see [`EXPONENT`].
#[inline(always)]
pub(super) fn normaliser<S: Simd>(simd: S, top: S::f32s) -> (S::f32s, S::i32s) {
    let bits = simd.transmute_u32s_f32s(top);
    let power = simd.and_u32s(bits, simd.splat_u32s(EXPONENT));
    let down = simd.transmute_f32s_u32s(simd.sub_u32s(simd.splat_u32s(MIRROR), power));
    let biased = simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(23));
    (down, simd.transmute_i32s_u32s(simd.sub_u32s(biased, simd.splat_u32s(127))))
}

kernel!(
    /// out = a · b elementwise, scaled so that each lane's top lies in [1, 2). Writes the scale, and
    /// what the scaling adds to the exponents of a and b.
    product / ProductTask<'a>(
        a: &'a [f32],
        b: &'a [f32],
        out: &'a mut [f32],
        scale: &'a mut [f32],
        exponents: &'a mut [i32],
    )
    run_product
);

#[inline(always)]
fn run_product<S: Simd>(
    simd: S,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    scale: &mut [f32],
    exponents: &mut [i32],
) {
    let width = LANES / S::F32_LANES;
    let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
    let out = S::as_mut_simd_f32s(out).0;
    let scale = S::as_mut_simd_f32s(scale).0;
    let exponents = S::as_mut_simd_i32s(exponents).0;
    let (a, b) = (&a[..out.len()], &b[..out.len()]);
    for lane in 0..width {
        let mut top = simd.splat_f32s(0.0);
        let mut at = lane;
        while at < out.len() {
            let product = simd.mul_f32s(a[at], b[at]);
            out[at] = product;
            top = simd.max_f32s(top, product);
            at += width;
        }
        let (down, exponent) = normaliser(simd, top);
        exponents[lane] = exponent;
        scale[lane] = down;
        let mut at = lane;
        while at < out.len() {
            out[at] = simd.mul_f32s(out[at], down);
            at += width;
        }
    }
}

kernel!(
    /// The gradient through [`product`] by one factor: d · scale · other, written, or added to.
    product_backward / ProductBackTask<'a>(
        other: &'a [f32],
        d: &'a [f32],
        scale: &'a [f32],
        out: &'a mut [f32],
        add: bool,
    )
    run_product_backward
);

#[inline(always)]
fn run_product_backward<S: Simd>(
    simd: S,
    other: &[f32],
    d: &[f32],
    scale: &[f32],
    out: &mut [f32],
    add: bool,
) {
    let width = LANES / S::F32_LANES;
    let (other, d) = (S::as_simd_f32s(other).0, S::as_simd_f32s(d).0);
    let (scale, out) = (S::as_simd_f32s(scale).0, S::as_mut_simd_f32s(out).0);
    let rows = other.chunks_exact(width).zip(d.chunks_exact(width));
    for (out, (other, d)) in out.chunks_exact_mut(width).zip(rows) {
        for lane in 0..width {
            let new = simd.mul_f32s(simd.mul_f32s(d[lane], scale[lane]), other[lane]);
            out[lane] = if add { simd.add_f32s(out[lane], new) } else { new };
        }
    }
}

kernel!(
    /// Sets gradients by units that are zero to zero.
    possible / PossibleTask<'a>(units: &'a [f32], gradients: &'a mut [f32])
    run_possible
);

#[inline(always)]
fn run_possible<S: Simd>(simd: S, units: &[f32], gradients: &mut [f32]) {
    let (units, gradients) = (S::as_simd_f32s(units).0, S::as_mut_simd_f32s(gradients).0);
    let zero = simd.splat_f32s(0.0);
    for (gradient, &unit) in gradients.iter_mut().zip(units) {
        *gradient = simd.select_f32s(simd.greater_than_f32s(unit, zero), *gradient, zero);
    }
}

kernel!(
    /// out += tableᵀ · units for each lane; `table` is [units][states], `out` [states][LANES].
    add_states / AddStatesTask<'a>(table: &'a [f32], units: &'a [f32], out: &'a mut [f32])
    run_add_states
);

#[inline(always)]
fn run_add_states<S: Simd>(simd: S, table: &[f32], units: &[f32], out: &mut [f32]) {
    let width = LANES / S::F32_LANES;
    let states = out.len() / LANES;
    let (units, out) = (S::as_simd_f32s(units).0, S::as_mut_simd_f32s(out).0);
    for (state, out) in out.chunks_exact_mut(width).enumerate() {
        for lane in 0..width {
            let mut sum = out[lane];
            for (unit, row) in table.chunks_exact(states).enumerate() {
                let p = simd.splat_f32s(row[state]);
                sum = simd.mul_add_e_f32s(p, units[unit * width + lane], sum);
            }
            out[lane] = sum;
        }
    }
}

kernel!(
    /// Lane rows, one a state: one where the column is in it, else zero.
    indicators / IndicatorsTask<'a>(column: &'a [f32], states: usize, out: &'a mut [f32])
    run_indicators
);

#[inline(always)]
fn run_indicators<S: Simd>(simd: S, column: &[f32], states: usize, out: &mut [f32]) {
    let width = LANES / S::F32_LANES;
    let column = S::as_simd_f32s(column).0;
    let out = S::as_mut_simd_f32s(out).0;
    let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
    for state in 0..states {
        let state_value = simd.splat_f32s(state as f32);
        for lane in 0..width {
            let hit = simd.equal_f32s(column[lane], state_value);
            out[state * width + lane] = simd.select_f32s(hit, one, zero);
        }
    }
}

kernel!(
    /// Raises each lane's exponent to that of the largest unit of a value whose exponents are `own`.
    raise / RaiseTask<'a>(rows: &'a [f32], own: &'a [i32], exponents: &'a mut [i32; LANES])
    run_raise
);

#[inline(always)]
fn run_raise<S: Simd>(_: S, rows: &[f32], own: &[i32], exponents: &mut [i32; LANES]) {
    let tops = tops_of(rows);
    for lane in 0..LANES {
        let exponent = own[lane] + (tops[lane].to_bits() >> 23) as i32 - 127;
        let highest = exponents[lane].max(exponent);
        exponents[lane] = if tops[lane] > 0.0 { highest } else { exponents[lane] };
    }
}

/// The power of two that brings units with an exponent to a common one. Zero below 2^−126, which loses
/// nothing that the guard keeps, and above 2^127, where only an input that is zero can be.
#[inline(always)]
pub(super) fn power(own: i32, common: i32) -> f32 {
    let difference = own.saturating_sub(common);
    let biased = if (-126..=127).contains(&difference) { difference + 127 } else { 0 };
    f32::from_bits((biased as u32) << 23)
}

kernel!(
    /// Brings the units of a value, whose exponents are `own`, to the common exponents. What they may
    /// lack, and what is lost on the way, is added to `bound`.
    align_rows / AlignTask<'a>(
        rows: &'a [f32],
        own: &'a [i32],
        bounds: &'a [f32],
        common: &'a [i32; LANES],
        out: &'a mut [f32],
        bound: &'a mut [f32; LANES],
    )
    run_align_rows
);

#[inline(always)]
fn run_align_rows<S: Simd>(
    _: S,
    rows: &[f32],
    own: &[i32],
    bounds: &[f32],
    common: &[i32; LANES],
    out: &mut [f32],
    bound: &mut [f32; LANES],
) {
    let (own, bounds) = (&own[..LANES], &bounds[..LANES]);
    let mut factors = [0.0; LANES];
    for lane in 0..LANES {
        factors[lane] = power(own[lane], common[lane]);
        // Of an input that is zero for what it lost, far above all others, nothing is known.
        let above = bounds[lane] > 0.0 && own[lane].saturating_sub(common[lane]) > 127;
        bound[lane] += match bounds[lane] > 0.0 && !above {
            true => traced(bounds[lane] * factors[lane]),
            false if above => f32::INFINITY,
            false => 0.0,
        };
    }
    for (out, row) in out.chunks_exact_mut(LANES).zip(rows.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let moved = row[lane] * factors[lane];
            let lost = moved < LOSS && row[lane] > 0.0;
            out[lane] = if lost { 0.0 } else { moved };
            bound[lane] += if lost { LOSS } else { 0.0 };
        }
    }
}

/// Adds the exponents of a value, if it has any.
pub(super) fn add_exponents(sum: &mut [i32; LANES], exponents: &[i32], value: &Value) {
    if value.exponent != NOWHERE {
        let more = &exponents[exponent_span(value)];
        sum.iter_mut().zip(more).for_each(|(sum, &more)| *sum += more);
    }
}

/// What is left of a bound that f32 cannot hold any more: too little to count beside a unit, and more
/// than nothing where all units are zero for what they lost.
const TRACE: f32 = f32::MIN_POSITIVE;

/// A bound that is not zero: infinite where nothing is known, also of what such a bound is multiplied
/// with; and never less than a trace.
fn traced(bound: f32) -> f32 {
    if bound.is_nan() { f32::INFINITY } else { bound.max(TRACE) }
}

/// What the units of a product may lack because the factors do: by their bounds and their tops, brought
/// to the product's scale.
pub(super) fn inherited(bounds: (f32, f32), tops: (f32, f32), scale: f32) -> f32 {
    let ((a, b), (top_a, top_b)) = (bounds, tops);
    // Without a branch, so that lanes go side by side.
    let reaches = ((a > 0.0) & ((top_b > 0.0) | (b > 0.0))) | ((b > 0.0) & (top_a > 0.0));
    let reached = traced((a * top_b + b * top_a + a * b) * scale);
    if reaches { reached } else { 0.0 }
}

kernel!(
    /// Raises each lane's bound where a term of a sum over what is formed, [width][LANES], may be too
    /// small for f32 to keep all of its digits. `least` is the least weight above zero.
    mind_terms / TermsTask<'a>(formed: &'a [f32], least: f32, bound: &'a mut [f32; LANES])
    run_mind_terms
);

#[inline(always)]
fn run_mind_terms<S: Simd>(_: S, formed: &[f32], least: f32, bound: &mut [f32; LANES]) {
    let mut smallest = [f32::INFINITY; LANES];
    for row in formed.chunks_exact(LANES) {
        for lane in 0..LANES {
            let unit = if row[lane] > 0.0 { row[lane] } else { f32::INFINITY };
            smallest[lane] = smallest[lane].min(unit);
        }
    }
    let all = (formed.len() / LANES) as f32 * TRACE;
    for lane in 0..LANES {
        bound[lane] += if smallest[lane] * least < TRACE { all } else { 0.0 };
    }
}

/// Values below this share of a lane's top are lost: set to zero, and the bound raised by it.
pub(super) const LOSS: f32 = 1.0 / ((1u128 << 100) as f32);

kernel!(
    /// [`product`], with what may be lost accounted for. `bounds` of a and b are what each of their
    /// units may lack; returned in `bound` is the same of the output. Empty bounds are zero.
    guarded_product / GuardedTask<'a>(
        factors: (&'a [f32], &'a [f32]),
        bounds: (&'a [f32], &'a [f32]),
        out: &'a mut [f32],
        scale: &'a mut [f32],
        exponents: &'a mut [i32],
        bound: &'a mut [f32],
    )
    run_guarded_product
);

#[inline(always)]
fn run_guarded_product<S: Simd>(
    simd: S,
    (a, b): (&[f32], &[f32]),
    (bound_a, bound_b): (&[f32], &[f32]),
    out: &mut [f32],
    scale: &mut [f32],
    exponents: &mut [i32],
    bound: &mut [f32],
) {
    run_product(simd, a, b, out, scale, exponents);
    let (scale, bound) = (&mut scale[..LANES], &mut bound[..LANES]);
    let bounds = [bound_a, bound_b].map(|bounds| *bounds.first_chunk().unwrap_or(&[0.0; LANES]));
    if keeps_all(simd, out, scale, &bounds) {
        return bound.fill(0.0);
    }
    let (tops, [bound_a, bound_b]) = ([tops_of(a), tops_of(b)], bounds);
    let (mut floor, mut most) = ([LOSS; LANES], [LOSS; LANES]);
    for lane in 0..LANES {
        let (bounds, tops) = ((bound_a[lane], bound_b[lane]), (tops[0][lane], tops[1][lane]));
        bound[lane] = inherited(bounds, tops, scale[lane]);
        // A top below the normal numbers has lost digits: all of its lane is lost, and that is
        // anything up to the smallest normal number, which the scale makes two.
        if scale[lane] >= SUBNORMAL {
            (floor[lane], most[lane]) = (f32::INFINITY, 2.0);
        }
    }
    let rows = a.chunks_exact(LANES).zip(b.chunks_exact(LANES));
    for (out, (a, b)) in out.chunks_exact_mut(LANES).zip(rows) {
        for lane in 0..LANES {
            let lost = (out[lane] < floor[lane]) & (a[lane] > 0.0) & (b[lane] > 0.0);
            out[lane] = if lost { 0.0 } else { out[lane] };
            bound[lane] += if lost { most[lane] } else { 0.0 };
        }
    }
    // No gradient flows through a lane that is zero; its scale could make one infinite.
    scale.iter_mut().filter(|scale| **scale >= SUBNORMAL).for_each(|scale| *scale = 0.0);
}

/// Whether nothing of a product is lost, and its factors lack nothing: so it is for most.
#[inline(always)]
fn keeps_all<S: Simd>(
    simd: S,
    product: &[f32],
    scale: &[f32],
    [bound_a, bound_b]: &[[f32; LANES]; 2],
) -> bool {
    let mut least = simd.splat_f32s(1.0);
    for &unit in S::as_simd_f32s(product).0 {
        least = simd.min_f32s(least, unit);
    }
    let (mut lacks, mut up) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    let bounds = S::as_simd_f32s(bound_a).0.iter().zip(S::as_simd_f32s(bound_b).0);
    for ((&a, &b), &scale) in bounds.zip(S::as_simd_f32s(scale).0) {
        lacks = simd.max_f32s(lacks, simd.max_f32s(a, b));
        up = simd.max_f32s(up, scale);
    }
    let is_kept = simd.reduce_min_f32s(least) >= LOSS && simd.reduce_max_f32s(up) < SUBNORMAL;
    is_kept && simd.reduce_max_f32s(lacks) == 0.0
}

/// The top of each lane.
#[inline(always)]
pub(super) fn tops_of(rows: &[f32]) -> [f32; LANES] {
    let mut tops = [0.0f32; LANES];
    for row in rows.chunks_exact(LANES) {
        tops.iter_mut().zip(row).for_each(|(top, &unit)| *top = top.max(unit));
    }
    tops
}

/// The scale of a top that is zero, or no normal number.
const SUBNORMAL: f32 = ((1u128 << 127) as f32) * 0.999;
