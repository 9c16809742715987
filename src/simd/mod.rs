//! Kernels on tiles: small dense matrices times many independent lanes.
//!
//! A *tile* is a matrix `[rows][LANES]`, row-major: each column is one sample, or one sector, and no
//! kernel here mixes two columns but those that sum over all of them. Lanes without a tenant hold
//! any finite numbers.
//!
//! Code that runs on tiles is written once, as a [`TileTask`] over [`Kernels`], and [`Lanes::run`]
//! gives it the kernels of its precision: plain loops in `f64`, which the vector code is checked
//! against, and vectors as wide as the machine's in `f32`.

mod exp;
mod plain;
mod transpose;
mod vector;

pub use self::exp::{EXP_LARGEST, EXP_ZERO_BELOW, exp};
pub use self::plain::Plain;
pub use self::transpose::transpose;
pub use self::vector::Vector;
use crate::real::Real;

/// Columns of a tile: four vectors of AVX-512.
pub const LANES: usize = 64;

/// Numbers of a partial sum: those of the widest vector. See [`Kernels::add_outer`].
pub const PARTIAL: usize = 16;

/// A view of a dense matrix, whose entry (row, col) is `entries[row · row_step + col · col_step]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The entries, and maybe others between them.
    pub entries: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// From one row to the next.
    pub row_step: usize,
    /// From one column to the next.
    pub col_step: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix without gaps.
    pub fn row_major(entries: &'a [T], rows: usize, cols: usize) -> Self {
        Matrix { entries, rows, cols, row_step: cols, col_step: 1 }
    }

    /// From the first entry of a row to one past its last.
    fn reach(&self) -> usize {
        (self.cols * self.col_step + 1).saturating_sub(self.col_step)
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix {
            entries: self.entries,
            rows: self.cols,
            cols: self.rows,
            row_step: self.col_step,
            col_step: self.row_step,
        }
    }
}

/// What becomes of each number of a product before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After<'a, T> {
    /// Nothing.
    Store,
    /// max(x, 0).
    Relu,
    /// x where the same place of this tile is above zero, 0 elsewhere: the gradient of a ReLU, whose
    /// value the tile holds.
    Where(&'a [T]),
}

/// The part of scratch that begins at the first address at which no vector of this machine straddles
/// two lines of its cache. It loses fewer than [`PARTIAL`] numbers.
pub fn align<T>(scratch: &mut [T]) -> &mut [T] {
    let skip = scratch.as_ptr().align_offset(64).min(scratch.len());
    &mut scratch[skip..]
}

/// Takes the first `len` numbers off `rest`.
///
/// # Panics
/// If there are fewer.
pub fn take<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(rest).split_at_mut(len);
    *rest = tail;
    head
}

/// Operations on tiles in one precision and with one instruction set.
pub trait Kernels<T: Real>: Copy {
    /// out = matrix · input + bias, for each lane. `input` is `[cols][LANES]`, `out` is
    /// `[rows][LANES]`, and `bias`, if not empty, has a number a row.
    fn matrix_times_lanes(
        self,
        matrix: Matrix<'_, T>,
        bias: &[T],
        input: &[T],
        out: &mut [T],
        after: After<'_, T>,
    );

    /// Adds `left` · `right`ᵀ, two tiles, to partial sums `[rows of left][rows of right][PARTIAL]`,
    /// which [`Kernels::add_sums`] brings to an end. Partial sums let many tiles be summed without
    /// adding across a vector for each.
    fn add_outer(self, left: &[T], right: &[T], sums: &mut [T]);

    /// Adds each row of a tile to partial sums `[rows][PARTIAL]`.
    fn add_rows(self, tile: &[T], sums: &mut [T]);

    /// Adds the total of each partial sum to `out`, which has a number for each.
    fn add_sums(self, sums: &[T], out: &mut [T]);

    /// Fills a tile `[entries][LANES]` from at most [`LANES`] rows of so many entries; lanes beyond
    /// the rows become zero.
    fn rows_to_lanes(self, rows: &[T], entries: usize, tile: &mut [T]);

    /// The reverse of [`Kernels::rows_to_lanes`]: writes as many rows as `rows` holds.
    fn lanes_to_rows(self, tile: &[T], entries: usize, rows: &mut [T]);
}

/// Code on tiles, for any kernels.
pub trait TileTask<T: Real> {
    /// What it returns.
    type Output;

    /// Runs it. Implementations must be `#[inline(always)]`, and so must what they call, or the
    /// kernels are compiled without the instructions they are for.
    fn run<K: Kernels<T>>(self, kernels: K) -> Self::Output;
}

/// A precision that has kernels on tiles.
pub trait Lanes: Real {
    /// Runs a task with the best kernels that this machine has for the precision.
    fn run<Task: TileTask<Self>>(task: Task) -> Task::Output;
}

impl Lanes for f64 {
    fn run<Task: TileTask<f64>>(task: Task) -> Task::Output {
        task.run(Plain)
    }
}

impl Lanes for f32 {
    fn run<Task: TileTask<f32>>(task: Task) -> Task::Output {
        pulp::Arch::new().dispatch(vector::Dispatched(task))
    }
}
