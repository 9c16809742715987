//! The passes of one task: a few tiles of rows through all parts and the head, and back.

use pulp::{Simd, WithSimd};

use super::super::CpuExecutable;
use super::super::backward::{Exports, NoExports, backward};
use super::super::forward::{NoImports, Unit, forward};
use super::super::outputs::{At, Handed, Imported};
use super::super::passes::{root_lane, units_of};
use super::super::tile::{Workspace, span};
use super::super::ways::Ways;
use super::leaves::{Gathered, Layout, Leaves};
use crate::data::Dataset;
use crate::plan::{LANES, NOWHERE, Part};

/// What all tasks read.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) engine: &'a CpuExecutable,
    pub(super) ways: &'a Ways,
    pub(super) layout: &'a Layout,
    pub(super) data: &'a Dataset,
}

/// Some rows and where their answers go.
pub(super) struct Task<'a> {
    pub(super) given: Given<'a>,
    pub(super) rows: &'a [u32],
    pub(super) log_p: &'a mut [f64],
    /// [rows][numbers of all variables].
    pub(super) numbers: &'a mut [f64],
}

/// What a worker keeps of the tiles of a task.
pub(super) struct Buffers {
    tiles: usize,
    /// [tiles][variables][LANES].
    data: Vec<f32>,
    handed: Handed,
    /// Gradients by the parts' outputs, as these lie.
    returned: Vec<f32>,
    leaves: Vec<Leaves>,
}

impl Buffers {
    pub(super) fn new(given: &Given<'_>, tiles: usize) -> Self {
        let handed = Handed::new(&given.ways.places, tiles);
        Buffers {
            tiles,
            data: vec![0.0; tiles * given.tile_len()],
            returned: vec![0.0; handed.units.len()],
            handed,
            leaves: (0..tiles).map(|_| Leaves::new(given.layout)).collect(),
        }
    }
}

impl<'a> Given<'a> {
    /// Numbers of a tile of data.
    fn tile_len(&self) -> usize {
        self.engine.plan.variables as usize * LANES
    }

    /// A part over a tile of `tiles`.
    fn unit(&self, number: usize, tiles: &'a [f32], tile: usize) -> Unit<'a> {
        let tile = &tiles[tile * self.tile_len()..(tile + 1) * self.tile_len()];
        self.engine.unit(number, tile, self.data.has_missing())
    }

    /// A tile of so many.
    fn at(&self, tile: usize, tiles: usize) -> At<'a> {
        At { plan: &self.engine.plan, places: &self.ways.places, tiles, tile }
    }
}

impl Task<'_> {
    /// Runs the task. Returns which of its rows are in doubt.
    pub(super) fn run(self, buffers: &mut Buffers, workspace: &mut Workspace) -> Vec<u32> {
        let Task { given, rows, log_p, numbers } = self;
        let len = given.tile_len();
        let tiles = buffers.data.chunks_exact_mut(len).zip(&mut buffers.leaves);
        for (rows, (tile, leaves)) in rows.chunks(LANES).zip(tiles) {
            given.data.tile(rows, tile);
            leaves.begin(tile, rows.len());
        }
        let mut doubtful = vec![false; rows.len()];
        let (log_ps, in_doubt) = (&mut *log_p, &mut doubtful[..]);
        pulp::Arch::new().dispatch(Passes { given, log_p: log_ps, in_doubt, buffers, workspace });
        let width = numbers.len() / rows.len();
        for row in 0..rows.len() {
            if log_p[row] > f64::NEG_INFINITY && !doubtful[row] {
                let (tile, lane) = (row / LANES, row % LANES);
                let values = &buffers.data[tile * len..(tile + 1) * len];
                let out = &mut numbers[row * width..(row + 1) * width];
                doubtful[row] = !buffers.leaves[tile].tell(given.layout, values, lane, out);
            }
        }
        (0..rows.len() as u32).filter(|&row| doubtful[row as usize]).collect()
    }
}

/// The passes over the tiles of a task.
struct Passes<'a> {
    given: Given<'a>,
    log_p: &'a mut [f64],
    in_doubt: &'a mut [bool],
    buffers: &'a mut Buffers,
    workspace: &'a mut Workspace,
}

impl WithSimd for Passes<'_> {
    type Output = ();

    fn with_simd<S: Simd>(mut self, simd: S) {
        let Given { engine: CpuExecutable { plan, .. }, .. } = self.given;
        let tiles = self.log_p.len().div_ceil(LANES);
        for number in 0..plan.below_head().len() {
            (0..tiles).for_each(|tile| self.forward(simd, number, tile));
        }
        (0..tiles).for_each(|tile| self.head(simd, tile));
        for (number, part) in plan.below_head().iter().enumerate() {
            (0..tiles).for_each(|tile| self.back(simd, number, part, tile));
        }
    }
}

impl Passes<'_> {
    /// A part forward; what it comes to is handed on.
    fn forward<S: Simd>(&mut self, simd: S, number: usize, tile: usize) {
        let Buffers { tiles, data, handed, .. } = &mut *self.buffers;
        let unit = self.given.unit(number, data, tile);
        let (mut arenas, mut scratch) = self.workspace.arenas(unit.program);
        forward(simd, &unit, &NoImports, &mut arenas, &mut scratch);
        handed.take(self.given.at(tile, *tiles), number, &unit, &arenas);
    }

    /// The head forward, which gives ln p, and back to the parts' outputs.
    fn head<S: Simd>(&mut self, simd: S, tile: usize) {
        let Given { engine: CpuExecutable { plan, .. }, layout, ways, .. } = self.given;
        let Buffers { tiles, data, handed, returned, leaves } = &mut *self.buffers;
        let at = self.given.at(tile, *tiles);
        let unit = self.given.unit(plan.below_head().len(), data, tile);
        let (mut arenas, mut scratch) = self.workspace.arenas(unit.program);
        forward(simd, &unit, &Imported { at, handed }, &mut arenas, &mut scratch);
        let mut seeds = [0.0; LANES];
        let mut rows = self.log_p.chunks_mut(LANES).zip(self.in_doubt.chunks_mut(LANES));
        let Some((log_p, in_doubt)) = rows.nth(tile) else { return };
        for (lane, (log_p, in_doubt)) in log_p.iter_mut().zip(in_doubt).enumerate() {
            let root = root_lane(&unit, &arenas, lane);
            (*log_p, *in_doubt) = (root.log_p, !root.is_sure);
            seeds[lane] = root.seed(1.0);
        }
        let root = &unit.program.values[unit.program.outputs[0] as usize];
        if root.gradient == NOWHERE {
            return;
        }
        arenas.gradients[span(root.gradient, 1)].copy_from_slice(&seeds);
        let terms = &ways.gradient_terms[plan.head().program as usize];
        let mut gathered = Gathered { layout, leaves: &mut leaves[tile], terms };
        let mut exports = Exported { at, returned };
        backward(simd, &unit, &mut exports, &mut arenas, &mut scratch, &mut gathered);
    }

    /// A part forward again and back.
    fn back<S: Simd>(&mut self, simd: S, number: usize, part: &Part, tile: usize) {
        let Given { layout, ways, .. } = self.given;
        let Buffers { tiles, data, returned, leaves, .. } = &mut *self.buffers;
        let unit = self.given.unit(number, data, tile);
        let unit = Unit { exponents: !unit.certified, ..unit };
        let (mut arenas, mut scratch) = self.workspace.arenas(unit.program);
        forward(simd, &unit, &NoImports, &mut arenas, &mut scratch);
        let of_part = &returned[ways.places.part(number, *tiles).0];
        let mut given = &of_part[tile * units_of(unit.program) * LANES..];
        for &output in &unit.program.outputs {
            let value = &unit.program.values[output as usize];
            let (own, rest) = given.split_at(value.units as usize * LANES);
            given = rest;
            if value.gradient != NOWHERE {
                arenas.gradients[span(value.gradient, value.units)].copy_from_slice(own);
            }
        }
        let terms = &ways.gradient_terms[part.program as usize];
        let mut gathered = Gathered { layout, leaves: &mut leaves[tile], terms };
        backward(simd, &unit, &mut NoExports, &mut arenas, &mut scratch, &mut gathered);
    }
}

/// Takes what the head hands back to the parts.
struct Exported<'a> {
    at: At<'a>,
    returned: &'a mut [f32],
}

impl Exports for Exported<'_> {
    fn export(&mut self, part: u32, output: u32, gradient: &[f32]) {
        let (units, _) = self.at.output(part, output);
        self.returned[units].copy_from_slice(gradient);
    }
}
