//! A circuit conditioned on evidence, which is what every query walks.
//!
//! Given evidence e, each unit u of the circuit is again a distribution p_u(x | e) over what is missing
//! in its scope. A product's is the product of its factors', and a sum's is a mixture of its terms'
//! whose weights are their *shares* of its value: r_c = w_c p_c(e) / p_u(e). So after one forward pass
//! in logarithms, to which evidence may be as unlikely as it likes, everything else is arithmetic on
//! probabilities between zero and one, and what holds for a circuit holds for it given evidence.
//!
//! The *flow* of a unit is the probability, given e, that the induced tree of a draw contains it: one for
//! the root; what a product has each of its factors has; a sum's is parted by the shares. A decomposable
//! circuit's tree meets each variable in one leaf, so flows over the leaves of a variable sum to one
//! (Darwiche 2003, *A Differential Approach to Inference in Bayesian Networks*, by derivatives).

use crate::circuit::{Circuit, Op, ValidCircuit, Values};
use crate::engine::reference::{self, Forward, factors, raw, terms, weights_of};
use crate::ids::{DistId, Id, IdVec, NodeId, VarId};

use super::leaves::LeafUnit;

/// A circuit given a row of evidence that it holds possible. Making it takes one forward pass.
pub struct Posterior<'a> {
    circuit: &'a ValidCircuit,
    values: &'a Values<f64>,
    evidence: &'a [Option<f32>],
    forward: Forward,
}

impl<'a> Posterior<'a> {
    /// `evidence` has an entry a variable, `None` for what is missing. `None` if the evidence is
    /// impossible: has probability zero, and so leaves no distribution.
    pub fn new(
        circuit: &'a ValidCircuit,
        values: &'a Values<f64>,
        evidence: &'a [Option<f32>],
    ) -> Option<Self> {
        let forward = reference::forward(circuit, values, evidence);
        let possible = forward.log_likelihood() > f64::NEG_INFINITY;
        possible.then_some(Posterior { circuit, values, evidence, forward })
    }

    /// The circuit.
    pub fn circuit(&self) -> &'a ValidCircuit {
        self.circuit
    }

    /// ln p(e), in nats.
    pub fn log_evidence(&self) -> f64 {
        self.forward.log_likelihood()
    }

    /// The observed value of a variable.
    pub fn observed(&self, var: VarId) -> Option<f32> {
        self.evidence[var.index()]
    }

    /// Whether a unit holds the evidence in its scope possible. Of others there is no distribution, and
    /// no draw contains them.
    pub(super) fn possible(&self, node: NodeId, unit: usize) -> bool {
        self.forward.log_value(node, unit) > f64::NEG_INFINITY
    }

    /// The terms of a possible unit of a sum or mixing layer with a share above zero, and their shares,
    /// which sum to one.
    pub(super) fn shares(
        &self,
        node: NodeId,
        unit: usize,
    ) -> impl Iterator<Item = ((NodeId, usize), f64)> {
        let weights = self.circuit.op(node).weights();
        let weights = weights.map_or(&[][..], |id| weights_of(self.circuit, self.values, id, unit));
        let whole = self.forward.log_value(node, unit);
        let share = move |((input, unit), &w): (_, &f64)| {
            let share = (w.ln() + self.forward.log_value(input, unit) - whole).exp();
            ((input, unit), share)
        };
        terms(self.circuit, node, unit).zip(weights).map(share).filter(|&(_, share)| share > 0.0)
    }

    /// The factors of a unit of a product.
    pub(super) fn factors(
        &self,
        node: NodeId,
        unit: usize,
    ) -> impl Iterator<Item = (NodeId, usize)> {
        factors(self.circuit, node, unit)
    }

    /// One unit of a leaf.
    pub(super) fn leaf(&self, dist: DistId, unit: usize) -> LeafUnit<'a> {
        let raw = raw(self.circuit, self.values, dist, unit);
        LeafUnit { dist: &self.circuit.dists()[dist], unit, raw }
    }

    /// The flow of every unit.
    pub(super) fn flows(&self) -> PerUnit<f64> {
        let mut flows = PerUnit::new(self.circuit, 0.0);
        *flows.at_mut(self.circuit.root(), 0) = 1.0;
        for &node in self.circuit.order().iter().rev() {
            for unit in 0..self.circuit.units(node) as usize {
                let flow = *flows.at(node, unit);
                if flow == 0.0 {
                    continue;
                }
                match self.circuit.op(node) {
                    Op::Leaf { .. } | Op::Given { .. } | Op::One => {}
                    Op::Product | Op::Kronecker => self
                        .factors(node, unit)
                        .for_each(|(input, unit)| *flows.at_mut(input, unit) += flow),
                    Op::Sum { .. } | Op::Mixing { .. } => {
                        self.shares(node, unit).for_each(|((input, unit), share)| {
                            *flows.at_mut(input, unit) += flow * share
                        })
                    }
                }
            }
        }
        flows
    }
}

/// Something for every unit of every node, node after node.
pub(super) struct PerUnit<T> {
    offsets: IdVec<NodeId, usize>,
    items: Vec<T>,
}

impl<T: Clone> PerUnit<T> {
    /// The same for all.
    pub(super) fn new(circuit: &Circuit, item: T) -> Self {
        let mut len = 0;
        let place = |node| {
            len += circuit.units(node) as usize;
            len - circuit.units(node) as usize
        };
        let offsets = circuit.nodes().map(place).collect();
        PerUnit { offsets, items: vec![item; len] }
    }

    /// Of one unit.
    pub(super) fn at(&self, node: NodeId, unit: usize) -> &T {
        &self.items[self.offsets[node] + unit]
    }

    /// Of one unit, to be changed.
    pub(super) fn at_mut(&mut self, node: NodeId, unit: usize) -> &mut T {
        &mut self.items[self.offsets[node] + unit]
    }
}
