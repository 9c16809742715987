//! Which rows each step learns from.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws the rows of each step without replacement, each step independently of all others: a function
/// of the seed and the step alone, so that a run can be continued from any step.
#[derive(Clone, Debug)]
pub struct Batches {
    seed: u64,
    rows: usize,
    chosen: Vec<u32>,
    /// A bit a row: whether it is among those chosen.
    marks: Vec<u64>,
}

impl Batches {
    /// Batches of `size` of `rows` rows; of all rows, where there are not more.
    pub fn new(seed: u64, rows: usize, size: usize) -> Self {
        let mut batches = Batches { seed, rows, chosen: Vec::new(), marks: Vec::new() };
        if rows <= size {
            batches.chosen = (0..rows as u32).collect();
        } else {
            batches.chosen = vec![0; size];
            batches.marks = vec![0; rows.div_ceil(64)];
        }
        batches
    }

    /// Rows of a batch.
    pub fn size(&self) -> usize {
        self.chosen.len()
    }

    /// The rows of a step. Time is linear in the batch, whatever the number of rows.
    pub fn draw(&mut self, step: u64) -> &[u32] {
        let size = self.chosen.len();
        if size < self.rows {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(step);
            // Floyd's algorithm: every set of rows is equally likely.
            for (slot, last) in (self.rows - size..self.rows).enumerate() {
                let drawn = rng.random_range(0..=last as u32);
                self.chosen[slot] = if self.mark(drawn) { drawn } else { last as u32 };
                self.mark(self.chosen[slot]);
            }
            for &row in &self.chosen {
                self.marks[row as usize / 64] = 0;
            }
            // In the order of the data, which is the kindest to memory.
            self.chosen.sort_unstable();
        }
        &self.chosen
    }

    /// Marks a row; whether it was not marked before.
    fn mark(&mut self, row: u32) -> bool {
        let (word, bit) = (&mut self.marks[row as usize / 64], 1 << (row % 64));
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_no_row_twice_and_steps_differ() {
        let mut batches = Batches::new(3, 1000, 100);
        let mut seen = Vec::new();
        for step in 0..50 {
            let mut rows = batches.draw(step).to_vec();
            rows.dedup();
            assert_eq!(rows.len(), 100, "step {step}");
            assert!(rows.iter().all(|&row| row < 1000));
            seen.push(rows);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 50);
    }

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let mut one = Batches::new(3, 1000, 10);
        let mut two = one.clone();
        for step in 0..20 {
            one.draw(step);
        }
        assert_eq!(one.draw(7), two.draw(7));
        assert_ne!(one.draw(7), Batches::new(4, 1000, 10).draw(7));
    }

    #[test]
    fn a_training_set_not_larger_than_the_batch_is_used_whole() {
        for size in [5, 6, usize::MAX] {
            assert_eq!(Batches::new(0, 5, size).draw(9), [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn every_set_of_rows_is_equally_likely() {
        let mut batches = Batches::new(1, 5, 3);
        let mut counts = std::collections::BTreeMap::new();
        for step in 0..10_000 {
            *counts.entry(batches.draw(step).to_vec()).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 10);
        // Standard deviation 30 of an expected 1000.
        assert!(counts.values().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    }
}
