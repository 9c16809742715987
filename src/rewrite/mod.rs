//! Rewriting: a cheaper circuit of the same function.
//!
//! Two passes. *Partial evaluation* specialises the circuit to a query known when it is compiled.
//! *Algebra* then applies the laws of `rules` by equality saturation (egg), and extracts the cheapest
//! circuit by the prices of a [`Target`]. The function stays the same for every value of the
//! parameters: the tables of weights and distributions keep their entries and numbers, learnable
//! weights are never merged, split or changed, and products of frozen weights are appended. With the
//! function the gradients stay; the greatest induced tree, which max-product looks for, may not, since
//! frozen sums over sums become one.
//!
//! What is large and regular costs little: a rule's shape passes over the nodes where it cannot apply,
//! the rest falls into islands, and islands of one form share one e-graph. Limits are on
//! terms and rounds, never on time, so that a circuit compiles to the same text everywhere. The result
//! is validated, whatever the rules promise.

mod algebra;
mod cost;
mod extract;
mod flat;
mod island;
mod language;
mod partial;
mod readback;
mod report;
mod rules;
mod saturate;
mod share;

pub use self::cost::{Cost, Target};
use self::flat::{Flat, Layers};
pub use self::report::{Report, Side, Stop};
use self::rules::Rule;
use crate::circuit::{Op, ValidCircuit};
use crate::diag::Diagnostics;
use crate::ids::VarId;

/// What is known of a query when the circuit is compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Variables that are summed out.
    pub marginalize: Vec<VarId>,
    /// Variables that have a value.
    pub evidence: Vec<(VarId, f32)>,
}

impl Request {
    /// Whether the query asks for the circuit as it is.
    pub fn is_empty(&self) -> bool {
        self.marginalize.is_empty() && self.evidence.is_empty()
    }
}

/// Bounds on the work of a rewriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes of an island.
    pub island: usize,
    /// Terms of one e-graph.
    pub terms: usize,
    /// Iterations of one e-graph.
    pub iterations: usize,
    /// States that exact extraction visits in one e-graph.
    pub extraction: usize,
    /// Rounds over the whole circuit.
    pub rounds: usize,
}

/// How to rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The machine whose prices count.
    pub target: Target,
    /// Bounds on the work.
    pub limits: Limits,
    /// Only the rule of this name, so that it can be tried by itself; all if `None`.
    pub only: Option<&'static str>,
}

impl Options {
    /// The usual limits, for a machine.
    pub fn for_target(target: Target) -> Self {
        let limits =
            Limits { island: 256, terms: 4_000, iterations: 12, extraction: 2_000, rounds: 12 };
        Options { target, limits, only: None }
    }
}

/// The names of all rules, in the order of the law book.
pub fn rule_names() -> impl Iterator<Item = &'static str> {
    rules::ALL.iter().map(|rule| rule.name)
}

/// A circuit after rewriting.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The circuit.
    pub circuit: ValidCircuit,
    /// What was done.
    pub report: Report,
}

/// Specialises a circuit to a query, then makes it cheaper.
///
/// # Errors
/// What is wrong with the request: an unknown variable, one named twice, or a value it cannot take.
pub fn rewrite(
    circuit: ValidCircuit,
    request: &Request,
    options: &Options,
) -> Result<Rewritten, Diagnostics> {
    let wanted = |rule: &&Rule| options.only.is_none_or(|name| name == rule.name);
    let rules: Vec<&'static Rule> = rules::ALL.iter().filter(wanted).collect();
    let mut flat = Flat::of(&circuit);
    let before = side(&circuit, &flat, &Layers::of(&circuit));
    let unchanged = request.is_empty();
    let circuit = if unchanged { circuit } else { partial::specialise(&circuit, request)? };
    if !unchanged {
        flat = Flat::of(&circuit);
    }
    let mut layers = Layers::of(&circuit);
    let (simpler, trace) = algebra::simplify(&flat, &mut layers, &rules, options);
    // The prices of single nodes do not know of einsums and tied weights; those of the whole do.
    let price = |flat: &Flat| Cost::of(flat, &layers).total(&options.target);
    let cheaper = simpler.filter(|simpler| price(simpler) < price(&flat));
    let unchanged = unchanged && cheaper.is_none();
    let (circuit, after) = match cheaper {
        Some(simpler) => {
            let result = simpler.to_circuit(&circuit, &layers, specialised(&circuit))?;
            let after = side(&result, &simpler, &layers);
            (result, after)
        }
        None if unchanged => {
            let after = before.clone();
            (circuit, after)
        }
        None => {
            let after = side(&circuit, &flat, &layers);
            (circuit, after)
        }
    };
    let algebra::Trace { fired, islands, graphs, rounds, stop, inexact } = trace;
    let exact = !inexact;
    let report = Report { before, after, unchanged, fired, islands, graphs, rounds, stop, exact };
    Ok(Rewritten { circuit, report })
}

fn side(circuit: &ValidCircuit, flat: &Flat, layers: &Layers<'_>) -> Side {
    Side {
        nodes: flat.len(),
        edges: flat.edge_count(),
        cost: Cost::of(flat, layers),
        einsums: cost::einsums(flat).len(),
        expression: Side::text(circuit),
    }
}

/// Whether variables were taken from a circuit: it says so, or has nodes to show for it.
fn specialised(circuit: &ValidCircuit) -> bool {
    let shows = |&node: &_| matches!(circuit.op(node), Op::Given { .. } | Op::One);
    circuit.is_specialised() || circuit.order().iter().any(shows)
}

#[cfg(test)]
mod tests;
