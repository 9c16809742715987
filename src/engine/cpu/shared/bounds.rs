//! What the units of each entry may lack, in a part whose weights are too small for its certificate.
//!
//! All numbers are positive, so arithmetic keeps relative precision until a product, or a term of a
//! sum, is smaller than the least normal number: then what is rounded off is up to [`LOST`], whatever
//! is left. A bound is an upper limit of what any unit of an entry lacks for that, in its own scale. It
//! goes through products and sums with the values, and the head compares it with the value at the
//! root, as it does that of parts which run row by row.

use pulp::Simd;

use super::forward::{Unit, Values};
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
        let (bounds, tops) = (&mut bounds[..own.len()], &mut tops[..own.len()]);
        for (top, row) in tops.iter_mut().zip(values.rows[rows].chunks_exact(step.output.stride)) {
            let units = S::as_simd_f32s(row).0.iter().copied();
            let most = units.fold(simd.splat_f32s(0.0), |a, b| simd.max_f32s(a, b));
            *top = simd.reduce_max_f32s(most);
        }
        let below = Below { unit, step, bounds: below, tops: tops_below };
        let terms = step.width as f32;
        match step.form {
            // Weights of a look-up below the normal numbers were rounded when they were made.
            Form::Lookup { .. } | Form::One => bounds.fill(LOST),
            Form::Sum { .. } => {
                let lacks = below.input(0).map(|(bound, _)| bound);
                fill(bounds, lacks.map(|lacks| lacks * ONE + terms * LOST));
            }
            Form::Product { .. } => fill(bounds, below.products(&values.scales[own])),
            Form::ProductSum { .. } => {
                let products = below.products(&values.scales[own]);
                fill(bounds, products.map(|lacks| lacks * ONE + terms * LOST));
            }
        }
    }
}

fn fill(out: &mut [f32], bounds: impl Iterator<Item = f32>) {
    out.iter_mut().zip(bounds).for_each(|(out, bound)| *out = bound);
}

/// What a step reads.
struct Below<'a> {
    unit: &'a Unit<'a>,
    step: &'a Placed,
    bounds: &'a [f32],
    tops: &'a [f32],
}

impl Below<'_> {
    /// The bound and the largest unit of what each entry reads of an input.
    fn input(&self, number: usize) -> impl Iterator<Item = (f32, f32)> {
        let read = &self.step.inputs[number];
        let own = self.unit.scales(&read.value);
        let (bounds, tops) = (&self.bounds[own.clone()], &self.tops[own]);
        let index = self.unit.index(self.step, read).iter();
        index.map(move |&entry| (bounds[entry as usize], tops[entry as usize]))
    }

    /// What the product of two inputs may lack, in its scale.
    fn products(&self, scales: &[f32]) -> impl Iterator<Item = f32> {
        let pairs = self.input(0).zip(self.input(1)).zip(scales);
        pairs.map(|(((lacks_a, a), (lacks_b, b)), &scale)| {
            scale * (lacks_a * (b + lacks_b) + lacks_b * a + LOST)
        })
    }
}
