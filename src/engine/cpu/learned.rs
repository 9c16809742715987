//! Parameters and moments that the engine owns while it learns, and the pass that takes all that a step
//! does to them at once.
//!
//! They lie as the softmax wants them: the logits of a tile, one sector a lane, then its first moments, then
//! its second. So one pass over a tile takes the gradient by the weights to the one by the logits, updates
//! moments and logits, and makes the weights of the next step; what it reads was written, a moment before, by
//! the backward pass of the same part.

use pulp::{Simd, WithSimd};

use super::state::PartState;
use super::weights::{Buffers, Making, Sizes, WeightScratch};
use crate::engine::{Update, all_finite};
use crate::param::normalise::{Least, softmax_lanes};
use crate::plan::{Block, LANES};
use crate::sector::MakerBinding;
use crate::simd::Vector;

/// What one group learns.
pub(super) struct Learned {
    /// Tiles of each block.
    blocks: Vec<Tiles>,
}

/// Parameters and moments of one block.
struct Tiles {
    /// `[tiles][kinds][entries][LANES]`.
    numbers: Vec<f32>,
    /// Entries of a tile times lanes.
    tile: usize,
    /// Parameters, first moments, and second ones if there are any.
    kinds: usize,
}

impl Tiles {
    fn new(block: &Block, kinds: usize) -> Self {
        let tile = block.tile();
        Tiles { numbers: vec![0.0; block.tiles() * kinds * tile], tile, kinds }
    }

    /// Calls `f` with each parameter's place in the flat buffer and its place among the numbers.
    fn each(&self, maker: &MakerBinding, block: &Block, mut f: impl FnMut(usize, usize)) {
        let span = block.span as usize;
        for (tile, sectors) in block.sectors.chunks(LANES * span).enumerate() {
            for (lane, group) in sectors.chunks(span).enumerate() {
                let flat = group.iter().flat_map(|&sector| maker.own_row(sector));
                let start = tile * self.kinds * self.tile + lane;
                flat.enumerate().for_each(|(entry, flat)| f(flat, start + entry * LANES));
            }
        }
    }
}

impl<'a> Making<'a> {
    /// The blocks with their makers.
    fn blocks(&self) -> impl Iterator<Item = (&'a MakerBinding, &'a Block)> {
        let with_maker = |block: &'a Block| Some((self.parameters.maker(block.maker)?, block));
        self.group.blocks.iter().filter_map(with_maker)
    }

    /// Room for what the group learns; with second moments, or without.
    pub(super) fn learned(&self, second: bool) -> Learned {
        let kinds = if second { 3 } else { 2 };
        Learned { blocks: self.blocks().map(|(_, block)| Tiles::new(block, kinds)).collect() }
    }

    /// Takes numbers of one kind from the flat buffer of all: 0 for parameters, then moments.
    pub(super) fn set(&self, learned: &mut Learned, kind: usize, flat: &[f32]) {
        for ((maker, block), tiles) in self.blocks().zip(&mut learned.blocks) {
            let mut numbers = std::mem::take(&mut tiles.numbers);
            let before = kind * tiles.tile;
            tiles.each(maker, block, |from, to| numbers[before + to] = flat[from]);
            tiles.numbers = numbers;
        }
    }

    /// Copies numbers of one kind to the flat buffer of all.
    pub(super) fn get(&self, learned: &Learned, kind: usize, flat: &mut [f32]) {
        for ((maker, block), tiles) in self.blocks().zip(&learned.blocks) {
            let before = kind * tiles.tile;
            tiles.each(maker, block, |to, from| flat[to] = tiles.numbers[before + from]);
        }
    }

    /// Takes a step by the gradients by coefficients, those of each part's first shard, and makes the weights
    /// of the next. `updates` are those of all tensors. Returns whether all numbers are finite, and how small the
    /// weights are.
    pub(super) fn step(
        &self,
        updates: &[Update],
        learned: &mut Learned,
        states: &mut [PartState],
        scratch: &mut WeightScratch,
    ) -> (bool, Least) {
        let (mut finite, mut least) = (true, Least::NONE);
        for ((maker, block), tiles) in self.blocks().zip(&mut learned.blocks) {
            let Some(update) = updates.iter().find(|update| maker.own.start < update.end) else {
                continue;
            };
            let (first, buffers) = (self.group.parts.0, scratch.parts());
            let task = BlockStep { block, first, update, tiles, states, buffers };
            let (all, of_block) = pulp::Arch::new().dispatch(task);
            finite &= all;
            least = least.and(of_block);
        }
        (finite, least)
    }

    /// Whether the gradients by all that the group learns are finite, given those by coefficients.
    pub(super) fn has_finite_gradients(
        &self,
        states: &[PartState],
        scratch: &mut WeightScratch,
    ) -> bool {
        self.blocks().all(|(_, block)| {
            let (first, buffers) = (self.group.parts.0, scratch.parts());
            pulp::Arch::new().dispatch(BlockCheck { block, first, states, buffers })
        })
    }
}

/// The step of one block.
struct BlockStep<'a> {
    block: &'a Block,
    /// The part that is the first of `states`.
    first: u32,
    update: &'a Update,
    tiles: &'a mut Tiles,
    states: &'a mut [PartState],
    buffers: Buffers<'a>,
}

impl WithSimd for BlockStep<'_> {
    type Output = (bool, Least);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (bool, Least) {
        let BlockStep { block, first, update, tiles, states, buffers } = self;
        let sizes = Sizes::of(block);
        let (mut finite, mut least) = (true, Least::NONE);
        let numbers = tiles.numbers.chunks_exact_mut(tiles.kinds * tiles.tile);
        for (numbers, places) in numbers.zip(sizes.tiles(block, first)) {
            let (logits, moments) = numbers.split_at_mut(tiles.tile);
            let (means, squares) = moments.split_at_mut(tiles.tile);
            let tile = &mut buffers.tile[..logits.len()];
            let d_tile = &mut buffers.d_tile[..logits.len()];
            let rows = &mut *buffers.logits;
            places.gradients(simd, &sizes, states, rows, [tile, d_tile]);
            finite &= update.apply(logits, d_tile, means, squares);
            tile.copy_from_slice(logits);
            let live = places.at.len() / block.span as usize;
            least = least.and(softmax_lanes(simd, tile, sizes.row, live));
            places.write(Vector(simd), tile, sizes.group, rows, states);
        }
        (finite, least)
    }
}

/// A look at the gradients of one block.
struct BlockCheck<'a> {
    block: &'a Block,
    first: u32,
    states: &'a [PartState],
    buffers: Buffers<'a>,
}

impl WithSimd for BlockCheck<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let BlockCheck { block, first, states, buffers } = self;
        let (sizes, len) = (Sizes::of(block), block.tile());
        sizes.tiles(block, first).all(|places| {
            let [tile, d_tile] = [&mut *buffers.tile, buffers.d_tile].map(|tile| &mut tile[..len]);
            places.gradients(simd, &sizes, states, buffers.logits, [tile, d_tile]);
            all_finite(d_tile)
        })
    }
}
