//! How a program is laid out when its values are evaluated entry by entry.

use std::ops::Range;

use crate::plan::{Op, Program, Spaces};

/// Sub-assignments of the largest table.
const LARGEST_TABLE: u64 = 256;
/// Units up to which a row of them is [`NARROW`] numbers: a vector of AVX2.
pub(super) const NARROW: usize = 8;
/// Rows of wider values are padded to so many numbers: a vector of AVX-512.
const WIDE: usize = 16;
/// Entries whose products are formed at once.
pub(super) const BLOCK: usize = 32;

/// How the entries of a space are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All sub-assignments, an entry each, in the order of their numbers in mixed radix.
    Table(u32),
    /// Those that the batch has.
    Listed,
}

/// Places of everything, for a program and a number of rows.
///
/// A value is a matrix [entries][stride], row-major, an entry's units side by side and zeros after
/// them, so that what an entry reads of another is a run of memory, whichever entry it is.
pub(in crate::engine::cpu) struct Layout {
    /// Whether a row has [`NARROW`] numbers.
    pub(super) narrow: bool,
    pub(super) kinds: Vec<Kind>,
    /// For each projection between tables, what each entry becomes.
    maps: Vec<Vec<u32>>,
    /// For each table, what a state of each of its columns adds to the entry's number.
    radix: Vec<Vec<u32>>,
    /// Where each value's rows begin.
    pub(super) rows: Vec<usize>,
    /// Where each value's scales and exponents begin, one an entry.
    pub(super) entries: Vec<usize>,
    /// Where each projection's results begin that are found batch by batch.
    pub(super) found: Vec<usize>,
    /// Where each space's list begins.
    pub(super) lists: Vec<usize>,
    pub(super) sizes: Sizes,
    /// 0, 1, 2, …
    ramp: Vec<u32>,
}

/// Numbers that a program takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::cpu) struct Sizes {
    /// Of rows of all values, and of gradients as many.
    pub(super) rows: usize,
    /// Of scales and exponents.
    pub(super) entries: usize,
    /// Of results of projections.
    pub(super) found: usize,
    /// Of lists.
    pub(super) lists: usize,
    /// Of what a block of entries forms, and of the widest matrix of weights.
    pub(super) formed: usize,
    pub(super) weights: usize,
}

impl Sizes {
    /// The larger of each.
    pub(super) fn max(self, other: Sizes) -> Sizes {
        Sizes {
            rows: self.rows.max(other.rows),
            entries: self.entries.max(other.entries),
            found: self.found.max(other.found),
            lists: self.lists.max(other.lists),
            formed: self.formed.max(other.formed),
            weights: self.weights.max(other.weights),
        }
    }
}

/// Numbers of a row of so many units.
pub(super) fn stride(narrow: bool, units: usize) -> usize {
    units.next_multiple_of(if narrow { NARROW } else { WIDE })
}

impl Layout {
    /// For batches of at most `rows` rows, of which some lack values if `missing` says so.
    pub(super) fn new(program: &Program, spaces: &Spaces, rows: usize, missing: bool) -> Self {
        let widest = program.widest().max(program.scratch_rows as usize);
        let narrow = widest <= NARROW;
        let limit = LARGEST_TABLE.min(rows as u64);
        let kind = |space: usize| match spaces.domain(space, missing) {
            // A column's states lie in a table already.
            Some(domain) if domain <= limit || spaces.spaces[space].width <= 1 => {
                Kind::Table(domain as u32)
            }
            _ => Kind::Listed,
        };
        let kinds: Vec<Kind> = (0..spaces.spaces.len()).map(kind).collect();
        let most = |kind: &Kind| match *kind {
            Kind::Table(entries) => entries as usize,
            Kind::Listed => rows,
        };
        let most: Vec<usize> = kinds.iter().map(most).collect();
        let radix: Vec<Vec<u32>> = (0..kinds.len())
            .map(|space| match kinds[space] {
                Kind::Table(_) => radix(spaces, space, missing),
                Kind::Listed => Vec::new(),
            })
            .collect();
        let map = |projection: &crate::plan::Projection| {
            let (from, to) = (projection.from as usize, projection.to as usize);
            match kinds[from] {
                Kind::Table(entries) => {
                    let columns = |space: usize| &spaces.spaces[space].columns[..];
                    project(entries, (columns(from), &radix[from]), (columns(to), &radix[to]))
                }
                Kind::Listed => Vec::new(),
            }
        };
        let maps: Vec<Vec<u32>> = spaces.projections.iter().map(map).collect();
        let mut sizes = Sizes { weights: weights(program, narrow), ..Sizes::default() };
        sizes.formed = BLOCK * stride(narrow, widest);
        let take = |at: &mut usize, count: usize| {
            *at += count;
            *at - count
        };
        let space_of = |value: usize| spaces.of_value[value] as usize;
        let values = program.values.iter().enumerate();
        let rows_of = values.clone().map(|(id, value)| {
            take(&mut sizes.rows, most[space_of(id)] * stride(narrow, value.units as usize))
        });
        let rows_of: Vec<usize> = rows_of.collect();
        let entries = values.map(|(id, _)| take(&mut sizes.entries, most[space_of(id)])).collect();
        let count = |space: usize| if kinds[space] == Kind::Listed { most[space] } else { 0 };
        let projections = spaces.projections.iter();
        let found =
            projections.map(|pair| take(&mut sizes.found, count(pair.from as usize))).collect();
        let lists = (0..kinds.len()).map(|space| take(&mut sizes.lists, count(space))).collect();
        let longest = most.iter().copied().max().unwrap_or(0);
        let ramp = (0..longest as u32).collect();
        Layout {
            narrow,
            maps,
            radix,
            rows: rows_of,
            entries,
            found,
            lists,
            sizes,
            ramp,
            kinds,
        }
    }

    /// Numbers of a row of so many units.
    pub(super) fn stride(&self, units: u32) -> usize {
        stride(self.narrow, units as usize)
    }

    /// What the first `entries` entries of a step's output read of an input: their own numbers, or
    /// what a projection made of them.
    pub(super) fn index<'a>(
        &'a self,
        spaces: &Spaces,
        input: usize,
        found: &'a [u32],
        entries: usize,
    ) -> &'a [u32] {
        let through = spaces.through[input];
        if through == crate::plan::NOWHERE {
            return &self.ramp[..entries];
        }
        let through = through as usize;
        match self.kinds[spaces.projections[through].from as usize] {
            Kind::Table(_) => &self.maps[through][..entries],
            Kind::Listed => &found[self.found(through)][..entries],
        }
    }

    /// Where the results of a projection from a listed space lie.
    pub(super) fn found(&self, projection: usize) -> Range<usize> {
        let end = self.found.get(projection + 1).copied().unwrap_or(self.sizes.found);
        self.found[projection]..end
    }

    /// Where the list of a space lies; an empty range for a table.
    pub(super) fn list(&self, space: usize) -> Range<usize> {
        let end = self.lists.get(space + 1).copied().unwrap_or(self.sizes.lists);
        self.lists[space]..end
    }

    /// Adds up the number of a table's entry from the states of its columns: calls `state` with each
    /// column and what it counts for.
    pub(super) fn radix<'a>(
        &'a self,
        spaces: &'a Spaces,
        table: usize,
    ) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        spaces.spaces[table].columns.iter().copied().zip(self.radix[table].iter().copied())
    }
}

/// The place values of a space's columns, the last counting for one.
fn radix(spaces: &Spaces, space: usize, missing: bool) -> Vec<u32> {
    let mut place = 1;
    let columns = spaces.spaces[space].columns.iter().rev();
    let mut radix: Vec<u32> = columns
        .map(|&column| {
            let states = spaces.states[column as usize] + u32::from(missing);
            place *= states;
            place / states
        })
        .collect();
    radix.reverse();
    radix
}

/// What each entry of a table is in a table of some of its columns.
fn project(entries: u32, from: (&[u32], &[u32]), to: (&[u32], &[u32])) -> Vec<u32> {
    let kept: Vec<(u32, u32, u32)> = (from.0.iter().enumerate())
        .filter_map(|(at, column)| {
            let kept = to.0.iter().position(|other| other == column)?;
            let above = if at == 0 { entries } else { from.1[at - 1] };
            Some((from.1[at], above / from.1[at], to.1[kept]))
        })
        .collect();
    let entry = |entry: u32| kept.iter().map(|&(place, states, to)| entry / place % states * to).sum();
    (0..entries).map(entry).collect()
}

/// Numbers of the widest matrix of weights, each row padded, either way up.
fn weights(program: &Program, narrow: bool) -> usize {
    let of_step = |step: &crate::plan::Step| {
        let units = program.values[step.output as usize].units as usize;
        let inputs = program.inputs(step);
        match step.op {
            Op::Sum { .. } | Op::ProductSum { .. } => {
                let width = program.values[inputs[0].value as usize].units as usize;
                (units * stride(narrow, width)).max(width * stride(narrow, units))
            }
            _ => 0,
        }
    };
    program.steps.iter().map(of_step).max().unwrap_or(0)
}
