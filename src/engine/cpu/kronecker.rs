//! All pairs of the units of two values, scaled like a product: the layer below an einsum.
//!
//! Pairs are written out, since the sum over them is a matrix product that reads each several times;
//! both passes stream through them once.

use pulp::{Simd, WithSimd};

use super::kernels::{LOSS, inherited, kernel, tops_of};
use crate::plan::LANES;

kernel!(
    /// out[i + width · j] = left[i] · right[j] for each lane, brought to a top in [1, 2). Writes the
    /// scale, what the scaling adds to the exponents of both, and what each pair may lack, given that
    /// of each unit of both; empty bounds are zero.
    pairs / Pairs<'a>(
        left: &'a [f32],
        right: &'a [f32],
        out: &'a mut [f32],
        scale: &'a mut [f32],
        exponents: &'a mut [i32; LANES],
        bounds: (&'a [f32], &'a [f32]),
        bound: &'a mut [f32; LANES],
    )
    run_pairs
);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_pairs<S: Simd>(
    _: S,
    left: &[f32],
    right: &[f32],
    out: &mut [f32],
    scale: &mut [f32],
    exponents: &mut [i32; LANES],
    (bound_left, bound_right): (&[f32], &[f32]),
    bound: &mut [f32; LANES],
) {
    let scale = &mut scale[..LANES];
    let (tops_left, tops_right) = (tops_of(left), tops_of(right));
    let (mut down_left, mut down_right) = ([0.0; LANES], [0.0; LANES]);
    let mut floor = [0.0; LANES];
    for lane in 0..LANES {
        let (a, exponent_a) = normaliser(tops_left[lane]);
        let (b, exponent_b) = normaliser(tops_right[lane]);
        // The product of two tops in [1, 2): where it is 2 or more, the left takes half.
        let high = tops_left[lane] * a * (tops_right[lane] * b) >= 2.0;
        (down_left[lane], down_right[lane]) = (if high { 0.5 * a } else { a }, b);
        exponents[lane] = exponent_a + exponent_b + i32::from(high);
        // Beyond what one power in f32 holds no gradient can pass, and all of the lane is lost.
        let far = exponents[lane] < -126;
        scale[lane] = if far { 0.0 } else { down_left[lane] * down_right[lane] };
        floor[lane] = if far { f32::INFINITY } else { LOSS };
    }
    for lane in 0..LANES {
        let of = |bounds: &[f32]| bounds.get(lane).copied().unwrap_or(0.0);
        let [a, b] = [of(bound_left) * down_left[lane], of(bound_right) * down_right[lane]];
        let top_a = tops_left[lane] * down_left[lane];
        let top_b = tops_right[lane] * down_right[lane];
        bound[lane] = inherited((a, b), (top_a, top_b), 1.0);
    }
    let wide = left.len() / LANES;
    for (right, out) in right.chunks_exact(LANES).zip(out.chunks_exact_mut(wide * LANES)) {
        let mut b = [0.0; LANES];
        for lane in 0..LANES {
            b[lane] = right[lane] * down_right[lane];
        }
        for (left, out) in left.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                let pair = left[lane] * down_left[lane] * b[lane];
                let lost = (pair < floor[lane]) & (left[lane] > 0.0) & (right[lane] > 0.0);
                out[lane] = if lost { 0.0 } else { pair };
                bound[lane] += if lost { LOSS } else { 0.0 };
            }
        }
    }
}

/// Power of two that brings a top to [1, 2), and its exponent; one and zero for a top of zero.
#[inline(always)]
fn normaliser(top: f32) -> (f32, i32) {
    let exponent = (top.to_bits() >> 23) as i32 - 127;
    let down = f32::from_bits(((127 - exponent.min(126)) as u32) << 23);
    if top > 0.0 { (down, exponent) } else { (1.0, 0) }
}

kernel!(
    /// Adds to `sum` [width of left][LANES] the gradient by the left factor of [`pairs`]: Σⱼ d[i + width · j]
    /// · scale · right[j].
    pairs_to_left / ToLeft<'a>(
        right: &'a [f32],
        d: &'a [f32],
        scale: &'a [f32],
        sum: &'a mut [f32],
    )
    run_pairs_to_left
);

#[inline(always)]
fn run_pairs_to_left<S: Simd>(_: S, right: &[f32], d: &[f32], scale: &[f32], sum: &mut [f32]) {
    let scale = &scale[..LANES];
    for (right, d) in right.chunks_exact(LANES).zip(d.chunks_exact(sum.len())) {
        for (sum, d) in sum.chunks_exact_mut(LANES).zip(d.chunks_exact(LANES)) {
            for lane in 0..LANES {
                sum[lane] += d[lane] * scale[lane] * right[lane];
            }
        }
    }
}

kernel!(
    /// The same by the right factor: sum[j] gains Σᵢ d[i + width · j] · scale · left[i].
    pairs_to_right / ToRight<'a>(
        left: &'a [f32],
        d: &'a [f32],
        scale: &'a [f32],
        sum: &'a mut [f32],
    )
    run_pairs_to_right
);

#[inline(always)]
fn run_pairs_to_right<S: Simd>(_: S, left: &[f32], d: &[f32], scale: &[f32], sum: &mut [f32]) {
    let scale = &scale[..LANES];
    for (sum, d) in sum.chunks_exact_mut(LANES).zip(d.chunks_exact(left.len())) {
        for (left, d) in left.chunks_exact(LANES).zip(d.chunks_exact(LANES)) {
            for lane in 0..LANES {
                sum[lane] += d[lane] * scale[lane] * left[lane];
            }
        }
    }
}
