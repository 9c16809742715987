//! Which entries of each space a batch needs, and what they are in the spaces below.
//!
//! From the widest space down: the outputs' entries are given by the rows, and each entry names, by the
//! projections, those that its inputs need. Entries that are named again have their place already. All
//! that name entries of a space are wider, so one space after the other is done, and the places of a
//! single one are looked up at a time.

use std::ops::Range;

use super::interned::{Interned, Map, Pair};
use super::records::Record;
use crate::plan::layout::{Kind, Layout, Sizes};
use crate::plan::{Column, LANES, Program, Spaces};

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

    /// For rows of interned data.
    pub(super) fn listed(&mut self, of: &Listed<'_>, read: &States<'_>, lists: &mut ListBuffers) {
        self.rows = of.rows.len();
        let to = |&projection: &u32| of.spaces.projections[projection as usize].to as usize;
        let mut into = of.layout.by_target().chunk_by(|a, b| to(a) == to(b)).rev().peekable();
        let mut from = of.spaces.projections.len();
        for space in (0..of.layout.kinds.len()).rev() {
            let after = from;
            from = of.spaces.first_before(space, after);
            let into = into.next_if(|into| to(&into[0]) == space).unwrap_or_default();
            self.number(space, into, of, read, lists);
            if of.layout.kinds[space] == Kind::Listed {
                let list = &lists.entries[of.layout.list(space)][..self.counts[space] as usize];
                self.project(space, from..after, list, of);
            }
        }
    }

    /// Gives the entries of a space places: those of rows, and those that wider spaces' entries become.
    fn number(
        &mut self,
        space: usize,
        into: &[u32],
        of: &Listed<'_>,
        read: &States<'_>,
        ListBuffers { places, entries }: &mut ListBuffers,
    ) {
        let &Listed { program, spaces, layout, interned, rows, records } = of;
        let kind = layout.kinds[space];
        let (own, wider) = entries.split_at_mut(layout.list(space).end);
        let mut listing = (kind == Kind::Listed).then(|| Listing {
            places: &mut places[..interned.entries(space)],
            list: &mut own[layout.list(space).start..],
            count: 0,
        });
        for (output, &value) in program.outputs.iter().enumerate() {
            if spaces.of_value[value as usize] as usize == space {
                let out = &mut self.outputs[output * self.most..][..rows.len()];
                match kind {
                    Kind::Each => ramp(out),
                    _ => number_rows(interned.of_row(space), (rows, records), out, &mut listing),
                }
            }
        }
        for &projection in into {
            let from = spaces.projections[projection as usize].from as usize;
            let out = &mut self.through[layout.found(projection as usize)];
            match (layout.kinds[from], kind) {
                (Kind::Table(_), _) => {}
                (Kind::Each, Kind::Table(_)) => {
                    read.numbers(spaces, layout, space, &mut out[..rows.len()]);
                }
                (Kind::Each, Kind::Each) => ramp(&mut out[..rows.len()]),
                (Kind::Each, Kind::Listed) => {
                    let of_row = interned.of_row(space);
                    number_rows(of_row, (rows, records), &mut out[..rows.len()], &mut listing);
                }
                (Kind::Listed, _) => {
                    // What entries become was written when the last of them was listed.
                    let Some(listing) = &mut listing else { continue };
                    let first = layout.list(from).start - layout.list(space).end;
                    let list = &wider[first..][..self.counts[from] as usize];
                    for (out, entry) in out.iter_mut().zip(list) {
                        *out = listing.number(Entry { id: *out, row: entry.row });
                    }
                }
            }
        }
        self.counts[space] = match (kind, listing) {
            (Kind::Table(count), _) => count,
            (Kind::Each, _) => rows.len() as u32,
            (Kind::Listed, listing) => listing.map_or(0, Listing::finish),
        };
    }

    /// Writes what the entries of a listed space become under its projections, by the numbers that interned
    /// data give them.
    fn project(
        &mut self,
        space: usize,
        projections: Range<usize>,
        list: &[Entry],
        &Listed { layout, interned, records, .. }: &Listed<'_>,
    ) {
        match interned.pair(space) {
            Pair::Listed(pairs) => {
                let of = |entry: &Entry| pairs[entry.id as usize].map(u32::from);
                return self.project_both(projections.start, layout, list, of);
            }
            Pair::Recorded(place) => {
                let of_row = records.two_places(*place);
                return self
                    .project_both(projections.start, layout, list, |entry| of_row(entry.row));
            }
            Pair::Apart => {}
        }
        for projection in projections {
            let out = self.through[layout.found(projection)].iter_mut().zip(list);
            match interned.map(projection) {
                Map::Short(map) => {
                    out.for_each(|(out, entry)| *out = map[entry.id as usize].into())
                }
                Map::Long(map) => out.for_each(|(out, entry)| *out = map[entry.id as usize]),
                Map::Recorded(place) => {
                    let of_row = records.place(*place);
                    out.for_each(|(out, entry)| *out = of_row(entry.row));
                }
                // Both were written.
                Map::Paired => {}
            }
        }
    }

    /// Writes what entries become under a projection and the next, the two of a space.
    #[inline(always)]
    fn project_both(
        &mut self,
        first: usize,
        layout: &Layout,
        list: &[Entry],
        of: impl Fn(&Entry) -> [u32; 2],
    ) {
        let [left, right] = [first, first + 1].map(|projection| layout.found(projection));
        let (lefts, rights) = self.through[left.start..right.end].split_at_mut(left.len());
        for ((left, right), entry) in lefts.iter_mut().zip(rights).zip(list) {
            [*left, *right] = of(entry);
        }
    }

    /// For rows as they come, of which nothing is interned.
    pub(super) fn each(
        &mut self,
        (program, spaces, layout): (&Program, &Spaces, &Layout),
        read: &States<'_>,
        rows: usize,
    ) {
        self.rows = rows;
        for (space, kind) in layout.kinds.iter().enumerate() {
            self.counts[space] = match *kind {
                Kind::Table(count) => count,
                Kind::Listed | Kind::Each => rows as u32,
            };
        }
        let find = |space: usize, out: &mut [u32]| match layout.kinds[space] {
            Kind::Table(_) => read.numbers(spaces, layout, space, out),
            Kind::Listed | Kind::Each => ramp(out),
        };
        for (projection, pair) in spaces.projections.iter().enumerate() {
            if layout.kinds[pair.from as usize] == Kind::Each {
                let out = &mut self.through[layout.found(projection)][..rows];
                find(pair.to as usize, out);
            }
        }
        for (output, &value) in program.outputs.iter().enumerate() {
            find(spaces.of_value[value as usize] as usize, self.output_mut(output));
        }
    }
}

/// What entries of interned data are found of.
pub(super) struct Listed<'a> {
    pub(super) program: &'a Program,
    pub(super) spaces: &'a Spaces,
    pub(super) layout: &'a Layout,
    pub(super) interned: &'a Interned,
    /// Numbers of the rows among the distinct ones, and what the part has in their records.
    pub(super) rows: &'a [u32],
    pub(super) records: Record<'a>,
}

/// The states of the rows of a shard.
pub(super) struct States<'a> {
    pub(super) columns: &'a [Column],
    /// Tiles, each of `tile` numbers, [variables][LANES].
    pub(super) data: &'a [f32],
    pub(super) tile: usize,
}

impl States<'_> {
    /// The entry of a table that each row has.
    fn numbers(&self, spaces: &Spaces, layout: &Layout, table: usize, out: &mut [u32]) {
        out.fill(0);
        for (column, worth) in layout.radix(spaces, table) {
            let states = spaces.states[column as usize];
            let state = |x: f32| if x.is_nan() { states } else { x as u32 };
            match self.columns[column as usize] {
                Column::Fixed(value) => {
                    out.iter_mut().for_each(|out| *out += state(value) * worth);
                }
                Column::Variable(var) => {
                    let tiles = self.data.chunks_exact(self.tile);
                    for (out, tile) in out.chunks_mut(LANES).zip(tiles) {
                        let values = &tile[var.0 as usize * LANES..][..LANES];
                        out.iter_mut().zip(values).for_each(|(o, &x)| *o += state(x) * worth);
                    }
                }
            }
        }
    }
}

/// 0, 1, 2, …
fn ramp(out: &mut [u32]) {
    out.iter_mut().zip(0..).for_each(|(out, row)| *out = row);
}

/// An entry that is listed.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Its number among those of the data.
    id: u32,
    /// A row of the batch that has it.
    row: u32,
}

/// Where entries of a space are put.
struct Listing<'a> {
    /// For each entry of the data its place in the list, or [`NOWHERE`].
    places: &'a mut [u32],
    /// The list; there is room for an entry more than it may have.
    list: &'a mut [Entry],
    count: u32,
}

impl Listing<'_> {
    /// The place of an entry in the list, where it is put if it has none yet. Without a branch, for
    /// whether an entry is new cannot be foretold: a place that is known is less than the next one, and
    /// [`NOWHERE`] is more.
    #[inline(always)]
    fn number(&mut self, entry: Entry) -> u32 {
        let known = &mut self.places[entry.id as usize];
        let place = self.count.min(*known);
        self.list[self.count as usize] = entry;
        self.count += u32::from(*known == NOWHERE);
        *known = place;
        place
    }

    /// Forgets the places; the number of entries.
    fn finish(self) -> u32 {
        let list = &self.list[..self.count as usize];
        list.iter().for_each(|entry| self.places[entry.id as usize] = NOWHERE);
        self.count
    }
}

/// The entry of a space that each row reads, given those of the data's distinct rows, `rows` of which there are
/// here; its own number if there are none.
fn number_rows(
    of_row: Option<&Map>,
    (rows, records): (&[u32], Record<'_>),
    out: &mut [u32],
    to: &mut Option<Listing<'_>>,
) {
    match of_row {
        Some(Map::Short(of_row)) => {
            number_each(|_, number| of_row[number as usize].into(), rows, out, to);
        }
        Some(Map::Long(of_row)) => number_each(|_, number| of_row[number as usize], rows, out, to),
        Some(Map::Recorded(place)) => {
            let of_row = records.place(*place);
            number_each(|row, _| of_row(row), rows, out, to);
        }
        // What a row reads is no projection, so it is in no pair.
        Some(Map::Paired) | None => number_each(|_, number| number, rows, out, to),
    }
}

/// Gives each row its entry, as told by its place among the rows and by its number, or that entry's place in the
/// list.
#[inline(always)]
fn number_each(
    id: impl Fn(u32, u32) -> u32,
    rows: &[u32],
    out: &mut [u32],
    to: &mut Option<Listing<'_>>,
) {
    let entries = rows.iter().zip(0..).map(|(&number, row)| Entry { id: id(row, number), row });
    let out = out.iter_mut().zip(entries);
    match to {
        Some(to) => out.for_each(|(out, entry)| *out = to.number(entry)),
        None => out.for_each(|(out, entry)| *out = entry.id),
    }
}

/// What one worker finds in: for each entry of a space of interned data its place in the batch,
/// [`NOWHERE`] in between; and for each listed space its entries.
#[derive(Default)]
pub(in crate::engine::cpu) struct ListBuffers {
    places: Vec<u32>,
    entries: Vec<Entry>,
}

impl ListBuffers {
    /// Makes room.
    pub(super) fn reserve(&mut self, places: usize, entries: usize) {
        if self.places.len() < places {
            self.places.resize(places, NOWHERE);
        }
        if self.entries.len() < entries {
            self.entries.resize(entries, Entry::default());
        }
    }
}
