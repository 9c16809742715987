//! The engine that a command runs on.

use super::args::Run;
use super::failure::Failure;
use super::run;
use super::size::ByteSize;
use crate::circuit::Values;
use crate::compile::Compiled;
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::engine::{Executable, Tally, reference};
use crate::ids::Id;
use crate::plan::{self, Plan, Purpose, Schedule, plan};

/// Plans the circuit for rows in batches of `batch`, within the memory that the user allows, if any:
/// level by level where that fits, else depth first.
///
/// # Errors
/// E0702 when not even that fits.
pub fn planned(
    compiled: &Compiled,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Plan, Failure> {
    let make = |schedule| {
        let options = plan::Options { purpose, schedule, batch };
        plan(&compiled.circuit, &compiled.parameters, &options)
    };
    let wide = make(Schedule::Wide);
    let Some(limit) = run.memory else { return Ok(wide) };
    let needs = |plan: &Plan| ByteSize(plan.memory().activations(run::threads(run)) as u64);
    if needs(&wide) <= limit {
        return Ok(wide);
    }
    let deep = make(Schedule::Deep);
    if needs(&deep) <= limit {
        return Ok(deep);
    }
    let message = format!("the plan keeps {} of values, more than {limit}", needs(&deep));
    Err(Diagnostic::new(Code::E0702, message)
        .help("fewer threads or smaller batches need less")
        .into())
}

/// The circuit, ready to run on the engine that the user chose.
///
/// # Errors
/// E0701 where the engine cannot be had, E0702 where the memory does not suffice.
pub fn executable<'a>(
    compiled: &'a Compiled,
    run: &Run,
    purpose: Purpose,
    batch: u32,
) -> Result<Box<dyn Executable + 'a>, Failure> {
    run::check(run)?;
    let _plan = planned(compiled, run, purpose, batch)?;
    Ok(Box::new(Oracle { compiled, values: Values::zeros(&compiled.written) }))
}

struct Oracle<'a> {
    compiled: &'a Compiled,
    values: Values<f64>,
}

impl Oracle<'_> {
    fn row(&self, data: &Dataset, row: u32) -> Vec<Option<f32>> {
        (0..data.columns())
            .map(|c| data.value(row as usize, crate::ids::VarId::from_index(c)))
            .collect()
    }
}

impl Executable for Oracle<'_> {
    fn load(&mut self, parameters: &[f32]) {
        let flat: Vec<f64> = parameters.iter().map(|&v| f64::from(v)).collect();
        self.values = self.compiled.parameters.values(&self.compiled.written, &flat);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        for (out, &row) in log_p.iter_mut().zip(rows) {
            *out = reference::log_likelihood(
                &self.compiled.written,
                &self.values,
                &self.row(data, row),
            );
        }
        Tally::default()
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
        let circuit = &self.compiled.written;
        let mut d = Values::zeros(circuit);
        for (out, &row) in log_p.iter_mut().zip(rows) {
            let row = self.row(data, row);
            let f = reference::forward(circuit, &self.values, &row);
            *out = f.log_likelihood();
            reference::backward(circuit, &self.values, &f, &row, 1.0, &mut d);
        }
        let flat: Vec<f64> = parameters.iter().map(|&v| f64::from(v)).collect();
        let g = self.compiled.parameters.gradient(circuit, &flat, &self.values, &d);
        gradient.iter_mut().zip(g).for_each(|(o, g)| *o = g as f32);
        Tally::default()
    }

    fn arithmetic(&self) -> String {
        "oracle".into()
    }
}
