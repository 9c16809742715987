//! Circuits of other formats: what they compute is what their texts say, and no text does harm.
//!
//! Truth comes from the tests' own structures, evaluated by definition, from which the texts are made.

pub mod diagrams;
mod files;
mod formulas;
mod networks;
mod smoothing;
mod strangers;
mod structured;

use std::path::Path;
use std::sync::Arc;

use pcc::CpuExecutable;
use pcc::circuit::{Determinism, ValidCircuit, validate};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::{Diagnostics, Source};
use pcc::engine::{Executable, reference};
use pcc::import::{self, Companions, Format, Imported};
use pcc::param::direct::Direct;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::real::log_sum_exp;

use super::support::enumerate::{agrees, observed, worlds};

/// Reads a circuit by the extension of a name.
fn read(name: &str, text: &str, companions: &Companions) -> Result<Imported, Diagnostics> {
    let format = Format::of(Path::new(name)).unwrap();
    import::read(format, &Source::new(name, text), companions)
}

/// Reads a circuit that must be without fault.
fn accepted(name: &str, text: &str, companions: &Companions) -> Imported {
    read(name, text, companions).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// A vtree beside a circuit.
fn with_vtree(text: &str) -> Companions {
    Companions { vtree: Some(Source::new("test.vtree", text)), ..Companions::default() }
}

/// The circuit, validated.
fn circuit(imported: &Imported) -> ValidCircuit {
    let circuit = imported.circuit.clone().unwrap();
    match validate(circuit, &imported.map) {
        Ok((circuit, _)) => circuit,
        Err(faults) => panic!("{faults}"),
    }
}

fn compiled(imported: &Imported, no_rewrite: bool) -> Arc<Compiled> {
    let options = Options { no_rewrite, ..Options::default() };
    let circuit = imported.circuit.clone().unwrap();
    Arc::new(compile(circuit, &imported.map, &Direct, &options).unwrap())
}

fn engine(compiled: &Arc<Compiled>) -> CpuExecutable {
    let how = plan::Options {
        purpose: Purpose::Evaluate,
        schedule: Schedule::Wide,
        batch: 64,
        sharing: Sharing::WherePays,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &how);
    CpuExecutable::new(Arc::clone(compiled), plan, 1).unwrap()
}

/// Every world, and each of them again with the entries missing that a bit pattern names.
fn rows(imported: &Imported) -> Vec<Vec<Option<f32>>> {
    let circuit = imported.circuit.as_ref().unwrap();
    let mut rows: Vec<Vec<Option<f32>>> = worlds(circuit).map(|world| observed(&world)).collect();
    for index in 0..rows.len() {
        let holes = index.wrapping_mul(0x9e37_79b9) >> 3;
        let row = &rows[index];
        let hole = |(var, value): (usize, &Option<f32>)| value.filter(|_| holes >> var & 1 == 0);
        rows.push(row.iter().enumerate().map(hole).collect());
    }
    rows.push(vec![None; circuit.variables().len()]);
    rows
}

fn close(a: f64, b: f64, within: f64) -> bool {
    a == b || (a - b).abs() <= within * b.abs().max(1.0)
}

/// The oracle and compiled plans give a circuit the log-probabilities that `truth` has of worlds,
/// whether it is rewritten or not.
fn computes(imported: &Imported, truth: impl Fn(&[f32]) -> f64) {
    computes_by(imported, &[true, false], truth);
}

/// The same with some choices of not rewriting it. Returns how many rows were evaluated in logarithms.
fn computes_by(imported: &Imported, no_rewrite: &[bool], truth: impl Fn(&[f32]) -> f64) -> usize {
    let table: Vec<(Vec<f32>, f64)> = worlds(imported.circuit.as_ref().unwrap())
        .map(|world| {
            let log_p = truth(&world);
            (world, log_p)
        })
        .collect();
    let rows = rows(imported);
    let expected: Vec<f64> = rows
        .iter()
        .map(|row| {
            let agreeing = table.iter().filter(|(world, _)| agrees(world, row));
            log_sum_exp(agreeing.map(|&(_, log_p)| log_p))
        })
        .collect();
    let mut in_logs = 0;
    for &no_rewrite in no_rewrite {
        let compiled = compiled(imported, no_rewrite);
        let written = &compiled.written;
        let flat: Vec<f32> = compiled.parameters.initial(written, 0, None);
        let values = compiled.parameters.values(written, &vec![0.0; flat.len()]);
        let mut engine = engine(&compiled);
        engine.load(&flat);
        let data = Dataset::from_rows(written.variables(), rows.clone()).unwrap();
        let numbers: Vec<u32> = (0..rows.len() as u32).collect();
        let mut log_p = vec![0.0; rows.len()];
        for (rows, log_p) in numbers.chunks(64).zip(log_p.chunks_mut(64)) {
            in_logs += engine.log_likelihood(&data, rows, log_p).in_logs;
        }
        for ((row, &expected), &log_p) in rows.iter().zip(&expected).zip(&log_p) {
            let oracle = reference::log_likelihood(written, &values, row);
            assert!(close(oracle, expected, 1e-9), "{row:?}: {oracle}, not {expected}");
            assert!(close(log_p, expected, 1e-5), "{row:?}: {log_p}, not {expected}");
        }
    }
    in_logs
}

/// Whether a circuit is deterministic by proof or by its format's word.
fn is_deterministic(imported: &Imported) -> bool {
    let proven = circuit(imported).properties().deterministic == Determinism::Proven;
    proven || imported.deterministic
}
