//! `pcc bench`: milliseconds a step and an evaluation, beside what this machine can do.
//!
//! A step is what `pcc train` does: drawing a batch, weights, forward, backward, optimiser. Each step
//! and each evaluation has a fresh batch, so that nothing is found in a cache that a real run would
//! not find there.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::answer::{Answer, Table, thousands};
use super::args::{Bench, EngineName};
use super::failure::Failure;
use super::load::{self, Ready};
use super::{engine, peak, run};
use crate::compile::Compiled;
use crate::data::Dataset;
use crate::engine::{Executable, reference};
use crate::plan::Purpose;
use crate::train::batches::Batches;
use crate::train::{Method, Optimizer};
use crate::variables::{VarKind, Variables};

/// Batches that random rows are enough for.
const BATCHES: usize = 10;
/// Rows that the reference engine is asked about.
const JUDGED: usize = 16;
/// Time spent on each measurement, after a tenth of it to warm up.
const TIME: Duration = Duration::from_secs(2);
/// Multiply-adds of a step beside those of a forward pass: the backward pass has two for each.
const PASSES: f64 = 3.0;
/// A learning rate so small that the measurement does not wander off.
const RATE: f64 = 1e-4;

/// What programs read.
#[derive(Serialize)]
struct Report {
    train_step_ms: f64,
    eval_ms: f64,
    /// Rows a second in training.
    samples_per_second: f64,
    /// Rows a second of evaluations, weights made anew for each batch.
    eval_samples_per_second: f64,
    /// The same of the reference engine, on one thread and with weights that are made; null as `log_p_error` is.
    reference_samples_per_second: Option<f64>,
    /// Multiply-adds a second of a training step, of the circuit's alone, over those of the measured
    /// peak of as many threads; null on a device, whose peak is not measured.
    peak_fraction: Option<f64>,
    /// The same of an evaluation.
    eval_peak_fraction: Option<f64>,
    /// Thousand million multiply-adds a second, twice: the measured peak.
    peak_gflops: Option<f64>,
    batch: u32,
    threads: usize,
    arithmetic: String,
    /// The furthest that ln p of some rows was from the reference engine's, in nats; null where that was not asked.
    log_p_error: Option<f64>,
    /// The furthest that the precision of wide sums can take it, beside single precision; null on the processor.
    log_p_error_bound: Option<f64>,
}

/// What was measured of an evaluation.
struct Evaluated {
    /// Of a batch, weights included.
    seconds: f64,
    arithmetic: String,
    /// What the reference engine says; none under `--memory`, which it does not keep to.
    judged: Option<Judged>,
}

/// Some rows by the reference engine.
struct Judged {
    /// How far it was from the other at most, in nats.
    off: f64,
    rows_per_second: f64,
}

/// Measures.
///
/// # Errors
/// What is wrong with the circuit or the data.
pub fn run(args: &Bench) -> Result<Answer, Failure> {
    run::check(&args.run)?;
    let ready = load::ready(&args.circuit, args.data.as_deref(), &args.run)?;
    let batch = args.batch.get();
    let data = match &args.data {
        Some(path) => load::data(path, &ready.compiled)?,
        None => random(ready.compiled.written.variables(), batch as usize * BATCHES)?,
    };
    let threads = run::threads(&args.run);
    let on_cpu = args.run.engine == EngineName::Cpu;
    let peak = on_cpu.then(|| peak::multiply_adds_per_second(threads));
    let step = train_step(args, &ready, &data)?;
    let Evaluated { seconds: eval, arithmetic, judged } = evaluation(args, &ready, &data)?;
    let plan = engine::planned(&ready.compiled, &args.run, Purpose::Evaluate, batch)?.plan;
    let laid_out =
        || engine::laid_out(&ready.compiled, &args.run, Purpose::Evaluate, batch, usize::MAX);
    let layout = (!on_cpu).then(laid_out).transpose()?;
    let forward = plan.multiply_adds() as f64 * f64::from(batch);
    let report = Report {
        train_step_ms: step * 1e3,
        eval_ms: eval * 1e3,
        samples_per_second: f64::from(batch) / step,
        eval_samples_per_second: f64::from(batch) / eval,
        reference_samples_per_second: judged.as_ref().map(|judged| judged.rows_per_second),
        peak_fraction: peak.map(|peak| PASSES * forward / step / peak),
        eval_peak_fraction: peak.map(|peak| forward / eval / peak),
        peak_gflops: peak.map(|peak| 2.0 * peak / 1e9),
        batch,
        threads,
        arithmetic,
        log_p_error: judged.map(|judged| judged.off),
        log_p_error_bound: layout.map(|layout| layout.accuracy().log_p()),
    };
    let answer = Answer::new(&report)?.table(table(&report));
    Ok(answer.warnings(ready.compiled.warnings.clone(), &ready.source))
}

/// Seconds of a training step, which the engine takes if it can.
fn train_step(args: &Bench, ready: &Ready, data: &Dataset) -> Result<f64, Failure> {
    let compiled = &ready.compiled;
    let (parameters, batch) = (&compiled.parameters, args.batch.get());
    let mut executable = engine::executable(compiled, &args.run, Purpose::Train, batch)?;
    let tensors = parameters.tensors();
    executable.prepare(data);
    let mut optimizer = Optimizer::new(Method::default(), tensors, RATE, parameters.decay(), &[])?;
    let mut flat: Vec<f32> = parameters.initial(&compiled.written, 0, None);
    let mut gradient = vec![0.0; flat.len()];
    let mut batches = Batches::new(0, data.rows(), batch as usize);
    let mut log_p = vec![0.0; batches.size()];
    let moments = optimizer.moments();
    let begun = executable.stepper().is_some_and(|stepper| stepper.begin(data, &flat, moments));
    let took = match executable.stepper().filter(|_| begun) {
        Some(stepper) => seconds(|step| {
            stepper.step(data, batches.draw(step), optimizer.next_step(1.0), &mut log_p);
        }),
        None => seconds(|step| {
            let rows = batches.draw(step);
            executable.gradient(&flat, data, rows, &mut log_p, &mut gradient);
            optimizer.step(1.0, &mut flat, &gradient);
        }),
    };
    match executable.fault() {
        Some(fault) => Err(fault.into()),
        None => Ok(took),
    }
}

/// Measures an evaluation of batches.
fn evaluation(args: &Bench, ready: &Ready, data: &Dataset) -> Result<Evaluated, Failure> {
    let compiled = &ready.compiled;
    let batch = args.batch.get();
    let mut executable: Box<dyn Executable> =
        engine::executable(compiled, &args.run, Purpose::Evaluate, batch)?;
    executable.prepare(data);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let mut batches = Batches::new(1, data.rows(), batch as usize);
    let mut log_p = vec![0.0; batches.size()];
    let seconds = seconds(|step| {
        executable.load(&flat);
        executable.log_likelihood(data, batches.draw(step), &mut log_p);
    });
    let judge = || judge(executable.as_mut(), compiled, &flat, data);
    let judged = args.run.memory.is_none().then(judge);
    if let Some(fault) = executable.fault() {
        return Err(fault.into());
    }
    Ok(Evaluated { seconds, arithmetic: executable.arithmetic(), judged })
}

/// Compares ln p of the first rows with what the reference engine says.
fn judge(
    executable: &mut dyn Executable,
    compiled: &Compiled,
    flat: &[f32],
    data: &Dataset,
) -> Judged {
    let double: Vec<f64> = flat.iter().map(|&number| number.into()).collect();
    let circuit = &compiled.written;
    let values = compiled.parameters.values(circuit, &double);
    let rows: Vec<u32> = (0..data.rows().min(JUDGED) as u32).collect();
    let mut log_p = vec![0.0; rows.len()];
    executable.load(flat);
    executable.log_likelihood(data, &rows, &mut log_p);
    let evaluate = |&row: &u32| {
        let row: Vec<Option<f32>> =
            circuit.variables().ids().map(|var| data.value(row as usize, var)).collect();
        reference::log_likelihood(circuit, &values, &row)
    };
    let start = Instant::now();
    let expected: Vec<f64> = rows.iter().map(evaluate).collect();
    let rows_per_second = rows.len() as f64 / start.elapsed().as_secs_f64();
    let off = expected
        .iter()
        .zip(&log_p)
        .map(|(expected, found)| if expected == found { 0.0 } else { (expected - found).abs() });
    // Of numbers, and of what is none, the latter.
    let off = off.fold(0.0, |most, off| if off.is_nan() { off } else { off.max(most) });
    Judged { off, rows_per_second }
}

/// Mean seconds of a call, which is told its number.
fn seconds(mut call: impl FnMut(u64)) -> f64 {
    let mut number = 0;
    let mut repeat = |time: Duration| {
        let (start, first) = (Instant::now(), number);
        while number == first || start.elapsed() < time {
            call(number);
            number += 1;
        }
        start.elapsed().as_secs_f64() / (number - first) as f64
    };
    repeat(TIME / 10);
    repeat(TIME)
}

/// Rows of independent values: each category equally likely, reals uniform on [−1, 1).
fn random(variables: &Variables, rows: usize) -> Result<Dataset, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut value = |kind| match kind {
        VarKind::Categorical { states } => rng.random_range(0..states) as f32,
        VarKind::Real => rng.random_range(-1.0..1.0),
    };
    let rows = (0..rows)
        .map(|_| variables.ids().map(|var| Some(value(variables.kind(var)))).collect::<Vec<_>>());
    Ok(Dataset::from_rows(variables, rows)?)
}

fn table(report: &Report) -> Table {
    let none = || "–".to_string();
    let percent =
        |share: Option<f64>| share.map_or_else(none, |share| format!("{:.1} %", 100.0 * share));
    let nats = |off: Option<f64>| off.map_or_else(none, |off| format!("{off:.1e} nats"));
    let rate = |rows: Option<f64>| rows.map_or_else(none, |rows| thousands(rows as u64));
    let peak = report.peak_gflops.map_or_else(none, |peak| format!("{peak:.0} GFLOP/s"));
    Table::new()
        .row([&"training step", &format!("{:.3} ms", report.train_step_ms)])
        .row([&"evaluation", &format!("{:.3} ms", report.eval_ms)])
        .row([&"rows a second, training", &thousands(report.samples_per_second as u64)])
        .row([&"rows a second, evaluation", &thousands(report.eval_samples_per_second as u64)])
        .row([&"by the reference engine", &rate(report.reference_samples_per_second)])
        .row([&"batch", &thousands(report.batch)])
        .row([&"threads", &report.threads])
        .row([&"measured peak", &peak])
        .row([&"share of it, training", &percent(report.peak_fraction)])
        .row([&"share of it, evaluation", &percent(report.eval_peak_fraction)])
        .row([&"furthest from the reference", &nats(report.log_p_error)])
        .row([&"bound by the precision of wide sums", &nats(report.log_p_error_bound)])
}
