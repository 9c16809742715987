//! Bernoulli and Categorical leaves.
//!
//! Raw parameters of a unit are either one number r, p(x = 1) = 1 / (1 + e^−r), or one logit a
//! state, p = softmax(logits). One logit is the first form everywhere below.

use rand::Rng;

use crate::real::{Real, log_sum_exp};

/// The logit that stands for a probability of exactly zero: its exponential is zero in f32 and in
/// f64 beside any other logit, and, being finite, it survives an optimiser.
pub const ZERO_LOGIT: f64 = -1e4;

fn logit_of(p: f64) -> f64 {
    if p > 0.0 { p.ln() } else { ZERO_LOGIT }
}

/// Raw parameters of natural ones: of `[p(x = 1)]`, or of a probability a state.
pub fn raw_of(natural: &[f64], raw: &mut [f64]) {
    match natural {
        [p] => raw[0] = (logit_of(*p) - logit_of(1.0 - p)).clamp(ZERO_LOGIT, -ZERO_LOGIT),
        _ => raw.iter_mut().zip(natural).for_each(|(raw, &p)| *raw = logit_of(p)),
    }
}

/// Number of states that raw parameters describe.
pub fn states(raw_len: usize) -> usize {
    raw_len.max(2)
}

/// The probability of each state, linear, from the raw parameters of one unit.
pub fn probabilities<T: Real>(raw: &[T], out: &mut [T]) {
    match raw {
        &[r] => {
            out[1] = sigmoid(r);
            out[0] = sigmoid(-r);
        }
        _ => {
            let top = raw.iter().copied().fold(T::neg_infinity(), T::max);
            let mut sum = T::zero();
            for (out, &logit) in out.iter_mut().zip(raw) {
                *out = (logit - top).exp();
                sum += *out;
            }
            out.iter_mut().for_each(|p| *p /= sum);
        }
    }
}

/// Adds to `d_raw` the gradient through [`probabilities`] of `d_out`, given its result `p`.
pub fn probabilities_backward<T: Real>(p: &[T], d_out: &[T], d_raw: &mut [T]) {
    if let [d_raw] = d_raw {
        *d_raw += p[0] * p[1] * (d_out[1] - d_out[0]);
        return;
    }
    let dot: T = p.iter().zip(d_out).map(|(&p, &d)| p * d).sum();
    for ((d_raw, &p), &d) in d_raw.iter_mut().zip(p).zip(d_out) {
        *d_raw += p * (d - dot);
    }
}

/// ln p(x = state), from the raw parameters of one unit; −∞ where the probability rounds to zero.
pub fn log_probability<T: Real>(raw: &[T], state: usize) -> T {
    let log = match raw {
        &[r] => {
            let r = if state == 1 { -r } else { r };
            -(r.max(T::zero()) + (-r.abs()).exp().ln_1p())
        }
        _ => raw[state] - log_sum_exp(raw.iter().copied()),
    };
    if log <= T::of(ZERO_LOGIT / 2.0) { T::neg_infinity() } else { log }
}

/// Adds to `d_raw` the derivative of [`log_probability`] times `d_log`.
pub fn log_probability_backward<T: Real>(raw: &[T], state: usize, d_log: T, d_raw: &mut [T]) {
    match raw {
        &[r] => d_raw[0] += d_log * if state == 1 { sigmoid(-r) } else { -sigmoid(r) },
        _ => {
            let total = log_sum_exp(raw.iter().copied());
            for (index, (d_raw, &logit)) in d_raw.iter_mut().zip(raw).enumerate() {
                let hit = if index == state { T::one() } else { T::zero() };
                *d_raw += d_log * (hit - (logit - total).exp());
            }
        }
    }
}

/// Draws a state.
pub fn sample(raw: &[f64], rng: &mut impl Rng) -> usize {
    let count = states(raw.len());
    let mut left: f64 = rng.random();
    for state in 0..count - 1 {
        let p = log_probability(raw, state).exp();
        if left < p {
            return state;
        }
        left -= p;
    }
    // The last state, or the last possible one where rounding left a remainder.
    (0..count).rev().find(|&s| log_probability(raw, s) > f64::NEG_INFINITY).unwrap_or(count - 1)
}

fn sigmoid<T: Real>(r: T) -> T {
    // Of the two forms the one whose exponential does not overflow.
    if r >= T::zero() {
        T::one() / (T::one() + (-r).exp())
    } else {
        let e = r.exp();
        e / (T::one() + e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAWS: [&[f64]; 4] = [&[0.3], &[-40.0], &[0.1, -2.0, 1.5], &[ZERO_LOGIT, 0.0]];

    #[test]
    fn probabilities_sum_to_one_and_agree_with_their_logarithms() {
        for raw in RAWS {
            let mut p = vec![0.0; states(raw.len())];
            probabilities(raw, &mut p);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-14, "{raw:?}");
            for (state, p) in p.iter().enumerate() {
                let log = log_probability(raw, state);
                assert!((log.exp() - p).abs() < 1e-14, "{raw:?} {state}: {log} {p}");
            }
        }
        assert_eq!(log_probability(RAWS[3], 0), f64::NEG_INFINITY);
    }

    #[test]
    fn raw_parameters_give_back_the_probabilities_they_were_made_of() {
        for natural in [&[0.25][..], &[0.2, 0.0, 0.8], &[1.0]] {
            let mut raw = vec![0.0; natural.len()];
            raw_of(natural, &mut raw);
            let mut p = vec![0.0; states(raw.len())];
            probabilities(&raw, &mut p);
            let back = if natural.len() == 1 { &p[1..] } else { &p[..] };
            for (a, b) in natural.iter().zip(back) {
                assert!((a - b).abs() < 1e-14, "{natural:?} {p:?}");
            }
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let h = 1e-6;
        for raw in [RAWS[0], RAWS[2]] {
            for state in 0..states(raw.len()) {
                let mut d_raw = vec![0.0; raw.len()];
                log_probability_backward(raw, state, 2.0, &mut d_raw);
                let mut p = vec![0.0; states(raw.len())];
                probabilities(raw, &mut p);
                let mut d_out = vec![0.0; p.len()];
                d_out[state] = 2.0 / p[state];
                let mut through_table = vec![0.0; raw.len()];
                probabilities_backward(&p, &d_out, &mut through_table);
                for i in 0..raw.len() {
                    let at = |step: f64| {
                        let mut moved = raw.to_vec();
                        moved[i] += step;
                        log_probability(&moved, state)
                    };
                    let slope = 2.0 * (at(h) - at(-h)) / (2.0 * h);
                    assert!((slope - d_raw[i]).abs() < 1e-8, "{raw:?} {state} {i}");
                    assert!((slope - through_table[i]).abs() < 1e-8, "{raw:?} {state} {i}");
                }
            }
        }
    }
}
