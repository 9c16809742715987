//! A small circuit, node by node.

use super::{Block, Figure, Kind, Link, Paint, cells, words};
use crate::circuit::{Op, SourceMap, ValidCircuit};
use crate::ids::{Id, IdVec, NodeId};
use crate::sector::SectorTable;

/// A block a node, each with its name, what it is, its scope and its units.
pub(super) fn figure(circuit: &ValidCircuit, map: &SourceMap, table: &SectorTable) -> Figure {
    let mut at: IdVec<NodeId, usize> = IdVec::filled(0, circuit.node_count());
    let mut figure = Figure::default();
    for (index, &node) in circuit.order().iter().rev().enumerate() {
        at[node] = index;
        figure.blocks.push(block(circuit, map, table, node));
    }
    for &node in circuit.order().iter().rev() {
        for input in circuit.inputs(node) {
            let units = circuit.units(input);
            let label = if units > 1 { units.to_string() } else { String::new() };
            let link = Link { from: at[node], to: at[input], label, width: units.into() };
            figure.links.push(link);
        }
    }
    let coloured = figure.blocks.iter().any(|block| !block.cells.is_empty());
    if coloured {
        figure.notes.push("a colour is a sector; grey: fixed weights".into());
    }
    if figure.links.iter().any(|link| link.width > 1) {
        figure.notes.push("numbers on edges are units".into());
    }
    figure
}

fn block(circuit: &ValidCircuit, map: &SourceMap, table: &SectorTable, node: NodeId) -> Block {
    let name = words::short(map.name(node));
    let kind = kind(circuit.op(node));
    let mut lines = vec![name];
    if let Kind::Product(_) = kind {
        return Block { kind, lines, cells: Vec::new() };
    }
    let mut what = match circuit.op(node) {
        Op::Leaf { var, .. } => {
            format!("{} of {}", words::operation(circuit, node), circuit.variables().name(var))
        }
        Op::Given { value, .. } => format!("given {value}"),
        _ => words::operation(circuit, node),
    };
    let cells: Vec<Paint> = match circuit.op(node).weights() {
        Some(weights) => cells(table, weights, |sector| Some(sector.index())),
        None => Vec::new(),
    };
    if let (Some(weights), [_]) = (circuit.op(node).weights(), &cells[..]) {
        // The name of its only sector, as `--emit sectors` has it.
        if (weights.0 as usize) < table.layers() {
            what.extend(table.of_weights(weights).next().map(|sector| format!(", {sector}")));
        }
    }
    lines.push(words::short(what));
    let units = words::counted(circuit.units(node) as usize, "unit");
    lines.push(match circuit.op(node) {
        Op::Leaf { .. } | Op::Given { .. } | Op::One => units,
        _ => format!("{}, {units}", words::scope(circuit, circuit.scope(node))),
    });
    Block { kind, lines, cells }
}

/// The look of a node.
pub(super) fn kind(op: Op) -> Kind {
    match op {
        Op::Leaf { .. } | Op::Given { .. } | Op::One => Kind::Leaf,
        Op::Product => Kind::Product("×"),
        Op::Kronecker => Kind::Product("⊗"),
        Op::Sum { .. } | Op::Mixing { .. } => Kind::Sum,
    }
}
