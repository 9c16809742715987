//! Quad tree: a grid is halved along every axis, each part again, until each place stands alone.
//!
//! On two axes a region has four parts; an axis of length one is not halved any more. Parts meet in a
//! Hadamard product of k units, and a sum layer sits on it; that of the whole grid has one unit. At a
//! place of several channels these are independent in each unit:
//!
//! ```text
//! upper left ──┐
//! upper right ─┼ product k ─ sum k×k
//! lower left ──┤
//! lower right ─┘
//! ```

use super::grid::{Cuboid, Grid};
use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::{Diagnostics, Span};
use crate::ids::NodeId;
use crate::spec::{QuadTree, Spec};

/// Builds the circuit.
///
/// # Errors
/// A grid that does not suit the variables, every kind of variable that the leaves do not suit, and a
/// size beyond all memory.
pub(super) fn build(spec: &Spec, tree: &QuadTree, span: Span) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, tree.units, &mut faults);
    let (n, k) = (spec.variables.value.len() as u128, u128::from(tree.units));
    if let Some(fault) = check_size(5 * n, n * (kinds.most_numbers(k) + k * k)) {
        faults.push(fault.at(span));
    }
    let grid = faults.unless_errors(Grid::of(spec, &tree.shape))?;
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let mut builder = Builder { units: tree.units, grid, leaves, circuit };
    let whole = builder.grid.whole();
    let below = builder.below(&whole);
    let root = builder.circuit.sum(1, &[below], WeightSource::Parameterizer);
    builder.circuit.set_root(root);
    Ok(Draft::whole(builder.circuit))
}

struct Builder {
    units: u32,
    grid: Grid,
    leaves: Leaves,
    circuit: Circuit,
}

impl Builder {
    /// A region of k units.
    fn region(&mut self, part: &Cuboid) -> NodeId {
        let below = self.below(part);
        match is_place(part) {
            true => below,
            false => self.circuit.sum(self.units, &[below], WeightSource::Parameterizer),
        }
    }

    /// What the sum layer of a region is over; of one place, its variables.
    fn below(&mut self, part: &Cuboid) -> NodeId {
        if is_place(part) {
            let vars = self.grid.variables(part);
            return self.leaves.independent(&mut self.circuit, &vars, self.units);
        }
        let parts: Vec<NodeId> = halves(part).iter().map(|part| self.region(part)).collect();
        self.circuit.product(&parts)
    }
}

fn is_place(part: &Cuboid) -> bool {
    part.iter().all(|range| range.len() == 1)
}

/// The parts of a part, in row-major order; of an odd length the first half is the longer.
fn halves(part: &Cuboid) -> Vec<Cuboid> {
    let mut parts: Vec<Cuboid> = vec![Vec::new()];
    for range in part {
        let middle = range.start + (range.end - range.start).div_ceil(2);
        let sides = match range.len() {
            1 => vec![range.clone()],
            _ => vec![range.start..middle, middle..range.end],
        };
        parts = (parts.into_iter())
            .flat_map(|before| {
                sides.iter().map(move |side| {
                    let mut part = before.clone();
                    part.push(side.clone());
                    part
                })
            })
            .collect();
    }
    parts
}
