//! Shares equal subcircuits: of two nodes of one operation over the same inputs one is kept.
//!
//! Law: f = f. A product's inputs are compared as a multiset, since multiplication commutes; those of
//! every other operation in order. Frozen weights are compared by content, learnable ones by id.
//! One loop over the nodes, inputs first, so that equal nodes over equal nodes are found as well.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::flat::{Draft, Flat, Layers};
use crate::circuit::{Node, Op};
use crate::ids::{Id, NodeId, WeightsId};

/// The circuit with every subcircuit once, and how many nodes that saved; `None` if none.
pub(super) fn share(flat: &Flat, layers: &Layers) -> Option<(Flat, usize)> {
    let ties = ties(flat, layers);
    let mut uses = flat.uses();
    let mut kept: HashMap<u64, Vec<NodeId>> = HashMap::new();
    let mut stands_for: Vec<NodeId> = Vec::with_capacity(flat.len());
    let mut equal: Vec<(NodeId, NodeId)> = Vec::new();
    let mut key = Key::default();
    let mut other = Key::default();
    for id in flat.ids() {
        stands_for.push(id);
        let tied = flat.op(id).weights().is_none_or(|w| ties[layers.first_equal(w).index()] > 1);
        let inputs = flat.inputs(id);
        // An equal node would use each of these inputs too.
        if !tied || inputs.iter().any(|input| uses[stands_for[input.index()]] < 2) {
            continue;
        }
        key.set(flat, layers, &stands_for, id);
        let alike = kept.entry(key.hash()).or_default();
        let first = alike.iter().copied().find(|&first| {
            other.set(flat, layers, &stands_for, first);
            other == key
        });
        match first {
            Some(first) => {
                stands_for[id.index()] = first;
                uses[first] += uses[id];
                equal.push((id, first));
            }
            None => alike.push(id),
        }
    }
    if equal.is_empty() {
        return None;
    }
    let mut draft = Draft::new(flat);
    for &(node, first) in &equal {
        draft.replace(node, first);
    }
    let shared = draft.finish();
    let saved = flat.len() - shared.len();
    Some((shared, saved))
}

/// How many nodes use each weight layer.
fn ties(flat: &Flat, layers: &Layers) -> Vec<u32> {
    let mut ties = vec![0u32; layers.len()];
    for weights in flat.ids().filter_map(|node| flat.op(node).weights()) {
        ties[layers.first_equal(weights).index()] += 1;
    }
    ties
}

/// What makes two nodes equal.
#[derive(Default, PartialEq)]
struct Key {
    /// A number for the operation, its parameters, and the width.
    head: [u32; 4],
    inputs: Vec<NodeId>,
}

impl Key {
    fn set(&mut self, flat: &Flat, layers: &Layers, stands_for: &[NodeId], id: NodeId) {
        let Node { op, units } = flat.node(id);
        let first = |weights: WeightsId| layers.first_equal(weights).0;
        self.head = match op {
            Op::Leaf { var, dist } => [0, var.0, dist.0, units],
            Op::Given { dist, value } => [1, value.to_bits(), dist.0, units],
            Op::One => [2, 0, 0, units],
            Op::Product => [3, 0, 0, units],
            Op::Kronecker => [4, 0, 0, units],
            Op::Sum { weights } => [5, first(weights), 0, units],
            Op::Mixing { weights } => [6, first(weights), 0, units],
        };
        self.inputs.clear();
        self.inputs.extend(flat.inputs(id).iter().map(|input| stands_for[input.index()]));
        if op == Op::Product {
            self.inputs.sort_unstable();
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.head.hash(&mut hasher);
        self.inputs.hash(&mut hasher);
        hasher.finish()
    }
}
