//! From logits to weights: the softmax of each normalisation group, and its gradient.

use crate::real::Real;

/// Replaces each run of `len` logits by its softmax.
pub fn softmax<T: Real>(logits: &mut [T], len: usize) {
    for group in logits.chunks_exact_mut(len) {
        let top = group.iter().copied().fold(T::neg_infinity(), T::max);
        let mut sum = T::zero();
        for value in group.iter_mut() {
            *value = (*value - top).exp();
            sum += *value;
        }
        group.iter_mut().for_each(|value| *value /= sum);
    }
}

/// Replaces the gradient by weights, in runs of `len`, by the gradient by their logits:
/// dᵢ ← wᵢ (dᵢ − Σⱼ wⱼ dⱼ).
pub fn softmax_backward<T: Real>(weights: &[T], gradient: &mut [T], len: usize) {
    for (weights, gradient) in weights.chunks_exact(len).zip(gradient.chunks_exact_mut(len)) {
        let dot: T = weights.iter().zip(gradient.iter()).map(|(&w, &d)| w * d).sum();
        for (d, &w) in gradient.iter_mut().zip(weights) {
            *d = w * (*d - dot);
        }
    }
}
