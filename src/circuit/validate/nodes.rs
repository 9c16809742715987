//! What can be said of a node from its inputs' widths and its own distribution and weights.

use super::Check;
use crate::circuit::{Node, Op, WeightSource, Weights};
use crate::diag::{Code, Diagnostic};
use crate::ids::{DistId, IdVec, NodeId, VarId, WeightsId};
use crate::leaf::{Dist, Family};
use crate::variables::VarKind;

/// How far the rows of given weights may be from summing to one.
const SUM_TOLERANCE: f64 = 1e-6;

impl Check<'_> {
    /// Checks every node by itself, and the width of the root.
    pub(super) fn each_node(&mut self) {
        for node in self.circuit.nodes() {
            let Node { op, units } = self.circuit.node(node);
            match op {
                Op::Leaf { var, dist } => self.leaf(node, var, dist),
                Op::Given { .. } | Op::One => {}
                Op::Product => self.equal_widths(node, units, "product"),
                Op::Kronecker => self.kronecker(node, units),
                Op::Sum { weights } => self.sum(node, units, weights),
                Op::Mixing { weights } => self.mixing(node, units, weights),
            }
        }
        let root = self.circuit.root();
        let units = self.circuit.units(root);
        if self.root_known && !self.doubt[root] && units != 1 {
            let name = self.map.name(root);
            let fault = self
                .fault(Code::E0205, root, format!("the root `{name}` has {units} units, not one"))
                .help("put a sum of one unit over it, or give it one unit");
            self.faults.push(fault);
        }
    }

    fn leaf(&mut self, node: NodeId, var: VarId, dist: DistId) {
        let dist = &self.circuit.dists()[dist];
        let kind = self.circuit.variables().kind(var);
        if !dist.family.suits(kind) {
            let variable = self.circuit.variables().name(var);
            let message = format!("{} does not suit `{variable}`, which is {kind}", describe(dist));
            let fault = self.part_fault(Code::E0301, node, message).help(suitable(kind));
            self.faults.push(fault);
        }
        if let Some((problem, help)) = parameter_problem(dist) {
            let name = self.map.name(node);
            let fault = self.part_fault(Code::E0304, node, format!("leaf `{name}`: {problem}"));
            self.faults.push(fault.help(help));
        }
    }

    /// A fault of the distribution or the weights of a node.
    fn part_fault(&self, code: Code, node: NodeId, message: String) -> Diagnostic {
        let fault = Diagnostic::new(code, message).node(self.map.name(node));
        fault.at_option(self.map.part_span(node))
    }

    fn has_inputs(&mut self, node: NodeId, what: &str) -> bool {
        let some = self.circuit.inputs(node).next().is_some();
        if !some && !self.doubt[node] {
            let name = self.map.name(node);
            let fault = self.fault(Code::E0206, node, format!("{what} `{name}` has no inputs"));
            self.faults.push(fault.help("name at least one node"));
            self.spread_doubt(std::iter::once(node));
        }
        some
    }

    fn equal_widths(&mut self, node: NodeId, units: u32, what: &str) {
        if !self.has_inputs(node, what) {
            return;
        }
        let Some(first) = self.sure_inputs(node).next() else { return };
        let width = |node| self.circuit.units(node);
        // A node in doubt may have taken its own width from an input in doubt.
        let units = if self.doubt[node] { width(first) } else { units };
        let Some(odd) = self.sure_inputs(node).find(|&input| width(input) != units) else { return };
        let first = if odd == first { node } else { first };
        let (name, a, b) = (self.map.name(node), self.map.name(first), self.map.name(odd));
        let (units_a, units_b) = (units_text(width(first)), units_text(width(odd)));
        let message = format!(
            "the inputs of {what} `{name}` differ in width: `{a}` has {units_a}, `{b}` has {units_b}"
        );
        let mut fault = self.fault(Code::E0203, node, message);
        for (input, units) in [(first, units_a), (odd, units_b)] {
            let place = self.map.nodes.get(&input).map(|&(_, span)| span);
            fault = fault.label(place, units);
        }
        let help = match what {
            "product" => "give the inputs equal `units`, or use Kronecker for all pairs",
            _ => "give the inputs equal `units`",
        };
        self.faults.push(fault.help(help));
    }

    fn kronecker(&mut self, node: NodeId, units: u32) {
        if !self.has_inputs(node, "Kronecker product") || self.doubt[node] {
            return;
        }
        let mut inputs = self.circuit.inputs(node);
        let pairs = inputs.try_fold(1u32, |n, input| n.checked_mul(self.circuit.units(input)));
        if pairs != Some(units) {
            let name = self.map.name(node);
            let message = format!(
                "Kronecker product `{name}` has {}, not as many as its inputs have pairs",
                units_text(units)
            );
            self.faults.push(self.fault(Code::E0203, node, message));
        }
    }

    fn sum(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        if self.has_inputs(node, "sum") && !self.doubt[node] {
            let widths = self.circuit.inputs(node).map(|n| u64::from(self.circuit.units(n)));
            let cols = widths.sum();
            self.shape(node, weights, u64::from(units), cols);
        }
    }

    fn mixing(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        self.equal_widths(node, units, "mixing layer");
        let inputs = self.circuit.inputs(node).count() as u64;
        if inputs > 0 && !self.doubt[node] {
            self.shape(node, weights, u64::from(units), inputs);
        }
    }

    fn shape(&mut self, node: NodeId, weights: WeightsId, rows: u64, cols: u64) {
        let weights = &self.circuit.weights()[weights];
        let (has_rows, has_cols) = (weights.rows, weights.cols);
        if (u64::from(has_rows), u64::from(has_cols)) != (rows, cols) {
            let name = self.map.name(node);
            let message =
                format!("`{name}` needs weights [{rows}, {cols}], not [{has_rows}, {has_cols}]");
            self.faults.push(self.part_fault(Code::E0303, node, message));
        }
    }

    /// Checks the given weights: each layer once, reported at every node that has it.
    pub(super) fn each_weights(&mut self) {
        let problem = |weights: &Weights| match &weights.source {
            WeightSource::Given(values) | WeightSource::Frozen(values) => {
                weights_problem(values, weights.rows, weights.cols)
            }
            WeightSource::Parameterizer | WeightSource::Direct => None,
        };
        let problems: IdVec<WeightsId, Option<(Code, String)>> =
            self.circuit.weights().values().map(problem).collect();
        if problems.values().all(Option::is_none) {
            return;
        }
        for node in self.circuit.nodes().filter(|&node| !self.doubt[node]) {
            let weights = self.circuit.op(node).weights();
            if let Some((code, problem)) = weights.and_then(|weights| problems[weights].clone()) {
                let name = self.map.name(node);
                let fault = self
                    .part_fault(code, node, format!("the weights of `{name}` {problem}"))
                    .help("each row must be non-negative and sum to one within 1e-6");
                self.faults.push(fault);
            }
        }
    }
}

fn units_text(units: u32) -> String {
    if units == 1 { "1 unit".into() } else { format!("{units} units") }
}

fn describe(dist: &Dist) -> String {
    match dist.family {
        Family::Indicators { states } | Family::Categorical { states } => {
            format!("{} of {states} states", dist.family.name())
        }
        family => family.name().into(),
    }
}

/// What suits a kind of variable.
fn suitable(kind: VarKind) -> &'static str {
    match kind {
        VarKind::Real => "a real variable takes Gaussian(), or Poisson() where it counts",
        VarKind::BINARY => "a binary variable takes Indicators, Bernoulli() or Categorical()",
        VarKind::Categorical { .. } => {
            "a categorical variable takes Indicators, Categorical() or Binomial()"
        }
    }
}

/// What is wrong with the given parameters of a distribution, and what would mend it.
fn parameter_problem(dist: &Dist) -> Option<(String, &'static str)> {
    let given = dist.given.as_ref()?;
    let len = dist.family.natural_len();
    if given.len() != dist.units as usize * len {
        let text = format!("{} numbers given, {} units need {len} each", given.len(), dist.units);
        return Some((text, "give as many numbers as each unit needs"));
    }
    given.chunks_exact(len.max(1)).find_map(|natural| match (dist.family, natural) {
        (Family::Bernoulli | Family::Binomial { .. }, &[p]) if !(0.0..=1.0).contains(&p) => {
            Some((format!("p = {p} is no probability"), "p must be between 0 and 1"))
        }
        (Family::Categorical { states }, p) => weights_problem(p, 1, states).map(|(_, problem)| {
            (
                format!("the probabilities {problem}"),
                "p must be non-negative and sum to one within 1e-6",
            )
        }),
        (Family::Poisson, &[rate]) if !(rate > 0.0 && rate.is_finite()) => {
            Some((format!("rate = {rate} is no rate"), "rate must be finite and above 0"))
        }
        (Family::Gaussian { min_var, max_var }, &[mean, var]) => {
            gaussian_problem(min_var, max_var, mean, var)
        }
        _ => None,
    })
}

fn gaussian_problem(
    min_var: f64,
    max_var: f64,
    mean: f64,
    var: f64,
) -> Option<(String, &'static str)> {
    // A least variance written in decimals may round to a little more.
    let within = var > 0.0 && var.is_finite() && var >= min_var * (1.0 - 1e-9) && var <= max_var;
    if !mean.is_finite() {
        Some((format!("mean {mean} is not finite"), "the mean must be finite"))
    } else if !within {
        let text = format!("variance {var} is not between {min_var:e} and {max_var:e}");
        Some((text, "change `var`, or the bounds `min_var` and `max_var`"))
    } else {
        None
    }
}

fn weights_problem(values: &[f64], rows: u32, cols: u32) -> Option<(Code, String)> {
    if values.len() != rows as usize * cols as usize {
        let text = format!("are {} numbers, not {rows} × {cols}", values.len());
        return Some((Code::E0303, text));
    }
    if let Some(value) = values.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
        let what = if *value < 0.0 { "is negative" } else { "is not finite" };
        return Some((Code::E0302, format!("have the entry {value}, which {what}")));
    }
    values.chunks_exact(cols.max(1) as usize).enumerate().find_map(|(row, values)| {
        let sum: f64 = values.iter().sum();
        let off = (sum - 1.0).abs() > SUM_TOLERANCE;
        let which = if rows > 1 { format!(" in row {row}") } else { String::new() };
        off.then(|| (Code::E0302, format!("sum to {sum}{which}, not to one")))
    })
}
