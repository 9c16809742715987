//! An induced tree, followed from a unit down through one program.

use super::super::ways::Numbered;
use crate::ids::Id;
use crate::plan::{Column, NOWHERE, Op, Step};

/// What a forward pass has left, or what there is without one: how the terms of sums compare.
pub(super) trait Values {
    /// Appends a score for each term of a unit of a sum, given one row. To what they are in proportion,
    /// or whether they are logarithms, is between who makes them and who picks by them.
    fn scores(&self, of: &Numbered<'_>, lane: usize, at: (&Step, u32), scores: &mut Vec<f64>);

    /// Whether the units that a step has made of logarithms compare as they should.
    fn is_sure(&self, _of: &Numbered<'_>, _lane: usize, _step: &Step) -> bool {
        true
    }
}

/// Decides which way a tree goes.
pub(super) trait Pick {
    /// One of the terms by their scores; `None` where that cannot be said.
    fn term(&mut self, scores: &[f64]) -> Option<usize>;

    /// A value of a unit of a leaf, whose table is among the coefficients.
    fn leaf(&mut self, coefficients: &[f32], op: Op, unit: usize) -> f32;
}

/// An output of a part that a tree has reached.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    pub(super) part: u32,
    pub(super) output: u32,
    pub(super) unit: u32,
}

/// A program over the lanes of a tile.
pub(super) struct Course<'a, V> {
    pub(super) of: Numbered<'a>,
    pub(super) values: &'a V,
}

/// What following takes on the way.
#[derive(Default)]
pub(super) struct Follower {
    open: Vec<u32>,
    scores: Vec<f64>,
}

impl Follower {
    /// Follows the tree that `pick` picks for the row of a lane, from a unit of an output of the program,
    /// and writes the leaves' values to the open entries of `row`, which are NaN. Returns whether all that
    /// was picked is sure; where not, some of the row is not written.
    ///
    /// Of two factors the last is followed to its leaves first, as by [`crate::sample::Sampler`], so that
    /// numbers drawn on the way mean the same.
    pub(super) fn follow<V: Values>(
        &mut self,
        course: &Course<'_, V>,
        lane: usize,
        (output, unit): (u32, u32),
        pick: &mut impl Pick,
        row: &mut [f32],
        mut reach: impl FnMut(Reached),
    ) -> bool {
        let Course { of, values } = course;
        let (program, numbering) = (of.unit.program, of.numbering);
        let value = program.outputs[output as usize];
        self.open.clear();
        self.open.push(numbering.first[value as usize] + unit);
        let mut is_sure = true;
        while let Some(number) = self.open.pop() {
            let value = numbering.value[number as usize] as usize;
            let unit = number - numbering.first[value];
            let step = &program.steps[program.values[value].step as usize];
            match step.op {
                Op::Lookup { column, .. }
                | Op::Gaussian { column, .. }
                | Op::LogLookup { column, .. }
                | Op::Poisson { column, .. } => {
                    if let Column::Variable(var) = of.unit.columns[column as usize]
                        && row[var.index()].is_nan()
                    {
                        row[var.index()] = pick.leaf(of.unit.coefficients, step.op, unit as usize);
                    }
                }
                Op::One => {}
                Op::Import { part, output } => reach(Reached { part, output, unit }),
                Op::Product | Op::AddLogs => {
                    self.open.extend([0, 1].map(|factor| of.input(step, factor, unit)));
                }
                Op::Kronecker => {
                    let wide = of.units(step, 0);
                    self.open.push(of.input(step, 0, unit % wide));
                    self.open.push(of.input(step, 1, unit / wide));
                }
                Op::Exponentiate => {
                    is_sure &= values.is_sure(of, lane, step);
                    self.open.push(of.input(step, 0, unit));
                }
                Op::Sum { .. }
                | Op::Mix { .. }
                | Op::ProductSum { .. }
                | Op::KroneckerSum { .. }
                | Op::Sparse { .. } => {
                    self.scores.clear();
                    values.scores(of, lane, (step, unit), &mut self.scores);
                    let Some(index) = pick.term(&self.scores) else { return false };
                    let term = of.term(step, unit, index);
                    self.open
                        .extend([term.left, term.right].into_iter().filter(|&of| of != NOWHERE));
                }
            }
        }
        is_sure
    }
}
