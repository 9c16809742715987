//! The Poon–Domingos structure (Poon and Domingos 2011, Sum-Product Networks: A New Deep
//! Architecture), its layers as in Peharz et al. 2020 (Einsum Networks).
//!
//! Each cut axis of the grid is cut into pieces of equal length, or nearly so. Every rectangle of
//! whole pieces is a region, and each cut within a rectangle is one way to split it: an einsum layer,
//! a sum layer over all pairs of units of the two sides. Where there are several ways, a mixing layer
//! takes them together. A rectangle of one piece has k units, in each of which its variables are
//! independent. The whole grid has one unit:
//!
//! ```text
//! columns 0–7 ─┐
//!              ├ Kronecker k² ─ sum k×k² ┐
//! columns 8–23 ┘                         ├ mixing: columns 0–23
//! columns 0–15 and 16–23, the same way ──┘
//! ```
//!
//! Regions are numbered by the number of their pieces, small ones first.

use std::collections::HashMap;

use super::grid::{Cuboid, Grid};
use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::ids::NodeId;
use crate::spec::{PoonDomingos, Spec};

/// Builds the circuit.
///
/// # Errors
/// A grid that does not suit the variables, every kind of variable that the leaves do not suit, and a
/// size beyond all memory.
pub(super) fn build(spec: &Spec, pd: &PoonDomingos, span: Span) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, pd.units, &mut faults);
    if let Some(fault) = size_fault(spec, pd, &kinds) {
        faults.push(fault.at(span));
    }
    let grid = faults.unless_errors(Grid::of(spec, &pd.shape))?;
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let mut builder = Builder { pd, grid, leaves, circuit, made: HashMap::new() };
    for pieces in regions(&pd.pieces) {
        let region = builder.region(&pieces);
        // The last region is the whole grid.
        builder.circuit.set_root(region);
        builder.made.insert(pieces, region);
    }
    Ok(Draft::whole(builder.circuit))
}

fn size_fault(spec: &Spec, pd: &PoonDomingos, kinds: &Kinds) -> Option<Diagnostic> {
    let (n, k) = (spec.variables.value.len() as u128, u128::from(pd.units));
    let rectangles = |pieces: u128| pieces.saturating_mul(pieces + 1) / 2;
    // Of p pieces, the cuts within all intervals together are (p + 1 choose 3).
    let cuts = |pieces: u128| rectangles(pieces).saturating_mul(pieces - 1) / 3;
    let of = |count: &dyn Fn(usize) -> u128| {
        (0..pd.pieces.len()).map(count).fold(1u128, u128::saturating_mul)
    };
    let regions = of(&|axis| rectangles(pd.pieces[axis].into()));
    let splits = (0..pd.pieces.len())
        .map(|cut| {
            of(&|axis| match axis == cut {
                true => cuts(pd.pieces[axis].into()),
                false => rectangles(pd.pieces[axis].into()),
            })
        })
        .fold(0u128, u128::saturating_add);
    let nodes = regions.saturating_add(splits.saturating_mul(2)).saturating_add(2 * n);
    let numbers = splits.saturating_mul(k * k * k + k).saturating_add(n * kinds.most_numbers(k));
    check_size(nodes, numbers)
}

/// A rectangle by its pieces: from and to on each cut axis.
type Pieces = Vec<(u32, u32)>;

/// Every rectangle of whole pieces, those of fewer before those of more.
fn regions(pieces: &[u32]) -> Vec<Pieces> {
    let mut all: Vec<Pieces> = vec![Vec::new()];
    for &count in pieces {
        let intervals: Vec<(u32, u32)> =
            (0..count).flat_map(|from| (from + 1..=count).map(move |to| (from, to))).collect();
        all = (all.into_iter())
            .flat_map(|before| {
                intervals.iter().map(move |&interval| {
                    let mut pieces = before.clone();
                    pieces.push(interval);
                    pieces
                })
            })
            .collect();
    }
    all.sort_by_key(|pieces| pieces.iter().map(|(from, to)| to - from).sum::<u32>());
    all
}

struct Builder<'a> {
    pd: &'a PoonDomingos,
    grid: Grid,
    leaves: Leaves,
    circuit: Circuit,
    made: HashMap<Pieces, NodeId>,
}

impl Builder<'_> {
    fn region(&mut self, pieces: &Pieces) -> NodeId {
        let is_whole = (pieces.iter().zip(&self.pd.pieces))
            .all(|(&(from, to), &count)| from == 0 && to == count);
        let units = if is_whole { 1 } else { self.pd.units };
        let splits = splits(pieces);
        if splits.is_empty() {
            let vars = self.grid.variables(&self.cuboid(pieces));
            let leaf = self.leaves.independent(&mut self.circuit, &vars, self.pd.units);
            return match is_whole {
                true => self.circuit.sum(1, &[leaf], WeightSource::Parameterizer),
                false => leaf,
            };
        }
        let ways: Vec<NodeId> = splits
            .iter()
            .map(|(before, after)| {
                let pairs = self.circuit.kronecker(&[self.made[before], self.made[after]]);
                self.circuit.sum(units, &[pairs], WeightSource::Parameterizer)
            })
            .collect();
        match ways[..] {
            [way] => way,
            _ => self.circuit.mixing(&ways, WeightSource::Direct),
        }
    }

    /// The places of a rectangle.
    fn cuboid(&self, pieces: &Pieces) -> Cuboid {
        let mut cuboid = self.grid.whole();
        for ((&axis, &count), &(from, to)) in self.pd.axes.iter().zip(&self.pd.pieces).zip(pieces) {
            let range = &mut cuboid[axis as usize];
            let length = u64::from(range.end);
            // At most the length, so it fits again.
            let place = |piece: u32| (u64::from(piece) * length / u64::from(count)) as u32;
            *range = place(from)..place(to);
        }
        cuboid
    }
}

/// The two sides of each cut within a rectangle, axis by axis.
fn splits(pieces: &Pieces) -> Vec<(Pieces, Pieces)> {
    let mut splits = Vec::new();
    for (axis, &(from, to)) in pieces.iter().enumerate() {
        for at in from + 1..to {
            let (mut before, mut after) = (pieces.clone(), pieces.clone());
            before[axis].1 = at;
            after[axis].0 = at;
            splits.push((before, after));
        }
    }
    splits
}
