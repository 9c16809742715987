//! Structured decomposability, and the vtree that shows it.
//!
//! A circuit is structured-decomposable if all its products of one scope split it one way. The splits
//! then form one tree over the variables, the vtree: the root's scope is split as every product over
//! it splits it, and so on down. Inputs over no variables do not count.

use std::fmt;
use std::ops::Range;

use super::{Circuit, Op};
use crate::ids::{IdVec, NodeId, ScopeId};
use crate::scope::Scopes;

/// How each scope is split.
#[derive(Default)]
pub(super) struct Splits {
    /// Where the parts of each scope lie; empty of one that no product splits.
    places: IdVec<ScopeId, Range<u32>>,
    /// Parts, ascending by id within a split.
    parts: Vec<ScopeId>,
}

impl Splits {
    fn of(&self, scope: ScopeId) -> &[ScopeId] {
        let place = |place: &Range<u32>| place.start as usize..place.end as usize;
        self.places.get(scope).map_or(&[], |range| &self.parts[place(range)])
    }
}

/// The split of every scope that a product splits; `None` if two products split one differently.
pub(super) fn splits(
    circuit: &Circuit,
    order: &[NodeId],
    scopes: &Scopes,
    scope_of: &IdVec<NodeId, ScopeId>,
) -> Option<Splits> {
    let mut splits = Splits { places: IdVec::filled(0..0, scopes.len()), parts: Vec::new() };
    let is_product = |op| matches!(op, Op::Product | Op::Kronecker);
    let mut split = Vec::new();
    for &node in order.iter().filter(|&&node| is_product(circuit.op(node))) {
        let inputs = circuit.inputs(node).map(|input| scope_of[input]);
        split.clear();
        split.extend(inputs.filter(|&scope| scope != Scopes::EMPTY));
        if split.len() < 2 {
            continue;
        }
        split.sort_unstable();
        let known = splits.of(scope_of[node]);
        if known.is_empty() {
            let start = splits.parts.len() as u32;
            splits.parts.extend_from_slice(&split);
            splits.places[scope_of[node]] = start..splits.parts.len() as u32;
        } else if known != split {
            return None;
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
        let splits = splits(circuit, order, scopes, scope_of).unwrap_or_default();
        Vtree { circuit, scopes, root, splits }
    }

    /// The scope of the root.
    pub fn root(&self) -> ScopeId {
        self.root
    }

    /// The parts a scope is split into, ascending by id; none of a scope that no product splits.
    pub fn parts(&self, scope: ScopeId) -> &[ScopeId] {
        self.splits.of(scope)
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
