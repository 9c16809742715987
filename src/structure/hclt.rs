//! Hidden Chow–Liu tree (Liu and Van den Broeck 2021, Tractable Regularization of Probabilistic
//! Circuits): the Chow–Liu tree of the training data, with a hidden variable in the place of each
//! variable; see [`hidden`] for the layers.
//!
//! The tree is no part of what a person writes. [`learned`] finds it in data, and `resolve` writes it
//! into the description as `tree: [(0, 1), …]`, so that from then on the text alone says what the
//! circuit is. The hidden tree hangs from its centre: no rooting is less deep.

use std::collections::VecDeque;

use super::chow_liu;
use super::hidden::{self, Rooted};
use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::Circuit;
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic, Diagnostics, Span};
use crate::ids::{Id, VarId};
use crate::spec::{Edges, Hclt, Spec};

/// Builds the circuit.
///
/// # Errors
/// E0118 without a tree, E0117 for what is no tree, every kind of variable that the leaves do not
/// suit, and a size beyond all memory.
pub(super) fn build(spec: &Spec, hclt: &Hclt, span: Span) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, hclt.units, &mut faults);
    let (n, k) = (spec.variables.value.len(), u128::from(hclt.units));
    let numbers = n as u128 * (kinds.most_numbers(k) + k * k);
    if let Some(fault) = check_size(4 * n as u128, numbers) {
        faults.push(fault.at(span));
    }
    let neighbours = match &hclt.tree {
        None => Err(no_tree(span)),
        Some(tree) => neighbours(tree, n),
    };
    let neighbours = faults.unless_errors(neighbours)?;
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let tree = rooted(&neighbours, centre(&neighbours));
    hidden::add(&mut circuit, &leaves, &tree, hclt.units, false);
    Ok(Draft::whole(circuit))
}

/// The text of a hidden Chow–Liu tree of `data`.
pub(super) fn learned(hclt: &Hclt, data: &Dataset) -> String {
    let edges: Vec<String> =
        chow_liu::tree(data).iter().map(|(a, b)| format!("({}, {})", a.0, b.0)).collect();
    format!("Hclt(units: {}, tree: [{}])", hclt.units, edges.join(", "))
}

fn no_tree(span: Span) -> Diagnostic {
    let help = "`pcc train` learns it from the training data, and `pcc compile --data TRAIN` from \
                those; or write its edges: `tree: [(0, 1), (1, 2), …]`";
    Diagnostic::new(Code::E0118, "the tree of `Hclt` is learned from data, and there are none")
        .at(span)
        .help(help)
}

/// The neighbours of each variable, in the order of the edges.
///
/// # Errors
/// E0117 at the first edge that is none of a tree, or if there are too few.
fn neighbours(tree: &Edges, variables: usize) -> Result<Vec<Vec<usize>>, Diagnostic> {
    let mut neighbours = vec![Vec::new(); variables];
    let mut sets: Vec<usize> = (0..variables).collect();
    for edge in &tree.value {
        let (a, b) = (edge.value.0 as usize, edge.value.1 as usize);
        let fault = |message: String, help: String| {
            Err(Diagnostic::new(Code::E0117, message).at(edge.span).help(help))
        };
        if a.max(b) >= variables {
            let help = format!("the variables are numbered from 0 to {}", variables - 1);
            return fault(format!("the tree has variable {}", a.max(b)), help);
        }
        let (in_a, in_b) = (set_of(&mut sets, a), set_of(&mut sets, b));
        if in_a == in_b {
            let message = format!("the edge between {a} and {b} closes a cycle");
            return fault(message, "the edges before it join the two already".into());
        }
        sets[in_a] = in_b;
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    if tree.value.len() + 1 < variables {
        let message = format!("{} edges do not join {variables} variables", tree.value.len());
        let help = format!("a tree of them has {} edges", variables - 1);
        return Err(Diagnostic::new(Code::E0117, message).at(tree.span).help(help));
    }
    Ok(neighbours)
}

/// The representative of the set that `at` is in; the way to it is halved.
fn set_of(sets: &mut [usize], mut at: usize) -> usize {
    while sets[at] != at {
        sets[at] = sets[sets[at]];
        at = sets[at];
    }
    at
}

/// The middle of a longest path.
fn centre(neighbours: &[Vec<usize>]) -> usize {
    let last = |from| rooted(neighbours, from).order.last().map_or(from, |var| var.index());
    let end = last(0);
    let tree = rooted(neighbours, end);
    let mut path = vec![last(end)];
    while let Some(parent) = tree.parent[path[path.len() - 1]] {
        path.push(parent.index());
    }
    path[path.len() / 2]
}

/// The tree, hanging from `root`, in breadth-first order.
fn rooted(neighbours: &[Vec<usize>], root: usize) -> Rooted {
    let mut parent = vec![None; neighbours.len()];
    let mut order = Vec::with_capacity(neighbours.len());
    let mut open = VecDeque::from([root]);
    while let Some(var) = open.pop_front() {
        order.push(VarId::from_index(var));
        for &next in &neighbours[var] {
            // All neighbours but the one that led here are below.
            if parent[var] != Some(VarId::from_index(next)) {
                parent[next] = Some(VarId::from_index(var));
                open.push_back(next);
            }
        }
    }
    Rooted { order, parent }
}
