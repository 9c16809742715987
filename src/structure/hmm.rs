//! Hidden Markov model: a chain of hidden variables over the variables in their order.
//!
//! The chain's first hidden variable is the root; see [`hidden`] for the layers. A tied
//! model has one transition and one emission for all steps, each one sector used many times (Rabiner
//! 1989, A Tutorial on Hidden Markov Models).

use super::hidden::{self, Rooted};
use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::Circuit;
use crate::diag::{Code, Diagnostic, Diagnostics, Span};
use crate::ids::{Id, VarId};
use crate::spec::{Hmm, Spec};

/// Builds the circuit.
///
/// # Errors
/// Every kind of variable that the leaves do not suit, variables of several kinds under one emission,
/// and a size beyond all memory.
pub(super) fn build(spec: &Spec, hmm: &Hmm, span: Span) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, hmm.units, &mut faults);
    let (n, k) = (spec.variables.value.len() as u128, u128::from(hmm.units));
    let steps = if hmm.tied { 1 } else { n };
    if let Some(fault) = check_size(4 * n, steps * (kinds.most_numbers(k) + k * k)) {
        faults.push(fault.at(span));
    }
    if let Some(fault) = kinds_fault(spec, hmm) {
        faults.push(fault.at(span));
    }
    if faults.has_errors() {
        return Err(faults);
    }
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let order: Vec<VarId> = circuit.variables().ids().collect();
    let parent = order.iter().map(|var| var.index().checked_sub(1).map(VarId::from_index));
    let chain = Rooted { parent: parent.collect(), order };
    hidden::add(&mut circuit, &leaves, &chain, hmm.units, hmm.tied);
    Ok(Draft::whole(circuit))
}

/// Variables that cannot have one emission.
fn kinds_fault(spec: &Spec, hmm: &Hmm) -> Option<Diagnostic> {
    let variables = &spec.variables.value;
    let first = variables.kind(variables.ids().next()?);
    let other = variables.ids().find(|&var| hmm.tied && variables.kind(var) != first)?;
    let message = format!(
        "a tied HMM has one emission for all variables, but `{}` is {first} and `{}` is {}",
        variables.name(VarId(0)),
        variables.name(other),
        variables.kind(other)
    );
    let help = "write `tied: false`, so that each variable has its own";
    Some(Diagnostic::new(Code::E0117, message).help(help))
}
