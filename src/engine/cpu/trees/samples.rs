//! Rows drawn given others. Where nothing is observed there is nothing to evaluate: a tree is drawn by the
//! weights alone. Else trees are drawn by mantissas, and where these do not decide, by the logarithms of the
//! same row with the same random numbers: so whether a tree is drawn again says nothing about the tree, and
//! what is drawn is what the log domain alone would have drawn.

use super::super::row_logs::RowLogs;
use super::super::tile::Workspace;
use super::draw::Draw;
use super::follow::{Course, Follower, Values};
use super::grow::{Ground, Root, Tree};
use super::linear::Linear;
use super::values::{Logs, Ones};
use crate::plan::LANES;

/// Some draws, one after the other.
pub(super) struct Task<'a> {
    pub(super) ground: Ground<'a>,
    /// The rows given.
    pub(super) rows: &'a [u32],
    /// How many draws each has, and the first of these.
    pub(super) each: usize,
    pub(super) first: usize,
    pub(super) seed: u64,
    /// [draws][variables].
    pub(super) out: &'a mut [f32],
}

/// What became of a task.
#[derive(Default)]
pub(super) struct Drawn {
    /// The rows given that it came to, and ln p of each.
    pub(super) log_p: Vec<(usize, f64)>,
    /// Draws in the log domain.
    pub(super) in_logs: usize,
}

impl Task<'_> {
    /// Draws them.
    pub(super) fn run(mut self, workspace: &mut Workspace) -> Drawn {
        let width = self.ground.data.columns();
        let mut drawn = Drawn::default();
        let (mut lanes, mut trees): (Vec<usize>, _) = (Vec::new(), Vec::new());
        for to in 0..self.out.len() / width {
            let number = self.first + to;
            let given = number / self.each;
            let row = &mut self.out[to * width..(to + 1) * width];
            self.ground.data.row(self.rows[given] as usize, row);
            if !self.ground.ways.has_fixed && row.iter().all(|x| x.is_nan()) {
                drawn.is_new(given, 0.0);
                let values = |_| Ones;
                let pick = Draw::exactly(self.seed, number as u64);
                self.ground.draw(values, pick, row);
                continue;
            }
            if lanes.last() != Some(&given) {
                lanes.push(given);
            }
            let pick = Draw::roughly(self.seed, number as u64);
            trees.push(Tree { lane: lanes.len() - 1, to, pick, is_sure: true });
        }
        self.grow(&lanes, trees, workspace, &mut drawn);
        drawn
    }

    /// Draws the trees of rows of which something is observed, the numbers of these being `lanes`.
    fn grow(
        &mut self,
        lanes: &[usize],
        mut trees: Vec<Tree<Draw>>,
        workspace: &mut Workspace,
        drawn: &mut Drawn,
    ) {
        if lanes.is_empty() {
            return;
        }
        let rows: Vec<u32> = lanes.iter().map(|&given| self.rows[given]).collect();
        let handed = self.ground.handed(rows.len().div_ceil(LANES));
        let mut passes = Linear { workspace, handed };
        let mut roots = self.ground.grow(&rows, &mut passes, &mut trees, self.out);
        for of_row in trees.chunk_by(|a, b| a.lane == b.lane) {
            let root = &mut roots[of_row[0].lane];
            if of_row.iter().any(|tree| !tree.is_sure) {
                self.draw_in_logs(rows[of_row[0].lane], of_row, root, drawn);
            }
            if root.log == f64::NEG_INFINITY {
                let width = self.ground.data.columns();
                let first = of_row[0].to * width;
                self.out[first..first + of_row.len() * width].fill(f32::NAN);
            }
        }
        drawn.log_p.extend(lanes.iter().zip(&roots).map(|(&given, root)| (given, root.log)));
    }

    /// Draws the trees of a row that are not sure.
    fn draw_in_logs(&mut self, row: u32, trees: &[Tree<Draw>], root: &mut Root, drawn: &mut Drawn) {
        let Ground { engine, data, .. } = self.ground;
        let tile = engine.tile_of(data, row);
        let RowLogs { rows, logs } = RowLogs::new(engine, &tile);
        if let (false, Some(head), Some(logs)) = (root.is_sure, rows.last(), logs.last()) {
            root.log = logs[head.output_range(0).start];
        }
        if root.log == f64::NEG_INFINITY {
            return;
        }
        let width = data.columns();
        for tree in trees.iter().filter(|tree| !tree.is_sure) {
            let out = &mut self.out[tree.to * width..(tree.to + 1) * width];
            data.row(row as usize, out);
            let pick = Draw::exactly(self.seed, (self.first + tree.to) as u64);
            self.ground.draw(|number| Logs(&logs[number]), pick, out);
            drawn.in_logs += 1;
        }
    }
}

impl Drawn {
    fn is_new(&mut self, given: usize, log_p: f64) {
        if self.log_p.last().is_none_or(|&(last, _)| last != given) {
            self.log_p.push((given, log_p));
        }
    }
}

impl Ground<'_> {
    /// Draws one tree, given the values of all parts, of which the head is the last.
    pub(super) fn draw<V: Values>(
        &self,
        values: impl Fn(usize) -> V,
        mut pick: Draw,
        row: &mut [f32],
    ) {
        let mut follower = Follower::default();
        let mut reached = Vec::new();
        let course = |number| (self.numbered(number, &[]), values(number));
        let (of, values) = course(self.head());
        let head = Course { of, values: &values };
        follower.follow(&head, 0, (0, 0), &mut pick, row, |part| reached.push(part));
        reached.sort_by_key(|reached| std::cmp::Reverse(reached.part));
        for part in reached {
            let (of, values) = course(part.part as usize);
            let (course, from) = (Course { of, values: &values }, (part.output, part.unit));
            follower.follow(&course, 0, from, &mut pick, row, |_| {});
        }
    }
}
