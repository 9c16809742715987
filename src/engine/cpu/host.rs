//! What another engine uses of this one: weights and their gradients on the host, and rows in doubt.
//!
//! The other engine runs the passes; it is given coefficients, and gives gradients by them back. The plan
//! has one shard, so that there is one place for these.

use super::CpuExecutable;
use super::weights::constants;
use crate::circuit::ValidCircuit;
use crate::data::Dataset;
use crate::engine::{Counts, tell_of_nothing};
use crate::param::normalise::Least;
use crate::plan::Part;

/// Writes the coefficients of a part that nothing learns. Returns how small they are.
pub(crate) fn constant_coefficients(
    circuit: &ValidCircuit,
    part: &Part,
    coefficients: &mut [f32],
) -> Least {
    constants(circuit.weights(), circuit.dists(), part, coefficients)
}

impl CpuExecutable {
    /// The rows of a batch, `[tiles][variables][LANES]`; NaN where a value is missing, and past the last row.
    pub(crate) fn gather_rows(&mut self, data: &Dataset, rows: &[u32]) -> &[f32] {
        self.gather(data, rows);
        &self.data
    }

    /// The coefficients of a part under the parameters loaded last, and whether no product of it can lose a
    /// unit.
    pub(crate) fn coefficients(&self, part: usize) -> (&[f32], bool) {
        let state = &self.states[part];
        (&state.coefficients, state.certified)
    }

    /// Where the gradients by a part's coefficients belong.
    pub(crate) fn d_coefficients(&mut self, part: usize) -> &mut [f32] {
        &mut self.states[part].shards[0].d_coefficients
    }

    /// Evaluates rows of the batch gathered last in the log domain: writes their ln p and, to train, adds
    /// their gradients by coefficients. Returns how many there were.
    pub(crate) fn settle(
        &mut self,
        in_doubt: impl Iterator<Item = u32>,
        missing: bool,
        train: bool,
        log_p: &mut [f64],
    ) -> usize {
        self.head_shards[0].in_doubt.clear();
        self.head_shards[0].in_doubt.extend(in_doubt);
        let count = self.settle_doubt(missing, train);
        for &row in &self.head_shards[0].in_doubt {
            log_p[row as usize] = self.rows.log_p[row as usize];
        }
        count
    }

    /// Says of rows of which nothing is known that they are certain.
    pub(crate) fn tell_of_nothing(&self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) {
        tell_of_nothing(self.numbers.is_whole, data, rows, log_p);
    }

    /// From the gradients by coefficients to expected counts, under the parameters loaded last.
    pub(crate) fn collect_counts(&mut self, counts: &mut Counts<f32>) {
        self.count(counts);
    }

    /// From the gradients by coefficients to those by parameters.
    pub(crate) fn collect_gradients(&mut self, parameters: &[f32], gradient: &mut [f32]) {
        gradient.fill(0.0);
        self.collect(parameters, gradient);
    }
}
