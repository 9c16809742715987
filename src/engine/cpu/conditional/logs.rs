//! A row in doubt, in the log domain.

use super::super::CpuExecutable;
use super::super::forward::Unit;
use super::super::logs::LogRow;
use super::super::state::PartState;
use super::leaves::{Layout, RowLeaves};
use crate::data::Dataset;
use crate::plan::{LANES, Part};

/// ln p of a row, and the numbers of all variables given it.
pub(super) fn row(
    engine: &CpuExecutable,
    layout: &Layout,
    data: &Dataset,
    row: u32,
    width: usize,
) -> (f64, Vec<f64>) {
    let plan = &engine.plan;
    let mut tile = vec![0.0; plan.variables as usize * LANES];
    data.tile(&[row], &mut tile);
    let parts = plan.parts.iter().zip(&engine.states);
    let rows: Vec<LogRow<'_>> =
        parts.map(|(part, state)| log_row(engine, part, state, &tile)).collect();
    let mut numbers = vec![f64::NAN; width];
    let Some((head, parts)) = rows.split_last() else { return (f64::NAN, numbers) };
    let made: Vec<Vec<f64>> = parts.iter().map(|row| row.forward(|_, _| &[])).collect();
    let output = |part: u32, output: u32| parts[part as usize].output_range(output as usize);
    let logs = head.forward(|part, index| &made[part as usize][output(part, index)]);
    let root = head.output_range(0).start;
    let log_p = logs[root];
    if log_p == f64::NEG_INFINITY {
        return (log_p, numbers);
    }
    let mut leaves = RowLeaves::new(layout);
    let mut handed: Vec<Vec<f64>> = made.iter().map(|logs| vec![0.0; logs.len()]).collect();
    let mut flows = vec![0.0; logs.len()];
    flows[root] = 1.0;
    head.backward(&logs, &mut flows, &mut leaves, |part, index, flow| {
        handed[part as usize][output(part, index)].copy_from_slice(flow);
    });
    for ((row, logs), mut flows) in parts.iter().zip(&made).zip(handed) {
        row.backward(logs, &mut flows, &mut leaves, |_, _, _| {});
    }
    leaves.tell(|var| tile[var * LANES], &mut numbers);
    (log_p, numbers)
}

/// A part over the first lane of a tile.
fn log_row<'a>(
    engine: &'a CpuExecutable,
    part: &'a Part,
    state: &'a PartState,
    tile: &'a [f32],
) -> LogRow<'a> {
    let unit = Unit {
        program: engine.plan.program(part),
        columns: &part.columns,
        coefficients: &state.coefficients,
        data: tile,
        missing: true,
        certified: false,
        exponents: true,
    };
    LogRow { unit, offsets: &engine.offsets[part.program as usize], lane: 0 }
}
