//! Binomial and Poisson leaves: distributions of counts.
//!
//! The one raw parameter of a Binomial's unit is r with p = 1 / (1 + e^−r); that of a Poisson's is the
//! logarithm of its rate. Both are their natural parameters in the exponential family, so the
//! derivative of a log-probability by r is the count minus its mean.
//!
//! A Poisson's variable is real, for nothing bounds it; what is no count has probability zero.

use rand::Rng;

use super::discrete::ZERO_LOGIT;
use crate::real::Real;

/// Counts up to which n! is exact in f64.
const EXACT: usize = 22;

/// ln n! of a whole number that is at least zero, to full precision.
pub fn ln_factorial(n: f64) -> f64 {
    if n <= EXACT as f64 {
        return (2..=n as usize).map(|factor| factor as f64).product::<f64>().ln();
    }
    // Stirling's series; the first term left out is below 1 / (1680 · 23⁷).
    let inverse = 1.0 / n;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0)));
    (n + 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln() + series
}

/// ln p and ln (1 − p) of a logit; −∞ where a logit stands for a probability of zero.
fn log_chances<T: Real>(logit: T) -> (T, T) {
    let log_sigmoid = |r: T| -((-r).max(T::zero()) + (-r.abs()).exp().ln_1p());
    let zero = T::of(ZERO_LOGIT / 2.0);
    let chance = |r: T| if r <= zero { T::neg_infinity() } else { log_sigmoid(r) };
    (chance(logit), chance(-logit))
}

/// A number of successes or failures times the logarithm of their chance; nothing of none.
fn times<T: Real>(count: f64, log_chance: T) -> T {
    if count == 0.0 { T::zero() } else { T::of(count) * log_chance }
}

/// ln p(count) of so many trials, in nats.
pub fn log_binomial<T: Real>(logit: T, trials: u32, count: f64) -> T {
    let (success, failure) = log_chances(logit);
    let n = f64::from(trials);
    let ways = ln_factorial(n) - ln_factorial(count) - ln_factorial(n - count);
    T::of(ways) + times(count, success) + times(n - count, failure)
}

/// The derivative of [`log_binomial`] by the logit: the count minus its mean.
pub fn log_binomial_slope<T: Real>(logit: T, trials: u32, count: f64) -> T {
    T::of(count) - T::of(trials.into()) / (T::one() + (-logit).exp())
}

/// The logit of the chance at which this is the mean; half a success and half a failure more, so that
/// a mean at or beyond an end of what is possible has a logit too.
pub fn logit_of_mean(trials: u32, mean: f64) -> f64 {
    let trials = f64::from(trials);
    let successes = mean.clamp(0.0, trials) + 0.5;
    (successes / (trials + 1.0 - successes)).ln()
}

/// Whether a value is a number of events: whole, and at least zero.
pub fn is_count(value: f64) -> bool {
    value >= 0.0 && value.fract() == 0.0
}

/// ln p(count), in nats, given the logarithm of the rate; −∞ for what is no count.
pub fn log_poisson<T: Real>(log_rate: T, count: f64) -> T {
    if !is_count(count) {
        return T::neg_infinity();
    }
    T::of(count) * log_rate - log_rate.exp() - T::of(ln_factorial(count))
}

/// The derivative of [`log_poisson`] by the logarithm of the rate: the count minus its mean.
pub fn log_poisson_slope<T: Real>(log_rate: T, count: f64) -> T {
    T::of(count) - log_rate.exp()
}

/// The likeliest number of events, given the logarithm of their rate: of a whole rate both it and the count
/// before are likeliest, and this is the lesser.
pub fn poisson_mode(log_rate: f64) -> f64 {
    (log_rate.exp().ceil() - 1.0).max(0.0)
}

/// Draws a number of successes.
pub fn sample_binomial(logit: f64, trials: u32, rng: &mut impl Rng) -> f64 {
    let counts = (0..=trials).map(f64::from);
    sample(counts, |count| log_binomial(logit, trials, count), rng)
}

/// Deviations from the mean beyond which a Poisson's draws are not looked for: e^−200 of them lie
/// there at most.
const DEVIATIONS: f64 = 20.0;

/// Draws a number of events.
pub fn sample_poisson(log_rate: f64, rng: &mut impl Rng) -> f64 {
    let rate = log_rate.exp();
    let reach = DEVIATIONS * rate.sqrt();
    let least = (rate - reach).floor().max(0.0);
    let most = (rate + reach + DEVIATIONS * DEVIATIONS).floor();
    let counts = std::iter::successors(Some(least), |count| (*count < most).then_some(count + 1.0));
    sample(counts, |count| log_poisson(log_rate, count), rng)
}

/// The first count whose cumulative probability passes a random number.
fn sample(
    counts: impl Iterator<Item = f64>,
    log_p: impl Fn(f64) -> f64,
    rng: &mut impl Rng,
) -> f64 {
    let mut left: f64 = rng.random();
    let mut last = 0.0;
    for count in counts {
        let p = log_p(count).exp();
        if p > 0.0 {
            last = count;
            if left < p {
                break;
            }
            left -= p;
        }
    }
    // Rounding may leave a remainder, which falls to the last possible count.
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials_are_those_of_their_products() {
        let mut log = 0.0f64;
        for n in 1..2000 {
            log += f64::from(n).ln();
            let found = ln_factorial(f64::from(n));
            assert!((found - log).abs() <= 1e-13 * log.max(1.0), "{n}: {found} {log}");
        }
        assert_eq!(ln_factorial(0.0), 0.0);
    }

    #[test]
    fn binomials_sum_to_one_and_have_their_mean() {
        for (logit, trials) in [(0.3f64, 1), (-2.0, 7), (1.5, 255), (-30.0, 255), (40.0, 3)] {
            let p = |count: u32| log_binomial(logit, trials, f64::from(count)).exp();
            let sum: f64 = (0..=trials).map(p).sum();
            let mean: f64 = (0..=trials).map(|count| f64::from(count) * p(count)).sum();
            let expected = f64::from(trials) / (1.0 + (-logit).exp());
            assert!((sum - 1.0).abs() < 1e-12, "{logit} {trials}: {sum}");
            assert!((mean - expected).abs() < 1e-10, "{logit} {trials}: {mean} {expected}");
        }
    }

    #[test]
    fn a_mean_has_its_logit_and_none_is_infinite() {
        let mean = |logit: f64| 255.0 / (1.0 + (-logit).exp());
        for wanted in [0.0, 3.0, 127.5, 250.0, 255.0] {
            let found = mean(logit_of_mean(255, wanted));
            assert!((found - wanted).abs() <= 0.5, "{wanted}: {found}");
        }
        assert_eq!(logit_of_mean(255, -40.0), logit_of_mean(255, 0.0));
        assert_eq!(logit_of_mean(255, 400.0), -logit_of_mean(255, 0.0));
    }

    #[test]
    fn a_chance_of_zero_leaves_one_count() {
        let log = |logit, count| log_binomial(logit, 3, count);
        assert_eq!(log(ZERO_LOGIT, 0.0), 0.0);
        assert_eq!(log(ZERO_LOGIT, 1.0), f64::NEG_INFINITY);
        assert_eq!(log(-ZERO_LOGIT, 3.0), 0.0);
        assert_eq!(log(-ZERO_LOGIT, 2.0), f64::NEG_INFINITY);
    }

    #[test]
    fn poissons_sum_to_one_and_have_their_mean() {
        for rate in [1e-3f64, 0.7, 4.0, 150.0, 1e4] {
            let counts = 0..(rate + 40.0 * rate.sqrt() + 60.0) as u32;
            let p = |count: u32| log_poisson(rate.ln(), f64::from(count)).exp();
            let sum: f64 = counts.clone().map(p).sum();
            let mean: f64 = counts.map(|count| f64::from(count) * p(count)).sum();
            assert!((sum - 1.0).abs() < 1e-10, "{rate}: {sum}");
            assert!((mean - rate).abs() < 1e-10 * rate.max(1.0), "{rate}: {mean}");
        }
        for value in [-1.0, 0.5, f64::INFINITY, f64::NAN] {
            assert_eq!(log_poisson(1.0, value), f64::NEG_INFINITY, "{value}");
        }
    }

    #[test]
    fn slopes_equal_finite_differences() {
        let h = 1e-5;
        for raw in [-1.3, 0.2, 2.0] {
            for count in [0.0, 1.0, 6.0] {
                let slope = |of: &dyn Fn(f64) -> f64| (of(raw + h) - of(raw - h)) / (2.0 * h);
                let binomial = slope(&|raw| log_binomial(raw, 6, count));
                let poisson = slope(&|raw| log_poisson(raw, count));
                assert!((binomial - log_binomial_slope(raw, 6, count)).abs() < 1e-8);
                assert!((poisson - log_poisson_slope(raw, count)).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn draws_are_as_frequent_as_they_are_likely() {
        use rand::SeedableRng;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        // χ² of 100,000 draws; each expected count is above five, and the bound is the quantile of
        // 1 − 1e-4 for no more degrees of freedom than given.
        let check = |draw: &mut dyn FnMut() -> f64, p: &dyn Fn(f64) -> f64, bound: f64| {
            let draws = 100_000;
            let mut counts = vec![0u32; 4000];
            (0..draws).for_each(|_| counts[draw() as usize] += 1);
            let mut chi_square = 0.0;
            for (count, &seen) in counts.iter().enumerate() {
                let expected = f64::from(draws) * p(count as f64);
                if expected > 5.0 {
                    chi_square += (f64::from(seen) - expected).powi(2) / expected;
                } else {
                    assert!(f64::from(seen) < expected + 40.0, "{count}: {seen} {expected}");
                }
            }
            assert!(chi_square < bound, "{chi_square}");
        };
        let mut others = rng.clone();
        check(
            &mut || sample_binomial(-0.4, 12, &mut others),
            &|count| if count <= 12.0 { log_binomial(-0.4f64, 12, count).exp() } else { 0.0 },
            40.0,
        );
        check(&mut || sample_poisson(1.2, &mut rng), &|n| log_poisson(1.2f64, n).exp(), 45.0);
        let large = 2000f64.ln();
        check(&mut || sample_poisson(large, &mut rng), &|n| log_poisson(large, n).exp(), 500.0);
    }
}
