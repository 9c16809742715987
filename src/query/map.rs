//! MAP: the most probable completion of a row.
//!
//! Max-product takes the greatest term of every sum and the mode of every leaf. Where at most one term of
//! a sum is not zero for any full assignment, the sum *is* its greatest term, and what max-product finds is
//! the most probable completion (Darwiche 2009, *Modeling and Reasoning with Bayesian Networks*, chapter 12,
//! on MPE by compiled circuits; Vergari et al. 2021). Elsewhere it finds the best induced tree, which is one
//! part of what its assignment has: the circuit evaluates that assignment again, and its probability is a
//! lower bound on the greatest one.

use crate::circuit::{Determinism, ValidCircuit, Values};
use crate::engine::reference;

use super::table::Answer;

/// A full assignment that agrees with some evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// A value a variable; NaN for one on which the circuit does not depend and that is not observed.
    pub row: Vec<f32>,
    /// ln p of the assignment, in nats, evaluated by the circuit.
    pub log_p: f64,
    /// Whether it is the most probable completion, or `log_p` a lower bound on the probability of that.
    pub answer: Answer,
}

/// What MAP is of a circuit.
pub(super) fn answer(determinism: Determinism) -> Answer {
    match determinism {
        Determinism::Proven | Determinism::Declared => Answer::Exact,
        Determinism::Unknown => Answer::Bound,
    }
}

/// The most probable completion of the evidence, or a likely one where the circuit is not known to be
/// deterministic. `None` where the evidence is impossible. Of terms that are equally great the first is
/// taken, of equally likely values the least, so the same row has the same completion always.
pub fn map(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    evidence: &[Option<f32>],
) -> Option<Completion> {
    let row = reference::complete(circuit, values, evidence)?;
    let assigned: Vec<Option<f32>> =
        row.iter().map(|&value| (!value.is_nan()).then_some(value)).collect();
    let log_p = reference::log_likelihood(circuit, values, &assigned);
    Some(Completion { row, log_p, answer: answer(circuit.properties().deterministic) })
}
