//! The kernels as plain loops, in any precision: what the vector code is checked against.

use super::{After, Kernels, LANES, Matrix, PARTIAL};
use crate::real::Real;

/// Loops over scalars.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl<T: Real> Kernels<T> for Plain {
    fn matrix_times_lanes(
        self,
        matrix: Matrix<'_, T>,
        bias: &[T],
        input: &[T],
        out: &mut [T],
        after: After<'_, T>,
    ) {
        for (row, out) in out.chunks_exact_mut(LANES).take(matrix.rows).enumerate() {
            out.fill(bias.get(row).copied().unwrap_or_default());
            for (col, input) in input.chunks_exact(LANES).take(matrix.cols).enumerate() {
                let weight = matrix.entries[row * matrix.row_step + col * matrix.col_step];
                out.iter_mut().zip(input).for_each(|(out, &x)| *out += weight * x);
            }
            match after {
                After::Store => {}
                After::Relu => out.iter_mut().for_each(|x| *x = x.max(T::zero())),
                After::Where(tile) => {
                    let values = &tile[row * LANES..][..LANES];
                    let off = out.iter_mut().zip(values).filter(|(_, value)| **value <= T::zero());
                    off.for_each(|(out, _)| *out = T::zero());
                }
            }
        }
    }

    fn add_outer(self, left: &[T], right: &[T], sums: &mut [T]) {
        let pairs = left.chunks_exact(LANES).flat_map(|left| {
            right.chunks_exact(LANES).map(move |right| left.iter().zip(right).map(|(&a, &b)| a * b))
        });
        for (sum, products) in sums.chunks_exact_mut(PARTIAL).zip(pairs) {
            sum[0] += products.sum();
        }
    }

    fn add_rows(self, tile: &[T], sums: &mut [T]) {
        for (sum, row) in sums.chunks_exact_mut(PARTIAL).zip(tile.chunks_exact(LANES)) {
            sum[0] += row.iter().copied().sum();
        }
    }

    fn add_sums(self, sums: &[T], out: &mut [T]) {
        for (out, sum) in out.iter_mut().zip(sums.chunks_exact(PARTIAL)) {
            *out += sum.iter().copied().sum();
        }
    }

    fn rows_to_lanes(self, rows: &[T], entries: usize, tile: &mut [T]) {
        tile[..entries * LANES].fill(T::zero());
        for (lane, row) in rows.chunks_exact(entries).enumerate() {
            for (entry, &value) in row.iter().enumerate() {
                tile[entry * LANES + lane] = value;
            }
        }
    }

    fn lanes_to_rows(self, tile: &[T], entries: usize, rows: &mut [T]) {
        for (lane, row) in rows.chunks_exact_mut(entries).enumerate() {
            for (entry, value) in row.iter_mut().enumerate() {
                *value = tile[entry * LANES + lane];
            }
        }
    }
}
