//! A circuit as its levels: what each holds, and how many edges lead from one to the next.
//!
//! A node's level is the length of the longest way from the root to it. Where there are more levels
//! than a figure has room for, neighbours share a block.

use std::collections::BTreeMap;

use super::{Block, Figure, Kind, Link, words};
use crate::circuit::ValidCircuit;
use crate::ids::{IdVec, NodeId};

/// Blocks at most.
const MOST_BLOCKS: usize = 24;
/// Kinds of nodes that a block names at most.
const MOST_KINDS: usize = 6;

/// What neighbouring levels hold.
#[derive(Default)]
struct Band {
    /// Nodes by what they are and how many units they have: one of them, and how many there are.
    kinds: BTreeMap<(String, u32), (NodeId, usize)>,
    /// Fewest and most variables of a node.
    variables: Option<(usize, usize)>,
    /// Edges to nodes of the next band, and to those further down.
    next: usize,
    further: usize,
    /// Units that the edges to the next band carry.
    width: u64,
}

/// A block a band of levels.
pub(super) fn figure(circuit: &ValidCircuit) -> Figure {
    let (level, count) = levels(circuit);
    let each = count.div_ceil(MOST_BLOCKS);
    let mut bands: Vec<Band> = Vec::new();
    bands.resize_with(count.div_ceil(each), Band::default);
    for &node in circuit.order() {
        let at = level[node] / each;
        let band = &mut bands[at];
        let kind = (words::operation(circuit, node), circuit.units(node));
        band.kinds.entry(kind).or_insert((node, 0)).1 += 1;
        let size = circuit.scopes().size(circuit.scope(node));
        let (fewest, most) = band.variables.unwrap_or((size, size));
        band.variables = Some((fewest.min(size), most.max(size)));
        for input in circuit.inputs(node) {
            match level[input] / each - at {
                0 => {}
                1 => {
                    band.next += 1;
                    band.width += u64::from(circuit.units(input));
                }
                _ => band.further += 1,
            }
        }
    }
    let mut figure = Figure::default();
    for (at, band) in bands.iter().enumerate() {
        let levels = at * each..count.min((at + 1) * each);
        figure.blocks.push(block(circuit, band, levels));
        if at + 1 < bands.len() {
            let label = words::counted(band.next, "edge");
            figure.links.push(Link { from: at, to: at + 1, label, width: band.width });
        }
    }
    let note = "level by level: too many different subcircuits to draw each";
    figure.notes.push(note.into());
    figure
}

/// The level of each node, and how many levels there are.
fn levels(circuit: &ValidCircuit) -> (IdVec<NodeId, usize>, usize) {
    let mut level = IdVec::filled(0, circuit.node_count());
    let mut count = 0;
    for &node in circuit.order().iter().rev() {
        count = count.max(level[node] + 1);
        for input in circuit.inputs(node) {
            level[input] = level[input].max(level[node] + 1);
        }
    }
    (level, count)
}

fn block(circuit: &ValidCircuit, band: &Band, levels: std::ops::Range<usize>) -> Block {
    let title = match levels.len() {
        1 => format!("level {}", levels.start),
        _ => format!("levels {} to {}", levels.start, levels.end - 1),
    };
    let mut lines = vec![title];
    let mut kinds: Vec<(NodeId, usize)> = band.kinds.values().copied().collect();
    // Equal numbers stay in the order of their words.
    kinds.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let (named, others) = kinds.split_at(kinds.len().min(MOST_KINDS));
    for &(node, count) in named {
        let units = words::counted(circuit.units(node) as usize, "unit");
        lines.push(format!("{}, {units}", words::several(circuit, node, count)));
    }
    if !others.is_empty() {
        let nodes = others.iter().map(|(_, count)| count).sum();
        lines.push(format!("… {} of other kinds", words::counted(nodes, "node")));
    }
    lines.push(match band.variables {
        Some((fewest, most)) if fewest < most => {
            format!("over {} to {}", words::grouped(fewest), words::counted(most, "variable"))
        }
        Some((size, _)) => format!("over {}", words::counted(size, "variable")),
        None => String::new(),
    });
    if band.further > 0 {
        lines.push(format!("{} further down", words::counted(band.further, "edge")));
    }
    Block { kind: Kind::Level, lines, cells: Vec::new() }
}
