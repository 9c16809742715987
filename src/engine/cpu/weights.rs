//! From parameters to the coefficients of a group of parts, and from the gradient by these back to
//! the parameters.
//!
//! Logits come from the generators block by block; the softmax runs over 64 sectors at once, each in
//! a lane of its own, so that groups of five cost what wide ones do.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::places::Places;
use super::state::PartState;
use super::tables::{constant_table, least_of_table, table_back, table_counts, table_of};
use crate::circuit::{WeightSource, Weights};
use crate::compile::Numbers;
use crate::engine::Counts;
use crate::ids::{DistId, IdVec, WeightsId};
use crate::leaf::Dist;
use crate::param::normalise::{Least, softmax_lanes};
use crate::param::{self, Shape, TileGenerator};
use crate::plan::{Block, Coefficients, Group, LANES, Making as PlannedMaking, Part, Plan, Source};
use crate::sector::{MakerBinding, Parameters};
use crate::simd::{Kernels, Vector, align, take};

/// Memory to make weights in, for one worker.
pub(super) struct WeightScratch {
    buffer: Vec<f32>,
    making: PlannedMaking,
}

impl WeightScratch {
    pub(super) fn new(making: PlannedMaking) -> Self {
        WeightScratch { buffer: vec![0.0; making.numbers()], making }
    }

    pub(super) fn parts(&mut self) -> Buffers<'_> {
        let mut rest = align(&mut self.buffer);
        let tile = take(&mut rest, self.making.tile.next_multiple_of(16));
        let d_tile = take(&mut rest, self.making.tile.next_multiple_of(16));
        let logits = take(&mut rest, self.making.logits.next_multiple_of(16));
        let own = take(&mut rest, self.making.own.next_multiple_of(16));
        Buffers { tile, d_tile, logits, own, work: rest }
    }
}

pub(super) struct Buffers<'a> {
    pub(super) tile: &'a mut [f32],
    pub(super) d_tile: &'a mut [f32],
    pub(super) logits: &'a mut [f32],
    own: &'a mut [f32],
    work: &'a mut [f32],
}

/// A group of parts.
pub(super) struct Making<'a> {
    pub(super) dists: &'a IdVec<DistId, Dist>,
    pub(super) parameters: &'a Parameters,
    pub(super) parts: &'a [Part],
    pub(super) group: &'a Group,
}

impl<'a> Making<'a> {
    /// The group of this number.
    pub(super) fn of(numbers: &'a Numbers, plan: &'a Plan, group: &'a Group) -> Self {
        let parts = &plan.parts[group.parts.0 as usize..group.parts.1 as usize];
        let Numbers { dists, parameters, .. } = numbers;
        Making { dists, parameters, parts, group }
    }

    /// Leaf tables of all parts: part, distribution, and range of coefficients.
    pub(super) fn tables(&self) -> impl Iterator<Item = (usize, DistId, Range<usize>)> + use<'a> {
        self.parts.iter().enumerate().flat_map(|(number, part)| {
            part.coefficients.iter().filter_map(move |entry| match entry.source {
                Source::Dist(id) => Some((number, id, range(part, entry))),
                Source::Weights(_) => None,
            })
        })
    }

    /// Writes what parameters change, and says how small the coefficients are.
    pub(super) fn make(
        &self,
        flat: &[f32],
        states: &mut [PartState],
        scratch: &mut WeightScratch,
    ) -> Least {
        let mut least = Least::NONE;
        for block in &self.group.blocks {
            let Some(maker) = self.parameters.maker(block.maker) else { continue };
            let first = self.group.parts.0;
            let buffers = scratch.parts();
            let task = MakeBlock { maker, block, first, flat, states, buffers };
            least = least.and(pulp::Arch::new().dispatch(task));
        }
        for (number, id, range) in self.tables() {
            let raw = self.parameters.leaf(id);
            if !raw.is_empty() {
                let out = &mut states[number].coefficients[range];
                let family = self.dists[id].family;
                table_of(family, &flat[raw], out);
                least = least.and(least_of_table(family, out));
            }
        }
        least
    }

    /// Decides whether the parts can lose a unit under weights that are as small as this.
    pub(super) fn certify(&self, plan: &Plan, least: Least, states: &mut [PartState]) {
        for (state, part) in states.iter_mut().zip(self.parts) {
            let least = least.and(state.constant_least);
            state.certify(plan.program(part), least, part.has_zeros);
        }
    }

    /// Takes the gradients by coefficients, those of each part's first shard, back: writes those by
    /// the group's own parameters through `own`, adds those by shared ones to `d_shared`, the shared
    /// tensors of all makers one after the other.
    pub(super) fn back(
        &self,
        flat: &[f32],
        states: &[PartState],
        own: &mut OwnGradients<'_>,
        d_shared: &mut [f32],
        scratch: &mut WeightScratch,
    ) {
        for block in &self.group.blocks {
            let Some(maker) = self.parameters.maker(block.maker) else { continue };
            let makers = self.parameters.makers().iter();
            let before = makers.take_while(|other| other.maker != block.maker);
            let before: usize = before.map(|other| other.shared.len()).sum();
            pulp::Arch::new().dispatch(BlockBack {
                maker,
                block,
                first: self.group.parts.0,
                flat,
                states,
                own,
                d_shared: &mut d_shared[before..before + maker.shared.len()],
                buffers: scratch.parts(),
            });
        }
        for (number, id, range) in self.tables() {
            let raw = self.parameters.leaf(id);
            if !raw.is_empty() {
                let state = &states[number];
                let table = &state.coefficients[range.clone()];
                let d_table = &state.shards[0].d_coefficients[range];
                let family = self.dists[id].family;
                table_back(family, &flat[raw.clone()], table, d_table, own.rows(raw));
            }
        }
    }

    /// Writes the expected counts of inputs, given the gradients by coefficients, through `own`; those
    /// of logits that are no parameters stay as they are.
    pub(super) fn count_weights(&self, states: &[PartState], own: &mut OwnGradients<'_>) {
        for block in &self.group.blocks {
            let maker = self.parameters.maker(block.maker).filter(|maker| maker.is_direct());
            let Some(maker) = maker else { continue };
            let len = Sizes::of(block).sector;
            for (&sector, &(part, at)) in block.sectors.iter().zip(&block.at) {
                let state = &states[(part - self.group.parts.0) as usize];
                let range = at as usize..at as usize + len;
                let (w, d) = (&state.coefficients[range.clone()], state.gradients(range));
                let counts = own.rows(maker.own_row(sector)).iter_mut();
                counts.zip(w).zip(d).for_each(|((count, w), d)| *count = w * d);
            }
        }
    }

    /// Writes the expected statistics of leaves, given the gradients by coefficients.
    pub(super) fn count_leaves(&self, states: &[PartState], counts: &mut Counts<f32>) {
        for (number, id, range) in self.tables() {
            let (table, d) =
                (&states[number].coefficients[range.clone()], states[number].gradients(range));
            table_counts(self.dists[id].family, table, d, counts.leaf_mut(id));
        }
    }

    /// The ranges of the flat buffer that this group alone reads, ascending, neighbours joined.
    pub(super) fn own_ranges(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for block in &self.group.blocks {
            let Some(maker) = self.parameters.maker(block.maker) else { continue };
            ranges.extend(block.sectors.iter().map(|&sector| maker.own_row(sector)));
        }
        ranges.extend(self.tables().map(|(_, id, _)| self.parameters.leaf(id)));
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

/// Coefficients of one source, relative to their part.
fn range(part: &Part, entry: &Coefficients) -> Range<usize> {
    let start = entry.at - part.first_coefficient;
    start..start + entry.len
}

/// Writes what no parameter changes of a part: frozen weights, and tables of frozen leaves. Says how
/// small they are.
pub(super) fn constants(
    weights: &IdVec<WeightsId, Weights>,
    dists: &IdVec<DistId, Dist>,
    part: &Part,
    coefficients: &mut [f32],
) -> Least {
    let mut least = Least::NONE;
    for entry in &part.coefficients {
        let out = &mut coefficients[range(part, entry)];
        match entry.source {
            Source::Weights(id) => {
                let weights = &weights[id];
                let WeightSource::Frozen(values) = &weights.source else { continue };
                let cols = weights.cols as usize;
                for (out, row) in out.chunks_exact_mut(cols).zip(values.chunks_exact(cols)) {
                    let sum: f64 = row.iter().sum();
                    out.iter_mut().zip(row).for_each(|(out, &w)| *out = (w / sum) as f32);
                    let positive = out.iter().copied().filter(|&w| w > 0.0);
                    let weight = positive.fold(f32::INFINITY, f32::min);
                    least = least.and(Least { weight, zero: row.contains(&0.0) });
                }
            }
            Source::Dist(id) => {
                let dist = &dists[id];
                if constant_table(dist, out) {
                    least = least.and(least_of_table(dist.family, out));
                }
            }
        }
    }
    least
}

/// The pieces of the flat gradient that one group writes.
pub(super) struct OwnGradients<'a> {
    pub(super) pieces: Vec<(usize, &'a mut [f32])>,
}

impl OwnGradients<'_> {
    /// A row of the flat gradient, which lies within one piece.
    fn rows(&mut self, range: Range<usize>) -> &mut [f32] {
        let after = self.pieces.partition_point(|(start, _)| *start <= range.start);
        let (start, piece) = &mut self.pieces[after - 1];
        &mut piece[range.start - *start..range.end - *start]
    }
}

/// Cuts the flat gradient into the pieces of each group. `ranges` are those of all groups; no two
/// overlap.
pub(super) fn split<'a>(
    mut flat: &'a mut [f32],
    ranges: &[(Range<usize>, usize)],
    groups: usize,
) -> Vec<OwnGradients<'a>> {
    let mut own: Vec<OwnGradients<'a>> =
        (0..groups).map(|_| OwnGradients { pieces: Vec::new() }).collect();
    let mut at = 0;
    for (range, group) in ranges {
        take(&mut flat, range.start - at);
        own[*group].pieces.push((range.start, take(&mut flat, range.len())));
        at = range.end;
    }
    own
}

/// One block's logits, softmax and places.
struct MakeBlock<'a> {
    maker: &'a MakerBinding,
    block: &'a Block,
    /// The part that is the first of `states`.
    first: u32,
    flat: &'a [f32],
    states: &'a mut [PartState],
    buffers: Buffers<'a>,
}

impl WithSimd for MakeBlock<'_> {
    type Output = Least;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Least {
        let MakeBlock { maker, block, first, flat, states, buffers } = self;
        let (sizes, kernels) = (Sizes::of(block), Vector(simd));
        let Buffers { tile, d_tile, logits, work, .. } = buffers;
        let tile = &mut tile[..sizes.group * LANES];
        let (own, shared) = (&flat[maker.own.clone()], &flat[maker.shared.clone()]);
        let generator = &maker.bound.single;
        let mut least = Least::NONE;
        let places = sizes.tiles(block, first);
        if let Some(generator) = on_tiles(maker, block) {
            let tiles = &mut logits[..places.len() * tile.len()];
            generator.tiles(own, shared, sizes.block(block), tiles, work);
            for (tile, places) in tiles.chunks_exact_mut(tile.len()).zip(places) {
                least = least.and(softmax_lanes(simd, tile, sizes.row, places.at.len()));
                places.write(kernels, tile, sizes.group, d_tile, states);
            }
            return least;
        }
        let logits = &mut logits[..block.sectors.len() * sizes.sector];
        generator.logits(own, shared, sizes.block(block), logits, work);
        for (groups, places) in logits.chunks_mut(LANES * sizes.group).zip(places) {
            kernels.rows_to_lanes(groups, sizes.group, tile);
            least = least.and(softmax_lanes(simd, tile, sizes.row, groups.len() / sizes.group));
            places.write(kernels, tile, sizes.group, groups, states);
        }
        least
    }
}

/// The generator of a block on tiles, if it works on such and each sector is a normalisation group.
fn on_tiles<'a>(maker: &'a MakerBinding, block: &Block) -> Option<&'a dyn TileGenerator<f32>> {
    maker.bound.single.on_tiles().filter(|_| block.span == 1)
}

/// The way back through one block.
struct BlockBack<'a, 'b> {
    maker: &'a MakerBinding,
    block: &'a Block,
    first: u32,
    flat: &'a [f32],
    states: &'a [PartState],
    own: &'a mut OwnGradients<'b>,
    d_shared: &'a mut [f32],
    buffers: Buffers<'a>,
}

impl WithSimd for BlockBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let BlockBack { maker, block, first, flat, states, .. } = self;
        let sizes = Sizes::of(block);
        let Buffers { tile, d_tile, logits, own, work } = self.buffers;
        let tile = &mut tile[..block.tile()];
        let (all_own, shared) = (&flat[maker.own.clone()], &flat[maker.shared.clone()]);
        let lengths = block.sectors.iter().map(|&sector| maker.own_row(sector).len());
        let d_own = &mut own[..lengths.sum()];
        let (places, of_block) = (sizes.tiles(block, first), sizes.block(block));
        if let Some(generator) = on_tiles(maker, block) {
            let d_tiles = &mut logits[..places.len() * tile.len()];
            for (d, places) in d_tiles.chunks_exact_mut(tile.len()).zip(places) {
                places.gradients(simd, &sizes, states, d_tile, [tile, d]);
            }
            generator.backward_tiles(
                all_own,
                shared,
                of_block,
                d_tiles,
                d_own,
                self.d_shared,
                work,
            );
        } else {
            let logits = &mut logits[..block.sectors.len() * sizes.sector];
            let d_tile = &mut d_tile[..tile.len()];
            for (groups, places) in logits.chunks_mut(LANES * sizes.group).zip(places) {
                places.gradients(simd, &sizes, states, groups, [tile, d_tile]);
                Vector(simd).lanes_to_rows(d_tile, sizes.group, groups);
            }
            let generator = &maker.bound.single;
            generator.backward(all_own, shared, of_block, logits, d_own, self.d_shared, work);
        }
        let mut packed = &d_own[..];
        for &sector in &block.sectors {
            let range = maker.own_row(sector);
            let (row, rest) = packed.split_at(range.len());
            packed = rest;
            if !range.is_empty() {
                self.own.rows(range).copy_from_slice(row);
            }
        }
    }
}

/// Numbers of a block's pieces.
pub(super) struct Sizes {
    /// Entries of a sector.
    pub(super) sector: usize,
    /// Entries of the sectors that share normalisation groups.
    pub(super) group: usize,
    /// Entries of one normalisation group.
    pub(super) row: usize,
}

impl Sizes {
    pub(super) fn of(block: &Block) -> Self {
        let sector = (block.rows * block.cols) as usize;
        let span = block.span as usize;
        Sizes { sector, group: sector * span, row: block.cols as usize * span }
    }

    /// Where the sectors of each tile of a block lie; `first` is the part that is the first of the states.
    pub(super) fn tiles<'a>(
        &self,
        block: &'a Block,
        first: u32,
    ) -> impl ExactSizeIterator<Item = Places<'a>> + use<'a> {
        let len = self.sector;
        block.at.chunks(LANES * block.span as usize).map(move |at| Places { at, first, len })
    }

    fn block<'a>(&self, block: &'a Block) -> param::Block<'a> {
        let shape = Shape { rows: block.rows, cols: block.cols };
        param::Block { shape, sectors: &block.sectors }
    }
}
