//! What one worker has, and does to one group of segments.

use std::sync::{Mutex, PoisonError};

use super::super::forward::Unit;
use super::super::state::PartState;
use super::super::tile::Workspace;
use super::super::weights::{Making, OwnGradients, WeightScratch, constants};
use super::doubt::Doubt;
use super::handed::{Given, Gradients, Handed, Imported, Returned, Task};
use super::passes::{Back, Forward, Head, Segment};
use crate::compile::Numbers;
use crate::data::Dataset;
use crate::engine::Counts;
use crate::ids::VarId;
use crate::plan::{Bounded, Column, Group, LANES, Part, Plan, Purpose};

/// What all tasks of a batch read.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) numbers: &'a Numbers,
    pub(super) plan: &'a Plan,
    pub(super) bounded: &'a Bounded,
    pub(super) parameters: &'a [f32],
    pub(super) data: &'a Dataset,
    pub(super) rows: &'a [u32],
}

impl<'a> Run<'a> {
    pub(super) fn parts(&self, group: &Group) -> &'a [Part] {
        &self.plan.parts[group.parts.0 as usize..group.parts.1 as usize]
    }

    pub(super) fn making(&self, group: &'a Group) -> Making<'a> {
        Making::of(self.numbers, self.plan, group)
    }
}

/// Where what the way back finds of a group goes.
pub(super) struct Found<'a, 'b, 'c> {
    /// Gradients, or counts, by what the group alone learns.
    pub(super) own: &'a mut OwnGradients<'b>,
    /// Gradients by shared tensors.
    pub(super) d_shared: &'a mut [f32],
    /// The counts of leaves, if counts are wanted.
    pub(super) counts: Option<&'a Mutex<&'c mut Counts<f32>>>,
}

/// The memory of one worker.
pub(super) struct Worker {
    workspace: Workspace,
    weights: WeightScratch,
    /// The numbers of a group's segments.
    states: Vec<PartState>,
    rows: LocalRows,
}

/// The columns that one segment reads of a few rows.
pub(super) struct LocalRows {
    /// [columns][LANES].
    pub(super) data: Vec<f32>,
    /// Where the segment's columns lie in it.
    pub(super) columns: Vec<Column>,
}

impl LocalRows {
    fn new(plan: &Plan) -> Self {
        let most = plan.most_columns();
        LocalRows { data: vec![0.0; most * LANES], columns: Vec::with_capacity(most) }
    }

    /// Takes what a segment reads of up to [`LANES`] rows.
    pub(super) fn take(&mut self, data: &Dataset, rows: &[u32], part: &Part) {
        self.columns.clear();
        for (at, &column) in part.columns.iter().enumerate() {
            let Column::Variable(var) = column else {
                self.columns.push(column);
                continue;
            };
            self.columns.push(Column::Variable(VarId(at as u32)));
            data.column(var, rows, &mut self.data[at * LANES..(at + 1) * LANES]);
        }
    }
}

impl Worker {
    pub(super) fn new(plan: &Plan) -> Self {
        let train = plan.purpose == Purpose::Train;
        let state = |numbers| PartState::alone(numbers, train);
        Worker {
            workspace: Workspace::new(plan),
            weights: WeightScratch::new(plan.making),
            states: plan.slots().into_iter().map(state).collect(),
            rows: LocalRows::new(plan),
        }
    }

    /// Makes the weights of a group.
    pub(super) fn make(&mut self, run: Run<'_>, group: &Group) {
        let making = run.making(group);
        let states = &mut self.states[..making.parts.len()];
        for (state, part) in states.iter_mut().zip(making.parts) {
            state.resize(run.plan.program(part).coefficients as usize);
            let Numbers { weights, dists, .. } = run.numbers;
            state.constant_least = constants(weights, dists, part, &mut state.coefficients);
        }
        let least = making.make(run.parameters, states, &mut self.weights);
        making.certify(run.plan, least, states);
    }

    /// Runs a group forward whose weights were made last.
    pub(super) fn forward(&mut self, run: Run<'_>, task: Task<'_>) {
        let Task { group, mut tiles } = task;
        for (part, state) in run.parts(group).iter().zip(&self.states) {
            for (rows, (given, outputs)) in run.rows.chunks(LANES).zip(&mut tiles) {
                self.rows.take(run.data, rows, part);
                let segment = segment(run, part, state, &self.rows, *given);
                let workspace = &mut self.workspace;
                pulp::Arch::new().dispatch(Forward { segment, outputs, workspace });
            }
        }
    }

    /// Runs the head forward, whose weights were made last: writes ln p of all rows. Returns those in
    /// doubt.
    pub(super) fn head(
        &mut self,
        run: Run<'_>,
        handed: &mut Handed,
        log_p: &mut [f64],
    ) -> Vec<u32> {
        let mut in_doubt = Vec::new();
        let (given, _) = handed.given();
        let tiles = run.rows.chunks(LANES).zip(log_p.chunks_mut(LANES)).enumerate();
        let (part, state) = (run.plan.head(), &self.states[0]);
        for (tile, (rows, log_p)) in tiles {
            self.rows.take(run.data, rows, part);
            pulp::Arch::new().dispatch(Head {
                segment: segment(run, part, state, &self.rows, given(tile)),
                workspace: &mut self.workspace,
                log_p,
                first: (tile * LANES) as u32,
                in_doubt: &mut in_doubt,
            });
        }
        in_doubt
    }

    /// Runs a group forward again and back, whose weights were made last, and takes the gradients by
    /// these to the parameters, or to the counts if these are wanted.
    pub(super) fn backward<'a>(
        &mut self,
        run: Run<'_>,
        group: &Group,
        given: &(impl Fn(usize) -> Given<'a> + Sync),
        mut gradients: Gradients<'_>,
        doubt: &Doubt,
        found: Found<'_, '_, '_>,
    ) {
        let head = run.plan.parts.len() - 1;
        for (number, state) in (group.parts.0 as usize..).zip(&mut self.states) {
            let Some(part) = run.parts(group).get(number - group.parts.0 as usize) else { break };
            let mut d_coefficients = std::mem::take(&mut state.shards[0].d_coefficients);
            d_coefficients.fill(0.0);
            for (tile, rows) in run.rows.chunks(LANES).enumerate() {
                self.rows.take(run.data, rows, part);
                let (plan, bounded, gradients) = (run.plan, run.bounded, &mut gradients);
                pulp::Arch::new().dispatch(Back {
                    segment: segment(run, part, state, &self.rows, given(tile)),
                    returned: Returned { plan, bounded, part: number, tile, gradients },
                    rows: (number == head).then_some(rows.len()),
                    d_coefficients: &mut d_coefficients,
                    workspace: &mut self.workspace,
                });
            }
            doubt.backward(run, number, &state.coefficients, &mut self.rows, &mut d_coefficients);
            state.shards[0].d_coefficients = d_coefficients;
        }
        let making = run.making(group);
        let states = &self.states[..making.parts.len()];
        let Found { own, d_shared, counts } = found;
        let Some(counts) = counts else {
            d_shared.fill(0.0);
            return making.back(run.parameters, states, own, d_shared, &mut self.weights);
        };
        making.count_weights(states, own);
        // Each leaf is of one segment, so the order makes no difference.
        making.count_leaves(states, &mut counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The coefficients of each segment of the group made last, and room for the rows that it reads.
    pub(super) fn made(&mut self) -> (impl Iterator<Item = &[f32]>, &mut LocalRows) {
        let Worker { states, rows, .. } = self;
        (states.iter().map(|state| &state.coefficients[..]), rows)
    }
}

/// A segment over the rows taken last.
fn segment<'a>(
    run: Run<'a>,
    part: &'a Part,
    state: &'a PartState,
    rows: &'a LocalRows,
    given: Given<'a>,
) -> Segment<'a> {
    let unit = Unit {
        program: run.plan.program(part),
        columns: &rows.columns,
        coefficients: &state.coefficients,
        data: &rows.data,
        missing: run.data.has_missing(),
        certified: state.certified,
        exponents: true,
    };
    let imports = Imported { plan: run.plan, bounded: run.bounded, part, given };
    Segment { unit, imports }
}
