//! What a batch took, by how its entries were found.

use std::ops::AddAssign;

use super::{Found, How};
use crate::plan::layout::Kind;

/// Values that the parts below the head were evaluated for, a value of a row or an entry being one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// Entries of tables.
    pub table: u64,
    /// Sub-assignments that were listed by the numbers that interned data gave them.
    pub listed: u64,
    /// Rows of shared parts that were entries of their own.
    pub each: u64,
    /// Rows of parts that were evaluated row by row.
    pub dense: u64,
}

impl AddAssign for Evaluated {
    fn add_assign(&mut self, other: Evaluated) {
        self.table += other.table;
        self.listed += other.listed;
        self.each += other.each;
        self.dense += other.dense;
    }
}

impl How<'_> {
    /// What a shard took of a part that is shared so.
    pub(in crate::engine::cpu) fn evaluated(&self, found: &Found) -> Evaluated {
        let mut taken = Evaluated::default();
        for step in &self.layout.steps {
            let count = match self.layout.kinds[step.output.space] {
                Kind::Table(_) => &mut taken.table,
                Kind::Listed => &mut taken.listed,
                Kind::Each => &mut taken.each,
            };
            *count += found.entries(step.output.space) as u64;
        }
        taken
    }
}
