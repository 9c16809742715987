//! Laws that take common factors out of sums. They leave the weights as they are, so they hold for
//! learnable ones too.

use egg::Id;

use super::super::flat::Flat;
use super::super::language::{Graph, Term};
use super::{Recipe, Rule, Weighting, largest};
use crate::circuit::Op;
use crate::ids::NodeId;

/// M_W(c ⊙ x, c ⊙ y) = c ⊙ M_W(x, y): both are elementwise.
pub(super) const FACTOR_MIXING: Rule = Rule {
    name: "factor-mixing",
    shape: |flat, _, node| matches!(flat.op(node), Op::Mixing { .. }) && common_input(flat, node),
    step: |graph, term| match term {
        Term::Mixing(weights, inputs) => {
            let Some((common, rests)) = factored(graph, inputs) else { return Vec::new() };
            let rest = rests.into_iter().map(product).collect();
            let mut factors = Recipe::classes(common);
            factors.push(Recipe::Mixing(Weighting::Same(*weights), rest));
            vec![Recipe::Product(factors)]
        }
        _ => Vec::new(),
    },
};

/// Σ_W(c ⊙ x, c ⊙ y) = c ⊗ Σ_W(x, y), where ⊗ is ⊙ if the sum has one unit. Needs: c, x and y of one
/// unit, so that the same c stands in every column.
pub(super) const FACTOR_SUM: Rule = Rule {
    name: "factor-sum",
    shape: |flat, _, node| {
        matches!(flat.op(node), Op::Sum { .. })
            && flat.inputs(node).iter().all(|&input| flat.units(input) == 1)
            && common_input(flat, node)
    },
    step: |graph, term| match term {
        Term::Sum(weights, inputs) if inputs.iter().all(|&n| graph[n].data.units == 1) => {
            let Some((common, rests)) = factored(graph, inputs) else { return Vec::new() };
            let rest = rests.into_iter().map(product).collect();
            let mut factors = Recipe::classes(common);
            factors.push(Recipe::Sum(Weighting::Same(*weights), rest));
            match graph.analysis.matrix(*weights).rows {
                1 => vec![Recipe::Product(factors)],
                _ => vec![Recipe::Kronecker(factors)],
            }
        }
        _ => Vec::new(),
    },
};

fn product(factors: Vec<Id>) -> Recipe {
    match factors[..] {
        [only] => Recipe::Class(only),
        _ => Recipe::Product(Recipe::classes(factors)),
    }
}

/// Whether the inputs are products that share an input.
fn common_input(flat: &Flat, node: NodeId) -> bool {
    let inputs = flat.inputs(node);
    let [first, others @ ..] = inputs else { return false };
    !others.is_empty()
        && inputs.iter().all(|&input| flat.op(input) == Op::Product)
        && flat
            .inputs(*first)
            .iter()
            .any(|factor| others.iter().all(|&other| flat.inputs(other).contains(factor)))
}

/// The factors that all inputs have, and what each has besides; `None` if there are none of the
/// former, or of the latter in some input.
fn factored(graph: &Graph, inputs: &[Id]) -> Option<(Vec<Id>, Vec<Vec<Id>>)> {
    let factors = |term: &'_ Term| match term {
        Term::Product(factors) if factors.len() > 1 => Some(factors.clone()),
        _ => None,
    };
    let products = largest(graph, inputs, factors, Vec::len);
    let mut products: Vec<Vec<Id>> = products.into_iter().collect::<Option<_>>()?;
    if products.len() < 2 {
        return None;
    }
    for product in &mut products {
        product.iter_mut().for_each(|factor| *factor = graph.find(*factor));
    }
    let (first, others) = products.split_first()?;
    let mut others = others.to_vec();
    let mut common = Vec::new();
    let mut rest_of_first = Vec::new();
    for &factor in first {
        let places: Option<Vec<usize>> =
            others.iter().map(|other| other.iter().position(|&id| id == factor)).collect();
        match places {
            Some(places) => {
                common.push(factor);
                for (other, place) in others.iter_mut().zip(places) {
                    other.remove(place);
                }
            }
            None => rest_of_first.push(factor),
        }
    }
    let mut rests = vec![rest_of_first];
    rests.append(&mut others);
    (!common.is_empty() && rests.iter().all(|rest| !rest.is_empty())).then_some((common, rests))
}
