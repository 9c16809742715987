//! Each distinct sub-assignment once.
//!
//! The value of a region depends on a row through the row's states on the region's scope alone, and
//! rows agree on small scopes, and often on large ones. So where a part of a circuit is discrete, and
//! linear arithmetic is certain to lose nothing of it, its values are evaluated entry by entry rather
//! than row by row: the entries of few columns are all of their sub-assignments, a *table*; those of
//! more are *listed*, as many as a batch has. What flows back is summed into the entries first, so the
//! backward pass runs once for each of them too.
//!
//! A data set may be prepared ([`Prepared`]): its sub-assignments are interned, and a batch finds its
//! entries by numbers. Rows of other data are entries of their own above the tables.

mod backward;
mod find;
mod forward;
mod interned;
mod layout;
mod narrow;
mod rows;

use std::sync::Arc;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use self::backward::{backward, clear};
use self::find::ListBuffers;
pub(super) use self::find::Found;
pub(super) use self::forward::ValueBuffers;
use self::forward::{ScratchBuffers, Unit, forward};
pub(super) use self::interned::{DistinctRows, Interned};
pub(super) use self::layout::Layout;
use self::layout::Sizes;
use super::passes::Batch;
use super::rows::NOWHERE;
use super::state::{HeadShard, Shard};
use crate::data::Dataset;
use crate::plan::{LANES, Part, Plan, Program, Purpose, Spaces};

/// What is shared of a program.
pub(super) struct Shared {
    spaces: Spaces,
    /// For data without missing values, and with.
    layouts: [Layout; 2],
}

impl Shared {
    /// For each program of a plan, if its values are shared.
    pub(super) fn all(plan: &Plan) -> Vec<Option<Shared>> {
        let rows = plan.tiles().div_ceil(plan.shards as usize) * LANES;
        let of = |(program, spaces): (&Program, &Option<Spaces>)| {
            let spaces = spaces.clone()?;
            let layouts = [false, true].map(|missing| Layout::new(program, &spaces, rows, missing));
            Some(Shared { spaces, layouts })
        };
        plan.programs.iter().zip(&plan.sharing).map(of).collect()
    }

    fn layout(&self, missing: bool) -> &Layout {
        &self.layouts[usize::from(missing)]
    }

    /// What a shard of `rows` rows finds of a batch.
    pub(super) fn found(&self, program: &Program, rows: usize) -> Found {
        let layout = &self.layouts[1];
        Found::new(program, layout, rows)
    }

    fn sizes(&self) -> Sizes {
        self.layouts[0].sizes.max(self.layouts[1].sizes)
    }

    /// Where a shard keeps the values of a batch for the way back.
    pub(super) fn kept(&self) -> ValueBuffers {
        ValueBuffers::new(&self.sizes())
    }
}

/// Bytes of values that are kept rather than made again.
const KEPT: usize = 64 << 20;

/// Whether the values of all parts are kept from the way forward to that back. To read one again takes
/// less time than to make it again, even where it has left the caches of a core, so they are unless
/// they would take much memory.
pub(super) fn keeps(plan: &Plan, shared: &[Option<Shared>]) -> bool {
    let bytes = |part: &Part| {
        let shared = shared[part.program as usize].as_ref();
        shared.map_or(0, |shared| 4 * (shared.sizes().rows + shared.sizes().entries))
    };
    let bytes: usize = plan.below_head().iter().map(bytes).sum();
    plan.purpose == Purpose::Train && plan.shards as usize * bytes <= KEPT
}

/// The memory of one worker.
pub(super) struct Workspace {
    sizes: Sizes,
    /// Where values lie that are made again on the way back.
    values: ValueBuffers,
    scratch: ScratchBuffers,
    lists: ListBuffers,
}

impl Workspace {
    pub(super) fn new(plan: &Plan, shared: &[Option<Shared>]) -> Self {
        let sizes = shared.iter().flatten().map(Shared::sizes).fold(Sizes::default(), Sizes::max);
        let mut lists = ListBuffers::default();
        lists.reserve(0, sizes.lists);
        let scratch = ScratchBuffers::new(&sizes, plan.purpose == Purpose::Train);
        Workspace { sizes, values: ValueBuffers::new(&sizes), scratch, lists }
    }

    /// Makes room for the entries of interned data.
    pub(super) fn reserve(&mut self, prepared: &Prepared) {
        let places = prepared.parts.iter().flatten().map(Interned::entries).max();
        self.lists.reserve(places.unwrap_or(0), self.sizes.lists);
    }
}

/// A data set, interned for each part of a plan.
pub(super) struct Prepared {
    pub(super) data: Arc<()>,
    pub(super) rows: DistinctRows,
    /// For each distinct row its place in the batch, [`NOWHERE`] between batches.
    pub(super) places: Vec<u32>,
    parts: Vec<Option<Interned>>,
}

impl Prepared {
    /// `None` where the data are not all of categories, or nothing is shared.
    pub(super) fn new(data: &Dataset, plan: &Plan, shared: &[Option<Shared>]) -> Option<Self> {
        if shared.iter().all(Option::is_none) {
            return None;
        }
        let rows = DistinctRows::of(data)?;
        let missing = data.has_missing();
        let intern = |part: &Part| {
            let shared = shared[part.program as usize].as_ref()?;
            let program = (plan.program(part), &shared.spaces, shared.layout(missing));
            Some(Interned::of(program, &part.columns, &rows))
        };
        let parts = plan.below_head().par_iter().map(intern).collect();
        let places = vec![NOWHERE; rows.first.len()];
        Some(Prepared { data: data.identity().clone(), rows, places, parts })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().flatten().map(Interned::bytes).sum()
    }

    pub(super) fn part(&self, number: usize) -> Option<&Interned> {
        self.parts[number].as_ref()
    }
}

/// Runs a task on the vectors that suit a program: rows of eight numbers are one of AVX2's.
fn dispatch<Task: WithSimd>(narrow: bool, task: Task) -> Task::Output {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if narrow && let Some(simd) = pulp::x86::V3::try_new() {
        return Simd::vectorize(simd, task);
    }
    let _ = narrow;
    pulp::Arch::new().dispatch(task)
}

/// A part, whose values are shared, over a shard.
pub(super) struct SharedPart<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) part: &'a Part,
    pub(super) shared: &'a Shared,
    pub(super) coefficients: &'a [f32],
    pub(super) shard: &'a mut Shard,
    pub(super) workspace: &'a mut Workspace,
}

impl SharedPart<'_> {
    /// The rows of the shard, from the first on.
    fn rows(&self) -> std::ops::Range<usize> {
        let tiles = &self.shard.tiles;
        (tiles.start * LANES).min(self.batch.rows)..(tiles.end * LANES).min(self.batch.rows)
    }

    /// Finds entries, evaluates them, and hands the outputs to the head, row by row.
    pub(super) fn forward(mut self, interned: Option<&Interned>) {
        let rows = self.rows();
        let program = self.batch.plan.program(self.part);
        let layout = self.shared.layout(self.batch.missing);
        let of_program = (program, &self.shared.spaces, layout);
        if let Some(found) = &mut self.shard.found {
            match (interned, self.batch.distinct) {
                (Some(interned), Some(numbers)) => {
                    let lists = self.workspace.lists.lists();
                    found.listed(of_program, interned, &numbers[rows], lists);
                }
                _ => {
                    let tile = self.batch.plan.variables as usize * LANES;
                    let first = rows.start / LANES;
                    let tiles = first * tile..(first + rows.len().div_ceil(LANES)) * tile;
                    let data = (&self.batch.data[tiles], tile);
                    found.each(of_program, &self.part.columns, data, rows.len());
                }
            }
        }
        dispatch(layout.narrow, Forward(&mut self));
    }

    /// Evaluates the entries again and goes back.
    pub(super) fn backward(mut self, number: usize, head: &HeadShard) {
        let narrow = self.shared.layout(self.batch.missing).narrow;
        dispatch(narrow, Backward { part: &mut self, number, head });
    }
}

struct Forward<'s, 'a>(&'s mut SharedPart<'a>);

impl WithSimd for Forward<'_, '_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let SharedPart { batch, part, shared, coefficients, shard, workspace } = self.0;
        let Shard { found, kept, outputs, exponents, bounds, .. } = &mut **shard;
        let Some(found) = &*found else { return };
        let program = batch.plan.program(part);
        let layout = shared.layout(batch.missing);
        let unit = Unit { layout, coefficients, found };
        let mut values = kept.as_mut().unwrap_or(&mut workspace.values).values();
        let mut scratch = workspace.scratch.scratch(&workspace.sizes);
        forward(simd, &unit, &mut values, &mut scratch, true);
        let (total, count) = (units_of(program), program.outputs.len());
        let mut before = 0;
        for (output, &value) in program.outputs.iter().enumerate() {
            let value = layout.value(value);
            let rows = &values.rows[unit.rows(value)];
            let taken = &scratch.exponents[unit.scales(value)];
            for (tile, entries) in found.output(output).chunks(LANES).enumerate() {
                let to = &mut outputs[(tile * total + before) * LANES..];
                for (unit, to) in to.chunks_exact_mut(LANES).take(value.units).enumerate() {
                    let from = |&entry: &u32| rows[entry as usize * value.stride + unit];
                    to.iter_mut().zip(entries).for_each(|(to, entry)| *to = from(entry));
                }
                let place = (tile * count + output) * LANES..(tile * count + output + 1) * LANES;
                bounds[place.clone()].fill(0.0);
                let to = exponents[place].iter_mut().zip(entries);
                to.for_each(|(to, &entry)| *to = taken[entry as usize]);
            }
            before += value.units;
        }
    }
}

struct Backward<'s, 'a> {
    part: &'s mut SharedPart<'a>,
    number: usize,
    head: &'s HeadShard,
}

impl WithSimd for Backward<'_, '_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let SharedPart { batch, part, shared, coefficients, shard, workspace } = self.part;
        let Shard { found, kept, d_coefficients, .. } = &mut **shard;
        d_coefficients.fill(0.0);
        let Some(found) = &*found else { return };
        let program = batch.plan.program(part);
        let layout = shared.layout(batch.missing);
        let unit = Unit { layout, coefficients, found };
        let again = kept.is_none();
        let mut values = kept.as_mut().unwrap_or(&mut workspace.values).values();
        let mut scratch = workspace.scratch.scratch(&workspace.sizes);
        if again {
            forward(simd, &unit, &mut values, &mut scratch, false);
        }
        clear(&unit, scratch.gradients);
        let mut before = 0;
        for (output, &value) in program.outputs.iter().enumerate() {
            let value = layout.value(value);
            let gradients = &mut scratch.gradients[unit.rows(value)];
            for (tile, entries) in found.output(output).chunks(LANES).enumerate() {
                let given = &self.head.gradient(tile, self.number)[before * LANES..];
                for (unit, given) in given.chunks_exact(LANES).take(value.units).enumerate() {
                    for (&entry, &d) in entries.iter().zip(given) {
                        gradients[entry as usize * value.stride + unit] += d;
                    }
                }
            }
            before += value.units;
        }
        backward(simd, &unit, &mut values, &mut scratch, d_coefficients);
    }
}

fn units_of(program: &Program) -> usize {
    program.outputs.iter().map(|&output| program.values[output as usize].units as usize).sum()
}
