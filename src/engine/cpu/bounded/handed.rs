//! What segments hand on to those above them, and get back.
//!
//! Arenas of lane rows, tile by tile: `[tiles][rows][LANES]`, the rows as the plan places them. The
//! segments of a wave have theirs side by side, so that a wave's tasks can write them while they read
//! all others.

use super::super::backward::Exports;
use super::super::forward::Imports;
use crate::plan::{Bounded, Group, LANES, Part, Place, Plan, Purpose};
use crate::simd::take;

/// The arenas.
pub(super) struct Handed {
    values: Vec<f32>,
    exponents: Vec<i32>,
    bounds: Vec<f32>,
    /// To train, the gradients by the values, in the same places.
    gradients: Vec<f32>,
    /// Numbers of one tile: of values, and of exponents.
    tile: [usize; 2],
}

/// A tile of an arena but for the rows that a wave writes.
#[derive(Clone, Copy)]
struct Rest<'a, T> {
    before: &'a [T],
    after: &'a [T],
    /// Where `after` begins.
    resumes: usize,
}

impl<'a, T> Rest<'a, T> {
    /// The tile, and what is taken out of it.
    fn around(tile: &'a mut [T], own: std::ops::Range<usize>) -> (Self, &'a mut [T]) {
        let (before, rest) = tile.split_at_mut(own.start);
        let (taken, after) = rest.split_at_mut(own.len());
        (Rest { before, after, resumes: own.end }, taken)
    }

    /// Some lane rows, none of them among those taken out.
    fn rows(&self, first: u32, count: u32) -> &'a [T] {
        let (first, len) = (first as usize * LANES, count as usize * LANES);
        match first < self.before.len() {
            true => &self.before[first..first + len],
            false => &self.after[first - self.resumes..][..len],
        }
    }
}

/// What segments handed on for one tile.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    values: Rest<'a, f32>,
    exponents: Rest<'a, i32>,
    bounds: Rest<'a, f32>,
}

/// Where the outputs of a group go, for one tile: one segment after the other.
pub(super) struct Outputs<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) exponents: &'a mut [i32],
    pub(super) bounds: &'a mut [f32],
}

/// A group of segments to run forward: what was handed on, and where to, tile by tile.
pub(super) struct Task<'a> {
    pub(super) group: &'a Group,
    pub(super) tiles: Vec<(Given<'a>, Outputs<'a>)>,
}

impl Handed {
    pub(super) fn new(plan: &Plan, bounded: &Bounded) -> Self {
        let tile = [bounded.rows as usize * LANES, bounded.exponents as usize * LANES];
        let [values, exponents] = tile.map(|tile| tile * plan.tiles());
        let train = plan.purpose == Purpose::Train;
        Handed {
            values: vec![0.0; values],
            exponents: vec![0; exponents],
            bounds: vec![0.0; exponents],
            gradients: vec![0.0; if train { values } else { 0 }],
            tile,
        }
    }

    /// The tasks of a wave that is not the head's.
    pub(super) fn wave<'a>(
        &'a mut self,
        plan: &'a Plan,
        bounded: &Bounded,
        wave: (u32, u32),
    ) -> Vec<Task<'a>> {
        let groups = &plan.groups[wave.0 as usize..wave.1 as usize];
        let task = |group| Task { group, tiles: Vec::with_capacity(plan.tiles()) };
        let mut tasks: Vec<Task<'a>> = groups.iter().map(task).collect();
        let sizes = |group: &Group| {
            let parts = &plan.parts[group.parts.0 as usize..group.parts.1 as usize];
            let rows: u32 = parts.iter().map(|part| plan.output_units(part)).sum();
            [rows as usize * LANES, parts.len() * LANES]
        };
        let sizes: Vec<[usize; 2]> = groups.iter().map(sizes).collect();
        let own = |place: u32, which: usize| {
            let first = place as usize * LANES;
            first..first + sizes.iter().map(|size| size[which]).sum::<usize>()
        };
        let Place { rows, exponent } = bounded.places[groups[0].parts.0 as usize];
        let (rows, exponents) = (own(rows, 0), own(exponent, 1));
        let [tile, exponent_tile] = self.tile;
        let tiles = (self.values.chunks_mut(tile))
            .zip(self.exponents.chunks_mut(exponent_tile))
            .zip(self.bounds.chunks_mut(exponent_tile));
        for ((values, exponent_rows), bounds) in tiles {
            let (values, mut own) = Rest::around(values, rows.clone());
            let (exponent_rows, mut own_exponents) = Rest::around(exponent_rows, exponents.clone());
            let (bounds, mut own_bounds) = Rest::around(bounds, exponents.clone());
            let given = Given { values, exponents: exponent_rows, bounds };
            for (task, &[units, outputs]) in tasks.iter_mut().zip(&sizes) {
                let outputs = Outputs {
                    values: take(&mut own, units),
                    exponents: take(&mut own_exponents, outputs),
                    bounds: take(&mut own_bounds, outputs),
                };
                task.tiles.push((given, outputs));
            }
        }
        tasks
    }

    /// What was handed on for a tile, and the gradients of all tiles.
    pub(super) fn given<'a>(&'a mut self) -> (impl Fn(usize) -> Given<'a> + Sync, &'a mut [f32]) {
        let Handed { values, exponents, bounds, gradients, tile } = self;
        let (values, exponents, bounds) = (&values[..], &exponents[..], &bounds[..]);
        let [len, exponent_len] = *tile;
        fn whole<T>(rows: &[T], tile: usize, len: usize) -> Rest<'_, T> {
            let before = &rows[tile * len..(tile + 1) * len];
            Rest { before, after: &[], resumes: len }
        }
        let given = move |tile| Given {
            values: whole(values, tile, len),
            exponents: whole(exponents, tile, exponent_len),
            bounds: whole(bounds, tile, exponent_len),
        };
        (given, gradients)
    }
}

/// What one segment reads of others for a tile.
pub(super) struct Imported<'a> {
    pub(super) plan: &'a Plan,
    pub(super) bounded: &'a Bounded,
    pub(super) part: &'a Part,
    pub(super) given: Given<'a>,
}

impl Imports for Imported<'_> {
    fn import(&self, slot: u32, _output: u32) -> (&[f32], &[i32], &[f32]) {
        let from = self.part.imports[slot as usize] as usize;
        let Place { rows, exponent } = self.bounded.places[from];
        let units = self.plan.output_units(&self.plan.parts[from]);
        (
            self.given.values.rows(rows, units),
            self.given.exponents.rows(exponent, 1),
            self.given.bounds.rows(exponent, 1),
        )
    }
}

/// Gradients by what segments handed on, of all tiles. A segment that imports is alone in its wave, so it
/// alone writes.
pub(super) enum Gradients<'a> {
    /// For a wave of segments that import nothing.
    Read(&'a [f32]),
    /// For one that does.
    Write(&'a mut [f32]),
}

impl Gradients<'_> {
    fn all(&self) -> &[f32] {
        match self {
            Gradients::Read(all) => all,
            Gradients::Write(all) => all,
        }
    }
}

/// The gradients of one tile, for one segment.
pub(super) struct Returned<'a, 'b> {
    pub(super) plan: &'a Plan,
    pub(super) bounded: &'a Bounded,
    /// Its number.
    pub(super) part: usize,
    pub(super) tile: usize,
    pub(super) gradients: &'a mut Gradients<'b>,
}

impl Returned<'_, '_> {
    fn range(&self, part: usize) -> std::ops::Range<usize> {
        let first =
            self.tile * self.bounded.rows as usize + self.bounded.places[part].rows as usize;
        let units = self.plan.output_units(&self.plan.parts[part]) as usize;
        first * LANES..(first + units) * LANES
    }

    /// The gradient by what the segment handed on.
    pub(super) fn own(&self) -> &[f32] {
        &self.gradients.all()[self.range(self.part)]
    }
}

impl Exports for Returned<'_, '_> {
    fn export(&mut self, slot: u32, _output: u32, gradient: &[f32]) {
        let from = self.plan.parts[self.part].imports[slot as usize] as usize;
        let range = self.range(from);
        if let Gradients::Write(all) = self.gradients {
            all[range].copy_from_slice(gradient);
        }
    }
}
