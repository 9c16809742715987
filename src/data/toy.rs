//! The paper's hand-made data set (HyperSPN, appendix): 256 binary variables whose correlation
//! decays with their distance in a binary tree.

use std::ops::Range;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::variables::Variables;

use super::Dataset;
use super::store::Builder;

/// Binary variables.
const COLUMNS: usize = 256;
/// Rows before the split.
const ROWS: usize = 10_000;
/// Times that noise is added: the levels of a binary tree over the variables.
const LEVELS: usize = 8;
/// Half the width of the noise.
const NOISE: f64 = 0.2;

/// One data set in three parts.
#[derive(Clone, Debug)]
pub struct Splits {
    /// Rows to learn from.
    pub train: Dataset,
    /// Rows to select a checkpoint by.
    pub valid: Dataset,
    /// Rows to report on.
    pub test: Dataset,
}

/// Draws the data set: 10,000 rows, shuffled and split into 7,000, 1,000 and 2,000. The same seed
/// gives the same bits.
pub fn toy(seed: u64) -> Splits {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows: Vec<[bool; COLUMNS]> = (0..ROWS).map(|_| draw_row(&mut rng)).collect();
    rows.shuffle(&mut rng);
    let variables = Variables::binary(COLUMNS);
    let part = |range: Range<usize>| binary_rows(&variables, &rows[range]);
    Splits { train: part(0..7_000), valid: part(7_000..8_000), test: part(8_000..ROWS) }
}

/// One row. Each level hands the number of a position down to two neighbours and adds fresh noise
/// to all, so the earlier two variables part, the less they share. A probability may leave [0, 1]
/// and then acts as the nearer bound.
fn draw_row(rng: &mut ChaCha8Rng) -> [bool; COLUMNS] {
    let mut p_zero = [0.5; COLUMNS];
    for _ in 0..LEVELS {
        let parents = p_zero;
        for (column, p) in p_zero.iter_mut().enumerate() {
            *p = parents[column / 2] + rng.random_range(-NOISE..NOISE);
        }
    }
    p_zero.map(|p| rng.random::<f64>() >= p)
}

fn binary_rows(variables: &Variables, rows: &[[bool; COLUMNS]]) -> Dataset {
    let mut builder = Builder::new(variables);
    for row in rows {
        for &value in row {
            builder.push(Some(f32::from(u8::from(value))));
        }
        builder.end_row();
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Id, VarId};

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let splits = toy(1);
        insta::assert_snapshot!(splits.train.fingerprint(), @"eb8caa777680d92999d3cd93d2794316002f1bf6f3921c43b7786f0eeedb40e4");
        insta::assert_snapshot!(splits.valid.fingerprint(), @"ee251837e8c05b2fba87bce42eeff74057e52fedba2d0901130408f9ca2cd27c");
        insta::assert_snapshot!(splits.test.fingerprint(), @"d3380cf1bfecad8d2d09daac50b98407cf765fcd85b782a2346a12faff6e0f98");
        assert_ne!(toy(2).train.fingerprint(), splits.train.fingerprint());
    }

    #[test]
    fn the_split_is_seven_to_one_to_two() {
        let splits = toy(3);
        let rows = [splits.train, splits.valid, splits.test].map(|part| part.rows());
        assert_eq!(rows, [7_000, 1_000, 2_000]);
    }

    #[test]
    fn every_variable_is_one_half_of_the_time_and_correlates_the_more_the_nearer() {
        let train = toy(4).train;
        let column = |index: usize| -> Vec<f32> {
            let var = VarId::from_index(index);
            (0..train.rows()).filter_map(|row| train.value(row, var)).collect()
        };
        let columns: Vec<Vec<f32>> = (0..COLUMNS).map(column).collect();
        // Five standard errors of a mean of 7,000 fair coins.
        for (index, column) in columns.iter().enumerate() {
            let mean = column.iter().sum::<f32>() / column.len() as f32;
            assert!((mean - 0.5).abs() < 0.03, "mean {mean} of column {index}");
        }
        // Variables that share the noise of 7 levels, of 4, and of none.
        let covariance = |distance: usize| {
            let pairs = (0..COLUMNS).filter(|index| index & distance == 0);
            let each = pairs.map(|index| {
                let both = columns[index].iter().zip(&columns[index + distance]);
                both.map(|(a, b)| (a - 0.5) * (b - 0.5)).sum::<f32>() / train.rows() as f32
            });
            each.sum::<f32>() / (COLUMNS / 2) as f32
        };
        let [near, middle, far] = [1, 8, 128].map(covariance);
        assert!(near > middle + 0.02 && middle > far + 0.02, "{near} {middle} {far}");
    }
}
