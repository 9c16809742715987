//! The law book: every equation by which a circuit may be rewritten.
//!
//! A rule is a named item of three parts. Its *law* is an equation of functions that holds for all
//! parameters and rows. Its *shape* is a cheap necessary condition on a node of the circuit, by which
//! whole regions are passed over without an e-graph. Its *step* takes one term and gives the terms
//! equal to it by the law. Rules point one way, towards what is cheaper or lets another rule in;
//! what is kept is decided by cost. Learnable weights keep their layer: no rule merges, splits or
//! changes them.
//!
//! Notation: x, y, c are functions of K units; ⊙ is the Hadamard product, ⊗ the Kronecker product with
//! the first factor's unit varying fastest; Σ_W(x, y) is W · (x ‖ y) with ‖ concatenation; M_W(x, y) is
//! w₀ ⊙ x + w₁ ⊙ y with wᵢ column i of W.

mod factor;
mod products;
mod sums;

use egg::{Applier, Id, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};

use super::flat::{Flat, Layers};
use super::language::{Facts, Graph, Matrix, MatrixId, Term};
use crate::ids::NodeId;

/// One law of the book.
pub(super) struct Rule {
    /// Its name in reports.
    pub name: &'static str,
    /// Whether it could apply at a node, judged by the node, its inputs and its weights.
    pub shape: fn(&Flat, &Layers, NodeId) -> bool,
    /// The terms equal to a term of the graph.
    pub step: fn(&Graph, &Term) -> Vec<Recipe>,
}

/// All rules, in the order of application and of reports.
pub(super) const ALL: &[Rule] = &[
    products::SINGLE_PRODUCT,
    products::FLATTEN_PRODUCTS,
    products::FLATTEN_KRONECKERS,
    products::KRONECKER_OF_SCALARS,
    products::GROUP_KRONECKER,
    sums::SINGLE_MIXING,
    sums::IDENTITY_SUM,
    sums::EQUAL_INPUTS,
    sums::DROP_ZERO_INPUTS,
    sums::ADD_EQUAL_INPUTS,
    sums::COLLAPSE_SUMS,
    sums::COLLAPSE_MIXINGS,
    sums::COLLAPSE_MIXING_OF_SUMS,
    factor::FACTOR_MIXING,
    factor::FACTOR_SUM,
];

/// Terms of one class that a rule looks at: enough for what circuits need, and a bound on what equal
/// terms can make of each other.
const MOST_TERMS: usize = 12;

/// A term to be added to the graph, over classes that are there.
#[derive(Clone, Debug)]
pub(super) enum Recipe {
    Class(Id),
    Product(Vec<Recipe>),
    Kronecker(Vec<Recipe>),
    Sum(Weighting, Vec<Recipe>),
    Mixing(Weighting, Vec<Recipe>),
}

/// The weights of a term to be added.
#[derive(Clone, Debug)]
pub(super) enum Weighting {
    Same(MatrixId),
    New(Matrix),
}

impl Recipe {
    fn classes(ids: impl IntoIterator<Item = Id>) -> Vec<Recipe> {
        ids.into_iter().map(Recipe::Class).collect()
    }

    /// Adds the term and those below it.
    fn add(self, graph: &mut Graph) -> Id {
        let all = |graph: &mut Graph, recipes: Vec<Recipe>| -> Vec<Id> {
            recipes.into_iter().map(|recipe| recipe.add(graph)).collect()
        };
        let term = match self {
            Recipe::Class(id) => return id,
            Recipe::Product(factors) => {
                let mut children = all(graph, factors);
                children.sort_unstable();
                Term::Product(children)
            }
            Recipe::Kronecker(factors) => Term::Kronecker(all(graph, factors)),
            Recipe::Sum(weights, inputs) => Term::Sum(weights.place(graph), all(graph, inputs)),
            Recipe::Mixing(weights, inputs) => {
                Term::Mixing(weights.place(graph), all(graph, inputs))
            }
        };
        graph.add(term)
    }
}

impl Weighting {
    fn place(self, graph: &mut Graph) -> MatrixId {
        match self {
            Weighting::Same(id) => id,
            Weighting::New(matrix) => graph.analysis.intern(matrix),
        }
    }
}

/// The rules as egg has them.
pub(super) fn rewrites(rules: &[&'static Rule]) -> Vec<Rewrite<Term, Facts>> {
    // Only a rule of pattern variables can be refused, and these have none.
    rules.iter().filter_map(|&rule| Rewrite::new(rule.name, Find(rule), Find(rule)).ok()).collect()
}

/// Finds and applies a rule.
struct Find(&'static Rule);

impl Searcher<Term, Facts> for Find {
    fn search_eclass_with_limit(
        &self,
        graph: &Graph,
        eclass: Id,
        _limit: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        let terms = graph[eclass].iter().take(MOST_TERMS);
        let found = terms.into_iter().any(|term| !(self.0.step)(graph, term).is_empty());
        found.then(|| SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }

    fn search_with_limit(&self, graph: &Graph, limit: usize) -> Vec<SearchMatches<'_, Term>> {
        // In the order of ids, so that no hash decides which match comes first.
        let mut classes: Vec<Id> = graph.classes().map(|class| class.id).collect();
        classes.sort_unstable();
        let one = |class| self.search_eclass_with_limit(graph, class, limit);
        classes.into_iter().filter_map(one).take(limit).collect()
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

impl Applier<Term, Facts> for Find {
    fn apply_one(
        &self,
        graph: &mut Graph,
        eclass: Id,
        _subst: &Subst,
        _ast: Option<&PatternAst<Term>>,
        _rule: Symbol,
    ) -> Vec<Id> {
        let mut terms = graph[eclass].nodes.clone();
        terms.sort_unstable();
        terms.truncate(MOST_TERMS);
        let mut changed = Vec::new();
        for term in terms {
            for recipe in (self.0.step)(graph, &term) {
                let id = recipe.add(graph);
                if graph.union(eclass, id) {
                    changed.push(id);
                }
            }
        }
        changed
    }
}

/// Of each child, the largest term of a kind, as `pick` reads it; `None` for children without.
fn largest<'g, T: Ord>(
    graph: &'g Graph,
    children: &[Id],
    pick: impl Fn(&'g Term) -> Option<T>,
    size: impl Fn(&T) -> usize,
) -> Vec<Option<T>> {
    let of = |&child: &Id| {
        let terms = graph[child].iter().filter_map(&pick);
        terms.max_by(|a, b| size(a).cmp(&size(b)).then_with(|| b.cmp(a)))
    };
    children.iter().map(of).collect()
}

/// Which children to open: all of those that can be, then, where they are few, each alone, since one
/// that others use as well may be better left as it is.
fn openings(openable: &[bool]) -> Vec<Vec<bool>> {
    let count = openable.iter().filter(|&&open| open).count();
    let mut choices = Vec::new();
    if count > 0 {
        choices.push(openable.to_vec());
    }
    if (2..=3).contains(&count) {
        for index in (0..openable.len()).filter(|&index| openable[index]) {
            choices.push((0..openable.len()).map(|other| other == index).collect());
        }
    }
    choices
}
