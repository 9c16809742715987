//! Expected counts: what the expectation step of EM finds.

use std::ops::Range;

use crate::ids::{DistId, IdVec};
use crate::real::Real;
use crate::sector::Parameters;

/// How often each input of each sum is expected to have been taken, given the rows, and what each
/// leaf's unit is expected to have seen.
///
/// The count of an input is w · ∂ Σ ln p / ∂w, summed over all places that use the weight w (Peharz et
/// al. 2017, On the Latent Variable Interpretation in Sum-Product Networks). A sum over the indicators
/// of a variable that is missing counts its own weights, from which there is nothing to learn: an
/// engine may leave that out. So may it the counts of a group on which the likelihood does not depend,
/// such as one of a single weight: rewriting leaves such sums out.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts<T> {
    /// The count of each input, where its logit lies in the flat buffer; zero at all other places.
    /// Meaningful for logits that are parameters themselves.
    pub weights: Vec<T>,
    leaves: Vec<T>,
    places: IdVec<DistId, Range<usize>>,
}

impl<T: Real> Counts<T> {
    /// Counts of nothing, for a model of these parameters.
    pub fn zeros(parameters: &Parameters) -> Self {
        let mut total = 0;
        let places: IdVec<DistId, Range<usize>> = parameters
            .families()
            .iter()
            .map(|(id, family)| {
                let units = parameters.leaf(id).len() / family.raw_len().max(1);
                total += units * family.statistics_len();
                total - units * family.statistics_len()..total
            })
            .collect();
        let weights = vec![T::zero(); parameters.learnable()];
        Counts { weights, leaves: vec![T::zero(); total], places }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.fill(T::zero());
    }

    /// Makes all counts one number: none, where they are not known.
    pub(crate) fn fill(&mut self, number: T) {
        self.weights.fill(number);
        self.leaves.fill(number);
    }

    /// The statistics of a distribution, [units, statistics_len] of its family (see
    /// [`crate::leaf::statistics`]); empty for a frozen one.
    pub fn leaf(&self, dist: DistId) -> &[T] {
        &self.leaves[self.places[dist].clone()]
    }

    /// The statistics of a distribution, to be written.
    pub fn leaf_mut(&mut self, dist: DistId) -> &mut [T] {
        &mut self.leaves[self.places[dist].clone()]
    }
}
