//! A second evaluation of circuits, in the linear domain, that shares no code with the oracle but the
//! leaves.

use pcc::circuit::{Op, ValidCircuit, Values};
use pcc::ids::{Id, IdVec, NodeId};

/// The linear values of all nodes, by the definitions in [`Op`] read literally; `add` is the
/// addition of sums.
pub fn linear_values(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    row: &[Option<f32>],
    add: fn(f64, f64) -> f64,
) -> IdVec<NodeId, Vec<f64>> {
    let mut all: IdVec<NodeId, Vec<f64>> = IdVec::filled(Vec::new(), circuit.node_count());
    for &node in circuit.order() {
        let units = circuit.units(node) as usize;
        let inputs: Vec<&[f64]> = circuit.inputs(node).map(|input| &all[input][..]).collect();
        let leaf = |dist, value| {
            let len = values.leaf(dist).len() / units;
            let raw = |unit: usize| &values.leaf(dist)[unit * len..][..len];
            let unit = |unit| circuit.dists()[dist].log_value(unit, raw(unit), value).exp();
            (0..units).map(unit).collect()
        };
        let out: Vec<f64> = match circuit.op(node) {
            Op::Leaf { var, dist } => leaf(dist, row[var.index()]),
            Op::Given { dist, value } => leaf(dist, Some(value)),
            Op::One => vec![1.0; units],
            Op::Product => {
                (0..units).map(|k| inputs.iter().map(|input| input[k]).product()).collect()
            }
            // Input by input: every unit so far beside each unit of the next.
            Op::Kronecker => inputs.iter().fold(vec![1.0], |so_far, input| {
                input.iter().flat_map(|b| so_far.iter().map(move |a| a * b)).collect()
            }),
            Op::Sum { weights } => {
                let below = inputs.concat();
                let rows = values.weights(weights).chunks_exact(below.len());
                rows.map(|row| row.iter().zip(&below).map(|(w, v)| w * v).fold(0.0, add)).collect()
            }
            Op::Mixing { weights } => {
                let rows = values.weights(weights).chunks_exact(inputs.len()).enumerate();
                rows.map(|(k, row)| row.iter().zip(&inputs).map(|(w, v)| w * v[k]).fold(0.0, add))
                    .collect()
            }
        };
        all[node] = out;
    }
    all
}
