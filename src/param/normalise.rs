//! From logits to weights: the softmax of each normalisation group, and its gradient; for one sector
//! after the other, or for the sectors of a tile, one in each lane.

use pulp::Simd;

use crate::real::Real;
use crate::simd::{LANES, exp};

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
///
/// Where the dⱼ are nearly one number, which is what a batch counted over many rows makes of them, what is left
/// of the difference would be the rounding of the mean. So what is left is summed again, and taken off too.
pub fn softmax_backward<T: Real>(weights: &[T], gradient: &mut [T], len: usize) {
    for (weights, gradient) in weights.chunks_exact(len).zip(gradient.chunks_exact_mut(len)) {
        let dot: T = weights.iter().zip(gradient.iter()).map(|(&w, &d)| w * d).sum();
        gradient.iter_mut().for_each(|d| *d -= dot);
        let rest: T = weights.iter().zip(gradient.iter()).map(|(&w, &d)| w * d).sum();
        for (d, &w) in gradient.iter_mut().zip(weights) {
            *d = w * (*d - rest);
        }
    }
}

/// What an engine must know of weights to bound the error of its sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Least {
    /// The least weight above zero; +∞ if there is none.
    pub weight: f32,
    /// Whether a weight is zero.
    pub zero: bool,
}

impl Least {
    /// Of no weights.
    pub const NONE: Least = Least { weight: f32::INFINITY, zero: false };

    /// Of both.
    pub fn and(self, other: Least) -> Least {
        Least { weight: self.weight.min(other.weight), zero: self.zero || other.zero }
    }
}

/// Replaces, in each lane of a tile `[entries][LANES]`, each run of `len` logits by its softmax.
/// Returns the least weights of the first `live` lanes.
#[inline(always)]
pub fn softmax_lanes<S: Simd>(simd: S, tile: &mut [f32], len: usize, live: usize) -> Least {
    let mut least = Least::NONE;
    for group in tile.chunks_exact_mut(len * LANES) {
        let group = S::as_mut_simd_f32s(group).0;
        for vector in 0..LANES / S::F32_LANES {
            let first = vector * S::F32_LANES;
            let lowest = softmax_vector(simd, group, vector);
            if first < live {
                least = least.and(least_of::<S>(simd, lowest, live - first));
            }
        }
    }
    least
}

/// a + b, and what rounding took from it (Knuth).
#[inline(always)]
fn two_sum<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> (S::f32s, S::f32s) {
    let sum = simd.add_f32s(a, b);
    let of_b = simd.sub_f32s(sum, a);
    let of_a = simd.sub_f32s(sum, of_b);
    (sum, simd.add_f32s(simd.sub_f32s(a, of_a), simd.sub_f32s(b, of_b)))
}

/// The softmax of the lanes of one vector; returns the least weight above zero of each lane, and the
/// least of all.
#[inline(always)]
fn softmax_vector<S: Simd>(simd: S, group: &mut [S::f32s], vector: usize) -> [S::f32s; 2] {
    let width = LANES / S::F32_LANES;
    let (zero, infinity) = (simd.splat_f32s(0.0), simd.splat_f32s(f32::INFINITY));
    let mut top = simd.splat_f32s(f32::NEG_INFINITY);
    for row in group.chunks_exact(width) {
        top = simd.max_f32s(top, row[vector]);
    }
    // An error in the sum is one of all weights of the group, and the rows of a batch would share it:
    // what each addition rounds off is summed too, and what the reciprocal lacks is a second factor.
    let (mut sum, mut rounded) = (zero, zero);
    for row in group.chunks_exact_mut(width) {
        row[vector] = exp(simd, simd.sub_f32s(row[vector], top));
        let error;
        (sum, error) = two_sum(simd, sum, row[vector]);
        rounded = simd.add_f32s(rounded, error);
    }
    let one = simd.splat_f32s(1.0);
    let scale = simd.div_f32s(one, sum);
    let lacks = simd.mul_add_f32s(simd.neg_f32s(sum), scale, one);
    let lacks = simd.sub_f32s(lacks, simd.mul_f32s(rounded, scale));
    let rest = simd.mul_f32s(scale, lacks);
    let (mut positive, mut lowest) = (infinity, infinity);
    for row in group.chunks_exact_mut(width) {
        let weight = simd.mul_add_e_f32s(row[vector], scale, simd.mul_f32s(row[vector], rest));
        let above = simd.select_f32s(simd.greater_than_f32s(weight, zero), weight, infinity);
        positive = simd.min_f32s(positive, above);
        lowest = simd.min_f32s(lowest, weight);
        row[vector] = weight;
    }
    [positive, lowest]
}

/// The least of the first `live` lanes of a vector.
#[inline(always)]
fn least_of<S: Simd>(simd: S, [positive, lowest]: [S::f32s; 2], live: usize) -> Least {
    if live >= S::F32_LANES {
        let zero = simd.reduce_min_f32s(lowest) == 0.0;
        return Least { weight: simd.reduce_min_f32s(positive), zero };
    }
    let (mut positives, mut lowests) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
    simd.partial_store_f32s(&mut positives[..live], positive);
    simd.partial_store_f32s(&mut lowests[..live], lowest);
    let least = |lanes: [f32; LANES]| lanes.into_iter().fold(f32::INFINITY, f32::min);
    Least { weight: least(positives), zero: least(lowests) == 0.0 }
}

/// Replaces, in each lane, the gradient by weights by that by their logits; see
/// [`softmax_backward`]. Both are tiles `[entries][LANES]` in runs of `len` entries.
#[inline(always)]
pub fn softmax_backward_lanes<S: Simd>(simd: S, weights: &[f32], gradient: &mut [f32], len: usize) {
    let width = LANES / S::F32_LANES;
    let groups = weights.chunks_exact(len * LANES).zip(gradient.chunks_exact_mut(len * LANES));
    for (weights, gradient) in groups {
        let (weights, gradient) = (S::as_simd_f32s(weights).0, S::as_mut_simd_f32s(gradient).0);
        for vector in 0..width {
            let mut dot = simd.splat_f32s(0.0);
            for (w, d) in weights.chunks_exact(width).zip(gradient.chunks_exact(width)) {
                dot = simd.mul_add_e_f32s(w[vector], d[vector], dot);
            }
            let mut rest = simd.splat_f32s(0.0);
            for (w, d) in weights.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
                d[vector] = simd.sub_f32s(d[vector], dot);
                rest = simd.mul_add_e_f32s(w[vector], d[vector], rest);
            }
            for (w, d) in weights.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
                d[vector] = simd.mul_f32s(w[vector], simd.sub_f32s(d[vector], rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    struct Both<'a> {
        logits: &'a mut [f32],
        gradient: &'a mut [f32],
        len: usize,
        live: usize,
    }

    impl WithSimd for Both<'_> {
        type Output = Least;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Least {
            let least = softmax_lanes(simd, self.logits, self.len, self.live);
            softmax_backward_lanes(simd, self.logits, self.gradient, self.len);
            least
        }
    }

    /// A number of either sign for each place, up to `scale`.
    fn numbers(len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|i| (((i * 7919) % 1009) as f32 / 504.5 - 1.0) * scale).collect()
    }

    fn lane(tile: &[f32], lane: usize) -> Vec<f64> {
        tile.iter().skip(lane).step_by(LANES).map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn lanes_have_the_softmax_and_the_gradient_of_each_sector() {
        for (groups, len, arch) in
            [(5, 5, Arch::new()), (5, 2, Arch::new()), (1, 50, Arch::new()), (3, 7, Arch::Scalar)]
        {
            let logits = numbers(groups * len * LANES, 9.0);
            let gradient = numbers(groups * len * LANES, 2.0);
            let (mut weights, mut d_logits) = (logits.clone(), gradient.clone());
            let (logit, d) = (&mut weights, &mut d_logits);
            arch.dispatch(Both { logits: logit, gradient: d, len, live: LANES });
            for at in 0..LANES {
                let (mut truth, mut d_truth) = (lane(&logits, at), lane(&gradient, at));
                softmax(&mut truth, len);
                softmax_backward(&truth, &mut d_truth, len);
                let pairs = truth.into_iter().chain(d_truth);
                for (truth, found) in pairs.zip([lane(&weights, at), lane(&d_logits, at)].concat())
                {
                    assert!((truth - found).abs() < 2e-6, "lane {at}: {truth}, {found}");
                }
            }
        }
    }

    #[test]
    fn weights_sum_to_one_but_for_the_rounding_of_each() {
        // Each is rounded once, by at most 2^-24 of itself; twice where multiply-add is not one step.
        for (len, most, arch) in [(5, 1, Arch::new()), (50, 1, Arch::new()), (7, 2, Arch::Scalar)] {
            let most = f64::from(most) * (-24.0f64).exp2() * 1.01;
            let mut weights = numbers(len * LANES, 9.0);
            let gradient = &mut vec![0.0; len * LANES];
            arch.dispatch(Both { logits: &mut weights, gradient, len, live: LANES });
            for at in 0..LANES {
                let sum: f64 = lane(&weights, at).iter().sum();
                assert!((sum - 1.0).abs() < most, "lane {at} of runs of {len}: {sum}");
            }
        }
    }

    #[test]
    fn a_gradient_that_is_small_beside_what_all_weights_receive_is_kept() {
        // Every weight receives 1,000 and, besides, a few thousandths: exact in single precision.
        let (len, places) = (7, 1.0 / 4096.0);
        let small: Vec<f32> = (0..len * LANES).map(|i| ((i * 31) % 17) as f32 * places).collect();
        for arch in [Arch::new(), Arch::Scalar] {
            let (mut weights, mut gradient) = (numbers(len * LANES, 2.0), small.clone());
            gradient.iter_mut().for_each(|d| *d += 1000.0);
            let (logits, gradient) = (&mut weights, &mut gradient);
            let both = Both { logits, gradient, len, live: LANES };
            arch.dispatch(both);
            for at in 0..LANES {
                let (weights, mut truth) = (lane(&weights, at), lane(&small, at));
                softmax_backward(&weights, &mut truth, len);
                let mut one_by_one: Vec<f32> =
                    lane(&small, at).iter().map(|&d| d as f32 + 1000.0).collect();
                let rounded: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
                softmax_backward(&rounded, &mut one_by_one, len);
                let found = lane(gradient, at);
                for ((truth, found), one) in truth.iter().zip(found).zip(one_by_one) {
                    assert!((truth - found).abs() < 1e-9, "lane {at}: {truth}, {found}");
                    assert!((truth - f64::from(one)).abs() < 1e-9, "lane {at}: {truth}, {one}");
                }
            }
        }
    }

    #[test]
    fn the_least_weight_is_that_of_live_lanes_and_zeros_are_told_apart() {
        let mut logits = vec![0.0; 4 * LANES];
        logits[9] = -200.0; // lane 9: weights 0 and 1
        logits[20] = -3.0; // lane 20
        for arch in [Arch::new(), Arch::Scalar] {
            for (live, weight, zero) in [
                (9, 0.5, false),
                (10, 0.5, true),
                (21, 0.047_425_87, true),
                (LANES, 0.047_425_87, true),
            ] {
                let (mut logits, mut gradient) = (logits.clone(), vec![0.0; 4 * LANES]);
                let (logits, gradient) = (&mut logits, &mut gradient);
                let least = arch.dispatch(Both { logits, gradient, len: 2, live });
                assert!(
                    (least.weight - weight).abs() < 1e-7 && least.zero == zero,
                    "{live} {least:?}"
                );
            }
        }
    }
}
