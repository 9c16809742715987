//! The likeliest completion of each row of data.

use rayon::prelude::*;

use super::Model;
use crate::data::Dataset;
use crate::engine::Executable;
use crate::query::{self, Completion, Query};

impl Model {
    /// The most probable completion of each row of `data`, or a likely one where the circuit is not known to
    /// be deterministic, by an engine made for this circuit and for
    /// [queries](crate::plan::Purpose::Query), which finds it and evaluates it. `None` for an impossible
    /// row. By an engine that does not answer, as [`Model::complete_as_written`].
    pub fn complete(
        &self,
        executable: &mut dyn Executable,
        data: &Dataset,
    ) -> Vec<Option<Completion>> {
        executable.load(&self.flat);
        let rows: Vec<u32> = (0..data.rows() as u32).collect();
        let Some(found) = executable.completions(data, &rows) else {
            return self.complete_as_written(data);
        };
        let possible = |row: &usize| found.log_best(*row) > f64::NEG_INFINITY;
        let possible: Vec<usize> = (0..found.rows()).filter(possible).collect();
        let observed = |&row: &usize| found.of(row).iter().map(|x| (!x.is_nan()).then_some(*x));
        let full = possible.iter().map(|row| observed(row).collect());
        // A mean may be no number that data can have.
        let Ok(full) = Dataset::from_rows(data.variables(), full) else {
            return self.complete_as_written(data);
        };
        let mut log_p = vec![0.0; possible.len()];
        executable.log_likelihood(&full, &rows[..possible.len()], &mut log_p);
        let answer = query::answer(Query::Map, &self.compiled.written);
        let mut completions = vec![None; found.rows()];
        for (row, log_p) in possible.into_iter().zip(log_p) {
            completions[row] = Some(Completion { row: found.of(row).to_vec(), log_p, answer });
        }
        completions
    }

    /// The same by walks over the circuit as written, in double precision: some hundred times slower.
    pub fn complete_as_written(&self, data: &Dataset) -> Vec<Option<Completion>> {
        let (circuit, values) = (&self.compiled.written, self.values());
        let complete = |at: usize| {
            let row: Vec<Option<f32>> =
                circuit.variables().ids().map(|var| data.value(at, var)).collect();
            query::map(circuit, &values, &row)
        };
        (0..data.rows()).into_par_iter().map(complete).collect()
    }
}
