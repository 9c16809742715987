//! The forward pass that queries begin with: every unit's logarithm given a row, in f64.
//!
//! It says what the oracle says, but pays an exponential and a logarithm a unit and not a weight: the inputs
//! of a sum layer are divided by the greatest of them, weighed by multiply-adds, and only the sums are
//! turned back into logarithms. A sum so far below the greatest input that linear numbers might have lost
//! a part of it is added up in logarithms.

use crate::circuit::{Op, ValidCircuit, Values};
use crate::engine::reference::{factors, raw, terms, weights_of};
use crate::ids::{Id, NodeId, WeightsId};
use crate::leaf::Dist;
use crate::real::log_sum_exp;

use super::posterior::PerUnit;

/// Sums of scaled terms below this are taken in logarithms: what a term has lost by being scaled is less than
/// 1e-307, so that of what is above all 16 digits are left.
pub(super) const LEAST: f64 = 1e-290;

/// The logarithm of every unit's value; `row` has an entry a variable, and a missing one is summed out.
pub(super) fn forward(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    row: &[Option<f32>],
) -> PerUnit<f64> {
    let mut logs = PerUnit::new(circuit, f64::NEG_INFINITY);
    for &node in circuit.order() {
        match circuit.op(node) {
            Op::Sum { weights } => sum(circuit, values, node, weights, &mut logs),
            _ => {
                for unit in 0..circuit.units(node) as usize {
                    *logs.at_mut(node, unit) = log_of(circuit, values, row, (node, unit), &logs);
                }
            }
        }
    }
    logs
}

/// The logarithm of one unit of a node that is no sum layer.
fn log_of(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    row: &[Option<f32>],
    (node, unit): (NodeId, usize),
    logs: &PerUnit<f64>,
) -> f64 {
    let leaf = |dist, value| {
        let array: &Dist = &circuit.dists()[dist];
        array.log_value(unit, raw(circuit, values, dist, unit), value)
    };
    match circuit.op(node) {
        Op::Leaf { var, dist } => leaf(dist, row[var.index()]),
        Op::Given { dist, value } => leaf(dist, Some(value)),
        Op::One => 0.0,
        Op::Product | Op::Kronecker => {
            factors(circuit, node, unit).map(|(input, unit)| logs.at(input, unit)).sum()
        }
        Op::Sum { weights } | Op::Mixing { weights } => {
            let weights = weights_of(circuit, values, weights, unit);
            let terms = terms(circuit, node, unit).zip(weights);
            log_sum_exp(terms.map(|((input, unit), w)| w.ln() + logs.at(input, unit)))
        }
    }
}

/// A whole sum layer.
fn sum(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    node: NodeId,
    weights: WeightsId,
    logs: &mut PerUnit<f64>,
) {
    let columns: Vec<f64> =
        terms(circuit, node, 0).map(|(input, unit)| *logs.at(input, unit)).collect();
    let (scaled, top) = scaled(&columns);
    if top == f64::NEG_INFINITY {
        return;
    }
    for unit in 0..circuit.units(node) as usize {
        let weights = weights_of(circuit, values, weights, unit);
        let sum: f64 = weights.iter().zip(&scaled).map(|(w, term)| w * term).sum();
        *logs.at_mut(node, unit) = match sum >= LEAST {
            true => top + sum.ln(),
            false => log_sum_exp(weights.iter().zip(&columns).map(|(w, log)| w.ln() + log)),
        };
    }
}

/// The numbers of some logarithms, divided by the greatest of them, and the logarithm of that.
pub(super) fn scaled(logs: &[f64]) -> (Vec<f64>, f64) {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return (vec![0.0; logs.len()], top);
    }
    (logs.iter().map(|log| (log - top).exp()).collect(), top)
}
