//! A data set, interned: the distinct sub-assignments of each listed space of a part, numbered in the
//! order in which rows have them, and what each becomes under the projections.
//!
//! Numbered so, what many rows share has small numbers, and a batch reads few lines of memory. Where
//! most rows have an entry of their own a map has a line of memory for each of them; what becomes of
//! those lies row by row ([`super::records`]), that of all parts side by side, and a batch reads it in one go.

use super::distinct::{DistinctRows, MISSING};
use super::eight::Index;
use super::numbering::{Half, Pairs};
use crate::plan::layout::{Kind, Layout};
use crate::plan::{Column, NOWHERE, Program, RECORDED, Spaces};

/// What each entry becomes: sixteen bits each, where they suffice.
pub(super) enum Map {
    Short(Vec<u16>),
    Long(Vec<u32>),
    /// What any row that has the entry says in this place of its part's record.
    Recorded(usize),
    /// One of its space's [`Pair`].
    Paired,
}

/// What entries of a space become under both of its projections, if batches are found of them: what is read of
/// one entry lies in one line of memory.
pub(super) enum Pair {
    /// By entry.
    Listed(Vec<[u16; 2]>),
    /// By any row that has the entry, in this place of its part's record and the next.
    Recorded(usize),
    /// Each projection has a map of its own.
    Apart,
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

    /// What each row says, put after what is recorded already.
    fn recorded(column: Vec<u16>, all: &mut Vec<Vec<u16>>) -> Self {
        all.push(column);
        Map::Recorded(all.len() - 1)
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

impl Pair {
    /// Two maps of a space, if they may lie side by side.
    fn of(maps: &mut [Map]) -> Self {
        let [left, right] = maps else { return Pair::Apart };
        let pair = match (&*left, &*right) {
            (Map::Short(lefts), Map::Short(rights)) => {
                let pairs = lefts.iter().zip(rights).map(|(&left, &right)| [left, right]);
                Pair::Listed(pairs.collect())
            }
            (&Map::Recorded(place), &Map::Recorded(next)) if next == place + 1 => {
                Pair::Recorded(place)
            }
            _ => return Pair::Apart,
        };
        (*left, *right) = (Map::Paired, Map::Paired);
        pair
    }

    fn bytes(&self) -> usize {
        match self {
            Pair::Listed(pairs) => size_of_val(&pairs[..]),
            Pair::Recorded(_) | Pair::Apart => 0,
        }
    }
}

/// The sub-assignments of one part.
pub(in crate::engine::cpu) struct Interned {
    /// For each projection from a listed space, what each of its entries becomes.
    maps: Vec<Map>,
    /// For each space, how its projections lie side by side.
    pairs: Vec<Pair>,
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

    /// What entries of a space become under both of its projections.
    pub(super) fn pair(&self, space: usize) -> &Pair {
        &self.pairs[space]
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
        let pairs: usize = self.pairs.iter().map(Pair::bytes).sum();
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
                        Some(column) => Map::recorded(column, &mut recorded),
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
        let mut of_row = |(space, numbers): (usize, &Option<Numbers>)| {
            let numbers = numbers.as_ref().filter(|_| by_rows[space])?;
            if is_listed(space) && numbers.half().is_row {
                return None;
            }
            Some(match numbers.short().filter(|_| record) {
                Some(column) => Map::recorded(column, &mut recorded),
                None => Map::of(numbers.of_row.iter().copied(), numbers.count),
            })
        };
        let of_row = numbers.iter().enumerate().map(&mut of_row).collect();
        let mut pair = |space| match record {
            true => Pair::of(&mut maps[spaces.from_space(space)]),
            false => Pair::Apart,
        };
        let pairs = (0..spaces.spaces.len()).map(&mut pair).collect();
        (Interned { pairs, maps, of_row, counts }, recorded)
    }
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
