//! Which entries of each space a batch needs, and what they are in the spaces below.
//!
//! From the widest space down: the outputs' entries are given by the rows, and each entry names, by the
//! projections, those that its inputs need. Entries that are named again have their place already.

use super::interned::{Interned, Map};
use crate::plan::layout::{Kind, Layout, Sizes};
use crate::plan::{Column, LANES, Program, Spaces};
use crate::simd::take;

/// No place yet.
const NOWHERE: u32 = u32::MAX;

/// What was found for a run of rows.
pub(in crate::engine::cpu) struct Found {
    /// Entries of each space.
    pub(super) counts: Vec<u32>,
    /// What each entry of each listed space is under each projection, by [`Layout::found`].
    pub(super) through: Vec<u32>,
    /// For each output of the program the entry of each row, [outputs][rows].
    pub(super) outputs: Vec<u32>,
    /// The rows that it is for.
    pub(super) rows: usize,
    most: usize,
}

impl Found {
    /// For runs of at most `most` rows.
    pub(super) fn new(program: &Program, spaces: &Spaces, sizes: &Sizes, most: usize) -> Self {
        Found {
            counts: vec![0; spaces.spaces.len()],
            through: vec![0; sizes.found],
            outputs: vec![0; program.outputs.len() * most],
            rows: 0,
            most,
        }
    }

    /// Makes room for so many results of projections.
    pub(in crate::engine::cpu) fn reserve(&mut self, through: usize) {
        if self.through.len() < through {
            self.through.resize(through, 0);
        }
    }

    /// The entry of an output that each row reads.
    pub(super) fn output(&self, output: usize) -> &[u32] {
        &self.outputs[output * self.most..][..self.rows]
    }

    fn output_mut(&mut self, output: usize) -> &mut [u32] {
        &mut self.outputs[output * self.most..][..self.rows]
    }

    /// Entries of a space.
    pub(super) fn entries(&self, space: usize) -> usize {
        self.counts[space] as usize
    }

    /// For rows of interned data: `rows` are numbers among its distinct rows.
    pub(super) fn listed(
        &mut self,
        (program, spaces, layout): (&Program, &Spaces, &Layout),
        interned: &Interned,
        rows: &[u32],
        Lists { places, entries }: Lists<'_>,
    ) {
        self.rows = rows.len();
        self.counts.fill(0);
        for (output, &value) in program.outputs.iter().enumerate() {
            let space = spaces.of_value[value as usize] as usize;
            let of_row = interned.of_row(output);
            let listed = layout.kinds[space] == Kind::Listed;
            let list = &mut entries[layout.list(space)];
            let count = &mut self.counts[space];
            let out = &mut self.outputs[output * self.most..][..rows.len()];
            let places = &mut places[interned.place(space)];
            match of_row {
                // The rows are distinct, and so are their entries.
                None if *count == 0 => {
                    list[..rows.len()].copy_from_slice(rows);
                    *count = rows.len() as u32;
                    out.iter_mut().zip(0..).for_each(|(out, at)| *out = at);
                    rows.iter().zip(0..).for_each(|(&row, at)| places[row as usize] = at);
                }
                None => {
                    let out = out.iter_mut().zip(rows);
                    out.for_each(|(out, &row)| *out = number(places, list, count, row));
                }
                Some(of_row) => {
                    for (out, &row) in out.iter_mut().zip(rows) {
                        let id = of_row[row as usize];
                        *out = if listed { number(places, list, count, id) } else { id };
                    }
                }
            }
        }
        for space in (0..layout.kinds.len()).rev() {
            if let Kind::Table(count) = layout.kinds[space] {
                self.counts[space] = count;
                continue;
            }
            let own = layout.list(space);
            let (below, list) = entries.split_at_mut(own.start);
            let list = &list[..self.counts[space] as usize];
            for projection in spaces.from_space(space) {
                let to = spaces.projections[projection].to as usize;
                let map = interned.map(projection);
                let out = &mut self.through[layout.found(projection)][..list.len()];
                let listed = (layout.kinds[to] == Kind::Listed).then(|| Listing {
                    places: &mut places[interned.place(to)],
                    list: &mut below[layout.list(to)],
                    count: &mut self.counts[to],
                });
                match map {
                    Map::Short(map) => follow(list, |id| map[id as usize].into(), out, listed),
                    Map::Long(map) => follow(list, |id| map[id as usize], out, listed),
                }
            }
            let places = &mut places[interned.place(space)];
            list.iter().for_each(|&id| places[id as usize] = NOWHERE);
        }
    }

    /// For rows as they come: each is an entry of its own of every listed space. `data` are their
    /// tiles, each of `tile` numbers, [variables][LANES].
    pub(super) fn each(
        &mut self,
        (program, spaces, layout): (&Program, &Spaces, &Layout),
        columns: &[Column],
        (data, tile): (&[f32], usize),
        rows: usize,
    ) {
        self.rows = rows;
        let numbers = |table: usize, out: &mut [u32]| {
            out.fill(0);
            for (column, worth) in layout.radix(spaces, table) {
                let states = spaces.states[column as usize];
                let state = |x: f32| if x.is_nan() { states } else { x as u32 };
                match columns[column as usize] {
                    Column::Fixed(value) => {
                        out.iter_mut().for_each(|out| *out += state(value) * worth);
                    }
                    Column::Variable(var) => {
                        for (out, tile) in out.chunks_mut(LANES).zip(data.chunks_exact(tile)) {
                            let values = &tile[var.0 as usize * LANES..][..LANES];
                            out.iter_mut().zip(values).for_each(|(o, &x)| *o += state(x) * worth);
                        }
                    }
                }
            }
        };
        for (space, kind) in layout.kinds.iter().enumerate() {
            self.counts[space] = match *kind {
                Kind::Table(count) => count,
                Kind::Listed => rows as u32,
            };
        }
        let ramp = |out: &mut [u32]| out.iter_mut().zip(0..).for_each(|(out, row)| *out = row);
        for (projection, pair) in spaces.projections.iter().enumerate() {
            if layout.kinds[pair.from as usize] == Kind::Listed {
                let out = &mut self.through[layout.found(projection)][..rows];
                match layout.kinds[pair.to as usize] {
                    Kind::Table(_) => numbers(pair.to as usize, out),
                    Kind::Listed => ramp(out),
                }
            }
        }
        for (output, &value) in program.outputs.iter().enumerate() {
            let space = spaces.of_value[value as usize] as usize;
            match layout.kinds[space] {
                Kind::Table(_) => numbers(space, self.output_mut(output)),
                Kind::Listed => ramp(self.output_mut(output)),
            }
        }
    }
}

/// The place of an entry in its list, where it is put if it has none yet. Without a branch: whether an
/// entry is new cannot be foretold. The list has room for one more than its entries.
#[inline(always)]
fn number(places: &mut [u32], list: &mut [u32], count: &mut u32, id: u32) -> u32 {
    let place = &mut places[id as usize];
    let is_new = *place == NOWHERE;
    list[*count as usize] = id;
    *place = if is_new { *count } else { *place };
    *count += u32::from(is_new);
    *place
}

/// Where entries of a space are put.
struct Listing<'a> {
    places: &'a mut [u32],
    list: &'a mut [u32],
    count: &'a mut u32,
}

/// What each listed entry becomes: its number in a table, or its place in a list.
#[inline(always)]
fn follow(list: &[u32], map: impl Fn(u32) -> u32, out: &mut [u32], to: Option<Listing<'_>>) {
    let out = out.iter_mut().zip(list);
    match to {
        None => out.for_each(|(out, &id)| *out = map(id)),
        Some(Listing { places, list, count }) => {
            out.for_each(|(out, &id)| *out = number(places, list, count, map(id)));
        }
    }
}

/// What finding works in: for each entry of interned data its place in the batch, [`NOWHERE`] between
/// batches; and for each listed space its entries.
pub(super) struct Lists<'a> {
    pub(super) places: &'a mut [u32],
    pub(super) entries: &'a mut [u32],
}

/// The buffers of [`Lists`], of one worker.
#[derive(Default)]
pub(in crate::engine::cpu) struct ListBuffers {
    places: Vec<u32>,
    entries: Vec<u32>,
}

impl ListBuffers {
    /// Makes room.
    pub(super) fn reserve(&mut self, places: usize, entries: usize) {
        if self.places.len() < places {
            self.places.resize(places, NOWHERE);
        }
        if self.entries.len() < entries {
            self.entries.resize(entries, 0);
        }
    }

    pub(super) fn lists(&mut self) -> Lists<'_> {
        let (mut places, mut entries) = (&mut self.places[..], &mut self.entries[..]);
        let (count, listed) = (places.len(), entries.len());
        Lists { places: take(&mut places, count), entries: take(&mut entries, listed) }
    }
}
