//! What is asked of a model given each row of data: every variable's distribution, or how likely some of its
//! values are given the others.

use rayon::prelude::*;

use super::Model;
use super::evaluate::{NotALikelihood, log_likelihoods};
use crate::data::Dataset;
use crate::engine::{Conditionals, Executable};
use crate::ids::VarId;
use crate::query::{self, Conditional, Posterior};
use crate::variables::VarKind;

impl Model {
    /// The distributions given each row of `data`, by an engine made for this circuit and for
    /// [queries](crate::plan::Purpose::Query): each probability to 10⁻⁵ of itself and 2⁻²⁰. By an engine
    /// that does not answer, as [`Model::conditionals_as_written`].
    pub fn conditionals(&self, executable: &mut dyn Executable, data: &Dataset) -> Conditionals {
        executable.load(&self.flat);
        let rows: Vec<u32> = (0..data.rows() as u32).collect();
        match executable.conditionals(data, &rows) {
            Some((found, _)) => found,
            None => self.conditionals_as_written(data),
        }
    }

    /// The same by a walk over the circuit as written, in double precision, for each row: some hundred
    /// times slower.
    pub fn conditionals_as_written(&self, data: &Dataset) -> Conditionals {
        let (circuit, values) = (&self.compiled.written, self.values());
        let given = |at: usize| {
            let row: Vec<Option<f32>> =
                circuit.variables().ids().map(|var| data.value(at, var)).collect();
            let posterior = Posterior::new(circuit, &values, &row)?;
            let numbers = query::conditionals(&posterior).into_iter().flat_map(numbers);
            Some((posterior.log_evidence(), numbers.collect::<Vec<f64>>()))
        };
        let rows: Vec<_> = (0..data.rows()).into_par_iter().map(given).collect();
        let mut found = Conditionals::new(circuit.variables(), rows.len());
        let nothing = vec![f64::NAN; found.width()];
        for (at, row) in rows.into_iter().enumerate() {
            match row {
                Some((log_p, numbers)) => found.set(at, log_p, &numbers),
                None => found.set(at, f64::NEG_INFINITY, &nothing),
            }
        }
        found
    }

    /// ln p(A | B) in nats for each row of `data`, where A are its observed values of the variables `of`, and B
    /// the others: the difference of two marginals, each to the engine's precision. −∞ where A is impossible
    /// given B; `None` where B is itself impossible.
    ///
    /// # Errors
    /// The first row one of whose marginals is NaN or +∞.
    pub fn log_conditionals(
        &self,
        executable: &mut dyn Executable,
        of: &[VarId],
        data: &Dataset,
    ) -> Result<Vec<Option<f64>>, NotALikelihood> {
        let variables = self.compiled.written.variables();
        executable.load(&self.flat);
        let (given, _) = log_likelihoods(executable, &data.without(of))?;
        let (both, _) = log_likelihoods(executable, data)?;
        // A probability is one at most, a density is not.
        let is_discrete = of.iter().all(|&var| variables.kind(var) != VarKind::Real);
        let most = if is_discrete { 0.0 } else { f64::INFINITY };
        let of_row = |(given, both): (f64, f64)| {
            (given > f64::NEG_INFINITY).then(|| (both - given).min(most))
        };
        Ok(given.into_iter().zip(both).map(of_row).collect())
    }
}

/// A distribution as [`Conditionals`] has it.
fn numbers(of: Conditional) -> Vec<f64> {
    match of {
        Conditional::States(p) => p,
        Conditional::Real { mean, variance } => vec![mean, variance],
    }
}
