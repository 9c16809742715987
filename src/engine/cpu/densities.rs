//! Leaves by logarithms, and from these to mantissas, over one tile.
//!
//! Logarithms are f32: each is rounded by up to 6e-8 of itself, which of one far below zero is a relative
//! error of the probability that much larger.

use pulp::{Simd, WithSimd};

use super::kernels::{LOSS, kernel};
use crate::leaf::counts::{is_count, ln_factorial};
use crate::plan::LANES;
use crate::simd::exp;

/// Logarithms up to this have their power of two found in f32, to which it is an integer.
const NEAR: f32 = (1 << 20) as f32;

/// ln 2, and what its f32 lacks of it.
const LN_2: f32 = std::f32::consts::LN_2;
const LN_2_REST: f32 = (std::f64::consts::LN_2 - LN_2 as f64) as f32;

/// Logarithms of densities are no lower, so that those of any region have a finite sum. A row with one such
/// is evaluated in f64.
const LEAST: f32 = -1e30;

/// What exponents of all regions of a row may come to.
const MOST_EXPONENT: f32 = (1 << 29) as f32;

/// 1.5 · 2²³, which rounds what is added to it to an integer, in its lowest bits.
const SHIFT: f32 = 12_582_912.0;

kernel!(
    /// ln N(x; mean, var) of each unit, from a table of its mean, 1/variance and −½ ln(2π variance); zero
    /// where x is missing.
    log_densities / LogDensities<'a>(column: &'a [f32], table: &'a [f32], out: &'a mut [f32])
    run_log_densities
);

#[inline(always)]
fn run_log_densities<S: Simd>(simd: S, column: &[f32], table: &[f32], out: &mut [f32]) {
    let column = S::as_simd_f32s(column).0;
    for (unit, out) in table.as_chunks::<3>().0.iter().zip(out.chunks_exact_mut(LANES)) {
        let [mean, precision, norm] = *unit;
        let (mean, norm) = (simd.splat_f32s(mean), simd.splat_f32s(norm));
        let half = simd.splat_f32s(-0.5 * precision);
        for (out, &x) in S::as_mut_simd_f32s(out).0.iter_mut().zip(column) {
            let off = simd.sub_f32s(x, mean);
            let log = simd.mul_add_e_f32s(simd.mul_f32s(off, off), half, norm);
            let log = simd.max_f32s(log, simd.splat_f32s(LEAST));
            *out = simd.select_f32s(simd.equal_f32s(x, x), log, simd.splat_f32s(0.0));
        }
    }
}

kernel!(
    /// Of one unit the sums over a tile of d · (x − mean), d · (x − mean)² and d, rows without x left out.
    moments / Moments<'a>(column: &'a [f32], mean: f32, d: &'a [f32], sums: &'a mut [f64; 3])
    run_moments
);

#[inline(always)]
fn run_moments<S: Simd>(_: S, column: &[f32], mean: f32, d: &[f32], sums: &mut [f64; 3]) {
    // In f64: rows far out on either side cancel. Several sums side by side, so that they are vectors.
    const WIDTH: usize = 8;
    let mut held = [[0.0; WIDTH]; 3];
    for (x, d) in column.as_chunks::<WIDTH>().0.iter().zip(d.as_chunks::<WIDTH>().0) {
        for at in 0..WIDTH {
            let known = !x[at].is_nan();
            let off = if known { f64::from(x[at] - mean) } else { 0.0 };
            let d = if known { f64::from(d[at]) } else { 0.0 };
            held[0][at] += d * off;
            held[1][at] += d * off * off;
            held[2][at] += d;
        }
    }
    *sums = held.map(|held| held.iter().sum());
}

/// Entries of a table of logarithms, [units, states]; zero where x is missing.
pub(super) fn log_rows(column: &[f32], table: &[f32], states: usize, out: &mut [f32]) {
    for (row, out) in table.chunks_exact(states).zip(out.chunks_exact_mut(LANES)) {
        for (out, &x) in out.iter_mut().zip(column) {
            *out = if x.is_nan() { 0.0 } else { row[x as usize] };
        }
    }
}

/// ln p(x) of each unit of a Poisson leaf, from the logarithm of its rate; zero where x is missing.
/// Its terms are far larger than what they add up to, so they are f64.
pub(super) fn log_counts(column: &[f32], log_rates: &[f32], out: &mut [f32]) {
    let mut factorials = [0.0; LANES];
    for (factorial, &x) in factorials.iter_mut().zip(column).filter(|(_, x)| !x.is_nan()) {
        // What is no count has infinitely much against it.
        *factorial = match is_count(x.into()) {
            true => ln_factorial(x.into()),
            false => f64::INFINITY,
        };
    }
    for (&log_rate, out) in log_rates.iter().zip(out.chunks_exact_mut(LANES)) {
        let log_rate = f64::from(log_rate);
        let rate = log_rate.exp();
        for ((out, &x), factorial) in out.iter_mut().zip(column).zip(&factorials) {
            let log = f64::from(x) * log_rate - rate - factorial;
            *out = if x.is_nan() { 0.0 } else { log as f32 };
        }
    }
}

kernel!(
    /// From logarithms to mantissas: the largest of a lane comes to lie in [1, 2], but for rounding. What is
    /// below [`LOSS`] is set to zero and added to the lane's bound. A lane so far out that exponents of all
    /// `variables` might leave their numbers is zero, and nothing is known of it.
    ///
    /// With e^top = 2ⁿ · m for the largest logarithm of a lane, a unit is e^(log − top) · m.
    exponentiate / Exponentiate<'a>(
        rows: &'a mut [f32],
        variables: usize,
        exponents: &'a mut [i32; LANES],
        bound: &'a mut [f32; LANES],
    )
    run_exponentiate
);

#[inline(always)]
fn run_exponentiate<S: Simd>(
    simd: S,
    rows: &mut [f32],
    variables: usize,
    exponents: &mut [i32; LANES],
    bound: &mut [f32; LANES],
) {
    let (mut tops, mut mantissas) = ([0.0; LANES], [1.0; LANES]);
    let width = LANES / S::F32_LANES;
    for (lane, top) in S::as_mut_simd_f32s(&mut tops).0.iter_mut().enumerate() {
        *top = simd.splat_f32s(f32::NEG_INFINITY);
        for row in S::as_simd_f32s(rows).0.iter().skip(lane).step_by(width) {
            *top = simd.max_f32s(*top, *row);
        }
    }
    let most = MOST_EXPONENT * LN_2 / variables.max(1) as f32;
    let is_far = |top: &f32| top.is_finite() && top.abs() > most;
    if tops.iter().any(is_far) {
        let far = tops.map(|top| is_far(&top));
        for lane in (0..LANES).filter(|&lane| far[lane]) {
            rows.iter_mut().skip(lane).step_by(LANES).for_each(|row| *row = f32::NEG_INFINITY);
            (tops[lane], bound[lane]) = (0.0, f32::INFINITY);
        }
    }
    let rows = S::as_mut_simd_f32s(rows).0;
    // Nothing is brought to one where all is zero, or infinite.
    tops.iter_mut().filter(|top| !top.is_finite()).for_each(|top| *top = 0.0);
    match tops.iter().all(|top| top.abs() <= NEAR) {
        true => near_powers(simd, &tops, exponents, &mut mantissas),
        false => powers(&tops, exponents, &mut mantissas),
    }
    let (tops, mantissas) = (S::as_simd_f32s(&tops).0, S::as_simd_f32s(&mantissas).0);
    let (zero, loss) = (simd.splat_f32s(0.0), simd.splat_f32s(LOSS));
    for (lane, bound) in S::as_mut_simd_f32s(bound).0.iter_mut().enumerate() {
        for unit in rows.iter_mut().skip(lane).step_by(width) {
            let below = simd.sub_f32s(*unit, tops[lane]);
            let value = simd.mul_f32s(exp(simd, below), mantissas[lane]);
            let is_possible = simd.greater_than_f32s(below, simd.splat_f32s(f32::NEG_INFINITY));
            let is_lost = simd.less_than_f32s(value, loss);
            let lost = simd.select_f32s(is_possible, loss, zero);
            *bound = simd.add_f32s(*bound, simd.select_f32s(is_lost, lost, zero));
            let value = simd.select_f32s(is_lost, zero, value);
            // What is no number stays none.
            *unit = simd.select_f32s(simd.equal_f32s(below, below), value, below);
        }
    }
}

/// n and m of e^top = 2ⁿ · m, m in [1, 2] but for rounding, for logarithms up to [`NEAR`].
#[inline(always)]
fn near_powers<S: Simd>(
    simd: S,
    tops: &[f32; LANES],
    exponents: &mut [i32; LANES],
    mantissas: &mut [f32; LANES],
) {
    let mantissas = S::as_mut_simd_f32s(mantissas).0.iter_mut();
    let exponents = S::as_mut_simd_i32s(exponents).0.iter_mut();
    for ((&top, mantissa), exponent) in S::as_simd_f32s(tops).0.iter().zip(mantissas).zip(exponents)
    {
        let log_2_e = simd.splat_f32s(std::f32::consts::LOG2_E);
        // Down: half less is rounded to the nearest.
        let power = simd.mul_add_e_f32s(top, log_2_e, simd.splat_f32s(-0.5));
        let shifted = simd.add_f32s(power, simd.splat_f32s(SHIFT));
        let n = simd.sub_f32s(shifted, simd.splat_f32s(SHIFT));
        let bits = simd.transmute_u32s_f32s(shifted);
        let bits = simd.sub_u32s(bits, simd.splat_u32s(SHIFT.to_bits()));
        *exponent = simd.transmute_i32s_u32s(bits);
        let rest = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2), top);
        *mantissa = exp(simd, simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_REST), rest));
    }
}

/// The same for any, lane by lane.
fn powers(tops: &[f32; LANES], exponents: &mut [i32; LANES], mantissas: &mut [f32; LANES]) {
    for ((&top, exponent), mantissa) in tops.iter().zip(exponents).zip(mantissas) {
        let top = f64::from(top);
        let power = (top * std::f64::consts::LOG2_E).floor();
        *exponent = power as i32;
        *mantissa = (top - power * std::f64::consts::LN_2).exp() as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run<'a>(&'a mut [f32], &'a mut [i32; LANES], &'a mut [f32; LANES]);

    impl WithSimd for Run<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            exponentiate(simd, self.0, 1, self.1, self.2);
        }
    }

    /// Lanes of three units whose largest is `top` and the others `apart` and three times that below.
    fn check(top: impl Fn(usize) -> f32, apart: f32) {
        let logs: Vec<f32> = (0..3 * LANES)
            .map(|at| top(at % LANES) - apart * [1.0, 0.0, 3.0][at / LANES])
            .collect();
        for arch in [pulp::Arch::new(), pulp::Arch::Scalar] {
            // Without fused multiply-adds the power of two is rounded as the logarithm was.
            let power = if matches!(arch, pulp::Arch::Scalar) { 6e-8 } else { 0.0 };
            let (mut rows, mut exponents, mut bound) = (logs.clone(), [0; LANES], [0.0; LANES]);
            arch.dispatch(Run(&mut rows, &mut exponents, &mut bound));
            for (at, (&unit, &log)) in rows.iter().zip(&logs).enumerate() {
                let lane = at % LANES;
                let scale = f64::from(exponents[lane]) * std::f64::consts::LN_2;
                let truth = (f64::from(log) - scale).exp();
                // How far below the top it is has been rounded too.
                let below = 6e-8 * f64::from(top(lane) - log).abs();
                let rounded = 3e-7 + below + power * f64::from(top(lane)).abs();
                let most = rounded * truth + f64::from(bound[lane]);
                assert!((f64::from(unit) - truth).abs() <= most, "e^{log}: {unit}, not {truth}");
            }
            // As near to [1, 2] as the power of two was rounded.
            let units = &rows[LANES..2 * LANES];
            assert!(units.iter().all(|unit| (0.9..2.1).contains(unit)), "{units:?}");
        }
    }

    #[test]
    fn logarithms_of_any_size_become_mantissas() {
        for scale in [0.0, 1.0, 30.0, 1e3, 1e5, 1e7] {
            for apart in [0.0, 0.5, 8.0] {
                check(|lane| scale * (lane as f32 / 7.0 - 3.0), apart);
            }
        }
    }

    #[test]
    fn what_is_lost_is_in_the_bound_and_what_is_impossible_is_not() {
        let mut rows = [[0.0; LANES], [-80.0; LANES], [f32::NEG_INFINITY; LANES]];
        rows.iter_mut().for_each(|row| row[1] = f32::NEG_INFINITY);
        rows[2][2] = f32::NAN;
        let (mut exponents, mut bound) = ([7; LANES], [0.0; LANES]);
        let run = Run(rows.as_flattened_mut(), &mut exponents, &mut bound);
        pulp::Arch::new().dispatch(run);
        assert_eq!((exponents[0], bound[0]), (0, LOSS));
        assert_eq!(rows.map(|row| row[0]), [1.0, 0.0, 0.0]);
        assert_eq!((exponents[1], bound[1]), (0, 0.0));
        assert_eq!(rows.map(|row| row[1]), [0.0; 3]);
        assert!(rows[2][2].is_nan());
    }
    #[test]
    fn nothing_is_known_of_what_is_too_far_out() {
        let far = MOST_EXPONENT * LN_2 * 1.01;
        let mut rows = [[-far; LANES], [far - 1.0; LANES]];
        rows[1][..2].fill(-2.0 * far);
        rows[0][1] = f32::NEG_INFINITY;
        let (mut exponents, mut bound) = ([7; LANES], [0.0; LANES]);
        let run = Run(rows.as_flattened_mut(), &mut exponents, &mut bound);
        pulp::Arch::new().dispatch(run);
        for lane in 0..LANES {
            assert_eq!((rows[0][lane], rows[1][lane], exponents[lane]), (0.0, 0.0, 0));
            assert_eq!(bound[lane], f32::INFINITY);
        }
    }
}
