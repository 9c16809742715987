//! A data set, interned: the distinct sub-assignments of each listed space of a part, numbered in the
//! order in which rows have them, and what each becomes under the projections.
//!
//! Numbered so, what many rows share has small numbers, and a batch reads few lines of memory. Where
//! most rows have an entry of their own a map has a line of memory for each of them; what becomes of
//! those lies row by row ([`Records`]), that of all parts side by side, and a batch reads it in one go.

use rayon::prelude::*;

use super::eight::Index;
use super::numbering::{Half, Numbering, Pairs, mixed};
use crate::data::Dataset;
use crate::ids::{Id, VarId};
use crate::plan::layout::{Kind, Layout};
use crate::plan::{Column, LANES, NOWHERE, Program, RECORDED, Spaces};
use crate::simd::transpose;

/// The distinct rows of a data set, by column.
pub(in crate::engine::cpu) struct DistinctRows {
    /// The number of each row.
    pub(in crate::engine::cpu) number: Vec<u32>,
    /// A row for each number.
    pub(in crate::engine::cpu) first: Vec<u32>,
    /// States of the distinct rows, [columns][rows]; [`MISSING`] where there is none.
    columns: Vec<u16>,
}

/// A state that is missing.
const MISSING: u16 = u16::MAX;

impl DistinctRows {
    /// `None` where a variable is no category that sixteen bits can tell, or where they would take more
    /// than `limit` bytes.
    pub(in crate::engine::cpu) fn of(data: &Dataset, limit: usize) -> Option<Self> {
        let discrete = |var: VarId| match data.variables().kind(var) {
            crate::variables::VarKind::Categorical { states } => states < u32::from(MISSING),
            crate::variables::VarKind::Real => false,
        };
        if !data.variables().ids().all(discrete) {
            return None;
        }
        let width = data.columns();
        let bytes = |distinct| DistinctRows::bytes_of(data.rows(), distinct, width);
        if bytes(0) > limit {
            return None;
        }
        let mut known = Numbering::new(data.rows());
        let (mut number, mut first) = (Vec::with_capacity(data.rows()), Vec::new());
        // States of the distinct rows, row by row.
        let mut states: Vec<u16> = Vec::new();
        let (mut values, mut own) = (vec![0.0; width], vec![0; width]);
        for row in 0..data.rows() {
            data.row(row, &mut values);
            let state = |x: f32| if x.is_nan() { MISSING } else { x as u16 };
            own.iter_mut().zip(&values).for_each(|(own, &x)| *own = state(x));
            let is = |other: u32| states[other as usize * width..][..width] == own[..];
            let (distinct, is_new) = known.number(hash_of(&own), is);
            if is_new {
                first.push(row as u32);
                states.extend(&own);
                if bytes(first.len()) > limit {
                    return None;
                }
            }
            number.push(distinct);
        }
        let mut columns = vec![0; states.len()];
        transpose((&states, width), (&mut columns, first.len()), first.len(), width);
        first.shrink_to_fit();
        Some(DistinctRows { number, first, columns })
    }

    /// What differs among so many rows, or all, spread over the data.
    pub(super) fn sample(&self, rows: usize) -> Vec<u32> {
        self.spread(0, rows)
    }

    /// Several such batches, each of other rows where there are enough.
    pub(super) fn batches(&self, rows: usize, count: usize) -> Vec<Vec<u32>> {
        let step = self.step(rows);
        let count = count.min(step);
        (0..count).map(|first| self.spread(first * step / count, rows)).collect()
    }

    /// How far the rows of a batch are apart.
    fn step(&self, rows: usize) -> usize {
        (self.number.len() / rows.max(1)).max(1)
    }

    fn spread(&self, first: usize, rows: usize) -> Vec<u32> {
        let numbers = self.number.iter().skip(first).step_by(self.step(rows)).take(rows);
        let mut spread: Vec<u32> = numbers.copied().collect();
        spread.sort_unstable();
        spread.dedup();
        spread
    }

    /// Bytes that so many distinct rows take, and their places in a batch.
    fn bytes_of(rows: usize, distinct: usize, columns: usize) -> usize {
        4 * (rows + 2 * distinct) + 2 * distinct * columns
    }

    /// Bytes that they take, and their places in a batch.
    pub(super) fn bytes(&self) -> usize {
        let distinct = self.first.len();
        DistinctRows::bytes_of(self.number.len(), distinct, self.columns.len() / distinct.max(1))
    }

    /// Forgets the states of rows, once all is interned that will be; the bytes that are left.
    pub(super) fn forget_states(&mut self) -> usize {
        self.columns = Vec::new();
        4 * (self.number.len() + self.first.len())
    }

    fn column(&self, var: VarId) -> &[u16] {
        let rows = self.first.len();
        &self.columns[var.index() * rows..(var.index() + 1) * rows]
    }
}

/// What each entry becomes: sixteen bits each, where they suffice.
pub(super) enum Map {
    Short(Vec<u16>),
    Long(Vec<u32>),
    /// What any row that has the entry says in this place of its part's record.
    Recorded(usize),
    /// One of its space's pairs.
    Paired,
}

impl Default for Map {
    fn default() -> Self {
        Map::Short(Vec::new())
    }
}

impl Map {
    /// Of entries below `count`.
    fn of(entries: impl Iterator<Item = u32>, count: usize) -> Self {
        match count <= 1 << 16 {
            true => Map::Short(entries.map(|entry| entry as u16).collect()),
            false => Map::Long(entries.collect()),
        }
    }

    /// What entries read by it, of a data set that is evaluated whole.
    #[inline]
    pub(super) fn index(&self) -> Index<'_> {
        match self {
            Map::Short(map) => Index::Short(map),
            Map::Long(map) => Index::Long(map),
            // What batches are found of alone is recorded row by row, or lies in pairs.
            Map::Recorded(_) | Map::Paired => Index::Same,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Map::Short(entries) => 2 * entries.len(),
            Map::Long(entries) => 4 * entries.len(),
            Map::Recorded(_) | Map::Paired => 0,
        }
    }
}

/// For each distinct row the entries that it has in some spaces of each part, [rows][width].
pub(in crate::engine::cpu) struct Records {
    /// Where each part's begin in a row.
    parts: Vec<usize>,
    width: usize,
    entries: Vec<u16>,
}

impl Records {
    /// Of the columns of each part.
    pub(super) fn of(parts: &[Vec<Vec<u16>>]) -> Self {
        let mut width = 0;
        let first = |columns: &Vec<Vec<u16>>| {
            width += columns.len();
            width - columns.len()
        };
        let first = parts.iter().map(first).collect();
        let columns: Vec<&[u16]> = parts.iter().flatten().map(|column| &column[..]).collect();
        let mut entries = vec![0; columns.first().map_or(0, |column| column.len()) * width];
        entries.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, record)| {
            record.iter_mut().zip(&columns).for_each(|(entry, column)| *entry = column[row]);
        });
        Records { parts: first, width, entries }
    }

    /// Copies the records of some rows, in parallel.
    pub(in crate::engine::cpu) fn read(&self, rows: &[u32], out: &mut Vec<u16>) {
        out.resize(rows.len() * self.width, 0);
        let out = out.par_chunks_mut(self.width.max(1)).with_min_len(LANES);
        out.zip(rows).for_each(|(out, &row)| {
            out.copy_from_slice(&self.entries[row as usize * self.width..][..self.width]);
        });
    }

    /// What a part has in records of rows that were read.
    pub(super) fn part<'a>(&self, part: usize, read: &'a [u16]) -> Record<'a> {
        Record { entries: read.get(self.parts[part]..).unwrap_or_default(), width: self.width }
    }

    /// Numbers of a row's record.
    pub(in crate::engine::cpu) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn bytes(&self) -> usize {
        2 * self.entries.len() + Records::fixed_bytes(self.parts.len())
    }

    /// Bytes of empty records of so many parts.
    pub(super) fn fixed_bytes(parts: usize) -> usize {
        size_of::<usize>() * parts
    }
}

/// What one part has in the records of a batch's rows.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    entries: &'a [u16],
    width: usize,
}

impl<'a> Record<'a> {
    /// The entry of each row, by row, in one of the places.
    pub(super) fn place(self, place: usize) -> impl Fn(u32) -> u32 + use<'a> {
        // None of a shard without rows.
        let entries = self.entries.get(place..).unwrap_or_default();
        move |row| entries[row as usize * self.width].into()
    }
}

/// The sub-assignments of one part.
pub(in crate::engine::cpu) struct Interned {
    /// For each projection from a listed space, what each of its entries becomes.
    maps: Vec<Map>,
    /// What each entry becomes under both projections of a space, side by side, if batches are found of
    /// them: what is read of one entry lies in one line of memory. Empty for other spaces.
    pairs: Vec<Vec<[u16; 2]>>,
    /// For each space that rows are read for, the entry of each distinct row; none where they are the
    /// same.
    of_row: Vec<Option<Map>>,
    /// Entries of each listed space.
    counts: Vec<usize>,
}

impl Interned {
    /// What an entry becomes.
    pub(super) fn map(&self, projection: usize) -> &Map {
        &self.maps[projection]
    }

    /// What entries of a space become under its two projections, if that lies in pairs.
    pub(super) fn pairs(&self, space: usize) -> Option<&[[u16; 2]]> {
        Some(&self.pairs[space][..]).filter(|pairs| !pairs.is_empty())
    }

    /// The entries of a space that rows are read for, by distinct row; `None` for the row's own number.
    pub(super) fn of_row(&self, space: usize) -> Option<&Map> {
        self.of_row[space].as_ref()
    }

    /// Entries of a listed space.
    pub(super) fn entries(&self, space: usize) -> usize {
        self.counts[space]
    }

    /// Those of the listed space that has most.
    pub(super) fn most_entries(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self.of_row.iter().flatten().map(Map::bytes).sum();
        let pairs: usize = self.pairs.iter().map(|pairs| size_of_val(&pairs[..])).sum();
        rows + pairs + self.maps.iter().map(Map::bytes).sum::<usize>()
    }

    /// Bytes of its lists of lists besides.
    pub(super) fn list_bytes(&self) -> usize {
        let lists = size_of_val(&self.maps[..]) + size_of_val(&self.pairs[..]);
        lists + size_of_val(&self.of_row[..]) + size_of_val(&self.counts[..])
    }

    /// How many sub-assignments of each space some distinct rows have.
    pub(super) fn count(
        spaces: &Spaces,
        columns: &[Column],
        rows: &DistinctRows,
        sample: &[u32],
    ) -> Vec<usize> {
        let mut pairs = Pairs::default();
        let mut numbers: Vec<Numbers> = Vec::with_capacity(spaces.spaces.len());
        for (space, halves) in spaces.halves.iter().enumerate() {
            let own = match (halves, &spaces.spaces[space].columns[..]) {
                ([NOWHERE, _], [column]) => match columns[*column as usize] {
                    Column::Variable(var) => {
                        let states = rows.column(var);
                        let states = sample.iter().map(|&row| u32::from(states[row as usize]));
                        let states = Numbers::of_table(states.collect(), 1 << 16);
                        Numbers::listed(pairs.number(states.half(), states.half()))
                    }
                    Column::Fixed(_) => Numbers::listed((vec![0; sample.len()], vec![0])),
                },
                ([NOWHERE, _], _) => Numbers::listed((vec![0; sample.len()], vec![0])),
                (&[left, right], _) => {
                    let half =
                        |half: u32| numbers[spaces.projections[half as usize].to as usize].half();
                    Numbers::listed(pairs.number(half(left), half(right)))
                }
            };
            numbers.push(own);
        }
        numbers.iter().map(|numbers| numbers.first.len()).collect()
    }

    /// With `record`, what to keep of the part row by row too.
    pub(super) fn of(
        (program, spaces, layout): (&Program, &Spaces, &Layout),
        columns: &[Column],
        rows: &DistinctRows,
        record: bool,
    ) -> (Self, Vec<Vec<u16>>) {
        let reader = Reader { spaces, layout, columns, rows };
        // A space's numbers are forgotten when the last that is made of them is made.
        let mut uses = vec![0; spaces.spaces.len()];
        let is_listed = |space: usize| layout.kinds[space] == Kind::Listed;
        let read = spaces.projections.iter().filter(|pair| is_listed(pair.from as usize));
        read.for_each(|pair| uses[pair.to as usize] += 1);
        let by_rows = spaces.read_by_rows(program, &layout.kinds);
        uses.iter_mut().zip(&by_rows).for_each(|(uses, &read)| *uses += usize::from(read));
        let mut numbers: Vec<Option<Numbers>> = (0..spaces.spaces.len()).map(|_| None).collect();
        let mut maps: Vec<Map> = spaces.projections.iter().map(|_| Map::default()).collect();
        let mut counts = vec![0; spaces.spaces.len()];
        let mut recorded = Vec::new();
        let mut pairs = Pairs::default();
        for space in 0..spaces.spaces.len() {
            if uses[space] == 0 {
                continue;
            }
            if let Kind::Table(count) = layout.kinds[space] {
                numbers[space] = Some(reader.table(space, count));
                continue;
            }
            let [left, right] = spaces.halves[space].map(|half| {
                let to = spaces.projections[half as usize].to as usize;
                numbers[to].as_ref().map_or(NOTHING.half(), Numbers::half)
            });
            let own = Numbers::listed(pairs.number(left, right));
            counts[space] = own.count;
            for projection in spaces.from_space(space) {
                let to = spaces.projections[projection].to as usize;
                if let Some(below) = &numbers[to] {
                    let many = record && own.count * RECORDED >= rows.first.len();
                    maps[projection] = match below.short().filter(|_| many) {
                        Some(column) => {
                            recorded.push(column);
                            Map::Recorded(recorded.len() - 1)
                        }
                        None => {
                            let entries = own.first.iter().map(|&row| below.of_row[row as usize]);
                            Map::of(entries, below.count)
                        }
                    };
                }
                uses[to] -= 1;
                if uses[to] == 0 {
                    numbers[to] = None;
                }
            }
            numbers[space] = Some(own);
        }
        let of_row = (0..spaces.spaces.len()).map(|space| {
            let numbers = numbers[space].as_ref().filter(|_| by_rows[space])?;
            let same = is_listed(space) && numbers.half().is_row;
            (!same).then(|| Map::of(numbers.of_row.iter().copied(), numbers.count))
        });
        let pairs = (0..spaces.spaces.len()).map(|space| match record {
            true => pair(&mut maps[spaces.from_space(space)]),
            false => Vec::new(),
        });
        let pairs = pairs.collect();
        (Interned { pairs, maps, of_row: of_row.collect(), counts }, recorded)
    }
}

/// Lays two short maps side by side.
fn pair(maps: &mut [Map]) -> Vec<[u16; 2]> {
    let [left, right] = maps else { return Vec::new() };
    let (Map::Short(lefts), Map::Short(rights)) = (&*left, &*right) else { return Vec::new() };
    let pairs = lefts.iter().zip(rights).map(|(&left, &right)| [left, right]).collect();
    (*left, *right) = (Map::Paired, Map::Paired);
    pairs
}

/// The entries of one space.
struct Numbers {
    /// Of each distinct row.
    of_row: Vec<u32>,
    /// A row that has it, for each entry; none of a table.
    first: Vec<u32>,
    count: usize,
}

/// Those of no space.
static NOTHING: Numbers = Numbers { of_row: Vec::new(), first: Vec::new(), count: 0 };

impl Numbers {
    /// Of a listed space: the entry of each row, and a row for each entry.
    fn listed((of_row, first): (Vec<u32>, Vec<u32>)) -> Self {
        Numbers { count: first.len(), of_row, first }
    }

    /// Of a table.
    fn of_table(of_row: Vec<u32>, count: usize) -> Self {
        Numbers { of_row, first: Vec::new(), count }
    }

    fn half(&self) -> Half<'_> {
        let Numbers { of_row, first, count } = self;
        Half { of_row, count: *count, is_row: first.len() == of_row.len() }
    }

    /// The entry of each row, if sixteen bits suffice for all.
    fn short(&self) -> Option<Vec<u16>> {
        self.of_row.iter().map(|&entry| entry.try_into().ok()).collect()
    }
}

struct Reader<'a> {
    spaces: &'a Spaces,
    layout: &'a Layout,
    columns: &'a [Column],
    rows: &'a DistinctRows,
}

impl Reader<'_> {
    /// The entry of a table that each row has.
    fn table(&self, space: usize, count: u32) -> Numbers {
        let mut of_row = vec![0; self.rows.first.len()];
        for (column, worth) in self.layout.radix(self.spaces, space) {
            let missing = self.spaces.states[column as usize];
            match self.columns[column as usize] {
                Column::Fixed(value) => of_row.iter_mut().for_each(|e| *e += value as u32 * worth),
                Column::Variable(var) => {
                    for (entry, &state) in of_row.iter_mut().zip(self.rows.column(var)) {
                        let state = if state == MISSING { missing } else { u32::from(state) };
                        *entry += state * worth;
                    }
                }
            }
        }
        Numbers::of_table(of_row, count as usize)
    }
}

/// A hash of states.
fn hash_of(states: &[u16]) -> u64 {
    let (fours, rest) = states.as_chunks::<4>();
    let four = |states: &[u16]| states.iter().fold(0, |sum, &state| sum << 16 | u64::from(state));
    let hash = fours.iter().fold(1, |hash, states| mixed(hash, four(states)));
    mixed(hash, four(rest))
}
