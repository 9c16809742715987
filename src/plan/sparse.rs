//! Finds what is irregular and frozen, and groups it into blocks.
//!
//! An imported circuit has tens of thousands of single sums and products where a RAT-SPN has a layer.
//! A step for each of them would spend its time on beginnings and ends. But those of one scope that
//! split it the same way (the decision nodes of one vtree node of a PSDD) read units of the same two
//! values, so they become one value with a unit each, made by one step:
//!
//! ```text
//! unit k  =  Σₜ wₜ · left[iₜ] · right[jₜ]
//! ```
//! A product is a unit of one term without a weight, and has a place only if something else than the
//! sums of its block reads it. Left and right are what the nodes of the two smaller scopes became:
//! mostly one block each, or leaves. A block reads smaller scopes only, so blocks never wait for each
//! other. Nothing of it is learned: the step has no way back.

use std::collections::HashMap;

use crate::circuit::{Op, ValidCircuit, WeightSource};
use crate::ids::{IdVec, NodeId, ScopeId, WeightsId};
use crate::scope::Scopes;

/// Terms in all from which it pays to look for blocks: small circuits stay readable as they are.
const FEWEST_TERMS: usize = 64;

/// A product of two scalars, with a weight or without.
pub(super) struct Pair {
    pub(super) left: NodeId,
    pub(super) right: NodeId,
    /// A weight layer and a place in it.
    pub(super) weight: Option<(WeightsId, u32)>,
}

/// Nodes of one scope that split it one way.
pub(super) struct Block {
    /// The terms of each unit.
    pub(super) units: Vec<Vec<Pair>>,
    /// The nodes that terms read on the left, distinct, in the order of first use.
    pub(super) left: Vec<NodeId>,
    /// The same on the right.
    pub(super) right: Vec<NodeId>,
}

/// The blocks of a circuit.
#[derive(Default)]
pub(super) struct Blocks {
    pub(super) blocks: Vec<Block>,
    of: HashMap<NodeId, (u32, u32)>,
}

impl Blocks {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The block that makes a node, and which unit of it the node is.
    pub(super) fn place(&self, node: NodeId) -> Option<(u32, u32)> {
        self.of.get(&node).copied()
    }
}

/// How a product splits its scope, the smaller id first.
type Split = (ScopeId, ScopeId);

/// What splits a scope one way, in the circuit's order.
#[derive(Default)]
struct Members {
    pairs: Vec<NodeId>,
    sums: Vec<NodeId>,
}

/// Groups what can be grouped.
pub(super) fn find(circuit: &ValidCircuit) -> Blocks {
    let finder = Finder::new(circuit);
    let mut members: Vec<(Split, Members)> = Vec::new();
    let mut number = HashMap::new();
    for &node in circuit.order() {
        let Some(split) = finder.split[node] else { continue };
        let at = *number.entry(split).or_insert_with(|| {
            members.push((split, Members::default()));
            members.len() - 1
        });
        match circuit.op(node) {
            Op::Product => members[at].1.pairs.push(node),
            _ => members[at].1.sums.push(node),
        }
    }
    let terms: usize = members.iter().map(|(_, members)| members.pairs.len()).sum();
    if terms < FEWEST_TERMS {
        return Blocks::default();
    }
    // What a block reads is decided before it.
    let size = |scope| circuit.scopes().size(scope);
    members.sort_by_key(|&((a, b), _)| size(a) + size(b));
    let mut blocks = Blocks::default();
    for (split, members) in members {
        let (block, nodes) = finder.block(split, &members);
        if block.units.is_empty()
            || !finder.is_one_side(&block.left, &blocks)
            || !finder.is_one_side(&block.right, &blocks)
        {
            continue;
        }
        let index = blocks.blocks.len() as u32;
        blocks.of.extend(nodes.into_iter().zip(0..).map(|(node, unit)| (node, (index, unit))));
        blocks.blocks.push(block);
    }
    blocks
}

struct Finder<'a> {
    circuit: &'a ValidCircuit,
    /// How each node splits its scope, if it may be part of a block.
    split: IdVec<NodeId, Option<Split>>,
}

impl<'a> Finder<'a> {
    fn new(circuit: &'a ValidCircuit) -> Self {
        let mut frozen = IdVec::filled(false, circuit.node_count());
        let mut split: IdVec<NodeId, Option<Split>> = IdVec::filled(None, circuit.node_count());
        for &node in circuit.order() {
            let below = circuit.inputs(node).all(|input| frozen[input]);
            let own = match circuit.op(node) {
                Op::Leaf { dist, .. } | Op::Given { dist, .. } => {
                    circuit.dists()[dist].learnable_len() == 0
                }
                Op::Sum { weights } | Op::Mixing { weights } => {
                    matches!(circuit.weights()[weights].source, WeightSource::Frozen(_))
                }
                Op::One | Op::Product | Op::Kronecker => true,
            };
            frozen[node] = below && own;
            if frozen[node] && circuit.units(node) == 1 {
                split[node] = match circuit.op(node) {
                    Op::Product => {
                        pair_of(circuit, node).map(|(a, b)| (circuit.scope(a), circuit.scope(b)))
                    }
                    Op::Sum { .. } | Op::Mixing { .. } => common(circuit, node, &split),
                    _ => None,
                };
            }
        }
        Finder { circuit, split }
    }

    /// The block of some members, and the node that each of its units is.
    fn block(&self, split: Split, members: &Members) -> (Block, Vec<NodeId>) {
        let circuit = self.circuit;
        let (mut units, mut nodes) = (Vec::new(), Vec::new());
        let pair = |node, weight| {
            let (left, right) = pair_of(circuit, node)?;
            Some(Pair { left, right, weight })
        };
        for &node in &members.pairs {
            let inside = |&parent: &NodeId| {
                self.split[parent] == Some(split) && circuit.op(parent) != Op::Product
            };
            if node == circuit.root() || !circuit.parents(node).all(|parent| inside(&parent)) {
                units.push(pair(node, None).into_iter().collect());
                nodes.push(node);
            }
        }
        for &node in &members.sums {
            let Some(weights) = circuit.op(node).weights() else { continue };
            let inputs = circuit.inputs(node).zip(0..);
            let terms = inputs.filter_map(|(input, col)| pair(input, Some((weights, col))));
            units.push(terms.collect());
            nodes.push(node);
        }
        let mut block = Block { units, left: Vec::new(), right: Vec::new() };
        let mut seen = std::collections::HashSet::new();
        for term in block.units.iter().flatten() {
            if seen.insert(term.left) {
                block.left.push(term.left);
            }
            if seen.insert(term.right) {
                block.right.push(term.right);
            }
        }
        (block, nodes)
    }

    /// Whether nodes have one exponent between them: units of one block, tables of leaves, or a
    /// single node.
    fn is_one_side(&self, nodes: &[NodeId], blocks: &Blocks) -> bool {
        let [first, rest @ ..] = nodes else { return false };
        if rest.is_empty() {
            return true;
        }
        match blocks.place(*first) {
            Some((block, _)) => {
                rest.iter().all(|&node| blocks.place(node).is_some_and(|(of, _)| of == block))
            }
            None => nodes.iter().all(|&node| self.is_table(node)),
        }
    }

    fn is_table(&self, node: NodeId) -> bool {
        match self.circuit.op(node) {
            Op::Leaf { dist, .. } | Op::Given { dist, .. } => {
                self.circuit.dists()[dist].family.states().is_some()
            }
            _ => false,
        }
    }
}

/// The two scalars that a product multiplies, ordered by their scopes.
fn pair_of(circuit: &ValidCircuit, node: NodeId) -> Option<(NodeId, NodeId)> {
    let mut inputs = circuit.inputs(node);
    let (Some(a), Some(b), None) = (inputs.next(), inputs.next(), inputs.next()) else {
        return None;
    };
    let empty = circuit.scope(a) == Scopes::EMPTY || circuit.scope(b) == Scopes::EMPTY;
    let (a, b) = if circuit.scope(a) <= circuit.scope(b) { (a, b) } else { (b, a) };
    (!empty && circuit.units(a) == 1 && circuit.units(b) == 1).then_some((a, b))
}

/// The split that all inputs of a sum have, if they are products.
fn common(
    circuit: &ValidCircuit,
    node: NodeId,
    split: &IdVec<NodeId, Option<Split>>,
) -> Option<Split> {
    let mut inputs = circuit.inputs(node);
    let is_pair = |input: NodeId| circuit.op(input) == Op::Product;
    let first = inputs.next().filter(|&first| is_pair(first)).and_then(|first| split[first])?;
    inputs.all(|input| is_pair(input) && split[input] == Some(first)).then_some(first)
}
