//! A row in doubt, in the log domain.

use super::super::CpuExecutable;
use super::super::row_logs::RowLogs;
use super::leaves::{Layout, RowLeaves};
use crate::data::Dataset;
use crate::plan::LANES;

/// ln p of a row, and the numbers of all variables given it.
pub(super) fn row(
    engine: &CpuExecutable,
    layout: &Layout,
    data: &Dataset,
    row: u32,
    width: usize,
) -> (f64, Vec<f64>) {
    let tile = engine.tile_of(data, row);
    let RowLogs { rows, logs } = RowLogs::new(engine, &tile);
    let mut numbers = vec![f64::NAN; width];
    let (Some((head, parts)), Some((of_head, made))) = (rows.split_last(), logs.split_last())
    else {
        return (f64::NAN, numbers);
    };
    let root = head.output_range(0).start;
    let log_p = of_head[root];
    if log_p == f64::NEG_INFINITY {
        return (log_p, numbers);
    }
    let output = |part: u32, output: u32| parts[part as usize].output_range(output as usize);
    let mut leaves = RowLeaves::new(layout);
    let mut handed: Vec<Vec<f64>> = made.iter().map(|logs| vec![0.0; logs.len()]).collect();
    let mut flows = vec![0.0; of_head.len()];
    flows[root] = 1.0;
    head.backward(of_head, &mut flows, &mut leaves, |part, index, flow| {
        handed[part as usize][output(part, index)].copy_from_slice(flow);
    });
    for ((row, logs), mut flows) in parts.iter().zip(made).zip(handed) {
        row.backward(logs, &mut flows, &mut leaves, |_, _, _| {});
    }
    leaves.tell(|var| tile[var * LANES], &mut numbers);
    (log_p, numbers)
}
