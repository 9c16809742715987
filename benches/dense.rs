//! Milliseconds a training step and an evaluation of the dense RAT-SPNs of the paper, on two threads.
//!
//! Run with `cargo bench --bench dense`. A training step is all that `pcc train` does in one: drawing
//! the batch, weights, forward, backward, optimiser. It is what a run of twice as many steps takes
//! longer than a run of so many, a step. An evaluation is of as many rows as a batch has, weights
//! included.
//!
//! `PCC_YARDSTICK` may name a program that is given the number of variables and the batch, and prints
//! `step_median_ms=` and `eval_ms=` of its own: then the ratios to it are printed too. `PCC_ONLY`
//! may name the one number of variables to measure.

use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::param::registry::Registry;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::structure;
use pcc::train::{Recipe, Splits, fit};
use pcc::variables::Variables;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const THREADS: usize = 2;
/// Variables and rows a batch.
const SIZES: [(usize, u32); 4] = [(16, 500), (100, 500), (1058, 50), (1556, 50)];
const PARAMETERIZERS: [(&str, &str); 2] = [
    ("weight decay", "WeightDecay(lambda: 1e-4)"),
    ("hyper", "Hyper(embedding: 5, hidden: [20, 20])"),
];
/// Rows are drawn for so many batches.
const BATCHES: usize = 10;
/// Each measurement is the median of so many.
const REPEATS: usize = 5;
/// Seconds that one of them takes, about.
const LENGTH: f64 = 0.5;

fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::var("PCC_ONLY").ok().map(|n| n.parse::<usize>()).transpose()?;
    let yardstick = std::env::var("PCC_YARDSTICK").ok();
    println!("variables  batch  parameterizer   step ms   × yardstick   eval ms   × yardstick");
    for (variables, batch) in SIZES.into_iter().filter(|&(n, _)| only.is_none_or(|only| only == n))
    {
        let bar = yardstick.as_deref().map(|path| measure_yardstick(path, variables, batch));
        let bar = bar.transpose()?;
        if let Some(bar) = bar {
            println!(
                "{variables:9}  {batch:5}  (yardstick)    {:8.3}                 {:7.3}",
                bar.step, bar.eval
            );
        }
        for (name, parameterizer) in PARAMETERIZERS {
            let own = measure(variables, batch, parameterizer)?;
            let ratio = |own: f64, bar: Option<f64>| match bar {
                Some(bar) => format!("{:11.2}", own / bar),
                None => " ".repeat(11),
            };
            println!(
                "{variables:9}  {batch:5}  {name:13}  {:8.3}   {}   {:7.3}   {}",
                own.step,
                ratio(own.step, bar.map(|bar| bar.step)),
                own.eval,
                ratio(own.eval, bar.map(|bar| bar.eval)),
            );
        }
    }
    Ok(())
}

/// What a step and an evaluation take, in milliseconds.
#[derive(Clone, Copy)]
struct Times {
    step: f64,
    eval: f64,
}

/// What another program takes for the same.
fn measure_yardstick(path: &str, variables: usize, batch: u32) -> Result<Times, Box<dyn Error>> {
    let output = Command::new(path).args([variables.to_string(), batch.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let field = |name: &str| -> Result<f64, Box<dyn Error>> {
        let value = text.split_whitespace().find_map(|word| word.strip_prefix(name));
        Ok(value
            .ok_or_else(|| format!("the yardstick does not print `{name}`: {text}"))?
            .parse()?)
    };
    Ok(Times { step: field("step_median_ms=")?, eval: field("eval_ms=")? })
}

fn measure(variables: usize, batch: u32, parameterizer: &str) -> Result<Times, Box<dyn Error>> {
    let compiled = Arc::new(rat_spn(variables, parameterizer)?);
    let data = random_rows(compiled.written.variables(), BATCHES * batch as usize)?;
    let step = training_step(&compiled, &data, batch)?;
    let eval = evaluation(&compiled, &data, batch)?;
    Ok(Times { step: 1e3 * step, eval: 1e3 * eval })
}

/// The paper's network: five units, fifty replicas.
fn rat_spn(variables: usize, parameterizer: &str) -> Result<Compiled, Box<dyn Error>> {
    let text = format!(
        "(variables: Binary({variables}), structure: RatSpn(units: 5, replicas: 50, seed: 0), \
         leaves: Indicators, parameterizer: {parameterizer})"
    );
    let source = Source { name: "dense.ron".into(), text };
    let loaded = structure::load(&source, false)?;
    let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new())?;
    let options = Options { sectors: loaded.spec.sectors.value, ..Options::default() };
    let circuit = loaded.circuit.into_circuit();
    Ok(compile(circuit, &loaded.map, parameterizer.as_ref(), &options)?)
}

fn random_rows(variables: &Variables, rows: usize) -> Result<Dataset, Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let rows = (0..rows).map(|_| {
        (0..variables.len()).map(|_| Some(f32::from(rng.random::<bool>()))).collect::<Vec<_>>()
    });
    Ok(Dataset::from_rows(variables, rows)?)
}

fn executable(
    compiled: &Arc<Compiled>,
    purpose: Purpose,
    batch: u32,
) -> Result<CpuExecutable, Box<dyn Error>> {
    let options =
        plan::Options { purpose, schedule: Schedule::Wide, batch, sharing: Sharing::WherePays };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    Ok(CpuExecutable::new(Arc::clone(compiled), plan, THREADS)?)
}

/// Seconds of a training step.
fn training_step(
    compiled: &Arc<Compiled>,
    data: &Dataset,
    batch: u32,
) -> Result<f64, Box<dyn Error>> {
    let mut executable = executable(compiled, Purpose::Train, batch)?;
    let mut seconds = |steps: u64| -> Result<f64, Box<dyn Error>> {
        let recipe =
            Recipe { steps, batch: batch as usize, eval_every: steps, ..Recipe::default() };
        let options = pcc::train::Options { recipe, ..Default::default() };
        let initial = compiled.parameters.initial(&compiled.written, 0, None);
        let splits = Splits { train: data, valid: None, test: None };
        let (parameters, engine) = (&compiled.parameters, &mut executable);
        Ok(fit(engine, parameters, initial, &splits, &options, &mut ())?.seconds)
    };
    let guess = seconds(5)? / 5.0;
    let steps = ((LENGTH / guess) as u64).max(5);
    let step = |_| Ok((seconds(2 * steps)? - seconds(steps)?) / steps as f64);
    Ok(median((0..REPEATS).map(step).collect::<Result<_, Box<dyn Error>>>()?))
}

/// Seconds of an evaluation of a batch.
fn evaluation(compiled: &Arc<Compiled>, data: &Dataset, batch: u32) -> Result<f64, Box<dyn Error>> {
    let mut executable = executable(compiled, Purpose::Evaluate, batch)?;
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let mut log_p = vec![0.0; batch as usize];
    let mut seconds = |times: usize| {
        let start = Instant::now();
        for rows in rows.chunks_exact(batch as usize).cycle().take(times) {
            executable.load(&flat);
            executable.log_likelihood(data, rows, &mut log_p);
        }
        start.elapsed().as_secs_f64() / times as f64
    };
    let times = ((LENGTH / seconds(3)) as usize).max(5);
    Ok(median((0..REPEATS).map(|_| seconds(times)).collect()))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
