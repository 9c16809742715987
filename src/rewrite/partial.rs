//! Partial evaluation: the circuit of a query whose unobserved variables or evidence are known.
//!
//! ```text
//! p(x0, x1, x2), x1 summed out, x2 = 1:   product(leaf x0, leaf x1, leaf x2)
//!                                      →  product(leaf x0, given x2 = 1)
//! ```
//! Laws: Σₓ f(x) = 1 for a normalised leaf f · 1 · g = g · Σᵢ wᵢ · 1 = 1, since a row of weights sums
//! to one, whatever its parameters. A Kronecker product keeps a one of several units, which repeats
//! the units of the others. Comes before the algebra, which then sees only what the query needs.
//! Time and memory are linear in the edges.

use super::Request;
use super::flat::{Flat, Layers};
use crate::circuit::{Node, Op, ValidCircuit};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::ids::{Id, IdVec, NodeId, VarId};
use crate::variables::{VarKind, Variables};

/// What the query says of a variable.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Free,
    SummedOut,
    Value(f32),
}

/// The circuit specialised to the request.
///
/// # Errors
/// A variable the circuit does not have, or named twice; a value its variable cannot take.
pub(super) fn specialise(
    circuit: &ValidCircuit,
    request: &Request,
) -> Result<ValidCircuit, Diagnostics> {
    let known = read(circuit.variables(), request)?;
    let flat = Flat::of(circuit);
    let mut done =
        Partial { flat: Flat::with_capacity(flat.len(), flat.edge_count()), ones: vec![] };
    let mut results: IdVec<NodeId, Option<NodeId>> = IdVec::new();
    for node in flat.ids() {
        let result = done.node(&flat, &known, &results, node);
        results.push(result);
    }
    // What stands for the root is the last node made: all below a one is one and made nothing.
    if results[flat.root()].is_none() {
        done.one(flat.units(flat.root()));
    }
    done.flat.to_circuit(circuit, &Layers::of(circuit), true)
}

fn read(variables: &Variables, request: &Request) -> Result<IdVec<VarId, Known>, Diagnostics> {
    let mut faults = Diagnostics::new();
    let mut known = IdVec::filled(Known::Free, variables.len());
    let summed_out = request.marginalize.iter().map(|&var| (var, Known::SummedOut));
    let evidence = request.evidence.iter().map(|&(var, value)| (var, Known::Value(value)));
    for (var, what) in summed_out.chain(evidence) {
        if var.index() >= variables.len() {
            faults.push(Diagnostic::new(Code::E0115, format!("the circuit has no variable {var}")));
            continue;
        }
        let name = variables.name(var);
        if known[var] != Known::Free {
            let message = format!("the query names variable `{name}` twice");
            faults.push(Diagnostic::new(Code::E0106, message));
        }
        if let Known::Value(value) = what
            && !takes(variables.kind(var), value)
        {
            let kind = variables.kind(var);
            let message = format!("variable `{name}` is {kind} and cannot be {value}");
            faults.push(Diagnostic::new(Code::E0502, message));
        }
        known[var] = what;
    }
    if faults.is_empty() { Ok(known) } else { Err(faults) }
}

fn takes(kind: VarKind, value: f32) -> bool {
    match kind {
        VarKind::Categorical { states } => {
            value.fract() == 0.0 && value >= 0.0 && f64::from(value) < f64::from(states)
        }
        VarKind::Real => value.is_finite(),
    }
}

struct Partial {
    flat: Flat,
    /// The nodes of ones that were needed as such, by width.
    ones: Vec<(u32, NodeId)>,
}

impl Partial {
    /// The node that stands for `node`; `None` if it is one whatever the row.
    fn node(
        &mut self,
        old: &Flat,
        known: &IdVec<VarId, Known>,
        results: &IdVec<NodeId, Option<NodeId>>,
        node: NodeId,
    ) -> Option<NodeId> {
        let Node { op, units } = old.node(node);
        let inputs = old.inputs(node);
        let all_one = || inputs.iter().all(|&input| results[input].is_none());
        match op {
            Op::Leaf { var, dist } => match known[var] {
                Known::Free => Some(self.flat.push(Node { op, units }, &[])),
                Known::SummedOut => None,
                Known::Value(value) => {
                    Some(self.flat.push(Node { op: Op::Given { dist, value }, units }, &[]))
                }
            },
            Op::Given { .. } => Some(self.flat.push(Node { op, units }, &[])),
            Op::One => None,
            _ if all_one() => None,
            Op::Product => {
                let rest: Vec<NodeId> = inputs.iter().filter_map(|&input| results[input]).collect();
                Some(self.product(Node { op, units }, &rest))
            }
            Op::Kronecker => {
                let mut rest = Vec::with_capacity(inputs.len());
                for &input in inputs {
                    match results[input] {
                        Some(result) => rest.push(result),
                        None if old.units(input) == 1 => {}
                        None => rest.push(self.one(old.units(input))),
                    }
                }
                Some(self.product(Node { op, units }, &rest))
            }
            Op::Sum { .. } | Op::Mixing { .. } => {
                let mut all = Vec::with_capacity(inputs.len());
                for &input in inputs {
                    all.push(match results[input] {
                        Some(result) => result,
                        None => self.one(old.units(input)),
                    });
                }
                Some(self.flat.push(Node { op, units }, &all))
            }
        }
    }

    fn product(&mut self, node: Node, inputs: &[NodeId]) -> NodeId {
        match *inputs {
            [only] => only,
            _ => self.flat.push(node, inputs),
        }
    }

    fn one(&mut self, units: u32) -> NodeId {
        if let Some(&(_, node)) = self.ones.iter().find(|&&(width, _)| width == units) {
            return node;
        }
        let node = self.flat.push(Node { op: Op::One, units }, &[]);
        self.ones.push((units, node));
        node
    }
}
