//! A circuit as a PSDD and its vtree, where it is one.
//!
//! That takes binary variables, single units with given numbers, determinism, a vtree that splits
//! each scope in two, and sums over products that split as it does. Sums over one variable become one
//! distribution of it.

use std::collections::HashMap;
use std::fmt::Write;

use super::unfit;
use crate::circuit::{Determinism, Op, ValidCircuit, WeightSource};
use crate::diag::Diagnostic;
use crate::ids::{DistId, IdVec, NodeId, ScopeId, VarId};
use crate::leaf::Family;
use crate::variables::VarKind;

/// A PSDD: the texts of a `.psdd` and of its `.vtree`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagram {
    /// The text of the `.psdd`.
    pub psdd: String,
    /// The text of the `.vtree`.
    pub vtree: String,
}

/// The texts of a circuit that is a PSDD. Variable `x0` is variable 1 there.
///
/// # Errors
/// E0704, naming what does not fit.
pub fn psdd(circuit: &ValidCircuit) -> Result<Diagram, Diagnostic> {
    let variables = circuit.variables();
    if let Some(var) = variables.ids().find(|&var| variables.kind(var) != VarKind::BINARY) {
        let name = variables.name(var);
        return Err(unfit(format!("a PSDD has binary variables only, and `{name}` is none")));
    }
    if circuit.properties().deterministic == Determinism::Unknown {
        return Err(unfit("a PSDD is deterministic, and this circuit is not known to be"));
    }
    let tree = Tree::of(circuit)?;
    let mut writer = Writer {
        circuit,
        tree: &tree,
        ids: IdVec::filled(None, circuit.node_count()),
        text: String::new(),
        next: 0,
    };
    for &node in circuit.order() {
        writer.node(node)?;
    }
    let psdd = format!("psdd {}\n{}", writer.next, writer.text);
    Ok(Diagram { psdd, vtree: tree.text })
}

/// The vtree: numbers of scopes, children first, and what each splits into, the left side first.
struct Tree {
    number: HashMap<ScopeId, u32>,
    split: HashMap<ScopeId, [ScopeId; 2]>,
    text: String,
}

impl Tree {
    fn of(circuit: &ValidCircuit) -> Result<Self, Diagnostic> {
        let Some(vtree) = circuit.vtree() else {
            return Err(unfit(
                "a PSDD follows a vtree, and products of one scope split it two ways",
            ));
        };
        let mut tree = Tree { number: HashMap::new(), split: HashMap::new(), text: String::new() };
        let mut lines = String::new();
        let mut stack = vec![(vtree.root(), false)];
        while let Some((scope, children_done)) = stack.pop() {
            match *vtree.parts(scope) {
                [] if circuit.scopes().size(scope) == 1 => {
                    let number = tree.enter(scope);
                    for var in circuit.scopes().variables(scope) {
                        let _ = writeln!(lines, "L {number} {}", var.0 + 1);
                    }
                }
                [left, right] if children_done => {
                    let [a, b] = [left, right].map(|side| tree.number[&side]);
                    let number = tree.enter(scope);
                    tree.split.insert(scope, [left, right]);
                    let _ = writeln!(lines, "I {number} {a} {b}");
                }
                [left, right] => stack.extend([(scope, true), (right, false), (left, false)]),
                _ => {
                    let size = circuit.scopes().size(scope);
                    let message = format!("a scope of {size} variables is not split in two");
                    return Err(unfit(format!("a vtree is binary, and {message}")));
                }
            }
        }
        tree.text = format!("vtree {}\n{lines}", tree.number.len());
        Ok(tree)
    }

    fn enter(&mut self, scope: ScopeId) -> u32 {
        let number = self.number.len() as u32;
        self.number.insert(scope, number);
        number
    }
}

struct Writer<'a> {
    circuit: &'a ValidCircuit,
    tree: &'a Tree,
    /// The id of a node in the file, once it is written. Products are part of the sums above them.
    ids: IdVec<NodeId, Option<u32>>,
    text: String,
    next: u32,
}

impl Writer<'_> {
    fn node(&mut self, node: NodeId) -> Result<(), Diagnostic> {
        let circuit = self.circuit;
        if circuit.units(node) != 1 {
            return Err(unfit(format!("`{node}` has {} units", circuit.units(node))));
        }
        match circuit.op(node) {
            Op::Leaf { var, dist } => {
                let p = self.probabilities(node, dist)?;
                self.distribution(node, var, p)
            }
            Op::Product => {
                let inside = |parent| matches!(circuit.op(parent), Op::Sum { .. });
                match node != circuit.root() && circuit.parents(node).all(inside) {
                    true => Ok(()),
                    false => self.decision(node, &[(node, 1.0)]),
                }
            }
            Op::Sum { weights } | Op::Mixing { weights } => {
                let (WeightSource::Frozen(weights) | WeightSource::Given(weights)) =
                    &circuit.weights()[weights].source
                else {
                    return Err(unfit(format!("the weights of `{node}` are not given")));
                };
                let elements: Vec<(NodeId, f64)> =
                    circuit.inputs(node).zip(weights.iter().copied()).collect();
                match circuit.scopes().variables(circuit.scope(node))[..] {
                    [var] => self.mixture(node, var, &elements),
                    _ => self.decision(node, &elements),
                }
            }
            Op::Kronecker | Op::Given { .. } | Op::One => {
                Err(unfit(format!("`{node}` is no node of a PSDD")))
            }
        }
    }

    /// The probabilities that a leaf gives to zero and to one.
    fn probabilities(&self, node: NodeId, dist: DistId) -> Result<[f64; 2], Diagnostic> {
        let dist = &self.circuit.dists()[dist];
        match (dist.family, dist.given.as_deref()) {
            (Family::Bernoulli, Some(&[p])) => Ok([1.0 - p, p]),
            (Family::Categorical { states: 2 }, Some(&[zero, one])) => Ok([zero, one]),
            _ => Err(unfit(format!("the distribution of `{node}` is not given"))),
        }
    }

    /// A sum of leaves of one variable is a distribution of it.
    fn mixture(
        &mut self,
        node: NodeId,
        var: VarId,
        elements: &[(NodeId, f64)],
    ) -> Result<(), Diagnostic> {
        let mut p = [0.0; 2];
        for &(input, weight) in elements {
            let Op::Leaf { dist, .. } = self.circuit.op(input) else {
                return Err(unfit(format!("`{node}` is a sum over sums")));
            };
            let of = self.probabilities(input, dist)?;
            p.iter_mut().zip(of).for_each(|(p, of)| *p += weight * of);
        }
        self.distribution(node, var, p)
    }

    fn distribution(
        &mut self,
        node: NodeId,
        var: VarId,
        [zero, one]: [f64; 2],
    ) -> Result<(), Diagnostic> {
        let vnode = self.tree.number[&self.circuit.scope(node)];
        let (id, var) = (self.enter(node), i64::from(var.0) + 1);
        let _ = match (zero > 0.0, one > 0.0) {
            (true, false) => writeln!(self.text, "L {id} {vnode} {}", -var),
            (false, true) => writeln!(self.text, "L {id} {vnode} {var}"),
            _ => writeln!(self.text, "T {id} {vnode} {var} {} {}", zero.ln(), one.ln()),
        };
        Ok(())
    }

    fn decision(&mut self, node: NodeId, elements: &[(NodeId, f64)]) -> Result<(), Diagnostic> {
        let scope = self.circuit.scope(node);
        let [left, right] = self.tree.split[&scope];
        let vnode = self.tree.number[&scope];
        let mut line = String::new();
        let mut count = 0;
        for &(input, weight) in elements.iter().filter(|&&(_, weight)| weight > 0.0) {
            let parts: Vec<NodeId> = match self.circuit.op(input) {
                Op::Product => self.circuit.inputs(input).collect(),
                _ => return Err(unfit(format!("`{node}` is a sum over sums"))),
            };
            let side = |scope| parts.iter().find(|&&part| self.circuit.scope(part) == scope);
            let (Some(&prime), Some(&sub), 2) = (side(left), side(right), parts.len()) else {
                return Err(unfit(format!("`{input}` is a product of {} factors", parts.len())));
            };
            let ids = [prime, sub].map(|part| self.ids[part]);
            let [Some(prime), Some(sub)] = ids else {
                return Err(unfit(format!("`{input}` is a product over a product")));
            };
            let _ = write!(line, " {prime} {sub} {}", weight.ln());
            count += 1;
        }
        let id = self.enter(node);
        let _ = writeln!(self.text, "D {id} {vnode} {count}{line}");
        Ok(())
    }

    fn enter(&mut self, node: NodeId) -> u32 {
        self.ids[node] = Some(self.next);
        self.next += 1;
        self.next - 1
    }
}
