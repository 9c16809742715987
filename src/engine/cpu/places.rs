//! Where the sectors of a tile lie among the coefficients of parts, and the way from there to lanes and
//! back.

use std::ops::Range;

use pulp::Simd;

use super::state::PartState;
use super::weights::Sizes;
use crate::param::normalise::softmax_backward_lanes;
use crate::simd::{Kernels, Vector};

/// The sectors of one tile: whole normalisation groups, one in each lane.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// For each sector its part, and its place among the part's coefficients.
    pub(super) at: &'a [(u32, u32)],
    /// The part whose state is the first.
    pub(super) first: u32,
    /// Entries of a sector.
    pub(super) len: usize,
}

impl Places<'_> {
    /// The state's number and the run of its coefficients that the sectors make up, if they lie in one
    /// part, each behind the one before: then they need not be brought together.
    fn run(&self) -> Option<(usize, Range<usize>)> {
        let &(part, start) = self.at.first()?;
        let len = self.len as u32;
        let expected = (start..).step_by(self.len).map(|at| (part, at));
        let is_run = self.at.iter().copied().zip(expected).all(|(at, expected)| at == expected);
        let end = start + len * self.at.len() as u32;
        is_run.then_some(((part - self.first) as usize, start as usize..end as usize))
    }

    /// The state's number and the coefficients of each sector.
    fn each(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let Places { first, len, .. } = *self;
        let place = move |&(part, at): &(u32, u32)| {
            ((part - first) as usize, at as usize..at as usize + len)
        };
        self.at.iter().map(place)
    }

    /// Fills a tile `[entries][LANES]` from the sectors' numbers, of which `numbers` gives those of each
    /// state. `rows` has room for all of them.
    #[inline(always)]
    fn read<'s, S: Simd>(
        &self,
        kernels: Vector<S>,
        numbers: impl Fn(usize) -> &'s [f32],
        rows: &mut [f32],
        entries: usize,
        tile: &mut [f32],
    ) {
        if let Some((part, range)) = self.run() {
            return kernels.rows_to_lanes(&numbers(part)[range], entries, tile);
        }
        let rows = &mut rows[..self.at.len() * self.len];
        for (row, (part, range)) in rows.chunks_exact_mut(self.len).zip(self.each()) {
            row.copy_from_slice(&numbers(part)[range]);
        }
        kernels.rows_to_lanes(rows, entries, tile);
    }

    /// Fills a tile with the sectors' weights, and one with the gradient by their logits: that by coefficients
    /// taken back through the softmax.
    #[inline(always)]
    pub(super) fn gradients<S: Simd>(
        &self,
        simd: S,
        sizes: &Sizes,
        states: &[PartState],
        rows: &mut [f32],
        [tile, d_tile]: [&mut [f32]; 2],
    ) {
        let (kernels, entries) = (Vector(simd), sizes.group);
        self.read(kernels, |part| &states[part].coefficients, rows, entries, tile);
        self.read(kernels, |part| states[part].all_gradients(), rows, entries, d_tile);
        softmax_backward_lanes(simd, tile, d_tile, sizes.row);
    }

    /// Writes the coefficients of the sectors from a tile `[entries][LANES]`.
    #[inline(always)]
    pub(super) fn write<S: Simd>(
        &self,
        kernels: Vector<S>,
        tile: &[f32],
        entries: usize,
        rows: &mut [f32],
        states: &mut [PartState],
    ) {
        if let Some((part, range)) = self.run() {
            return kernels.lanes_to_rows(tile, entries, &mut states[part].coefficients[range]);
        }
        let rows = &mut rows[..self.at.len() * self.len];
        kernels.lanes_to_rows(tile, entries, rows);
        for (row, (part, range)) in rows.chunks_exact(self.len).zip(self.each()) {
            states[part].coefficients[range].copy_from_slice(row);
        }
    }
}
