//! The terms of the e-graph, and what is known of each class.
//!
//! A term is a sum or product over classes, or a *hole*: a node that the rules do not look into, such
//! as a leaf or a node outside the part being rewritten. Operations have any number of children; those
//! of a product are sorted, which makes rules of commutativity and associativity needless. The
//! analysis carries width and scope; merging two classes asserts that they agree, so that an unsound
//! rule trips at once.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use egg::{Analysis, DidMerge, EGraph, Id, Language};

/// A matrix of weights, by its place in [`Facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MatrixId(pub u32);

/// A node of the e-graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Term {
    /// A node seen from outside, by its place among the items.
    Hole(u32),
    /// Hadamard product; children ascending.
    Product(Vec<Id>),
    /// All pairs.
    Kronecker(Vec<Id>),
    /// Weighted sums of all units of all children.
    Sum(MatrixId, Vec<Id>),
    /// Elementwise weighted sum.
    Mixing(MatrixId, Vec<Id>),
}

impl Language for Term {
    type Discriminant = (Discriminant<Term>, Option<u32>, usize);

    fn discriminant(&self) -> Self::Discriminant {
        let parameter = match self {
            Term::Hole(item) => Some(*item),
            Term::Product(_) | Term::Kronecker(_) => None,
            Term::Sum(weights, _) | Term::Mixing(weights, _) => Some(weights.0),
        };
        (discriminant(self), parameter, self.children().len())
    }

    fn matches(&self, other: &Self) -> bool {
        self.discriminant() == other.discriminant()
    }

    fn children(&self) -> &[Id] {
        match self {
            Term::Hole(_) => &[],
            Term::Product(children) | Term::Kronecker(children) => children,
            Term::Sum(_, children) | Term::Mixing(_, children) => children,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Term::Hole(_) => &mut [],
            Term::Product(children) | Term::Kronecker(children) => children,
            Term::Sum(_, children) | Term::Mixing(_, children) => children,
        }
    }

    fn update_children<F: FnMut(Id) -> Id>(&mut self, mut f: F) {
        self.children_mut().iter_mut().for_each(|child| *child = f(*child));
        if let Term::Product(children) = self {
            children.sort_unstable();
        }
    }
}

/// A matrix as the rules see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    /// Units of the layer.
    pub rows: u32,
    /// Units of the inputs together, or inputs of a mixing layer.
    pub cols: u32,
    /// The entries, [rows, cols], if they are frozen. Learnable ones are nobody's to change.
    pub frozen: Option<Vec<f64>>,
}

impl Matrix {
    /// A frozen matrix.
    pub fn new(rows: u32, entries: Vec<f64>) -> Self {
        Matrix { rows, cols: entries.len() as u32 / rows.max(1), frozen: Some(entries) }
    }

    /// Shape and rough content of a frozen matrix.
    fn key(&self) -> Option<(u32, Vec<u32>)> {
        let frozen = self.frozen.as_ref()?;
        Some((self.rows, frozen.iter().map(|&value| (value as f32).to_bits()).collect()))
    }

    /// Whether entries differ by no more than the order of a few additions can make them.
    fn is_close(&self, other: &Matrix) -> bool {
        const CLOSE: f64 = 16.0 * f64::EPSILON;
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= CLOSE * a.max(*b);
        match (&self.frozen, &other.frozen) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(close),
            _ => false,
        }
    }
}

/// Width and scope of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub units: u32,
    pub scope: ScopeKey,
}

/// A set of variables as the exclusive or of one random number for each. Scopes of a product are
/// disjoint, so its key is that of all its children; equal sets have equal keys, and different sets
/// have different ones but for a chance of 2⁻¹²⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScopeKey(u128);

impl ScopeKey {
    /// The key of one variable.
    pub fn singleton(var: crate::ids::VarId) -> Self {
        let half = |seed: u64| {
            // The finaliser of SplitMix64 (Steele et al. 2014).
            let mut z = u64::from(var.0).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u128::from(z ^ (z >> 31))
        };
        ScopeKey(half(1) << 64 | half(1 << 40))
    }

    /// The key of two disjoint sets together.
    pub fn disjoint_union(self, other: Self) -> Self {
        ScopeKey(self.0 ^ other.0)
    }
}

/// The tables that terms refer to.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Shape of each item.
    pub items: Vec<Shape>,
    matrices: Vec<Matrix>,
    /// The first frozen matrix of each shape and rough content.
    frozen: HashMap<(u32, Vec<u32>), MatrixId>,
}

impl Facts {
    /// The tables of a pattern: its items, and its matrices in their order.
    pub fn new(items: Vec<Shape>, matrices: impl IntoIterator<Item = Matrix>) -> Self {
        let mut facts = Facts { items, ..Facts::default() };
        for matrix in matrices {
            facts.push(matrix);
        }
        facts
    }

    fn push(&mut self, matrix: Matrix) -> MatrixId {
        let id = MatrixId(self.matrices.len() as u32);
        if let Some(key) = matrix.key() {
            self.frozen.entry(key).or_insert(id);
        }
        self.matrices.push(matrix);
        id
    }

    /// The place of a frozen matrix, added if there is none that is the same up to rounding: the same
    /// product may have been formed in another order.
    pub fn intern(&mut self, matrix: Matrix) -> MatrixId {
        let known = matrix.key().and_then(|key| self.frozen.get(&key).copied());
        let known = known.filter(|&id| self.matrix(id).is_close(&matrix));
        known.unwrap_or_else(|| self.push(matrix))
    }

    /// A matrix.
    pub fn matrix(&self, id: MatrixId) -> &Matrix {
        &self.matrices[id.0 as usize]
    }
}

/// The e-graph of circuits.
pub(super) type Graph = EGraph<Term, Facts>;

impl Analysis<Term> for Facts {
    type Data = Shape;

    fn make(graph: &mut Graph, term: &Term, _id: Id) -> Shape {
        let shapes = || term.children().iter().map(|&child| graph[child].data);
        let first = shapes().next();
        let union =
            || shapes().map(|s| s.scope).fold(ScopeKey::default(), ScopeKey::disjoint_union);
        let scope_of_first = first.map_or(ScopeKey::default(), |shape| shape.scope);
        match term {
            Term::Hole(item) => graph.analysis.items[*item as usize],
            Term::Product(_) => {
                Shape { units: first.map_or(1, |shape| shape.units), scope: union() }
            }
            Term::Kronecker(_) => {
                Shape { units: shapes().map(|shape| shape.units).product(), scope: union() }
            }
            Term::Sum(weights, _) | Term::Mixing(weights, _) => {
                Shape { units: graph.analysis.matrix(*weights).rows, scope: scope_of_first }
            }
        }
    }

    fn merge(&mut self, a: &mut Shape, b: Shape) -> DidMerge {
        assert_eq!(*a, b, "a rule equated two functions of different width or scope");
        DidMerge(false, false)
    }
}
