//! Which sectors are made together.

use super::{Block, Coefficients, Group, LANES, Making, Part, Source};
use crate::ids::{Id, WeightsId};
use crate::sector::{Maker, MakerBinding, Parameters, Sector};

/// The most sectors of a block: enough for a network to run as one matrix product, few enough that
/// logits stay in cache.
const MOST: usize = 1024;

/// Sectors that a group should have at least of each class, to fill the lanes of a network.
const ENOUGH: usize = 256;
/// The most groups, so that work is left for several threads where parts are small.
const LEAST_GROUPS: usize = 4;

/// Groups of parts, the head by itself. Within a group sectors are joined by maker and shape, in the
/// order of first use; whole normalisation groups stay together.
pub(super) fn groups(parameters: &Parameters, parts: &[Part]) -> Vec<Group> {
    let below = parts.len() - 1;
    let of_part = |part: &Part| {
        let layers = part.coefficients.iter().filter(|entry| layer(parameters, entry).is_some());
        layers.count()
    };
    let mut groups = Vec::new();
    let mut first = 0;
    let mut layers = 0;
    for number in 0..below {
        layers += of_part(&parts[number]);
        let parts_so_far = number + 1 - first;
        let full = layers >= 2 * ENOUGH || parts_so_far * LEAST_GROUPS >= below;
        if full || number + 1 == below {
            groups.push(group(parameters, parts, first, number + 1));
            (first, layers) = (number + 1, 0);
        }
    }
    groups.push(group(parameters, parts, below, below + 1));
    groups
}

/// Groups of segments: neighbours that import nothing until there are enough sectors, others by
/// themselves.
pub(super) fn groups_of_segments(parameters: &Parameters, parts: &[Part]) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut first = 0;
    let mut layers = 0;
    for (number, part) in parts.iter().enumerate() {
        let own = part.coefficients.iter().filter(|entry| layer(parameters, entry).is_some());
        layers += own.count();
        let next = parts.get(number + 1);
        let alone = |part: &Part| !part.imports.is_empty();
        let ends = layers >= 2 * ENOUGH || number + 2 >= parts.len();
        if ends || alone(part) || next.is_none_or(alone) {
            groups.push(group(parameters, parts, first, number + 1));
            (first, layers) = (number + 1, 0);
        }
    }
    groups
}

/// The weight layer of some coefficients, if a parameterizer may make it. Weights that rewriting
/// appended are frozen, and no sector.
fn layer(parameters: &Parameters, entry: &Coefficients) -> Option<WeightsId> {
    match entry.source {
        Source::Weights(id) if id.index() < parameters.table().layers() => Some(id),
        _ => None,
    }
}

fn group(parameters: &Parameters, parts: &[Part], first: usize, end: usize) -> Group {
    let table = parameters.table();
    let mut done: Vec<Block> = Vec::new();
    let mut open: Vec<Block> = Vec::new();
    for (number, part) in parts.iter().enumerate().take(end).skip(first) {
        for entry in &part.coefficients {
            let Some(weights) = layer(parameters, entry) else { continue };
            for id in table.of_weights(weights) {
                let sector = &table.sectors()[id];
                if sector.maker == Maker::Frozen {
                    continue;
                }
                let block = open_block(&mut open, sector);
                block.sectors.push(sector.ordinal);
                let place = entry.at - part.first_coefficient + sector.first;
                block.at.push((number as u32, place as u32));
                let whole = block.sectors.len().is_multiple_of(sector.span.max(1) as usize);
                if whole && block.sectors.len() >= MOST {
                    done.push(std::mem::replace(block, empty(sector)));
                }
            }
        }
    }
    done.extend(open.into_iter().filter(|block| !block.sectors.is_empty()));
    Group { parts: (first as u32, end as u32), blocks: done }
}

fn empty(sector: &Sector) -> Block {
    let Sector { maker, span, shape, .. } = *sector;
    let (sectors, at) = (Vec::new(), Vec::new());
    Block { maker, rows: shape.rows, cols: shape.cols, span, sectors, at }
}

/// The open block of a sector's class.
fn open_block<'a>(open: &'a mut Vec<Block>, sector: &Sector) -> &'a mut Block {
    let Sector { maker, span, shape, .. } = *sector;
    let class = (maker, shape.rows, shape.cols, span);
    let fits = |block: &Block| (block.maker, block.rows, block.cols, block.span) == class;
    let at = open.iter().position(fits).unwrap_or_else(|| {
        open.push(empty(sector));
        open.len() - 1
    });
    &mut open[at]
}

/// What making the largest blocks takes, and what all of them learn.
pub(super) fn making(parameters: &Parameters, groups: &[Group]) -> Making {
    let shared = parameters.makers().iter().map(|maker| maker.shared.len()).sum();
    let learned = learned(parameters, groups);
    let mut most = Making { shared, learned, ..Making::default() };
    for block in groups.iter().flat_map(|group| &group.blocks) {
        let Some(maker) = parameters.maker(block.maker) else { continue };
        let len = block.rows as usize * block.cols as usize;
        let own = block.sectors.iter().map(|&sector| maker.own_row(sector).len()).sum();
        most.tile = most.tile.max(block.tile());
        let in_tiles = maker.bound.single.on_tiles().is_some();
        let to = if in_tiles { LANES } else { 1 };
        most.logits = most.logits.max(block.sectors.len().next_multiple_of(to) * len);
        most.own = most.own.max(own);
        most.work = most.work.max(maker.bound.single.scratch(block.sectors.len()));
    }
    most
}

/// Numbers of the logits of all blocks in whole tiles, if these are all that is learned; else zero.
fn learned(parameters: &Parameters, groups: &[Group]) -> usize {
    let (mut logits, mut in_tiles) = (0, 0);
    for block in groups.iter().flat_map(|group| &group.blocks) {
        if !parameters.maker(block.maker).is_some_and(MakerBinding::is_direct) {
            return 0;
        }
        let len = block.rows as usize * block.cols as usize;
        logits += block.sectors.len() * len;
        in_tiles += block.tiles() * block.tile();
    }
    if logits == parameters.learnable() { in_tiles } else { 0 }
}
