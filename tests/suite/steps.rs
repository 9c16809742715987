//! Steps of learning on the CPU engine: those of the host's optimiser to the bit, whatever the rows, the
//! certificate of the parts, the sharing and the number of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::plan::{self, Purpose, Schedule, plan};
use pcc::train::{Event, Keep, Options, Recipe, Splits, TrainError, fit};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::describe::compiled;
use crate::support::steps::{BATCH, Seen, StepsHere, bits, compare_steps};

/// Circuits of which all that is learned are logits: blocks of many tiles and of less than one, sectors of
/// several parts in a tile, groups of several sectors, sums that are tied.
const DIRECT: [&str; 5] = [
    "(variables: Binary(90), structure: RatSpn(units: 5, replicas: 2, seed: 1), leaves: Indicators, \
     parameterizer: WeightDecay(lambda: 0.01))",
    "(variables: Binary(9), structure: RatSpn(units: 3, replicas: 9, seed: 2), leaves: Indicators, \
     parameterizer: Direct)",
    "(variables: Binary(12), structure: Einet(units: 3, replicas: 2, depth: 3, seed: 3), \
     leaves: Indicators, parameterizer: Direct)",
    "(variables: Binary(14), structure: Hmm(units: 6, tied: true), leaves: Indicators, \
     parameterizer: Direct)",
    "(variables: Binary(20), structure: RatSpn(units: 5, replicas: 2, seed: 5), leaves: Indicators, \
     parameterizer: Direct, sectors: Slices(2))",
];

/// Rows of which some are alike, some have missing values.
fn rows(compiled: &Compiled, missing: bool) -> Dataset {
    let variables = compiled.written.variables();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut few: Vec<Vec<Option<f32>>> = Vec::new();
    for _ in 0..40 {
        few.push(variables.ids().map(|_| Some(f32::from(rng.random_bool(0.3)))).collect());
    }
    let rows = (0..200).map(|_| {
        let mut row = few[rng.random_range(0..few.len())].clone();
        let at = rng.random_range(0..row.len());
        row[at] = if missing { None } else { Some(1.0) };
        row
    });
    Dataset::from_rows(variables, rows.collect::<Vec<_>>()).unwrap()
}

fn engine(compiled: &Arc<Compiled>, sharing: bool, threads: usize) -> Box<dyn Executable> {
    let options = plan::Options {
        purpose: Purpose::Train,
        schedule: Schedule::Wide,
        batch: BATCH as u32,
        sharing,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    Box::new(CpuExecutable::new(compiled.clone(), plan, threads).unwrap())
}

#[test]
fn steps_on_the_engine_are_those_of_the_hosts_optimiser_to_the_bit() {
    let mut seen = Seen::default();
    for (at, text) in DIRECT.iter().enumerate() {
        let compiled = compiled(text);
        let moderate: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
        // Weights so small that no part is certified, and rows are in doubt.
        let extreme: Vec<f32> = moderate.iter().map(|logit| 220.0 * logit - 100.0).collect();
        for (turn, flat) in [moderate, extreme].iter().enumerate() {
            for (sharing, threads, missing) in
                [(true, 1, false), (true, 2, true), (false, 2, false)]
            {
                let data = rows(&compiled, missing);
                let make = || {
                    let mut engine = engine(&compiled, sharing, threads);
                    engine.prepare(&data);
                    engine
                };
                let seed = (at + turn) as u64 + 2 * threads as u64;
                compare_steps(&make, (&compiled, flat, &data), seed, &mut seen).unwrap();
            }
        }
    }
    assert_eq!(seen.circuits, 6 * DIRECT.len(), "each engine takes the steps itself");
    assert!(seen.tally.in_logs > 0, "no row was in doubt");
}

#[test]
fn an_engine_leaves_the_steps_to_the_host_where_not_all_parameters_are_logits() {
    let circuit = |leaves: &str, parameterizer: &str| {
        compiled(&format!(
            "(variables: Binary(8), structure: RatSpn(units: 3, replicas: 2, seed: 1), \
             leaves: {leaves}, parameterizer: {parameterizer})"
        ))
    };
    let takes = |compiled: &Arc<Compiled>| engine(compiled, true, 1).stepper().is_some();
    assert!(takes(&circuit("Indicators", "Direct")));
    assert!(!takes(&circuit("Bernoulli()", "Direct")));
    assert!(!takes(&circuit("Indicators", "Hyper(embedding: 2, hidden: [3])")));
}

/// A run that is interrupted after so many steps, if it is.
fn run(
    mut engine: Box<dyn Executable>,
    compiled: &Compiled,
    keep: Option<Keep>,
    stop: Option<u64>,
) -> Result<String, TrainError> {
    let data = rows(compiled, false);
    let valid = data.subset(0..40);
    let splits = Splits { train: &data, valid: Some(&valid), test: None };
    let recipe = Recipe { steps: 13, batch: BATCH, eval_every: 4, rate: 0.02, ..Recipe::default() };
    let interrupt = AtomicBool::new(false);
    let options = Options { recipe, keep, interrupt: Some(&interrupt) };
    let mut observer = |event: Event<'_>| match event {
        Event::Step { step } if Some(step) == stop => interrupt.store(true, Ordering::Relaxed),
        _ => {}
    };
    let initial = compiled.parameters.initial(&compiled.written, 3, None);
    let outcome =
        fit(&mut *engine, &compiled.parameters, initial, &splits, &options, &mut observer)?;
    let history: Vec<_> =
        outcome.history.iter().map(|r| (r.step, r.batch_ll, r.valid_ll)).collect();
    Ok(format!("{:?} {} {history:?}", bits(&outcome.parameters), outcome.selected_step))
}

#[test]
fn a_run_goes_on_from_its_checkpoint_as_if_it_had_never_stopped() {
    let compiled = compiled(DIRECT[0]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let whole = run(engine(&compiled, true, 2), &compiled, None, None).unwrap();
    let here = Box::new(StepsHere(engine(&compiled, true, 1)));
    assert!(whole == run(here, &compiled, None, None).unwrap(), "steps here and there differ");
    let keep = |resume| Some(Keep { resume, share: 0, ..Keep::new(&path, "a circuit") });
    for stop in [3, 8] {
        let stopped = run(engine(&compiled, true, 1), &compiled, keep(stop > 3), Some(stop));
        assert!(
            matches!(stopped, Err(TrainError::Interrupted { step }) if step == stop),
            "{stopped:?}"
        );
    }
    let resumed = run(engine(&compiled, true, 2), &compiled, keep(true), None).unwrap();
    assert!(whole == resumed, "a run that was stopped twice differs");
}
