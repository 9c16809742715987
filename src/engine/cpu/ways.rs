//! What a plan for queries says of the ways from its root down to the leaves of variables: of gradients,
//! which reach all leaves, and of trees, which reach one of each variable.

use super::forward::Unit;
use super::logs::offsets;
use super::outputs::Places;
use crate::plan::{Column, NOWHERE, Op, Plan, Program, Purpose, Term};

/// The ways down of a plan.
pub(super) struct Ways {
    /// For each program the terms of its sparse sums, by lane rows of gradients.
    pub(super) gradient_terms: Vec<Vec<Term>>,
    /// For each program, how its units are numbered.
    pub(super) numbering: Vec<Numbering>,
    /// Whether some leaf reads each variable.
    pub(super) depends: Vec<bool>,
    /// Whether the value of some leaf is fixed, and says something even where nothing is observed.
    pub(super) has_fixed: bool,
    pub(super) places: Places,
}

/// The units of all values of a program, numbered one after the other.
pub(super) struct Numbering {
    /// The first unit of each value, and the number of units.
    pub(super) first: Vec<u32>,
    /// The value that each unit is of.
    pub(super) value: Vec<u32>,
    /// The lane row of each; [`NOWHERE`] of inline values.
    pub(super) row: Vec<u32>,
    /// The terms of the program's sparse sums, by units.
    pub(super) terms: Vec<Term>,
}

impl Ways {
    /// `None` for a plan that was not made for queries.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        if plan.purpose != Purpose::Query {
            return None;
        }
        let mut depends = vec![false; plan.variables as usize];
        let mut has_fixed = false;
        for column in plan.parts.iter().flat_map(|part| &part.columns) {
            match column {
                Column::Variable(var) => depends[var.0 as usize] = true,
                Column::Fixed(_) => has_fixed = true,
            }
        }
        let by_gradient =
            |program: &Program| terms_by(program, |value| program.values[value as usize].gradient);
        Some(Ways {
            gradient_terms: plan.programs.iter().map(by_gradient).collect(),
            numbering: plan.programs.iter().map(Numbering::of).collect(),
            depends,
            has_fixed,
            places: Places::of(plan),
        })
    }
}

impl Numbering {
    fn of(program: &Program) -> Self {
        let first: Vec<u32> = offsets(program).into_iter().map(|unit| unit as u32).collect();
        let (mut value, mut row) = (Vec::new(), Vec::new());
        for (number, of) in (0..).zip(&program.values) {
            value.extend((0..of.units).map(|_| number));
            row.extend((0..of.units).map(|unit| match of.rows {
                NOWHERE => NOWHERE,
                rows => rows + unit,
            }));
        }
        let terms = terms_by(program, |value| first[value as usize]);
        Numbering { first, value, row, terms }
    }
}

/// The terms of sparse sums, their factors' lane rows exchanged for numbers that run on in each value, of
/// which `place` gives the first; nowhere where that is.
fn terms_by(program: &Program, place: impl Fn(u32) -> u32) -> Vec<Term> {
    let mut found = program.terms.clone();
    for step in program.steps.iter().filter(|step| matches!(step.op, Op::Sparse { .. })) {
        let inputs = program.inputs(step).iter();
        let mut rows: Vec<(u32, u32)> = inputs
            .map(|input| (program.values[input.value as usize].rows, place(input.value)))
            .collect();
        rows.sort_unstable();
        let placed = |row: u32| {
            let (first, place) = rows[rows.partition_point(|&(first, _)| first <= row) - 1];
            if place == NOWHERE { NOWHERE } else { place + (row - first) }
        };
        for &(first, end) in program.lists(step) {
            for term in &mut found[first as usize..end as usize] {
                term.left = placed(term.left);
                if term.right != NOWHERE {
                    term.right = placed(term.right);
                }
            }
        }
    }
    found
}

/// A part, and how the units of its program are numbered.
#[derive(Clone, Copy)]
pub(super) struct Numbered<'a> {
    pub(super) unit: Unit<'a>,
    pub(super) numbering: &'a Numbering,
}
