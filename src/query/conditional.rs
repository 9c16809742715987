//! Conditionals: of every variable given the evidence, and of some variables given others.

use crate::circuit::{Op, ValidCircuit, Values};
use crate::engine::reference;
use crate::ids::{Id, VarId};
use crate::variables::VarKind;

use super::posterior::Posterior;

/// The distribution of one variable given evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Conditional {
    /// The probability of each state; all of it at the observed one.
    States(Vec<f64>),
    /// Mean and variance of a real variable, a mixture of its leaves; an observed one has none.
    Real {
        /// The mean.
        mean: f64,
        /// The variance.
        variance: f64,
    },
}

/// The distribution of every variable given the evidence, p(xᵥ | e): exact, in one pass forward and one
/// back. What a variable's leaves say is weighed by their flows. Of a variable that is not observed and on
/// which the circuit does not depend, all numbers are NaN.
pub fn conditionals(posterior: &Posterior<'_>) -> Vec<Conditional> {
    let circuit = posterior.circuit();
    let flows = posterior.flows();
    let mut leaves: Vec<Vec<(f64, _)>> = vec![Vec::new(); circuit.variables().len()];
    for &node in circuit.order() {
        let Op::Leaf { var, dist } = circuit.op(node) else { continue };
        for unit in 0..circuit.units(node) as usize {
            let flow = *flows.at(node, unit);
            if flow > 0.0 && posterior.observed(var).is_none() {
                leaves[var.index()].push((flow, posterior.leaf(dist, unit)));
            }
        }
    }
    let of_each = circuit.variables().ids().zip(&leaves).map(|(var, leaves)| {
        match (circuit.variables().kind(var), posterior.observed(var)) {
            (VarKind::Categorical { states }, Some(value)) => Conditional::States(
                (0..states).map(|s| f64::from(u8::from(s as f32 == value))).collect(),
            ),
            (VarKind::Real, Some(value)) => Conditional::Real { mean: value.into(), variance: 0.0 },
            (VarKind::Categorical { states }, None) => {
                let unknown = if leaves.is_empty() { f64::NAN } else { 0.0 };
                let mut p = vec![unknown; states as usize];
                for (flow, leaf) in leaves {
                    p.iter_mut().zip(leaf.probabilities()).for_each(|(p, of)| *p += flow * of);
                }
                Conditional::States(p)
            }
            (VarKind::Real, None) => {
                mixture(leaves.iter().map(|(flow, leaf)| (*flow, leaf.moments())))
            }
        }
    });
    of_each.collect()
}

/// Mean and variance of a mixture, given the weights and the moments of what it mixes.
fn mixture(parts: impl Iterator<Item = (f64, (f64, f64))> + Clone) -> Conditional {
    let weight: f64 = parts.clone().map(|(w, _)| w).sum();
    let mean = parts.clone().map(|(w, (mean, _))| w * mean).sum::<f64>() / weight;
    let squares = parts.map(|(w, (of, variance))| w * (variance + (of - mean).powi(2)));
    Conditional::Real { mean, variance: squares.sum::<f64>() / weight }
}

/// ln p(A | B) in nats, where A are the observed variables of the row that are in `of`, and B the
/// other observed ones: the difference of two marginals. −∞ where A is impossible given B; `None` where B
/// is itself impossible.
pub fn log_conditional(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    of: &[VarId],
    row: &[Option<f32>],
) -> Option<f64> {
    let mut given = row.to_vec();
    of.iter().for_each(|var| given[var.index()] = None);
    let log_given = reference::log_likelihood(circuit, values, &given);
    let both = reference::log_likelihood(circuit, values, row);
    (log_given > f64::NEG_INFINITY).then_some(both - log_given)
}
