//! The Chow–Liu tree of data (Chow and Liu 1968, Approximating Discrete Probability Distributions with
//! Dependence Trees): the maximum spanning tree under the mutual information of each two variables.
//!
//! Mutual information is that of the empirical distribution, over the rows that have both values, in
//! nats. A real variable counts by which of a few intervals of about equally many rows a value lies
//! in, so that tables of mixed kinds have one measure.
//!
//! *Cost.* Prim's algorithm takes up one variable after the other and needs its mutual information
//! with those outside alone, so each pair is looked at once, in parallel, and nothing of the size of
//! all pairs is kept. Variables of few states are sets of rows, one a state, as bits: a pair's table
//! is made of intersections, 64 rows at a time.
//!
//! *Determinism.* Of equal pairs the one found first wins, and of equal variables the one with the
//! lowest number, whatever the number of threads.

use std::borrow::Cow;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::data::Dataset;
use crate::ids::{Id, VarId};
use crate::variables::VarKind;

/// Intervals that a real variable is cut into at most.
const INTERVALS: usize = 8;
/// States of a variable that is kept as sets of rows, at most.
const FEW: usize = 16;
/// Entries of a table of pairs that is counted in place, at most.
const MOST_PAIRS: usize = 1 << 16;
/// Stands for a missing value among codes.
const MISSING: u32 = u32::MAX;

/// The edges of the tree, as many as variables but for one, in the order in which they were found.
pub fn tree(data: &Dataset) -> Vec<(VarId, VarId)> {
    let columns: Vec<Column> = data
        .variables()
        .ids()
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|var| Column::of(data, var))
        .collect();
    let mut outside: Vec<Outside> =
        (1..columns.len()).map(|var| Outside { var, best: f64::NEG_INFINITY, to: 0 }).collect();
    let mut edges = Vec::with_capacity(outside.len());
    let mut last = 0;
    while !outside.is_empty() {
        outside.par_iter_mut().for_each(|candidate| {
            let information = mutual_information(&columns[last], &columns[candidate.var]);
            if information > candidate.best {
                (candidate.best, candidate.to) = (information, last);
            }
        });
        let first = Outside { var: usize::MAX, best: f64::NEG_INFINITY, to: 0 };
        let (at, next) = outside.iter().enumerate().fold((0, first), |best, (at, &candidate)| {
            let better = candidate.best > best.1.best
                || candidate.best == best.1.best && candidate.var < best.1.var;
            if better { (at, candidate) } else { best }
        });
        outside.swap_remove(at);
        edges.push((VarId::from_index(next.to), VarId::from_index(next.var)));
        last = next.var;
    }
    edges
}

/// A variable that is not in the tree yet, and how it would best be joined to it.
#[derive(Clone, Copy)]
struct Outside {
    var: usize,
    best: f64,
    to: usize,
}

/// The values of a variable as states.
struct Column {
    states: usize,
    /// Rows in each state.
    counts: Vec<u64>,
    has_missing: bool,
    rows: Rows,
}

/// The states by row, or the rows by state.
enum Rows {
    /// For each row its state, or [`MISSING`].
    Codes(Vec<u32>),
    /// For each state the set of its rows, [states, words].
    Sets(Vec<u64>),
}

impl Column {
    fn of(data: &Dataset, var: VarId) -> Self {
        let values: Vec<Option<f32>> = (0..data.rows()).map(|row| data.value(row, var)).collect();
        let mut levels: Vec<f32> = values.iter().flatten().copied().collect();
        levels.sort_unstable_by(f32::total_cmp);
        if data.variables().kind(var) == VarKind::Real {
            levels = upper_ends(&levels);
        }
        levels.dedup();
        // The state of a value is its place among the values that occur, or among the intervals.
        let code = |value: f32| levels.partition_point(|&level| level < value) as u32;
        let codes: Vec<u32> = values.iter().map(|value| value.map_or(MISSING, code)).collect();
        let states = levels.len();
        let mut counts = vec![0; states];
        codes.iter().filter(|&&code| code != MISSING).for_each(|&code| counts[code as usize] += 1);
        let has_missing = values.iter().any(Option::is_none);
        let rows =
            if states <= FEW { Rows::Sets(sets(&codes, states)) } else { Rows::Codes(codes) };
        Column { states, counts, has_missing, rows }
    }

    /// The state of a row.
    fn codes(&self, rows: usize) -> Cow<'_, [u32]> {
        match &self.rows {
            Rows::Codes(codes) => codes.into(),
            Rows::Sets(sets) => {
                let words = rows.div_ceil(64);
                let mut codes = vec![MISSING; rows];
                for state in 0..self.states {
                    for row in 0..rows {
                        if sets[state * words + row / 64] >> (row % 64) & 1 == 1 {
                            codes[row] = state as u32;
                        }
                    }
                }
                codes.into()
            }
        }
    }
}

/// The greatest values of intervals of about equally many of the sorted values.
fn upper_ends(sorted: &[f32]) -> Vec<f32> {
    let end = |interval: usize| (interval * sorted.len()).div_ceil(INTERVALS);
    (1..=INTERVALS)
        .filter_map(|interval| sorted.get(end(interval).checked_sub(1)?).copied())
        .collect()
}

/// The rows of each state as bits, [states, words].
fn sets(codes: &[u32], states: usize) -> Vec<u64> {
    let words = codes.len().div_ceil(64);
    let mut sets = vec![0; states * words];
    for (row, &code) in codes.iter().enumerate().filter(|(_, code)| **code != MISSING) {
        sets[code as usize * words + row / 64] |= 1 << (row % 64);
    }
    sets
}

/// Σ p(a, b) ln(p(a, b) / p(a) p(b)), in nats, never negative.
fn mutual_information(a: &Column, b: &Column) -> f64 {
    match (&a.rows, &b.rows) {
        (Rows::Sets(left), Rows::Sets(right)) => {
            let task = Intersections { a, b, left, right };
            information(&pulp::Arch::new().dispatch(task), b.states)
        }
        (Rows::Codes(codes), _) | (_, Rows::Codes(codes)) => {
            let rows = codes.len();
            let (left, right) = (a.codes(rows), b.codes(rows));
            let pairs =
                left.iter().zip(right.iter()).filter(|(a, b)| **a != MISSING && **b != MISSING);
            let pairs = pairs.map(|(&a, &b)| (a as usize, b as usize));
            if a.states * b.states <= MOST_PAIRS {
                let mut table = vec![0; a.states * b.states];
                pairs.for_each(|(a_state, b_state)| table[a_state * b.states + b_state] += 1);
                information(&table, b.states)
            } else {
                information_of_pairs(pairs.collect(), a.states, b.states)
            }
        }
    }
}

/// The table of two columns, [a's states, b's states], from their sets of rows.
struct Intersections<'a> {
    a: &'a Column,
    b: &'a Column,
    left: &'a [u64],
    right: &'a [u64],
}

impl WithSimd for Intersections<'_> {
    type Output = Vec<u64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u64> {
        let Intersections { a, b, left, right } = self;
        let mut table = vec![0; a.states * b.states];
        // With nothing missing the last row and column of the table are what is left of the margins.
        let derived = !(a.has_missing || b.has_missing || table.is_empty());
        let spare = usize::from(derived);
        let words = left.len() / a.states.max(1);
        for (i, left) in left.chunks_exact(words.max(1)).take(a.states - spare).enumerate() {
            for (j, right) in right.chunks_exact(words.max(1)).take(b.states - spare).enumerate() {
                let both = left.iter().zip(right).map(|(a, b)| u64::from((a & b).count_ones()));
                table[i * b.states + j] = both.sum();
            }
        }
        if derived {
            let last = b.states - 1;
            for (row, &count) in table.chunks_exact_mut(b.states).zip(&a.counts) {
                row[last] = count - row[..last].iter().sum::<u64>();
            }
            for (state, &count) in b.counts.iter().enumerate() {
                let above: u64 = table[state..].iter().step_by(b.states).take(a.states - 1).sum();
                table[(a.states - 1) * b.states + state] = count - above;
            }
        }
        table
    }
}

/// The mutual information of a table of counts with rows of `cols` columns.
fn information(table: &[u64], cols: usize) -> f64 {
    let cols = cols.max(1);
    let mut by_col = vec![0u64; cols];
    for row in table.chunks_exact(cols) {
        by_col.iter_mut().zip(row).for_each(|(sum, &count)| *sum += count);
    }
    let total = by_col.iter().sum::<u64>() as f64;
    let mut sum = 0.0;
    for row in table.chunks_exact(cols) {
        let in_row = row.iter().sum::<u64>() as f64;
        for (&count, &in_col) in row.iter().zip(&by_col).filter(|(count, _)| **count > 0) {
            let count = count as f64;
            sum += count / total * (count * total / (in_row * in_col as f64)).ln();
        }
    }
    sum.max(0.0)
}

/// The same of pairs of states of which there are too many for a table.
fn information_of_pairs(mut pairs: Vec<(usize, usize)>, rows: usize, cols: usize) -> f64 {
    let (mut by_row, mut by_col) = (vec![0u64; rows], vec![0u64; cols]);
    for &(a, b) in &pairs {
        by_row[a] += 1;
        by_col[b] += 1;
    }
    pairs.sort_unstable();
    let total = pairs.len() as f64;
    let runs = pairs.chunk_by(|a, b| a == b);
    let sum: f64 = runs
        .map(|run| {
            let (count, (a, b)) = (run.len() as f64, run[0]);
            count / total * (count * total / (by_row[a] as f64 * by_col[b] as f64)).ln()
        })
        .sum();
    sum.max(0.0)
}
