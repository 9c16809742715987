//! The circuit: a DAG of leaves, sums and products, each vector-valued.
//!
//! A node stands for a whole region or layer: it has `units` outputs a row. Edges run from a node to
//! its inputs, in the order of the inputs. Nodes carry no text and no scope; names and places live
//! in a [`SourceMap`] beside the circuit, scopes in the [`ValidCircuit`] that [`validate`] makes of
//! it. Nothing but validation can make a [`ValidCircuit`], and every later stage demands one.
//!
//! Axis letters, here and in every later stage: B rows, K units of a node, M inputs' units of a sum.

mod determinism;
mod display;
mod smooth;
mod validate;
mod values;
mod vtree;

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

pub use self::determinism::Determinism;
pub use self::smooth::smooth;
pub(crate) use self::validate::validate_in_doubt;
pub use self::validate::{Properties, ValidCircuit, validate};
pub use self::values::Values;
pub use self::vtree::Vtree;
use crate::diag::{Source, Span};
use crate::ids::{DistId, Id, IdVec, NodeId, VarId, WeightsId};
use crate::leaf::Dist;
use crate::variables::Variables;

/// What a node computes, linear domain, for one row. `K` is the node's own number of units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// K distributions of one variable. Scope: that variable.
    Leaf {
        /// The variable.
        var: VarId,
        /// Its distributions; `units` of it is K.
        dist: DistId,
    },
    /// A leaf whose variable has been given a value: K constants. Scope: empty.
    Given {
        /// The distributions.
        dist: DistId,
        /// The value.
        value: f32,
    },
    /// K ones. Scope: empty. What is left of a region whose variables are all summed out.
    One,
    /// Hadamard: elementwise product of inputs of width K, their scopes disjoint.
    Product,
    /// All pairs: K is the product of the widths, the first input's unit varying fastest (unit
    /// i + K₁·j is input 1's unit i times input 2's unit j). Scopes disjoint.
    Kronecker,
    /// K weighted sums of all units of all inputs, concatenated: weights [K, M]. One scope.
    Sum {
        /// Its weights.
        weights: WeightsId,
    },
    /// Elementwise weighted sum of inputs of width K: weights [K, inputs]. One scope.
    Mixing {
        /// Its weights.
        weights: WeightsId,
    },
}

impl Op {
    /// The weights of a sum or mixing layer.
    pub fn weights(self) -> Option<WeightsId> {
        match self {
            Op::Sum { weights } | Op::Mixing { weights } => Some(weights),
            _ => None,
        }
    }
}

/// A node: an operation and its width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Number of outputs a row, at least 1.
    pub units: u32,
}

/// Where the entries of a weight layer come from.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightSource {
    /// The circuit's parameterizer.
    Parameterizer,
    /// Logits of their own, whatever the parameterizer; drawn at random.
    Direct,
    /// Logits of their own that begin at the logarithms of these, [rows, cols] linear, each row
    /// summing to one.
    Given(Vec<f64>),
    /// These weights for ever, [rows, cols] linear, each row summing to one.
    Frozen(Vec<f64>),
}

/// The weight matrix of one sum or mixing layer, or of several tied ones. Each row is one
/// normalisation group: non-negative, summing to one.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Number of rows: units of the layer.
    pub rows: u32,
    /// Number of columns: units of the inputs together, or inputs of a mixing layer.
    pub cols: u32,
    /// Where the entries come from.
    pub source: WeightSource,
}

impl Weights {
    /// rows × cols.
    pub fn len(&self) -> usize {
        self.rows as usize * self.cols as usize
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A circuit as described: it may be faulty in every way that [`validate`] knows.
#[derive(Clone, Debug)]
pub struct Circuit {
    variables: Variables,
    graph: DiGraph<Node, ()>,
    weights: Arc<IdVec<WeightsId, Weights>>,
    dists: Arc<IdVec<DistId, Dist>>,
    root: NodeId,
    specialised: bool,
}

impl Circuit {
    /// An empty circuit over some variables; the root must be set before it is validated.
    pub fn new(variables: Variables) -> Self {
        Circuit {
            variables,
            graph: DiGraph::new(),
            weights: Arc::default(),
            dists: Arc::default(),
            root: NodeId(0),
            specialised: false,
        }
    }

    /// Says that variables were taken from this circuit on purpose, by summing them out or by giving
    /// them values: the root need not depend on all of them.
    pub fn set_specialised(&mut self, specialised: bool) {
        self.specialised = specialised;
    }

    /// Whether variables were taken from this circuit on purpose.
    pub fn is_specialised(&self) -> bool {
        self.specialised
    }

    /// Makes room for `nodes` nodes and `edges` edges.
    pub fn reserve(&mut self, nodes: usize, edges: usize) {
        self.graph.reserve_nodes(nodes);
        self.graph.reserve_edges(edges);
    }

    /// Adds a node without inputs.
    pub fn add(&mut self, op: Op, units: u32) -> NodeId {
        NodeId::from_index(self.graph.add_node(Node { op, units }).index())
    }

    /// Gives a node its inputs, in this order. To be called once a node at most.
    pub fn connect(&mut self, node: NodeId, inputs: &[NodeId]) {
        // petgraph walks the edges of a node from the last added to the first.
        for &input in inputs.iter().rev() {
            self.graph.add_edge(index(node), index(input), ());
        }
    }

    /// Adds a node over `inputs`.
    pub fn add_over(&mut self, op: Op, units: u32, inputs: &[NodeId]) -> NodeId {
        let node = self.add(op, units);
        self.connect(node, inputs);
        node
    }

    /// Adds the leaf of `var`.
    pub fn leaf(&mut self, var: VarId, dist: DistId) -> NodeId {
        self.add(Op::Leaf { var, dist }, self.dists[dist].units)
    }

    /// Adds a Hadamard product of inputs as wide as the first.
    pub fn product(&mut self, inputs: &[NodeId]) -> NodeId {
        let units = inputs.first().map_or(1, |&input| self.units(input));
        self.add_over(Op::Product, units, inputs)
    }

    /// Adds the product of all pairs of units.
    pub fn kronecker(&mut self, inputs: &[NodeId]) -> NodeId {
        let units = inputs.iter().map(|&input| self.units(input)).product();
        self.add_over(Op::Kronecker, units, inputs)
    }

    /// Adds a sum layer of `units` units over all units of the inputs, with weights of its own.
    pub fn sum(&mut self, units: u32, inputs: &[NodeId], source: WeightSource) -> NodeId {
        let cols = inputs.iter().map(|&input| self.units(input)).sum();
        let weights = Arc::make_mut(&mut self.weights).push(Weights { rows: units, cols, source });
        self.add_over(Op::Sum { weights }, units, inputs)
    }

    /// Adds a mixing layer of inputs as wide as the first, with weights of its own.
    pub fn mixing(&mut self, inputs: &[NodeId], source: WeightSource) -> NodeId {
        let units = inputs.first().map_or(1, |&input| self.units(input));
        let weights = Arc::make_mut(&mut self.weights).push(Weights {
            rows: units,
            cols: inputs.len() as u32,
            source,
        });
        self.add_over(Op::Mixing { weights }, units, inputs)
    }

    /// Adds a weight matrix that one or several layers will share.
    pub fn add_weights(&mut self, weights: Weights) -> WeightsId {
        Arc::make_mut(&mut self.weights).push(weights)
    }

    /// Adds an array of distributions.
    pub fn add_dist(&mut self, dist: Dist) -> DistId {
        Arc::make_mut(&mut self.dists).push(dist)
    }

    /// Makes `root` the root.
    pub fn set_root(&mut self, root: NodeId) {
        self.root = root;
    }

    /// Replaces the operation of a node, its inputs staying.
    pub fn set_op(&mut self, node: NodeId, op: Op) {
        if let Some(weight) = self.graph.node_weight_mut(index(node)) {
            weight.op = op;
        }
    }

    /// The variables, in the order of the data's columns.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// The root: its one unit is the circuit's value.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.graph.node_count()
    }

    /// Number of edges.
    pub fn edge_count(&self) -> usize {
        self.graph.edge_count()
    }

    /// All nodes, ascending.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.graph.node_count()).map(NodeId::from_index)
    }

    /// Operation and width of a node.
    pub fn node(&self, node: NodeId) -> Node {
        self.graph[index(node)]
    }

    /// Operation of a node.
    pub fn op(&self, node: NodeId) -> Op {
        self.graph[index(node)].op
    }

    /// Width of a node.
    pub fn units(&self, node: NodeId) -> u32 {
        self.graph[index(node)].units
    }

    /// Inputs of a node, in order.
    pub fn inputs(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.graph
            .neighbors_directed(index(node), Direction::Outgoing)
            .map(|input| NodeId::from_index(input.index()))
    }

    /// Nodes that have `node` among their inputs, once an edge.
    pub fn parents(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.graph
            .neighbors_directed(index(node), Direction::Incoming)
            .map(|parent| NodeId::from_index(parent.index()))
    }

    /// The weight layers.
    pub fn weights(&self) -> &IdVec<WeightsId, Weights> {
        &self.weights
    }

    /// The leaf distributions.
    pub fn dists(&self) -> &IdVec<DistId, Dist> {
        &self.dists
    }

    /// The weight layers, which may outlive the circuit.
    pub fn shared_weights(&self) -> Arc<IdVec<WeightsId, Weights>> {
        Arc::clone(&self.weights)
    }

    /// The leaf distributions, which may outlive the circuit.
    pub fn shared_dists(&self) -> Arc<IdVec<DistId, Dist>> {
        Arc::clone(&self.dists)
    }

    /// The graph itself, for petgraph's algorithms.
    pub(crate) fn graph(&self) -> &DiGraph<Node, ()> {
        &self.graph
    }
}

fn index(node: NodeId) -> NodeIndex {
    NodeIndex::new(node.index())
}

/// What the author called the nodes of a circuit and where they stand in its text. Empty for
/// circuits that no text spells out node by node.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    /// The text, if there is one.
    pub source: Option<Source>,
    /// Name and place of named nodes.
    pub nodes: HashMap<NodeId, (String, Span)>,
    /// Where the text gives the distribution or the weights of named nodes.
    pub parts: HashMap<NodeId, Span>,
    /// Where the text describes the structure as a whole.
    pub structure: Option<Span>,
}

impl SourceMap {
    /// The author's name of a node, or its id.
    pub fn name(&self, node: NodeId) -> String {
        self.nodes.get(&node).map_or_else(|| node.to_string(), |(name, _)| name.clone())
    }

    /// Where a node stands, or the structure that made it.
    pub fn span(&self, node: NodeId) -> Option<Span> {
        self.nodes.get(&node).map(|&(_, span)| span).or(self.structure)
    }

    /// Where the distribution or the weights of a node stand, or the node itself.
    pub fn part_span(&self, node: NodeId) -> Option<Span> {
        self.parts.get(&node).copied().or_else(|| self.span(node))
    }
}
