//! The circuit as the passes work on it: flat tables in the order of evaluation.
//!
//! A [`Flat`] holds only nodes that the root reaches, inputs before the nodes that use them, so that
//! a pass is one loop. A [`Draft`] is a `Flat` under change: new nodes behind the old ones, and old
//! nodes that stand for others.

use std::collections::HashMap;

use crate::circuit::{Circuit, Node, Op, SourceMap, ValidCircuit, WeightSource, Weights, validate};
use crate::diag::Diagnostics;
use crate::ids::{Id, IdVec, NodeId, WeightsId};

/// Nodes in the order of evaluation, with their inputs in one array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flat {
    nodes: Vec<Node>,
    /// Where the inputs of each node begin; one entry more than nodes.
    starts: Vec<u32>,
    inputs: Vec<NodeId>,
}

impl Flat {
    /// Room for so many nodes and edges.
    pub fn with_capacity(nodes: usize, edges: usize) -> Self {
        let mut starts = Vec::with_capacity(nodes + 1);
        starts.push(0);
        Flat { nodes: Vec::with_capacity(nodes), starts, inputs: Vec::with_capacity(edges) }
    }

    /// The reachable part of a circuit; ids are positions in its order.
    pub fn of(circuit: &ValidCircuit) -> Self {
        let mut flat = Flat::with_capacity(circuit.order().len(), circuit.edge_count());
        let mut place = IdVec::<NodeId, NodeId>::filled(NodeId(0), circuit.node_count());
        for &node in circuit.order() {
            flat.inputs.extend(circuit.inputs(node).map(|input| place[input]));
            place[node] = flat.close(circuit.node(node));
        }
        flat
    }

    /// Adds a node over inputs that are here already.
    pub fn push(&mut self, node: Node, inputs: &[NodeId]) -> NodeId {
        self.inputs.extend_from_slice(inputs);
        self.close(node)
    }

    fn close(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.starts.push(self.inputs.len() as u32);
        NodeId::from_index(self.nodes.len() - 1)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Number of edges.
    pub fn edge_count(&self) -> usize {
        self.inputs.len()
    }

    /// All nodes, inputs first; the last is the root, unless nodes were added since.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.nodes.len()).map(NodeId::from_index)
    }

    /// Operation and width.
    pub fn node(&self, node: NodeId) -> Node {
        self.nodes[node.index()]
    }

    /// Operation.
    pub fn op(&self, node: NodeId) -> Op {
        self.nodes[node.index()].op
    }

    /// Width.
    pub fn units(&self, node: NodeId) -> u32 {
        self.nodes[node.index()].units
    }

    /// Inputs, in order.
    pub fn inputs(&self, node: NodeId) -> &[NodeId] {
        let [start, end] = [node.index(), node.index() + 1].map(|i| self.starts[i] as usize);
        &self.inputs[start..end]
    }

    /// The root.
    pub fn root(&self) -> NodeId {
        NodeId::from_index(self.nodes.len().saturating_sub(1))
    }

    /// Number of edges that lead to each node, the root counting one more.
    pub fn uses(&self) -> IdVec<NodeId, u32> {
        let mut uses = IdVec::filled(0, self.len());
        for &input in &self.inputs {
            uses[input] += 1;
        }
        uses[self.root()] += 1;
        uses
    }

    /// A circuit of these nodes, validated anew; `like` gives variables and distributions.
    /// `specialised` says that variables were taken from it on purpose.
    pub fn to_circuit(
        &self,
        like: &Circuit,
        layers: &Layers,
        specialised: bool,
    ) -> Result<ValidCircuit, Diagnostics> {
        let mut circuit = Circuit::new(like.variables().clone());
        circuit.set_specialised(specialised);
        circuit.reserve(self.len(), self.edge_count());
        for dist in like.dists().values() {
            circuit.add_dist(dist.clone());
        }
        for weights in layers.all() {
            circuit.add_weights(weights.clone());
        }
        for id in self.ids() {
            let node = self.node(id);
            circuit.add_over(node.op, node.units, self.inputs(id));
        }
        circuit.set_root(self.root());
        Ok(validate(circuit, &SourceMap::default())?.0)
    }
}

/// A [`Flat`] under change.
pub(super) struct Draft {
    flat: Flat,
    root: NodeId,
    /// What stands for each node; itself at first.
    stands_for: Vec<NodeId>,
}

impl Draft {
    /// No changes yet.
    pub fn new(flat: &Flat) -> Self {
        Draft { root: flat.root(), stands_for: flat.ids().collect(), flat: flat.clone() }
    }

    /// Adds a node; its inputs may have been replaced, or be replaced later.
    pub fn push(&mut self, node: Node, inputs: &[NodeId]) -> NodeId {
        let id = self.flat.push(node, inputs);
        self.stands_for.push(id);
        id
    }

    /// Makes every use of `old` a use of `new`.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        self.stands_for[old.index()] = new;
    }

    fn resolve(&self, mut node: NodeId) -> NodeId {
        while self.stands_for[node.index()] != node {
            node = self.stands_for[node.index()];
        }
        node
    }

    /// What the root reaches, in depth-first post-order. The replacements must make no cycle.
    pub fn finish(&self) -> Flat {
        let mut done = Flat::with_capacity(self.flat.len(), self.flat.edge_count());
        let mut place: Vec<Option<NodeId>> = vec![None; self.flat.len()];
        let mut stack = vec![(self.resolve(self.root), false)];
        let mut inputs = Vec::new();
        while let Some((node, inputs_done)) = stack.pop() {
            if place[node.index()].is_some() {
                continue;
            }
            let below = self.flat.inputs(node).iter().map(|&input| self.resolve(input));
            if inputs_done {
                inputs.clear();
                inputs.extend(below.filter_map(|input| place[input.index()]));
                place[node.index()] = Some(done.push(self.flat.node(node), &inputs));
            } else {
                stack.push((node, true));
                let first = stack.len();
                stack.extend(below.map(|input| (input, false)));
                stack[first..].reverse();
            }
        }
        done
    }
}

/// The weight layers of a circuit: its own, in their order, then frozen ones that rules made.
#[derive(Clone, Debug)]
pub(super) struct Layers<'a> {
    own: &'a [Weights],
    made: Vec<Weights>,
    /// The first frozen layer of each number of rows and content.
    frozen: HashMap<(u32, Vec<u64>), WeightsId>,
    /// For each layer the first frozen one of equal content, else itself.
    first_equal: Vec<WeightsId>,
}

impl<'a> Layers<'a> {
    /// The layers of a circuit.
    pub fn of(circuit: &'a Circuit) -> Self {
        let own = circuit.weights().as_slice();
        let mut layers = Layers {
            own,
            made: Vec::new(),
            frozen: HashMap::new(),
            first_equal: Vec::with_capacity(own.len()),
        };
        for weights in own {
            layers.note(weights);
        }
        layers
    }

    /// Takes down the content of the next layer.
    fn note(&mut self, weights: &Weights) {
        let id = WeightsId::from_index(self.first_equal.len());
        let first = match &weights.source {
            WeightSource::Frozen(values) => {
                *self.frozen.entry((weights.rows, bits(values))).or_insert(id)
            }
            _ => id,
        };
        self.first_equal.push(first);
    }

    /// The frozen layer of these values, [rows, cols]; made if there is none.
    pub fn intern(&mut self, rows: u32, values: &[f64]) -> WeightsId {
        if let Some(&known) = self.frozen.get(&(rows, bits(values))) {
            return known;
        }
        let cols = values.len() as u32 / rows.max(1);
        let made = Weights { rows, cols, source: WeightSource::Frozen(values.to_vec()) };
        self.note(&made);
        self.made.push(made);
        WeightsId::from_index(self.len() - 1)
    }

    /// All layers, by id.
    pub fn all(&self) -> impl Iterator<Item = &Weights> {
        self.own.iter().chain(&self.made)
    }

    /// A layer.
    pub fn get(&self, id: WeightsId) -> &Weights {
        self.own.get(id.index()).unwrap_or_else(|| &self.made[id.index() - self.own.len()])
    }

    /// The entries of a frozen layer, [rows, cols].
    pub fn frozen(&self, id: WeightsId) -> Option<&[f64]> {
        match &self.get(id).source {
            WeightSource::Frozen(values) => Some(values),
            _ => None,
        }
    }

    /// The first frozen layer of equal content, else the layer itself.
    pub fn first_equal(&self, id: WeightsId) -> WeightsId {
        self.first_equal[id.index()]
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.own.len() + self.made.len()
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}
