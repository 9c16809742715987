//! A circuit that splits the variables as a vtree does, so that it is structured-decomposable by it.
//!
//! Each node of the vtree is a region of k units: a leaf of the vtree a region of one variable, every
//! other node a Hadamard product of its two children under a sum layer, that of the root of one unit.
//!
//! The vtree is written as the SDD package writes it, children before their parents, variables
//! counted from one:
//!
//! ```text
//! c a comment
//! vtree 3
//! L 0 1        node 0 is the first variable
//! L 2 2
//! I 1 0 2      node 1 has node 0 on its left and node 2 on its right
//! ```

use std::collections::HashMap;
use std::path::Path;

use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::{Code, Diagnostic, Diagnostics, Source, Span};
use crate::ids::{Id, NodeId, VarId};
use crate::spec::{Spec, VtreeSpec, VtreeText};

/// Builds the circuit. `source` is the description, which a path is relative to.
///
/// # Errors
/// A file that cannot be read, what is no vtree over these variables, every kind of variable that the
/// leaves do not suit, and a size beyond all memory.
pub(super) fn build(
    spec: &Spec,
    vtree: &VtreeSpec,
    span: Span,
    source: &Source,
) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, vtree.units, &mut faults);
    let (n, k) = (spec.variables.value.len() as u128, u128::from(vtree.units));
    if let Some(fault) = check_size(4 * n, n * (kinds.most_numbers(k) + k * k)) {
        faults.push(fault.at(span));
    }
    let nodes = match parsed(vtree, n as usize, source) {
        Ok(nodes) if !faults.has_errors() => nodes,
        nodes => {
            nodes.err().into_iter().for_each(|fault| faults.push(fault));
            return Err(faults);
        }
    };
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let mut regions: Vec<NodeId> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let is_root = index + 1 == nodes.len();
        let (below, units) = match *node {
            Node::Leaf(var) => (leaves.region(&mut circuit, var, vtree.units), None),
            Node::Split(left, right) => {
                (circuit.product(&[regions[left], regions[right]]), Some(vtree.units))
            }
        };
        let units = if is_root { Some(1) } else { units };
        regions.push(match units {
            Some(units) => circuit.sum(units, &[below], WeightSource::Parameterizer),
            None => below,
        });
        circuit.set_root(regions[index]);
    }
    Ok(Draft::whole(circuit))
}

/// The text of the structure with the vtree in it. `None` if it is there already.
///
/// # Errors
/// E0001 if the file cannot be read.
pub(super) fn inlined(vtree: &VtreeSpec, source: &Source) -> Result<Option<String>, Diagnostic> {
    let VtreeText::File(_) = vtree.vtree else { return Ok(None) };
    let (text, _) = text(vtree, source)?;
    Ok(Some(format!("Vtree(units: {}, text: {text:?})", vtree.units)))
}

/// A node of a vtree; children by their place in the list.
enum Node {
    Leaf(VarId),
    Split(usize, usize),
}

/// Where the vtree is written: a file, or the description.
enum Origin {
    File(String),
    Here(Span),
}

fn text(vtree: &VtreeSpec, source: &Source) -> Result<(String, Origin), Diagnostic> {
    let file = match &vtree.vtree {
        VtreeText::Here(text) => return Ok((text.value.clone(), Origin::Here(text.span))),
        VtreeText::File(file) => file,
    };
    let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
    let path = folder.join(&file.value);
    let shown = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((text, Origin::File(shown))),
        Err(error) => {
            let message = format!("the file `{shown}` cannot be read: {error}");
            Err(Diagnostic::new(Code::E0001, message).at(file.span).help(HERE))
        }
    }
}

/// The nodes, children before their parents, the root last.
///
/// # Errors
/// E0001 if the file cannot be read, E0117 with the line of what is no vtree over `variables`
/// variables.
fn parsed(vtree: &VtreeSpec, variables: usize, source: &Source) -> Result<Vec<Node>, Diagnostic> {
    let (text, origin) = text(vtree, source)?;
    parse(&text, variables).map_err(|(line, problem)| match origin {
        Origin::File(path) => {
            Diagnostic::new(Code::E0117, problem).in_row(path, line, None).help(FORM)
        }
        Origin::Here(span) => {
            let message = format!("line {line} of the vtree: {problem}");
            Diagnostic::new(Code::E0117, message).at(span).help(FORM)
        }
    })
}

/// What paths mean.
const HERE: &str = "a path is relative to the description's";

/// How a vtree is written.
const FORM: &str = "a vtree has a line `vtree COUNT`, then `L ID VARIABLE` for each variable, counted \
                    from 1, and `I ID LEFT RIGHT` for each inner node, after its children";

/// The number of a line, counted from 1, and what is wrong there.
type Fault = (usize, String);

fn parse(text: &str, variables: usize) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader {
        nodes: Vec::new(),
        by_id: HashMap::new(),
        used: Vec::new(),
        seen: vec![false; variables],
    };
    let mut headed = false;
    let mut last = 1;
    for (index, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let known = match (fields.as_slice(), headed) {
            ([], _) | (["c", ..], _) => continue,
            (["vtree", count], false) => {
                headed = true;
                count.parse::<u64>().map(|_| ()).map_err(|_| format!("`{count}` is no number"))
            }
            (["L", id, variable], true) => reader.leaf(id, variable),
            (["I", id, left, right], true) => reader.split(id, left, right),
            _ => Err("this is no line of a vtree".into()),
        };
        last = index + 1;
        known.map_err(|problem| (last, problem))?;
    }
    reader.finish().map_err(|problem| (last, problem))
}

struct Reader<'a> {
    nodes: Vec<Node>,
    by_id: HashMap<&'a str, usize>,
    /// Whether each node is the child of another.
    used: Vec<bool>,
    /// Whether each variable has a leaf.
    seen: Vec<bool>,
}

impl<'a> Reader<'a> {
    fn leaf(&mut self, id: &'a str, variable: &str) -> Result<(), String> {
        let index = variable.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match index.and_then(|index| self.seen.get_mut(index)) {
            Some(seen) if *seen => return Err(format!("variable {variable} has two leaves")),
            Some(seen) => *seen = true,
            None => {
                let count = self.seen.len();
                return Err(format!("`{variable}` is none of the variables 1 to {count}"));
            }
        }
        self.add(id, Node::Leaf(VarId::from_index(index.unwrap_or(0))))
    }

    fn split(&mut self, id: &'a str, left: &str, right: &str) -> Result<(), String> {
        let (left, right) = (self.child(left)?, self.child(right)?);
        self.add(id, Node::Split(left, right))
    }

    fn child(&mut self, id: &str) -> Result<usize, String> {
        let Some(&index) = self.by_id.get(id) else {
            return Err(format!("node `{id}` is not defined above"));
        };
        match std::mem::replace(&mut self.used[index], true) {
            true => Err(format!("node `{id}` is a child twice")),
            false => Ok(index),
        }
    }

    fn add(&mut self, id: &'a str, node: Node) -> Result<(), String> {
        if self.by_id.insert(id, self.nodes.len()).is_some() {
            return Err(format!("node `{id}` is defined twice"));
        }
        self.nodes.push(node);
        self.used.push(false);
        Ok(())
    }

    fn finish(self) -> Result<Vec<Node>, String> {
        if let Some(missing) = self.seen.iter().position(|seen| !seen) {
            return Err(format!("variable {} has no leaf", missing + 1));
        }
        // The last line is nobody's child, for children stand before their parents.
        if self.used.iter().filter(|used| !**used).count() > 1 {
            return Err("the last node is not above all others".into());
        }
        Ok(self.nodes)
    }
}
