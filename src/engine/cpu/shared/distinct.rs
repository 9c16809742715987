//! The rows of a data set that differ.

use super::numbering::{Numbering, mixed};
use crate::data::Dataset;
use crate::ids::{Id, VarId};
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
pub(super) const MISSING: u16 = u16::MAX;

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

    /// The states of the distinct rows in one column.
    pub(super) fn column(&self, var: VarId) -> &[u16] {
        let rows = self.first.len();
        &self.columns[var.index() * rows..(var.index() + 1) * rows]
    }
}

/// A hash of states.
fn hash_of(states: &[u16]) -> u64 {
    let (fours, rest) = states.as_chunks::<4>();
    let four = |states: &[u16]| states.iter().fold(0, |sum, &state| sum << 16 | u64::from(state));
    let hash = fours.iter().fold(1, |hash, states| mixed(hash, four(states)));
    mixed(hash, four(rest))
}
