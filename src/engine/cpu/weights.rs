//! From parameters to the coefficients of a group of parts, and from the gradient by these back to
//! the parameters.
//!
//! Logits come from the generators block by block; the softmax runs over 64 sectors at once, each in
//! a lane of its own, so that groups of five cost what wide ones do.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::state::PartState;
use crate::circuit::{WeightSource, Weights};
use crate::compile::Numbers;
use crate::engine::Counts;
use crate::ids::{DistId, IdVec, WeightsId};
use crate::leaf::{Dist, Family, counts, discrete, gaussian};
use crate::param::normalise::{Least, softmax_backward_lanes, softmax_lanes};
use crate::param::{self, Shape};
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

    fn parts(&mut self) -> Buffers<'_> {
        let mut rest = align(&mut self.buffer);
        let tile = take(&mut rest, self.making.tile.next_multiple_of(16));
        let d_tile = take(&mut rest, self.making.tile.next_multiple_of(16));
        let logits = take(&mut rest, self.making.logits.next_multiple_of(16));
        let own = take(&mut rest, self.making.own.next_multiple_of(16));
        Buffers { tile, d_tile, logits, own, work: rest }
    }
}

struct Buffers<'a> {
    tile: &'a mut [f32],
    d_tile: &'a mut [f32],
    logits: &'a mut [f32],
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
    fn tables(&self) -> impl Iterator<Item = (usize, DistId, Range<usize>)> + use<'a> {
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
            let out = &mut states[number].coefficients[range];
            let raw = self.parameters.leaf(id);
            let family = self.dists[id].family;
            if !raw.is_empty() {
                table_of(family, &flat[raw], out);
            }
            // A certificate is asked of tables of probabilities alone.
            let logs = matches!(family, Family::Binomial { .. });
            if family.states().is_some() && !logs {
                let positive = out.iter().copied().filter(|&p| p > 0.0);
                let weight = positive.fold(f32::INFINITY, f32::min);
                least = least.and(Least { weight, zero: false });
            }
        }
        least
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
/// small the weights among them are.
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
            Source::Dist(id) => constant_table(&dists[id], out),
        }
    }
    least
}

fn constant_table(dist: &Dist, out: &mut [f32]) {
    if let Family::Indicators { states } = dist.family {
        out.fill(0.0);
        out.iter_mut().step_by(states as usize + 1).for_each(|out| *out = 1.0);
    } else if let (true, Some(raw)) = (dist.frozen, dist.given_raw()) {
        let raw: Vec<f32> = raw.into_iter().map(|value| value as f32).collect();
        table_of(dist.family, &raw, out);
    }
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
        let sizes = Sizes::of(block);
        let logits = &mut buffers.logits[..block.sectors.len() * sizes.sector];
        let (own, shared) = (&flat[maker.own.clone()], &flat[maker.shared.clone()]);
        let generator = &maker.bound.single;
        generator.logits(own, shared, sizes.block(block), logits, buffers.work);
        let mut least = Least::NONE;
        let places = block.at.chunks(LANES * block.span as usize);
        for (groups, places) in logits.chunks_mut(LANES * sizes.group).zip(places) {
            let tile = &mut buffers.tile[..sizes.group * LANES];
            Vector(simd).rows_to_lanes(groups, sizes.group, tile);
            least = least.and(softmax_lanes(simd, tile, sizes.row, groups.len() / sizes.group));
            Vector(simd).lanes_to_rows(tile, sizes.group, groups);
            for (sector, &(part, at)) in groups.chunks_exact(sizes.sector).zip(places) {
                let coefficients = &mut states[(part - first) as usize].coefficients;
                coefficients[at as usize..][..sizes.sector].copy_from_slice(sector);
            }
        }
        least
    }
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
        let sizes = Sizes::of(self.block);
        let Buffers { tile, d_tile, logits, own, work } = self.buffers;
        let logits = &mut logits[..self.block.sectors.len() * sizes.sector];
        let places = self.block.at.chunks(LANES * self.block.span as usize);
        for (groups, places) in logits.chunks_mut(LANES * sizes.group).zip(places) {
            let (tile, d_tile) =
                (&mut tile[..sizes.group * LANES], &mut d_tile[..sizes.group * LANES]);
            for (sector, &(part, at)) in groups.chunks_exact_mut(sizes.sector).zip(places) {
                let coefficients = &self.states[(part - self.first) as usize].coefficients;
                sector.copy_from_slice(&coefficients[at as usize..][..sizes.sector]);
            }
            Vector(simd).rows_to_lanes(groups, sizes.group, tile);
            for (sector, &(part, at)) in groups.chunks_exact_mut(sizes.sector).zip(places) {
                let shard = &self.states[(part - self.first) as usize].shards[0];
                sector.copy_from_slice(&shard.d_coefficients[at as usize..][..sizes.sector]);
            }
            Vector(simd).rows_to_lanes(groups, sizes.group, d_tile);
            softmax_backward_lanes(simd, tile, d_tile, sizes.row);
            Vector(simd).lanes_to_rows(d_tile, sizes.group, groups);
        }
        let generator = &self.maker.bound.single;
        let (all_own, shared) =
            (&self.flat[self.maker.own.clone()], &self.flat[self.maker.shared.clone()]);
        let lengths = self.block.sectors.iter().map(|&sector| self.maker.own_row(sector).len());
        let d_own = &mut own[..lengths.sum()];
        let block = sizes.block(self.block);
        generator.backward(all_own, shared, block, logits, d_own, self.d_shared, work);
        let mut packed = &d_own[..];
        for &sector in &self.block.sectors {
            let range = self.maker.own_row(sector);
            let (row, rest) = packed.split_at(range.len());
            packed = rest;
            if !range.is_empty() {
                self.own.rows(range).copy_from_slice(row);
            }
        }
    }
}

/// Numbers of a block's pieces.
struct Sizes {
    /// Entries of a sector.
    sector: usize,
    /// Entries of the sectors that share normalisation groups.
    group: usize,
    /// Entries of one normalisation group.
    row: usize,
}

impl Sizes {
    fn of(block: &Block) -> Self {
        let sector = (block.rows * block.cols) as usize;
        let span = block.span as usize;
        Sizes { sector, group: sector * span, row: block.cols as usize * span }
    }

    fn block<'a>(&self, block: &'a Block) -> param::Block<'a> {
        let shape = Shape { rows: block.rows, cols: block.cols };
        param::Block { shape, sectors: &block.sectors }
    }
}

/// The table that a leaf's look-up or density reads, from raw parameters [units, raw_len].
fn table_of(family: Family, raw: &[f32], out: &mut [f32]) {
    let units = raw.chunks_exact(family.raw_len().max(1));
    match family {
        Family::Indicators { .. } => {}
        Family::Bernoulli | Family::Categorical { .. } => {
            let states = family.states().unwrap_or(1);
            for (raw, out) in units.zip(out.chunks_exact_mut(states)) {
                discrete::probabilities(raw, out);
            }
        }
        Family::Gaussian { min_var, max_var } => {
            for (raw, out) in units.zip(out.chunks_exact_mut(3)) {
                let density = gaussian::Bounds { min_var, max_var }.density(raw);
                out[0] = density.mean;
                out[1] = 1.0 / density.var;
                out[2] = -0.5 * (std::f32::consts::TAU * density.var).ln();
            }
        }
        Family::Binomial { trials } => {
            for (raw, out) in units.zip(out.chunks_exact_mut(trials as usize + 1)) {
                for (count, out) in out.iter_mut().enumerate() {
                    *out = counts::log_binomial(f64::from(raw[0]), trials, count as f64) as f32;
                }
            }
        }
        Family::Poisson => out.copy_from_slice(raw),
    }
}

/// Writes the gradient by raw parameters, given that by the table.
fn table_back(family: Family, raw: &[f32], table: &[f32], d_table: &[f32], d_raw: &mut [f32]) {
    d_raw.fill(0.0);
    let len = family.raw_len().max(1);
    let units = raw.chunks_exact(len).zip(d_raw.chunks_exact_mut(len));
    match family {
        Family::Indicators { .. } => {}
        Family::Bernoulli | Family::Categorical { .. } => {
            let states = family.states().unwrap_or(1);
            let tables = table.chunks_exact(states).zip(d_table.chunks_exact(states));
            for ((_, d_raw), (p, d)) in units.zip(tables) {
                discrete::probabilities_backward(p, d, d_raw);
            }
        }
        Family::Gaussian { min_var, max_var } => {
            let bounds = gaussian::Bounds { min_var, max_var };
            for ((raw, d_raw), d) in units.zip(d_table.chunks_exact(3)) {
                // By the variance v: precision is 1/v, and the last number −½ ln(2π v).
                let (var, d_var) = bounds.variance(raw[1]);
                d_raw[0] = d[0];
                d_raw[1] = d_var * (-d[1] / (var * var) - d[2] / (2.0 * var));
            }
        }
        Family::Binomial { trials } => {
            for ((raw, d_raw), d) in units.zip(d_table.chunks_exact(trials as usize + 1)) {
                let slope = |count: usize| {
                    counts::log_binomial_slope(f64::from(raw[0]), trials, count as f64)
                };
                let sum: f64 =
                    d.iter().enumerate().map(|(count, &d)| f64::from(d) * slope(count)).sum();
                d_raw[0] = sum as f32;
            }
        }
        Family::Poisson => d_raw.copy_from_slice(d_table),
    }
}

/// Writes the expected statistics of each unit ([`crate::leaf::statistics`]), given its table and the
/// gradient by that; nothing where there is nothing to learn.
fn table_counts(family: Family, table: &[f32], d_table: &[f32], statistics: &mut [f32]) {
    match family {
        Family::Indicators { .. } => {}
        // The derivative by the logarithm of the rate.
        Family::Poisson => statistics.copy_from_slice(d_table),
        Family::Bernoulli | Family::Categorical { .. } => {
            let pairs = table.iter().zip(d_table);
            statistics.iter_mut().zip(pairs).for_each(|(count, (p, d))| *count = p * d);
        }
        Family::Gaussian { .. } => {
            let units = table.chunks_exact(3).zip(d_table.chunks_exact(3));
            for (out, (unit, d)) in statistics.chunks_exact_mut(3).zip(units) {
                // By mean, precision and what does not depend on the value.
                out.copy_from_slice(&[d[2], d[0] / unit[1], -2.0 * d[1]]);
            }
        }
        Family::Binomial { trials } => {
            let units = d_table.chunks_exact(trials as usize + 1);
            for (out, d) in statistics.chunks_exact_mut(2).zip(units) {
                let successes = d.iter().enumerate().map(|(count, &d)| count as f64 * f64::from(d));
                out[1] = successes.sum::<f64>() as f32;
                out[0] = d.iter().map(|&d| f64::from(d)).sum::<f64>() as f32;
            }
        }
    }
}
