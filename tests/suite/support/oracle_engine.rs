//! The oracle as an engine: slow, in double precision, row by row. What learning does with it, it has
//! to do with any engine.

use pcc::circuit::{ValidCircuit, Values};
use pcc::data::Dataset;
use pcc::engine::reference::{self, Expected};
use pcc::engine::{Counts, Executable, Tally};
use pcc::real::Real;
use pcc::sector::Parameters;

/// A circuit that the oracle evaluates.
pub struct OracleEngine<'a> {
    circuit: &'a ValidCircuit,
    parameters: &'a Parameters,
    flat: Vec<f64>,
    values: Values<f64>,
}

impl<'a> OracleEngine<'a> {
    /// An engine for a circuit and the parameters bound to it.
    pub fn new(circuit: &'a ValidCircuit, parameters: &'a Parameters) -> Self {
        OracleEngine { circuit, parameters, flat: Vec::new(), values: Values::zeros(circuit) }
    }
}

/// One row of a data set, `None` being a missing value.
pub fn row_of(data: &Dataset, row: u32) -> Vec<Option<f32>> {
    data.variables().ids().map(|var| data.value(row as usize, var)).collect()
}

/// What the rows are expected to have counted, in double precision.
pub fn expected(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    data: &Dataset,
    rows: impl IntoIterator<Item = u32>,
) -> Expected {
    let mut expected = Expected::zeros(circuit);
    for row in rows {
        let row = row_of(data, row);
        let forward = reference::forward(circuit, values, &row);
        reference::expect(circuit, values, &forward, &row, &mut expected);
    }
    expected
}

/// Expected counts where the parameters lie.
pub fn placed<T: Real>(parameters: &Parameters, expected: &Expected) -> Counts<T> {
    let mut counts = Counts::zeros(parameters);
    for maker in parameters.makers().iter().filter(|maker| maker.is_direct()) {
        for (ordinal, &id) in maker.sectors.iter().enumerate() {
            let sector = parameters.table().sectors()[id];
            let own = &mut counts.weights[maker.own_row(ordinal as u32)];
            let of_layer = &expected.weights[sector.weights][sector.first..][..own.len()];
            own.iter_mut().zip(of_layer).for_each(|(out, &count)| *out = T::of(count));
        }
    }
    for (dist, statistics) in expected.leaves.iter() {
        let own = counts.leaf_mut(dist).iter_mut();
        own.zip(statistics).for_each(|(out, &number)| *out = T::of(number));
    }
    counts
}

impl Executable for OracleEngine<'_> {
    fn load(&mut self, parameters: &[f32]) {
        self.flat = parameters.iter().map(|&value| f64::from(value)).collect();
        self.values = self.parameters.values(self.circuit, &self.flat);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        assert_eq!(rows.len(), log_p.len());
        for (log_p, &row) in log_p.iter_mut().zip(rows) {
            *log_p = reference::log_likelihood(self.circuit, &self.values, &row_of(data, row));
        }
        let impossible = log_p.iter().filter(|&&log_p| log_p == f64::NEG_INFINITY).count();
        Tally { impossible, in_logs: 0 }
    }

    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        self.load(parameters);
        let tally = self.log_likelihood(data, rows, log_p);
        let mut d_values = Values::zeros(self.circuit);
        for &row in rows {
            let row = row_of(data, row);
            let forward = reference::forward(self.circuit, &self.values, &row);
            reference::backward(self.circuit, &self.values, &forward, &row, 1.0, &mut d_values);
        }
        let d = self.parameters.gradient(self.circuit, &self.flat, &self.values, &d_values);
        gradient.iter_mut().zip(d).for_each(|(out, d)| *out = d as f32);
        tally
    }

    fn expected_counts(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        counts: &mut Counts<f32>,
    ) -> Option<Tally> {
        self.load(parameters);
        let tally = self.log_likelihood(data, rows, log_p);
        let expected = expected(self.circuit, &self.values, data, rows.iter().copied());
        *counts = placed(self.parameters, &expected);
        Some(tally)
    }

    fn arithmetic(&self) -> String {
        "oracle".into()
    }
}
