//! The numbers of a circuit: the weights of its sums and the raw parameters of its leaves.
//!
//! This is all the oracle knows of parameters: how they were made is no concern of a circuit.

use std::sync::Arc;

use super::Circuit;
use crate::ids::{DistId, IdVec, WeightsId};

/// Where each weight layer and each distribution has its numbers.
#[derive(Debug, PartialEq)]
struct Layout {
    weights: IdVec<WeightsId, (usize, usize)>,
    leaves: IdVec<DistId, (usize, usize)>,
}

/// Numbers laid out for one circuit: normalised linear weights, [rows, cols] a layer, and raw leaf
/// parameters, [units, raw_len] a distribution. Also holds gradients by the same numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Values<T> {
    layout: Arc<Layout>,
    weights: Vec<T>,
    leaves: Vec<T>,
}

impl<T: Copy + Default> Values<T> {
    /// All zero.
    pub fn zeros(circuit: &Circuit) -> Self {
        let mut total = 0;
        let mut place = |len: usize| {
            total += len;
            (total - len, total)
        };
        let weights = circuit.weights().values().map(|weights| place(weights.len())).collect();
        let weight_total = std::mem::take(&mut total);
        let mut place = |len: usize| {
            total += len;
            (total - len, total)
        };
        let leaf_len = |dist: &crate::leaf::Dist| dist.units as usize * dist.family.raw_len();
        let leaves = circuit.dists().values().map(|dist| place(leaf_len(dist))).collect();
        Values {
            layout: Arc::new(Layout { weights, leaves }),
            weights: vec![T::default(); weight_total],
            leaves: vec![T::default(); total],
        }
    }

    /// The weights of a layer, [rows, cols], linear.
    pub fn weights(&self, id: WeightsId) -> &[T] {
        let (start, end) = self.layout.weights[id];
        &self.weights[start..end]
    }

    /// The weights of a layer, to be written.
    pub fn weights_mut(&mut self, id: WeightsId) -> &mut [T] {
        let (start, end) = self.layout.weights[id];
        &mut self.weights[start..end]
    }

    /// The raw parameters of a distribution, [units, raw_len].
    pub fn leaf(&self, id: DistId) -> &[T] {
        let (start, end) = self.layout.leaves[id];
        &self.leaves[start..end]
    }

    /// The raw parameters of a distribution, to be written.
    pub fn leaf_mut(&mut self, id: DistId) -> &mut [T] {
        let (start, end) = self.layout.leaves[id];
        &mut self.leaves[start..end]
    }
}
