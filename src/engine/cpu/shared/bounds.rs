//! What the units of each entry may lack, in a part whose weights are too small for its certificate.
//!
//! All numbers are positive, so arithmetic keeps relative precision until a product, or a term of a
//! sum, is smaller than the least normal number: then what is rounded off is up to [`LOST`], whatever
//! is left. A bound is an upper limit of what any unit of an entry lacks for that, in its own scale. It
//! goes through products and sums with the values, and the head compares it with the value at the
//! root, as it does that of parts which run row by row.

use pulp::{Simd, WithSimd};

use super::forward::{Unit, Values};
use crate::engine::cpu::kernels::kernel;
use crate::plan::layout::{Form, Placed};

/// What an operation may round off a result below the normal numbers, and as much again for the
/// rounding of the bounds themselves.
const LOST: f32 = f32::from_bits(2);
/// What weights of one sum may sum to, in place of one.
const ONE: f32 = 1.0001;

/// For each entry its bound, and the largest of its units; as scales lie.
pub(super) struct Bounds<'a> {
    pub(super) bounds: &'a mut [f32],
    pub(super) tops: &'a mut [f32],
}

/// Goes through all steps, after their values were evaluated.
pub(super) fn bound<S: Simd>(
    simd: S,
    unit: &Unit<'_>,
    values: &Values<'_>,
    Bounds { bounds, tops }: &mut Bounds<'_>,
) {
    for step in &unit.layout.steps {
        let (own, rows) = (unit.scales(&step.output), unit.rows(&step.output));
        let (below, bounds) = bounds.split_at_mut(own.start);
        let (tops_below, tops) = tops.split_at_mut(own.start);
        largest(simd, &values.rows[rows], step.output.stride, &mut tops[..own.len()]);
        let inputs = step.inputs.map(|read| match step.form {
            Form::Lookup { .. } | Form::One => (&[][..], &[][..], &[][..]),
            _ => {
                let own = unit.scales(&read.value);
                (&below[own.clone()], &tops_below[own], unit.index(step, &read))
            }
        });
        let read = |input: usize, entry: usize| {
            let (bounds, tops, index) = inputs[input];
            let entry = index[entry] as usize;
            (bounds[entry], tops[entry])
        };
        let scales = &values.scales[own.clone()];
        lacking(step, read, |entry| scales[entry], &mut bounds[..own.len()]);
    }
}

kernel!(
    /// The largest unit of each row.
    largest / Largest<'a>(rows: &'a [f32], stride: usize, tops: &'a mut [f32]) run_largest
);

#[inline(always)]
fn run_largest<S: Simd>(simd: S, rows: &[f32], stride: usize, tops: &mut [f32]) {
    for (top, row) in tops.iter_mut().zip(rows.chunks_exact(stride)) {
        let units = S::as_simd_f32s(row).0.iter().copied();
        let most = units.fold(simd.splat_f32s(0.0), |a, b| simd.max_f32s(a, b));
        *top = simd.reduce_max_f32s(most);
    }
}

/// The bounds of a step's entries. `read` gives the bound and the largest unit of what an entry reads of
/// an input, `scale` what an entry was multiplied with.
#[inline(always)]
pub(super) fn lacking(
    step: &Placed,
    read: impl Fn(usize, usize) -> (f32, f32),
    scale: impl Fn(usize) -> f32,
    bounds: &mut [f32],
) {
    let terms = step.width as f32;
    let product = |entry: usize| {
        let ((lacks_a, a), (lacks_b, b)) = (read(0, entry), read(1, entry));
        scale(entry) * (lacks_a * (b + lacks_b) + lacks_b * a + LOST)
    };
    let entries = bounds.iter_mut().enumerate();
    match step.form {
        // Weights of a look-up below the normal numbers were rounded when they were made.
        Form::Lookup { .. } | Form::One => bounds.fill(LOST),
        Form::Sum { .. } => {
            entries.for_each(|(entry, bound)| *bound = read(0, entry).0 * ONE + terms * LOST);
        }
        Form::Product { .. } => entries.for_each(|(entry, bound)| *bound = product(entry)),
        Form::ProductSum { .. } | Form::PairSum { .. } => {
            entries.for_each(|(entry, bound)| *bound = product(entry) * ONE + terms * LOST);
        }
    }
}
