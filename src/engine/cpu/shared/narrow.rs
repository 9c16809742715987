//! The step of which a RAT-SPN consists, a sum over the product of two values, on rows of one vector:
//! forward, with the product in registers, and back, with the gradient by the weights in registers.

use pulp::{Simd, WithSimd};

use super::rows::{Factor, scale_of};
use super::shapes::by_shape;
use crate::engine::cpu::kernels::kernel;
use crate::plan::layout::NARROW;

/// Entries whose products are formed before the first is weighted: a unit is spread over a vector by a
/// load, which must not wait for the store before it.
const GROUP: usize = 16;

/// Vectors of a row: one of AVX2, two of NEON.
type Row<S, const V: usize> = [<S as Simd>::f32s; V];

/// Calls a function with the number of vectors of a row and the constants that the shape is.
macro_rules! by_vectors_and_shape {
    ($shape:expr, $run:ident $args:tt) => {
        // A constant, so that of the arms one alone is compiled for each kind of vectors.
        match const { NARROW / S::F32_LANES } {
            1 => by_shape!($shape, $run [S, 1] $args),
            2 => by_shape!($shape, $run [S, 2] $args),
            8 => by_shape!($shape, $run [S, 8] $args),
            // Rows of wider vectors are never run by these: see `dispatch`.
            _ => debug_assert!(false, "no kernel of such vectors"),
        }
    };
}

/// The first row of a slice.
#[inline(always)]
fn row<S: Simd, const V: usize>(numbers: &[f32]) -> Row<S, V> {
    let vectors = S::as_simd_f32s(&numbers[..NARROW]).0;
    std::array::from_fn(|at| vectors[at])
}

#[inline(always)]
fn set<S: Simd, const V: usize>(numbers: &mut [f32], row: Row<S, V>) {
    S::as_mut_simd_f32s(&mut numbers[..NARROW]).0.copy_from_slice(&row);
}

/// A factor's row for an entry.
#[inline(always)]
fn read<S: Simd, const V: usize>(factor: &Factor<'_>, entry: usize) -> Row<S, V> {
    row::<S, V>(&factor.rows[factor.index[entry] as usize * NARROW..])
}

#[inline(always)]
fn times<S: Simd, const V: usize>(simd: S, a: Row<S, V>, b: Row<S, V>) -> Row<S, V> {
    std::array::from_fn(|at| simd.mul_f32s(a[at], b[at]))
}

#[inline(always)]
fn by<S: Simd, const V: usize>(simd: S, a: Row<S, V>, factor: f32) -> Row<S, V> {
    a.map(|a| simd.mul_f32s(a, simd.splat_f32s(factor)))
}

/// sum + a · factor.
#[inline(always)]
fn plus<S: Simd, const V: usize>(simd: S, sum: Row<S, V>, a: Row<S, V>, by: f32) -> Row<S, V> {
    let by = simd.splat_f32s(by);
    std::array::from_fn(|at| simd.mul_add_e_f32s(a[at], by, sum[at]))
}

/// Weights [units, width], each row padded with zeros.
#[inline(always)]
fn padded<const K: usize, const J: usize>(weights: &[f32]) -> [[f32; NARROW]; J] {
    let mut rows = [[0.0; NARROW]; J];
    for (row, weights) in rows.iter_mut().zip(weights.as_chunks::<K>().0) {
        row[..K].copy_from_slice(weights);
    }
    rows
}

/// Their columns.
#[inline(always)]
fn columns<const K: usize, const J: usize>(weights: &[f32]) -> [[f32; NARROW]; K] {
    let mut columns = [[0.0; NARROW]; K];
    for (unit, weights) in weights.as_chunks::<K>().0.iter().enumerate().take(J) {
        columns.iter_mut().zip(weights).for_each(|(column, &weight)| column[unit] = weight);
    }
    columns
}

kernel!(
    /// For each entry weights [units, width] · (a ∘ b), scaled, as a row of `out`, and the scale.
    product_sum / ProductSum<'a>(
        shape: (usize, usize),
        a: Factor<'a>,
        b: Factor<'a>,
        weights: &'a [f32],
        out: &'a mut [f32],
        scale: &'a mut [f32],
    )
    run_product_sum
);

#[inline(always)]
fn run_product_sum<S: Simd>(
    simd: S,
    shape: (usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    weights: &[f32],
    out: &mut [f32],
    scale: &mut [f32],
) {
    by_vectors_and_shape!(shape, product_sum_of(simd, a, b, weights, out, scale));
}

#[inline(always)]
fn product_sum_of<S: Simd, const V: usize, const K: usize, const J: usize>(
    simd: S,
    a: Factor<'_>,
    b: Factor<'_>,
    weights: &[f32],
    out: &mut [f32],
    scale: &mut [f32],
) {
    let columns = columns::<K, J>(weights).map(|column| row::<S, V>(&column));
    let mut formed = [[0.0; NARROW]; GROUP];
    let groups = out.as_chunks_mut::<NARROW>().0.chunks_mut(GROUP).zip(scale.chunks_mut(GROUP));
    for (group, (out, scale)) in groups.enumerate() {
        for (at, (formed, scale)) in formed.iter_mut().zip(scale).enumerate() {
            let entry = group * GROUP + at;
            let product = times(simd, read::<S, V>(&a, entry), read::<S, V>(&b, entry));
            let top = product.into_iter().reduce(|top, next| simd.max_f32s(top, next));
            *scale = scale_of(simd.reduce_max_f32s(top.unwrap_or(simd.splat_f32s(0.0))));
            set::<S, V>(formed, by(simd, product, *scale));
        }
        for (out, formed) in out.iter_mut().zip(&formed) {
            let mut sum = [simd.splat_f32s(0.0); V];
            for col in 0..K {
                sum = plus(simd, sum, columns[col], formed[col]);
            }
            set::<S, V>(out, sum);
        }
    }
}

kernel!(
    /// Its way back: from the gradient by each entry's row, and its scale, adds to the gradients by the
    /// rows of a and b, which lie in one arena, and to that by the weights.
    product_sum_back / ProductSumBack<'a>(
        shape: (usize, usize),
        a: Factor<'a>,
        b: Factor<'a>,
        weights: &'a [f32],
        d: &'a [f32],
        scale: &'a [f32],
        gradients: &'a mut [f32],
        places: (usize, usize),
        d_weights: &'a mut [f32],
    )
    run_product_sum_back
);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_product_sum_back<S: Simd>(
    simd: S,
    shape: (usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    weights: &[f32],
    d: &[f32],
    scale: &[f32],
    gradients: &mut [f32],
    places: (usize, usize),
    d_weights: &mut [f32],
) {
    by_vectors_and_shape!(
        shape,
        product_sum_back_of(simd, a, b, weights, d, scale, gradients, places, d_weights)
    );
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn product_sum_back_of<S: Simd, const V: usize, const K: usize, const J: usize>(
    simd: S,
    a: Factor<'_>,
    b: Factor<'_>,
    weights: &[f32],
    d: &[f32],
    scale: &[f32],
    gradients: &mut [f32],
    (to_a, to_b): (usize, usize),
    d_weights: &mut [f32],
) {
    let rows = padded::<K, J>(weights).map(|weights| row::<S, V>(&weights));
    let zero = [simd.splat_f32s(0.0); V];
    let mut sums = [zero; J];
    for (entry, (d, &scale)) in d.as_chunks::<NARROW>().0.iter().zip(scale).enumerate() {
        let (left, right) = (read::<S, V>(&a, entry), read::<S, V>(&b, entry));
        // A scaled factor is at most one by a unit of the other; a scaled gradient might overflow.
        let (scaled_left, scaled_right) = (by(simd, left, scale), by(simd, right, scale));
        let product = times(simd, scaled_left, right);
        let mut through = zero;
        for unit in 0..J {
            sums[unit] = plus(simd, sums[unit], product, d[unit]);
            through = plus(simd, through, rows[unit], d[unit]);
        }
        for (place, factor, other) in [(to_a, &a, scaled_right), (to_b, &b, scaled_left)] {
            let gradient = &mut gradients[place + factor.index[entry] as usize * NARROW..];
            let sum = row::<S, V>(gradient);
            let more: Row<S, V> =
                std::array::from_fn(|at| simd.mul_add_e_f32s(through[at], other[at], sum[at]));
            set::<S, V>(gradient, more);
        }
    }
    for (sum, d_weights) in sums.into_iter().zip(d_weights.as_chunks_mut::<K>().0) {
        let mut numbers = [0.0; NARROW];
        set::<S, V>(&mut numbers, sum);
        d_weights.iter_mut().zip(numbers).for_each(|(sum, more)| *sum += more);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Rows of `units` numbers, the last of them 2⁻³⁰ of what the others are.
    fn rows(rng: &mut ChaCha8Rng, count: usize, units: usize) -> Vec<f32> {
        let mut rows = vec![0.0; count * NARROW];
        for (at, row) in rows.chunks_exact_mut(NARROW).enumerate() {
            let times = if at + 1 == count { 2.0f32.powi(-30) } else { 1.0 };
            row[..units].fill_with(|| times * rng.random_range(0.1..1.0));
        }
        rows
    }

    /// Where vectors hold eight numbers training takes eight entries together, so on such a machine nothing else
    /// runs this kernel.
    #[test]
    fn sums_over_products_on_vectors_of_one_number_are_those_of_plain_arithmetic() {
        const ENTRIES: usize = GROUP + 3;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (width, units) in [(1, 1), (2, 2), (5, 5), (5, 1), (8, 8)] {
            let [left, right] = [7, 4].map(|count| rows(&mut rng, count, width));
            let [to_left, to_right]: [Vec<u32>; 2] =
                [7, 4].map(|count| (0..ENTRIES).map(|_| rng.random_range(0..count)).collect());
            let weights: Vec<f32> = (0..width * units).map(|_| rng.random()).collect();
            let (mut out, mut scale) = (vec![f32::NAN; ENTRIES * NARROW], vec![f32::NAN; ENTRIES]);
            let a = Factor { rows: &left, stride: NARROW, index: &to_left };
            let b = Factor { rows: &right, stride: NARROW, index: &to_right };
            let shape = (width, units);
            product_sum(pulp::Scalar::new(), shape, a, b, &weights, &mut out, &mut scale);
            for (entry, (out, scale)) in out.chunks_exact(NARROW).zip(&scale).enumerate() {
                let read = |rows: &[f32], index: &[u32], unit| {
                    f64::from(rows[index[entry] as usize * NARROW + unit])
                };
                let product = |unit| read(&left, &to_left, unit) * read(&right, &to_right, unit);
                let top = (0..width).map(product).fold(0.0, f64::max) * f64::from(*scale);
                assert!((1.0..2.0 + 1e-6).contains(&top), "{shape:?}: scaled to {top}");
                for (out, weights) in out.iter().zip(weights.chunks_exact(width)) {
                    let terms = weights.iter().enumerate();
                    let sum: f64 = terms.map(|(unit, &w)| f64::from(w) * product(unit)).sum();
                    let error = f64::from(*out) / f64::from(*scale) / sum - 1.0;
                    assert!(error.abs() < 1e-6, "{shape:?}, entry {entry}: off by {error}");
                }
                assert!(out[units..].iter().all(|&rest| rest == 0.0), "{shape:?}: {out:?}");
            }
        }
    }
}
