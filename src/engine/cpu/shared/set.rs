//! A data set that is evaluated whole: interned, and how each part runs over all of its entries.

use std::sync::Arc;

use rayon::prelude::*;

use super::whole::{Outputs, Size, WholePart, WholeWorkspace, size};
use super::{DistinctRows, Interned, dispatch, distinct_rows, is_shared};
use crate::data::Dataset;
use crate::engine::cpu::state::PartState;
use crate::engine::cpu::whole::{Whole, WholeWorker};
use crate::plan::layout::Layout;
use crate::plan::{self, Part, Plan, Seen};

/// Bytes that a part may take of a worker, and as many that all parts may hand to the head for all rows:
/// beyond it rows are evaluated in batches.
const MOST_BYTES: usize = 64 << 20;
/// The most workers.
const MOST_WORKERS: usize = 64;

/// A data set, interned for the parts of a plan, for evaluations of all of its rows.
pub(in crate::engine::cpu) struct WholeSet {
    data: Arc<()>,
    pub(in crate::engine::cpu) rows: DistinctRows,
    /// How each program runs; none where its rows are evaluated one by one.
    layouts: Vec<Option<Layout>>,
    parts: Vec<Option<Interned>>,
    /// What a worker needs.
    pub(in crate::engine::cpu) size: Size,
    /// Workers that there is room for.
    pub(in crate::engine::cpu) workers: usize,
    /// Bytes of all that is kept of it, and what it would be with as many workers as there is room for.
    bytes: usize,
    pub(in crate::engine::cpu) most_bytes: usize,
}

/// Why a data set is not evaluated whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::cpu) enum Refused {
    /// That is not expected to save time, or cannot be done.
    TakesLonger,
    /// It would take more memory than it may.
    TooLarge,
}

impl WholeSet {
    /// For `times` evaluations by at most so many workers, within `limit` bytes of all that is kept for it,
    /// the workers' memory too: fewer of them, if need be. Whether it is evaluated whole does not depend on
    /// how many there are.
    pub(in crate::engine::cpu) fn new(
        data: &Dataset,
        plan: &Plan,
        times: usize,
        (workers, limit): (usize, usize),
    ) -> Result<Self, Refused> {
        if !is_shared(plan) || !plan.may_pay_whole(data.rows(), times) {
            return Err(Refused::TakesLonger);
        }
        // None of data that are not all of categories either.
        let mut rows = distinct_rows(plan, data, limit).ok_or(Refused::TooLarge)?;
        let layout = |program: usize| {
            let whole = whole(plan, data, &rows, program)?;
            plan.pays_whole(&whole, times).then_some(whole.layout)
        };
        let layouts: Vec<Option<Layout>> = (0..plan.programs.len()).map(layout).collect();
        if layouts.iter().all(Option::is_none) {
            return Err(Refused::TakesLonger);
        }
        let intern = |part: &Part| {
            let number = part.program as usize;
            let (spaces, layout) = (plan.sharing[number].as_ref()?, layouts[number].as_ref()?);
            let of_program = (plan.program(part), spaces, layout);
            Some(Interned::of(of_program, &part.columns, &rows, false).0)
        };
        let parts = plan.below_head().par_iter().map(intern).collect();
        let row_bytes = rows.forget_states();
        let (data, size) = (data.identity().clone(), Size::default());
        let bytes = row_bytes;
        let mut set =
            WholeSet { data, rows, layouts, parts, size, workers, bytes, most_bytes: bytes };
        set.fit(plan, limit).then_some(set).ok_or(Refused::TooLarge)
    }

    /// Counts bytes, and how many workers there is room for; whether for any.
    fn fit(&mut self, plan: &Plan, limit: usize) -> bool {
        let sizes = self.shared(plan).map(|(interned, layout)| size(layout, interned));
        self.size = sizes.fold(Size::default(), Size::max);
        let outputs = Whole::bytes(plan, self.rows.first.len());
        let worker = WholeWorker::bytes(plan, self.size);
        self.bytes += self.interned_bytes() + outputs;
        let room = (limit.saturating_sub(self.bytes) / worker).min(MOST_WORKERS);
        self.workers = self.workers.min(room);
        self.most_bytes = self.bytes + room * worker;
        self.bytes += self.workers * worker;
        room > 0 && worker <= MOST_BYTES && outputs <= MOST_BYTES
    }

    /// The programs of which each entry is evaluated once.
    pub(super) fn programs(&self) -> Vec<usize> {
        (0..self.layouts.len()).filter(|&program| self.layouts[program].is_some()).collect()
    }

    /// Whether it is this data set.
    pub(in crate::engine::cpu) fn is_of(&self, data: &Dataset) -> bool {
        Arc::ptr_eq(&self.data, data.identity())
    }

    /// Bytes of all that is kept of it, where nothing else was prepared.
    pub(in crate::engine::cpu) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of what is interned, and of the layouts.
    fn interned_bytes(&self) -> usize {
        let layouts: usize = self.layouts.iter().flatten().map(Layout::bytes).sum();
        let parts = self.parts.iter().flatten();
        let interned: usize = parts.map(|part| part.bytes() + part.list_bytes()).sum();
        let lists = size_of_val(&self.layouts[..]) + size_of_val(&self.parts[..]);
        layouts + interned + lists
    }

    /// Each part that is shared, with its layout.
    fn shared<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (&'a Interned, &'a Layout)> {
        let parts = self.parts.iter().zip(plan.below_head());
        parts.filter_map(|(interned, part)| {
            Some((interned.as_ref()?, self.layouts[part.program as usize].as_ref()?))
        })
    }

    /// Runs a part, by its number, over all of its entries, and hands what comes of it to the head.
    /// `false`, and nothing done, where it is not shared.
    pub(in crate::engine::cpu) fn run(
        &self,
        plan: &Plan,
        number: usize,
        PartState { coefficients, certified, .. }: &PartState,
        workspace: &mut WholeWorkspace,
        outputs: &mut Outputs,
    ) -> bool {
        let part = &plan.below_head()[number];
        let layout = self.layouts[part.program as usize].as_ref();
        let (Some(layout), Some(interned)) = (layout, &self.parts[number]) else { return false };
        let (spaces, program) = (&plan.sharing[part.program as usize], plan.program(part));
        let Some(spaces) = spaces else { return false };
        let rows = self.rows.first.len();
        let of_program = (program, spaces, layout);
        let certified = *certified;
        let task =
            WholePart { of_program, interned, coefficients, certified, workspace, rows, outputs };
        dispatch(layout.narrow, task);
        true
    }
}

/// What is expected of whole evaluations of a program, told by its first part.
fn whole(plan: &Plan, data: &Dataset, rows: &DistinctRows, program: usize) -> Option<plan::Whole> {
    let spaces = plan.sharing[program].as_ref()?;
    let part = plan.below_head().iter().find(|part| part.program as usize == program)?;
    let all: Vec<u32> = (0..rows.first.len() as u32).collect();
    let entries = Interned::count(spaces, &part.columns, rows, &all);
    let entries: Vec<f64> = entries.into_iter().map(|count| count as f64).collect();
    let seen = Seen {
        rows: data.rows(),
        distinct: all.len(),
        missing: data.has_missing(),
        entries: &entries,
    };
    plan.whole(program, seen)
}
