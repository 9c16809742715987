//! The trees of some rows: all parts forward, the head forward, and from there down; then each part that
//! trees have reached forward again, over tiles of the rows whose trees have, and down.
//!
//! A mixture of many parts sends each tree into few of them, so that going forward again costs little.

use std::cmp::Reverse;

use super::super::CpuExecutable;
use super::super::outputs::At;
use super::super::ways::{Numbered, Ways};
use super::follow::{Course, Follower, Pick, Reached, Values};
use crate::data::Dataset;
use crate::plan::LANES;

/// Passes over tiles, which leave what trees are followed by.
pub(super) trait Passes {
    /// What one pass has left.
    type Values<'v>: Values
    where
        Self: 'v;

    /// Runs a part; what it comes to is kept for the head, if it says of which tile.
    fn part(&mut self, of: &Numbered<'_>, number: usize, at: Option<At<'_>>) -> Self::Values<'_>;

    /// Runs the head.
    fn head(&mut self, of: &Numbered<'_>, at: At<'_>) -> Self::Values<'_>;

    /// The root of a lane of the head.
    fn root(of: &Numbered<'_>, values: &Self::Values<'_>, lane: usize) -> Root;
}

/// What the head says of a row.
#[derive(Clone, Copy)]
pub(super) struct Root {
    /// The logarithm of the root.
    pub(super) log: f64,
    /// Whether it can be relied upon.
    pub(super) is_sure: bool,
}

/// A tree, to be followed through the head and parts.
pub(super) struct Tree<P> {
    /// Its row, of those that have a lane each.
    pub(super) lane: usize,
    /// Where its values go, of the rows written.
    pub(super) to: usize,
    pub(super) pick: P,
    /// Whether all that was picked is sure.
    pub(super) is_sure: bool,
}

/// What trees grow from.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) engine: &'a CpuExecutable,
    pub(super) ways: &'a Ways,
    pub(super) data: &'a Dataset,
}

impl<'a> Ground<'a> {
    /// A part, or the head by the last number, over a tile.
    pub(super) fn numbered<'t>(&self, number: usize, tile: &'t [f32]) -> Numbered<'t>
    where
        'a: 't,
    {
        let program = self.engine.plan.parts[number].program as usize;
        Numbered {
            unit: self.engine.unit(number, tile, self.data.has_missing()),
            numbering: &self.ways.numbering[program],
        }
    }

    /// The number of the head.
    pub(super) fn head(&self) -> usize {
        self.engine.plan.below_head().len()
    }

    /// A tile of some rows, [variables][LANES].
    fn tile(&self, rows: &[u32]) -> Vec<f32> {
        let mut tile = vec![0.0; self.engine.plan.variables as usize * LANES];
        self.data.tile(rows, &mut tile);
        tile
    }

    /// Follows the trees, which are in the order of their lanes, of which each is a row of the data, and
    /// writes what they find to the open entries of the rows of `out`. Returns the roots of all lanes. What a
    /// tree that is not sure has found is of no use.
    pub(super) fn grow<F: Passes, P: Pick>(
        &self,
        rows: &[u32],
        passes: &mut F,
        trees: &mut [Tree<P>],
        out: &mut [f32],
    ) -> Vec<Root> {
        let tiles: Vec<Vec<f32>> = rows.chunks(LANES).map(|rows| self.tile(rows)).collect();
        let (plan, places) = (&self.engine.plan, &self.ways.places);
        let at = |tile| At { plan, places, tiles: tiles.len(), tile };
        for number in 0..self.head() {
            for (tile, data) in tiles.iter().enumerate() {
                passes.part(&self.numbered(number, data), number, Some(at(tile)));
            }
        }
        let mut grown = Grown { out, follower: Follower::default(), reached: Vec::new() };
        let mut roots = Vec::new();
        for (tile, rows) in rows.chunks(LANES).enumerate() {
            let of = self.numbered(self.head(), &tiles[tile]);
            let values = passes.head(&of, at(tile));
            let first = roots.len();
            roots.extend((0..rows.len()).map(|lane| F::root(&of, &values, lane)));
            let own = trees.partition_point(|tree| tree.lane < first)
                ..trees.partition_point(|tree| tree.lane < roots.len());
            let course = Course { of, values: &values };
            for (index, tree) in own.clone().zip(&mut trees[own]) {
                let root = roots[tree.lane];
                tree.is_sure = root.is_sure;
                if root.is_sure && root.log > f64::NEG_INFINITY {
                    grown.follow(&course, tree.lane - first, (0, 0), index, tree);
                }
            }
        }
        // Those of one part together, each tree's in the order in which it came to them.
        let mut reached = std::mem::take(&mut grown.reached);
        reached.sort_by_key(|(reached, _)| Reverse(reached.part));
        for of_part in reached.chunk_by(|(a, _), (b, _)| a.part == b.part) {
            self.grow_in_part(rows, passes, trees, of_part, &mut grown);
        }
        roots
    }

    /// Follows trees on in a part that they have reached.
    fn grow_in_part<F: Passes, P: Pick>(
        &self,
        rows: &[u32],
        passes: &mut F,
        trees: &mut [Tree<P>],
        mut reached: &[(Reached, usize)],
        grown: &mut Grown<'_>,
    ) {
        while let Some(&(Reached { part, .. }, _)) = reached.first() {
            // The next rows, as many as there are lanes, of which each may have several trees.
            let mut lanes: Vec<usize> = Vec::new();
            let is_next = |&&(_, tree): &&(Reached, usize)| {
                let lane = trees[tree].lane;
                if lanes.last() != Some(&lane) {
                    lanes.push(lane);
                }
                lanes.len() <= LANES
            };
            let count = reached.iter().take_while(is_next).count();
            lanes.truncate(LANES);
            let (own, rest) = reached.split_at(count);
            reached = rest;
            let own_rows: Vec<u32> = lanes.iter().map(|&lane| rows[lane]).collect();
            let tile = self.tile(&own_rows);
            let of = self.numbered(part as usize, &tile);
            let values = passes.part(&of, part as usize, None);
            let course = Course { of, values: &values };
            let mut lane = 0;
            for &(Reached { output, unit, .. }, index) in own {
                let tree = &mut trees[index];
                lane += usize::from(tree.lane != lanes[lane]);
                if tree.is_sure {
                    grown.follow(&course, lane, (output, unit), index, tree);
                }
            }
        }
    }
}

/// What trees have come to.
struct Grown<'a> {
    /// [rows][variables].
    out: &'a mut [f32],
    follower: Follower,
    /// The outputs of parts that they have reached, with the number of the tree.
    reached: Vec<(Reached, usize)>,
}

impl Grown<'_> {
    /// Follows a tree in one program.
    fn follow<V: Values, P: Pick>(
        &mut self,
        course: &Course<'_, V>,
        lane: usize,
        from: (u32, u32),
        index: usize,
        tree: &mut Tree<P>,
    ) {
        let width = course.of.unit.data.len() / LANES;
        let row = &mut self.out[tree.to * width..(tree.to + 1) * width];
        let reach = |reached| self.reached.push((reached, index));
        tree.is_sure = self.follower.follow(course, lane, from, &mut tree.pick, row, reach);
    }
}
