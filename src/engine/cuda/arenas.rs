//! Rows of the arenas that blocks run programs in.

use crate::plan::{Input, Op, Part, Plan, Program, Purpose};

/// Rows of the arena of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub(super) formed: usize,
    pub(super) inline: usize,
    total: usize,
}

impl Needs {
    pub(super) fn of(program: &Program, purpose: Purpose) -> Self {
        let units = |input: &Input| program.values[input.value as usize].units as usize;
        let formed = program.steps.iter().map(|step| {
            let inputs = program.inputs(step).iter();
            let own = program.values[step.output as usize].units as usize;
            match step.op {
                Op::One | Op::Import { .. } => 0,
                Op::Sparse { .. } => own,
                _ if inputs.len() == 0 => 0,
                _ => own.max(inputs.map(units).sum()),
            }
        });
        let inline = program.values.iter().filter(|value| value.is_inline());
        let formed = formed.max().unwrap_or(0);
        let inline = inline.map(|value| value.units as usize).max().unwrap_or(0);
        let forward = (program.rows + 2 * program.exponents) as usize + formed + 2 * inline;
        let back = program.gradient_rows as usize + formed + 2 * inline + 2;
        let there_and_back = forward + if purpose.goes_back() { back } else { 0 };
        // Completions keep doubles, and what is picked where gradients would lie.
        let best = 2 * (program.rows as usize + 2 * inline) + program.gradient_rows as usize;
        let total = match purpose {
            Purpose::Query => there_and_back.max(best),
            Purpose::Evaluate | Purpose::Train => there_and_back,
        };
        Needs { formed, inline, total }
    }
}

/// Rows of the arenas that a plan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arenas {
    /// Of any part below the head.
    pub parts: usize,
    /// Of the head.
    pub head: usize,
    /// Of the network that makes weights.
    pub network: usize,
}

impl Arenas {
    pub(super) fn of(plan: &Plan, network: usize) -> Self {
        let rows = |part: &Part| Needs::of(plan.program(part), plan.purpose).total;
        let parts = plan.below_head().iter().map(rows).max().unwrap_or(0);
        Arenas { parts, head: rows(plan.head()), network }
    }

    /// Of the largest.
    pub(super) fn largest(self) -> usize {
        self.parts.max(self.head).max(self.network)
    }
}
