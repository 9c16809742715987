//! Islands: the parts of a circuit where a rule may apply, each to be given an e-graph.
//!
//! A node is *active* if some rule's shape says that the rule may apply there. Active nodes, with
//! the sums and products next to them, fall into connected parts; what lies around a part is seen as
//! holes. Large parts are cut along the order of evaluation. An island is described by a [`Pattern`]
//! of local numbers only, so that islands of one form share one e-graph: learnable weights count by
//! their shape, frozen ones by their content.
//!
//! Items of a pattern are numbered in the order of evaluation of the whole circuit. What is put in the
//! place of a node depends on items before it only; so replacing each island by itself can make no
//! cycle through others.

use super::flat::{Flat, Layers};
use super::language::{ScopeKey, Shape};
use super::rules::Rule;
use crate::circuit::Op;
use crate::ids::{IdVec, NodeId, WeightsId};

/// What an item of a pattern is. Weights are numbered within the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Hole,
    Product,
    Kronecker,
    Sum(u32),
    Mixing(u32),
}

/// A node of an island, or a hole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub kind: Kind,
    pub units: u32,
    /// Items, each before this one.
    pub inputs: Vec<u32>,
}

/// Weights of an island.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LayerForm {
    pub rows: u32,
    pub cols: u32,
    /// The first frozen layer of this content; `None` if learnable.
    pub frozen: Option<WeightsId>,
}

/// An island without the identity of its nodes and learnable weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pattern {
    pub items: Vec<Item>,
    pub layers: Vec<LayerForm>,
    /// Items that the rest of the circuit uses.
    pub outputs: Vec<u32>,
}

/// A part of a circuit.
#[derive(Debug)]
pub(super) struct Island {
    pub pattern: Pattern,
    /// The node of each item.
    pub nodes: Vec<NodeId>,
    /// The weights of each layer.
    pub weights: Vec<WeightsId>,
    /// Width and scope of each item.
    pub shapes: Vec<Shape>,
}

/// The nodes at which some rule may apply; `None` if there are none.
pub(super) fn active(
    flat: &Flat,
    layers: &Layers,
    rules: &[&'static Rule],
) -> Option<IdVec<NodeId, bool>> {
    let is_active =
        |node| is_inner(flat.op(node)) && rules.iter().any(|rule| (rule.shape)(flat, layers, node));
    let found: IdVec<NodeId, bool> = flat.ids().map(is_active).collect();
    found.values().any(|&active| active).then_some(found)
}

fn is_inner(op: Op) -> bool {
    !matches!(op, Op::Leaf { .. } | Op::Given { .. } | Op::One)
}

/// Cuts the circuit into islands of at most `most` nodes. A circuit of so few is one.
pub(super) fn islands(
    flat: &Flat,
    layers: &Layers,
    active: &IdVec<NodeId, bool>,
    most: usize,
) -> Vec<Island> {
    let whole = flat.len() <= most;
    let mut member: IdVec<NodeId, bool> =
        flat.ids().map(|node| is_inner(flat.op(node)) && (whole || active[node])).collect();
    if !whole {
        for node in flat.ids() {
            for &input in flat.inputs(node) {
                member[node] |= active[input];
                member[input] |= active[node] && is_inner(flat.op(input));
            }
        }
    }
    let scopes = scope_keys(flat);
    let uses = flat.uses();
    let cut = |part: Vec<NodeId>| part.chunks(most.max(1)).map(<[_]>::to_vec).collect::<Vec<_>>();
    let parts = if whole {
        vec![flat.ids().filter(|&node| member[node]).collect()]
    } else {
        components(flat, &member).into_iter().flat_map(cut).collect()
    };
    let mut place = IdVec::filled(u32::MAX, flat.len());
    parts
        .iter()
        .filter(|part: &&Vec<NodeId>| part.iter().any(|&node| active[node]))
        .map(|part| describe(flat, layers, &scopes, &uses, &mut place, part))
        .collect()
}

/// The connected parts of the members, each ascending, in the order of their first nodes.
fn components(flat: &Flat, member: &IdVec<NodeId, bool>) -> Vec<Vec<NodeId>> {
    let mut sets = petgraph::unionfind::UnionFind::<u32>::new(flat.len());
    for node in flat.ids().filter(|&node| member[node]) {
        for &input in flat.inputs(node).iter().filter(|&&input| member[input]) {
            sets.union(node.0, input.0);
        }
    }
    let mut part_of = IdVec::<NodeId, usize>::filled(usize::MAX, flat.len());
    let mut parts: Vec<Vec<NodeId>> = Vec::new();
    for node in flat.ids().filter(|&node| member[node]) {
        let representative = NodeId(sets.find_mut(node.0));
        if part_of[representative] == usize::MAX {
            part_of[representative] = parts.len();
            parts.push(Vec::new());
        }
        parts[part_of[representative]].push(node);
    }
    parts
}

fn scope_keys(flat: &Flat) -> IdVec<NodeId, ScopeKey> {
    let mut keys = IdVec::<NodeId, ScopeKey>::filled(ScopeKey::default(), flat.len());
    for node in flat.ids() {
        let below = flat.inputs(node).iter().map(|&input| keys[input]);
        keys[node] = match flat.op(node) {
            Op::Leaf { var, .. } => ScopeKey::singleton(var),
            Op::Given { .. } | Op::One => ScopeKey::default(),
            Op::Product | Op::Kronecker => {
                below.fold(ScopeKey::default(), ScopeKey::disjoint_union)
            }
            Op::Sum { .. } | Op::Mixing { .. } => below.take(1).next().unwrap_or_default(),
        };
    }
    keys
}

/// The island of some nodes, ascending. `place` is scratch: all `u32::MAX`, before and after.
fn describe(
    flat: &Flat,
    layers: &Layers,
    scopes: &IdVec<NodeId, ScopeKey>,
    uses: &IdVec<NodeId, u32>,
    place: &mut IdVec<NodeId, u32>,
    part: &[NodeId],
) -> Island {
    const INSIDE: u32 = u32::MAX - 1;
    let mut nodes = part.to_vec();
    part.iter().for_each(|&node| place[node] = INSIDE);
    for &node in part {
        for &input in flat.inputs(node) {
            if place[input] == u32::MAX {
                place[input] = 0;
                nodes.push(input);
            }
        }
    }
    nodes.sort_unstable();
    let mut weights: Vec<WeightsId> = Vec::new();
    let mut number = |id: WeightsId| match weights.iter().position(|&other| other == id) {
        Some(known) => known as u32,
        None => {
            weights.push(id);
            weights.len() as u32 - 1
        }
    };
    let mut used_inside = vec![0u32; nodes.len()];
    let mut items: Vec<Item> = Vec::with_capacity(nodes.len());
    for (index, &node) in nodes.iter().enumerate() {
        let units = flat.units(node);
        let inside = std::mem::replace(&mut place[node], index as u32) == INSIDE;
        let kind = match flat.op(node) {
            Op::Product if inside => Kind::Product,
            Op::Kronecker if inside => Kind::Kronecker,
            Op::Sum { weights } if inside => Kind::Sum(number(weights)),
            Op::Mixing { weights } if inside => Kind::Mixing(number(weights)),
            _ => Kind::Hole,
        };
        let mut inputs = Vec::new();
        if kind != Kind::Hole {
            inputs.extend(flat.inputs(node).iter().map(|&input| place[input]));
            inputs.iter().for_each(|&input| used_inside[input as usize] += 1);
        }
        items.push(Item { kind, units, inputs });
    }
    let is_output =
        |&index: &usize| items[index].kind != Kind::Hole && uses[nodes[index]] > used_inside[index];
    let outputs = (0..nodes.len()).filter(is_output).map(|index| index as u32).collect();
    nodes.iter().for_each(|&node| place[node] = u32::MAX);
    let form = |&id: &WeightsId| LayerForm {
        rows: layers.get(id).rows,
        cols: layers.get(id).cols,
        frozen: layers.frozen(id).map(|_| layers.first_equal(id)),
    };
    let layers = weights.iter().map(form).collect();
    let shape = |&node: &NodeId| Shape { units: flat.units(node), scope: scopes[node] };
    let shapes = nodes.iter().map(shape).collect();
    Island { pattern: Pattern { items, layers, outputs }, nodes, weights, shapes }
}
