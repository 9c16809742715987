//! The plan: what to run, in order, with every size fixed before anything runs.
//!
//! Rows are evaluated in *tiles* of [`LANES`]; every number of a plan is a row of one tile, a *lane
//! row* of 64 numbers. A circuit is cut into *parts*, subcircuits that share neither nodes nor
//! learnable numbers, and a *head* over them: the replicas of a RAT-SPN, and their mixture. Parts run
//! in parallel and, when they are of one form, share one [`Program`]; a part adds only which variables
//! and which numbers it reads.
//!
//! A program is a list of [`Step`]s over [`Value`]s. A value is k mantissas in f32 with one shared
//! power-of-two exponent a row (linear domain), or k logarithms ([`Domain::Log`]). Each has a place in
//! an arena, given by its lifetime. A step reads all of its inputs before it writes its output, so the
//! two may overlap. *Inline* values are table look-ups that are cheaper to make again than to keep:
//! each step that uses one makes it in scratch, forward and backward.
//!
//! All numbers that steps read, weights of sums and tables of leaves alike, are *coefficients* and lie
//! in one buffer, part by part in the order of first use. [`Block`]s say how they are made.
//!
//! Invariants: a plan holds no pointer, path, engine or device. It is checked by [`check`], which
//! shares nothing with the code that makes it.

mod arena;
mod blocks;
mod bounded;
mod build;
pub(crate) mod bundles;
mod check;
mod choice;
mod cost;
mod display;
mod emit;
mod interning;
mod kinds;
pub(crate) mod layout;
mod parts;
mod placed;
mod radix;
mod segments;
mod sharing;
mod spaces;
mod sparse;
mod whole;

use serde::{Deserialize, Serialize};

pub use self::bounded::{Bounded, Place, bounded, bounded_by, within};
pub use self::build::{Options, Sharing, plan};
pub use self::check::{PlanFault, check};
pub(crate) use self::choice::Counts;
pub use self::choice::{Choice, Chosen, ChosenSpace, Unshared};
pub use self::cost::{INDICATORS, Memory, SCRATCH_EXTRA};
pub(crate) use self::interning::RECORDED;
pub use self::kinds::Kind;
pub use self::spaces::{Projection, Space, Spaces};
pub use self::whole::{Evaluated, InBatches};
pub(crate) use self::whole::{Seen, Whole};
use crate::ids::{DistId, VarId, WeightsId};
use crate::sector::Maker;
pub use crate::simd::LANES;

/// The order of a program's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Level by level: the most that can run at once.
    #[default]
    Wide,
    /// In post-order, the input that needs most first: the fewest values alive, at most
    /// ⌊log₂ n⌋ + 1 regions of a RAT-SPN's replica over n variables (Shih et al. 2021, Prop. 1).
    Deep,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Likelihoods: a value is forgotten when its last reader has run.
    #[default]
    Evaluate,
    /// Likelihoods and gradients: values are kept for the backward pass.
    Train,
    /// Likelihoods and conditionals: values are kept for a backward pass that goes to the leaves of
    /// variables, whether anything is learned there or not, and learns nothing.
    Query,
}

impl Purpose {
    /// Whether there is a backward pass.
    pub fn goes_back(self) -> bool {
        self != Purpose::Evaluate
    }
}

/// What the numbers of a value mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// Mantissas; the value is mantissa · 2^exponent.
    Linear,
    /// Natural logarithms.
    Log,
}

/// What one step computes for one tile. Offsets are into the part's coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Row j of a table [units, states] at the column's state; one where it is missing.
    Lookup {
        /// Local column.
        column: u32,
        /// Offset of the table.
        table: u32,
        /// Number of states.
        states: u32,
    },
    /// Log-densities: a table [units, 3] of mean, 1/variance and −½ ln(2π variance).
    Gaussian {
        /// Local column.
        column: u32,
        /// Offset of the table.
        table: u32,
    },
    /// Logarithms: row j of a table [units, states] of them at the column's state; zero where it is
    /// missing.
    LogLookup {
        /// Local column.
        column: u32,
        /// Offset of the table.
        table: u32,
        /// Number of states.
        states: u32,
    },
    /// Logarithms of the probabilities of counts: a table of one a unit, logarithms of rates.
    Poisson {
        /// Local column.
        column: u32,
        /// Offset of the table.
        table: u32,
    },
    /// Ones.
    One,
    /// An output of a part. In the head alone, but for bounded plans.
    Import {
        /// Which of the parts that it imports: of the head, of all.
        part: u32,
        /// Which of its outputs.
        output: u32,
    },
    /// Elementwise product of two linear values.
    Product,
    /// All pairs of two linear values, the first input's unit varying fastest.
    Kronecker,
    /// Elementwise sum of two logarithms: a product of densities.
    AddLogs,
    /// From logarithms to mantissas and exponents.
    Exponentiate,
    /// weights [units, M] · the inputs' units, concatenated and brought to one exponent.
    Sum {
        /// Offset of the weights.
        weights: u32,
    },
    /// Σᵢ weights [units, inputs] · inputᵢ, elementwise, the inputs brought to one exponent.
    Mix {
        /// Offset of the weights.
        weights: u32,
    },
    /// `Sum` of the `Product` of two values, which is formed on the way.
    ProductSum {
        /// Offset of the weights.
        weights: u32,
    },
    /// `Sum` of the `Kronecker` of two values, of which each pair is formed on the way.
    KroneckerSum {
        /// Offset of the weights.
        weights: u32,
    },
    /// Sums of weighted products of two units each, a list of [`Term`]s a unit, brought to [1, 2).
    /// The first inputs are the left factors, the others the right; each side has one exponent.
    Sparse {
        /// Its first list among [`Program::lists`].
        lists: u32,
        /// How many of the inputs are left factors.
        left: u32,
    },
}

/// One term of a sparse sum: weight · left · right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// Lane row of the left factor.
    pub left: u32,
    /// Lane row of the right factor; [`NOWHERE`] for one.
    pub right: u32,
    /// Offset of the weight; [`NOWHERE`] for one.
    pub weight: u32,
}

impl Op {
    /// Where the weights of a sum begin that has a matrix of them, or a row for each unit.
    pub fn weights(self) -> Option<u32> {
        match self {
            Op::Sum { weights }
            | Op::Mix { weights }
            | Op::ProductSum { weights }
            | Op::KroneckerSum { weights } => Some(weights),
            _ => None,
        }
    }

    /// The name in dumps.
    pub fn name(self) -> &'static str {
        match self {
            Op::Lookup { .. } => "lookup",
            Op::Gaussian { .. } => "gaussian",
            Op::LogLookup { .. } => "log-lookup",
            Op::Poisson { .. } => "poisson",
            Op::One => "one",
            Op::Import { .. } => "import",
            Op::Product => "product",
            Op::Kronecker => "kronecker",
            Op::AddLogs => "add-logs",
            Op::Exponentiate => "exponentiate",
            Op::Sum { .. } => "sum",
            Op::Mix { .. } => "mix",
            Op::ProductSum { .. } => "product+sum",
            Op::KroneckerSum { .. } => "kronecker+sum",
            Op::Sparse { .. } => "sparse",
        }
    }
}

/// No place: see the fields of [`Value`].
pub const NOWHERE: u32 = u32::MAX;

/// What a step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Value {
    /// Number of units.
    pub units: u32,
    /// What its numbers mean.
    pub domain: Domain,
    /// The step that computes it.
    pub step: u32,
    /// First lane row of its units in the arena; [`NOWHERE`] if inline.
    pub rows: u32,
    /// Its row of exponents; [`NOWHERE`] if they are zero, or the domain is logarithms.
    pub exponent: u32,
    /// First lane row of its gradient in the arena of gradients; [`NOWHERE`] if nothing asks for it, if
    /// it is inline, or in a plan that only evaluates.
    pub gradient: u32,
    /// Whether something below it, or in it, is learned; in a plan for queries, whether a leaf of a
    /// variable is.
    pub learns: bool,
}

impl Value {
    /// Whether it is made again by each step that reads it.
    pub fn is_inline(&self) -> bool {
        self.rows == NOWHERE
    }
}

/// One input of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input {
    /// The value.
    pub value: u32,
    /// Whether, on the way back, this is the first gradient that reaches the value: it is written;
    /// later ones are added.
    pub first: bool,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// What it computes.
    pub op: Op,
    /// The value it computes.
    pub output: u32,
    /// Its inputs: a range of [`Program::inputs`].
    pub inputs: (u32, u32),
}

/// The steps of a part, shared by all parts of one form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The values that the head reads; of the head itself, the root's.
    pub outputs: Vec<u32>,
    /// The values, by number.
    pub values: Vec<Value>,
    /// Inputs of all steps.
    pub inputs: Vec<Input>,
    /// A list of terms for each unit of the sparse sums, as ranges of [`Program::terms`].
    pub lists: Vec<(u32, u32)>,
    /// The terms of the sparse sums.
    pub terms: Vec<Term>,
    /// Lane rows of the arena of values.
    pub rows: u32,
    /// Rows of exponents.
    pub exponents: u32,
    /// Lane rows of the arena of gradients.
    pub gradient_rows: u32,
    /// Lane rows of the widest thing a step forms on the way.
    pub scratch_rows: u32,
    /// Numbers of coefficients.
    pub coefficients: u32,
    /// The most regions (values) alive at once, those made inline counted while a step reads them.
    pub live_regions: u32,
    /// Multiply-adds a row of a forward pass.
    pub multiply_adds: u64,
    /// How the smallest non-zero coefficient, 2^−f, bounds what a product might lose: the most
    /// coefficients that are multiplied with no sum between them. `None`: no bound follows.
    pub chain: Option<u32>,
}

impl Program {
    /// Units of the widest value.
    pub fn widest(&self) -> usize {
        self.values.iter().map(|value| value.units).max().unwrap_or(0) as usize
    }

    /// The lists of terms of a sparse sum; none of another step.
    pub fn lists(&self, step: &Step) -> &[(u32, u32)] {
        let Op::Sparse { lists, .. } = step.op else { return &[] };
        let units = self.values[step.output as usize].units;
        &self.lists[lists as usize..(lists + units) as usize]
    }

    /// Units of what a sum is taken over: of its inputs side by side, their product, or all their pairs.
    pub fn formed(&self, step: &Step) -> u32 {
        let units = |input: &Input| self.values[input.value as usize].units;
        match (step.op, self.inputs(step)) {
            (Op::ProductSum { .. }, [a, ..]) => units(a),
            (Op::KroneckerSum { .. }, [a, b]) => units(a).saturating_mul(units(b)),
            (_, inputs) => inputs.iter().map(units).sum(),
        }
    }

    /// The inputs of a step.
    pub fn inputs(&self, step: &Step) -> &[Input] {
        &self.inputs[step.inputs.0 as usize..step.inputs.1 as usize]
    }
}

/// What a local column reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Column {
    /// A column of the data.
    Variable(VarId),
    /// One value for all rows.
    Fixed(f32),
}

/// Whose coefficients these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// Weights of a sum or mixing layer.
    Weights(WeightsId),
    /// The table of a leaf.
    Dist(DistId),
}

/// Coefficients of one source: `len` numbers at `at` of the whole buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coefficients {
    /// Whose they are.
    pub source: Source,
    /// Where they begin.
    pub at: usize,
    /// How many.
    pub len: usize,
}

/// Sectors whose weights are made by one call: of one maker and shape, whole normalisation groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Who makes them.
    pub maker: Maker,
    /// Rows of each sector.
    pub rows: u32,
    /// Columns of each.
    pub cols: u32,
    /// Consecutive sectors that make up one normalisation group.
    pub span: u32,
    /// The sectors, by ordinal.
    pub sectors: Vec<u32>,
    /// Where the weights of each go: the part, and their place among its coefficients.
    pub at: Vec<(u32, u32)>,
}

impl Block {
    /// Numbers of a tile of its weights, of which each lane has a normalisation group.
    pub fn tile(&self) -> usize {
        self.rows as usize * self.cols as usize * self.span as usize * LANES
    }

    /// Tiles, of which the last may have lanes without a group.
    pub fn tiles(&self) -> usize {
        self.sectors.len().div_ceil(LANES * self.span as usize)
    }
}

/// Neighbouring parts whose weights are made together, so that blocks are large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The first of its parts, and the first after them.
    pub parts: (u32, u32),
    /// How their weights are made.
    pub blocks: Vec<Block>,
}

/// A run of a program over variables and coefficients of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which program.
    pub program: u32,
    /// What each local column reads.
    pub columns: Vec<Column>,
    /// The parts that it reads, by the numbers that its imports have: of the head, all below it; in a
    /// bounded plan, those it names, each before it.
    pub imports: Vec<u32>,
    /// Where its coefficients begin; they end where the next part's begin.
    pub first_coefficient: usize,
    /// Its coefficients, in their order.
    pub coefficients: Vec<Coefficients>,
    /// Weights of it that are zero for ever: no lower bound follows for its sums.
    pub has_zeros: bool,
}

/// Numbers that making weights takes: what one worker needs for any block, and what lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Making {
    /// A tile of sectors' entries; there are two, one for gradients.
    pub tile: usize,
    /// The logits of a block, in whole tiles where its generator works on such.
    pub logits: usize,
    /// The gradients by a block's own parameters.
    pub own: usize,
    /// The generator's scratch.
    pub work: usize,
    /// Numbers of all shared tensors, of which each group has a gradient.
    pub shared: usize,
    /// Numbers of the logits of all blocks, in whole tiles, if nothing else is learned; else zero. An engine may
    /// then keep them, and their moments, where it makes weights of them, and take the steps of learning itself.
    pub learned: usize,
}

/// A compiled schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is for.
    pub purpose: Purpose,
    /// The order of its steps.
    pub schedule: Schedule,
    /// Rows it is run on at a time.
    pub batch: u32,
    /// Runs of tiles of a batch that a part's backward pass works on by itself, so that there is
    /// work for many threads. Fixed here, so that no sum depends on the number of threads.
    pub shards: u32,
    /// The programs.
    pub programs: Vec<Program>,
    /// The parts; the head is last.
    pub parts: Vec<Part>,
    /// Groups of parts, in order; the head is one of its own, the last.
    pub groups: Vec<Group>,
    /// Numbers of all coefficients.
    pub coefficients: usize,
    /// What making weights takes.
    pub making: Making,
    /// Number of variables: columns of the data.
    pub variables: u32,
    /// Sectors of the circuit that is run.
    pub sectors: u32,
    /// Where values are to be shared.
    pub policy: Sharing,
    /// For each program, its spaces, if its values may be shared between rows that agree.
    pub sharing: Vec<Option<Spaces>>,
    /// Whether shared values are kept from the way forward to that back, rather than made again.
    pub keeps: bool,
    /// How its parts follow each other, if they are segments that are kept one by one.
    pub bounded: Option<Bounded>,
}

impl Plan {
    /// Tiles of a batch.
    pub fn tiles(&self) -> usize {
        (self.batch as usize).div_ceil(LANES)
    }

    /// The parts below the head.
    pub fn below_head(&self) -> &[Part] {
        &self.parts[..self.parts.len() - 1]
    }

    /// The head.
    pub fn head(&self) -> &Part {
        &self.parts[self.parts.len() - 1]
    }

    /// The program of a part.
    pub fn program(&self, part: &Part) -> &Program {
        &self.programs[part.program as usize]
    }

    /// Numbers of coefficients of each part, in order.
    pub fn coefficient_counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().map(|part| self.program(part).coefficients as usize)
    }
}
