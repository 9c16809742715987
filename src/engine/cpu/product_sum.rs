//! The step of which a RAT-SPN consists, in a certified part: a sum over the product of two values of
//! few units, one fused kernel forward and two back, with the product in registers.
//!
//! A step's output may lie where an input does, and the gradient by an input where that by the output
//! does: the kernels take a whole arena as cells, and read all of a vector of lanes before they write
//! any of it.

use std::cell::Cell;

use pulp::{Simd, WithSimd};

use super::kernels::{kernel, normaliser};
use crate::plan::LANES;

/// Widths up to which the product is held in registers.
const SMALL: usize = 8;

/// Whether the kernels here take products of this width.
pub(super) fn is_small(width: usize) -> bool {
    width <= SMALL
}

/// A factor of the product.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// Units in the arena of values, from this number on.
    Stored(usize),
    /// Units made elsewhere, [width][LANES].
    Rows(&'a [f32]),
    /// A look-up among two states, made in registers.
    Binary(Binary<'a>),
}

/// A look-up of a binary variable: unit j is `table[2j + 1]` where the column is one, `table[2j]`
/// where it is zero, and, if some are missing, one where it is.
#[derive(Clone, Copy)]
pub(super) struct Binary<'a> {
    pub(super) table: &'a [f32],
    pub(super) column: &'a [f32],
    pub(super) missing: bool,
}

/// The vectors of an arena, shared by what a step reads and what it writes.
type Cells<'a, T> = &'a [Cell<T>];

#[inline(always)]
fn cells<'a, S: Simd>(_: S, arena: &'a mut [f32]) -> Cells<'a, S::f32s> {
    Cell::from_mut(S::as_mut_simd_f32s(arena).0).as_slice_of_cells()
}

/// The rows of `count` units that begin at a number of an arena.
#[inline(always)]
fn rows<S: Simd, T>(_: S, arena: &[T], first: usize, count: usize) -> &[T] {
    &arena[first / S::F32_LANES..][..count * (LANES / S::F32_LANES)]
}

/// A [`Factor`] whose places are found, so that a vector of lanes takes only loads.
#[derive(Clone, Copy)]
enum Source<'a, S: Simd> {
    Stored(Cells<'a, S::f32s>),
    Rows(&'a [S::f32s]),
    Binary { table: &'a [f32], column: &'a [S::f32s], missing: bool },
}

impl<'a> Factor<'a> {
    #[inline(always)]
    fn find<S: Simd, const K: usize>(self, simd: S, values: Cells<'a, S::f32s>) -> Source<'a, S> {
        match self {
            Factor::Stored(first) => Source::Stored(rows(simd, values, first, K)),
            Factor::Rows(units) => Source::Rows(rows(simd, S::as_simd_f32s(units).0, 0, K)),
            Factor::Binary(lookup) => lookup.find::<S, K>(simd),
        }
    }
}

impl<'a> Binary<'a> {
    #[inline(always)]
    fn find<S: Simd, const K: usize>(self, simd: S) -> Source<'a, S> {
        let column = rows(simd, S::as_simd_f32s(self.column).0, 0, 1);
        Source::Binary { table: &self.table[..2 * K], column, missing: self.missing }
    }
}

impl<S: Simd> Source<'_, S> {
    /// The units of one vector of lanes.
    #[inline(always)]
    fn units<const K: usize>(&self, simd: S, lane: usize) -> [S::f32s; K] {
        let width = LANES / S::F32_LANES;
        match *self {
            Source::Stored(rows) => std::array::from_fn(|unit| rows[unit * width + lane].get()),
            Source::Rows(rows) => std::array::from_fn(|unit| rows[unit * width + lane]),
            Source::Binary { table, column, missing } => {
                let (x, one) = (column[lane], simd.splat_f32s(1.0));
                let is_one = simd.equal_f32s(x, one);
                let unit = |unit| {
                    let [zero, one] = [table[2 * unit], table[2 * unit + 1]];
                    simd.select_f32s(is_one, simd.splat_f32s(one), simd.splat_f32s(zero))
                };
                let units = std::array::from_fn(unit);
                if !missing {
                    return units;
                }
                let known = simd.equal_f32s(x, x);
                units.map(|unit| simd.select_f32s(known, unit, one))
            }
        }
    }
}

/// Where the exponents of a step lie in their arena.
pub(super) struct Exponents<'a> {
    pub(super) arena: &'a mut [i32],
    /// Of the factors; none if they are zero.
    pub(super) factors: [Option<usize>; 2],
    pub(super) out: usize,
}

/// Calls `$run::<S, WIDTH>` with the constant that `$width` is; nothing beyond [`SMALL`].
macro_rules! by_width {
    ($width:expr, $run:ident($($arg:expr),* $(,)?)) => {
        match $width {
            1 => $run::<S, 1>($($arg),*),
            2 => $run::<S, 2>($($arg),*),
            3 => $run::<S, 3>($($arg),*),
            4 => $run::<S, 4>($($arg),*),
            5 => $run::<S, 5>($($arg),*),
            6 => $run::<S, 6>($($arg),*),
            7 => $run::<S, 7>($($arg),*),
            8 => $run::<S, 8>($($arg),*),
            _ => {}
        }
    };
}

/// The product of one vector of lanes; and the power of two that brings its top to [1, 2), with the
/// exponent that this takes.
#[inline(always)]
fn product<S: Simd, const K: usize>(
    simd: S,
    a: [S::f32s; K],
    b: [S::f32s; K],
) -> ([S::f32s; K], S::f32s, S::i32s) {
    let product: [S::f32s; K] = std::array::from_fn(|unit| simd.mul_f32s(a[unit], b[unit]));
    let top = product.into_iter().reduce(|top, unit| simd.max_f32s(top, unit));
    let (down, exponent) = normaliser(simd, top.unwrap_or(simd.splat_f32s(0.0)));
    (product, down, exponent)
}

/// The weights, as rows of `K`; as a square, of known size, where they are one.
#[inline(always)]
fn square<const K: usize>(weights: &[f32]) -> Result<&[[f32; K]; K], &[[f32; K]]> {
    let rows = weights.as_chunks::<K>().0;
    rows.try_into().map_err(|_| rows)
}

kernel!(
    /// The units of a look-up among two states, [units][LANES].
    lookup_binary / Lookup<'a>(lookup: Binary<'a>, out: &'a mut [f32])
    run_lookup_binary
);

#[inline(always)]
fn run_lookup_binary<S: Simd>(simd: S, lookup: Binary<'_>, out: &mut [f32]) {
    let units = S::as_mut_simd_f32s(out).0.chunks_exact_mut(LANES / S::F32_LANES);
    for (table, out) in lookup.table.chunks_exact(2).zip(units) {
        let unit = Binary { table, ..lookup }.find::<S, 1>(simd);
        out.iter_mut().enumerate().for_each(|(lane, out)| [*out] = unit.units(simd, lane));
    }
}

kernel!(
    /// Writes weights [units, width] · (a ∘ b), scaled, at number `out` of `values`; and its exponents,
    /// if they are wanted.
    product_sum / ProductSum<'a>(
        width: usize,
        a: Factor<'a>,
        b: Factor<'a>,
        weights: &'a [f32],
        values: &'a mut [f32],
        out: usize,
        exponents: Option<Exponents<'a>>,
    )
    run_product_sum
);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_product_sum<S: Simd>(
    simd: S,
    width: usize,
    a: Factor<'_>,
    b: Factor<'_>,
    weights: &[f32],
    values: &mut [f32],
    out: usize,
    exponents: Option<Exponents<'_>>,
) {
    by_width!(width, product_sum_of(simd, a, b, weights, values, out, exponents));
}

#[inline(always)]
fn product_sum_of<S: Simd, const K: usize>(
    simd: S,
    a: Factor<'_>,
    b: Factor<'_>,
    weights: &[f32],
    values: &mut [f32],
    out: usize,
    exponents: Option<Exponents<'_>>,
) {
    let values = cells(simd, values);
    let (a, b) = (a.find::<S, K>(simd, values), b.find::<S, K>(simd, values));
    let out = rows(simd, values, out, weights.len() / K);
    let exponents = exponents.map(|exponents| exponents.find(simd));
    match square::<K>(weights) {
        Ok(weights) => product_sum_over(simd, a, b, weights, out, exponents),
        Err(weights) => product_sum_over(simd, a, b, weights, out, exponents),
    }
}

#[inline(always)]
fn product_sum_over<S: Simd, const K: usize>(
    simd: S,
    a: Source<'_, S>,
    b: Source<'_, S>,
    weights: &[[f32; K]],
    out: Cells<'_, S::f32s>,
    exponents: Option<FoundExponents<'_, S>>,
) {
    let width = LANES / S::F32_LANES;
    for lane in 0..width {
        let (product, down, exponent) =
            product::<S, K>(simd, a.units(simd, lane), b.units(simd, lane));
        if let Some(exponents) = &exponents {
            exponents.add(simd, exponent, lane);
        }
        let product = product.map(|unit| simd.mul_f32s(unit, down));
        for (row, out) in weights.iter().zip(out.chunks_exact(width)) {
            let mut sum = simd.mul_f32s(simd.splat_f32s(row[0]), product[0]);
            for col in 1..K {
                sum = simd.mul_add_e_f32s(simd.splat_f32s(row[col]), product[col], sum);
            }
            out[lane].set(sum);
        }
    }
}

/// [`Exponents`] whose places are found.
struct FoundExponents<'a, S: Simd> {
    factors: [Option<Cells<'a, S::i32s>>; 2],
    out: Cells<'a, S::i32s>,
}

impl<'a> Exponents<'a> {
    #[inline(always)]
    fn find<S: Simd>(self, simd: S) -> FoundExponents<'a, S> {
        let arena = Cell::from_mut(S::as_mut_simd_i32s(self.arena).0).as_slice_of_cells();
        let row = |first| rows(simd, arena, first, 1);
        FoundExponents { factors: self.factors.map(|factor| factor.map(row)), out: row(self.out) }
    }
}

impl<S: Simd> FoundExponents<'_, S> {
    /// Writes those of one vector of lanes: the factors', and what scaling takes.
    #[inline(always)]
    fn add(&self, simd: S, taken: S::i32s, lane: usize) {
        let mut sum = simd.transmute_u32s_i32s(taken);
        for own in self.factors.iter().flatten() {
            sum = simd.add_u32s(sum, simd.transmute_u32s_i32s(own[lane].get()));
        }
        self.out[lane].set(simd.transmute_i32s_u32s(sum));
    }
}

kernel!(
    /// Forms the product again for the way back: a ∘ b, scaled, and the scale.
    form / Form<'a>(
        width: usize,
        a: Factor<'a>,
        b: Factor<'a>,
        values: &'a mut [f32],
        formed: &'a mut [f32],
        scale: &'a mut [f32],
    )
    run_form
);

#[inline(always)]
fn run_form<S: Simd>(
    simd: S,
    width: usize,
    a: Factor<'_>,
    b: Factor<'_>,
    values: &mut [f32],
    formed: &mut [f32],
    scale: &mut [f32],
) {
    by_width!(width, form_of(simd, a, b, values, formed, scale));
}

#[inline(always)]
fn form_of<S: Simd, const K: usize>(
    simd: S,
    a: Factor<'_>,
    b: Factor<'_>,
    values: &mut [f32],
    formed: &mut [f32],
    scale: &mut [f32],
) {
    let width = LANES / S::F32_LANES;
    let values = cells(simd, values);
    let (a, b) = (a.find::<S, K>(simd, values), b.find::<S, K>(simd, values));
    let formed = &mut S::as_mut_simd_f32s(formed).0[..K * width];
    let scale = &mut S::as_mut_simd_f32s(scale).0[..width];
    for lane in 0..width {
        let (product, down, _) = product::<S, K>(simd, a.units(simd, lane), b.units(simd, lane));
        for (unit, product) in product.into_iter().enumerate() {
            formed[unit * width + lane] = simd.mul_f32s(product, down);
        }
        scale[lane] = down;
    }
}

/// Where the gradient by a factor goes.
pub(super) enum Target<'a> {
    /// Nothing in it learns.
    Nowhere,
    /// To the arena of gradients, from this number on; added to what is there, or written.
    Arena { first: usize, add: bool },
    /// To rows of its own, [width][LANES].
    Rows(&'a mut [f32]),
}

/// A [`Target`] whose place is found.
struct Sink<'a, S: Simd> {
    rows: Option<Cells<'a, S::f32s>>,
    add: bool,
}

impl<'a> Target<'a> {
    #[inline(always)]
    fn find<S: Simd, const K: usize>(self, simd: S, arena: Cells<'a, S::f32s>) -> Sink<'a, S> {
        match self {
            Target::Nowhere => Sink { rows: None, add: false },
            Target::Arena { first, add } => Sink { rows: Some(rows(simd, arena, first, K)), add },
            Target::Rows(own) => {
                Sink { rows: Some(rows(simd, cells(simd, own), 0, K)), add: false }
            }
        }
    }
}

impl<S: Simd> Sink<'_, S> {
    /// Takes the gradient of one vector of lanes: `common` ∘ the other factor.
    #[inline(always)]
    fn take<const K: usize>(
        &self,
        simd: S,
        common: &[S::f32s; K],
        other: &[S::f32s; K],
        lane: usize,
    ) {
        let Some(rows) = self.rows else { return };
        let width = LANES / S::F32_LANES;
        for unit in 0..K {
            let d = simd.mul_f32s(common[unit], other[unit]);
            let at = &rows[unit * width + lane];
            at.set(if self.add { simd.add_f32s(at.get(), d) } else { d });
        }
    }
}

kernel!(
    /// From the gradient by the output, at number `own` of `gradients`, to those by a and by b, given
    /// the scale that [`form`] found.
    reach / Reach<'a>(
        width: usize,
        factors: [Factor<'a>; 2],
        weights: &'a [f32],
        scale: &'a [f32],
        values: &'a mut [f32],
        gradients: &'a mut [f32],
        own: usize,
        targets: [Target<'a>; 2],
    )
    run_reach
);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run_reach<S: Simd>(
    simd: S,
    width: usize,
    factors: [Factor<'_>; 2],
    weights: &[f32],
    scale: &[f32],
    values: &mut [f32],
    gradients: &mut [f32],
    own: usize,
    targets: [Target<'_>; 2],
) {
    by_width!(width, reach_of(simd, factors, weights, scale, values, gradients, own, targets));
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn reach_of<S: Simd, const K: usize>(
    simd: S,
    factors: [Factor<'_>; 2],
    weights: &[f32],
    scale: &[f32],
    values: &mut [f32],
    gradients: &mut [f32],
    own: usize,
    targets: [Target<'_>; 2],
) {
    let (values, gradients) = (cells(simd, values), cells(simd, gradients));
    let factors = factors.map(|factor| factor.find::<S, K>(simd, values));
    let targets = targets.map(|target| target.find::<S, K>(simd, gradients));
    let own = rows(simd, gradients, own, weights.len() / K);
    let scale = rows(simd, S::as_simd_f32s(scale).0, 0, 1);
    match square::<K>(weights) {
        Ok(weights) => reach_over(simd, factors, weights, scale, own, targets),
        Err(weights) => reach_over(simd, factors, weights, scale, own, targets),
    }
}

#[inline(always)]
fn reach_over<S: Simd, const K: usize>(
    simd: S,
    [a, b]: [Source<'_, S>; 2],
    weights: &[[f32; K]],
    scale: &[S::f32s],
    own: Cells<'_, S::f32s>,
    [to_a, to_b]: [Sink<'_, S>; 2],
) {
    let width = LANES / S::F32_LANES;
    for lane in 0..width {
        let mut sums = [simd.splat_f32s(0.0); K];
        for (row, d) in weights.iter().zip(own.chunks_exact(width)) {
            let d = d[lane].get();
            for col in 0..K {
                sums[col] = simd.mul_add_e_f32s(simd.splat_f32s(row[col]), d, sums[col]);
            }
        }
        let sums = sums.map(|sum| simd.mul_f32s(sum, scale[lane]));
        let (left, right) = (a.units::<K>(simd, lane), b.units::<K>(simd, lane));
        to_a.take(simd, &sums, &right, lane);
        to_b.take(simd, &sums, &left, lane);
    }
}
