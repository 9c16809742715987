//! How well a model explains data.

use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::engine::{Executable, Tally};

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
    /// Rows that linear arithmetic might have lost a part of, and that were evaluated in the log
    /// domain.
    pub rows_in_logs: usize,
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
    let (log_p, tally) = log_likelihoods(executable, data)?;
    let mut totals = Totals::default();
    totals.add(&log_p);
    let mean_ll = totals.mean();
    let rows = log_p.len();
    let std_error = mean_ll.filter(|_| rows > 1).map(|mean| {
        let squares: f64 = log_p.iter().map(|log_p| (log_p - mean).powi(2)).sum();
        (squares / (rows - 1) as f64 / rows as f64).sqrt()
    });
    let bits_per_dim =
        mean_ll.map(|mean| (0.0 - mean) / (data.columns() as f64 * std::f64::consts::LN_2));
    let impossible_rows = totals.impossible;
    let rows_in_logs = tally.in_logs;
    Ok(Evaluation { rows, mean_ll, impossible_rows, std_error, bits_per_dim, rows_in_logs, log_p })
}

/// ln p of each row of `data`, in nats, under the parameters that the engine has loaded, and what
/// became of the rows.
///
/// # Errors
/// The first row whose log-likelihood is NaN or +∞.
pub fn log_likelihoods(
    executable: &mut dyn Executable,
    data: &Dataset,
) -> Result<(Vec<f64>, Tally), NotALikelihood> {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let mut log_p = vec![0.0; rows.len()];
    let tally = executable.log_likelihood(data, &rows, &mut log_p);
    match fault(&log_p) {
        Some(row) => Err(NotALikelihood { row, log_p: log_p[row] }),
        None => Ok((log_p, tally)),
    }
}

/// The first entry that no logarithm of a probability or density can be.
pub(crate) fn fault(log_p: &[f64]) -> Option<usize> {
    log_p.iter().position(|&log_p| log_p.is_nan() || log_p == f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    /// An engine that says what it was told to.
    struct Told(Vec<f64>);

    impl Executable for Told {
        fn load(&mut self, _: &[f32]) {}

        fn log_likelihood(&mut self, _: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
            log_p.iter_mut().zip(rows).for_each(|(out, &row)| *out = self.0[row as usize]);
            Tally::default()
        }

        fn gradient(
            &mut self,
            _: &[f32],
            data: &Dataset,
            rows: &[u32],
            log_p: &mut [f64],
            _: &mut [f32],
        ) -> Tally {
            self.log_likelihood(data, rows, log_p)
        }

        fn arithmetic(&self) -> String {
            String::new()
        }
    }

    fn evaluated(log_p: &[f64]) -> String {
        let rows = log_p.iter().map(|_| vec![None; 4]);
        let data = Dataset::from_rows(&Variables::binary(4), rows).unwrap();
        match evaluate(&mut Told(log_p.to_vec()), &data) {
            Ok(found) => {
                assert_eq!(found.log_p, log_p);
                serde_json::to_string(&found).unwrap()
            }
            Err(fault) => format!("{fault:?}"),
        }
    }

    /// Of −1, −2 and −6: mean −3, squares about it 4 + 1 + 9 = 14, error √(14 / 2 / 3).
    #[test]
    fn mean_error_and_bits_are_as_computed_by_hand_and_null_where_they_do_not_exist() {
        let infinite = f64::NEG_INFINITY;
        let found = [
            evaluated(&[-1.0, -2.0, -6.0]),
            evaluated(&[-1.0, infinite, infinite]),
            evaluated(&[-4.0 * std::f64::consts::LN_2]),
            evaluated(&[]),
            evaluated(&[infinite, -1.0, f64::NAN]),
            evaluated(&[-1.0, f64::INFINITY]),
        ];
        insta::assert_snapshot!(found.join("\n"), @r#"
        {"rows":3,"mean_ll":-3.0,"impossible_rows":0,"std_error":1.5275252316519468,"bits_per_dim":1.0820212806667227,"rows_in_logs":0}
        {"rows":3,"mean_ll":null,"impossible_rows":2,"std_error":null,"bits_per_dim":null,"rows_in_logs":0}
        {"rows":1,"mean_ll":-2.772588722239781,"impossible_rows":0,"std_error":null,"bits_per_dim":1.0,"rows_in_logs":0}
        {"rows":0,"mean_ll":null,"impossible_rows":0,"std_error":null,"bits_per_dim":null,"rows_in_logs":0}
        NotALikelihood { row: 2, log_p: NaN }
        NotALikelihood { row: 1, log_p: inf }
        "#);
    }

    #[test]
    fn fewer_impossible_rows_are_better_whatever_the_others() {
        let totals = |log_p: &[f64]| {
            let mut totals = Totals::default();
            totals.add(log_p);
            totals
        };
        let infinite = f64::NEG_INFINITY;
        let best_first = [
            totals(&[-9.0, -9.0, -9.0]),
            totals(&[-9.0, -9.0, -9.5]),
            totals(&[-1.0, infinite, -1.0]),
            totals(&[-1.0, infinite, -2.0]),
            totals(&[infinite; 3]),
        ];
        for (i, a) in best_first.iter().enumerate() {
            for (j, b) in best_first.iter().enumerate() {
                assert_eq!(a.better_than(b), i < j, "{i}, {j}");
            }
        }
    }
}
