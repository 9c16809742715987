//! Transposition between rows and lanes.

/// Side of the blocks: as many numbers as registers hold on any machine.
const SIDE: usize = 4;

/// Writes `to[col · to_step + row] = from[row · from_step + col]` for a matrix of `rows` × `cols`.
///
/// Blocks of 4 × 4 are read and written in runs of four; the rim goes number by number.
///
/// # Panics
/// If a slice is too short.
#[inline(always)]
pub fn transpose<T: Copy>(
    (from, from_step): (&[T], usize),
    (to, to_step): (&mut [T], usize),
    rows: usize,
    cols: usize,
) {
    let whole = (rows - rows % SIDE, cols - cols % SIDE);
    for col in (0..whole.1).step_by(SIDE) {
        let (a, rest) = to[col * to_step..].split_at_mut(to_step);
        let (b, rest) = rest.split_at_mut(to_step);
        let (c, d) = rest.split_at_mut(to_step);
        let [a, b, c, d] = [a, b, c, d].map(|to| to[..whole.0].chunks_exact_mut(SIDE));
        for (at, (((a, b), c), d)) in a.zip(b).zip(c).zip(d).enumerate() {
            let from = &from[at * SIDE * from_step + col..];
            // All slices are cut before a number is read, so that no check falls between moves.
            let (w, x) = (&from[..SIDE], &from[from_step..][..SIDE]);
            let (y, z) = (&from[2 * from_step..][..SIDE], &from[3 * from_step..][..SIDE]);
            a.copy_from_slice(&[w[0], x[0], y[0], z[0]]);
            b.copy_from_slice(&[w[1], x[1], y[1], z[1]]);
            c.copy_from_slice(&[w[2], x[2], y[2], z[2]]);
            d.copy_from_slice(&[w[3], x[3], y[3], z[3]]);
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
