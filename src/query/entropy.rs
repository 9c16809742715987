//! Entropy and mutual information given evidence, where they are exact.
//!
//! Of a deterministic circuit the term that a sum takes follows from the assignment, so
//! H(sum) = Σ r_c (H(term c) − ln r_c), r_c being the terms' shares, and H(product) = Σ H(factor): one pass
//! (Vergari et al. 2021, *A Compositional Atlas of Tractable Circuit Operations*, section 4, Shannon
//! entropy). The entropy of some of the variables needs the circuit to be deterministic with the
//! others summed out, which is looked for in the same way. Few joint states are listed instead, whatever the
//! circuit. Everything else is refused: entropy of a mixture is #P-hard in general.
//!
//! Logarithms are natural. A real variable's part is a differential entropy.

use crate::circuit::{Circuit, Determinism, Op, SourceMap, ValidCircuit, validate};
use crate::diag::{Code, Diagnostic};
use crate::ids::{Id, IdVec, NodeId, VarId};

use super::joint::{MOST_STATES, joint, joint_states};
use super::posterior::{PerUnit, Posterior, Terms};

/// How the entropy of some variables of a circuit is found. Made once for all rows.
#[derive(Clone, Debug)]
pub struct Entropy {
    of: Vec<VarId>,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Down the sums, which are deterministic.
    Deterministic,
    /// Over all joint states.
    Listed,
}

impl Entropy {
    /// The entropy of some variables of a circuit, none named twice.
    ///
    /// # Errors
    /// E0704 where it is not known to be exact in any way.
    pub fn new(circuit: &ValidCircuit, of: &[VarId]) -> Result<Self, Diagnostic> {
        let way = if is_deterministic_over(circuit, of) {
            Way::Deterministic
        } else if joint_states(circuit, of).is_some() {
            Way::Listed
        } else {
            return Err(refusal(circuit, of));
        };
        Ok(Entropy { of: of.to_vec(), way })
    }

    /// Whether all joint states are listed, which takes as much memory, and not found down the sums.
    pub fn is_listed(&self) -> bool {
        self.way == Way::Listed
    }

    /// H(variables | e), in nats, given the evidence e of the row; observed variables have none.
    pub fn given(&self, posterior: &Posterior<'_>) -> f64 {
        match self.way {
            Way::Deterministic => down_the_sums(posterior, &self.of),
            Way::Listed => {
                joint(posterior, &self.of).iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
            }
        }
    }
}

/// How the mutual information of two sets of variables is found. Made once for all rows.
#[derive(Clone, Debug)]
pub struct MutualInformation {
    of: Entropy,
    with: Entropy,
    both: Entropy,
}

impl MutualInformation {
    /// I(A; B) = H(A) + H(B) − H(A, B) of two sets that share no variable.
    ///
    /// # Errors
    /// E0704 where they share one, or where one of the three entropies is refused.
    pub fn new(circuit: &ValidCircuit, of: &[VarId], with: &[VarId]) -> Result<Self, Diagnostic> {
        if let Some(&var) = of.iter().find(|var| with.contains(var)) {
            let name = circuit.variables().name(var);
            let message = format!("`{name}` is on both sides of a mutual information");
            return Err(Diagnostic::new(Code::E0704, message)
                .help("the information that a variable has of itself is its entropy"));
        }
        let both = [of, with].concat();
        let entropy = |of: &[VarId]| Entropy::new(circuit, of);
        Ok(MutualInformation { of: entropy(of)?, with: entropy(with)?, both: entropy(&both)? })
    }

    /// I(A; B | e), in nats, given the evidence e of the row; at least zero, as rounding may not make it.
    pub fn given(&self, posterior: &Posterior<'_>) -> f64 {
        let [of, with, both] = [&self.of, &self.with, &self.both].map(|h| h.given(posterior));
        (of + with - both).max(0.0)
    }
}

fn refusal(circuit: &ValidCircuit, of: &[VarId]) -> Diagnostic {
    let whole = of.len() == circuit.variables().len();
    let what = if whole {
        "the circuit is"
    } else {
        "with the other variables summed out, the circuit is"
    };
    let message = format!("{what} not known to be deterministic, so the entropy is not exact");
    Diagnostic::new(Code::E0704, message).help(format!(
        "entropies of discrete variables with at most {MOST_STATES} joint states are exact always"
    ))
}

/// Whether the terms of every sum exclude one another by the values of some of the variables, the
/// others being summed out.
fn is_deterministic_over(circuit: &ValidCircuit, of: &[VarId]) -> bool {
    let deterministic =
        |circuit: &ValidCircuit| circuit.properties().deterministic != Determinism::Unknown;
    if of.len() == circuit.variables().len() {
        return deterministic(circuit);
    }
    let marginal = validate(marginal(circuit, of), &SourceMap::default());
    marginal.is_ok_and(|(marginal, _)| deterministic(&marginal))
}

/// The nodes that have some of these variables in their scope.
fn over(circuit: &ValidCircuit, of: &[VarId]) -> IdVec<NodeId, bool> {
    let mut chosen = vec![false; circuit.variables().len()];
    of.iter().for_each(|var| chosen[var.index()] = true);
    let mut over = IdVec::filled(false, circuit.node_count());
    for &node in circuit.order() {
        over[node] = match circuit.op(node) {
            Op::Leaf { var, .. } => chosen[var.index()],
            _ => circuit.inputs(node).any(|input| over[input]),
        };
    }
    over
}

/// The circuit with all but some of its variables summed out: what lies over none of them is one.
fn marginal(circuit: &ValidCircuit, of: &[VarId]) -> Circuit {
    let over = over(circuit, of);
    let mut made = Circuit::new(circuit.variables().clone());
    made.set_specialised(true);
    for dist in circuit.dists().values() {
        made.add_dist(dist.clone());
    }
    for weights in circuit.weights().values() {
        made.add_weights(weights.clone());
    }
    let mut moved: IdVec<NodeId, NodeId> = IdVec::filled(NodeId(0), circuit.node_count());
    for &node in circuit.order() {
        let units = circuit.units(node);
        moved[node] = match over[node] {
            true => {
                let inputs: Vec<NodeId> = circuit.inputs(node).map(|input| moved[input]).collect();
                made.add_over(circuit.op(node), units, &inputs)
            }
            false => made.add(Op::One, units),
        };
    }
    made.set_root(moved[circuit.root()]);
    made
}

fn down_the_sums(posterior: &Posterior<'_>, of: &[VarId]) -> f64 {
    let circuit = posterior.circuit();
    let over = over(circuit, of);
    let mut entropy = PerUnit::new(circuit, 0.0);
    for &node in circuit.order().iter().filter(|&&node| over[node]) {
        let terms = posterior.terms(node);
        for unit in 0..circuit.units(node) as usize {
            if posterior.possible(node, unit) {
                let found = match &terms {
                    Some(terms) => of_sum(terms, &entropy, unit),
                    None => of_unit(posterior, &entropy, node, unit),
                };
                *entropy.at_mut(node, unit) = found;
            }
        }
    }
    *entropy.at(circuit.root(), 0)
}

/// The entropy of one possible unit of a deterministic sum, those of its terms being there.
fn of_sum(terms: &Terms<'_>, below: &PerUnit<f64>, unit: usize) -> f64 {
    let shares = terms.shares(unit);
    shares.map(|((input, unit), share)| share * (below.at(input, unit) - share.ln())).sum()
}

/// The entropy of one possible unit of any other node, those of its factors being there.
fn of_unit(posterior: &Posterior<'_>, below: &PerUnit<f64>, node: NodeId, unit: usize) -> f64 {
    match posterior.circuit().op(node) {
        Op::Leaf { var, .. } if posterior.observed(var).is_some() => 0.0,
        Op::Leaf { dist, .. } => posterior.leaf(dist, unit).entropy(),
        Op::Product | Op::Kronecker => {
            posterior.factors(node, unit).map(|(input, unit)| below.at(input, unit)).sum()
        }
        Op::Given { .. } | Op::One | Op::Sum { .. } | Op::Mixing { .. } => 0.0,
    }
}
