//! Steps of learning on the CPU engine: those of the host's optimiser to the bit, whatever the rows, the
//! certificate of the parts, the sharing and the number of threads.

use std::cell::Cell;
use std::sync::Arc;

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan, within};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::describe::compiled;
use crate::support::steps::{BATCH, Seen, compare_runs, compare_steps, fault};

/// Circuits of which all that is learned are logits: blocks of many tiles and of less than one, sectors of
/// several parts in a tile, groups of several sectors, sums that are tied; and, in the last two, leaves that are
/// given, so small that no certificate holds, or zero.
const DIRECT: [&str; 7] = [
    "(variables: Binary(90), structure: RatSpn(units: 5, replicas: 2, seed: 1), leaves: Indicators, \
     parameterizer: WeightDecay(lambda: 0.01))",
    "(variables: Binary(9), structure: RatSpn(units: 3, replicas: 9, seed: 2), leaves: Indicators, \
     parameterizer: Direct)",
    "(variables: Binary(12), structure: Einet(units: 3, replicas: 2, depth: 3, seed: 3), \
     leaves: Indicators, parameterizer: Direct)",
    "(variables: Binary(14), structure: Hmm(units: 6, tied: true), leaves: Indicators, \
     parameterizer: Direct)",
    "(variables: Binary(20), structure: RatSpn(units: 4, replicas: 2, seed: 5), leaves: Indicators, \
     parameterizer: Direct, sectors: Slices(2))",
    "(variables: Binary(3), structure: Graph(nodes: {\
     \"a\": Leaf(var: \"x0\", dist: Bernoulli(p: [1e-30, 0.5], frozen: true), units: 2), \
     \"b\": Leaf(var: \"x1\", dist: Bernoulli(p: [1e-30, 0.5], frozen: true), units: 2), \
     \"c\": Leaf(var: \"x2\", dist: Bernoulli(p: [0.9, 1e-25], frozen: true), units: 2), \
     \"ab\": Product([\"a\", \"b\"]), \"abc\": Product([\"ab\", \"c\"]), \"p\": Sum(inputs: [\"abc\"]), \
     \"u\": Leaf(var: \"x0\", dist: Bernoulli(p: 1e-12, frozen: true)), \
     \"v\": Leaf(var: \"x1\", dist: Bernoulli(p: 1e-12, frozen: true)), \
     \"w\": Leaf(var: \"x2\", dist: Bernoulli(p: 1e-12, frozen: true)), \
     \"q\": Product([\"u\", \"v\", \"w\"]), \"r\": Sum(inputs: [\"p\", \"q\"])}, root: \"r\"), \
     parameterizer: Direct)",
    "(variables: Binary(2), structure: Graph(nodes: {\
     \"a\": Leaf(var: \"x0\", dist: Bernoulli(p: 1.0, frozen: true)), \
     \"b\": Leaf(var: \"x1\", dist: Bernoulli(p: 0.5, frozen: true)), \"ab\": Product([\"a\", \"b\"]), \
     \"c\": Leaf(var: \"x0\", dist: Bernoulli(p: 0.5, frozen: true)), \
     \"d\": Leaf(var: \"x1\", dist: Bernoulli(p: 0.5, frozen: true)), \"cd\": Product([\"c\", \"d\"]), \
     \"r\": Sum(inputs: [\"ab\", \"cd\"])}, root: \"r\"), parameterizer: Direct)",
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

fn engine(compiled: &Arc<Compiled>, sharing: Sharing, threads: usize) -> Box<dyn Executable> {
    let plan = plan(&compiled.circuit, &compiled.parameters, &options(sharing));
    Box::new(CpuExecutable::new(compiled.clone(), plan, threads).unwrap())
}

/// How the circuit is planned.
fn options(sharing: Sharing) -> plan::Options {
    let (purpose, schedule) = (Purpose::Train, Schedule::Wide);
    plan::Options { purpose, schedule, batch: BATCH as u32, sharing }
}

/// Logits far from zero, of either sign: no part is certified, and rows are in doubt.
fn extreme(moderate: &[f32]) -> Vec<f32> {
    moderate.iter().map(|logit| 220.0 * logit - 100.0).collect()
}

/// Logits by which one replica explains hardly any row, while the other, which explains them all, has nearly no
/// weight: the gradient by that weight overflows, if all parts are certified or not.
fn lopsided(moderate: &[f32]) -> Vec<f32> {
    let (mut flat, root) = (moderate.to_vec(), moderate.len() - 2);
    flat[..root / 2].iter_mut().step_by(2).for_each(|logit| *logit = -6.0);
    flat[root..].copy_from_slice(&[0.0, -86.0]);
    flat
}

#[test]
fn steps_on_the_engine_are_those_of_the_hosts_optimiser_to_the_bit() {
    let mut seen = Seen::default();
    for (at, text) in DIRECT.iter().enumerate() {
        let compiled = compiled(text);
        let moderate: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
        let starts = [extreme(&moderate), lopsided(&moderate), moderate];
        for (turn, flat) in starts.iter().enumerate() {
            for (sharing, threads, missing) in [
                (Sharing::Wherever, 1, false),
                (Sharing::Wherever, 2, true),
                (Sharing::Off, 2, false),
            ] {
                let data = rows(&compiled, missing);
                let make = || {
                    let mut engine = engine(&compiled, sharing, threads);
                    if sharing != Sharing::Off {
                        engine.prepare(&data);
                    }
                    engine
                };
                let seed = (at + turn) as u64 + 2 * threads as u64;
                compare_steps(&make, (&compiled, flat, &data), seed, &mut seen)
                    .unwrap_or_else(|fault| panic!("circuit {at}, start {turn}: {fault}"));
            }
        }
    }
    assert_eq!(seen.circuits, 9 * DIRECT.len(), "each engine takes the steps itself");
    assert!(seen.tally.in_logs > 0, "no row was in doubt");
    assert!(seen.refused, "each step could be taken");
}

#[test]
fn an_engine_leaves_the_steps_to_the_host_where_not_all_parameters_are_logits() {
    let circuit = |leaves: &str, parameterizer: &str| {
        compiled(&format!(
            "(variables: Binary(8), structure: RatSpn(units: 3, replicas: 2, seed: 1), \
             leaves: {leaves}, parameterizer: {parameterizer})"
        ))
    };
    let takes =
        |compiled: &Arc<Compiled>| engine(compiled, Sharing::WherePays, 1).stepper().is_some();
    assert!(takes(&circuit("Indicators", "Direct")));
    assert!(!takes(&circuit("Bernoulli()", "Direct")));
    assert!(!takes(&circuit("Indicators", "Hyper(embedding: 2, hidden: [3])")));
}

#[test]
fn steps_are_left_to_the_host_where_only_without_them_a_plan_is_within_its_limit() {
    let compiled = compiled(DIRECT[0]);
    let (circuit, parameters) = (&compiled.circuit, &compiled.parameters);
    let options = options(Sharing::Off);
    let whole = plan(circuit, parameters, &options);
    let memory = whole.memory();
    assert!(memory.learned > 12 * parameters.learnable(), "{memory:?}");
    let within = |limit| within(circuit, parameters, &options, limit).unwrap();
    assert!(within(memory.limited(1)) == whole);
    let mut without = whole.clone();
    without.leave_steps();
    assert!(within(memory.limited(1) - 1) == without);
    let mut engine = CpuExecutable::new(compiled.clone(), without, 1).unwrap();
    assert!(engine.stepper().is_none());
}

#[test]
fn a_run_goes_on_from_its_checkpoint_as_if_it_had_never_stopped() {
    let compiled = compiled(DIRECT[0]);
    let flat = compiled.parameters.initial(&compiled.written, 3, None);
    let folder = tempfile::tempdir().unwrap();
    let threads = Cell::new(0);
    let make = || {
        threads.set(threads.get() % 3 + 1);
        engine(&compiled, Sharing::WherePays, threads.get())
    };
    let case = (&*compiled, &flat[..], &rows(&compiled, false));
    compare_runs(&make, case, &folder.path().join("checkpoint")).unwrap();
}

#[test]
fn what_is_not_finite_is_blamed_on_the_row_and_the_tensor_as_without_steps_of_its_own() {
    let compiled = compiled(DIRECT[0]);
    let data = rows(&compiled, false);
    let moderate: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let make = || engine(&compiled, Sharing::WherePays, 2);
    let nothing = vec![f32::NAN; moderate.len()];
    let faults = [&nothing, &lopsided(&moderate)].map(|flat| {
        let error = fault(&make, (&compiled, flat, &data)).unwrap();
        assert_eq!(error.exit_code(), 4);
        error.to_string()
    });
    insta::assert_snapshot!(faults.join("\n"), @r"
    step 1: entry 0 of tensor `logits` (sector s0), or its mean squared gradient, is not finite after the step
    step 1: the gradient by entry 0 of tensor `direct` (sector s352) is not finite
    ");
}
