//! One segment over one tile: forward, or forward again and back.

use pulp::{Simd, WithSimd};

use super::super::backward::backward;
use super::super::forward::{Unit, forward};
use super::super::gradients::Sums;
use super::super::passes::root_lane;
use super::super::tile::{Workspace, exponent_span, span};
use super::handed::{Imported, Outputs, Returned};
use crate::plan::{LANES, NOWHERE};
use crate::simd::take;

/// A segment and the tile it reads.
pub(super) struct Segment<'a> {
    pub(super) unit: Unit<'a>,
    pub(super) imports: Imported<'a>,
}

/// Forward; what is handed on goes to the front of `outputs`, which it is taken from.
pub(super) struct Forward<'a, 'b, 'c> {
    pub(super) segment: Segment<'a>,
    pub(super) outputs: &'c mut Outputs<'b>,
    pub(super) workspace: &'c mut Workspace,
}

impl WithSimd for Forward<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { segment: Segment { unit, imports }, outputs, workspace } = self;
        let (mut arenas, mut scratch) = workspace.arenas(unit.program);
        forward(simd, &unit, &imports, &mut arenas, &mut scratch);
        for &output in &unit.program.outputs {
            let value = &unit.program.values[output as usize];
            let rows = &arenas.values[span(value.rows, value.units)];
            take(&mut outputs.values, rows.len()).copy_from_slice(rows);
            let exponents = take(&mut outputs.exponents, LANES);
            let bounds = take(&mut outputs.bounds, LANES);
            exponents.fill(0);
            bounds.fill(0.0);
            if value.exponent != NOWHERE {
                exponents.copy_from_slice(&arenas.exponents[exponent_span(value)]);
                if !unit.certified {
                    bounds.copy_from_slice(&arenas.bounds[exponent_span(value)]);
                }
            }
        }
    }
}

/// The head forward over a tile.
pub(super) struct Head<'a, 'c> {
    pub(super) segment: Segment<'a>,
    pub(super) workspace: &'c mut Workspace,
    /// ln p of the rows that there are.
    pub(super) log_p: &'c mut [f64],
    /// The first of these rows.
    pub(super) first: u32,
    /// Takes the rows in doubt.
    pub(super) in_doubt: &'c mut Vec<u32>,
}

impl WithSimd for Head<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Head { segment: Segment { unit, imports }, workspace, log_p, first, in_doubt } = self;
        let (mut arenas, mut scratch) = workspace.arenas(unit.program);
        forward(simd, &unit, &imports, &mut arenas, &mut scratch);
        for (lane, out) in log_p.iter_mut().enumerate() {
            let root = root_lane(&unit, &arenas, lane);
            *out = root.log_p;
            if !root.is_sure {
                in_doubt.push(first + lane as u32);
            }
        }
    }
}

/// Forward again and back.
pub(super) struct Back<'a, 'b, 'c> {
    pub(super) segment: Segment<'a>,
    pub(super) returned: Returned<'c, 'b>,
    /// Of the head, how many rows the tile has.
    pub(super) rows: Option<usize>,
    pub(super) d_coefficients: &'c mut [f32],
    pub(super) workspace: &'c mut Workspace,
}

impl WithSimd for Back<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Back { segment, mut returned, rows, d_coefficients, workspace } = self;
        let Segment { unit, imports } = segment;
        let (mut arenas, mut scratch) = workspace.arenas(unit.program);
        forward(simd, &unit, &imports, &mut arenas, &mut scratch);
        let output = &unit.program.values[unit.program.outputs[0] as usize];
        if output.gradient == NOWHERE {
            return;
        }
        let mut seeds = [0.0; LANES];
        let own = match rows {
            Some(rows) => {
                for (lane, seed) in seeds.iter_mut().enumerate().take(rows) {
                    *seed = root_lane(&unit, &arenas, lane).seed(1.0);
                }
                &seeds[..]
            }
            None => returned.own(),
        };
        arenas.gradients[span(output.gradient, output.units)].copy_from_slice(own);
        let mut sums = Sums { numbers: d_coefficients, partial: false };
        backward(simd, &unit, &mut returned, &mut arenas, &mut scratch, &mut sums);
    }
}
