//! The steps of which a RAT-SPN consists, eight entries at a time, on vectors of eight numbers.
//!
//! Factors are multiplied row by row, an entry's units in a vector. The products are *turned*, so that a
//! vector holds one unit of eight entries: then their largest units, the scales and the sums take no
//! step across a vector. What comes of it is turned back into rows.

use pulp::{Simd, WithSimd};

use super::shapes::by_shape;
use super::turn::turned;
use crate::engine::cpu::kernels::{kernel, normaliser};
use crate::plan::layout::NARROW;

/// Rows of a value with the exponent of each, and which of them each entry reads.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) rows: &'a [f32],
    pub(super) exponents: &'a [i32],
    pub(super) index: Index<'a>,
}

/// Which entry of an input each entry of an output reads.
#[derive(Clone, Copy)]
pub(super) enum Index<'a> {
    /// That of its own number.
    Same,
    Short(&'a [u16]),
    Long(&'a [u32]),
}

impl Index<'_> {
    /// What one entry reads; those after the last read the first of all.
    #[inline(always)]
    pub(super) fn of(self, entry: usize) -> usize {
        match self {
            Index::Same => entry,
            Index::Short(numbers) => numbers.get(entry).copied().unwrap_or(0).into(),
            Index::Long(numbers) => numbers.get(entry).copied().unwrap_or(0) as usize,
        }
    }

    /// What eight entries read, from number `first` on; those after the last read the first of all.
    #[inline(always)]
    fn group(self, first: usize) -> [u32; NARROW] {
        let mut group = [0; NARROW];
        match self {
            Index::Same => {
                group.iter_mut().zip(first as u32..).for_each(|(own, number)| *own = number);
            }
            Index::Short(numbers) => match numbers[first..].first_chunk::<NARROW>() {
                Some(numbers) => {
                    let own = group.iter_mut().zip(numbers);
                    own.for_each(|(own, &number)| *own = number.into());
                }
                None => group = last(&numbers[first..]),
            },
            Index::Long(numbers) => match numbers[first..].first_chunk() {
                Some(numbers) => group = *numbers,
                None => group = last(&numbers[first..]),
            },
        }
        group
    }

    /// What entries read, from number `first` on, as many as there is room for; those after the last read
    /// the first of all.
    pub(super) fn copy(self, first: usize, to: &mut [u32]) {
        for (group, to) in to.chunks_mut(NARROW).enumerate() {
            let group = self.group(first + group * NARROW);
            match <&mut [u32; NARROW]>::try_from(&mut *to) {
                Ok(to) => *to = group,
                Err(_) => to.copy_from_slice(&group[..to.len()]),
            }
        }
    }
}

/// A group of fewer than eight, filled up with zeros.
#[inline(never)]
fn last<T: Copy + Into<u32>>(numbers: &[T]) -> [u32; NARROW] {
    let mut group = [0; NARROW];
    group.iter_mut().zip(numbers).for_each(|(group, &number)| *group = number.into());
    group
}

impl Operand<'_> {
    /// The row of an entry, as vectors as wide as one.
    #[inline(always)]
    fn row<S: Simd>(&self, _: S, entry: u32) -> S::f32s {
        S::as_simd_f32s(&self.rows.as_chunks::<NARROW>().0[entry as usize]).0[0]
    }
}

/// Where what entries come to is written, in whole groups of eight.
pub(super) struct Results<'a> {
    /// Rows; or, where there are as many numbers as exponents, a number an entry.
    pub(super) rows: &'a mut [f32],
    pub(super) exponents: &'a mut [i32],
    /// What each entry was multiplied with; none if nobody asks.
    pub(super) scales: &'a mut [f32],
}

/// Whether vectors hold as many numbers as a row.
pub(super) const fn fits<S: Simd>() -> bool {
    S::F32_LANES == NARROW
}

kernel!(
    /// For each entry weights [units, width] · (a ∘ b), scaled; and its exponent, the factors' and what the
    /// scale takes.
    product_sum / ProductSum<'a>(
        shape: (usize, usize),
        a: Operand<'a>,
        b: Operand<'a>,
        weights: &'a [f32],
        to: Results<'a>,
    )
    run_product_sum
);

#[inline(always)]
fn run_product_sum<S: Simd>(
    simd: S,
    shape: (usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    weights: &[f32],
    to: Results<'_>,
) {
    if const { fits::<S>() } {
        by_shape!(shape, product_sum_of[S](simd, a, b, weights, to));
    }
}

#[inline(always)]
fn product_sum_of<S: Simd, const K: usize, const J: usize>(
    simd: S,
    a: Operand<'_>,
    b: Operand<'_>,
    weights: &[f32],
    Results { rows, exponents, scales }: Results<'_>,
) {
    let Ok(weights) = <&[[f32; K]; J]>::try_from(weights.as_chunks::<K>().0) else { return };
    let per_group = if rows.len() == exponents.len() { NARROW } else { NARROW * NARROW };
    let groups = rows.chunks_exact_mut(per_group).zip(exponents.as_chunks_mut::<NARROW>().0);
    let mut scales = S::as_mut_simd_f32s(scales).0.iter_mut();
    for (group, (out, exponents)) in groups.enumerate() {
        let (of_a, of_b) = (a.index.group(group * NARROW), b.index.group(group * NARROW));
        let products = multiply(simd, (a, &of_a), (b, &of_b));
        let Scaled { units, down, taken } = scale::<S, K>(simd, turned(simd, products));
        add_exponents((a, &of_a), (b, &of_b), &taken, exponents);
        if let Some(scales) = scales.next() {
            *scales = down;
        }
        let mut sums = [simd.splat_f32s(0.0); NARROW];
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = simd.mul_f32s(units[0], simd.splat_f32s(weights[0]));
            for col in 1..K {
                *sum = simd.mul_add_e_f32s(units[col], simd.splat_f32s(weights[col]), *sum);
            }
        }
        let out = S::as_mut_simd_f32s(out).0;
        match <&mut [S::f32s; NARROW]>::try_from(&mut *out) {
            Ok(rows) => *rows = turned(simd, sums),
            Err(_) => out[0] = sums[0],
        }
    }
}

kernel!(
    /// For each entry a ∘ b, scaled, and its exponent.
    product / Product<'a>(
        a: Operand<'a>,
        b: Operand<'a>,
        to: Results<'a>,
    )
    run_product
);

#[inline(always)]
fn run_product<S: Simd>(
    simd: S,
    a: Operand<'_>,
    b: Operand<'_>,
    Results { rows, exponents, scales }: Results<'_>,
) {
    if const { !fits::<S>() } {
        return;
    }
    let mut scales = S::as_mut_simd_f32s(scales).0.iter_mut();
    let groups = S::as_mut_simd_f32s(rows).0.as_chunks_mut::<NARROW>().0.iter_mut();
    let groups = groups.zip(exponents.as_chunks_mut::<NARROW>().0);
    for (group, (out, exponents)) in groups.enumerate() {
        let (of_a, of_b) = (a.index.group(group * NARROW), b.index.group(group * NARROW));
        let products = multiply(simd, (a, &of_a), (b, &of_b));
        let Scaled { units, down, taken } = scale::<S, NARROW>(simd, turned(simd, products));
        add_exponents((a, &of_a), (b, &of_b), &taken, exponents);
        if let Some(scales) = scales.next() {
            *scales = down;
        }
        *out = turned(simd, units);
    }
}

/// Writes the sums of the factors' exponents, and of what the scale takes.
#[inline(always)]
fn add_exponents(
    (a, of_a): (Operand<'_>, &[u32; NARROW]),
    (b, of_b): (Operand<'_>, &[u32; NARROW]),
    taken: &[i32; NARROW],
    exponents: &mut [i32; NARROW],
) {
    for entry in 0..NARROW {
        let (left, right) = (of_a[entry] as usize, of_b[entry] as usize);
        let below = a.exponents[left].wrapping_add(b.exponents[right]);
        exponents[entry] = below.wrapping_add(taken[entry]);
    }
}

/// The products of eight entries, row by row.
#[inline(always)]
fn multiply<S: Simd>(
    simd: S,
    (a, of_a): (Operand<'_>, &[u32; NARROW]),
    (b, of_b): (Operand<'_>, &[u32; NARROW]),
) -> [S::f32s; NARROW] {
    let mut products = [simd.splat_f32s(0.0); NARROW];
    for entry in 0..NARROW {
        let (left, right) = (a.row(simd, of_a[entry]), b.row(simd, of_b[entry]));
        products[entry] = simd.mul_f32s(left, right);
    }
    products
}

/// K units of eight entries, scaled.
struct Scaled<S: Simd, const K: usize> {
    units: [S::f32s; K],
    /// What each was multiplied with, and what that takes as exponents.
    down: S::f32s,
    taken: [i32; NARROW],
}

/// Brings the largest of K units of each entry to [1, 2).
#[inline(always)]
fn scale<S: Simd, const K: usize>(simd: S, units: [S::f32s; NARROW]) -> Scaled<S, K> {
    let mut top = units[0];
    for &unit in &units[1..K] {
        top = simd.max_f32s(top, unit);
    }
    let (down, exponent) = normaliser(simd, top);
    let mut taken = [0; NARROW];
    S::as_mut_simd_i32s(&mut taken).0[0] = exponent;
    let mut scaled = [down; K];
    for unit in 0..K {
        scaled[unit] = simd.mul_f32s(units[unit], down);
    }
    Scaled { units: scaled, down, taken }
}
