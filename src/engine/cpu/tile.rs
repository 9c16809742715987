//! What a worker works in: the arenas of one tile.

use crate::plan::{LANES, Plan, Program, SCRATCH_EXTRA, Value};
use crate::simd::{align, take};

/// The memory of one worker, large enough for any program of a plan. Sizes are the plan's.
pub(super) struct Workspace {
    values: Vec<f32>,
    exponents: Vec<i32>,
    bounds: Vec<f32>,
    gradients: Vec<f32>,
    scratch: Vec<f32>,
}

/// Numbers that let a buffer begin on a line of the cache.
const SLACK: usize = 16;

impl Workspace {
    pub(super) fn new(plan: &Plan) -> Self {
        let most = |size: fn(&Program) -> u32| {
            plan.programs.iter().map(size).max().unwrap_or(0) as usize * LANES
        };
        let exponents = most(|program| program.exponents);
        let scratch = (0..plan.programs.len()).map(|program| plan.scratch(program)).max();
        Workspace {
            values: vec![0.0; most(|program| program.rows) + SLACK],
            exponents: vec![0; exponents],
            bounds: vec![0.0; exponents],
            gradients: vec![0.0; most(|program| program.gradient_rows) + SLACK],
            scratch: vec![0.0; scratch.unwrap_or(0) * LANES + SLACK],
        }
    }

    /// The arenas, for one program.
    pub(super) fn arenas(&mut self, program: &Program) -> (Arenas<'_>, Scratch<'_>) {
        let arenas = Arenas {
            values: align(&mut self.values),
            exponents: &mut self.exponents,
            bounds: &mut self.bounds,
            gradients: align(&mut self.gradients),
        };
        let mut rest = align(&mut self.scratch);
        let (formed, widest) = (program.scratch_rows as usize * LANES, program.widest() * LANES);
        let scratch = Scratch {
            formed: take(&mut rest, formed),
            d_formed: take(&mut rest, formed),
            sums: take(&mut rest, formed),
            left: take(&mut rest, widest),
            right: take(&mut rest, widest),
            d_left: take(&mut rest, widest),
            d_right: take(&mut rest, widest),
            indicators: take(&mut rest, (SCRATCH_EXTRA - 1) * LANES),
            scale: take(&mut rest, LANES),
        };
        (arenas, scratch)
    }
}

/// The arenas, by lane rows.
pub(super) struct Arenas<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) exponents: &'a mut [i32],
    pub(super) bounds: &'a mut [f32],
    pub(super) gradients: &'a mut [f32],
}

/// What steps form on the way. See [`Plan::scratch`].
pub(super) struct Scratch<'a> {
    /// Multiplied or concatenated inputs.
    pub(super) formed: &'a mut [f32],
    /// The gradient by that.
    pub(super) d_formed: &'a mut [f32],
    /// Partial sums of gradients by coefficients.
    pub(super) sums: &'a mut [f32],
    /// Inline inputs and the gradients by them.
    pub(super) left: &'a mut [f32],
    pub(super) right: &'a mut [f32],
    pub(super) d_left: &'a mut [f32],
    pub(super) d_right: &'a mut [f32],
    /// Whether the column is in each state.
    pub(super) indicators: &'a mut [f32],
    /// The power of two by which each lane of a product was divided.
    pub(super) scale: &'a mut [f32],
}

/// The numbers of a value among those of its arena.
pub(super) fn span(first: u32, units: u32) -> std::ops::Range<usize> {
    let first = first as usize * LANES;
    first..first + units as usize * LANES
}

/// The lane row of a value's exponents, or bounds.
pub(super) fn exponent_span(value: &Value) -> std::ops::Range<usize> {
    span(value.exponent, 1)
}
