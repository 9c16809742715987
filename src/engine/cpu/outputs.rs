//! What parts hand to the head, for the few tiles of a task of queries.

use std::ops::Range;

use super::forward::{Imports, Unit};
use super::passes::{hand_over, output_of, units_of};
use super::tile::Arenas;
use crate::plan::{LANES, Plan};

/// Where the outputs of each part lie among those of all.
pub(super) struct Places {
    /// Units of the outputs of all parts before each part, and how many outputs; one more than parts.
    before: Vec<(usize, usize)>,
}

impl Places {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut before = vec![(0, 0)];
        for part in plan.below_head() {
            let (units, outputs) = before[before.len() - 1];
            let more = plan.program(part).outputs.len();
            before.push((units + plan.output_units(part) as usize, outputs + more));
        }
        Places { before }
    }

    /// Units of all outputs, and how many outputs there are.
    pub(super) fn total(&self) -> (usize, usize) {
        self.before[self.before.len() - 1]
    }

    /// Where the units of a part lie in buffers of so many tiles, and its rows of exponents.
    pub(super) fn part(&self, part: usize, tiles: usize) -> (Range<usize>, Range<usize>) {
        let ((units, outputs), (units_end, outputs_end)) =
            (self.before[part], self.before[part + 1]);
        let places = |start: usize, end: usize| tiles * start * LANES..tiles * end * LANES;
        (places(units, units_end), places(outputs, outputs_end))
    }
}

/// One tile of those whose parts' outputs lie in buffers.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) plan: &'a Plan,
    pub(super) places: &'a Places,
    pub(super) tiles: usize,
    pub(super) tile: usize,
}

impl At<'_> {
    /// Where the units of an output of a part lie, and its exponents and bounds.
    pub(super) fn output(&self, part: u32, output: u32) -> (Range<usize>, Range<usize>) {
        let (program, value, before) = output_of(self.plan, part, output);
        let (units, rows) = self.places.part(part as usize, self.tiles);
        let first = units.start + (self.tile * units_of(program) + before) * LANES;
        let row = self.tile * program.outputs.len() + output as usize;
        let row = rows.start + row * LANES;
        (first..first + value.units as usize * LANES, row..row + LANES)
    }
}

/// The outputs, part by part: [tiles][units][LANES], and [tiles][outputs][LANES] of exponents and bounds.
pub(super) struct Handed {
    pub(super) units: Vec<f32>,
    exponents: Vec<i32>,
    bounds: Vec<f32>,
}

impl Handed {
    /// Room for so many tiles.
    pub(super) fn new(places: &Places, tiles: usize) -> Self {
        let (units, outputs) = places.total();
        let (units, outputs) = (tiles * units * LANES, tiles * outputs * LANES);
        Handed { units: vec![0.0; units], exponents: vec![0; outputs], bounds: vec![0.0; outputs] }
    }

    /// Takes what a part has come to.
    pub(super) fn take(&mut self, at: At<'_>, part: usize, unit: &Unit<'_>, arenas: &Arenas<'_>) {
        let (units, outputs) = at.places.part(part, at.tiles);
        let Handed { units: all, exponents, bounds } = self;
        let to = (&mut all[units], &mut exponents[outputs.clone()], &mut bounds[outputs]);
        hand_over(unit, arenas, at.tile, to);
    }
}

/// What the head reads of them.
pub(super) struct Imported<'a> {
    pub(super) at: At<'a>,
    pub(super) handed: &'a Handed,
}

impl Imports for Imported<'_> {
    fn import(&self, part: u32, output: u32) -> (&[f32], &[i32], &[f32]) {
        let (units, row) = self.at.output(part, output);
        let Handed { units: all, exponents, bounds } = self.handed;
        (&all[units], &exponents[row.clone()], &bounds[row])
    }
}
