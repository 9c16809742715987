//! Makes sums smooth.
//!
//! An input of a sum that lacks a variable of the others is multiplied by a leaf of it that does not
//! depend on what is learned: the frozen uniform Categorical, in every unit of the input.
//!
//! ```text
//! sum(a, a·b)  becomes  sum(a·u_b, a·b)      u_b(0) = u_b(1) = 1/2
//! ```
//!
//! A leaf that is one for every value would leave the sum's marginals as they were, but the total
//! mass of the circuit would no longer be one: each missing variable would multiply it by its number
//! of states. The uniform leaf keeps the mass at one and says nothing of the variable. Over the real
//! numbers there is no uniform distribution, so a missing real variable is left for validation to
//! report.

use std::collections::HashMap;

use super::{Circuit, Op};
use crate::ids::{Id, IdVec, NodeId, ScopeId, VarId};
use crate::leaf::{Dist, Family};
use crate::scope::Scopes;
use crate::variables::VarKind;

/// Makes every sum smooth that lacks discrete variables only. Returns with the circuit the sums that
/// were mended, inputs first, each with the variables that any of its inputs lacked. A circuit with
/// a cycle is returned as it is.
pub fn smooth(circuit: Circuit) -> (Circuit, Vec<(NodeId, Vec<VarId>)>) {
    let Ok(order) = petgraph::algo::toposort(circuit.graph(), None) else {
        return (circuit, Vec::new());
    };
    let order: Vec<NodeId> = order.iter().rev().map(|n| NodeId::from_index(n.index())).collect();
    let mut mender = Mender::new(&circuit);
    for node in order {
        mender.visit(node);
    }
    if mender.mended.is_empty() {
        return (circuit, Vec::new());
    }
    mender.finish()
}

struct Mender<'a> {
    circuit: &'a Circuit,
    scopes: Scopes,
    scope_of: IdVec<NodeId, ScopeId>,
    /// The inputs of each node of the mended circuit.
    inputs: Vec<Vec<NodeId>>,
    added: Vec<(Op, u32)>,
    dists: Vec<Dist>,
    /// The uniform leaf of each variable and width.
    leaves: HashMap<(VarId, u32), NodeId>,
    mended: Vec<(NodeId, Vec<VarId>)>,
}

impl<'a> Mender<'a> {
    fn new(circuit: &'a Circuit) -> Self {
        let count = circuit.node_count();
        Mender {
            circuit,
            scopes: Scopes::new(circuit.variables().ids().collect()),
            scope_of: IdVec::filled(Scopes::EMPTY, count),
            inputs: circuit.nodes().map(|node| circuit.inputs(node).collect()).collect(),
            added: Vec::new(),
            dists: Vec::new(),
            leaves: HashMap::new(),
            mended: Vec::new(),
        }
    }

    fn visit(&mut self, node: NodeId) {
        let below: Vec<ScopeId> =
            self.circuit.inputs(node).map(|input| self.scope_of[input]).collect();
        self.scope_of[node] = match self.circuit.op(node) {
            Op::Leaf { var, .. } => self.scopes.singleton(var),
            _ => self.scopes.union(&below).0,
        };
        if self.circuit.op(node).weights().is_some() {
            self.mend(node, &below);
        }
    }

    fn mend(&mut self, node: NodeId, below: &[ScopeId]) {
        let all = self.scope_of[node];
        let mut lacked = Vec::new();
        for (position, &scope) in below.iter().enumerate() {
            if scope == all {
                continue;
            }
            let discrete = |var: &VarId| self.circuit.variables().kind(*var) != VarKind::Real;
            let missing: Vec<VarId> =
                self.scopes.difference(all, scope).into_iter().filter(discrete).collect();
            if missing.is_empty() {
                continue;
            }
            let input = self.inputs[node.index()][position];
            let mended = self.multiply(input, &missing);
            self.inputs[node.index()][position] = mended;
            lacked.extend(missing);
        }
        if !lacked.is_empty() {
            lacked.sort_unstable();
            lacked.dedup();
            self.mended.push((node, lacked));
        }
    }

    /// A product of `input` and a uniform leaf of each of some variables.
    fn multiply(&mut self, input: NodeId, missing: &[VarId]) -> NodeId {
        let units = self.circuit.units(input);
        let mut factors = vec![input];
        factors.extend(missing.iter().map(|&var| self.uniform(var, units)));
        self.add(Op::Product, units, factors)
    }

    fn uniform(&mut self, var: VarId, units: u32) -> NodeId {
        if let Some(&leaf) = self.leaves.get(&(var, units)) {
            return leaf;
        }
        let states = match self.circuit.variables().kind(var) {
            VarKind::Categorical { states } => states,
            VarKind::Real => 1,
        };
        let given = vec![1.0 / f64::from(states); units as usize * states as usize];
        let family = Family::Categorical { states };
        let dist = Id::from_index(self.circuit.dists().len() + self.dists.len());
        self.dists.push(Dist { family, units, given: Some(given), frozen: true });
        let leaf = self.add(Op::Leaf { var, dist }, units, Vec::new());
        self.leaves.insert((var, units), leaf);
        leaf
    }

    fn add(&mut self, op: Op, units: u32, inputs: Vec<NodeId>) -> NodeId {
        self.added.push((op, units));
        self.inputs.push(inputs);
        NodeId::from_index(self.inputs.len() - 1)
    }

    /// The mended circuit: nodes, weights and distributions as they were, the added ones after them.
    fn finish(self) -> (Circuit, Vec<(NodeId, Vec<VarId>)>) {
        let mut circuit = Circuit::new(self.circuit.variables().clone());
        circuit.set_specialised(self.circuit.is_specialised());
        for weights in self.circuit.weights().values() {
            circuit.add_weights(weights.clone());
        }
        for dist in self.circuit.dists().values().chain(&self.dists) {
            circuit.add_dist(dist.clone());
        }
        let nodes = self.circuit.nodes().map(|node| self.circuit.node(node));
        for (op, units) in nodes.map(|node| (node.op, node.units)).chain(self.added) {
            circuit.add(op, units);
        }
        for (index, inputs) in self.inputs.iter().enumerate() {
            circuit.connect(NodeId::from_index(index), inputs);
        }
        circuit.set_root(self.circuit.root());
        (circuit, self.mended)
    }
}
