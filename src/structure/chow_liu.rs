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
//! is made of intersections, 64 rows at a time. Of variables of many states the rows in the most
//! common one are not looked at: the margins say how many they are.
//!
//! *Determinism.* Of equal pairs the one found first wins, and of equal variables the one with the
//! lowest number, whatever the number of threads.

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
/// Variables that are read together.
const TOGETHER: usize = 64;
/// Stands for a missing value among codes.
const MISSING: u32 = u32::MAX;

/// The edges of the tree, as many as variables but for one, in the order in which they were found.
pub fn tree(data: &Dataset) -> Vec<(VarId, VarId)> {
    let columns = columns(data);
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
    counts: Vec<u32>,
    has_missing: bool,
    /// For each state the set of its rows as bits, [states, words]; empty where there are many.
    sets: Vec<u64>,
    /// For each row its state, or [`MISSING`]; empty where every variable has sets.
    codes: Vec<u32>,
    /// The rows in other states than the most common one, where there are many states.
    uncommon: Vec<u32>,
}

/// All variables.
fn columns(data: &Dataset) -> Vec<Column> {
    let vars: Vec<VarId> = data.variables().ids().collect();
    let mut columns: Vec<Column> = vars
        .par_chunks(TOGETHER)
        .flat_map_iter(|vars| {
            // Row by row, for that is how they lie in memory.
            let mut values = vec![Vec::with_capacity(data.rows()); vars.len()];
            for row in 0..data.rows() {
                for (values, &var) in values.iter_mut().zip(vars) {
                    values.push(data.value(row, var));
                }
            }
            let kinds = vars.iter().map(|&var| data.variables().kind(var));
            kinds.zip(values).map(|(kind, values)| Column::of(kind, &values)).collect::<Vec<_>>()
        })
        .collect();
    if columns.iter().all(|column| !column.sets.is_empty()) {
        columns.iter_mut().for_each(|column| column.codes = Vec::new());
    }
    columns
}

impl Column {
    fn of(kind: VarKind, values: &[Option<f32>]) -> Self {
        let codes = match kind {
            VarKind::Categorical { states } => categories(values, states as usize),
            VarKind::Real => intervals(values),
        };
        let states = codes.iter().filter(|&&code| code != MISSING).max();
        let states = states.map_or(0, |&most| most as usize + 1);
        let mut counts = vec![0; states];
        codes.iter().filter(|&&code| code != MISSING).for_each(|&code| counts[code as usize] += 1);
        let has_missing = codes.contains(&MISSING);
        let (mut sets, mut uncommon) = (Vec::new(), Vec::new());
        if states <= FEW {
            sets = sets_of(&codes, states.max(1));
        } else {
            let common = common(&counts) as u32;
            let rows = codes.iter().enumerate().filter(|(_, code)| **code != common);
            uncommon = rows.map(|(row, _)| row as u32).collect();
        }
        Column { states, counts, has_missing, sets, codes, uncommon }
    }
}

/// The most common state, the first of several.
fn common(counts: &[u32]) -> usize {
    (0..counts.len()).fold(0, |best, state| if counts[state] > counts[best] { state } else { best })
}

/// The state of each row, those that occur numbered in order.
fn categories(values: &[Option<f32>], states: usize) -> Vec<u32> {
    let mut number = vec![MISSING; states];
    values.iter().flatten().for_each(|&value| number[value as usize] = 0);
    let occurring = number.iter_mut().filter(|number| **number != MISSING);
    occurring.enumerate().for_each(|(at, number)| *number = at as u32);
    values.iter().map(|value| value.map_or(MISSING, |value| number[value as usize])).collect()
}

/// The interval that each value lies in.
fn intervals(values: &[Option<f32>]) -> Vec<u32> {
    let mut sorted: Vec<f32> = values.iter().flatten().copied().collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut ends = upper_ends(&sorted);
    ends.dedup();
    let interval = |value: f32| ends.partition_point(|&end| end < value) as u32;
    values.iter().map(|value| value.map_or(MISSING, interval)).collect()
}

/// The greatest values of intervals of about equally many of the sorted values.
fn upper_ends(sorted: &[f32]) -> Vec<f32> {
    let end = |interval: usize| (interval * sorted.len()).div_ceil(INTERVALS);
    (1..=INTERVALS)
        .filter_map(|interval| sorted.get(end(interval).checked_sub(1)?).copied())
        .collect()
}

/// The rows of each state as bits, [states, words].
fn sets_of(codes: &[u32], states: usize) -> Vec<u64> {
    let words = codes.len().div_ceil(64);
    let mut sets = vec![0; states * words];
    for (row, &code) in codes.iter().enumerate().filter(|(_, code)| **code != MISSING) {
        sets[code as usize * words + row / 64] |= 1 << (row % 64);
    }
    sets
}

/// Σ p(a, b) ln(p(a, b) / p(a) p(b)), in nats, never negative.
fn mutual_information(a: &Column, b: &Column) -> f64 {
    if !(a.sets.is_empty() || b.sets.is_empty()) {
        return information(&pulp::Arch::new().dispatch(Intersections { a, b }), b.states);
    }
    // The variable with more rows in one state comes first: fewer rows are left to look at.
    let swap = b.sets.is_empty() && (a.uncommon.len() > b.uncommon.len() || !a.sets.is_empty());
    let (a, b) = if swap { (b, a) } else { (a, b) };
    if a.states * b.states > MOST_PAIRS {
        let pairs = a.codes.iter().zip(&b.codes).map(|(&a, &b)| (a, b));
        let seen = pairs.filter(|&(a, b)| a != MISSING && b != MISSING).collect();
        return information_of_pairs(seen, a.states, b.states);
    }
    let mut table = vec![0; a.states * b.states];
    let mut count = |row: usize| {
        let (a, state) = (a.codes[row], b.codes[row]);
        if a != MISSING && state != MISSING {
            table[a as usize * b.states + state as usize] += 1;
        }
    };
    if a.has_missing || b.has_missing {
        (0..a.codes.len()).for_each(&mut count);
    } else {
        a.uncommon.iter().for_each(|&row| count(row as usize));
        complete_row(&mut table, common(&a.counts), &b.counts);
    }
    information(&table, b.states)
}

/// Fills in one row of a table, in which nothing is counted yet, from the sums of the columns.
fn complete_row(table: &mut [u32], row: usize, sums: &[u32]) {
    let cols = sums.len();
    let mut left = sums.to_vec();
    for row in table.chunks_exact(cols) {
        left.iter_mut().zip(row).for_each(|(left, count)| *left -= count);
    }
    table[row * cols..][..cols].copy_from_slice(&left);
}

/// The table of two columns, [a's states, b's states], from their sets of rows.
struct Intersections<'a> {
    a: &'a Column,
    b: &'a Column,
}

impl WithSimd for Intersections<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u32> {
        let Intersections { a, b } = self;
        let mut table = vec![0; a.states * b.states];
        if table.is_empty() {
            return table;
        }
        // With nothing missing the last row and column of the table are what is left of the margins.
        let derived = !(a.has_missing || b.has_missing);
        let spare = usize::from(derived);
        let words = a.sets.len() / a.states;
        for (i, left) in a.sets.chunks_exact(words).take(a.states - spare).enumerate() {
            let row = &mut table[i * b.states..][..b.states];
            for (entry, right) in
                row.iter_mut().zip(b.sets.chunks_exact(words)).take(b.states - spare)
            {
                *entry = left.iter().zip(right).map(|(a, b)| (a & b).count_ones()).sum();
            }
            if derived {
                row[b.states - 1] = a.counts[i] - row[..b.states - 1].iter().sum::<u32>();
            }
        }
        if derived {
            complete_row(&mut table, a.states - 1, &b.counts);
        }
        table
    }
}

/// The mutual information of a table of counts with rows of `cols` columns.
fn information(table: &[u32], cols: usize) -> f64 {
    let cols = cols.max(1);
    let mut by_col = vec![0u32; cols];
    for row in table.chunks_exact(cols) {
        by_col.iter_mut().zip(row).for_each(|(sum, &count)| *sum += count);
    }
    let total = f64::from(by_col.iter().sum::<u32>());
    let mut sum = 0.0;
    for row in table.chunks_exact(cols) {
        let in_row = f64::from(row.iter().sum::<u32>());
        for (&count, &in_col) in row.iter().zip(&by_col).filter(|(count, _)| **count > 0) {
            let count = f64::from(count);
            sum += count / total * (count * total / (in_row * f64::from(in_col))).ln();
        }
    }
    sum.max(0.0)
}

/// The same of pairs of states of which there are too many for a table.
fn information_of_pairs(mut pairs: Vec<(u32, u32)>, rows: usize, cols: usize) -> f64 {
    let (mut by_row, mut by_col) = (vec![0u32; rows], vec![0u32; cols]);
    for &(a, b) in &pairs {
        by_row[a as usize] += 1;
        by_col[b as usize] += 1;
    }
    pairs.sort_unstable();
    let total = pairs.len() as f64;
    let runs = pairs.chunk_by(|a, b| a == b);
    let sum: f64 = runs
        .map(|run| {
            let (count, (a, b)) = (run.len() as f64, run[0]);
            let expected = f64::from(by_row[a as usize]) * f64::from(by_col[b as usize]);
            count / total * (count * total / expected).ln()
        })
        .sum();
    sum.max(0.0)
}
