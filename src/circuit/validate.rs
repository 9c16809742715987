//! Validation: the one way from a [`Circuit`] to a [`ValidCircuit`].
//!
//! Checked, all faults in one run: E0113 acyclic · E0201 smooth: the inputs of a sum have one scope ·
//! E0202 decomposable: the inputs of a product share no variable · E0203 widths fit · E0204 the root
//! depends on every variable · E0205 the root has one unit · E0206 sums and products have inputs ·
//! E0301 leaves suit their variables · E0302, E0303 given weights are distributions of the right
//! shape · E0304 given leaf parameters lie in their domain · W0114 nodes the root does not reach ·
//! W0305 frozen numbers that single precision cannot hold.
//!
//! Proven on the way: structured decomposability ([`super::vtree`]), and determinism where the
//! supports of the leaves show it ([`super::determinism`]).
//!
//! A node below a fault is not reported again for what follows from it: a scope that is itself faulty
//! is taken as it stands, and nothing is concluded from a node *in doubt*, one on a cycle, of which
//! the text is not understood, or with such a node below it.

mod nodes;
mod numbers;
mod order;
mod scope;

use std::sync::Arc;

use super::determinism::{self, Determinism};
use super::vtree::{self, Vtree};
use super::{Circuit, SourceMap};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::ids::{Id, IdVec, NodeId, ScopeId, VarId};
use crate::scope::Scopes;

/// Variables listed in a message before it says how many more there are.
const LISTED: usize = 12;

/// What validation proved, beyond smoothness and decomposability, which every valid circuit has.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    /// All products of one scope split it one way.
    pub structured_decomposable: bool,
    /// Whether at most one input of every sum is non-zero for every full assignment.
    pub deterministic: Determinism,
}

/// A circuit that passed validation, with the scopes and properties that this proved. Dereferences
/// to the [`Circuit`]; it cannot be changed, and a clone is the same circuit, not a copy.
#[derive(Clone, Debug)]
pub struct ValidCircuit {
    proven: Arc<Proven>,
    properties: Properties,
}

/// A circuit and what validation found on its way.
#[derive(Clone, Debug)]
struct Proven {
    circuit: Circuit,
    order: Vec<NodeId>,
    scopes: Scopes,
    scope_of: IdVec<NodeId, ScopeId>,
}

impl std::ops::Deref for ValidCircuit {
    type Target = Circuit;
    fn deref(&self) -> &Circuit {
        &self.proven.circuit
    }
}

impl ValidCircuit {
    /// The nodes that the root reaches, inputs before the nodes that use them, in the depth-first
    /// post-order of the inputs as written; the root is last.
    pub fn order(&self) -> &[NodeId] {
        &self.proven.order
    }

    /// The interned scopes.
    pub fn scopes(&self) -> &Scopes {
        &self.proven.scopes
    }

    /// The scope of a node.
    pub fn scope(&self, node: NodeId) -> ScopeId {
        self.proven.scope_of[node]
    }

    /// What validation proved.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The vtree that all products follow, if the circuit is structured-decomposable.
    pub fn vtree(&self) -> Option<Vtree<'_>> {
        let structured = self.properties.structured_decomposable;
        let Proven { circuit, order, scopes, scope_of } = &*self.proven;
        structured.then(|| Vtree::of(circuit, order, scopes, scope_of))
    }

    /// The same circuit, deterministic by the word of the format it came from. What is proven stays
    /// proven.
    pub fn declare_deterministic(mut self) -> Self {
        if self.properties.deterministic == Determinism::Unknown {
            self.properties.deterministic = Determinism::Declared;
        }
        self
    }

    /// The circuit, to be changed and validated again.
    pub fn into_circuit(self) -> Circuit {
        Arc::unwrap_or_clone(self.proven).circuit
    }
}

/// Checks every law; on success returns the circuit with what was proven, and the warnings.
///
/// Time and memory are linear in the edges, up to the cost of scopes that are no runs of the
/// depth-first order.
///
/// # Errors
/// Every fault, with the warnings among them, in the order of the text.
pub fn validate(
    circuit: Circuit,
    map: &SourceMap,
) -> Result<(ValidCircuit, Diagnostics), Diagnostics> {
    let doubtful = IdVec::filled(false, circuit.node_count());
    let mut check = Check::new(&circuit, map, &doubtful, true);
    let checked = check.run();
    let mut found = check.faults;
    found.sort();
    let (mut order, mut scopes, scope_of) = match checked {
        Some(checked) if !found.has_errors() => checked,
        _ => return Err(found),
    };
    let reached = order.iter().position(|&node| node == circuit.root());
    order.truncate(reached.map_or(0, |root| root + 1));
    let properties = Properties {
        structured_decomposable: vtree::splits(&circuit, &order, &scopes, &scope_of).is_some(),
        deterministic: determinism::prove(&circuit, &order),
    };
    scopes.close();
    let proven = Arc::new(Proven { circuit, order, scopes, scope_of });
    Ok((ValidCircuit { proven, properties }, found))
}

/// Checks what can be checked of a circuit in which some nodes are in doubt, and maybe the root.
pub(crate) fn validate_in_doubt(
    circuit: &Circuit,
    map: &SourceMap,
    doubtful: &IdVec<NodeId, bool>,
    root_known: bool,
) -> Diagnostics {
    let mut check = Check::new(circuit, map, doubtful, root_known);
    check.run();
    check.faults.sort();
    check.faults
}

/// All nodes, those that the root reaches first and in evaluation order, with the root the last of
/// them; scopes; and the scope of each node.
type Checked = (Vec<NodeId>, Scopes, IdVec<NodeId, ScopeId>);

struct Check<'a> {
    circuit: &'a Circuit,
    map: &'a SourceMap,
    /// The nodes in doubt; whatever has one below it is in doubt too.
    doubt: IdVec<NodeId, bool>,
    root_known: bool,
    faults: Diagnostics,
}

impl<'a> Check<'a> {
    fn new(
        circuit: &'a Circuit,
        map: &'a SourceMap,
        doubtful: &IdVec<NodeId, bool>,
        root_known: bool,
    ) -> Self {
        let doubt = IdVec::filled(false, circuit.node_count());
        let mut check = Check { circuit, map, doubt, root_known, faults: Diagnostics::new() };
        check.spread_doubt(doubtful.iter().filter(|&(_, &doubt)| doubt).map(|(node, _)| node));
        check
    }

    /// `None` if there is nothing to order, or a cycle.
    fn run(&mut self) -> Option<Checked> {
        if self.circuit.node_count() <= self.circuit.root().index() {
            let fault = Diagnostic::new(Code::E0206, "the circuit has no nodes");
            self.faults.push(fault.at_option(self.map.structure));
            return None;
        }
        self.each_node();
        self.each_parameter();
        self.each_weights();
        self.too_small();
        let acyclic = self.cycles();
        let order = self.order();
        self.unreachable(&order);
        let (scopes, scope_of) = self.scopes(&order);
        acyclic.then_some((order, scopes, scope_of))
    }

    /// Puts some nodes in doubt, and all that have one of them below.
    fn spread_doubt(&mut self, nodes: impl Iterator<Item = NodeId>) {
        let mut stack: Vec<NodeId> = nodes.collect();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut self.doubt[node], true) {
                stack.extend(self.circuit.parents(node));
            }
        }
    }

    /// The inputs of a node that are not in doubt.
    fn sure_inputs(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        self.circuit.inputs(node).filter(|&input| !self.doubt[input])
    }

    fn fault(&self, code: Code, node: NodeId, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, message).at_option(self.map.span(node)).node(self.map.name(node))
    }

    /// Variables by name, the first ones of many.
    fn list(&self, variables: &[VarId]) -> String {
        if variables.is_empty() {
            return "no variable".into();
        }
        let name = |&var: &VarId| format!("`{}`", self.circuit.variables().name(var));
        let names: Vec<String> = variables.iter().take(LISTED).map(name).collect();
        let more = match variables.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        names.join(", ") + &more
    }
}
