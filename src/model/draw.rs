//! Rows drawn from a model given each row of data.

use rayon::prelude::*;

use super::Model;
use crate::data::Dataset;
use crate::engine::{Draws, Executable};
use crate::sample::{Sampler, row_rng};

impl Model {
    /// `each` rows drawn given each row of `data`, by an engine made for this circuit and for
    /// [queries](crate::plan::Purpose::Query). The same rows for the same seed, whatever the number of
    /// threads; see [`Executable::draws`]. By an engine that does not answer, as
    /// [`Model::draws_as_written`].
    pub fn draws(
        &self,
        executable: &mut dyn Executable,
        data: &Dataset,
        each: usize,
        seed: u64,
    ) -> Draws {
        executable.load(&self.flat);
        let rows: Vec<u32> = (0..data.rows() as u32).collect();
        match executable.draws(data, &rows, each, seed) {
            Some((found, _)) => found,
            None => self.draws_as_written(data, each, seed),
        }
    }

    /// The same by walks over the circuit as written, in double precision: some hundred times slower. Random
    /// numbers are met in another order where rewriting has changed the circuit, or trees reach several
    /// parts of its plan, so that rows of one seed are others, of the same distribution.
    pub fn draws_as_written(&self, data: &Dataset, each: usize, seed: u64) -> Draws {
        let (circuit, values) = (&self.compiled.written, self.values());
        let given = |at: usize| {
            let row: Vec<Option<f32>> =
                circuit.variables().ids().map(|var| data.value(at, var)).collect();
            let sampler = Sampler::new(circuit, &values, &row)?;
            let first = (at * each) as u64;
            let drawn = sampler.draw_rows(each, |number| row_rng(seed, first + number));
            Some((sampler.log_evidence(), drawn))
        };
        let rows: Vec<_> = (0..data.rows()).into_par_iter().map(given).collect();
        let mut found = Draws::new(rows.len(), each, data.columns());
        let nothing = vec![f32::NAN; each * data.columns()];
        for (at, row) in rows.into_iter().enumerate() {
            match row {
                Some((log_p, drawn)) => found.set(at, log_p, &drawn),
                None => found.set(at, f64::NEG_INFINITY, &nothing),
            }
        }
        found
    }
}
