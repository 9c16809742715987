//! A circuit with its equal subcircuits drawn once.
//!
//! Two nodes are alike when they are the same operation with as many units over as many variables,
//! their sectors have the same shapes and maker, and their inputs are alike. Which variables, and
//! which numbers, makes no difference. So the replicas of a RAT-SPN are one, and each level of them.

use std::collections::{BTreeMap, HashMap};

use super::{Block, Figure, Kind, Link, Paint, cells, whole, words};
use crate::circuit::{Op, ValidCircuit};
use crate::ids::{IdVec, NodeId, SectorId};
use crate::param::Shape;
use crate::sector::{Maker, SectorTable};

/// Classes that are drawn at most.
const MOST_CLASSES: usize = 40;

/// What is the same of two nodes that are alike.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    operation: Operation,
    units: u32,
    variables: usize,
    /// Number of the kind of its sectors; `None` for fixed weights and no weights.
    sectors: Option<usize>,
    /// Classes of the inputs, ascending, and how many inputs are of each.
    inputs: Vec<(u32, u32)>,
}

#[derive(PartialEq, Eq, Hash)]
enum Operation {
    Leaf { tensor: String, frozen: bool },
    Given,
    One,
    Product,
    Kronecker,
    Sum,
    Mixing,
}

/// Nodes that are alike.
struct Class {
    /// One of them.
    node: NodeId,
    count: usize,
    inputs: Vec<(u32, u32)>,
}

/// A block a class. `None` if there are too many classes.
pub(super) fn figure(circuit: &ValidCircuit, table: &SectorTable) -> Option<Figure> {
    let kinds = SectorKinds::of(table);
    let classes = classes(circuit, table, &kinds)?;
    // A node comes after its inputs, and so does its class: the last is the root's.
    let last = classes.len() - 1;
    let mut figure = Figure::default();
    for (index, class) in classes.iter().rev().enumerate() {
        figure.blocks.push(block(circuit, table, &kinds, class));
        for &(input, count) in &class.inputs {
            let to = last - input as usize;
            let units = circuit.units(classes[input as usize].node);
            let label = match count {
                1 => units.to_string(),
                count => format!("{} × {units}", words::grouped(count as usize)),
            };
            let width = u64::from(units) * u64::from(count);
            figure.links.push(Link { from: index, to, label, width });
        }
    }
    let notes = [
        "equal subcircuits are drawn once, with their number",
        "on edges: inputs × units; a colour is a shape of sectors, grey: fixed weights",
    ];
    figure.notes.extend(notes.map(String::from));
    figure.legend = kinds.legend();
    Some(figure)
}

/// The classes, those of inputs before those of what reads them. `None` if there are too many.
fn classes(circuit: &ValidCircuit, table: &SectorTable, kinds: &SectorKinds) -> Option<Vec<Class>> {
    let mut class_of: IdVec<NodeId, u32> = IdVec::filled(0, circuit.node_count());
    let mut known: HashMap<Likeness, u32> = HashMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for &node in circuit.order() {
        let mut inputs: Vec<u32> = circuit.inputs(node).map(|input| class_of[input]).collect();
        inputs.sort_unstable();
        let alike = inputs.chunk_by(|a, b| a == b);
        let inputs: Vec<(u32, u32)> = alike.map(|run| (run[0], run.len() as u32)).collect();
        let new = classes.len() as u32;
        let likeness = likeness(circuit, table, kinds, node, inputs.clone());
        class_of[node] = *known.entry(likeness).or_insert(new);
        if class_of[node] == new {
            classes.push(Class { node, count: 0, inputs });
        }
        classes[class_of[node] as usize].count += 1;
        if classes.len() > MOST_CLASSES {
            return None;
        }
    }
    Some(classes)
}

fn likeness(
    circuit: &ValidCircuit,
    table: &SectorTable,
    kinds: &SectorKinds,
    node: NodeId,
    inputs: Vec<(u32, u32)>,
) -> Likeness {
    let op = circuit.op(node);
    let operation = match op {
        Op::Leaf { dist, .. } => {
            let dist = &circuit.dists()[dist];
            Operation::Leaf { tensor: dist.family.tensor_name(), frozen: dist.frozen }
        }
        Op::Given { .. } => Operation::Given,
        Op::One => Operation::One,
        Op::Product => Operation::Product,
        Op::Kronecker => Operation::Kronecker,
        Op::Sum { .. } => Operation::Sum,
        Op::Mixing { .. } => Operation::Mixing,
    };
    let known = |weights: &crate::ids::WeightsId| (weights.0 as usize) < table.layers();
    let sectors = op
        .weights()
        .filter(known)
        .and_then(|weights| kinds.number(table, table.of_weights(weights).next()?));
    let variables = circuit.scopes().size(circuit.scope(node));
    Likeness { operation, units: circuit.units(node), variables, sectors, inputs }
}

fn block(circuit: &ValidCircuit, table: &SectorTable, kinds: &SectorKinds, class: &Class) -> Block {
    let node = class.node;
    let kind = whole::kind(circuit.op(node));
    if let Kind::Product(_) = kind {
        let lines = match class.count {
            1 => Vec::new(),
            count => vec![format!("{} of them", words::grouped(count))],
        };
        return Block { kind, lines, cells: Vec::new() };
    }
    let first = words::several(circuit, node, class.count);
    let variables = match circuit.scopes().size(circuit.scope(node)) {
        size if size == circuit.variables().len() => "all variables".to_string(),
        size => words::counted(size, "variable"),
    };
    let units = words::counted(circuit.units(node) as usize, "unit");
    let cells = match circuit.op(node).weights() {
        Some(weights) => cells(table, weights, |sector| kinds.number(table, sector)),
        None => Vec::new(),
    };
    Block { kind, lines: vec![first, format!("{variables}, {units}")], cells }
}

/// The kinds of sectors that something makes: each with its number, in the order of the table, and
/// how many there are.
#[derive(Default)]
struct SectorKinds(BTreeMap<(Maker, Shape), (usize, usize)>);

impl SectorKinds {
    fn of(table: &SectorTable) -> Self {
        let mut kinds = SectorKinds::default();
        for sector in table.sectors().values().filter(|sector| sector.maker != Maker::Frozen) {
            let next = kinds.0.len();
            kinds.0.entry((sector.maker, sector.shape)).or_insert((next, 0)).1 += 1;
        }
        kinds
    }

    /// `None` for a fixed sector.
    fn number(&self, table: &SectorTable, sector: SectorId) -> Option<usize> {
        let sector = table.sectors()[sector];
        self.0.get(&(sector.maker, sector.shape)).map(|&(number, _)| number)
    }

    fn legend(&self) -> Vec<(Paint, String)> {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, (number, _))| *number);
        let line = |((maker, shape), (number, count)): (&(Maker, Shape), &(usize, usize))| {
            let sectors = words::counted(*count, "sector");
            (Paint::Colour(*number), format!("{sectors} {shape}, {maker}"))
        };
        kinds.into_iter().map(line).collect()
    }
}
