//! `.vtree`: the binary tree of variables that the decision nodes of a PSDD or an SDD follow.
//!
//! ```text
//! vtree 3
//! L 0 1        leaf 0 is variable 1
//! L 2 2
//! I 1 0 2      node 1 has node 0 on its left and node 2 on its right
//! ```
//! Children stand before parents, so the last line is the root; lines that begin with `c` are
//! comments. The number in the first line is not relied on.

use std::collections::HashMap;

use super::lines::Text;
use super::nodes::variable;
use crate::diag::{Code, Diagnostic};
use crate::ids::VarId;

/// A node of a vtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vnode {
    /// One variable.
    Leaf(VarId),
    /// The ids of the children.
    Split(u64, u64),
}

/// What is known of a vtree: nodes by id, and the place of each in left-to-right order.
#[derive(Clone, Debug, Default)]
pub(super) struct VtreeFile {
    nodes: HashMap<u64, Vnode>,
    /// For each node the variables below it as a run of positions from left to right.
    runs: HashMap<u64, (u32, u32)>,
    /// The variables from left to right.
    pub(super) order: Vec<VarId>,
    /// The root.
    pub(super) root: u64,
}

impl VtreeFile {
    /// Reads a vtree.
    ///
    /// # Errors
    /// E0801 for a line that is no line of a vtree, E0802 for an id that is not defined, defined
    /// twice, or used twice, E0803 for a variable that is there twice or not at all.
    pub(super) fn read(text: Text<'_>) -> Result<Self, Diagnostic> {
        let mut nodes = HashMap::new();
        let mut used = HashMap::new();
        let mut variables = HashMap::new();
        let mut root = None;
        let mut headed = false;
        for mut line in text.lines("c") {
            let kind = line.expect("a kind of line")?;
            if !headed {
                if kind.text != "vtree" {
                    let message = "a vtree begins with `vtree` and its number of nodes";
                    return Err(line.fault_at(kind, Code::E0801, message));
                }
                line.number::<u64>("a number of nodes")?;
                line.end()?;
                headed = true;
                continue;
            }
            let field = line.expect("an id")?;
            let id: u64 = line.parse(field, "an id")?;
            let node = match kind.text {
                "L" => {
                    let var = variable(&mut line)?;
                    if variables.insert(var, id).is_some() {
                        let message = format!("variable {} is there twice", var.0 + 1);
                        return Err(line.fault(Code::E0803, message));
                    }
                    Vnode::Leaf(var)
                }
                "I" => {
                    let mut child = |what| {
                        let field = line.expect(what)?;
                        let child: u64 = line.parse(field, what)?;
                        let fault = |message| Err(line.fault_at(field, Code::E0802, message));
                        if !nodes.contains_key(&child) {
                            return fault(format!("no line before this one defines {child}"));
                        }
                        if used.insert(child, id).is_some() {
                            return fault(format!("{child} has two parents"));
                        }
                        Ok(child)
                    };
                    Vnode::Split(child("a left child")?, child("a right child")?)
                }
                _ => return Err(line.fault_at(kind, Code::E0801, "not `L`, `I` or `c`")),
            };
            line.end()?;
            if nodes.insert(id, node).is_some() {
                let message = format!("the id {id} is defined twice");
                return Err(line.fault_at(field, Code::E0802, message));
            }
            root = Some(id);
        }
        let Some(root) = root else {
            return Err(text.fault_at_end(Code::E0801, "a vtree without nodes"));
        };
        if used.len() + 1 != nodes.len() {
            let message = "the last node is not over all that stand before it";
            return Err(text.fault_at_end(Code::E0803, message));
        }
        let mut tree = VtreeFile { nodes, runs: HashMap::new(), order: Vec::new(), root };
        tree.lay_out();
        let most = tree.order.iter().map(|var| var.0 as usize + 1).max().unwrap_or(0);
        if most != tree.order.len() {
            let missing = (0..most as u32).find(|&var| !variables.contains_key(&VarId(var)));
            let message = format!("variable {} is missing", missing.unwrap_or(0) + 1);
            return Err(text.fault_at_end(Code::E0803, message));
        }
        Ok(tree)
    }

    /// Finds the run of each node.
    fn lay_out(&mut self) {
        let mut stack = vec![(self.root, None)];
        while let Some((id, entered)) = stack.pop() {
            let here = self.order.len() as u32;
            match (self.nodes[&id], entered) {
                (Vnode::Leaf(var), _) => {
                    self.order.push(var);
                    self.runs.insert(id, (here, here + 1));
                }
                (Vnode::Split(left, right), None) => {
                    stack.push((id, Some(here)));
                    stack.push((right, None));
                    stack.push((left, None));
                }
                (Vnode::Split(..), Some(start)) => {
                    self.runs.insert(id, (start, here));
                }
            }
        }
    }

    /// A node.
    pub(super) fn get(&self, id: u64) -> Option<Vnode> {
        self.nodes.get(&id).copied()
    }

    /// Whether the variables of `inner` are among those of `outer`.
    pub(super) fn contains(&self, outer: u64, inner: u64) -> bool {
        match (self.runs.get(&outer), self.runs.get(&inner)) {
            (Some(outer), Some(inner)) => outer.0 <= inner.0 && inner.1 <= outer.1,
            _ => false,
        }
    }
}
