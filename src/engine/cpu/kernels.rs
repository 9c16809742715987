//! Kernels on the lane rows of values, besides those of [`crate::simd`].
//!
//! A value's k units are k lane rows; its *top* is the largest unit of a lane. Products bring their
//! top to [1, 2) by a power of two, which is exact: the top's exponent bits, negated.

use pulp::Simd;

use crate::plan::LANES;

/// Bits of the exponent of an `f32`.
const EXPONENT: u32 = 0x7f80_0000;
/// Those of 2^127: what the exponent bits of x are taken from to give 2^−⌊log₂ x⌋.
const MIRROR: u32 = 0x7f00_0000;

/// 2^−⌊log₂ top⌋ of each lane.
#[inline(always)]
fn mirror<S: Simd>(simd: S, top: S::f32s) -> S::f32s {
    let bits = simd.and_u32s(simd.transmute_u32s_f32s(top), simd.splat_u32s(EXPONENT));
    simd.transmute_f32s_u32s(simd.sub_u32s(simd.splat_u32s(MIRROR), bits))
}

/// ⌊log₂ top⌋ of each lane; −127 of zero.
#[inline(always)]
fn log2<S: Simd>(simd: S, top: S::f32s) -> S::u32s {
    let bits = simd.transmute_u32s_f32s(top);
    simd.sub_u32s(simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(23)), simd.splat_u32s(127))
}

/// out = a · b elementwise, scaled so that each lane's top lies in [1, 2). Writes the scale, and to
/// `exponents`, if not empty, what the scaling adds to the exponents of a and b.
#[inline(always)]
pub(super) fn product<S: Simd>(
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
    for lane in 0..width {
        let mut top = simd.splat_f32s(0.0);
        let mut at = lane;
        while at < out.len() {
            let product = simd.mul_f32s(a[at], b[at]);
            out[at] = product;
            top = simd.max_f32s(top, product);
            at += width;
        }
        let down = mirror(simd, top);
        scale[lane] = down;
        if !exponents.is_empty() {
            exponents[lane] = simd.transmute_i32s_u32s(log2(simd, top));
        }
        let mut at = lane;
        while at < out.len() {
            out[at] = simd.mul_f32s(out[at], down);
            at += width;
        }
    }
}

/// Gradients through [`product`], `d` by its output: d · scale · b by a, d · scale · a by b. Empty
/// outputs are not wanted; others are written, or added to.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn product_backward<S: Simd>(
    simd: S,
    (a, b): (&[f32], &[f32]),
    d: &[f32],
    scale: &[f32],
    d_a: &mut [f32],
    add_a: bool,
    d_b: &mut [f32],
    add_b: bool,
) {
    let width = LANES / S::F32_LANES;
    let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
    let (d, scale) = (S::as_simd_f32s(d).0, S::as_simd_f32s(scale).0);
    let (d_a, d_b) = (S::as_mut_simd_f32s(d_a).0, S::as_mut_simd_f32s(d_b).0);
    let mut first = 0;
    while first < d.len() {
        for lane in 0..width {
            let at = first + lane;
            let scaled = simd.mul_f32s(d[at], scale[lane]);
            if !d_a.is_empty() {
                let new = simd.mul_f32s(scaled, b[at]);
                d_a[at] = if add_a { simd.add_f32s(d_a[at], new) } else { new };
            }
            if !d_b.is_empty() {
                let new = simd.mul_f32s(scaled, a[at]);
                d_b[at] = if add_b { simd.add_f32s(d_b[at], new) } else { new };
            }
        }
        first += width;
    }
}

/// A table of two states a unit: row j is `table[2j + 1]` where the column is one, `table[2j]` where
/// it is zero, and one where it is missing.
#[inline(always)]
pub(super) fn lookup_binary<S: Simd>(
    simd: S,
    table: &[f32],
    column: &[f32],
    missing: bool,
    out: &mut [f32],
) {
    let width = LANES / S::F32_LANES;
    let column = S::as_simd_f32s(column).0;
    let out = S::as_mut_simd_f32s(out).0;
    let one = simd.splat_f32s(1.0);
    for (lane, &x) in column.iter().enumerate() {
        let is_one = simd.equal_f32s(x, one);
        let is_known = simd.equal_f32s(x, x);
        for (unit, states) in table.chunks_exact(2).enumerate() {
            let (zero, of_one) = (simd.splat_f32s(states[0]), simd.splat_f32s(states[1]));
            let value = simd.select_f32s(is_one, of_one, zero);
            out[unit * width + lane] =
                if missing { simd.select_f32s(is_known, value, one) } else { value };
        }
    }
}

/// Lane rows, one a state: one where the column is in it, else zero.
#[inline(always)]
pub(super) fn indicators<S: Simd>(simd: S, column: &[f32], states: usize, out: &mut [f32]) {
    let width = LANES / S::F32_LANES;
    let column = S::as_simd_f32s(column).0;
    let out = S::as_mut_simd_f32s(out).0;
    let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
    for state in 0..states {
        let state_value = simd.splat_f32s(state as f32);
        for (lane, &x) in column.iter().enumerate() {
            let hit = simd.equal_f32s(x, state_value);
            out[state * width + lane] = simd.select_f32s(hit, one, zero);
        }
    }
}

/// Values below this share of a lane's top are lost: set to zero, and the bound raised by it.
pub(super) const LOSS: f32 = 1.0 / ((1u128 << 100) as f32);

/// [`product`], with what may be lost accounted for. `bounds` of a and b are what each of their units
/// may lack; returned in `bound` is the same of the output. Empty bounds are zero.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn guarded_product<S: Simd>(
    simd: S,
    (a, b): (&[f32], &[f32]),
    (bound_a, bound_b): (&[f32], &[f32]),
    out: &mut [f32],
    scale: &mut [f32],
    exponents: &mut [i32],
    bound: &mut [f32],
) {
    product(simd, a, b, out, scale, exponents);
    let mut tops = [[0.0f32; LANES]; 2];
    for (top, value) in tops.iter_mut().zip([a, b]) {
        for row in value.chunks_exact(LANES) {
            for (top, &unit) in top.iter_mut().zip(row) {
                *top = top.max(unit);
            }
        }
    }
    let of = |bounds: &[f32], lane: usize| bounds.get(lane).copied().unwrap_or(0.0);
    for lane in 0..LANES {
        let (bound_a, bound_b) = (of(bound_a, lane), of(bound_b, lane));
        let inherited = bound_a * tops[1][lane] + bound_b * tops[0][lane] + bound_a * bound_b;
        bound[lane] = inherited * scale[lane];
    }
    let rows = a.chunks_exact(LANES).zip(b.chunks_exact(LANES));
    for (out, (a, b)) in out.chunks_exact_mut(LANES).zip(rows) {
        for lane in 0..LANES {
            // A top below the normal numbers has lost digits: all of its lane is lost.
            let floor = if scale[lane] >= SUBNORMAL { f32::INFINITY } else { LOSS };
            if out[lane] < floor && a[lane] > 0.0 && b[lane] > 0.0 {
                out[lane] = 0.0;
                bound[lane] += LOSS;
            }
        }
    }
}

/// The scale of a top that is zero, or no normal number.
const SUBNORMAL: f32 = ((1u128 << 127) as f32) * 0.999;
