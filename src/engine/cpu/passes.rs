//! The passes over tiles that one task makes: a part over the tiles of a shard, or the head.

use pulp::{Simd, WithSimd};

use super::backward::{Exports, NoExports, backward};
use super::forward::{Imports, NoImports, Unit, forward};
use super::gradients::Sums;
use super::kernels::total;
use super::state::{HeadShard, PartState, Shard};
use super::tile::{Arenas, Workspace, exponent_span, span};
use crate::plan::{LANES, NOWHERE, Part, Plan, Program, Value};
use crate::simd::align;

/// What all tasks of a batch read.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) plan: &'a Plan,
    /// [tiles][variables][LANES].
    pub(super) data: &'a [f32],
    pub(super) missing: bool,
    /// Rows that there are.
    pub(super) rows: usize,
    /// How many rows each stands for.
    pub(super) weights: &'a [f32],
    /// What they are of interned data.
    pub(super) distinct: Option<Distinct<'a>>,
}

/// Rows of interned data.
#[derive(Clone, Copy)]
pub(super) struct Distinct<'a> {
    /// Their numbers among the distinct rows.
    pub(super) numbers: &'a [u32],
    /// Their records, one after the other.
    pub(super) records: &'a [u16],
}

impl<'a> Batch<'a> {
    pub(super) fn unit(
        &self,
        part: &'a Part,
        coefficients: &'a [f32],
        certified: bool,
        tile: usize,
    ) -> Unit<'a> {
        let len = self.plan.variables as usize * LANES;
        Unit {
            program: self.plan.program(part),
            columns: &part.columns,
            coefficients,
            data: &self.data[tile * len..(tile + 1) * len],
            missing: self.missing,
            certified,
            exponents: true,
        }
    }

    /// The tiles of a shard that hold rows, with their places in it.
    fn tiles(
        &self,
        shard: &std::ops::Range<usize>,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        shard.clone().take(self.rows.div_ceil(LANES).saturating_sub(shard.start)).enumerate()
    }
}

/// A part forward over a shard.
pub(super) struct PartForward<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) part: &'a Part,
    pub(super) coefficients: &'a [f32],
    pub(super) certified: bool,
    pub(super) shard: &'a mut Shard,
    pub(super) workspace: &'a mut Workspace,
}

impl WithSimd for PartForward<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let PartForward { batch, part, coefficients, certified, shard, workspace } = self;
        let program = batch.plan.program(part);
        let (mut arenas, mut scratch) = workspace.arenas(program);
        for (place, tile) in batch.tiles(&shard.tiles) {
            let unit = batch.unit(part, coefficients, certified, tile);
            forward(simd, &unit, &NoImports, &mut arenas, &mut scratch);
            let to = (&mut shard.outputs[..], &mut shard.exponents[..], &mut shard.bounds[..]);
            hand_over(&unit, &arenas, place, to);
        }
    }
}

/// Copies what the outputs of a part have come to for one tile: units, exponents and bounds.
pub(super) fn hand_over(
    &Unit { program, certified, .. }: &Unit<'_>,
    arenas: &Arenas<'_>,
    tile: usize,
    (units, exponents, bounds): (&mut [f32], &mut [i32], &mut [f32]),
) {
    let count = program.outputs.len();
    let mut units = &mut units[tile * units_of(program) * LANES..];
    for (index, &output) in program.outputs.iter().enumerate() {
        let value = &program.values[output as usize];
        let rows = &arenas.values[span(value.rows, value.units)];
        crate::simd::take(&mut units, rows.len()).copy_from_slice(rows);
        let at = (tile * count + index) * LANES..(tile * count + index + 1) * LANES;
        let (exponents, bounds) = (&mut exponents[at.clone()], &mut bounds[at]);
        exponents.fill(0);
        bounds.fill(0.0);
        if value.exponent != NOWHERE {
            exponents.copy_from_slice(&arenas.exponents[exponent_span(value)]);
            if !certified {
                bounds.copy_from_slice(&arenas.bounds[exponent_span(value)]);
            }
        }
    }
}

pub(super) fn units_of(program: &Program) -> usize {
    program.outputs.iter().map(|&output| program.values[output as usize].units as usize).sum()
}

/// A part forward again and back over a shard.
pub(super) struct PartBack<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) part: &'a Part,
    pub(super) number: usize,
    pub(super) coefficients: &'a [f32],
    pub(super) certified: bool,
    pub(super) shard: &'a mut Shard,
    pub(super) head: &'a HeadShard,
    pub(super) workspace: &'a mut Workspace,
}

impl WithSimd for PartBack<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let PartBack { batch, part, number, coefficients, certified, shard, head, workspace } =
            self;
        let program = batch.plan.program(part);
        let (mut arenas, mut scratch) = workspace.arenas(program);
        shard.d_coefficients.fill(0.0);
        shard.partial.fill(0.0);
        for (place, tile) in batch.tiles(&shard.tiles) {
            let unit = batch.unit(part, coefficients, certified, tile);
            let unit = Unit { exponents: !certified, ..unit };
            forward(simd, &unit, &NoImports, &mut arenas, &mut scratch);
            let mut given = head.gradient(place, number);
            for &output in &program.outputs {
                let value = &program.values[output as usize];
                let (own, rest) = given.split_at(value.units as usize * LANES);
                given = rest;
                if value.gradient != NOWHERE {
                    arenas.gradients[span(value.gradient, value.units)].copy_from_slice(own);
                }
            }
            let mut sums = match shard.partial.is_empty() {
                true => Sums { numbers: &mut shard.d_coefficients, partial: false },
                false => Sums { numbers: align(&mut shard.partial), partial: true },
            };
            backward(simd, &unit, &mut NoExports, &mut arenas, &mut scratch, &mut sums);
        }
        if !shard.partial.is_empty() {
            total(simd, align(&mut shard.partial), &mut shard.d_coefficients);
        }
    }
}

/// The head over a shard, forward and, to train, back.
pub(super) struct HeadPass<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) coefficients: &'a [f32],
    pub(super) certified: bool,
    pub(super) parts: &'a [PartState],
    /// Which shard of the parts.
    pub(super) number: usize,
    pub(super) d_coefficients: &'a mut [f32],
    pub(super) shard: &'a mut HeadShard,
    pub(super) train: bool,
    pub(super) workspace: &'a mut Workspace,
}

/// What the root says of one row.
pub(super) struct RootLane {
    mantissa: f32,
    pub(super) log_p: f64,
    /// Whether linear arithmetic lost nothing that counts.
    pub(super) is_sure: bool,
}

impl RootLane {
    /// The derivative of ln p by the mantissa, of so many rows alike; zero for rows without a gradient, or
    /// that are in doubt.
    #[inline(always)]
    pub(super) fn seed(&self, weight: f32) -> f32 {
        if self.is_sure && self.mantissa > 0.0 { weight / self.mantissa } else { 0.0 }
    }
}

/// Reads the root of a program that has run forward.
#[inline(always)]
pub(super) fn root_lane(unit: &Unit<'_>, arenas: &Arenas<'_>, lane: usize) -> RootLane {
    let root = &unit.program.values[unit.program.outputs[0] as usize];
    let mantissa = arenas.values[span(root.rows, 1)][lane];
    let (exponent, bound) = match root.exponent {
        NOWHERE => (0, 0.0),
        _ => {
            let at = exponent_span(root).start + lane;
            (arenas.exponents[at], if unit.certified { 0.0 } else { arenas.bounds[at] })
        }
    };
    let log_p = f64::from(mantissa).ln() + f64::from(exponent) * std::f64::consts::LN_2;
    // Written so that a bound that is no number raises doubt too.
    let is_sure = bound == 0.0 || bound <= mantissa * DOUBT;
    RootLane { mantissa, log_p, is_sure }
}

/// A row whose bound passes this share of its value is in doubt.
const DOUBT: f32 = 1.0 / (1 << 20) as f32;

impl WithSimd for HeadPass<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let HeadPass { batch, coefficients, certified, parts, number, shard, workspace, .. } = self;
        let head = batch.plan.head();
        let program = batch.plan.program(head);
        let (mut arenas, mut scratch) = workspace.arenas(program);
        let root = &program.values[program.outputs[0] as usize];
        shard.in_doubt.clear();
        if self.train {
            self.d_coefficients.fill(0.0);
            shard.clear_gradients();
        }
        for (place, tile) in batch.tiles(&shard.tiles.clone()) {
            let unit = batch.unit(head, coefficients, certified, tile);
            let imports = Handed { plan: batch.plan, parts, number, place };
            forward(simd, &unit, &imports, &mut arenas, &mut scratch);
            let mut seeds = [0.0; LANES];
            let live = LANES.min(batch.rows - tile * LANES);
            for (lane, seed) in seeds.iter_mut().enumerate().take(live) {
                let found = root_lane(&unit, &arenas, lane);
                shard.log_p[place * LANES + lane] = found.log_p;
                if !found.is_sure {
                    shard.in_doubt.push((tile * LANES + lane) as u32);
                }
                *seed = found.seed(batch.weights[tile * LANES + lane]);
            }
            if self.train && root.gradient != NOWHERE {
                arenas.gradients[span(root.gradient, 1)].copy_from_slice(&seeds);
                let mut exports = Taken { plan: batch.plan, shard, place };
                let (arenas, scratch) = (&mut arenas, &mut scratch);
                let mut sums = Sums { numbers: self.d_coefficients, partial: false };
                backward(simd, &unit, &mut exports, arenas, scratch, &mut sums);
            }
        }
    }
}

/// What the parts handed to the head for one tile.
struct Handed<'a> {
    plan: &'a Plan,
    parts: &'a [PartState],
    number: usize,
    place: usize,
}

/// The value that is an output of a part, and the units of the outputs before it.
pub(super) fn output_of(plan: &Plan, part: u32, output: u32) -> (&Program, &Value, usize) {
    let program = plan.program(&plan.below_head()[part as usize]);
    let value = |index: u32| &program.values[program.outputs[index as usize] as usize];
    (program, value(output), (0..output).map(|index| value(index).units as usize).sum())
}

impl Imports for Handed<'_> {
    fn import(&self, part: u32, output: u32) -> (&[f32], &[i32], &[f32]) {
        let (program, value, before) = output_of(self.plan, part, output);
        let shard = &self.parts[part as usize].shards[self.number];
        let first = (self.place * units_of(program) + before) * LANES;
        let units = &shard.outputs[first..first + value.units as usize * LANES];
        let row = self.place * program.outputs.len() + output as usize;
        let row = row * LANES..(row + 1) * LANES;
        (units, &shard.exponents[row.clone()], &shard.bounds[row])
    }
}

/// Takes gradients by the parts' outputs.
struct Taken<'a> {
    plan: &'a Plan,
    shard: &'a mut HeadShard,
    place: usize,
}

impl Exports for Taken<'_> {
    fn export(&mut self, part: u32, output: u32, gradient: &[f32]) {
        let (_, _, before) = output_of(self.plan, part, output);
        let of_part = self.shard.gradient_mut(self.place, part as usize);
        of_part[before * LANES..before * LANES + gradient.len()].copy_from_slice(gradient);
    }
}
