//! Laws of sum and mixing layers. All but those of one weight a row and of equal inputs need frozen
//! weights: a product of two learnable layers is no layer.

use egg::Id;

use super::super::flat::{Flat, Layers};
use super::super::language::{Graph, Matrix, Term};
use super::{Recipe, Rule, Weighting, largest, openings};
use crate::circuit::Op;
use crate::ids::NodeId;

/// How far from one a frozen weight may be, by rounding, to be one.
const ONE: f64 = 4.0 * f64::EPSILON;
/// How far from one the rows of a matrix that a rule makes may sum, well within what validation takes.
const ROWS: f64 = 5e-7;
/// Entries of a matrix that a rule may make.
const MOST_ENTRIES: usize = 1 << 16;

/// M_W(x) = x: the one weight of each row is one, learnable or not.
pub(super) const SINGLE_MIXING: Rule = Rule {
    name: "single-mixing",
    shape: |flat, _, node| {
        matches!(flat.op(node), Op::Mixing { .. }) && flat.inputs(node).len() == 1
    },
    step: |graph, term| match term {
        Term::Mixing(weights, inputs)
            if inputs.len() == 1 && rows_are_one(graph.analysis.matrix(*weights)) =>
        {
            vec![Recipe::Class(inputs[0])]
        }
        _ => Vec::new(),
    },
};

/// Σ_I(x) = x. Needs: one input, and W frozen to the identity; or 1 × 1, whose weight is one, learnable
/// or not.
pub(super) const IDENTITY_SUM: Rule = Rule {
    name: "identity-sum",
    shape: |flat, layers, node| match (flat.op(node), flat.inputs(node)) {
        (Op::Sum { weights }, [_]) => {
            let weights_of = layers.get(weights);
            weights_of.rows == weights_of.cols
                && (weights_of.rows == 1 || layers.frozen(weights).is_some())
        }
        _ => false,
    },
    step: |graph, term| match term {
        Term::Sum(weights, inputs)
            if inputs.len() == 1 && is_identity(graph.analysis.matrix(*weights)) =>
        {
            vec![Recipe::Class(inputs[0])]
        }
        _ => Vec::new(),
    },
};

/// M_W(x, x) = x, and Σ_W(x, x) = x where x and the sum have one unit: a row sums to one, learnable or
/// not.
pub(super) const EQUAL_INPUTS: Rule = Rule {
    name: "equal-inputs",
    shape: |flat, _, node| {
        let inputs = flat.inputs(node);
        inputs.len() > 1
            && inputs.iter().all(|&input| input == inputs[0])
            && match flat.op(node) {
                Op::Mixing { .. } => true,
                Op::Sum { .. } => flat.units(node) == 1 && flat.units(inputs[0]) == 1,
                _ => false,
            }
    },
    step: |graph, term| {
        let (weights, inputs, scalar) = match term {
            Term::Mixing(weights, inputs) => (weights, inputs, true),
            Term::Sum(weights, inputs) => {
                let scalar = graph.analysis.matrix(*weights).rows == 1
                    && inputs.iter().all(|&input| graph[input].data.units == 1);
                (weights, inputs, scalar)
            }
            _ => return Vec::new(),
        };
        let equal = inputs.iter().all(|&input| graph.find(input) == graph.find(inputs[0]));
        if scalar && inputs.len() > 1 && equal && rows_are_one(graph.analysis.matrix(*weights)) {
            vec![Recipe::Class(inputs[0])]
        } else {
            Vec::new()
        }
    },
};

/// Σ_(A ‖ 0)(x, y) = Σ_A(x), and M likewise. Needs: W frozen, its columns for y all zero.
pub(super) const DROP_ZERO_INPUTS: Rule = Rule {
    name: "drop-zero-inputs",
    shape: |flat, layers, node| {
        let Some((weights, widths)) = blocks_of_node(flat, node) else { return false };
        let frozen = layers.frozen(weights);
        frozen.is_some_and(|w| {
            zero_blocks(w, layers.get(weights).cols as usize, &widths).contains(&true)
        })
    },
    step: |graph, term| {
        let Some(sum) = Frozen::of(graph, term) else { return Vec::new() };
        let zero = zero_blocks(sum.entries, sum.cols(), &sum.widths);
        if zero.iter().all(|&zero| !zero) || zero.iter().all(|&zero| zero) {
            return Vec::new();
        }
        let kept = |index: &usize| !zero[*index];
        let columns = sum.columns();
        let inputs = (0..zero.len()).filter(kept).map(|i| sum.inputs[i]);
        let columns: Vec<usize> =
            (0..zero.len()).filter(kept).flat_map(|i| columns[i].clone()).collect();
        let entries = sum.rows_of(|row| columns.iter().map(|&col| row[col]).collect());
        vec![sum.again(entries, Recipe::classes(inputs))]
    },
};

/// Σ_(A ‖ B)(x, x) = Σ_(A + B)(x), and M likewise. Needs: W frozen.
pub(super) const ADD_EQUAL_INPUTS: Rule = Rule {
    name: "add-equal-inputs",
    shape: |flat, layers, node| {
        let frozen = flat.op(node).weights().is_some_and(|w| layers.frozen(w).is_some());
        let mut inputs = if frozen { flat.inputs(node).to_vec() } else { Vec::new() };
        inputs.sort_unstable();
        inputs.windows(2).any(|pair| pair[0] == pair[1])
    },
    step: |graph, term| {
        let Some(sum) = Frozen::of(graph, term) else { return Vec::new() };
        let mut distinct: Vec<Id> = Vec::new();
        let mut to = Vec::new();
        for &input in sum.inputs {
            let input = graph.find(input);
            let place = distinct.iter().position(|&other| other == input);
            to.push(place.unwrap_or(distinct.len()));
            if place.is_none() {
                distinct.push(input);
            }
        }
        if distinct.len() == sum.inputs.len() {
            return Vec::new();
        }
        let columns = sum.columns();
        let mut starts = vec![0; distinct.len()];
        let mut width = 0;
        for (index, &place) in to.iter().enumerate() {
            // The first of equal inputs opens the block.
            if to[..index].iter().all(|&earlier| earlier != place) {
                starts[place] = width;
                width += sum.widths[index];
            }
        }
        let entries = sum.rows_of(|row| {
            let mut added = vec![0.0; width];
            for (block, &place) in columns.iter().zip(&to) {
                for (offset, col) in block.clone().enumerate() {
                    added[starts[place] + offset] += row[col];
                }
            }
            added
        });
        vec![sum.again(entries, Recipe::classes(distinct))]
    },
};

/// Σ_(A ‖ B)(Σ_V(x), y) = Σ_(A·V ‖ B)(x, y). Needs: W and V frozen.
pub(super) const COLLAPSE_SUMS: Rule = Rule {
    name: "collapse-sums",
    shape: |flat, layers, node| {
        frozen_over(flat, layers, node, |op| matches!(op, Op::Sum { .. }))
            && matches!(flat.op(node), Op::Sum { .. })
    },
    step: |graph, term| match Frozen::of(graph, term) {
        Some(sum) if !sum.mixing => {
            collapse(graph, &sum, Inner::Some(false), |row, block, inner, _| {
                let mut product = vec![0.0; inner.cols()];
                for (&weight, inner) in row[block].iter().zip(inner.entries.chunks(inner.cols())) {
                    for (to, &v) in product.iter_mut().zip(inner) {
                        *to += weight * v;
                    }
                }
                product
            })
        }
        _ => Vec::new(),
    },
};

/// M_W(M_V(x, y), z) = M_U(x, y, z), U's columns being w₀ ⊙ v₀, w₀ ⊙ v₁, w₁. Needs: W and V frozen.
pub(super) const COLLAPSE_MIXINGS: Rule = Rule {
    name: "collapse-mixings",
    shape: |flat, layers, node| {
        frozen_over(flat, layers, node, |op| matches!(op, Op::Mixing { .. }))
            && matches!(flat.op(node), Op::Mixing { .. })
    },
    step: |graph, term| match Frozen::of(graph, term) {
        Some(sum) if sum.mixing => collapse(graph, &sum, Inner::Some(true), scaled_row),
        _ => Vec::new(),
    },
};

/// M_W(Σ_A(x), Σ_B(y)) = Σ_U(x, y), U = (diag(w₀) · A ‖ diag(w₁) · B). Needs: all frozen.
pub(super) const COLLAPSE_MIXING_OF_SUMS: Rule = Rule {
    name: "collapse-mixing-of-sums",
    shape: |flat, layers, node| {
        let inputs = flat.inputs(node);
        matches!(flat.op(node), Op::Mixing { .. })
            && frozen_over(flat, layers, node, |op| matches!(op, Op::Sum { .. }))
            && inputs.iter().all(|&input| matches!(flat.op(input), Op::Sum { .. }))
    },
    step: |graph, term| match Frozen::of(graph, term) {
        Some(sum) if sum.mixing => collapse(graph, &sum, Inner::AllSums, scaled_row),
        _ => Vec::new(),
    },
};

/// One row of diag(w) · V, w being the one column of the block.
fn scaled_row(
    row: &[f64],
    block: std::ops::Range<usize>,
    inner: &Frozen<'_>,
    index: usize,
) -> Vec<f64> {
    let cols = inner.cols();
    let inner_row = &inner.entries[index * cols..][..cols];
    inner_row.iter().map(|&v| row[block.start] * v).collect()
}

/// A sum or mixing layer of frozen weights, its columns in a block an input.
struct Frozen<'g> {
    mixing: bool,
    rows: u32,
    entries: &'g [f64],
    inputs: &'g [Id],
    /// Columns that each input has.
    widths: Vec<usize>,
}

impl<'g> Frozen<'g> {
    fn of(graph: &'g Graph, term: &'g Term) -> Option<Self> {
        let (mixing, weights, inputs) = match term {
            Term::Sum(weights, inputs) => (false, weights, inputs),
            Term::Mixing(weights, inputs) => (true, weights, inputs),
            _ => return None,
        };
        let matrix = graph.analysis.matrix(*weights);
        let entries = matrix.frozen.as_deref()?;
        let width = |&input: &Id| if mixing { 1 } else { graph[input].data.units as usize };
        let widths = inputs.iter().map(width).collect();
        Some(Frozen { mixing, rows: matrix.rows, entries, inputs, widths })
    }

    fn cols(&self) -> usize {
        self.entries.len() / self.rows.max(1) as usize
    }

    fn columns(&self) -> Vec<std::ops::Range<usize>> {
        let mut start = 0;
        let block = |&width: &usize| {
            start += width;
            start - width..start
        };
        self.widths.iter().map(block).collect()
    }

    /// Whether it has zero or equal inputs: without them it is another term of the same class, which
    /// alone is collapsed, lest the same be made in many ways.
    fn is_reducible(&self, graph: &Graph) -> bool {
        let mut inputs: Vec<Id> = self.inputs.iter().map(|&input| graph.find(input)).collect();
        inputs.sort_unstable();
        inputs.windows(2).any(|pair| pair[0] == pair[1])
            || zero_blocks(self.entries, self.cols(), &self.widths).contains(&true)
    }

    /// New entries, each row made of the old one.
    fn rows_of(&self, mut of: impl FnMut(&[f64]) -> Vec<f64>) -> Vec<f64> {
        self.entries.chunks(self.cols().max(1)).flat_map(&mut of).collect()
    }

    /// The same kind of layer over other weights and inputs.
    fn again(&self, entries: Vec<f64>, inputs: Vec<Recipe>) -> Recipe {
        layer(self.mixing, self.rows, entries, inputs)
    }
}

fn layer(mixing: bool, rows: u32, entries: Vec<f64>, inputs: Vec<Recipe>) -> Recipe {
    let weights = Weighting::New(Matrix::new(rows, entries));
    if mixing { Recipe::Mixing(weights, inputs) } else { Recipe::Sum(weights, inputs) }
}

/// The frozen layer of a kind in each child's class, that of fewest inputs if there are several. A layer
/// over its own class, as x = Σ_(½ ‖ ½)(x, x), would be opened for ever.
fn frozen_inner<'g>(graph: &'g Graph, children: &[Id], mixing: bool) -> Vec<Option<Frozen<'g>>> {
    let one = |&child: &Id| {
        let pick = |term: &'g Term| {
            let inner = Frozen::of(graph, term)?;
            let itself = inner.inputs.iter().any(|&input| graph.find(input) == graph.find(child));
            (inner.mixing == mixing && !itself && !inner.is_reducible(graph)).then_some(term)
        };
        // The fewest inputs: a layer that was collapsed itself comes with fewer in the end.
        let size = |term: &&Term| usize::MAX - egg::Language::children(*term).len();
        let terms = largest(graph, &[child], pick, size);
        terms.into_iter().flatten().next().and_then(|term| Frozen::of(graph, term))
    };
    children.iter().map(one).collect()
}

/// Which inner layers are opened.
#[derive(Clone, Copy)]
enum Inner {
    /// Those that are mixing layers, or those that are sums: of the kind of the outer layer.
    Some(bool),
    /// All, which must all be sums; the result is a sum.
    AllSums,
}

/// Puts the inputs of frozen layers in the place of these layers. `block_row` makes the columns of one
/// row: it is given the outer row, the block of the inner layer in it, the inner layer and the number
/// of the row.
fn collapse<'g>(
    graph: &'g Graph,
    sum: &Frozen<'g>,
    which: Inner,
    block_row: impl Fn(&[f64], std::ops::Range<usize>, &Frozen<'g>, usize) -> Vec<f64>,
) -> Vec<Recipe> {
    if sum.is_reducible(graph) {
        return Vec::new();
    }
    let mixing = matches!(which, Inner::Some(true));
    let inner = frozen_inner(graph, sum.inputs, mixing);
    let openable: Vec<bool> = inner.iter().map(Option::is_some).collect();
    let choices = match which {
        Inner::Some(_) => openings(&openable),
        Inner::AllSums if openable.contains(&false) => Vec::new(),
        Inner::AllSums => vec![openable],
    };
    let columns = sum.columns();
    let mut found = Vec::new();
    for open in choices {
        let opened = |index: usize| inner[index].as_ref().filter(|_| open[index]);
        let width = |index: usize| opened(index).map_or(sum.widths[index], Frozen::cols);
        let cols: usize = (0..columns.len()).map(width).sum();
        if cols * sum.rows as usize > MOST_ENTRIES {
            continue;
        }
        let mut number = 0;
        let entries = sum.rows_of(|row| {
            let mut made = Vec::with_capacity(cols);
            for (index, block) in columns.iter().enumerate() {
                match opened(index) {
                    Some(inner) => made.extend(block_row(row, block.clone(), inner, number)),
                    None => made.extend_from_slice(&row[block.clone()]),
                }
            }
            number += 1;
            made
        });
        // The tolerances of both layers add up, and single precision, in which an engine runs the layer,
        // may hold two numbers and not their product.
        let off = |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() > ROWS;
        let lost = |&entry: &f64| entry > 0.0 && entry < f64::from(f32::MIN_POSITIVE);
        if entries.chunks(cols.max(1)).any(off) || entries.iter().any(lost) {
            continue;
        }
        let mut inputs = Vec::new();
        for (index, &input) in sum.inputs.iter().enumerate() {
            match opened(index) {
                Some(inner) => inputs.extend_from_slice(inner.inputs),
                None => inputs.push(input),
            }
        }
        found.push(layer(mixing, sum.rows, entries, Recipe::classes(inputs)));
    }
    found
}

/// Whether every row sums to one: true of learnable weights.
fn rows_are_one(matrix: &Matrix) -> bool {
    let row_is_one = |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() <= ONE;
    matrix.frozen.as_ref().is_none_or(|w| w.chunks(matrix.cols.max(1) as usize).all(row_is_one))
}

fn is_identity(matrix: &Matrix) -> bool {
    let cols = matrix.cols as usize;
    let Some(frozen) = &matrix.frozen else { return matrix.rows == 1 && cols == 1 };
    let want = |place: usize| if place / cols == place % cols { 1.0 } else { 0.0 };
    matrix.rows == matrix.cols
        && frozen.iter().enumerate().all(|(place, &w)| (w - want(place)).abs() <= ONE)
}

/// The weights of a sum or mixing node, and how many columns each input has.
fn blocks_of_node(flat: &Flat, node: NodeId) -> Option<(crate::ids::WeightsId, Vec<usize>)> {
    let inputs = flat.inputs(node).iter();
    match flat.op(node) {
        Op::Sum { weights } => {
            Some((weights, inputs.map(|&input| flat.units(input) as usize).collect()))
        }
        Op::Mixing { weights } => Some((weights, inputs.map(|_| 1).collect())),
        _ => None,
    }
}

/// Which blocks of columns are zero in every row.
fn zero_blocks(entries: &[f64], cols: usize, widths: &[usize]) -> Vec<bool> {
    let mut start = 0;
    let block = |&width: &usize| {
        let zero = |row: &[f64]| row[start..start + width].iter().all(|&w| w == 0.0);
        let all = entries.chunks(cols.max(1)).all(zero);
        start += width;
        all
    };
    widths.iter().map(block).collect()
}

/// Whether a frozen node is over a frozen node of the given kind.
fn frozen_over(flat: &Flat, layers: &Layers, node: NodeId, kind: fn(Op) -> bool) -> bool {
    let frozen = |op: Op| op.weights().is_some_and(|weights| layers.frozen(weights).is_some());
    frozen(flat.op(node))
        && flat.inputs(node).iter().any(|&input| kind(flat.op(input)) && frozen(flat.op(input)))
}
