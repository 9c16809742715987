//! One row of data through all parts and the head, in the log domain: what queries ask of a row in doubt.

use super::CpuExecutable;
use super::forward::Unit;
use super::logs::LogRow;
use crate::data::Dataset;
use crate::plan::LANES;

/// The parts over a row, the head last, and the logarithms of their values.
pub(super) struct RowLogs<'a> {
    pub(super) rows: Vec<LogRow<'a>>,
    /// [parts][units of all values].
    pub(super) logs: Vec<Vec<f64>>,
}

impl<'a> RowLogs<'a> {
    /// Of the first lane of a tile.
    pub(super) fn new(engine: &'a CpuExecutable, tile: &'a [f32]) -> Self {
        let of_part = |number: usize| LogRow {
            unit: Unit { certified: false, ..engine.unit(number, tile, true) },
            offsets: &engine.offsets[engine.plan.parts[number].program as usize],
            lane: 0,
        };
        let rows: Vec<LogRow<'_>> = (0..engine.plan.parts.len()).map(of_part).collect();
        let (parts, head) = rows.split_at(rows.len() - 1);
        let mut logs: Vec<Vec<f64>> = parts.iter().map(|row| row.forward(|_, _| &[])).collect();
        let of_head: Vec<Vec<f64>> = head
            .iter()
            .map(|head| {
                head.forward(|part, output| {
                    let range = parts[part as usize].output_range(output as usize);
                    &logs[part as usize][range]
                })
            })
            .collect();
        logs.extend(of_head);
        RowLogs { rows, logs }
    }
}

impl CpuExecutable {
    /// A tile whose first lane is a row of data.
    pub(super) fn tile_of(&self, data: &Dataset, row: u32) -> Vec<f32> {
        let mut tile = vec![0.0; self.plan.variables as usize * LANES];
        data.tile(&[row], &mut tile);
        tile
    }

    /// A part, or the head by the last number, over a tile [variables][LANES].
    pub(super) fn unit<'a>(&'a self, number: usize, tile: &'a [f32], missing: bool) -> Unit<'a> {
        let (part, state) = (&self.plan.parts[number], &self.states[number]);
        Unit {
            program: self.plan.program(part),
            columns: &part.columns,
            coefficients: &state.coefficients,
            data: tile,
            missing,
            certified: state.certified,
            exponents: true,
        }
    }
}
