//! Laws of products.

use egg::Id;

use super::super::flat::Flat;
use super::super::language::{Graph, Term};
use super::{Recipe, Rule, largest, openings};
use crate::circuit::Op;
use crate::ids::NodeId;

/// ⊙(x) = x and ⊗(x) = x.
pub(super) const SINGLE_PRODUCT: Rule = Rule {
    name: "single-product",
    shape: |flat, _, node| {
        matches!(flat.op(node), Op::Product | Op::Kronecker) && flat.inputs(node).len() == 1
    },
    step: |_, term| match term {
        Term::Product(children) | Term::Kronecker(children) if children.len() == 1 => {
            vec![Recipe::Class(children[0])]
        }
        _ => Vec::new(),
    },
};

/// x ⊙ (y ⊙ z) = x ⊙ y ⊙ z.
pub(super) const FLATTEN_PRODUCTS: Rule = Rule {
    name: "flatten-products",
    shape: |flat, _, node| flat.op(node) == Op::Product && over_itself(flat, node),
    step: |graph, term| match term {
        Term::Product(children) => {
            let factors = |inner: &'_ Term| match inner {
                Term::Product(factors) => Some(factors.clone()),
                _ => None,
            };
            opened(graph, children, factors).into_iter().map(Recipe::Product).collect()
        }
        _ => Vec::new(),
    },
};

/// x ⊗ (y ⊗ z) = (x ⊗ y) ⊗ z = x ⊗ y ⊗ z: both run through x's units first and z's last.
pub(super) const FLATTEN_KRONECKERS: Rule = Rule {
    name: "flatten-kroneckers",
    shape: |flat, _, node| flat.op(node) == Op::Kronecker && over_itself(flat, node),
    step: |graph, term| match term {
        Term::Kronecker(children) => {
            let factors = |inner: &'_ Term| match inner {
                Term::Kronecker(factors) => Some(factors.clone()),
                _ => None,
            };
            opened(graph, children, factors).into_iter().map(Recipe::Kronecker).collect()
        }
        _ => Vec::new(),
    },
};

/// x ⊗ y = x ⊙ y. Needs: all of one unit. Unlike ⊗, ⊙ shares whatever the order.
pub(super) const KRONECKER_OF_SCALARS: Rule = Rule {
    name: "kronecker-of-scalars",
    shape: |flat, _, node| flat.op(node) == Op::Kronecker && flat.units(node) == 1,
    step: |graph, term| match term {
        Term::Kronecker(children) if children.iter().all(|&child| graph[child].data.units == 1) => {
            vec![Recipe::Product(Recipe::classes(children.iter().copied()))]
        }
        _ => Vec::new(),
    },
};

/// x ⊗ y ⊗ z = x ⊗ (y ⊗ z). Needs: fewer multiplications than from left to right.
pub(super) const GROUP_KRONECKER: Rule = Rule {
    name: "group-kronecker",
    shape: |flat, _, node| {
        let widths: Vec<u32> = flat.inputs(node).iter().map(|&n| flat.units(n)).collect();
        flat.op(node) == Op::Kronecker && tail_first(&widths)
    },
    step: |graph, term| match term {
        Term::Kronecker(children) => {
            let widths: Vec<u32> = children.iter().map(|&child| graph[child].data.units).collect();
            if !tail_first(&widths) {
                return Vec::new();
            }
            let tail = Recipe::Kronecker(Recipe::classes(children[1..].iter().copied()));
            vec![Recipe::Kronecker(vec![Recipe::Class(children[0]), tail])]
        }
        _ => Vec::new(),
    },
};

/// Whether the pairs of all but the first are fewer to form than those of all but the last.
fn tail_first(widths: &[u32]) -> bool {
    let chain = |widths: &[u32]| {
        let mut pairs = 1u64;
        let mut total = 0u64;
        for (index, &width) in widths.iter().enumerate() {
            pairs = pairs.saturating_mul(u64::from(width));
            total = total.saturating_add(if index > 0 { pairs } else { 0 });
        }
        total
    };
    widths.len() > 2 && chain(&widths[1..]) < chain(&widths[..widths.len() - 1])
}

fn over_itself(flat: &Flat, node: NodeId) -> bool {
    flat.inputs(node).iter().any(|&input| flat.op(input) == flat.op(node))
}

/// The children with factors put in the place of those that are products.
fn opened(
    graph: &Graph,
    children: &[Id],
    factors: impl Fn(&Term) -> Option<Vec<Id>>,
) -> Vec<Vec<Recipe>> {
    let inner = largest(graph, children, factors, Vec::len);
    let openable: Vec<bool> = inner.iter().map(Option::is_some).collect();
    let one = |open: Vec<bool>| {
        let mut all = Vec::new();
        for ((&child, inner), open) in children.iter().zip(&inner).zip(open) {
            match inner {
                Some(factors) if open => all.extend(factors.iter().copied()),
                _ => all.push(child),
            }
        }
        Recipe::classes(all)
    };
    openings(&openable).into_iter().map(one).collect()
}
