//! What interning a data set takes, and how much of it fits within a limit.

use super::layout::{Kind, Layout, Rows};
use super::{Program, Spaces};

/// Bytes of what all parts of a program intern, if all listed spaces are listed.
pub(super) struct Interning {
    /// For each listed space what its entries become.
    maps: Vec<usize>,
    /// For each space the entry of each distinct row.
    of_row: Vec<usize>,
    /// Whether the rows' entries are read in any case.
    is_output: Vec<bool>,
    /// The widest listed space that reads a space and may have an entry a row instead.
    top_reader: Vec<Option<usize>>,
    /// Whether it is listed, and whether it is even where no other is.
    is_listed: Vec<bool>,
    is_small: Vec<bool>,
}

/// A space is recorded if what is projected to it has an entry for every so many rows, at the least: a
/// record takes no more than so many times the memory of a map.
pub(crate) const RECORDED: usize = 4;

/// Bytes of a number below `count`.
fn bytes_of_number(count: usize) -> usize {
    if count <= 1 << 16 { 2 } else { 4 }
}

impl Interning {
    /// `of_parts` are the distinct sub-assignments that each part has of each space in all rows, `distinct`
    /// the rows that differ; `record` says whether what suits is recorded row by row.
    pub(super) fn new(
        (program, spaces): (&Program, &Spaces),
        (layout, known): (&Layout, Rows<'_>),
        of_parts: &[&[usize]],
        (distinct, record): (usize, bool),
    ) -> Self {
        let len = spaces.spaces.len();
        let is_listed: Vec<bool> = layout.kinds.iter().map(|&kind| kind == Kind::Listed).collect();
        let domain = |space| spaces.domain(space, known.missing);
        let small = |space| domain(space).is_some_and(|domain| known.may_be_table(domain));
        let is_small: Vec<bool> = (0..len).map(|space| is_listed[space] && small(space)).collect();
        let of_space = |counts: &[usize], space: usize| match layout.kinds[space] {
            Kind::Table(entries) => bytes_of_number(entries as usize),
            Kind::Listed | Kind::Each => bytes_of_number(counts[space]),
        };
        let (mut maps, mut top_reader) = (vec![0; len], vec![None; len]);
        for pair in &spaces.projections {
            let (from, to) = (pair.from as usize, pair.to as usize);
            if is_listed[from] {
                let map = |counts: &&[usize]| match (of_space(counts, to), record) {
                    (2, true) if counts[from] * RECORDED >= distinct => 2 * distinct,
                    (each, _) => counts[from] * each,
                };
                maps[from] += of_parts.iter().map(map).sum::<usize>();
                if !is_small[from] {
                    top_reader[to] = top_reader[to].max(Some(from));
                }
            }
        }
        let of_row = |space: usize| {
            let own = |counts: &&[usize]| match is_listed[space] && counts[space] == distinct {
                true => 0,
                false => distinct * of_space(counts, space),
            };
            of_parts.iter().map(own).sum()
        };
        let mut is_output = vec![false; len];
        for &value in &program.outputs {
            is_output[spaces.of_value[value as usize] as usize] = true;
        }
        let of_row = (0..len).map(of_row).collect();
        Interning { maps, of_row, is_output, top_reader, is_listed, is_small }
    }

    /// Bytes if spaces of smaller numbers than `interned`, and small ones, alone are listed.
    fn bytes(&self, interned: usize) -> usize {
        let len = self.maps.len();
        let is_listed =
            |&space: &usize| self.is_listed[space] && (space < interned || self.is_small[space]);
        if !(0..len).any(|space| is_listed(&space)) {
            return 0;
        }
        let maps = (0..len).filter(is_listed).map(|space| self.maps[space]);
        let read = |space: &usize| {
            let by_rows = self.top_reader[*space].is_some_and(|top| top >= interned);
            match is_listed(space) {
                true => self.is_output[*space] || by_rows,
                // A table; no other is read by its number.
                false => self.is_output[*space] && !self.is_listed[*space],
            }
        };
        let of_row = (0..self.of_row.len()).filter(read).map(|space| self.of_row[space]);
        maps.chain(of_row).sum()
    }

    /// The most spaces that can be listed in so many bytes, the narrow ones, and the bytes; `None` where
    /// not even the small ones can.
    pub(super) fn within(&self, limit: usize) -> (Option<usize>, usize) {
        let all =
            (0..=self.maps.len()).rev().map(|interned| (Some(interned), self.bytes(interned)));
        let mut within = all.filter(|&(_, bytes)| bytes <= limit);
        within.next().unwrap_or((None, 0))
    }
}

impl Spaces {
    /// The spaces of narrow scopes that rows are read for: those that a space with an entry a row reads,
    /// or that are outputs of the program.
    pub(crate) fn read_by_rows(&self, program: &Program, kinds: &[Kind]) -> Vec<bool> {
        let mut read = vec![false; self.spaces.len()];
        for &value in &program.outputs {
            read[self.of_value[value as usize] as usize] = true;
        }
        for pair in &self.projections {
            let (from, to) = (kinds[pair.from as usize], kinds[pair.to as usize]);
            read[pair.to as usize] |= from == Kind::Each && to == Kind::Listed;
        }
        kinds.iter().zip(read).map(|(&kind, read)| read && kind != Kind::Each).collect()
    }
}
