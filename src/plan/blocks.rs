//! Which sectors are made together.

use super::{Block, Coefficients, Source};
use crate::ids::Id;
use crate::sector::{Maker, Parameters};

/// The most sectors of a block: enough for a network to run as one matrix product, few enough that
/// logits stay in cache.
const MOST: usize = 1024;

/// The sectors of some coefficients, joined by maker and shape, in the order of first use. Whole
/// normalisation groups stay together.
pub(super) fn blocks(parameters: &Parameters, coefficients: &[Coefficients]) -> Vec<Block> {
    let table = parameters.table();
    let mut done: Vec<Block> = Vec::new();
    let mut open: Vec<Block> = Vec::new();
    for entry in coefficients {
        let Source::Weights(weights) = entry.source else { continue };
        // Weights that rewriting appended are frozen, and no sector.
        if weights.index() >= table.layers() {
            continue;
        }
        for id in table.of_weights(weights) {
            let sector = &table.sectors()[id];
            if sector.maker == Maker::Frozen {
                continue;
            }
            let (rows, cols, span) = (sector.shape.rows, sector.shape.cols, sector.span);
            let fits = |block: &Block| {
                (block.maker, block.rows, block.cols, block.span)
                    == (sector.maker, rows, cols, span)
            };
            let at = open.iter().position(fits).unwrap_or_else(|| {
                let (maker, sectors, at) = (sector.maker, Vec::new(), Vec::new());
                open.push(Block { maker, rows, cols, span, sectors, at });
                open.len() - 1
            });
            open[at].sectors.push(sector.ordinal);
            open[at].at.push(entry.at + sector.first);
            let whole = open[at].sectors.len() % span.max(1) as usize == 0;
            if whole && open[at].sectors.len() >= MOST {
                done.push(open.remove(at));
            }
        }
    }
    done.extend(open);
    done
}
