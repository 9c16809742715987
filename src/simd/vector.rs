//! The kernels in single precision on vectors of any width, by way of `pulp`.
//!
//! Products are blocked in registers: up to six rows of the result at once, over as many lanes as
//! leave a register for each accumulator. Rows are cut evenly, since a last block of one or two rows
//! would wait on its own additions.

use pulp::{Simd, WithSimd};

use super::{After, Kernels, LANES, Matrix, PARTIAL, Plain, TileTask, transpose};

/// Kernels on vectors of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Vector<S>(pub S);

/// Lets a [`TileTask`] be dispatched by `pulp`.
pub(super) struct Dispatched<Task>(pub(super) Task);

impl<Task: TileTask<f32>> WithSimd for Dispatched<Task> {
    type Output = Task::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        if S::IS_SCALAR { self.0.run(Plain) } else { self.0.run(Vector(simd)) }
    }
}

/// The most rows of a block in registers.
const ROWS: usize = 6;

impl<S: Simd> Kernels<f32> for Vector<S> {
    #[inline(always)]
    fn matrix_times_lanes(
        self,
        matrix: Matrix<'_, f32>,
        bias: &[f32],
        input: &[f32],
        out: &mut [f32],
        after: After<'_, f32>,
    ) {
        let (input, _) = S::as_simd_f32s(&input[..matrix.cols * LANES]);
        let blocks = matrix.rows.div_ceil(ROWS);
        let mut first = 0;
        for block in 0..blocks {
            let rows = matrix.rows / blocks + usize::from(block < matrix.rows % blocks);
            let product = Product { simd: self.0, matrix, bias, input, after, first };
            let (out, _) = S::as_mut_simd_f32s(&mut out[first * LANES..(first + rows) * LANES]);
            match rows {
                1 => product.rows::<1>(out),
                2 => product.rows::<2>(out),
                3 => product.rows::<3>(out),
                4 => product.rows::<4>(out),
                5 => product.rows::<5>(out),
                _ => product.rows::<ROWS>(out),
            }
            first += rows;
        }
    }

    #[inline(always)]
    fn add_outer(self, left: &[f32], right: &[f32], sums: &mut [f32]) {
        let cols = right.len() / LANES;
        let outer = Outer { simd: self.0, right: S::as_simd_f32s(right).0, cols };
        let tiles = left.chunks(OUTER * LANES);
        for (left, sums) in tiles.zip(sums.chunks_mut(OUTER * cols * PARTIAL)) {
            match left.len() / LANES {
                1 => outer.rows::<1>(left, sums),
                2 => outer.rows::<2>(left, sums),
                3 => outer.rows::<3>(left, sums),
                _ => outer.rows::<OUTER>(left, sums),
            }
        }
    }

    #[inline(always)]
    fn add_rows(self, tile: &[f32], sums: &mut [f32]) {
        for (row, sum) in tile.chunks_exact(LANES).zip(sums.chunks_exact_mut(PARTIAL)) {
            let sum = &mut S::as_mut_simd_f32s(sum).0[0];
            for &vector in S::as_simd_f32s(row).0 {
                *sum = self.0.add_f32s(*sum, vector);
            }
        }
    }

    #[inline(always)]
    fn add_sums(self, sums: &[f32], out: &mut [f32]) {
        for (out, sum) in out.iter_mut().zip(sums.chunks_exact(PARTIAL)) {
            *out += self.0.reduce_sum_f32s(S::as_simd_f32s(sum).0[0]);
        }
    }

    #[inline(always)]
    fn rows_to_lanes(self, rows: &[f32], entries: usize, tile: &mut [f32]) {
        let live = rows.len() / entries;
        if live < LANES {
            tile[..entries * LANES].fill(0.0);
        }
        transpose((rows, entries), (tile, LANES), live, entries);
    }

    #[inline(always)]
    fn lanes_to_rows(self, tile: &[f32], entries: usize, rows: &mut [f32]) {
        let live = rows.len() / entries;
        transpose((tile, LANES), (rows, entries), entries, live);
    }
}

/// Some rows of a product.
struct Product<'a, S: Simd> {
    simd: S,
    matrix: Matrix<'a, f32>,
    bias: &'a [f32],
    input: &'a [S::f32s],
    after: After<'a, f32>,
    first: usize,
}

impl<S: Simd> Product<'_, S> {
    #[inline(always)]
    fn rows<const R: usize>(&self, out: &mut [S::f32s]) {
        let mut lane = 0;
        while lane < LANES / S::F32_LANES {
            if S::REGISTER_COUNT >= 32 {
                self.block::<R, 4>(lane, out);
                lane += 4;
            } else {
                self.block::<R, 2>(lane, out);
                lane += 2;
            }
        }
    }

    /// R rows of V vectors of lanes, of which `lane` is the first.
    #[inline(always)]
    fn block<const R: usize, const V: usize>(&self, lane: usize, out: &mut [S::f32s]) {
        let Product { simd, matrix, .. } = *self;
        let width = LANES / S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        if !self.bias.is_empty() {
            for (sums, &bias) in sums.iter_mut().zip(&self.bias[self.first..]) {
                *sums = [simd.splat_f32s(bias); V];
            }
        }
        // Each row from its first entry to its last, so that one index serves all of them.
        let mut rows = [matrix.entries; R];
        for (row, entries) in rows.iter_mut().enumerate() {
            *entries = &entries[(self.first + row) * matrix.row_step..][..matrix.reach()];
        }
        for (col, input) in self.input.chunks_exact(width).enumerate() {
            let mut x = [simd.splat_f32s(0.0); V];
            x.copy_from_slice(&input[lane..lane + V]);
            for (row, sums) in rows.iter().zip(&mut sums) {
                let weight = simd.splat_f32s(row[col * matrix.col_step]);
                for (sum, &x) in sums.iter_mut().zip(&x) {
                    *sum = simd.mul_add_e_f32s(weight, x, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let out = &mut out[row * width + lane..][..V];
            for (vector, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
                *out = self.finish((self.first + row) * width + lane + vector, sum);
            }
        }
    }

    #[inline(always)]
    fn finish(&self, at: usize, sum: S::f32s) -> S::f32s {
        let zero = self.simd.splat_f32s(0.0);
        match self.after {
            After::Store => sum,
            After::Relu => self.simd.max_f32s(sum, zero),
            After::Where(tile) => {
                let value = S::as_simd_f32s(tile).0[at];
                self.simd.select_f32s(self.simd.greater_than_f32s(value, zero), sum, zero)
            }
        }
    }
}

/// Rows, and columns, of an outer product in registers at once.
const OUTER: usize = 4;

/// Rows of an outer product.
struct Outer<'a, S: Simd> {
    simd: S,
    right: &'a [S::f32s],
    cols: usize,
}

impl<S: Simd> Outer<'_, S> {
    #[inline(always)]
    fn rows<const R: usize>(&self, left: &[f32], sums: &mut [f32]) {
        let left = S::as_simd_f32s(left).0;
        let mut col = 0;
        while col + OUTER <= self.cols {
            self.block::<R, OUTER>(left, col, sums);
            col += OUTER;
        }
        while col < self.cols {
            self.block::<R, 1>(left, col, sums);
            col += 1;
        }
    }

    #[inline(always)]
    fn block<const R: usize, const C: usize>(
        &self,
        left: &[S::f32s],
        first: usize,
        sums: &mut [f32],
    ) {
        let simd = self.simd;
        let width = LANES / S::F32_LANES;
        let step = PARTIAL / S::F32_LANES;
        let sums = S::as_mut_simd_f32s(sums).0;
        let mut block = [[simd.splat_f32s(0.0); C]; R];
        for vector in 0..width {
            let mut right = [simd.splat_f32s(0.0); C];
            for (col, right) in right.iter_mut().enumerate() {
                *right = self.right[(first + col) * width + vector];
            }
            for (row, block) in block.iter_mut().enumerate() {
                let left = left[row * width + vector];
                for (sum, &right) in block.iter_mut().zip(&right) {
                    *sum = simd.mul_add_e_f32s(left, right, *sum);
                }
            }
        }
        for (row, block) in block.iter().enumerate() {
            for (col, &sum) in block.iter().enumerate() {
                let at = (row * self.cols + first + col) * step;
                sums[at] = simd.add_f32s(sums[at], sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Lanes, align};

    /// Numbers of either sign.
    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 613) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// Every kernel once, on matrices of one size.
    struct All {
        rows: usize,
        cols: usize,
    }

    impl TileTask<f32> for All {
        type Output = Vec<Vec<f32>>;

        #[inline(always)]
        fn run<K: Kernels<f32>>(self, kernels: K) -> Self::Output {
            let All { rows, cols } = self;
            let (entries, bias) = (numbers(rows * cols, 1), numbers(rows, 2));
            let matrix = Matrix::row_major(&entries, rows, cols);
            let (left, right) = (numbers(rows * LANES, 3), numbers(cols * LANES, 4));
            let mut results = Vec::new();
            for (bias, after) in
                [(&[][..], After::Store), (&bias, After::Relu), (&bias, After::Where(&left))]
            {
                let mut out = vec![f32::NAN; rows * LANES];
                kernels.matrix_times_lanes(matrix, bias, &right, &mut out, after);
                results.push(out);
            }
            let mut out = vec![f32::NAN; cols * LANES];
            kernels.matrix_times_lanes(matrix.transposed(), &[], &left, &mut out, After::Store);
            results.push(out);
            let mut sums = vec![0.0; (rows * cols + rows) * PARTIAL];
            let (outer, row_sums) = sums.split_at_mut(rows * cols * PARTIAL);
            kernels.add_outer(&left, &right, outer);
            kernels.add_rows(&left, row_sums);
            let mut totals = vec![1.0; rows * cols + rows];
            kernels.add_sums(&sums, &mut totals);
            results.push(totals);
            for live in [1, 17, LANES] {
                let packed = numbers(live * cols, 5);
                let (mut tile, mut back) =
                    (vec![f32::NAN; cols * LANES], vec![f32::NAN; live * cols]);
                kernels.rows_to_lanes(&packed, cols, &mut tile);
                kernels.lanes_to_rows(&tile, cols, &mut back);
                results.extend([tile, back]);
            }
            results
        }
    }

    #[test]
    fn vector_kernels_agree_with_plain_loops_on_matrices_of_any_size() {
        for (rows, cols) in [(1, 1), (2, 5), (5, 3), (7, 16), (13, 4), (20, 20), (25, 17), (6, 33)]
        {
            let (plain, vector) = (All { rows, cols }.run(Plain), f32::run(All { rows, cols }));
            assert_eq!(plain.len(), vector.len());
            for (kernel, (plain, vector)) in plain.iter().zip(&vector).enumerate() {
                for (at, (a, b)) in plain.iter().zip(vector).enumerate() {
                    assert!((a - b).abs() < 1e-4, "{rows}×{cols}, result {kernel}, {at}: {a}, {b}");
                }
            }
        }
    }

    #[test]
    fn scratch_is_aligned_and_loses_less_than_a_vector() {
        let mut scratch = [0.0f32; 100];
        for skip in 0..PARTIAL {
            let aligned = align(&mut scratch[skip..]);
            assert_eq!(aligned.as_ptr().addr() % 64, 0);
            assert!(aligned.len() > 100 - skip - PARTIAL);
        }
    }
}
