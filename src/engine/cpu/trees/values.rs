//! How terms compare: by mantissas of a tile, by logarithms of a row, and by weights alone where nothing is
//! observed and each unit is one.

use super::super::forward::{SLIGHT, STEEP};
use super::super::tile::{Arenas, exponent_span, span};
use super::super::ways::Numbered;
use super::follow::Values;
use crate::plan::{Column, LANES, NOWHERE, Op, Step};

/// What a weight is; one where there is none.
fn weight(of: &Numbered<'_>, at: u32) -> f64 {
    match at {
        NOWHERE => 1.0,
        at => of.unit.coefficients[at as usize].into(),
    }
}

/// Nothing is observed: all units are one, and terms compare as their weights.
pub(super) struct Ones;

impl Values for Ones {
    fn scores(&self, of: &Numbered<'_>, _: usize, (step, unit): (&Step, u32), out: &mut Vec<f64>) {
        of.each_term(step, unit, |term| out.push(weight(of, term.weight)));
    }
}

/// The logarithms of all units given one row, by their numbers.
pub(super) struct Logs<'a>(pub(super) &'a [f64]);

impl Values for Logs<'_> {
    fn scores(&self, of: &Numbered<'_>, _: usize, (step, unit): (&Step, u32), out: &mut Vec<f64>) {
        let log = |number: u32| if number == NOWHERE { 0.0 } else { self.0[number as usize] };
        of.each_term(step, unit, |term| {
            out.push(weight(of, term.weight).ln() + log(term.left) + log(term.right));
        });
        let top = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        out.iter_mut().for_each(|score| *score = (*score - top).exp());
    }
}

/// The mantissas of a tile.
pub(super) struct Mantissas<'a> {
    pub(super) arenas: Arenas<'a>,
}

impl Mantissas<'_> {
    /// The mantissa of a unit.
    #[inline(always)]
    fn at(&self, of: &Numbered<'_>, lane: usize, number: u32) -> f64 {
        match (number, of.numbering.row.get(number as usize)) {
            (NOWHERE, _) | (_, None) => 1.0,
            (_, Some(&NOWHERE)) => looked_up(of, lane, number),
            (_, Some(&row)) => self.arenas.values[row as usize * LANES + lane].into(),
        }
    }

    /// Brings the terms of several inputs to one exponent.
    fn align(&self, of: &Numbered<'_>, lane: usize, step: &Step, scores: &mut [f64]) {
        let of_input = |input: &crate::plan::Input| {
            let value = of.unit.value(input);
            let terms = if matches!(step.op, Op::Mix { .. }) { 1 } else { value.units as usize };
            match value.exponent {
                NOWHERE => (terms, 0),
                _ => (terms, self.arenas.exponents[exponent_span(value).start + lane]),
            }
        };
        let inputs = of.unit.program.inputs(step);
        let (mut top, mut first) = (i32::MIN, 0);
        for (terms, exponent) in inputs.iter().map(of_input) {
            let own = &scores[first..first + terms];
            first += terms;
            if exponent > top && own.iter().any(|&score| score > 0.0) {
                top = exponent;
            }
        }
        let mut first = 0;
        for (terms, exponent) in inputs.iter().map(of_input) {
            let own = &mut scores[first..first + terms];
            first += terms;
            if exponent != top {
                let scale = 2f64.powi(exponent.saturating_sub(top));
                own.iter_mut().filter(|score| **score > 0.0).for_each(|score| *score *= scale);
            }
        }
    }
}

/// A unit of an inline look-up.
fn looked_up(of: &Numbered<'_>, lane: usize, number: u32) -> f64 {
    let value = of.numbering.value[number as usize] as usize;
    let unit = number - of.numbering.first[value];
    let step = &of.unit.program.steps[of.unit.program.values[value].step as usize];
    let Op::Lookup { column, table, states } = step.op else { return f64::NAN };
    let x = match of.unit.columns[column as usize] {
        Column::Variable(var) => of.unit.data[span(var.0, 1)][lane],
        Column::Fixed(value) => value,
    };
    let row = of.unit.table(table + unit * states, states as usize);
    if x.is_nan() { 1.0 } else { row[x as usize].into() }
}

impl Values for Mantissas<'_> {
    fn scores(
        &self,
        of: &Numbered<'_>,
        lane: usize,
        (step, unit): (&Step, u32),
        out: &mut Vec<f64>,
    ) {
        of.each_term(step, unit, |term| {
            let factors = self.at(of, lane, term.left) * self.at(of, lane, term.right);
            out.push(weight(of, term.weight) * factors);
        });
        let several = step.inputs.1 - step.inputs.0 > 1;
        if several && matches!(step.op, Op::Sum { .. } | Op::Mix { .. }) {
            self.align(of, lane, step, out);
        }
    }

    /// Logarithms of densities that count and are far from zero do not say in single precision how
    /// densities compare.
    fn is_sure(&self, of: &Numbered<'_>, lane: usize, step: &Step) -> bool {
        let logs = of.unit.value(&of.unit.program.inputs(step)[0]);
        let made = &of.unit.program.values[step.output as usize];
        (0..made.units as usize).all(|unit| {
            let at = |first: u32| self.arenas.values[(first as usize + unit) * LANES + lane];
            at(logs.rows).abs() <= STEEP || at(made.rows) <= SLIGHT
        })
    }
}
