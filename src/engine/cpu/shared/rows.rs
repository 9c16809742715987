//! Kernels on rows of units: entries side by side in memory, each with its units side by side.
//!
//! Rows are padded with zeros to whole vectors. A vector holds units of one entry, so an entry is read
//! by its number with plain loads, and what flows back to it is added with plain stores.

use pulp::{Simd, WithSimd};

use crate::engine::cpu::kernels::{EXPONENT, MIRROR, kernel};

/// The power of two that brings `top` to [1, 2); of no number, none that means anything.
#[inline(always)]
pub(super) fn scale_of(top: f32) -> f32 {
    f32::from_bits(MIRROR.wrapping_sub(top.to_bits() & EXPONENT))
}

/// What a scale takes out of a value, as an exponent.
#[inline(always)]
pub(super) fn taken(scale: f32) -> i32 {
    127 - (scale.to_bits() >> 23) as i32
}

/// The scale that takes so much.
#[inline(always)]
pub(super) fn scale_taking(exponent: i32) -> f32 {
    f32::from_bits(((127 - exponent) as u32) << 23)
}

/// Rows of a value, and which of them each entry reads.
#[derive(Clone, Copy)]
pub(super) struct Factor<'a> {
    pub(super) rows: &'a [f32],
    pub(super) stride: usize,
    pub(super) index: &'a [u32],
}

impl Factor<'_> {
    /// The row that an entry reads, as vectors.
    #[inline(always)]
    pub(super) fn row<S: Simd>(&self, entry: usize) -> &[S::f32s] {
        let first = self.index[entry] as usize * self.stride;
        S::as_simd_f32s(&self.rows[first..first + self.stride]).0
    }
}

kernel!(
    /// For each entry the product of its factors' units, scaled so that the largest lies in [1, 2), as
    /// rows of `out`, and the scale.
    form_product / FormProduct<'a>(
        first: usize,
        a: Factor<'a>,
        b: Factor<'a>,
        out: &'a mut [f32],
        scale: &'a mut [f32],
    )
    run_form_product
);

#[inline(always)]
fn run_form_product<S: Simd>(
    simd: S,
    first: usize,
    a: Factor<'_>,
    b: Factor<'_>,
    out: &mut [f32],
    scale: &mut [f32],
) {
    for (entry, (out, scale)) in out.chunks_exact_mut(a.stride).zip(scale).enumerate() {
        let out = S::as_mut_simd_f32s(out).0;
        let (a, b) = (a.row::<S>(first + entry), b.row::<S>(first + entry));
        let mut top = simd.splat_f32s(0.0);
        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = simd.mul_f32s(a, b);
            top = simd.max_f32s(top, *out);
        }
        *scale = scale_of(simd.reduce_max_f32s(top));
        let down = simd.splat_f32s(*scale);
        out.iter_mut().for_each(|out| *out = simd.mul_f32s(*out, down));
    }
}

kernel!(
    /// The same of all pairs of units, the first factor's varying fastest: rows of `width` numbers, of
    /// which `left` · `right` count.
    form_pairs / FormPairs<'a>(
        first: usize,
        a: Factor<'a>,
        b: Factor<'a>,
        units: (usize, usize),
        width: usize,
        out: &'a mut [f32],
        scale: &'a mut [f32],
    )
    run_form_pairs
);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_form_pairs<S: Simd>(
    _: S,
    first: usize,
    a: Factor<'_>,
    b: Factor<'_>,
    (left, right): (usize, usize),
    width: usize,
    out: &mut [f32],
    scale: &mut [f32],
) {
    for (entry, (out, scale)) in out.chunks_exact_mut(width).zip(scale).enumerate() {
        let row = |factor: &Factor<'_>| factor.index[first + entry] as usize * factor.stride;
        let (a, b) = (&a.rows[row(&a)..][..left], &b.rows[row(&b)..][..right]);
        let top = |units: &[f32]| units.iter().fold(0.0f32, |top, &unit| top.max(unit));
        *scale = scale_of(top(a) * top(b));
        for (out, &b) in out.chunks_exact_mut(left).zip(b) {
            let b = b * *scale;
            out.iter_mut().zip(a).for_each(|(out, &a)| *out = a * b);
        }
        out[left * right..].fill(0.0);
    }
}

kernel!(
    /// out[i] = Σ_c x[i][c] · w[c] for each row i: a product of matrices, all row-major, the rows of `w`
    /// and `out` padded alike.
    rows_times / RowsTimes<'a>(
        x: (&'a [f32], usize),
        depth: usize,
        w: &'a [f32],
        stride: usize,
        out: &'a mut [f32],
    )
    run_rows_times
);

/// Rows and vectors of a product that are held in registers.
const ROWS: usize = 4;

#[inline(always)]
fn run_rows_times<S: Simd>(
    simd: S,
    (x, x_stride): (&[f32], usize),
    depth: usize,
    w: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    let w = S::as_simd_f32s(w).0;
    let vectors = stride / S::F32_LANES;
    for (x, out) in x.chunks(ROWS * x_stride).zip(out.chunks_mut(ROWS * stride)) {
        let rows = out.len() / stride;
        let out = S::as_mut_simd_f32s(out).0;
        let product = RowBlock { simd, x, x_stride, depth, w, vectors };
        let mut at = 0;
        while at < vectors {
            let two = at + 1 < vectors;
            match (rows, two) {
                (ROWS, true) => product.run::<ROWS, 2>(at, out),
                (ROWS, false) => product.run::<ROWS, 1>(at, out),
                (_, true) => (0..rows).for_each(|row| product.row::<2>(row, at, out)),
                (_, false) => (0..rows).for_each(|row| product.row::<1>(row, at, out)),
            }
            at += 1 + usize::from(two);
        }
    }
}

struct RowBlock<'a, S: Simd> {
    simd: S,
    x: &'a [f32],
    x_stride: usize,
    depth: usize,
    w: &'a [S::f32s],
    vectors: usize,
}

impl<S: Simd> RowBlock<'_, S> {
    #[inline(always)]
    fn run<const R: usize, const V: usize>(&self, at: usize, out: &mut [S::f32s]) {
        let simd = self.simd;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        let x: [&[f32]; R] =
            std::array::from_fn(|row| &self.x[row * self.x_stride..][..self.depth]);
        for (col, w) in self.w.chunks_exact(self.vectors).take(self.depth).enumerate() {
            let w = &w[at..at + V];
            for (sums, x) in sums.iter_mut().zip(&x) {
                let x = simd.splat_f32s(x[col]);
                for (sum, &w) in sums.iter_mut().zip(w) {
                    *sum = simd.mul_add_e_f32s(x, w, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * self.vectors + at..][..V].copy_from_slice(sums);
        }
    }

    /// One row alone.
    #[inline(always)]
    fn row<const V: usize>(&self, row: usize, at: usize, out: &mut [S::f32s]) {
        let x = &self.x[row * self.x_stride..];
        let one = RowBlock { x, ..*self };
        one.run::<1, V>(at, &mut out[row * self.vectors..]);
    }
}

kernel!(
    /// Adds Σ_i d[i][j] · x[i][c] to entry (j, c) of `sums`, [rows][depth] without padding.
    add_outer / AddOuter<'a>(
        d: (&'a [f32], usize),
        x: (&'a [f32], usize),
        depth: usize,
        sums: &'a mut [f32],
    )
    run_add_outer
);

#[inline(always)]
fn run_add_outer<S: Simd>(
    simd: S,
    (d, d_stride): (&[f32], usize),
    (x, x_stride): (&[f32], usize),
    depth: usize,
    sums: &mut [f32],
) {
    const COLS: usize = 2;
    for (block, sums) in sums.chunks_mut(ROWS * depth).enumerate() {
        let rows = sums.len() / depth;
        let mut at = 0;
        while at < depth {
            let mut held = [[simd.splat_f32s(0.0); COLS]; ROWS];
            let vectors = ((x_stride - at) / S::F32_LANES).min(COLS);
            for (d, x) in d.chunks_exact(d_stride).zip(x.chunks_exact(x_stride)) {
                let x = S::as_simd_f32s(&x[at..]).0;
                let d = &d[block * ROWS..][..rows];
                for (held, &d) in held.iter_mut().zip(d) {
                    let d = simd.splat_f32s(d);
                    for (held, &x) in held.iter_mut().zip(&x[..vectors]) {
                        *held = simd.mul_add_e_f32s(d, x, *held);
                    }
                }
            }
            for (held, sums) in held.iter().zip(sums.chunks_exact_mut(depth)) {
                let mut numbers = [0.0; 32];
                let lanes = &mut numbers[..COLS * S::F32_LANES];
                S::as_mut_simd_f32s(lanes).0.copy_from_slice(held);
                let sums = &mut sums[at..];
                sums.iter_mut().zip(&numbers[..vectors * S::F32_LANES]).for_each(|(s, &n)| *s += n);
            }
            at += COLS * S::F32_LANES;
        }
    }
}

/// Which half of a product gains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Left,
    Right,
}

kernel!(
    /// Adds d[i] · scale[i] · other[i], unit by unit, to the rows of `gradient` that the entries read.
    give_back / GiveBack<'a>(
        first: usize,
        d: &'a [f32],
        scale: &'a [f32],
        other: Factor<'a>,
        gradient: &'a mut [f32],
        index: &'a [u32],
    )
    run_give_back
);

#[inline(always)]
fn run_give_back<S: Simd>(
    simd: S,
    first: usize,
    d: &[f32],
    scale: &[f32],
    other: Factor<'_>,
    gradient: &mut [f32],
    index: &[u32],
) {
    let stride = other.stride;
    for (entry, (d, &scale)) in d.chunks_exact(stride).zip(scale).enumerate() {
        let at = index[first + entry] as usize * stride;
        let gradient = S::as_mut_simd_f32s(&mut gradient[at..at + stride]).0;
        let (d, other) = (S::as_simd_f32s(d).0, other.row::<S>(first + entry));
        let scale = simd.splat_f32s(scale);
        for (gradient, (&d, &other)) in gradient.iter_mut().zip(d.iter().zip(other)) {
            // A scaled factor is at most one by a unit of the other; a scaled gradient might overflow.
            *gradient = simd.mul_add_e_f32s(d, simd.mul_f32s(scale, other), *gradient);
        }
    }
}

kernel!(
    /// The same for all pairs: adds Σ d[i][pair] · scale[i] · other to the half that gains.
    give_back_pairs / GiveBackPairs<'a>(
        first: usize,
        d: (&'a [f32], usize),
        scale: &'a [f32],
        units: (usize, usize),
        half: Half,
        other: Factor<'a>,
        gradient: (&'a mut [f32], usize),
        index: &'a [u32],
    )
    run_give_back_pairs
);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_give_back_pairs<S: Simd>(
    _: S,
    first: usize,
    (d, width): (&[f32], usize),
    scale: &[f32],
    (left, right): (usize, usize),
    half: Half,
    other: Factor<'_>,
    (gradient, stride): (&mut [f32], usize),
    index: &[u32],
) {
    for (entry, (d, &scale)) in d.chunks_exact(width).zip(scale).enumerate() {
        let gradient = &mut gradient[index[first + entry] as usize * stride..][..stride];
        let other = &other.rows[other.index[first + entry] as usize * other.stride..];
        let rows = d.chunks_exact(left).take(right);
        match half {
            Half::Left => rows.zip(other).for_each(|(d, &other)| {
                let other = other * scale;
                gradient.iter_mut().zip(d).for_each(|(gradient, &d)| *gradient += d * other);
            }),
            Half::Right => rows.zip(gradient).for_each(|(d, gradient)| {
                let dot: f32 = d.iter().zip(other).map(|(&d, &other)| d * (scale * other)).sum();
                *gradient += dot;
            }),
        }
    }
}
