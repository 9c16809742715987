//! `.spn`: sum-product networks, a node a line.
//!
//! ```text
//! # a comment
//! + 1 2 0.3 3 0.7              sum: its id, then inputs and weights
//! * 2 4 5                      product
//! categorical 4 1 0.2 0.8      probabilities of the states of variable 1
//! indicator 5 2 1              variable 2 is in state 1
//! gaussian 6 3 0.0 1.0         mean and variance of variable 3
//! ```
//! The id may also stand first, as in `1 + 2 0.3 3 0.7`. Nodes may stand in any order; the root is the
//! one node that no other uses.
//!
//! Some writers count variables from 0, others from 1, and likewise the states of indicators. A file
//! that names variable 0 counts variables from 0, any other from 1; and so of the states.

use super::lines::{Field, Line, Text};
use super::nodes::{MOST_VARIABLES, Names, Nodes, What};
use super::psdd::sums_to_one;
use super::{Parsed, kinds};
use crate::diag::{Code, Diagnostic};
use crate::ids::VarId;

/// The most states an indicator may name.
const MOST_STATES: u32 = 1 << 16;

/// Reads a sum-product network.
///
/// # Errors
/// E0801 for a line that is none of these, E0802 for ids, E0302 for weights or probabilities that do
/// not sum to one, E0803 for a file without a root.
pub(super) fn read(text: Text<'_>) -> Result<Parsed, Diagnostic> {
    let mut names = Names::default();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for mut line in text.lines("#") {
        let first = line.expect("a kind of node")?;
        let second = line.expect("an id")?;
        let (kind, id_field) = match first.text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => (second, first),
            false => (first, second),
        };
        let id: u64 = line.parse(id_field, "an id")?;
        names.define(&line, id_field, id, rows.len() as u32)?;
        rows.push(Row { id, kind, line });
    }
    let mut base = Base { variable: 1, state: 1 };
    for row in &rows {
        row.look_for_zero(&mut base);
    }
    let mut nodes = Nodes::default();
    let mut used = vec![false; rows.len()];
    for Row { id, kind, mut line } in rows {
        let inputs = inputs(&mut line, kind, &names, &mut used)?;
        let what = what(&mut line, kind, &base)?;
        line.end()?;
        nodes.push(what, Some(id), line.span(), inputs);
    }
    let mut roots = (0..nodes.len() as u32).filter(|&node| !used[node as usize]);
    let Some(root) = roots.next() else {
        let message = "every node is used by another, so there is no root";
        return Err(text.fault_at_end(Code::E0803, message));
    };
    if let Some(other) = roots.next() {
        let ids = [root, other].map(|node| nodes.get(node).name.unwrap_or(0));
        let message = format!("two nodes are used by no other, {} and {}", ids[0], ids[1]);
        let fault = text.fault(Code::E0803, nodes.get(other).span, message);
        return Err(fault.help("only the root is used by no other node"));
    }
    let variables = kinds(&nodes)?;
    Ok(Parsed { nodes, root, variables, normalised: true, deterministic: false, weights: None })
}

/// A line of which the id and the kind have been read.
struct Row<'a> {
    id: u64,
    kind: Field<'a>,
    line: Line<'a>,
}

/// The number of the first variable and of the first state.
struct Base {
    variable: u32,
    state: u32,
}

impl Row<'_> {
    fn look_for_zero(&self, base: &mut Base) {
        let mut line = self.line.clone();
        let mut is_zero = || {
            line.field().and_then(|field| field.text.parse().ok()).is_some_and(|x: f64| x == 0.0)
        };
        if matches!(self.kind.text, "indicator" | "categorical" | "gaussian") && is_zero() {
            base.variable = 0;
        }
        if self.kind.text == "indicator" && is_zero() {
            base.state = 0;
        }
    }
}

fn inputs(
    line: &mut Line<'_>,
    kind: Field<'_>,
    names: &Names,
    used: &mut [bool],
) -> Result<Vec<(u32, f64)>, Diagnostic> {
    let weighted = match kind.text {
        "+" => true,
        "*" => false,
        _ => return Ok(Vec::new()),
    };
    let mut inputs = Vec::new();
    while line.clone().field().is_some() {
        let input = names.read(line, "the id of a node")?;
        used[input as usize] = true;
        let weight = if weighted { probability(line)? } else { 1.0 };
        inputs.push((input, weight.ln()));
    }
    if inputs.is_empty() {
        return Err(line.fault(Code::E0206, "a node without inputs"));
    }
    if weighted {
        sums_to_one(line, &inputs)?;
    }
    Ok(inputs)
}

fn what(line: &mut Line<'_>, kind: Field<'_>, base: &Base) -> Result<What, Diagnostic> {
    match kind.text {
        "+" => Ok(What::Sum),
        "*" => Ok(What::Product),
        "indicator" => {
            let var = variable(line, base)?;
            let field = line.expect("a state")?;
            let state = whole(line, field, "a state", base.state, MOST_STATES)?;
            Ok(What::Indicator { var, state })
        }
        "categorical" => {
            let var = variable(line, base)?;
            let mut p = Vec::new();
            while line.clone().field().is_some() {
                p.push(probability(line)?);
            }
            let logs: Vec<(u32, f64)> = p.iter().map(|p| (0, p.ln())).collect();
            sums_to_one(line, &logs)?;
            let total: f64 = p.iter().sum();
            p.iter_mut().for_each(|p| *p /= total);
            Ok(What::Categorical { var, p })
        }
        "gaussian" => {
            let var = variable(line, base)?;
            let mean: f64 = line.number("a mean")?;
            let field = line.expect("a variance")?;
            let variance: f64 = line.parse(field, "a variance")?;
            if !mean.is_finite() || !variance.is_finite() || variance <= 0.0 {
                let message = "a mean is finite, and a variance finite and above zero";
                return Err(line.fault_at(field, Code::E0801, message));
            }
            Ok(What::Gaussian { var, mean, variance })
        }
        _ => {
            let message = "not `+`, `*`, `indicator`, `categorical` or `gaussian`";
            Err(line.fault_at(kind, Code::E0801, message))
        }
    }
}

fn variable(line: &mut Line<'_>, base: &Base) -> Result<VarId, Diagnostic> {
    let field = line.expect("a variable")?;
    Ok(VarId(whole(line, field, "a variable", base.variable, MOST_VARIABLES)?))
}

/// A whole number, maybe written as a fraction, counted from `base`.
fn whole(
    line: &Line<'_>,
    field: Field<'_>,
    what: &str,
    base: u32,
    most: u32,
) -> Result<u32, Diagnostic> {
    let number: f64 = line.parse(field, what)?;
    let offset = number - f64::from(base);
    if offset >= 0.0 && offset < f64::from(most) && offset.fract() == 0.0 {
        return Ok(offset as u32);
    }
    Err(line.fault_at(field, Code::E0801, format!("{number} is not {what}")))
}

fn probability(line: &mut Line<'_>) -> Result<f64, Diagnostic> {
    let field = line.expect("a probability")?;
    let p: f64 = line.parse(field, "a probability")?;
    if p.is_finite() && p >= 0.0 {
        return Ok(p);
    }
    Err(line.fault_at(field, Code::E0302, format!("{p} is not a probability")))
}
