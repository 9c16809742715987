//! Cuts a circuit into parts and a head: the head is the root alone, or with the chain of nodes of
//! one input above; parts are what its inputs reach, joined where they share a node or a learnable
//! number.

use std::collections::HashMap;

use crate::circuit::{Op, ValidCircuit};
use crate::ids::{Id, IdVec, NodeId};

/// The most parts: beyond it, neighbouring components are joined.
const MOST: usize = 256;

/// One part: the nodes the head reads from it, and all of its nodes, in the circuit's order.
pub(super) struct Component {
    pub(super) outputs: Vec<NodeId>,
    pub(super) nodes: Vec<NodeId>,
}

/// The components below the root. Empty where the root is a leaf.
pub(super) fn components(circuit: &ValidCircuit) -> Vec<Component> {
    let root = circuit.root();
    if root_is_tied(circuit) {
        return Vec::new();
    }
    let mut sets = Sets { parent: circuit.nodes().collect() };
    join_shared(circuit, &mut sets);
    let mut inputs: Vec<NodeId> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    inputs.extend(circuit.inputs(root).filter(|&input| seen.insert(input)));
    let mut number: HashMap<NodeId, usize> = HashMap::new();
    let per_part = inputs.len().div_ceil(MOST).max(1);
    let mut components: Vec<Component> = Vec::new();
    let mut distinct = 0;
    for &input in &inputs {
        let set = sets.find(input);
        let at = *number.entry(set).or_insert_with(|| {
            distinct += 1;
            (distinct - 1) / per_part
        });
        if at == components.len() {
            components.push(Component { outputs: Vec::new(), nodes: Vec::new() });
        }
        components[at].outputs.push(input);
    }
    for &node in circuit.order() {
        if let Some(&at) = number.get(&sets.find(node))
            && !is_input_free(circuit, node)
        {
            components[at].nodes.push(node);
        }
    }
    components
}

/// Whether a node has no inputs: each part that reads it makes its own.
pub(super) fn is_input_free(circuit: &ValidCircuit, node: NodeId) -> bool {
    matches!(circuit.op(node), Op::Leaf { .. } | Op::Given { .. } | Op::One)
}

/// Whether the root shares its weights with a node below: then all is one head.
fn root_is_tied(circuit: &ValidCircuit) -> bool {
    let weights = |node: NodeId| circuit.op(node).weights();
    let root = circuit.root();
    weights(root).is_some()
        && circuit.order().iter().any(|&node| node != root && weights(node) == weights(root))
}

/// Joins what shares nodes, weights or learnable leaves, the root left out.
fn join_shared(circuit: &ValidCircuit, sets: &mut Sets) {
    let root = circuit.root();
    let mut weights = HashMap::new();
    let mut dists = HashMap::new();
    for &node in circuit.order().iter().filter(|&&node| node != root) {
        if let Some(id) = circuit.op(node).weights() {
            let first = *weights.entry(id).or_insert(node);
            sets.join(node, first);
        }
        for input in circuit.inputs(node) {
            if !is_input_free(circuit, input) {
                sets.join(node, input);
            } else if let Op::Leaf { dist, .. } | Op::Given { dist, .. } = circuit.op(input)
                && circuit.dists()[dist].learnable_len() > 0
            {
                let first = *dists.entry(dist).or_insert(node);
                sets.join(node, first);
            }
        }
    }
    for input in circuit.inputs(root) {
        if let Op::Leaf { dist, .. } | Op::Given { dist, .. } = circuit.op(input)
            && circuit.dists()[dist].learnable_len() > 0
        {
            let first = *dists.entry(dist).or_insert(input);
            sets.join(input, first);
        }
    }
}

/// Disjoint sets of nodes.
struct Sets {
    parent: IdVec<NodeId, NodeId>,
}

impl Sets {
    fn find(&mut self, mut node: NodeId) -> NodeId {
        while self.parent[node] != node {
            let above = self.parent[self.parent[node]];
            self.parent[node] = above;
            node = above;
        }
        node
    }

    fn join(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller id leads, so that sets are numbered the same way every time.
        let (low, high) = if a.index() < b.index() { (a, b) } else { (b, a) };
        self.parent[high] = low;
    }
}
