//! Structured decomposability, and the vtree that shows it.
//!
//! A circuit is structured-decomposable if all its products of one scope split it one way. The splits
//! then form one tree over the variables, the vtree: the root's scope is split as every product over
//! it splits it, and so on down. Inputs over no variables do not count.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use super::{Circuit, Op};
use crate::ids::{IdVec, NodeId, ScopeId};
use crate::scope::Scopes;

/// How each scope is split, parts ascending by id.
pub(super) type Splits = HashMap<ScopeId, Vec<ScopeId>>;

/// The split of every scope that a product splits; `None` if two products split one differently.
pub(super) fn splits(
    circuit: &Circuit,
    order: &[NodeId],
    scope_of: &IdVec<NodeId, ScopeId>,
) -> Option<Splits> {
    let mut splits = Splits::new();
    let is_product = |op| matches!(op, Op::Product | Op::Kronecker);
    for &node in order.iter().filter(|&&node| is_product(circuit.op(node))) {
        let inputs = circuit.inputs(node).map(|input| scope_of[input]);
        let mut split: Vec<ScopeId> = inputs.filter(|&scope| scope != Scopes::EMPTY).collect();
        if split.len() < 2 {
            continue;
        }
        split.sort_unstable();
        match splits.entry(scope_of[node]) {
            Entry::Vacant(entry) => drop(entry.insert(split)),
            Entry::Occupied(entry) if *entry.get() != split => return None,
            Entry::Occupied(_) => {}
        }
    }
    Some(splits)
}

/// The vtree of a structured-decomposable circuit. Prints as an indented tree, truncated if large.
pub struct Vtree<'a> {
    circuit: &'a Circuit,
    scopes: &'a Scopes,
    root: ScopeId,
    splits: Splits,
}

impl<'a> Vtree<'a> {
    /// The vtree of a circuit of which [`splits`] has found it to be structured-decomposable.
    pub(super) fn of(
        circuit: &'a Circuit,
        order: &[NodeId],
        scopes: &'a Scopes,
        scope_of: &IdVec<NodeId, ScopeId>,
    ) -> Self {
        let root = scope_of[circuit.root()];
        let splits = splits(circuit, order, scope_of).unwrap_or_default();
        Vtree { circuit, scopes, root, splits }
    }

    /// The scope of the root.
    pub fn root(&self) -> ScopeId {
        self.root
    }

    /// The parts a scope is split into, ascending by id; none of a scope that no product splits.
    pub fn parts(&self, scope: ScopeId) -> &[ScopeId] {
        self.splits.get(&scope).map_or(&[], Vec::as_slice)
    }
}

/// Lines printed at most.
const MOST_LINES: usize = 200;
/// Variables named on a line at most.
const MOST_NAMES: usize = 8;

impl fmt::Display for Vtree<'_> {
    /// A scope a line, its parts below it by their first variable, each level indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stack = vec![(self.root, 0)];
        let mut lines = 0;
        while let Some((scope, depth)) = stack.pop() {
            if lines == MOST_LINES {
                return writeln!(f, "…");
            }
            lines += 1;
            let variables = self.scopes.variables(scope);
            let names = variables.iter().take(MOST_NAMES);
            let names: Vec<_> = names.map(|&var| self.circuit.variables().name(var)).collect();
            write!(f, "{:indent$}{}", "", names.join(" "), indent = 2 * depth)?;
            match variables.len().saturating_sub(MOST_NAMES) {
                0 => writeln!(f)?,
                more => writeln!(f, " … {more} more")?,
            }
            let mut parts = self.parts(scope).to_vec();
            parts.sort_by_key(|&part| {
                std::cmp::Reverse(self.scopes.variables(part).first().copied())
            });
            stack.extend(parts.into_iter().map(|part| (part, depth + 1)));
        }
        Ok(())
    }
}
