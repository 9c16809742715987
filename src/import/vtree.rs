//! `.vtree`: a binary tree of variables. The decision nodes of a PSDD or an SDD follow one, and a
//! description may take its structure from one.
//!
//! ```text
//! vtree 3
//! L 0 1        leaf 0 is variable 1
//! L 2 2
//! I 1 0 2      node 1 has node 0 on its left and node 2 on its right
//! ```
//! Children stand before parents, so the last line is the root; lines that begin with `c` are
//! comments. The number in the first line is not relied on.

use std::collections::{HashMap, HashSet};

use super::lines::{Line, Text};
use super::nodes::variable;
use crate::diag::{Code, Diagnostic, Source};
use crate::ids::VarId;

/// How a vtree is written.
const FORM: &str = "a vtree has a line `vtree COUNT`, then `L ID VARIABLE` for each variable, counted \
                    from 1, and `I ID LEFT RIGHT` for each inner node, after its children";

/// A node of a vtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vnode {
    /// One variable.
    Leaf(VarId),
    /// The ids of the children.
    Split(u64, u64),
}

/// What is known of a vtree: nodes by id, and the place of each in left-to-right order.
#[derive(Clone, Debug)]
pub struct VtreeFile {
    nodes: HashMap<u64, Vnode>,
    /// The ids in the order of the text, children before their parents, the root last.
    ids: Vec<u64>,
    /// For each node the variables below it as a run of positions from left to right.
    runs: HashMap<u64, (u32, u32)>,
    /// The variables from left to right.
    pub(super) order: Vec<VarId>,
    /// The root.
    pub(super) root: u64,
}

impl VtreeFile {
    /// Reads the vtree that is the whole of `source`. Its variables are those from the first to the
    /// greatest that it names.
    ///
    /// # Errors
    /// E0801 for a line that is no line of a vtree, E0802 for an id that is not defined, defined
    /// twice, or used twice, E0803 for a variable that is there twice or not at all. Each names
    /// `source` with the row and the column.
    pub fn read(source: &Source) -> Result<Self, Diagnostic> {
        Self::parse(Text::companion(source)).map_err(|fault| match fault.code {
            Code::E0801 => fault.help(FORM),
            _ => fault,
        })
    }

    fn parse(text: Text<'_>) -> Result<Self, Diagnostic> {
        let mut reader = Reader::default();
        let mut headed = false;
        for mut line in text.lines("c") {
            match headed {
                true => reader.node(&mut line)?,
                false => header(&mut line)?,
            }
            line.end()?;
            headed = true;
        }
        reader.finish(text)
    }

    /// The nodes with their ids, children before their parents, the root last.
    pub fn nodes(&self) -> impl Iterator<Item = (u64, Vnode)> {
        self.ids.iter().map(|&id| (id, self.nodes[&id]))
    }

    /// The number of variables.
    pub fn variables(&self) -> usize {
        self.order.len()
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

fn header(line: &mut Line<'_>) -> Result<(), Diagnostic> {
    let field = line.expect("a kind of line")?;
    if field.text != "vtree" {
        let message = "a vtree begins with `vtree` and its number of nodes";
        return Err(line.fault_at(field, Code::E0801, message));
    }
    line.number::<u64>("a number of nodes")?;
    Ok(())
}

/// The nodes that the lines so far define.
#[derive(Default)]
struct Reader {
    nodes: HashMap<u64, Vnode>,
    ids: Vec<u64>,
    /// The nodes that are the child of another.
    used: HashSet<u64>,
    variables: HashSet<VarId>,
}

impl Reader {
    /// Reads the line of a node.
    fn node(&mut self, line: &mut Line<'_>) -> Result<(), Diagnostic> {
        let kind = line.expect("a kind of line")?;
        let field = line.expect("an id")?;
        let id: u64 = line.parse(field, "an id")?;
        let node = match kind.text {
            "L" => Vnode::Leaf(self.variable(line)?),
            "I" => {
                Vnode::Split(self.child(line, "a left child")?, self.child(line, "a right child")?)
            }
            _ => return Err(line.fault_at(kind, Code::E0801, "not `L`, `I` or `c`")),
        };
        if self.nodes.insert(id, node).is_some() {
            let message = format!("the id {id} is defined twice");
            return Err(line.fault_at(field, Code::E0802, message));
        }
        self.ids.push(id);
        Ok(())
    }

    fn variable(&mut self, line: &mut Line<'_>) -> Result<VarId, Diagnostic> {
        let var = variable(line)?;
        if self.variables.insert(var) {
            return Ok(var);
        }
        Err(line.fault(Code::E0803, format!("variable {} is there twice", var.0 + 1)))
    }

    fn child(&mut self, line: &mut Line<'_>, what: &str) -> Result<u64, Diagnostic> {
        let field = line.expect(what)?;
        let child: u64 = line.parse(field, what)?;
        let fault = |message| Err(line.fault_at(field, Code::E0802, message));
        if !self.nodes.contains_key(&child) {
            return fault(format!("no line before this one defines {child}"));
        }
        if !self.used.insert(child) {
            return fault(format!("{child} has two parents"));
        }
        Ok(child)
    }

    /// The tree, if the nodes are one over variables without a gap.
    fn finish(self, text: Text<'_>) -> Result<VtreeFile, Diagnostic> {
        let Some(&root) = self.ids.last() else {
            return Err(text.fault_at_end(Code::E0801, "a vtree without nodes"));
        };
        // The last node is nobody's child, for children stand before their parents.
        if self.used.len() + 1 != self.nodes.len() {
            let message = "the last node is not over all that stand before it";
            return Err(text.fault_at_end(Code::E0803, message));
        }
        let most = self.variables.iter().map(|var| var.0 + 1).max().unwrap_or(0);
        if let Some(gap) = (0..most).find(|&var| !self.variables.contains(&VarId(var))) {
            let message = format!("variable {} is missing", gap + 1);
            return Err(text.fault_at_end(Code::E0803, message));
        }
        let (runs, order) = (HashMap::new(), Vec::new());
        let mut tree = VtreeFile { nodes: self.nodes, ids: self.ids, runs, order, root };
        tree.lay_out();
        Ok(tree)
    }
}
