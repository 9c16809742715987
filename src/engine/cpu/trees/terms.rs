//! What a unit of a sum adds up, term by term.

use super::super::ways::Numbered;
use crate::plan::{NOWHERE, Op, Step, Term};

impl<'a> Numbered<'a> {
    /// The number of a unit of an input of a step.
    pub(super) fn input(&self, step: &Step, index: usize, unit: u32) -> u32 {
        let inputs = self.unit.program.inputs(step);
        self.numbering.first[inputs[index].value as usize] + unit
    }

    /// How many units an input of a step has.
    pub(super) fn units(&self, step: &Step, index: usize) -> u32 {
        self.unit.value(&self.unit.program.inputs(step)[index]).units
    }

    /// The terms of a unit of a sparse sum; none of another step.
    pub(super) fn list(&self, step: &Step, unit: u32) -> &'a [Term] {
        match self.unit.program.lists(step).get(unit as usize) {
            Some(&(first, end)) => &self.numbering.terms[first as usize..end as usize],
            None => &[],
        }
    }

    /// Calls `each` with all terms of a unit of a sum, in order. Factors are numbers of units, weights
    /// places among the coefficients.
    #[inline(always)]
    pub(super) fn each_term(&self, step: &Step, unit: u32, mut each: impl FnMut(Term)) {
        let inputs = self.unit.program.inputs(step);
        let count = inputs.len() as u32;
        match step.op {
            Op::Sum { weights } => {
                let units = |index| self.units(step, index);
                let width: u32 = (0..inputs.len()).map(units).sum();
                let mut weight = weights + unit * width;
                for index in 0..inputs.len() {
                    for left in self.input(step, index, 0)..self.input(step, index, units(index)) {
                        each(Term { left, right: NOWHERE, weight });
                        weight += 1;
                    }
                }
            }
            Op::Mix { weights } => {
                for index in 0..count {
                    let left = self.input(step, index as usize, unit);
                    each(Term { left, right: NOWHERE, weight: weights + unit * count + index });
                }
            }
            Op::ProductSum { weights } => {
                let width = self.units(step, 0);
                let [left, right] = [0, 1].map(|index| self.input(step, index, 0));
                for col in 0..width {
                    let weight = weights + unit * width + col;
                    each(Term { left: left + col, right: right + col, weight });
                }
            }
            Op::KroneckerSum { weights } => {
                let [wide, high] = [0, 1].map(|index| self.units(step, index));
                let [left, right] = [0, 1].map(|index| self.input(step, index, 0));
                let mut weight = weights + unit * wide * high;
                for right in right..right + high {
                    for left in left..left + wide {
                        each(Term { left, right, weight });
                        weight += 1;
                    }
                }
            }
            _ => self.list(step, unit).iter().copied().for_each(each),
        }
    }

    /// One term of a unit of a sum.
    pub(super) fn term(&self, step: &Step, unit: u32, index: usize) -> Term {
        let mut left = index as u32;
        match step.op {
            Op::Sum { .. } => {
                let mut input = 0;
                while left >= self.units(step, input) {
                    left -= self.units(step, input);
                    input += 1;
                }
                Term { left: self.input(step, input, left), right: NOWHERE, weight: NOWHERE }
            }
            Op::Mix { .. } => {
                Term { left: self.input(step, index, unit), right: NOWHERE, weight: NOWHERE }
            }
            Op::ProductSum { .. } => {
                let right = self.input(step, 1, left);
                Term { left: self.input(step, 0, left), right, weight: NOWHERE }
            }
            Op::KroneckerSum { .. } => {
                let wide = self.units(step, 0);
                let right = self.input(step, 1, left / wide);
                Term { left: self.input(step, 0, left % wide), right, weight: NOWHERE }
            }
            _ => self.list(step, unit)[index],
        }
    }
}
