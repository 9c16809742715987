//! What can be said of the numbers that a circuit gives: the parameters of leaves, and weights.

use std::collections::BTreeMap;

use super::Check;
use crate::circuit::{Circuit, Op, WeightSource, Weights};
use crate::diag::{Code, Span};
use crate::ids::{IdVec, NodeId, WeightsId};
use crate::leaf::{Dist, Family};

/// How far the rows of given weights may be from summing to one.
const SUM_TOLERANCE: f64 = 1e-6;

/// What is wrong with parameters, and what would mend it.
type Problem = (String, &'static str);

impl Check<'_> {
    /// Checks the given parameters of leaves. Leaves that one place of the text describes, and that
    /// have the same fault, are reported together.
    pub(super) fn each_parameter(&mut self) {
        let mut found: BTreeMap<(Option<Span>, Problem), (NodeId, usize)> = BTreeMap::new();
        for node in self.circuit.nodes() {
            let Op::Leaf { dist, .. } = self.circuit.op(node) else { continue };
            if let Some(problem) = parameter_problem(&self.circuit.dists()[dist]) {
                let place = self.map.part_span(node);
                found.entry((place, problem)).or_insert((node, 0)).1 += 1;
            }
        }
        for ((_, (problem, help)), (node, count)) in found {
            let name = self.map.name(node);
            let leaves = match count {
                1 => format!("leaf `{name}`"),
                _ => format!("leaf `{name}` and {} more", count - 1),
            };
            let fault = self.part_fault(Code::E0304, node, format!("{leaves}: {problem}"));
            self.faults.push(fault.help(help));
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

    /// Warns of frozen weights and probabilities that engines of single precision cannot hold, once for
    /// the whole circuit: an imported one may have many.
    pub(super) fn too_small(&mut self) {
        let mut small = self.circuit.nodes().filter_map(|node| {
            let numbers = frozen_numbers(self.circuit, node)?.iter();
            let mut small = numbers.copied().filter(|&x| x > 0.0 && x < LEAST).peekable();
            let first = *small.peek()?;
            Some((node, first, small.count()))
        });
        let Some((node, first, count)) = small.next() else { return };
        let (numbers, nodes) =
            small.fold((count, 1), |(all, nodes), (_, _, more)| (all + more, nodes + 1));
        let name = self.map.name(node);
        let what = match self.circuit.op(node) {
            Op::Leaf { .. } => "probability",
            _ => "weight",
        };
        let fate = if first as f32 == 0.0 { "becomes zero" } else { "loses digits" };
        let message = format!(
            "the {what} {first:e} of `{name}` is too small for single precision: it {fate} when \
             the circuit runs"
        );
        let mut fault = self.part_fault(Code::W0305, node, message);
        match (numbers, nodes) {
            (1, _) => {}
            (_, 1) => fault = fault.note(format!("{numbers} of its numbers are")),
            _ => fault = fault.note(format!("{numbers} frozen numbers are, of {nodes} nodes")),
        }
        self.faults.push(fault.help(format!("make it zero, or at least {LEAST:.2e}")));
    }
}

/// The least number of which single precision holds all digits.
const LEAST: f64 = f32::MIN_POSITIVE as f64;

/// The frozen numbers of a node that an engine has linear: weights, and probabilities of states.
fn frozen_numbers(circuit: &Circuit, node: NodeId) -> Option<&[f64]> {
    match circuit.op(node) {
        Op::Sum { weights } | Op::Mixing { weights } => match &circuit.weights()[weights].source {
            WeightSource::Frozen(values) => Some(values),
            _ => None,
        },
        Op::Leaf { dist, .. } | Op::Given { dist, .. } => {
            let dist = &circuit.dists()[dist];
            let linear = matches!(dist.family, Family::Bernoulli | Family::Categorical { .. });
            dist.given.as_deref().filter(|_| dist.frozen && linear)
        }
        Op::One | Op::Product | Op::Kronecker => None,
    }
}

/// What is wrong with the given parameters of a distribution, and what would mend it.
fn parameter_problem(dist: &Dist) -> Option<Problem> {
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

fn gaussian_problem(min_var: f64, max_var: f64, mean: f64, var: f64) -> Option<Problem> {
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
