//! `.sdd`: sentential decision diagrams (Darwiche 2011), as the SDD package writes them.
//!
//! ```text
//! sdd 3
//! L 0 0 -1                literal: variable 1 is false
//! T 1                     true; `F 2` is false
//! D 3 1 2 0 1 4 2         decision at vtree node 1: elements of a prime and a sub
//! ```
//! A diagram is trimmed: a prime or sub may be over fewer variables than its place in the vtree. With
//! a `.vtree` it is checked that each lies below its side of the vtree, and the variables are those
//! of the vtree; without one they are those up to the greatest that is named.
//!
//! The circuit is the uniform distribution over the models, or the one that literal weights give.

use std::collections::HashMap;

use super::Parsed;
use super::lines::{Line, Text};
use super::nodes::{Names, Nodes, What, literal};
use super::vtree::{Vnode, VtreeFile};
use super::weights::Weights;
use crate::diag::{Code, Diagnostic};
use crate::variables::Variables;

/// Reads an SDD.
///
/// # Errors
/// E0801 for a line that is no line of an SDD, E0802 for ids, E0803 for a node that does not follow
/// the vtree.
pub(super) fn read(
    text: Text<'_>,
    vtree: Option<&VtreeFile>,
    weights: Weights,
) -> Result<Parsed, Diagnostic> {
    let mut reader = Reader { nodes: Nodes::default(), of: Vec::new(), vtree, variables: 0 };
    let mut names = Names::default();
    let mut pairs = HashMap::new();
    let mut headed = None;
    for mut line in text.lines("c") {
        let kind = line.expect("a kind of line")?;
        if headed.is_none() {
            if kind.text != "sdd" {
                let message = "an SDD begins with `sdd` and its number of nodes";
                return Err(line.fault_at(kind, Code::E0801, message));
            }
            headed = Some(line.number::<u64>("a number of nodes")?);
            line.end()?;
            continue;
        }
        let field = line.expect("an id")?;
        let id: u64 = line.parse(field, "an id")?;
        let node = match kind.text {
            "T" => reader.add(What::True, id, None, &line, []),
            "F" => reader.add(What::False, id, None, &line, []),
            "L" => reader.literal(&mut line, id)?,
            "D" => reader.decision(&mut line, id, &names, &mut pairs)?,
            _ => return Err(line.fault_at(kind, Code::E0801, "not `L`, `T`, `F`, `D` or `c`")),
        };
        line.end()?;
        names.define(&line, field, id, node)?;
    }
    let made = reader.nodes.len() - pairs.len();
    if made == 0 || headed.is_some_and(|promised| (made as u64) < promised) {
        let promised = headed.unwrap_or(0);
        let message = format!("the first line promises {promised} nodes, the file has {made}");
        return Err(text.fault_at_end(Code::E0801, message).help("the file may be cut off"));
    }
    let variables = vtree.map_or(reader.variables as usize, |vtree| vtree.order.len());
    Ok(Parsed {
        // Pairs stand before the decision that first uses them, so the last node is no pair.
        root: reader.nodes.len() as u32 - 1,
        nodes: reader.nodes,
        variables: Variables::binary(variables),
        normalised: false,
        deterministic: true,
        weights: Some(weights),
    })
}

struct Reader<'a> {
    nodes: Nodes,
    /// The vtree node of each node; none of a constant.
    of: Vec<Option<u64>>,
    vtree: Option<&'a VtreeFile>,
    /// One more than the greatest variable.
    variables: u32,
}

impl Reader<'_> {
    fn literal(&mut self, line: &mut Line<'_>, id: u64) -> Result<u32, Diagnostic> {
        let vnode: u64 = line.number("the id of a vtree node")?;
        let field = line.expect("a literal")?;
        let what = literal(line, field)?;
        if let What::Indicator { var, .. } = what {
            self.variables = self.variables.max(var.0 + 1);
            let there = self.vtree.map(|vtree| vtree.get(vnode));
            if there.is_some_and(|there| there != Some(Vnode::Leaf(var))) {
                let message = format!("vtree node {vnode} is not variable {}", var.0 + 1);
                return Err(line.fault(Code::E0803, message));
            }
        }
        Ok(self.add(what, id, Some(vnode), line, []))
    }

    fn decision(
        &mut self,
        line: &mut Line<'_>,
        id: u64,
        names: &Names,
        pairs: &mut HashMap<(u32, u32), u32>,
    ) -> Result<u32, Diagnostic> {
        let vnode: u64 = line.number("the id of a vtree node")?;
        let sides = match self.vtree.map(|vtree| vtree.get(vnode)) {
            None => None,
            Some(Some(Vnode::Split(left, right))) => Some((left, right)),
            Some(_) => {
                let message = format!("the vtree has no inner node {vnode}");
                return Err(line.fault(Code::E0803, message));
            }
        };
        let count: u32 = line.number("a number of elements")?;
        let mut elements = Vec::new();
        for _ in 0..count {
            let prime = names.read(line, "the id of a prime")?;
            let sub = names.read(line, "the id of a sub")?;
            if let (Some(vtree), Some((left, right))) = (self.vtree, sides) {
                let below = |node: u32, side| {
                    self.of[node as usize].is_none_or(|inner| vtree.contains(side, inner))
                };
                if !below(prime, left) || !below(sub, right) {
                    let message = format!("an element that does not split as vtree node {vnode}");
                    return Err(line.fault(Code::E0803, message));
                }
            }
            let pair = *pairs.entry((prime, sub)).or_insert_with(|| {
                self.of.push(Some(vnode));
                let inputs = [(prime, 0.0), (sub, 0.0)];
                self.nodes.push(What::Product, None, line.span(), inputs)
            });
            elements.push((pair, 0.0));
        }
        Ok(self.add(What::Sum, id, Some(vnode), line, elements))
    }

    fn add(
        &mut self,
        what: What,
        id: u64,
        vnode: Option<u64>,
        line: &Line<'_>,
        inputs: impl IntoIterator<Item = (u32, f64)>,
    ) -> u32 {
        self.of.push(vnode);
        self.nodes.push(what, Some(id), line.span(), inputs)
    }
}
