//! `.sdd`: sentential decision diagrams (Darwiche 2011), as the SDD package writes them.
//!
//! ```text
//! sdd 3
//! L 0 0 -1                literal: variable 1 is false
//! T 1                     true; `F 2` is false
//! D 3 1 2 0 1 4 2         decision at vtree node 1: elements of a prime and a sub
//! ```
//! A diagram is trimmed: a prime or sub may be over fewer variables than its place in the vtree. With
//! a `.vtree` it is checked that each lies below its side of the vtree, the variables are those of the
//! vtree, and each node is lifted to all variables of its place ([`super::lift`]), so that the circuit is
//! structured-decomposable. Without one the variables are those up to the greatest that is named, and
//! the circuit is made smooth as any other formula.
//!
//! The circuit is the uniform distribution over the models, or the one that literal weights give.

use std::collections::HashMap;

use super::Parsed;
use super::lift::Lift;
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
/// the vtree, E0105 for nodes that skip more of the vtree than memory holds.
pub(super) fn read(
    text: Text<'_>,
    vtree: Option<&VtreeFile>,
    weights: Weights,
) -> Result<Parsed, Diagnostic> {
    let mut reader = Reader::new(vtree);
    let mut names = Names::default();
    let mut headed = None;
    let mut last = None;
    let mut made = 0;
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
            "D" => reader.decision(&mut line, id, &names)?,
            _ => return Err(line.fault_at(kind, Code::E0801, "not `L`, `T`, `F`, `D` or `c`")),
        };
        line.end()?;
        names.define(&line, field, id, node)?;
        made += 1;
        last = Some((node, line));
    }
    let cut_off = |&promised: &u64| made < promised;
    let Some((root, line)) = last.filter(|_| !headed.as_ref().is_some_and(cut_off)) else {
        let promised = headed.unwrap_or(0);
        let message = format!("the first line promises {promised} nodes, the file has {made}");
        return Err(text.fault_at_end(Code::E0801, message).help("the file may be cut off"));
    };
    let root = match vtree {
        Some(vtree) => reader.lifted(&line, root, vtree.root)?,
        None => root,
    };
    let variables = vtree.map_or(reader.variables as usize, |vtree| vtree.order.len());
    Ok(Parsed {
        root,
        nodes: reader.nodes,
        variables: Variables::binary(variables),
        normalised: false,
        deterministic: true,
        weights: Some(weights),
    })
}

struct Reader<'a> {
    nodes: Nodes,
    /// The vtree node of each node of the file; none of a constant.
    of: HashMap<u32, u64>,
    /// The product of each prime and sub.
    pairs: HashMap<(u32, u32), u32>,
    vtree: Option<&'a VtreeFile>,
    lift: Option<Lift<'a>>,
    /// One more than the greatest variable.
    variables: u32,
}

impl<'a> Reader<'a> {
    fn new(vtree: Option<&'a VtreeFile>) -> Self {
        Reader {
            nodes: Nodes::default(),
            of: HashMap::new(),
            pairs: HashMap::new(),
            vtree,
            lift: vtree.map(Lift::new),
            variables: 0,
        }
    }

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

    fn decision(&mut self, line: &mut Line<'_>, id: u64, names: &Names) -> Result<u32, Diagnostic> {
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
            let mut prime = names.read(line, "the id of a prime")?;
            let mut sub = names.read(line, "the id of a sub")?;
            if let Some((left, right)) = sides {
                if !self.is_below(prime, left) || !self.is_below(sub, right) {
                    let message = format!("an element that does not split as vtree node {vnode}");
                    return Err(line.fault(Code::E0803, message));
                }
                prime = self.lifted(line, prime, left)?;
                sub = self.lifted(line, sub, right)?;
            }
            let (nodes, span) = (&mut self.nodes, line.span());
            let pair = *self.pairs.entry((prime, sub)).or_insert_with(|| {
                nodes.push(What::Product, None, span, [(prime, 0.0), (sub, 0.0)])
            });
            elements.push((pair, 0.0));
        }
        Ok(self.add(What::Sum, id, Some(vnode), line, elements))
    }

    /// Whether a node's variables are among those of a vtree node.
    fn is_below(&self, node: u32, side: u64) -> bool {
        let own = self.of.get(&node);
        own.is_none_or(|&own| self.vtree.is_some_and(|vtree| vtree.contains(side, own)))
    }

    /// A node over all variables of a vtree node; without a vtree the node as it is.
    fn lifted(&mut self, line: &Line<'_>, node: u32, to: u64) -> Result<u32, Diagnostic> {
        let Some(lift) = &mut self.lift else { return Ok(node) };
        let own = self.of.get(&node).copied();
        lift.lift(&mut self.nodes, (node, own), to, line.span()).ok_or_else(|| {
            let message = "the nodes up to this one skip too many nodes of the vtree";
            line.fault(Code::E0105, message).help("minimise it over a vtree that is less deep")
        })
    }

    fn add(
        &mut self,
        what: What,
        id: u64,
        vnode: Option<u64>,
        line: &Line<'_>,
        inputs: impl IntoIterator<Item = (u32, f64)>,
    ) -> u32 {
        let node = self.nodes.push(what, Some(id), line.span(), inputs);
        self.of.extend(vnode.map(|vnode| (node, vnode)));
        node
    }
}
