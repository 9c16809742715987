//! Milliseconds a training step and an evaluation on real rows, each distinct sub-assignment once and
//! row by row, on two threads.
//!
//! Run with `PCC_DATA=FOLDER cargo bench --bench sharing`, FOLDER holding `NAME/NAME.train.data` and
//! `NAME/NAME.test.data` of the sets below. `PCC_YARDSTICK` is as in `benches/dense.rs`: a program that
//! times another implementation on random rows. `PCC_ONLY` may name one set.
//!
//! A training step is all that `pcc train` does in one: what a run of twice as many steps takes longer
//! than a run of so many, a step. An evaluation is of the whole test set, weights included, after the
//! set was interned; interning is printed beside it. Of the training set the bytes that were interned
//! are printed too, and how long that took in epochs, passes over all rows in such steps.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use pcc::compile::{Compiled, Options, compile};
use pcc::data::{self, Dataset};
use pcc::diag::Source;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::param::registry::Registry;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::structure;
use pcc::train::{Recipe, Splits, fit};

const THREADS: usize = 2;
/// Data sets and rows a batch.
const SETS: [(&str, u32); 7] = [
    ("nltcs", 500),
    ("plants", 500),
    ("baudio", 500),
    ("kdd", 500),
    ("msweb", 500),
    ("bbc", 50),
    ("ad", 50),
];
const PARAMETERIZERS: [(&str, &str); 2] = [
    ("weight decay", "WeightDecay(lambda: 1e-4)"),
    ("hyper", "Hyper(embedding: 5, hidden: [20, 20])"),
];
/// Rows of a batch of an evaluation.
const EVALUATED: u32 = 500;
/// Each measurement is the median of so many.
const REPEATS: usize = 5;
/// Seconds that one of them takes, about.
const LENGTH: f64 = 0.5;

fn main() -> Result<(), Box<dyn Error>> {
    let Ok(folder) = std::env::var("PCC_DATA") else {
        println!("SKIPPED: PCC_DATA names no folder of data sets");
        return Ok(());
    };
    let only = std::env::var("PCC_ONLY").ok();
    println!("set      parameterizer  how      step ms  × yardstick  test set ms  × yardstick");
    for (name, batch) in
        SETS.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|o| o == name))
    {
        let file = |part| Path::new(&folder).join(name).join(format!("{name}.{part}.data"));
        for (title, parameterizer) in PARAMETERIZERS {
            let columns = columns_of(&file("train"))?;
            let compiled = Arc::new(rat_spn(columns, parameterizer)?);
            let variables = compiled.written.variables();
            let train = data::read(&file("train"), variables)?;
            let test = data::read(&file("test"), variables)?;
            let bar = std::env::var("PCC_YARDSTICK").ok();
            let bar = bar.map(|path| yardstick(&path, columns, batch)).transpose()?;
            for (how, sharing) in [("shared", Sharing::WherePays), ("dense", Sharing::Off)] {
                let (step, interned, bytes) = training_step(&compiled, &train, batch, sharing)?;
                let epoch = step * train.rows() as f64 / f64::from(batch);
                let epochs = interned / epoch;
                let step = 1e3 * step;
                let (eval, interning) = evaluation(&compiled, &test, sharing)?;
                let eval = 1e3 * eval;
                let of_bar = |own: f64, bar: Option<f64>| match bar {
                    Some(bar) => format!("{:11.3}", own / bar),
                    None => " ".repeat(11),
                };
                let rows = test.rows() as f64 / f64::from(batch);
                println!(
                    "{name:8} {title:13}  {how:6}  {step:8.3}  {}  {eval:11.3}  {}  interned in {:.1} ms; training set {bytes} bytes in {:.1} ms, {epochs:.3} epochs",
                    of_bar(step, bar.map(|(step, _)| step)),
                    of_bar(eval, bar.map(|(_, eval)| eval * rows)),
                    1e3 * interning,
                    1e3 * interned,
                );
            }
        }
    }
    Ok(())
}

/// Columns of a file of comma-separated values.
fn columns_of(path: &Path) -> Result<usize, Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().next().ok_or("an empty file")?.split(',').count())
}

/// Milliseconds of a step and of an evaluation of a batch, by another program.
fn yardstick(path: &str, variables: usize, batch: u32) -> Result<(f64, f64), Box<dyn Error>> {
    let output = Command::new(path).args([variables.to_string(), batch.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let field = |name: &str| -> Result<f64, Box<dyn Error>> {
        let value = text.split_whitespace().find_map(|word| word.strip_prefix(name));
        Ok(value.ok_or_else(|| format!("no `{name}` in: {text}"))?.parse()?)
    };
    Ok((field("step_median_ms=")?, field("eval_ms=")?))
}

/// The paper's network: five units, fifty replicas.
fn rat_spn(variables: usize, parameterizer: &str) -> Result<Compiled, Box<dyn Error>> {
    let text = format!(
        "(variables: Binary({variables}), structure: RatSpn(units: 5, replicas: 50, seed: 0), \
         leaves: Indicators, parameterizer: {parameterizer})"
    );
    let source = Source { name: "sharing.ron".into(), text };
    let loaded = structure::load(&source, false)?;
    let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new())?;
    let options = Options { sectors: loaded.spec.sectors.value, ..Options::default() };
    let circuit = loaded.circuit.into_circuit();
    Ok(compile(circuit, &loaded.map, parameterizer.as_ref(), &options)?)
}

fn executable(
    compiled: &Arc<Compiled>,
    purpose: Purpose,
    batch: u32,
    sharing: Sharing,
) -> Result<CpuExecutable, Box<dyn Error>> {
    let options = plan::Options { purpose, schedule: Schedule::Wide, batch, sharing };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    Ok(CpuExecutable::new(Arc::clone(compiled), plan, THREADS)?)
}

/// Seconds of a training step, and of interning the rows, with the bytes that takes.
fn training_step(
    compiled: &Arc<Compiled>,
    train: &Dataset,
    batch: u32,
    sharing: Sharing,
) -> Result<(f64, f64, usize), Box<dyn Error>> {
    let mut engine = executable(compiled, Purpose::Train, batch, sharing)?;
    let start = Instant::now();
    let bytes = engine.prepare(train);
    let interned = start.elapsed().as_secs_f64();
    let mut seconds = |steps: u64| -> Result<f64, Box<dyn Error>> {
        let recipe =
            Recipe { steps, batch: batch as usize, eval_every: steps, ..Recipe::default() };
        let options = pcc::train::Options { recipe, ..Default::default() };
        let initial = compiled.parameters.initial(&compiled.written, 0, None);
        let splits = Splits { train, valid: None, test: None };
        Ok(fit(&mut engine, &compiled.parameters, initial, &splits, &options, &mut ())?.seconds)
    };
    let guess = seconds(5)? / 5.0;
    let steps = ((LENGTH / guess) as u64).max(5);
    let step = |_| Ok((seconds(2 * steps)? - seconds(steps)?) / steps as f64);
    let steps = (0..REPEATS).map(step).collect::<Result<_, Box<dyn Error>>>()?;
    Ok((median(steps), interned, bytes))
}

/// Seconds of an evaluation of a whole set, and of interning it.
fn evaluation(
    compiled: &Arc<Compiled>,
    test: &Dataset,
    sharing: Sharing,
) -> Result<(f64, f64), Box<dyn Error>> {
    let mut engine = executable(compiled, Purpose::Evaluate, EVALUATED, sharing)?;
    let start = Instant::now();
    engine.prepare_evaluations(test, usize::MAX);
    let interning = start.elapsed().as_secs_f64();
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let rows: Vec<u32> = (0..test.rows() as u32).collect();
    let mut log_p = vec![0.0; rows.len()];
    let mut seconds = || {
        let start = Instant::now();
        engine.load(&flat);
        engine.log_likelihood(test, &rows, &mut log_p);
        start.elapsed().as_secs_f64()
    };
    seconds();
    Ok((median((0..REPEATS).map(|_| seconds()).collect()), interning))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
