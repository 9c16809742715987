//! Steps with all places, as they are run entry by entry.

use super::layout::NARROW;
use super::{Op, Step};

/// How a step is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The columns of a table [units, states].
    Lookup { table: usize, states: usize },
    /// Ones.
    One,
    /// A product, elementwise or of all pairs.
    Product { pairs: bool },
    /// A sum over an input.
    Sum { weights: usize },
    /// A sum over a product that is formed on the way, by a kernel of its own where one fits.
    ProductSum { weights: usize, narrow: bool },
    /// A sum over a product of all pairs that are formed on the way.
    PairSum { weights: usize },
}

/// A step, with all places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) form: Form,
    pub(crate) output: Value,
    /// Its inputs, as many as the form has.
    pub(crate) inputs: [Read; 2],
    /// Units of what it forms of its inputs.
    pub(crate) width: usize,
}

impl Form {
    /// How many inputs it reads.
    pub(crate) fn inputs(self) -> usize {
        match self {
            Form::Lookup { .. } | Form::One => 0,
            Form::Sum { .. } => 1,
            Form::Product { .. } | Form::ProductSum { .. } | Form::PairSum { .. } => 2,
        }
    }

    /// Where its coefficients begin.
    pub(super) fn coefficients(self) -> usize {
        match self {
            Form::Lookup { table, .. } => table,
            Form::Sum { weights }
            | Form::ProductSum { weights, .. }
            | Form::PairSum { weights } => weights,
            Form::One | Form::Product { .. } => 0,
        }
    }
}

impl Placed {
    /// Whether what it forms are all pairs of its inputs' units.
    pub(crate) fn forms_pairs(&self) -> bool {
        matches!(self.form, Form::Product { pairs: true } | Form::PairSum { .. })
    }

    /// Multiply-adds of an entry, or units where there are none.
    pub(super) fn work(&self) -> f64 {
        match self.form {
            Form::Lookup { .. } | Form::One | Form::Product { .. } => self.output.units as f64,
            _ => (self.width * self.output.units) as f64,
        }
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    /// Its number, and that of its step.
    pub(crate) id: usize,
    pub(crate) space: usize,
    /// Its first number.
    pub(crate) rows: usize,
    /// Numbers of a row.
    pub(crate) stride: usize,
    pub(crate) units: usize,
    /// Its first scale, and exponent, of one an entry.
    pub(crate) entries: usize,
    pub(crate) learns: bool,
    /// Whether a step reads it.
    pub(crate) is_read: bool,
}

/// An input of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) value: Value,
    pub(crate) through: Through,
}

/// Which entry of an input an entry of the output reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Through {
    /// That of its own number.
    Same,
    /// What a projection between tables says.
    Map(usize),
    /// What was found for the batch under a projection.
    Found(usize),
}

/// A step with its places; `read` gives those of an input.
pub(super) fn placed(
    step: &Step,
    output: Value,
    narrow: bool,
    read: impl Fn(usize) -> Read,
) -> Placed {
    let inputs = match step.inputs.1 - step.inputs.0 {
        // Not read.
        0 => [Read { value: output, through: Through::Same }; 2],
        1 => [read(step.inputs.0 as usize); 2],
        _ => [read(step.inputs.0 as usize), read(step.inputs.0 as usize + 1)],
    };
    let [a, b] = [inputs[0].value.units, inputs[1].value.units];
    let width = match step.op {
        Op::Kronecker | Op::KroneckerSum { .. } => a * b,
        _ => a,
    };
    let form = match step.op {
        Op::Lookup { table, states, .. } => {
            Form::Lookup { table: table as usize, states: states as usize }
        }
        Op::One => Form::One,
        Op::Sum { weights } => Form::Sum { weights: weights as usize },
        Op::ProductSum { weights } => {
            let narrow = narrow && fits(width, output.units);
            Form::ProductSum { weights: weights as usize, narrow }
        }
        Op::KroneckerSum { weights } => Form::PairSum { weights: weights as usize },
        op => Form::Product { pairs: op == Op::Kronecker },
    };
    Placed { form, output, inputs, width }
}

/// Whether sums of this shape have a kernel of their own on narrow rows: square, or of one unit.
pub(super) fn fits(width: usize, units: usize) -> bool {
    width <= NARROW && (units == width || units == 1)
}
