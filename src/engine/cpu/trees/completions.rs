//! The greatest tree of each of some rows.

use super::best::Best;
use super::grow::{Ground, Tree};
use super::max_plus::MaxPlus;

/// Some rows and where their answers go.
pub(super) struct Task<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) rows: &'a [u32],
    pub(super) log_best: &'a mut [f64],
    /// [rows][variables].
    pub(super) out: &'a mut [f32],
}

impl Task<'_> {
    /// Follows the greatest trees.
    pub(super) fn run(self, mut passes: MaxPlus<'_>) {
        let Task { ground, rows, log_best, out } = self;
        let width = ground.data.columns();
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
            ground.data.row(row as usize, out);
        }
        let tree = |lane| Tree { lane, to: lane, pick: Best, is_sure: true };
        let mut trees: Vec<Tree<Best>> = (0..rows.len()).map(tree).collect();
        let roots = ground.grow(rows, &mut passes, &mut trees, out);
        let rows = out.chunks_exact_mut(width).zip(log_best);
        for (root, (out, log_best)) in roots.iter().zip(rows) {
            *log_best = root.log;
            if root.log == f64::NEG_INFINITY {
                out.fill(f32::NAN);
            }
        }
    }
}
