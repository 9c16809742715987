//! Trees of hidden variables: each variable x has a hidden variable z of k states above it, and the
//! hidden variables form a rooted tree.
//!
//! p(x, z) = p(z of the root) · ∏ p(z | z of its parent) · ∏ p(x | its z), and the z are summed out.
//! Unit j of a region is the probability of what is below z, given that z is j:
//!
//! ```text
//! p(x | z) ─────────────────────┐
//! region of a child ─ sum k×k ──┼ product k   the region of z
//! region of a child ─ sum k×k ──┘
//! ```
//!
//! A sum layer 1 × k on the root's region is the distribution of the root's z.

use super::leaves::Leaves;
use crate::circuit::{Circuit, Op, WeightSource, Weights};
use crate::ids::{DistId, Id, NodeId, VarId, WeightsId};

/// A rooted tree over all variables.
pub(super) struct Rooted {
    /// The variables, parents before their children.
    pub(super) order: Vec<VarId>,
    /// The parent of each variable; `None` of the root.
    pub(super) parent: Vec<Option<VarId>>,
}

/// Adds the regions of all hidden variables, children before parents, and the root. With `tied`, all
/// transitions are one sum layer's weights, and all emissions one leaf or one sum layer's weights;
/// the variables must be of one kind then.
pub(super) fn add(circuit: &mut Circuit, leaves: &Leaves, tree: &Rooted, units: u32, tied: bool) {
    let mut builder = Builder { circuit, leaves, units, tied, transition: None, emission: None };
    // What is multiplied in the region of each variable besides its own emission.
    let mut messages: Vec<Vec<NodeId>> = vec![Vec::new(); tree.parent.len()];
    for &var in tree.order.iter().rev() {
        let mut factors = vec![builder.emission(var)];
        factors.append(&mut messages[var.index()]);
        let region = match factors[..] {
            [emission] => emission,
            _ => builder.circuit.product(&factors),
        };
        match tree.parent[var.index()] {
            Some(parent) => messages[parent.index()].push(builder.transition(region)),
            None => {
                let root = builder.circuit.sum(1, &[region], WeightSource::Parameterizer);
                builder.circuit.set_root(root);
            }
        }
    }
}

/// What all emissions share.
#[derive(Clone, Copy)]
enum Emission {
    /// The distributions of the leaves.
    Leaf(DistId),
    /// The weights over indicators.
    Sum(WeightsId),
}

struct Builder<'a> {
    circuit: &'a mut Circuit,
    leaves: &'a Leaves,
    units: u32,
    tied: bool,
    /// What is shared so far, where it is.
    transition: Option<WeightsId>,
    emission: Option<Emission>,
}

impl Builder<'_> {
    /// p(x | z): a region of k units.
    fn emission(&mut self, var: VarId) -> NodeId {
        match self.emission {
            Some(Emission::Leaf(dist)) => return self.circuit.leaf(var, dist),
            Some(Emission::Sum(weights)) => {
                let leaf: Vec<NodeId> = self.leaves.shared(var).into_iter().collect();
                return self.circuit.add_over(Op::Sum { weights }, self.units, &leaf);
            }
            None => {}
        }
        let region = self.leaves.region(self.circuit, var, self.units);
        if self.tied {
            self.emission = match self.circuit.op(region) {
                Op::Leaf { dist, .. } => Some(Emission::Leaf(dist)),
                op => op.weights().map(Emission::Sum),
            };
        }
        region
    }

    /// p(below z | z of the parent): from the region of z, of k units, to k units.
    fn transition(&mut self, region: NodeId) -> NodeId {
        let units = self.units;
        let weights = match self.transition.filter(|_| self.tied) {
            Some(weights) => weights,
            None => {
                let source = WeightSource::Parameterizer;
                self.circuit.add_weights(Weights { rows: units, cols: units, source })
            }
        };
        self.transition = Some(weights);
        self.circuit.add_over(Op::Sum { weights }, units, &[region])
    }
}
