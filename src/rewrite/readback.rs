//! Between the e-graph and extraction: the choices in dense numbers, and the picked ones as items.

use std::collections::BTreeMap;

use egg::{Id, Language};

use super::Limits;
use super::cost::{Cost, Target};
use super::extract::{Choice, Choices, extract};
use super::island::{Item, Kind, Pattern};
use super::language::{Graph, Matrix, MatrixId, Term};
use super::saturate::Replacement;
use crate::circuit::Op;
use crate::ids::WeightsId;

/// The price of a node over inputs of these widths.
fn price(kind: Kind, units: u32, inputs: impl Iterator<Item = u32>, target: &Target) -> u64 {
    // Which weights they are is no matter for the price of one node.
    let weights = WeightsId(0);
    let op = match kind {
        Kind::Hole => return 0,
        Kind::Product => Op::Product,
        Kind::Kronecker => Op::Kronecker,
        Kind::Sum(_) => Op::Sum { weights },
        Kind::Mixing(_) => Op::Mixing { weights },
    };
    Cost::of_node(op, units, inputs).total(target)
}

fn kind_of(term: &Term) -> Kind {
    match term {
        Term::Hole(_) => Kind::Hole,
        Term::Product(_) => Kind::Product,
        Term::Kronecker(_) => Kind::Kronecker,
        Term::Sum(weights, _) => Kind::Sum(weights.0),
        Term::Mixing(weights, _) => Kind::Mixing(weights.0),
    }
}

/// The cheapest form of the outputs, if it is cheaper than the pattern, and whether that is certain.
pub(super) fn cheapest(
    graph: &Graph,
    pattern: &Pattern,
    ids: &[Id],
    target: &Target,
    limits: &Limits,
) -> (Option<Replacement>, bool) {
    let item_price = |item: &Item| {
        let widths = item.inputs.iter().map(|&input| pattern.items[input as usize].units);
        price(item.kind, item.units, widths, target)
    };
    let before: u64 = pattern.items.iter().map(item_price).fold(0, u64::saturating_add);
    let Space { choices, terms, dense, units } = space(graph, pattern, ids, target);
    let best = extract(&choices, limits.extraction);
    if best.cost >= before {
        return (None, best.exact);
    }
    let mut writer = Writer {
        graph,
        dense: &dense,
        terms: &terms,
        pick: &best.pick,
        first_new: pattern.items.len() as u32,
        own_layers: pattern.layers.len() as u32,
        nodes: Vec::new(),
        made: Vec::new(),
        units,
        done: vec![None; choices.classes.len()],
    };
    let outputs = choices.roots.iter().map(|&root| writer.write(root)).collect();
    let replacement = Replacement { nodes: writer.nodes, outputs, made: writer.made };
    (Some(replacement), best.exact)
}

/// What extraction chooses from, and what it means in the graph.
struct Space {
    choices: Choices,
    /// The terms of each dense class, in the order of its choices.
    terms: Vec<Vec<Term>>,
    /// The dense number of each class.
    dense: BTreeMap<Id, usize>,
    /// Their widths.
    units: Vec<u32>,
}

/// The classes below the outputs in dense numbers, with their terms in a fixed order.
fn space(graph: &Graph, pattern: &Pattern, ids: &[Id], target: &Target) -> Space {
    let mut dense: BTreeMap<Id, usize> = BTreeMap::new();
    let mut order: Vec<Id> = Vec::new();
    let mut number = |order: &mut Vec<Id>, id: Id| {
        let id = graph.find(id);
        *dense.entry(id).or_insert_with(|| {
            order.push(id);
            order.len() - 1
        })
    };
    let outputs = pattern.outputs.iter();
    let roots = outputs.map(|&output| number(&mut order, ids[output as usize])).collect();
    let mut classes: Vec<Vec<Choice>> = Vec::new();
    let mut all_terms: Vec<Vec<Term>> = Vec::new();
    while classes.len() < order.len() {
        let class = &graph[order[classes.len()]];
        let mut terms = class.nodes.clone();
        terms.sort_unstable();
        let choice = |term: &Term| {
            let widths = term.children().iter().map(|&child| graph[child].data.units);
            let cost = price(kind_of(term), class.data.units, widths, target);
            let mut children: Vec<usize> =
                term.children().iter().map(|&child| number(&mut order, child)).collect();
            children.sort_unstable();
            children.dedup();
            let hole = if let Term::Hole(item) = term { Some(*item) } else { None };
            Choice { children, cost, hole }
        };
        classes.push(terms.iter().map(choice).collect());
        all_terms.push(terms);
    }
    let units = order.iter().map(|&id| graph[id].data.units).collect();
    let mut original = vec![None; classes.len()];
    for (place, (item, &id)) in pattern.items.iter().zip(ids).enumerate() {
        let Some(&class) = dense.get(&graph.find(id)) else { continue };
        if original[class].is_none() {
            let term = term_of(graph, ids, place as u32, item);
            original[class] = all_terms[class].iter().position(|other| *other == term);
        }
    }
    Space { choices: Choices { classes, roots, original }, terms: all_terms, dense, units }
}

/// The term of an item as the graph has it now.
fn term_of(graph: &Graph, ids: &[Id], place: u32, item: &Item) -> Term {
    let inputs = item.inputs.iter().map(|&input| ids[input as usize]).collect();
    let term = match item.kind {
        Kind::Hole => Term::Hole(place),
        Kind::Product => Term::Product(inputs),
        Kind::Kronecker => Term::Kronecker(inputs),
        Kind::Sum(weights) => Term::Sum(MatrixId(weights), inputs),
        Kind::Mixing(weights) => Term::Mixing(MatrixId(weights), inputs),
    };
    term.map_children(|id| graph.find(id))
}

/// Writes the picked terms as items, inputs first.
struct Writer<'a> {
    graph: &'a Graph,
    dense: &'a BTreeMap<Id, usize>,
    terms: &'a [Vec<Term>],
    pick: &'a [usize],
    first_new: u32,
    own_layers: u32,
    nodes: Vec<Item>,
    made: Vec<Matrix>,
    /// Width of each class.
    units: Vec<u32>,
    done: Vec<Option<u32>>,
}

impl Writer<'_> {
    /// The number of the item that stands for a class.
    fn write(&mut self, class: usize) -> u32 {
        if let Some(done) = self.done[class] {
            return done;
        }
        let term = &self.terms[class][self.pick[class]];
        let number = match term {
            Term::Hole(item) => *item,
            _ => {
                let children = term.children().iter();
                let inputs = children.map(|&id| self.write(self.dense[&self.graph.find(id)]));
                let inputs: Vec<u32> = inputs.collect();
                let kind = match *term {
                    Term::Hole(_) => Kind::Hole,
                    Term::Product(_) => Kind::Product,
                    Term::Kronecker(_) => Kind::Kronecker,
                    Term::Sum(weights, _) => Kind::Sum(self.layer(weights)),
                    Term::Mixing(weights, _) => Kind::Mixing(self.layer(weights)),
                };
                let units = self.units[class];
                self.nodes.push(Item { kind, units, inputs });
                self.first_new + self.nodes.len() as u32 - 1
            }
        };
        self.done[class] = Some(number);
        number
    }

    /// The number of a matrix beside the pattern's own layers.
    fn layer(&mut self, weights: MatrixId) -> u32 {
        if weights.0 < self.own_layers {
            return weights.0;
        }
        let matrix = self.graph.analysis.matrix(weights);
        let known = self.made.iter().position(|other| other == matrix);
        self.own_layers
            + known.unwrap_or_else(|| {
                self.made.push(matrix.clone());
                self.made.len() - 1
            }) as u32
    }
}
