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
