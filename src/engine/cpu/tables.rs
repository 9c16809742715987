//! Tables of leaves: from raw parameters to what a look-up or a density reads, and from the gradient by
//! that back to the parameters, or to expected statistics.

use crate::leaf::{Dist, Family, counts, discrete, gaussian};
use crate::param::normalise::Least;

/// Writes the table of a leaf that nothing learns. Returns whether it is one.
pub(super) fn constant_table(dist: &Dist, out: &mut [f32]) -> bool {
    if let Family::Indicators { states } = dist.family {
        out.fill(0.0);
        out.iter_mut().step_by(states as usize + 1).for_each(|out| *out = 1.0);
        return true;
    }
    let (true, Some(raw)) = (dist.frozen, dist.given_raw()) else { return false };
    let raw: Vec<f32> = raw.into_iter().map(|value| value as f32).collect();
    table_of(dist.family, &raw, out);
    true
}

/// How small the probabilities in a table are; of densities and logarithms no certificate asks that.
pub(super) fn least_of_table(family: Family, table: &[f32]) -> Least {
    if family.states().is_none() || matches!(family, Family::Binomial { .. }) {
        return Least::NONE;
    }
    let positive = table.iter().copied().filter(|&p| p > 0.0);
    Least { weight: positive.fold(f32::INFINITY, f32::min), zero: false }
}

/// The table that a leaf's look-up or density reads, from raw parameters [units, raw_len].
pub(super) fn table_of(family: Family, raw: &[f32], out: &mut [f32]) {
    let units = raw.chunks_exact(family.raw_len().max(1));
    match family {
        Family::Indicators { .. } => {}
        Family::Bernoulli | Family::Categorical { .. } => {
            let states = family.states().unwrap_or(1);
            for (raw, out) in units.zip(out.chunks_exact_mut(states)) {
                discrete::probabilities(raw, out);
            }
        }
        Family::Gaussian { min_var, max_var } => {
            for (raw, out) in units.zip(out.chunks_exact_mut(3)) {
                let density = gaussian::Bounds { min_var, max_var }.density(raw);
                out[0] = density.mean;
                out[1] = 1.0 / density.var;
                out[2] = -0.5 * (std::f32::consts::TAU * density.var).ln();
            }
        }
        Family::Binomial { trials } => {
            for (raw, out) in units.zip(out.chunks_exact_mut(trials as usize + 1)) {
                for (count, out) in out.iter_mut().enumerate() {
                    *out = counts::log_binomial(f64::from(raw[0]), trials, count as f64) as f32;
                }
            }
        }
        Family::Poisson => out.copy_from_slice(raw),
    }
}

/// Writes the gradient by raw parameters, given that by the table.
pub(super) fn table_back(
    family: Family,
    raw: &[f32],
    table: &[f32],
    d_table: &[f32],
    d_raw: &mut [f32],
) {
    d_raw.fill(0.0);
    let len = family.raw_len().max(1);
    let units = raw.chunks_exact(len).zip(d_raw.chunks_exact_mut(len));
    match family {
        Family::Indicators { .. } => {}
        Family::Bernoulli | Family::Categorical { .. } => {
            let states = family.states().unwrap_or(1);
            let tables = table.chunks_exact(states).zip(d_table.chunks_exact(states));
            for ((_, d_raw), (p, d)) in units.zip(tables) {
                discrete::probabilities_backward(p, d, d_raw);
            }
        }
        Family::Gaussian { min_var, max_var } => {
            let bounds = gaussian::Bounds { min_var, max_var };
            for ((raw, d_raw), d) in units.zip(d_table.chunks_exact(3)) {
                // By the variance v: precision is 1/v, and the last number −½ ln(2π v).
                let (var, d_var) = bounds.variance(raw[1]);
                d_raw[0] = d[0];
                d_raw[1] = d_var * (-d[1] / (var * var) - d[2] / (2.0 * var));
            }
        }
        Family::Binomial { trials } => {
            for ((raw, d_raw), d) in units.zip(d_table.chunks_exact(trials as usize + 1)) {
                let slope = |count: usize| {
                    counts::log_binomial_slope(f64::from(raw[0]), trials, count as f64)
                };
                let sum: f64 =
                    d.iter().enumerate().map(|(count, &d)| f64::from(d) * slope(count)).sum();
                d_raw[0] = sum as f32;
            }
        }
        Family::Poisson => d_raw.copy_from_slice(d_table),
    }
}

/// Writes the expected statistics of each unit ([`crate::leaf::statistics`]), given its table and the
/// gradient by that; nothing where there is nothing to learn.
pub(super) fn table_counts(family: Family, table: &[f32], d_table: &[f32], statistics: &mut [f32]) {
    match family {
        Family::Indicators { .. } => {}
        // The derivative by the logarithm of the rate.
        Family::Poisson => statistics.copy_from_slice(d_table),
        Family::Bernoulli | Family::Categorical { .. } => {
            let pairs = table.iter().zip(d_table);
            statistics.iter_mut().zip(pairs).for_each(|(count, (p, d))| *count = p * d);
        }
        Family::Gaussian { .. } => {
            let units = table.chunks_exact(3).zip(d_table.chunks_exact(3));
            for (out, (unit, d)) in statistics.chunks_exact_mut(3).zip(units) {
                // By mean, precision and what does not depend on the value.
                out.copy_from_slice(&[d[2], d[0] / unit[1], -2.0 * d[1]]);
            }
        }
        Family::Binomial { trials } => {
            let units = d_table.chunks_exact(trials as usize + 1);
            for (out, d) in statistics.chunks_exact_mut(2).zip(units) {
                let successes = d.iter().enumerate().map(|(count, &d)| count as f64 * f64::from(d));
                out[1] = successes.sum::<f64>() as f32;
                out[0] = d.iter().map(|&d| f64::from(d)).sum::<f64>() as f32;
            }
        }
    }
}
