//! Cuts a circuit into segments: small subcircuits that hand one value on, each run by itself.
//!
//! A node is *closed* if whatever lies below it is read from below it alone, and so are the weights
//! and learnable leaves there. In the depth-first order the nodes below a closed one lie side by
//! side, so what is above a node, below it or beside it is a comparison of positions. From the leaves
//! up, each closed sum under which enough has gathered becomes a segment, and to what is above it is
//! one node that is imported. A balanced tree of n regions so falls into n/s segments of s regions,
//! and these into n/s² above them, and so on to the head; what cannot be cut stays whole.

use std::collections::HashMap;

use super::parts::{Component, is_input_free};
use crate::circuit::{Op, ValidCircuit};
use crate::ids::{DistId, Id, IdVec, NodeId, WeightsId};

/// The segments of at least `size` nodes each, each after those that it imports; the last is the head.
pub(super) fn segments(circuit: &ValidCircuit, size: usize) -> Vec<Component> {
    let order = circuit.order();
    let reach = Reach::of(circuit);
    let mut segments = Vec::new();
    // Nodes of no segment yet, and where each stands in the order.
    let mut open: Vec<(u32, NodeId)> = Vec::new();
    let mut readers = Latest::default();
    for (at, &node) in order.iter().enumerate() {
        let at = at as u32;
        if !is_input_free(circuit, node) {
            open.push((at, node));
        }
        let low = reach.lowest[at as usize];
        let first = open.partition_point(|&(place, _)| place < low);
        let may_be_cut = matches!(circuit.op(node), Op::Sum { .. } | Op::Mixing { .. });
        let is_closed = || readers.since(low) <= at && reach.ties[at as usize] <= at;
        if may_be_cut && node != circuit.root() && open.len() - first >= size && is_closed() {
            let nodes = open.drain(first..).map(|(_, node)| node).collect();
            segments.push(Component { outputs: vec![node], nodes });
        }
        readers.push(at, reach.readers[at as usize].max(reach.ties[at as usize]));
    }
    let nodes = open.into_iter().map(|(_, node)| node).collect();
    segments.push(Component { outputs: vec![circuit.root()], nodes });
    segments
}

/// How far up and down the order each node reaches, by its place there. Nodes without inputs belong to
/// whoever reads them, and reach nowhere.
struct Reach {
    /// The first place that is below a node, or shares something learnable with what is.
    lowest: Vec<u32>,
    /// The last reader.
    readers: Vec<u32>,
    /// The last node with the same weights, or that reads the same learnable leaf.
    ties: Vec<u32>,
}

/// The first and the last place where something is used.
type Uses<I> = HashMap<I, (u32, u32)>;

impl Reach {
    fn of(circuit: &ValidCircuit) -> Self {
        let order = circuit.order();
        let mut place = IdVec::filled(0u32, circuit.node_count());
        order.iter().enumerate().for_each(|(at, &node)| place[node] = at as u32);
        let (weights, leaves) = ties(circuit);
        let mut reach = Reach {
            lowest: (0..order.len() as u32).collect(),
            readers: vec![0; order.len()],
            ties: vec![0; order.len()],
        };
        for (at, &node) in order.iter().enumerate() {
            let mut tie = |&(first, last): &(u32, u32)| {
                reach.lowest[at] = reach.lowest[at].min(first);
                reach.ties[at] = reach.ties[at].max(last);
            };
            circuit
                .op(node)
                .weights()
                .and_then(|id| weights.get(&id))
                .into_iter()
                .for_each(&mut tie);
            let dists = circuit.inputs(node).filter_map(|input| learnable(circuit, input));
            dists.filter_map(|dist| leaves.get(&dist)).for_each(&mut tie);
            for input in circuit.inputs(node).filter(|&input| !is_input_free(circuit, input)) {
                let below = place[input] as usize;
                reach.lowest[at] = reach.lowest[at].min(reach.lowest[below]);
                reach.readers[below] = reach.readers[below].max(at as u32);
            }
        }
        reach
    }
}

/// The learnable distribution of a leaf.
fn learnable(circuit: &ValidCircuit, node: NodeId) -> Option<DistId> {
    match circuit.op(node) {
        Op::Leaf { dist, .. } | Op::Given { dist, .. } => {
            (circuit.dists()[dist].learnable_len() > 0).then_some(dist)
        }
        _ => None,
    }
}

/// Weights and learnable distributions that are used at several places.
fn ties(circuit: &ValidCircuit) -> (Uses<WeightsId>, Uses<DistId>) {
    let mut weights = vec![u32::MAX; circuit.weights().len()];
    let mut dists = vec![u32::MAX; circuit.dists().len()];
    let (mut tied_weights, mut tied_dists) = (HashMap::new(), HashMap::new());
    for (at, &node) in circuit.order().iter().enumerate() {
        let at = at as u32;
        if let Some(id) = circuit.op(node).weights() {
            note(&mut weights, &mut tied_weights, id, at);
        }
        for dist in circuit.inputs(node).filter_map(|input| learnable(circuit, input)) {
            note(&mut dists, &mut tied_dists, dist, at);
        }
    }
    (tied_weights, tied_dists)
}

fn note<I: Id>(first: &mut [u32], tied: &mut Uses<I>, id: I, at: u32) {
    match first[id.index()] {
        u32::MAX => first[id.index()] = at,
        first if first == at => {}
        first => tied.entry(id).or_insert((first, at)).1 = at,
    }
}

/// The greatest number of the last places: only what no later place exceeds is kept.
#[derive(Default)]
struct Latest {
    kept: Vec<(u32, u32)>,
}

impl Latest {
    fn push(&mut self, at: u32, number: u32) {
        while self.kept.last().is_some_and(|&(_, last)| last <= number) {
            self.kept.pop();
        }
        self.kept.push((at, number));
    }

    /// The greatest number from a place on; zero if there is none.
    fn since(&self, low: u32) -> u32 {
        let first = self.kept.partition_point(|&(at, _)| at < low);
        self.kept.get(first).map_or(0, |&(_, number)| number)
    }
}
