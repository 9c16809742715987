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
use crate::engine::reference::{factors, raw, terms, weights_of};
use crate::ids::{DistId, Id, IdVec, NodeId, VarId, WeightsId};

use super::forward::{LEAST, forward, scaled};
use super::leaves::LeafUnit;

/// A circuit given a row of evidence that it holds possible. Making it takes one forward pass.
pub struct Posterior<'a> {
    circuit: &'a ValidCircuit,
    values: &'a Values<f64>,
    evidence: &'a [Option<f32>],
    /// The logarithm of every unit's value.
    logs: PerUnit<f64>,
}

impl<'a> Posterior<'a> {
    /// `evidence` has an entry a variable, `None` for what is missing. `None` if the evidence is
    /// impossible: has probability zero, and so leaves no distribution.
    pub fn new(
        circuit: &'a ValidCircuit,
        values: &'a Values<f64>,
        evidence: &'a [Option<f32>],
    ) -> Option<Self> {
        let logs = forward(circuit, values, evidence);
        let possible = *logs.at(circuit.root(), 0) > f64::NEG_INFINITY;
        possible.then_some(Posterior { circuit, values, evidence, logs })
    }

    /// The circuit.
    pub fn circuit(&self) -> &'a ValidCircuit {
        self.circuit
    }

    /// ln p(e), in nats.
    pub fn log_evidence(&self) -> f64 {
        *self.logs.at(self.circuit.root(), 0)
    }

    /// The observed value of a variable.
    pub fn observed(&self, var: VarId) -> Option<f32> {
        self.evidence[var.index()]
    }

    /// Whether a unit holds the evidence in its scope possible. Of others there is no distribution, and
    /// no draw contains them.
    pub(super) fn possible(&self, node: NodeId, unit: usize) -> bool {
        *self.logs.at(node, unit) > f64::NEG_INFINITY
    }

    /// What a sum or mixing layer weighs; `None` of other nodes.
    pub(super) fn terms(&self, node: NodeId) -> Option<Terms<'_>> {
        let weights = self.circuit.op(node).weights()?;
        let log = |(input, unit): (NodeId, usize)| *self.logs.at(input, unit);
        let columns: Vec<(NodeId, usize)> = match self.circuit.op(node) {
            Op::Mixing { .. } => Vec::new(),
            _ => terms(self.circuit, node, 0).collect(),
        };
        let (scaled, _) = scaled(&columns.iter().copied().map(log).collect::<Vec<f64>>());
        Some(Terms { posterior: self, node, weights, columns, scaled })
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
            let is_product = matches!(self.circuit.op(node), Op::Product | Op::Kronecker);
            let terms = self.terms(node);
            for unit in 0..self.circuit.units(node) as usize {
                let flow = *flows.at(node, unit);
                if flow == 0.0 {
                    continue;
                }
                if is_product {
                    for (input, unit) in self.factors(node, unit) {
                        *flows.at_mut(input, unit) += flow;
                    }
                }
                for ((input, unit), share) in terms.iter().flat_map(|terms| terms.shares(unit)) {
                    *flows.at_mut(input, unit) += flow * share;
                }
            }
        }
        flows
    }
}

/// What a sum or mixing layer weighs.
pub(super) struct Terms<'a> {
    posterior: &'a Posterior<'a>,
    node: NodeId,
    weights: WeightsId,
    /// Of a sum layer, which all its units weigh: its columns, and their values divided by the greatest.
    columns: Vec<(NodeId, usize)>,
    scaled: Vec<f64>,
}

impl Terms<'_> {
    /// The terms of a possible unit that have a share above zero, and their shares, which sum to one.
    pub(super) fn shares(
        &self,
        unit: usize,
    ) -> Box<dyn Iterator<Item = ((NodeId, usize), f64)> + '_> {
        let Posterior { circuit, values, logs, .. } = self.posterior;
        let weights = weights_of(circuit, values, self.weights, unit);
        // Shares are of what the terms here add up to, not of the unit's own logarithm: that of a row far out
        // is so large that the digits after its point are gone.
        let whole: f64 = weights.iter().zip(&self.scaled).map(|(w, term)| w * term).sum();
        if !self.columns.is_empty() && whole >= LEAST {
            let shares = weights.iter().zip(&self.scaled).map(move |(w, term)| w * term / whole);
            return Box::new(self.columns.iter().copied().zip(shares).filter(|term| term.1 > 0.0));
        }
        let log = |((input, unit), &w): (_, &f64)| w.ln() + logs.at(input, unit);
        let terms_of = || terms(circuit, self.node, unit).zip(weights);
        let (scaled, _) = scaled(&terms_of().map(log).collect::<Vec<f64>>());
        let whole: f64 = scaled.iter().sum();
        let shares = terms_of().zip(scaled).map(move |((term, _), scaled)| (term, scaled / whole));
        Box::new(shares.filter(|term| term.1 > 0.0))
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
