//! Scopes, and the laws about them: smooth, decomposable, nothing missing.

use std::collections::HashMap;

use super::Check;
use crate::circuit::{Circuit, Op};
use crate::diag::{Code, Diagnostic};
use crate::ids::{IdVec, NodeId, ScopeId, VarId};
use crate::scope::Scopes;

/// Inputs that a message on scopes names at most.
const NAMED: usize = 4;

impl Check<'_> {
    /// The scope of every node of `order`; reports the nodes that break a law.
    pub(super) fn scopes(&mut self, order: &[NodeId]) -> (Scopes, IdVec<NodeId, ScopeId>) {
        let circuit = self.circuit;
        let mut scopes = Scopes::new(variable_order(circuit, order));
        let mut scope_of = IdVec::filled(Scopes::EMPTY, circuit.node_count());
        let mut below = Vec::new();
        for &node in order {
            below.clear();
            below.extend(circuit.inputs(node).map(|input| scope_of[input]));
            scope_of[node] = match circuit.op(node) {
                Op::Leaf { var, .. } => scopes.singleton(var),
                Op::Given { .. } | Op::One => Scopes::EMPTY,
                Op::Product | Op::Kronecker => {
                    let (union, disjoint) = scopes.union(&below);
                    if !disjoint {
                        self.not_decomposable(node, &scopes, &scope_of);
                    }
                    union
                }
                Op::Sum { .. } | Op::Mixing { .. } => {
                    if below.iter().any(|&scope| scope != below[0]) {
                        self.not_smooth(node, &mut scopes, &scope_of);
                        scopes.union(&below).0
                    } else {
                        below.first().copied().unwrap_or(Scopes::EMPTY)
                    }
                }
            };
        }
        self.root_scope(&mut scopes, scope_of[circuit.root()]);
        (scopes, scope_of)
    }

    fn root_scope(&mut self, scopes: &mut Scopes, root_scope: ScopeId) {
        let circuit = self.circuit;
        if !self.root_known || self.doubt[circuit.root()] {
            return;
        }
        // A circuit from which variables were taken on purpose may have nodes to show for it.
        let specialised = circuit.is_specialised()
            || circuit.nodes().any(|node| matches!(circuit.op(node), Op::Given { .. } | Op::One));
        let all = scopes.everything();
        if root_scope != all && !specialised {
            let missing = self.list(&scopes.difference(all, root_scope));
            let name = self.map.name(circuit.root());
            let message = format!("the root `{name}` does not depend on {missing}");
            let fault = self
                .fault(Code::E0204, circuit.root(), message)
                .note(self.over(circuit.root(), scopes, root_scope))
                .help("multiply a leaf of each into the root, or remove them from `variables`");
            self.faults.push(fault);
        }
    }

    /// Reports the first two inputs that share a variable.
    fn not_decomposable(
        &mut self,
        node: NodeId,
        scopes: &Scopes,
        scope_of: &IdVec<NodeId, ScopeId>,
    ) {
        let mut owner: HashMap<VarId, NodeId> = HashMap::new();
        let clash = self.sure_inputs(node).find_map(|input| {
            let variables = scopes.variables(scope_of[input]).into_iter();
            let clash = |var| owner.insert(var, input);
            variables.filter_map(clash).next().map(|first| (first, input))
        });
        // Without one, it is an input in doubt that shares a variable.
        let Some((first, second)) = clash else { return };
        let shared = self.list(&scopes.intersection(scope_of[first], scope_of[second]));
        let (name, a) = (self.map.name(node), self.map.name(first));
        let fault = if first == second {
            let message =
                format!("product `{name}` is not decomposable: it has the input `{a}` twice");
            let fault = self.fault(Code::E0202, node, message);
            self.show_scopes(fault, scopes, scope_of, &[first])
                .help("inputs of a product must depend on disjoint variables; name it once")
        } else {
            let b = self.map.name(second);
            let message =
                format!("product `{name}` is not decomposable: `{a}` and `{b}` share {shared}");
            let fault = self.fault(Code::E0202, node, message);
            self.show_scopes(fault, scopes, scope_of, &[first, second])
                .help("inputs of a product must depend on disjoint variables")
        };
        self.faults.push(fault);
    }

    /// Reports what each input of a sum lacks of what they have together.
    fn not_smooth(&mut self, node: NodeId, scopes: &mut Scopes, scope_of: &IdVec<NodeId, ScopeId>) {
        let mut inputs: Vec<NodeId> = Vec::new();
        for input in self.sure_inputs(node) {
            if !inputs.iter().take(NAMED * 4).any(|&seen| scope_of[seen] == scope_of[input]) {
                inputs.push(input);
            }
        }
        let below: Vec<ScopeId> = inputs.iter().map(|&input| scope_of[input]).collect();
        let (all, _) = scopes.union(&below);
        let lacking: Vec<NodeId> =
            self.sure_inputs(node).filter(|&input| scope_of[input] != all).collect();
        if inputs.len() < 2 {
            return;
        }
        let mut parts: Vec<String> = lacking
            .iter()
            .take(NAMED)
            .map(|&input| {
                let lacks = self.list(&scopes.difference(all, scope_of[input]));
                format!("`{}` lacks {lacks}", self.map.name(input))
            })
            .collect();
        if lacking.len() > NAMED {
            parts.push(format!("{} more inputs lack some", lacking.len() - NAMED));
        }
        let name = self.map.name(node);
        let message = format!("sum `{name}` is not smooth: {}", parts.join(", "));
        let fault = self.fault(Code::E0201, node, message);
        inputs.truncate(NAMED);
        let fault = self
            .show_scopes(fault, scopes, scope_of, &inputs)
            .help("multiply leaves of the missing variables in, or let `pcc check --smooth` do it");
        self.faults.push(fault);
    }

    /// Says what each of some inputs is over: beside it where it stands in the text, else in a note.
    fn show_scopes(
        &self,
        mut fault: Diagnostic,
        scopes: &Scopes,
        scope_of: &IdVec<NodeId, ScopeId>,
        inputs: &[NodeId],
    ) -> Diagnostic {
        for &input in inputs {
            let over = self.over(input, scopes, scope_of[input]);
            fault = match self.map.nodes.get(&input) {
                Some(&(_, span)) => fault.label(Some(span), over),
                None => fault.note(over),
            };
        }
        fault
    }

    fn over(&self, node: NodeId, scopes: &Scopes, scope: ScopeId) -> String {
        format!("`{}` is over {}", self.map.name(node), self.list(&scopes.variables(scope)))
    }
}

/// The variables in the order in which a depth-first walk meets their leaves, the rest after them.
fn variable_order(circuit: &Circuit, order: &[NodeId]) -> Vec<VarId> {
    let mut met = IdVec::<VarId, bool>::filled(false, circuit.variables().len());
    let mut variables = Vec::with_capacity(met.len());
    let leaves = order.iter().filter_map(|&node| match circuit.op(node) {
        Op::Leaf { var, .. } => Some(var),
        _ => None,
    });
    for var in leaves.chain(circuit.variables().ids()) {
        if !std::mem::replace(&mut met[var], true) {
            variables.push(var);
        }
    }
    variables
}
