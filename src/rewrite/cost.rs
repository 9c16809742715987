//! What a circuit costs to evaluate: the measure that a rewriting must lower.
//!
//! A node costs multiply-adds, bytes moved and a launch; a [`Target`] weighs the three. A node that
//! several others use is counted once, so the cost of a circuit is that of its DAG, not of the tree
//! it unfolds to. The figures are those of one forward pass without sharing of rows; the plan makes
//! finer ones, but what is cheaper here is so there.

use std::fmt;
use std::ops::AddAssign;

use super::flat::{Flat, Layers};
use crate::circuit::{Node, Op};
use crate::ids::{Id, IdVec, NodeId};

/// Bytes of a value or weight: f32.
const WORD: u64 = 4;

/// The price of work on a machine. Only ratios matter to a rewriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Rows evaluated at once.
    pub batch: u64,
    /// Picoseconds of one multiply-add.
    pub multiply_add: u64,
    /// Picoseconds a byte moved.
    pub byte: u64,
    /// Picoseconds of starting the work of one node.
    pub launch: u64,
}

impl Target {
    /// One core with AVX-512, values in its second-level cache.
    pub const CPU: Target = Target { batch: 128, multiply_add: 40, byte: 20, launch: 100_000 };
    /// A data-centre GPU: plentiful arithmetic, dear launches.
    pub const CUDA: Target = Target { batch: 512, multiply_add: 1, byte: 1, launch: 3_000_000 };
}

/// Work of one forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds a row.
    pub multiply_adds: u64,
    /// Bytes of values written and read a row.
    pub value_bytes: u64,
    /// Bytes of weights read a batch; tied weights once.
    pub weight_bytes: u64,
    /// Nodes that do work of their own: all but leaves, constants and products that the only sum
    /// over them forms on the way.
    pub launches: u64,
}

impl Cost {
    /// Picoseconds of a batch by the prices of `target`; `u64::MAX` where it would overflow.
    pub fn total(&self, target: &Target) -> u64 {
        let row = (self.multiply_adds.saturating_mul(target.multiply_add))
            .saturating_add(self.value_bytes.saturating_mul(target.byte));
        row.saturating_mul(target.batch)
            .saturating_add(self.weight_bytes.saturating_mul(target.byte))
            .saturating_add(self.launches.saturating_mul(target.launch))
    }

    /// The cost of one node over inputs of these widths.
    pub(super) fn of_node(op: Op, units: u32, inputs: impl Iterator<Item = u32>) -> Cost {
        let units = u64::from(units);
        let (mut count, mut read, mut pairs, mut kronecker) = (0u64, 0u64, 1u64, 0u64);
        for width in inputs.map(u64::from) {
            count += 1;
            read += width;
            pairs = pairs.saturating_mul(width);
            // From left to right: each product of the pairs so far with one more input.
            kronecker = kronecker.saturating_add(if count > 1 { pairs } else { 0 });
        }
        let (multiply_adds, weights) = match op {
            Op::Leaf { .. } | Op::Given { .. } | Op::One => {
                return Cost { value_bytes: WORD * units, ..Cost::default() };
            }
            Op::Product => (count.saturating_sub(1) * units, 0),
            Op::Kronecker => (kronecker, 0),
            Op::Sum { .. } => (units * read, units * read),
            Op::Mixing { .. } => (units * count, units * count),
        };
        Cost {
            multiply_adds,
            value_bytes: WORD * (read + units),
            weight_bytes: WORD * weights,
            launches: 1,
        }
    }

    /// The cost of a whole circuit.
    pub(super) fn of(flat: &Flat, layers: &Layers) -> Cost {
        let mut total = Cost::default();
        let mut counted = vec![false; layers.len()];
        for id in flat.ids() {
            let Node { op, units } = flat.node(id);
            let widths = flat.inputs(id).iter().map(|&input| flat.units(input));
            let mut cost = Cost::of_node(op, units, widths);
            if let Some(weights) = op.weights()
                && std::mem::replace(&mut counted[weights.index()], true)
            {
                cost.weight_bytes = 0;
            }
            total += cost;
        }
        for product in einsums(flat) {
            total.value_bytes -= 2 * WORD * u64::from(flat.units(product));
            total.launches -= 1;
        }
        total
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.multiply_adds += other.multiply_adds;
        self.value_bytes += other.value_bytes;
        self.weight_bytes += other.weight_bytes;
        self.launches += other.launches;
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "multiply-adds={} value-bytes={} weight-bytes={} launches={}",
            self.multiply_adds, self.value_bytes, self.weight_bytes, self.launches
        )
    }
}

/// The Kronecker products that are the only input of a sum and used by nothing else: product and sum
/// are one einsum, and the pairs are never stored.
pub(super) fn einsums(flat: &Flat) -> Vec<NodeId> {
    let mut uses: Option<IdVec<NodeId, u32>> = None;
    let mut found = Vec::new();
    for id in flat.ids() {
        let (Op::Sum { .. }, &[input]) = (flat.op(id), flat.inputs(id)) else { continue };
        if flat.op(input) == Op::Kronecker && uses.get_or_insert_with(|| flat.uses())[input] == 1 {
            found.push(input);
        }
    }
    found
}
