//! What is read of each row of a batch, row by row, that of all parts side by side.

use rayon::prelude::*;

use crate::plan::LANES;

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
        let entries = self.from(place);
        move |row| entries[row as usize * self.width].into()
    }

    /// Those in one of the places and in the next.
    pub(super) fn two_places(self, place: usize) -> impl Fn(u32) -> [u32; 2] + use<'a> {
        let entries = self.from(place);
        move |row| {
            let own = &entries[row as usize * self.width..][..2];
            [own[0].into(), own[1].into()]
        }
    }

    /// The records from one of the first one's places on; none of a shard without rows.
    fn from(self, place: usize) -> &'a [u16] {
        self.entries.get(place..).unwrap_or_default()
    }
}
