//! `.psdd`: probabilistic sentential decision diagrams (Kisa, Van den Broeck, Choi, Darwiche 2014).
//!
//! ```text
//! psdd 4
//! L 0 0 -1                        literal: variable 1 is 0
//! L 1 0 1
//! T 2 2 2 -0.693                  variable 2 is 1 with this log-probability
//! D 3 1 2 0 2 -0.105 1 2 -2.303   decision: elements of a prime, a sub and a log-probability
//! ```
//! The second number of a node is the id of its vtree node. Nodes stand after those they use, so the
//! last is the root. `T` may give the logarithms for 0 and for 1, two numbers. The number in the first
//! line is not relied on: writers disagree on what it counts.
//!
//! A PSDD is deterministic by its definition, in which the primes of a node exclude each other; this
//! is taken from the format. That nodes follow the vtree is checked: against the `.vtree` if there is
//! one, and else each against the others, since the nodes of one vtree node must agree.

use std::collections::HashMap;

use super::Parsed;
use super::lines::{Line, Text};
use super::nodes::{Names, Nodes, What, literal, variable};
use super::vtree::{Vnode, VtreeFile};
use crate::diag::{Code, Diagnostic};
use crate::ids::VarId;
use crate::variables::Variables;

/// Reads a PSDD.
///
/// # Errors
/// E0801 for a line that is no line of a PSDD, E0802 for ids, E0803 for a node that does not follow
/// the vtree, E0302 for probabilities that do not sum to one.
pub(super) fn read(text: Text<'_>, vtree: Option<&VtreeFile>) -> Result<Parsed, Diagnostic> {
    let mut reader = Reader { nodes: Nodes::default(), of: Vec::new(), shape: Shape::new(vtree) };
    let mut names = Names::default();
    let mut pairs: HashMap<(u32, u32), u32> = HashMap::new();
    let mut headed = false;
    let mut root = None;
    for mut line in text.lines("c") {
        let kind = line.expect("a kind of line")?;
        if !headed {
            if kind.text != "psdd" {
                let message = "a PSDD begins with `psdd` and its number of nodes";
                return Err(line.fault_at(kind, Code::E0801, message));
            }
            line.number::<u64>("a number of nodes")?;
            line.end()?;
            headed = true;
            continue;
        }
        let field = line.expect("an id")?;
        let id: u64 = line.parse(field, "an id")?;
        let vnode: u64 = line.number("the id of a vtree node")?;
        let node = match kind.text {
            "L" => reader.literal(&mut line, id, vnode)?,
            "T" => reader.bernoulli(&mut line, id, vnode)?,
            "D" => reader.decision(&mut line, id, vnode, &names, &mut pairs)?,
            _ => return Err(line.fault_at(kind, Code::E0801, "not `L`, `T`, `D` or `c`")),
        };
        line.end()?;
        names.define(&line, field, id, node)?;
        root = Some((node, vnode, line));
    }
    let Some((root, vnode, line)) = root else {
        return Err(text.fault_at_end(Code::E0801, "a PSDD without nodes"));
    };
    let variables = reader.shape.variables(&line, vnode)?;
    Ok(Parsed {
        nodes: reader.nodes,
        root,
        variables: Variables::binary(variables),
        normalised: true,
        deterministic: true,
        weights: None,
    })
}

struct Reader<'a> {
    nodes: Nodes,
    /// The vtree node of each node.
    of: Vec<u64>,
    shape: Shape<'a>,
}

impl Reader<'_> {
    fn literal(&mut self, line: &mut Line<'_>, id: u64, vnode: u64) -> Result<u32, Diagnostic> {
        let field = line.expect("a literal")?;
        let what = literal(line, field)?;
        if let What::Indicator { var, .. } = what {
            self.shape.leaf(line, vnode, var)?;
        }
        Ok(self.add(what, id, vnode, line, []))
    }

    fn bernoulli(&mut self, line: &mut Line<'_>, id: u64, vnode: u64) -> Result<u32, Diagnostic> {
        let var = variable(line)?;
        self.shape.leaf(line, vnode, var)?;
        let first = log_probability(line)?;
        let p = match line.clone().field() {
            None => vec![-first.exp_m1(), first.exp()],
            Some(_) => {
                let logs = [(0, first), (0, log_probability(line)?)];
                sums_to_one(line, &logs)?;
                logs.map(|(_, log)| log.exp()).to_vec()
            }
        };
        let total: f64 = p.iter().sum();
        let p = p.iter().map(|p| (p / total).clamp(0.0, 1.0)).collect();
        Ok(self.add(What::Categorical { var, p }, id, vnode, line, []))
    }

    fn decision(
        &mut self,
        line: &mut Line<'_>,
        id: u64,
        vnode: u64,
        names: &Names,
        pairs: &mut HashMap<(u32, u32), u32>,
    ) -> Result<u32, Diagnostic> {
        let field = line.expect("a number of elements")?;
        let count: u32 = line.parse(field, "a number of elements")?;
        if count == 0 {
            return Err(line.fault_at(field, Code::E0801, "a decision has an element at least"));
        }
        let mut elements = Vec::new();
        for _ in 0..count {
            let prime = names.read(line, "the id of a prime")?;
            let sub = names.read(line, "the id of a sub")?;
            let log = log_probability(line)?;
            let below = (self.of[prime as usize], self.of[sub as usize]);
            self.shape.split(line, vnode, below)?;
            let pair = *pairs.entry((prime, sub)).or_insert_with(|| {
                let inputs = [(prime, 0.0), (sub, 0.0)];
                self.of.push(vnode);
                self.nodes.push(What::Product, None, line.span(), inputs)
            });
            elements.push((pair, log));
        }
        sums_to_one(line, &elements)?;
        Ok(self.add(What::Sum, id, vnode, line, elements))
    }

    fn add(
        &mut self,
        what: What,
        id: u64,
        vnode: u64,
        line: &Line<'_>,
        inputs: impl IntoIterator<Item = (u32, f64)>,
    ) -> u32 {
        self.of.push(vnode);
        self.nodes.push(what, Some(id), line.span(), inputs)
    }
}

/// Reads the logarithm of a probability.
fn log_probability(line: &mut Line<'_>) -> Result<f64, Diagnostic> {
    let field = line.expect("a log-probability")?;
    let log: f64 = line.parse(field, "a log-probability")?;
    // Writers round: a probability of one may come as one ten-thousandth more.
    if log.is_nan() || log > 1e-4 {
        let message = format!("{log} is not the logarithm of a probability");
        return Err(line.fault_at(field, Code::E0302, message));
    }
    Ok(log.min(0.0))
}

/// How far from one the probabilities of a node may sum: files give six digits and more.
const ROUNDING: f64 = 1e-3;

/// Checks that probabilities, given by their logarithms, sum to one.
pub(super) fn sums_to_one(line: &Line<'_>, logs: &[(u32, f64)]) -> Result<(), Diagnostic> {
    let total: f64 = logs.iter().map(|(_, log)| log.exp()).sum();
    if (total - 1.0).abs() <= ROUNDING {
        return Ok(());
    }
    let message = format!("the probabilities of this node sum to {total:.6}, not to 1");
    Err(line.fault(Code::E0302, message).help("normalise them"))
}

/// What vtree the nodes follow: the one that is given, or the one they agree on.
struct Shape<'a> {
    given: Option<&'a VtreeFile>,
    agreed: HashMap<u64, Vnode>,
    parent: HashMap<u64, u64>,
    variable_at: HashMap<VarId, u64>,
}

impl<'a> Shape<'a> {
    fn new(given: Option<&'a VtreeFile>) -> Self {
        let (agreed, parent) = (HashMap::new(), HashMap::new());
        Shape { given, agreed, parent, variable_at: HashMap::new() }
    }

    /// A node of one variable.
    fn leaf(&mut self, line: &Line<'_>, vnode: u64, var: VarId) -> Result<(), Diagnostic> {
        self.enter(line, vnode, Vnode::Leaf(var))?;
        let at = *self.variable_at.entry(var).or_insert(vnode);
        if at == vnode {
            return Ok(());
        }
        let message = format!("variable {} is at vtree node {at}, not {vnode}", var.0 + 1);
        Err(line.fault(Code::E0803, message))
    }

    /// A decision of these children.
    fn split(
        &mut self,
        line: &Line<'_>,
        vnode: u64,
        (left, right): (u64, u64),
    ) -> Result<(), Diagnostic> {
        self.enter(line, vnode, Vnode::Split(left, right))?;
        if self.given.is_some() {
            return Ok(());
        }
        for child in [left, right] {
            let parent = *self.parent.entry(child).or_insert(vnode);
            if parent != vnode || left == right {
                let message = format!("vtree node {child} has two places in the vtree");
                return Err(line.fault(Code::E0803, message));
            }
        }
        Ok(())
    }

    fn enter(&mut self, line: &Line<'_>, vnode: u64, node: Vnode) -> Result<(), Diagnostic> {
        let known = match self.given {
            Some(given) => given.get(vnode),
            None => Some(*self.agreed.entry(vnode).or_insert(node)),
        };
        let message = match known {
            Some(known) if known == node => return Ok(()),
            None => format!("the vtree has no node {vnode}"),
            Some(Vnode::Leaf(var)) => format!("vtree node {vnode} is variable {}", var.0 + 1),
            Some(Vnode::Split(left, right)) => {
                format!("vtree node {vnode} splits into {left} and {right}, this node does not")
            }
        };
        Err(line.fault(Code::E0803, message).help("the vtree of another circuit, maybe"))
    }

    /// The number of variables, those of the root's vtree node.
    fn variables(&self, line: &Line<'_>, root: u64) -> Result<usize, Diagnostic> {
        if let Some(given) = self.given {
            if given.root == root {
                return Ok(given.order.len());
            }
            let message = format!(
                "the last node is the root, but of vtree node {root} and not of {}, the whole vtree",
                given.root
            );
            return Err(line.fault(Code::E0803, message).help("the file may be cut off"));
        }
        if self.parent.contains_key(&root) {
            let message = "the last node is the root, but is not over all that stand before it";
            return Err(line.fault(Code::E0803, message).help("the file may be cut off"));
        }
        let most = self.variable_at.keys().map(|var| var.0 as usize + 1).max().unwrap_or(0);
        if most == self.variable_at.len() {
            return Ok(most);
        }
        let known = |var: &u32| self.variable_at.contains_key(&VarId(*var));
        let missing = (0..most as u32).find(|var| !known(var)).unwrap_or(0) + 1;
        let message = format!("no node is of variable {missing}, of variables 1 to {most}");
        Err(line.fault(Code::E0803, message).help("the file may be cut off"))
    }
}
