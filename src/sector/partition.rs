//! Cuts the weight layers of a circuit into sectors.

use super::{Maker, Sector, SectorKind, SectorTable};
use crate::circuit::{SourceMap, ValidCircuit, WeightSource, Weights};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::ids::IdVec;
use crate::param::Shape;

/// Cuts every weight layer. Layers whose weights are given, and mixing layers, are one sector
/// whatever `kind` says.
///
/// # Errors
/// E0401 for each layer whose columns the length of a slice does not divide.
pub fn partition(
    circuit: &ValidCircuit,
    map: &SourceMap,
    kind: SectorKind,
) -> Result<SectorTable, Diagnostics> {
    let faults = slice_faults(circuit, map, kind);
    if faults.has_errors() {
        return Err(faults);
    }
    let mut sectors = IdVec::new();
    let mut first_of = vec![0];
    let mut made = [0u32; 3];
    for (id, weights) in circuit.weights().iter() {
        let maker = maker_of(weights);
        let (shape, count) = match kind {
            SectorKind::Slices(len) if maker == Maker::Parameterizer => {
                (Shape { rows: 1, cols: len }, weights.len() / len as usize)
            }
            _ => (Shape { rows: weights.rows, cols: weights.cols }, 1),
        };
        let span = weights.cols / shape.cols.max(1);
        for piece in 0..count {
            let ordinal = made[maker as usize];
            made[maker as usize] += 1;
            let first = piece * shape.len();
            sectors.push(Sector { weights: id, first, shape, span, maker, ordinal });
        }
        first_of.push(sectors.len() as u32);
    }
    Ok(SectorTable::new(kind, sectors, first_of))
}

fn maker_of(weights: &Weights) -> Maker {
    match weights.source {
        WeightSource::Parameterizer => Maker::Parameterizer,
        WeightSource::Direct | WeightSource::Given(_) => Maker::Direct,
        WeightSource::Frozen(_) => Maker::Frozen,
    }
}

fn slice_faults(circuit: &ValidCircuit, map: &SourceMap, kind: SectorKind) -> Diagnostics {
    let SectorKind::Slices(len) = kind else { return Diagnostics::new() };
    let mut seen = std::collections::HashSet::new();
    let mut faults = Diagnostics::new();
    for &node in circuit.order() {
        let Some(id) = circuit.op(node).weights() else { continue };
        let weights = &circuit.weights()[id];
        let sliced = maker_of(weights) == Maker::Parameterizer;
        if sliced && !weights.cols.is_multiple_of(len.max(1)) && seen.insert(weights.cols) {
            let name = map.name(node);
            faults.push(
                Diagnostic::new(
                    Code::E0401,
                    format!(
                        "slices of {len} do not divide the {} columns of sum layer `{name}`",
                        weights.cols
                    ),
                )
                .at_option(map.span(node))
                .node(name)
                .help("choose a length that divides the columns of every sum layer, or PerLayer"),
            );
        }
    }
    faults
}
