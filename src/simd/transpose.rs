//! Transposition between rows and lanes.

/// Side of the blocks: four numbers are the widest that any instruction set turns by itself.
const SIDE: usize = 4;

/// Writes `to[col · to_step + row] = from[row · from_step + col]` for a matrix of `rows` × `cols`.
///
/// Blocks of 4 × 4 are turned in registers, which compilers recognise; the rim goes number by number.
///
/// # Panics
/// If a slice is too short.
#[inline(always)]
pub fn transpose<T: Copy + Default>(
    (from, from_step): (&[T], usize),
    (to, to_step): (&mut [T], usize),
    rows: usize,
    cols: usize,
) {
    let whole = (rows - rows % SIDE, cols - cols % SIDE);
    for row in (0..whole.0).step_by(SIDE) {
        for col in (0..whole.1).step_by(SIDE) {
            let mut block = [[T::default(); SIDE]; SIDE];
            for (at, block) in block.iter_mut().enumerate() {
                block.copy_from_slice(&from[(row + at) * from_step + col..][..SIDE]);
            }
            let [a, b, c, d] = block;
            for at in 0..SIDE {
                to[(col + at) * to_step + row..][..SIDE]
                    .copy_from_slice(&[a[at], b[at], c[at], d[at]]);
            }
        }
    }
    for col in 0..cols {
        let first = if col < whole.1 { whole.0 } else { 0 };
        for row in first..rows {
            to[col * to_step + row] = from[row * from_step + col];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_matrix_back_whatever_its_size() {
        for (rows, cols) in [(1, 1), (3, 9), (4, 4), (9, 6), (64, 25)] {
            let matrix: Vec<u32> = (0..rows * cols).collect();
            let (rows, cols) = (rows as usize, cols as usize);
            let (mut turned, mut back) = (vec![0; rows * cols], vec![0; rows * cols]);
            transpose((&matrix, cols), (&mut turned, rows), rows, cols);
            assert!(rows == 1 || cols == 1 || turned[1] == cols as u32);
            transpose((&turned, rows), (&mut back, cols), cols, rows);
            assert_eq!(matrix, back, "{rows}×{cols}");
        }
    }
}
