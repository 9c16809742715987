//! How well a model explains data.

use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::engine::Executable;

/// A sum of log-likelihoods, in nats, with the impossible rows kept apart: one of them would make the
/// sum −∞ and hide all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows added.
    pub rows: usize,
    /// Those of probability zero.
    pub impossible: usize,
    /// Sum over the others.
    pub sum: f64,
}

impl Totals {
    /// Adds rows.
    pub fn add(&mut self, log_p: &[f64]) {
        self.rows += log_p.len();
        for &log_p in log_p {
            match log_p == f64::NEG_INFINITY {
                true => self.impossible += 1,
                false => self.sum += log_p,
            }
        }
    }

    /// The mean over all rows; `None` when a row is impossible, or there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.impossible == 0 && self.rows > 0).then(|| self.sum / self.rows as f64)
    }

    /// Whether this is better than `other` on the same rows: fewer impossible rows, or as many and a
    /// greater sum over the rest.
    pub fn better_than(&self, other: &Totals) -> bool {
        self.impossible < other.impossible
            || self.impossible == other.impossible && self.sum > other.sum
    }
}

/// A log-likelihood that is NaN or +∞.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotALikelihood {
    /// The row of the data set, counted from 0.
    pub row: usize,
    /// ln p, as it was computed.
    pub log_p: f64,
}

/// Log-likelihoods of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of rows.
    pub rows: usize,
    /// Mean of ln p over the rows, in nats; `None` when a row is impossible.
    pub mean_ll: Option<f64>,
    /// Rows of probability zero.
    pub impossible_rows: usize,
    /// Standard error of the mean; `None` when a row is impossible or there are fewer than two.
    pub std_error: Option<f64>,
    /// −mean / (variables · ln 2).
    pub bits_per_dim: Option<f64>,
    /// ln p of each row, in nats.
    #[serde(skip)]
    pub log_p: Vec<f64>,
}

/// Evaluates all rows of `data` under the parameters that the engine has loaded.
///
/// # Errors
/// The first row whose log-likelihood is NaN or +∞.
pub fn evaluate(
    executable: &mut dyn Executable,
    data: &Dataset,
) -> Result<Evaluation, NotALikelihood> {
    let log_p = log_likelihoods(executable, data)?;
    let mut totals = Totals::default();
    totals.add(&log_p);
    let mean_ll = totals.mean();
    let rows = log_p.len();
    let std_error = mean_ll.filter(|_| rows > 1).map(|mean| {
        let squares: f64 = log_p.iter().map(|log_p| (log_p - mean).powi(2)).sum();
        (squares / (rows - 1) as f64 / rows as f64).sqrt()
    });
    let bits_per_dim = mean_ll.map(|mean| -mean / (data.columns() as f64 * std::f64::consts::LN_2));
    let impossible_rows = totals.impossible;
    Ok(Evaluation { rows, mean_ll, impossible_rows, std_error, bits_per_dim, log_p })
}

/// ln p of each row of `data`, in nats, under the parameters that the engine has loaded.
///
/// # Errors
/// The first row whose log-likelihood is NaN or +∞.
pub fn log_likelihoods(
    executable: &mut dyn Executable,
    data: &Dataset,
) -> Result<Vec<f64>, NotALikelihood> {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let mut log_p = vec![0.0; rows.len()];
    executable.log_likelihood(data, &rows, &mut log_p);
    match fault(&log_p) {
        Some(row) => Err(NotALikelihood { row, log_p: log_p[row] }),
        None => Ok(log_p),
    }
}

/// The first entry that no logarithm of a probability or density can be.
pub(crate) fn fault(log_p: &[f64]) -> Option<usize> {
    log_p.iter().position(|&log_p| log_p.is_nan() || log_p == f64::INFINITY)
}
