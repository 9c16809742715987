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

mod agreement;
mod backward;
mod bounds;
mod bundle;
mod distinct;
mod eight;
mod evaluated;
mod find;
mod forward;
mod interned;
mod narrow;
mod numbering;
mod records;
mod rows;
mod set;
mod shapes;
mod turn;
mod whole;

use std::sync::Arc;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

pub(super) use self::agreement::agreement;
use self::backward::{backward, clear};
use self::bounds::bound;
pub(super) use self::distinct::DistinctRows;
pub use self::evaluated::Evaluated;
pub(super) use self::find::Found;
use self::find::{ListBuffers, Listed, States};
pub(super) use self::forward::ValueBuffers;
use self::forward::{ScratchBuffers, Unit, forward};
pub(super) use self::interned::Interned;
pub(super) use self::records::Records;
pub(super) use self::set::{Refused, WholeSet};
pub(super) use self::whole::{Outputs, Size, WholeWorkspace, grow};
use super::passes::Batch;
use super::rows::NOWHERE;
use super::state::{HeadShard, Shard};
use crate::data::Dataset;
use crate::plan::layout::{Kind, Layout, Rows, Sizes};
use crate::plan::{
    self, Choice, Chosen, Counts, InBatches, LANES, Part, Plan, Program, Purpose, Spaces,
};

/// What is shared of a program.
pub(super) struct Shared {
    spaces: Spaces,
    /// For data without missing values, and with; none where to share does not pay.
    layouts: [Option<Layout>; 2],
    /// What either takes.
    sizes: Sizes,
}

impl Shared {
    /// For each program of a plan, if its values may be shared.
    pub(super) fn all(plan: &Plan) -> Vec<Option<Shared>> {
        let rows = plan.shard_rows();
        let of = |program: usize| {
            let (spaces, sizes) = (plan.sharing[program].clone()?, plan.sizes(program)?);
            let layouts =
                [false, true].map(|missing| plan.layout(program, Rows::unknown(rows, missing)));
            Some(Shared { spaces, layouts, sizes })
        };
        (0..plan.programs.len()).map(of).collect()
    }

    /// What a shard of `rows` rows finds of a batch.
    pub(super) fn found(&self, program: &Program, rows: usize) -> Found {
        Found::new(program, &self.spaces, &self.sizes, rows)
    }

    /// Where a shard keeps the values of a batch for the way back.
    pub(super) fn kept(&self) -> ValueBuffers {
        ValueBuffers::new(&self.sizes)
    }
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
        let sizes = shared.iter().flatten().map(|shared| shared.sizes);
        let sizes = sizes.fold(Sizes::default(), Sizes::max);
        let mut lists = ListBuffers::default();
        lists.reserve(0, sizes.lists);
        let scratch = ScratchBuffers::new(&sizes, plan.purpose == Purpose::Train);
        let values = if plan.keeps { ValueBuffers::default() } else { ValueBuffers::new(&sizes) };
        Workspace { sizes, values, scratch, lists }
    }

    /// Makes room for the entries of interned data.
    pub(super) fn reserve(&mut self, prepared: &Prepared) {
        let places = prepared.parts.iter().flatten().map(Interned::most_entries).max();
        let layouts = prepared.choice.programs.iter().filter_map(|chosen| chosen.layout.as_ref());
        let lists = layouts.map(|layout| layout.sizes.lists).max();
        self.lists.reserve(places.unwrap_or(0), lists.unwrap_or(0));
    }
}

/// A data set, interned for each part of a plan.
pub(super) struct Prepared {
    pub(super) data: Arc<()>,
    pub(super) rows: DistinctRows,
    /// What was chosen for them.
    choice: Choice,
    /// For each distinct row its place in the batch, [`NOWHERE`] between batches.
    pub(super) places: Vec<u32>,
    parts: Vec<Option<Interned>>,
    pub(super) records: Records,
}

/// Parts of a program that are asked how many sub-assignments they see.
const ASKED: usize = 4;

/// Where a plan shares values of some data, if at most `limit` bytes of them are interned.
pub(super) fn choice(plan: &Plan, data: &Dataset, limit: usize) -> Choice {
    let rows = is_shared(plan).then(|| distinct_rows(plan, data, limit)).flatten();
    let counts = rows.map(|rows| count(plan, data, &rows, true));
    plan.choose(counts.as_ref(), data.has_missing(), limit)
}

/// How some data would be evaluated once, keeping at most `limit` bytes.
pub(super) fn evaluated_once(plan: &Plan, data: &Dataset, limit: usize) -> plan::Evaluated {
    if !is_shared(plan) {
        return plan::Evaluated::InBatches(InBatches::NotShared);
    }
    match WholeSet::new(data, plan, 1, (1, limit)) {
        Ok(set) => plan::Evaluated::Whole { bytes: set.bytes(), programs: set.programs() },
        Err(Refused::TakesLonger) => plan::Evaluated::InBatches(InBatches::TakesLonger),
        Err(Refused::TooLarge) => plan::Evaluated::InBatches(InBatches::TooLarge),
    }
}

/// The distinct rows of some data, if they and what lies beside them take at most `limit` bytes.
fn distinct_rows(plan: &Plan, data: &Dataset, limit: usize) -> Option<DistinctRows> {
    DistinctRows::of(data, limit.checked_sub(Records::fixed_bytes(plan.below_head().len()))?)
}

fn is_shared(plan: &Plan) -> bool {
    plan.sharing.iter().any(Option::is_some)
}

/// Counts what a batch is expected to have of each space, and what all rows have, if `all` says so.
fn count(plan: &Plan, data: &Dataset, rows: &DistinctRows, all: bool) -> Counts {
    let sample = rows.sample(plan.shard_rows().min(plan.batch as usize));
    let in_batch = |(number, spaces): (usize, &Option<Spaces>)| {
        let Some(spaces) = spaces else { return Vec::new() };
        let own = plan.below_head().iter().filter(|part| part.program as usize == number);
        let seen =
            own.take(ASKED).map(|part| Interned::count(spaces, &part.columns, rows, &sample));
        mean(spaces.spaces.len(), seen)
    };
    let distinct: Vec<u32> = (0..rows.first.len() as u32).collect();
    let in_data = |part: &Part| match &plan.sharing[part.program as usize] {
        Some(spaces) => Interned::count(spaces, &part.columns, rows, &distinct),
        None => Vec::new(),
    };
    let counted = if all { plan.below_head() } else { &[] };
    Counts {
        rows: data.rows(),
        distinct: distinct.len(),
        bytes: rows.bytes() + Records::fixed_bytes(plan.below_head().len()),
        batch: sample.len(),
        in_batch: plan.sharing.iter().enumerate().map(in_batch).collect(),
        in_data: counted.par_iter().map(in_data).collect(),
    }
}

impl Prepared {
    /// Of at most `limit` bytes. `None` where the data are not all of categories, nothing is shared, or
    /// the limit is too low for the distinct rows.
    pub(super) fn new(data: &Dataset, plan: &Plan, limit: usize) -> Option<Self> {
        if !is_shared(plan) {
            return None;
        }
        let rows = distinct_rows(plan, data, limit)?;
        // What it will take is to be known beforehand only where it may be too much.
        let counts = count(plan, data, &rows, limit < usize::MAX);
        let choice = plan.choose(Some(&counts), data.has_missing(), limit);
        let intern = |part: &Part| {
            let number = part.program as usize;
            let layout = choice.programs[number].layout.as_ref()?;
            layout.kinds.contains(&Kind::Listed).then_some(())?;
            let program = (plan.program(part), plan.sharing[number].as_ref()?, layout);
            Some(Interned::of(program, &part.columns, &rows, plan.records()))
        };
        let of_part = |part: &Part| match intern(part) {
            Some((interned, recorded)) => (Some(interned), recorded),
            None => (None, Vec::new()),
        };
        let (parts, recorded): (Vec<_>, Vec<_>) = plan.below_head().par_iter().map(of_part).unzip();
        let records = Records::of(&recorded);
        let places = vec![NOWHERE; rows.first.len()];
        Some(Prepared { data: data.identity().clone(), rows, choice, places, parts, records })
    }

    /// Numbers that a batch finds of a part, at the most.
    pub(super) fn found(&self, part: &Part) -> usize {
        self.layout(part).map_or(0, |layout| layout.sizes.found)
    }

    fn layout(&self, part: &Part) -> Option<&Layout> {
        let Chosen { layout, .. } = &self.choice.programs[part.program as usize];
        layout.as_ref()
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().flatten().map(Interned::bytes).sum();
        parts + self.records.bytes() + self.rows.bytes()
    }
}

/// The mean of some counts, for each of `len` places.
fn mean(len: usize, counts: impl Iterator<Item = Vec<usize>>) -> Vec<f64> {
    let (mut sums, mut parts) = (vec![0.0; len], 0);
    for counts in counts {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as f64);
        parts += 1;
    }
    sums.into_iter().map(|sum| sum / f64::from(parts.max(1))).collect()
}

/// How a part is shared for a batch.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    spaces: &'a Spaces,
    layout: &'a Layout,
    interned: Option<&'a Interned>,
    /// The data's records, and the number of the part, if it is interned.
    records: Option<(&'a Records, usize)>,
}

impl<'a> How<'a> {
    /// How a part runs on the rows of prepared data, or of others; `None` where it is not to be shared.
    pub(super) fn of(
        shared: &'a [Option<Shared>],
        prepared: Option<&'a Prepared>,
        missing: bool,
        (number, part): (usize, &Part),
    ) -> Option<Self> {
        let program = part.program as usize;
        let Shared { spaces, layouts, .. } = shared[program].as_ref()?;
        let (layout, interned) = match prepared {
            Some(known) => (known.layout(part)?, known.parts[number].as_ref()),
            None => (layouts[usize::from(missing)].as_ref()?, None),
        };
        let records = prepared.map(|known| (&known.records, number));
        Some(How { spaces, layout, interned, records })
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
    pub(super) how: How<'a>,
    pub(super) coefficients: &'a [f32],
    /// Whether no unit can be lost.
    pub(super) certified: bool,
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
    pub(super) fn forward(mut self) {
        let rows = self.rows();
        let How { spaces, layout, interned, records } = self.how;
        let program = self.batch.plan.program(self.part);
        if let Some(found) = &mut self.shard.found {
            let tile = self.batch.plan.variables as usize * LANES;
            let first = rows.start / LANES;
            let tiles = first * tile..(first + rows.len().div_ceil(LANES)) * tile;
            let (columns, data) = (&self.part.columns[..], &self.batch.data[tiles]);
            let read = States { columns, data, tile };
            match (interned, records, self.batch.distinct) {
                (Some(interned), Some((records, part)), Some(distinct)) => {
                    let own = records.part(part, &distinct.records[rows.start * records.width()..]);
                    let rows = &distinct.numbers[rows];
                    let of = Listed { program, spaces, layout, interned, rows, records: own };
                    found.listed(&of, &read, &mut self.workspace.lists);
                }
                _ => found.each((program, spaces, layout), &read, rows.len()),
            }
        }
        dispatch(layout.narrow, Forward(&mut self));
    }

    /// Goes back, where values were not kept after evaluating the entries again.
    pub(super) fn backward(mut self, number: usize, head: &HeadShard) {
        dispatch(self.how.layout.narrow, Backward { part: &mut self, number, head });
    }
}

struct Forward<'s, 'a>(&'s mut SharedPart<'a>);

impl WithSimd for Forward<'_, '_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let SharedPart { batch, part, how, coefficients, certified, shard, workspace } = self.0;
        let certified = *certified;
        let Shard { found, kept, outputs, exponents, bounds, .. } = &mut **shard;
        let Some(found) = &*found else { return };
        let program = batch.plan.program(part);
        let layout = how.layout;
        let unit = Unit { layout, coefficients, found, bundled: certified };
        let mut values = kept.as_mut().unwrap_or(&mut workspace.values).values();
        let mut scratch = workspace.scratch.scratch(&workspace.sizes);
        forward(simd, &unit, &mut values, &mut scratch, true);
        if !certified {
            bound(simd, &unit, &values, &mut scratch.bounds);
        }
        let (total, count) = (units_of(program), program.outputs.len());
        let mut before = 0;
        for (output, &value) in program.outputs.iter().enumerate() {
            let value = layout.value(value);
            let rows = &values.rows[unit.rows(value)];
            let taken = &scratch.exponents[unit.scales(value)];
            let lacks = &scratch.bounds.bounds[unit.scales(value)];
            for (tile, entries) in found.output(output).chunks(LANES).enumerate() {
                let to = &mut outputs[(tile * total + before) * LANES..];
                for (unit, to) in to.chunks_exact_mut(LANES).take(value.units).enumerate() {
                    let from = |&entry: &u32| rows[entry as usize * value.stride + unit];
                    to.iter_mut().zip(entries).for_each(|(to, entry)| *to = from(entry));
                }
                let place = (tile * count + output) * LANES..(tile * count + output + 1) * LANES;
                let to = exponents[place.clone()].iter_mut().zip(entries);
                to.for_each(|(to, &entry)| *to = taken[entry as usize]);
                let bounds = &mut bounds[place];
                bounds.fill(0.0);
                if !certified {
                    let to = bounds.iter_mut().zip(entries);
                    to.for_each(|(to, &entry)| *to = lacks[entry as usize]);
                }
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
        let SharedPart { batch, part, how, coefficients, certified, shard, workspace } = self.part;
        let Shard { found, kept, d_coefficients, .. } = &mut **shard;
        d_coefficients.fill(0.0);
        let Some(found) = &*found else { return };
        let program = batch.plan.program(part);
        let layout = how.layout;
        let unit = Unit { layout, coefficients, found, bundled: *certified };
        let again = kept.is_none();
        let mut values = kept.as_mut().unwrap_or(&mut workspace.values).values();
        let mut scratch = workspace.scratch.scratch(&workspace.sizes);
        if again {
            forward(simd, &unit, &mut values, &mut scratch, false);
        }
        clear(simd, &unit, scratch.gradients);
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
