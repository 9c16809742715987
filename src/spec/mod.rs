//! The description of a circuit: RON text → [`Spec`], with the place of everything a later stage may
//! complain of.
//!
//! [`read`] finds every fault of the text in one run and returns with them what it did understand,
//! so that the stages after it can look for faults in the rest. Where a field is in doubt its default
//! stands in; a graph's node in doubt is kept by name as [`NodeSpec::op`] `None`, so that nodes above
//! it are not said to have an unknown input.
//!
//! A [`Spec`] is data: no file is opened and no parameterizer looked up here.

mod graph;
mod leaves;
mod read;
mod reader;
mod structures;
mod tree;

#[cfg(test)]
mod tests;

pub use self::read::{learning, read};
use crate::diag::Span;
use crate::sector::SectorKind;
use crate::variables::{VarKind, Variables};

/// A value and where the text has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place; empty at 0 for a default that the text does not spell out.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }
}

/// A circuit as its author describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What it is called: by default the source's file name without its extension.
    pub name: String,
    /// The variables, in the order of the data's columns.
    pub variables: Spanned<Variables>,
    /// How its nodes are laid out. `None` if the text does not say so in a way that was understood.
    pub structure: Option<Spanned<StructureSpec>>,
    /// Distributions of the leaves that a structure makes by itself.
    pub leaves: LeavesSpec,
    /// Where the mixture weights come from.
    pub parameterizer: Spanned<ParameterizerSpec>,
    /// How weight layers are cut into sectors.
    pub sectors: Spanned<SectorKind>,
    /// Learning options of named tensors, in the order of the text, names distinct.
    pub groups: Vec<(Spanned<String>, GroupOptions)>,
}

/// How the nodes of a circuit are laid out.
#[derive(Clone, Debug, PartialEq)]
pub enum StructureSpec {
    /// Random binary trees of Hadamard products.
    RatSpn(RatSpn),
    /// Random binary trees of Kronecker products.
    Einet(Einet),
    /// Every way to cut a grid into rectangles.
    PoonDomingos(PoonDomingos),
    /// A grid halved along every axis, again and again.
    QuadTree(QuadTree),
    /// A hidden Markov model.
    Hmm(Hmm),
    /// A hidden Chow–Liu tree.
    Hclt(Hclt),
    /// A tree of the variables that a file gives.
    Vtree(VtreeSpec),
    /// Written out node by node.
    Graph(Graph),
    /// In a file of another format.
    Import(Import),
}

/// A circuit in a file of another format. Paths are relative to the description.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The file.
    pub file: Spanned<String>,
    /// The vtree of a PSDD or an SDD; if it is not named, the one beside the file.
    pub vtree: Option<Spanned<String>>,
    /// The weights of a formula's literals; if they are not named, those beside the file.
    pub weights: Option<Spanned<String>>,
}

/// A variable order as written: numbers of variables, in a list.
pub type Permutation = Spanned<Vec<Spanned<u32>>>;

/// A RAT-SPN: `replicas` random binary trees over all variables, mixed at the root.
#[derive(Clone, Debug, PartialEq)]
pub struct RatSpn {
    /// Units of every region, at least 1.
    pub units: u32,
    /// Number of trees, at least 1.
    pub replicas: u32,
    /// Seed of the variable orders.
    pub seed: u64,
    /// The variable order of each replica, in place of random ones. As written, unchecked.
    pub permutations: Option<Spanned<Vec<Permutation>>>,
}

/// An EiNet over random binary trees: `replicas` of them, mixed at the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Einet {
    /// Units of every region, at least 1.
    pub units: u32,
    /// Number of trees, at least 1.
    pub replicas: u32,
    /// How often the variables are split in two; `None`: until each stands alone.
    pub depth: Option<u32>,
    /// Seed of the splits.
    pub seed: u64,
}

/// Lengths of a grid's axes, the last varying fastest: each at least 1, at least one of them.
pub type GridShape = Spanned<Vec<u32>>;

/// A Poon–Domingos structure over a grid of variables.
#[derive(Clone, Debug, PartialEq)]
pub struct PoonDomingos {
    /// The grid.
    pub shape: GridShape,
    /// Pieces that each of `axes` is cut into, a number for each, at least 1 and at most its length.
    pub pieces: Vec<u32>,
    /// The axes that are cut, distinct, ascending.
    pub axes: Vec<u32>,
    /// Units of every region, at least 1.
    pub units: u32,
}

/// A grid of variables, halved along every axis until each place stands alone.
#[derive(Clone, Debug, PartialEq)]
pub struct QuadTree {
    /// The grid.
    pub shape: GridShape,
    /// Units of every region, at least 1.
    pub units: u32,
}

/// A hidden Markov model over the variables in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Hmm {
    /// Hidden states, at least 1.
    pub units: u32,
    /// Whether all steps share one transition and one emission.
    pub tied: bool,
}

/// A tree of hidden variables, one above each variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Hclt {
    /// States of each hidden variable, at least 1.
    pub units: u32,
    /// The edges of the tree, unchecked. `None`: the maximum spanning tree of the training data.
    pub tree: Option<Edges>,
}

/// Edges as written, pairs of variables' numbers.
pub type Edges = Spanned<Vec<Spanned<(u32, u32)>>>;

/// A circuit that splits the variables as a vtree does.
#[derive(Clone, Debug, PartialEq)]
pub struct VtreeSpec {
    /// Where the vtree is written.
    pub vtree: VtreeText,
    /// Units of every region, at least 1.
    pub units: u32,
}

/// Where a vtree is written.
#[derive(Clone, Debug, PartialEq)]
pub enum VtreeText {
    /// In a file: its path, relative to the description's.
    File(Spanned<String>),
    /// In the description itself.
    Here(Spanned<String>),
}

/// A circuit written out by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The nodes in the order of the text, names distinct.
    pub nodes: Vec<NodeSpec>,
    /// The name of the root; `None` if it is missing.
    pub root: Option<Spanned<String>>,
}

/// A node of a [`Graph`].
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Its name, and where the text defines it.
    pub name: Spanned<String>,
    /// What it is; `None` if the text of it has a fault.
    pub op: Option<OpSpec>,
}

/// What a node of a [`Graph`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum OpSpec {
    /// Distributions of one variable.
    Leaf {
        /// The variable's name.
        var: Spanned<String>,
        /// The distributions.
        dist: Spanned<DistSpec>,
        /// How many, if the text says so.
        units: Option<Spanned<u32>>,
    },
    /// Elementwise product.
    Product(Vec<Spanned<String>>),
    /// Product of all pairs.
    Kronecker(Vec<Spanned<String>>),
    /// Weighted sums.
    Sum {
        /// Names of the inputs.
        inputs: Vec<Spanned<String>>,
        /// Number of sums.
        units: u32,
        /// The weights, if the text gives them.
        weights: Option<WeightsSpec>,
    },
    /// Elementwise weighted sum.
    Mixing {
        /// Names of the inputs.
        inputs: Vec<Spanned<String>>,
        /// The weights, if the text gives them.
        weights: Option<WeightsSpec>,
    },
}

/// Weights given in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsSpec {
    /// A list a row; their lengths are as written.
    pub rows: Vec<Vec<f64>>,
    /// Whether they stay as they are.
    pub frozen: bool,
    /// Where they stand.
    pub span: Span,
}

/// A distribution of a leaf, for any number of units.
#[derive(Clone, Debug, PartialEq)]
pub struct DistSpec {
    /// Which.
    pub family: FamilySpec,
    /// The natural parameters given: of one unit, meant for every unit, or of each unit.
    pub given: Option<Vec<Vec<f64>>>,
    /// Whether the given parameters stay as they are.
    pub frozen: bool,
}

/// A family of distributions; the number of states is the variable's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FamilySpec {
    /// One unit a state.
    Indicators,
    /// p(x = 1).
    Bernoulli,
    /// A probability a state.
    Categorical,
    /// A normal density.
    Gaussian {
        /// Least variance, above zero.
        min_var: f64,
        /// Greatest variance, above the least; +∞ for none.
        max_var: f64,
    },
    /// A number of successes among trials.
    Binomial {
        /// How many trials; `None`: one fewer than the variable's states.
        trials: Option<u32>,
    },
    /// A number of events.
    Poisson,
}

impl FamilySpec {
    /// A Gaussian of which the text says nothing.
    pub const GAUSSIAN: FamilySpec = FamilySpec::Gaussian { min_var: 1e-6, max_var: f64::INFINITY };

    /// The name in RON.
    pub fn name(self) -> &'static str {
        match self {
            FamilySpec::Indicators => "Indicators",
            FamilySpec::Bernoulli => "Bernoulli",
            FamilySpec::Categorical => "Categorical",
            FamilySpec::Gaussian { .. } => "Gaussian",
            FamilySpec::Binomial { .. } => "Binomial",
            FamilySpec::Poisson => "Poisson",
        }
    }
}

impl DistSpec {
    /// A family whose parameters are learned.
    pub fn learnable(family: FamilySpec) -> Self {
        DistSpec { family, given: None, frozen: false }
    }
}

/// The distribution of each kind of variable.
#[derive(Clone, Debug, PartialEq)]
pub struct LeavesSpec {
    /// Of binary variables.
    pub binary: Spanned<DistSpec>,
    /// Of variables of more than two states, or of one.
    pub categorical: Spanned<DistSpec>,
    /// Of real variables.
    pub real: Spanned<DistSpec>,
}

impl LeavesSpec {
    /// One distribution for all.
    pub fn all(dist: Spanned<DistSpec>) -> Self {
        LeavesSpec { binary: dist.clone(), categorical: dist.clone(), real: dist }
    }

    /// The distribution for variables of this kind.
    pub fn of(&self, kind: VarKind) -> &Spanned<DistSpec> {
        match kind {
            VarKind::BINARY => &self.binary,
            VarKind::Categorical { .. } => &self.categorical,
            VarKind::Real => &self.real,
        }
    }
}

impl Default for LeavesSpec {
    fn default() -> Self {
        let of = |family| Spanned::new(DistSpec::learnable(family), Span::default());
        LeavesSpec {
            binary: of(FamilySpec::Indicators),
            categorical: of(FamilySpec::Indicators),
            real: of(FamilySpec::GAUSSIAN),
        }
    }
}

/// Where the mixture weights come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ParameterizerSpec {
    /// Free logits.
    #[default]
    Direct,
    /// Free logits under weight decay.
    WeightDecay {
        /// L2 on every learnable tensor, at least 0.
        lambda: f64,
    },
    /// A HyperSPN: an embedding a sector and one small network.
    Hyper {
        /// Numbers of a sector's embedding, at least 1.
        embedding: u32,
        /// Widths of the hidden layers, at least one of them.
        hidden: Vec<u32>,
    },
    /// One that a user of the library registers.
    Custom {
        /// Its name.
        name: String,
        /// What is passed to it; the unit value if the text has none.
        args: ron::Value,
    },
}

/// Learning options of one tensor; what is not given is the optimiser's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupOptions {
    /// Learning rate, above 0.
    pub lr: Option<f64>,
    /// L2, at least 0.
    pub decay: Option<f64>,
}
