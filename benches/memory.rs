//! How the memory of a run grows with the circuit, whole and segment by segment.
//!
//! Run with `cargo bench --bench memory`. HyperSPNs of one replica over n = 2⁶, 2⁷, …, 2²⁰ binary
//! variables, of `UNITS` units, are evaluated and trained on one batch, on one thread. Of a plan that
//! keeps as little as can be the activations and generated weights are printed as the plan predicts them
//! and as an allocator counts what the engine takes; beside it what a plan of whole parts would take.
//! Evaluation is to grow as log n (Shih et al. 2021, Corollary 1): by as much from n to 2n whatever n is.

use std::error::Error;
use std::sync::Arc;

use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::Executable;
use pcc::engine::cpu::BoundedExecutable;
use pcc::param::registry::Registry;
use pcc::plan::{self, Plan, Purpose, Schedule, Sharing, bounded, plan};
use pcc::structure;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Units of a region.
const UNITS: usize = 10;
/// Rows of a batch.
const BATCH: u32 = 100;
/// Variables: two to these powers.
const POWERS: std::ops::RangeInclusive<u32> = 6..=20;

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "MiB without the parameters and their gradient; {BATCH} rows, {UNITS} units, one thread"
    );
    println!("{:>9} {:^33} {:^33}", "", "evaluation", "training");
    let head = format!("{:>10} {:>10} {:>11}", "predicted", "taken", "whole parts");
    println!("{:>9} {head} {head}", "variables");
    let mut kept = Vec::new();
    for n in POWERS.map(|power| 1 << power) {
        let compiled = compiled(n)?;
        let evaluation = Row::of(&compiled, Purpose::Evaluate)?;
        let training = Row::of(&compiled, Purpose::Train)?;
        println!("{n:9} {evaluation} {training}");
        kept.push((n, evaluation.predicted));
    }
    let more = |pair: &[(usize, usize)]| (pair[1].0, pair[1].1 as i64 - pair[0].1 as i64);
    println!("evaluation: more bytes than for half as many variables");
    for (n, more) in kept.windows(2).map(more) {
        println!("{n:9} {more:10}");
    }
    Ok(())
}

/// What one circuit takes, in bytes.
struct Row {
    predicted: usize,
    taken: usize,
    whole: usize,
}

impl Row {
    fn of(compiled: &Arc<Compiled>, purpose: Purpose) -> Result<Self, Box<dyn Error>> {
        let (circuit, parameters) = (&compiled.circuit, &compiled.parameters);
        let (schedule, sharing) = (Schedule::Deep, Sharing::Off);
        let options = plan::Options { purpose, schedule, batch: BATCH, sharing };
        let cut = bounded(circuit, parameters, &options).ok_or("the circuit cannot be cut")?;
        let memory = cut.memory();
        Ok(Row {
            predicted: memory.limited(1),
            taken: taken(compiled, cut)? - memory.parameters,
            whole: plan(circuit, parameters, &options).memory().limited(1),
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [predicted, taken, whole] =
            [self.predicted, self.taken, self.whole].map(|bytes| bytes as f64 / (1 << 20) as f64);
        write!(f, "{predicted:10.3} {taken:10.3} {whole:11.3}")
    }
}

/// The most bytes that an engine holds, over a batch.
fn taken(compiled: &Arc<Compiled>, plan: Plan) -> Result<usize, Box<dyn Error>> {
    let variables = compiled.written.variables();
    let bit = |row: usize, var: usize| Some(((row * 977 + var * 7) >> 3 & 1) as f32);
    let row = |row: usize| (0..variables.len()).map(|var| bit(row, var)).collect();
    let data = Dataset::from_rows(variables, (0..BATCH as usize).map(row).collect::<Vec<_>>())?;
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let rows: Vec<u32> = (0..BATCH).collect();
    let (mut log_p, mut gradient) = (vec![0.0; rows.len()], vec![0.0; flat.len()]);
    let trains = plan.purpose == Purpose::Train;
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    // The plan is the caller's.
    let mut engine = BoundedExecutable::new(compiled, plan, 1)?;
    engine.load(&flat);
    match trains {
        true => engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient),
        false => engine.log_likelihood(&data, &rows, &mut log_p),
    };
    Ok(ALLOCATOR.peak_usage() - before)
}

fn compiled(variables: usize) -> Result<Arc<Compiled>, Box<dyn Error>> {
    let text = format!(
        "(variables: Binary({variables}), \
         structure: RatSpn(units: {UNITS}, replicas: 1, seed: 0), \
         parameterizer: Hyper(embedding: 5, hidden: [20]))"
    );
    let source = Source { name: "grown.ron".into(), text };
    let loaded = structure::load(&source, false)?;
    let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new())?;
    let options = Options { no_rewrite: true, ..Options::default() };
    let circuit = loaded.circuit.into_circuit();
    Ok(Arc::new(compile(circuit, &loaded.map, parameterizer.as_ref(), &options)?))
}
