//! One island through the e-graph: its pattern in, the cheapest equal pattern out.

use std::collections::BTreeMap;
use std::time::Duration;

use egg::{Id, Runner, SimpleScheduler, StopReason};

use super::cost::Target;
use super::island::{Island, Item, Kind, LayerForm, Pattern};
use super::language::{Facts, Graph, Matrix, MatrixId, Term};
use super::readback::cheapest;
use super::report::Stop;
use super::rules::{Rule, rewrites};
use super::{Limits, flat::Layers};

/// What the e-graph made of a pattern.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What to put in its place, if that is cheaper.
    pub replacement: Option<Replacement>,
    /// How often each rule made two classes one.
    pub fired: Vec<(&'static str, usize)>,
    /// Why the e-graph stopped.
    pub stop: Stop,
    /// Whether the cheapest was found for certain.
    pub exact: bool,
}

/// New nodes for an island. An input below the number of the pattern's items is that item, a hole;
/// one above it is a new node. Weights beyond the pattern's layers are the `made` ones.
#[derive(Debug)]
pub(super) struct Replacement {
    pub nodes: Vec<Item>,
    /// What stands for each output of the pattern.
    pub outputs: Vec<u32>,
    pub made: Vec<Matrix>,
}

/// Saturates the e-graph of an island's pattern and extracts.
pub(super) fn saturate(
    island: &Island,
    layers: &Layers,
    rules: &[&'static Rule],
    target: &Target,
    limits: &Limits,
) -> Outcome {
    let pattern = &island.pattern;
    let matrix = |form: &LayerForm| Matrix {
        rows: form.rows,
        cols: form.cols,
        frozen: form.frozen.and_then(|id| layers.frozen(id)).map(<[f64]>::to_vec),
    };
    let facts = Facts::new(island.shapes.clone(), pattern.layers.iter().map(matrix));
    let mut graph = Graph::new(facts);
    let ids = add(&mut graph, pattern);
    let runner: Runner<Term, Facts> = Runner::new(Facts::default())
        .with_egraph(graph)
        .with_scheduler(SimpleScheduler)
        .with_iter_limit(limits.iterations)
        .with_node_limit(limits.terms)
        .with_time_limit(Duration::MAX)
        .run(&rewrites(rules));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (name, count) in runner.iterations.iter().flat_map(|iteration| &iteration.applied) {
        *counts.entry(name.to_string()).or_default() += count;
    }
    let fired =
        rules.iter().filter_map(|rule| Some((rule.name, *counts.get(rule.name)?))).collect();
    let stop = match runner.stop_reason {
        Some(StopReason::IterationLimit(_)) => Stop::Iterations,
        Some(StopReason::NodeLimit(_)) => Stop::Terms,
        _ => Stop::Saturated,
    };
    let (replacement, exact) = cheapest(&runner.egraph, pattern, &ids, target, limits);
    Outcome { replacement, fired, stop, exact }
}

fn add(graph: &mut Graph, pattern: &Pattern) -> Vec<Id> {
    let mut ids: Vec<Id> = Vec::with_capacity(pattern.items.len());
    for (index, item) in pattern.items.iter().enumerate() {
        let mut inputs: Vec<Id> = item.inputs.iter().map(|&input| ids[input as usize]).collect();
        let term = match item.kind {
            Kind::Hole => Term::Hole(index as u32),
            Kind::Product => {
                inputs.sort_unstable();
                Term::Product(inputs)
            }
            Kind::Kronecker => Term::Kronecker(inputs),
            Kind::Sum(weights) => Term::Sum(MatrixId(weights), inputs),
            Kind::Mixing(weights) => Term::Mixing(MatrixId(weights), inputs),
        };
        ids.push(graph.add(term));
    }
    graph.rebuild();
    ids
}
