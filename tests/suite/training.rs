//! Learning, with the oracle as the engine: it improves, selects, stops and goes on as it says.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pcc::circuit::{Circuit, Op, SourceMap, WeightSource};
use pcc::compile::{self, compile};
use pcc::data::Dataset;
use pcc::diag::{Code, Source};
use pcc::engine::{Executable, Tally, reference};
use pcc::ids::VarId;
use pcc::leaf::{Dist, Family};
use pcc::model::Model;
use pcc::model::file::{load, save};
use pcc::param::direct::Direct;
use pcc::param::hyper::Hyper;
use pcc::sector::SectorKind;
use pcc::train::checkpoint;
use pcc::train::{
    Decline, Event, Keep, Method, Options, Outcome, Recipe, Schedule, Splits, TrainError, fit,
};
use pcc::variables::{VarKind, Variables};

use crate::support::case::Case;
use crate::support::files::replace;
use crate::support::oracle_engine::{OracleEngine, row_of};

/// Two components over three binary variables.
fn small_circuit() -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(3));
    let leaves: Vec<_> = (0..3)
        .map(|var| {
            let dist = circuit.add_dist(Dist::indicators(2));
            circuit.leaf(VarId(var), dist)
        })
        .collect();
    let sums: Vec<_> =
        leaves.iter().map(|&leaf| circuit.sum(2, &[leaf], WeightSource::Parameterizer)).collect();
    let product = circuit.product(&sums);
    let root = circuit.sum(1, &[product], WeightSource::Parameterizer);
    circuit.set_root(root);
    circuit
}

/// What makes its weights: a small network.
fn network() -> Hyper {
    Hyper { embedding: 2, hidden: vec![4] }
}

fn small_case() -> Case {
    Case::new(small_circuit(), &network(), SectorKind::PerLayer, 5)
}

/// Rows in which the three variables mostly agree.
fn rows(count: usize, salt: usize) -> Dataset {
    let row = |at: usize| {
        let noise = (at * 7919 + salt * 104_729) % 31;
        (0..3).map(|var| Some(((at % 2) ^ usize::from(noise == 3 * var)) as f32)).collect()
    };
    Dataset::from_rows(&Variables::binary(3), (0..count).map(row)).unwrap()
}

fn initial(case: &Case) -> Vec<f32> {
    case.flat.iter().map(|&value| value as f32).collect()
}

fn recipe(steps: u64) -> Recipe {
    Recipe { steps, batch: 10, eval_every: 7, seed: 3, rate: 0.05, ..Recipe::default() }
}

/// A run on the small case; `observer` may look at each event.
fn run(
    case: &Case,
    options: &Options<'_>,
    observer: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    let (train, valid, test) = (rows(60, 0), rows(20, 1), rows(20, 2));
    let splits = Splits { train: &train, valid: Some(&valid), test: Some(&test) };
    let mut engine = OracleEngine::new(&case.circuit, &case.parameters);
    let mut observer = |event: Event<'_>| observer(event);
    fit(&mut engine, &case.parameters, initial(case), &splits, options, &mut observer)
}

fn plain(recipe: Recipe) -> Options<'static> {
    Options { recipe, ..Options::default() }
}

fn kept(recipe: Recipe, path: &Path, resume: bool) -> Options<'static> {
    let keep = Keep { resume, share: 0, ..Keep::new(path, "small") };
    Options { recipe, keep: Some(keep), interrupt: None }
}

/// All of an outcome that has to be the same bit for bit: everything but the time.
fn bits(outcome: &Outcome) -> String {
    let parameters: Vec<u32> = outcome.parameters.iter().map(|value| value.to_bits()).collect();
    let history: Vec<String> = outcome
        .history
        .iter()
        .map(|record| format!("{} {:?} {:?}", record.step, record.batch_ll, record.valid_ll))
        .collect();
    format!("{parameters:?} {} {:?} {history:?}", outcome.selected_step, outcome.valid)
}

#[test]
fn every_optimiser_makes_the_data_likelier() {
    let case = small_case();
    let before = run(&case, &plain(recipe(0)), &mut |_| {}).unwrap();
    assert_eq!((before.steps, before.selected_step), (0, 0));
    assert_eq!(before.parameters, initial(&case));
    for (method, rate) in [
        (Method::default(), 0.05),
        (Method::AdamW(Default::default()), 0.05),
        (Method::Sgd { momentum: 0.5 }, 0.01),
    ] {
        let schedule = Schedule { warm_up: 5, decline: Decline::Cosine };
        let recipe = Recipe { method, rate, schedule, ..recipe(60) };
        let after = run(&case, &plain(recipe), &mut |_| {}).unwrap();
        let gain =
            after.test.unwrap().mean_ll.unwrap() - before.test.as_ref().unwrap().mean_ll.unwrap();
        assert!(gain > 0.3, "{method:?}: {gain}");
        assert!(after.train.mean_ll.unwrap() > before.train.mean_ll.unwrap() + 0.3);
    }
}

#[test]
fn the_parameters_of_the_best_validation_value_are_kept() {
    let case = small_case();
    // So great a rate that the last parameters are not the best.
    let recipe = Recipe { rate: 1.0, eval_every: 1, ..recipe(60) };
    let outcome = run(&case, &plain(recipe.clone()), &mut |_| {}).unwrap();
    let best = outcome
        .history
        .iter()
        .filter_map(|record| record.valid_ll)
        .fold(f64::NEG_INFINITY, f64::max);
    assert!(outcome.selected_step < 60, "the last one is the best: the test shows nothing");
    let selected =
        outcome.history.iter().find(|record| record.step == outcome.selected_step).unwrap();
    assert_eq!(selected.valid_ll, Some(best));
    assert_eq!(outcome.valid.unwrap().mean(), Some(best));

    let short =
        run(&case, &plain(Recipe { steps: outcome.selected_step, ..recipe.clone() }), &mut |_| {});
    assert_eq!(short.unwrap().parameters, outcome.parameters);

    let patient = Recipe { patience: Some(3), ..recipe };
    let stopped = run(&case, &plain(patient), &mut |_| {}).unwrap();
    assert!(stopped.steps < 60);
    assert_eq!(stopped.steps, stopped.selected_step + 3);
}

#[test]
fn without_validation_data_the_last_parameters_are_kept() {
    let case = small_case();
    let train = rows(60, 0);
    let splits = Splits { train: &train, valid: None, test: None };
    let mut last = Vec::new();
    for steps in [13, 14] {
        let mut engine = OracleEngine::new(&case.circuit, &case.parameters);
        let options = plain(recipe(steps));
        let outcome =
            fit(&mut engine, &case.parameters, initial(&case), &splits, &options, &mut ()).unwrap();
        assert_eq!((outcome.selected_step, outcome.history.len()), (steps, 2));
        assert!(outcome.valid.is_none() && outcome.test.is_none());
        last.push(outcome.parameters);
    }
    assert_ne!(last[0], last[1]);
}

#[test]
fn a_run_that_is_interrupted_and_continued_ends_as_if_it_never_was() {
    let case = small_case();
    let whole = run(&case, &plain(recipe(30)), &mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for cuts in [&[1u64][..], &[6], &[7], &[8, 9, 23], &[29], &[30]] {
        let path = folder.path().join(format!("{}.checkpoint", cuts[0]));
        for (nth, &cut) in cuts.iter().enumerate() {
            let flag = AtomicBool::new(false);
            let options = Options { interrupt: Some(&flag), ..kept(recipe(30), &path, nth > 0) };
            let outcome = run(&case, &options, &mut |event| {
                if matches!(event, Event::Step { step } if step == cut) {
                    flag.store(true, Ordering::Relaxed);
                }
            });
            match outcome {
                Err(TrainError::Interrupted { step }) => assert_eq!(step, cut),
                Ok(_) => assert_eq!(cut, 30),
                Err(fault) => panic!("{fault}"),
            }
        }
        let began = RefCell::new(None);
        let outcome = run(&case, &kept(recipe(30), &path, true), &mut |event| {
            if let Event::Begun { step, history, .. } = event {
                *began.borrow_mut() = Some((step, history.len() as u64));
            }
        });
        let last = *cuts.last().unwrap();
        assert_eq!(began.into_inner(), Some((last, if last == 30 { 5 } else { last / 7 })));
        assert_eq!(bits(&outcome.unwrap()), bits(&whole), "cut after {cuts:?}");
    }
}

#[test]
fn a_run_that_is_killed_goes_on_from_whatever_checkpoint_it_left() {
    let case = small_case();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let left = RefCell::new(vec![None]);
    let whole = run(&case, &kept(recipe(30), &path, false), &mut |event| {
        if let Event::Saved { .. } = event {
            left.borrow_mut().push(Some(std::fs::read(&path).unwrap()));
        }
    });
    let (whole, left) = (bits(&whole.unwrap()), left.into_inner());
    // None yet, at the beginning, after each of five evaluations, at the end.
    assert_eq!(left.len(), 8);
    for bytes in left {
        std::fs::remove_file(&path).unwrap();
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let outcome = run(&case, &kept(recipe(30), &path, true), &mut |_| {}).unwrap();
        assert_eq!(bits(&outcome), whole);
    }
}

/// An engine whose results at one call are spoiled.
struct Spoiled<'a> {
    inner: OracleEngine<'a>,
    calls: usize,
    at: usize,
    spoil: fn(&[u32], &mut [f64], &mut [f32]),
}

impl Executable for Spoiled<'_> {
    fn load(&mut self, parameters: &[f32]) {
        self.inner.load(parameters);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        self.inner.log_likelihood(data, rows, log_p)
    }

    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        let tally = self.inner.gradient(parameters, data, rows, log_p, gradient);
        self.calls += 1;
        if self.calls >= self.at {
            (self.spoil)(rows, log_p, gradient);
        }
        tally
    }

    fn arithmetic(&self) -> String {
        self.inner.arithmetic()
    }
}

fn spoiled(spoil: fn(&[u32], &mut [f64], &mut [f32])) -> TrainError {
    let case = small_case();
    let train = rows(8, 0);
    let splits = Splits { train: &train, valid: None, test: None };
    let inner = OracleEngine::new(&case.circuit, &case.parameters);
    let mut engine = Spoiled { inner, calls: 0, at: 4, spoil };
    let options = plain(recipe(30));
    fit(&mut engine, &case.parameters, initial(&case), &splits, &options, &mut ()).unwrap_err()
}

#[test]
fn a_number_that_is_not_finite_stops_the_run_and_is_named() {
    let faults = [
        spoiled(|_, log_p, _| log_p[2] = f64::NAN),
        spoiled(|_, log_p, _| log_p[7] = f64::INFINITY),
        spoiled(|rows, _, gradient| {
            if rows.contains(&5) {
                gradient[3] = f32::NAN;
            }
        }),
        spoiled(|rows, _, gradient| {
            if rows.len() > 1 {
                gradient[gradient.len() - 1] = f32::INFINITY;
            }
        }),
        spoiled(|_, _, gradient| gradient[0] = 1e30),
    ];
    for fault in &faults {
        assert_eq!(fault.exit_code(), 4, "{fault}");
        assert_eq!(fault.diagnostic().unwrap().code, Code::E0703);
    }
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"), @"
    step 4: the log-likelihood of row 3 of the training data is NaN
    step 4: the log-likelihood of row 8 of the training data is inf
    step 4: row 6 makes the gradient by entry 3 of tensor `embedding` (sector s1) not finite
    step 4: the gradient by entry 3 of tensor `network.1.bias` is not finite
    step 4: entry 0 of tensor `embedding` (sector s0), or its mean squared gradient, is not finite after the step
    ");
}

#[test]
fn impossible_rows_are_counted_and_do_not_stop_the_run() {
    let mut circuit = Circuit::new(Variables::binary(1));
    let dist = circuit.add_dist(Dist::indicators(2));
    let leaf = circuit.leaf(VarId(0), dist);
    let root = circuit.sum(1, &[leaf], WeightSource::Frozen(vec![1.0, 0.0]));
    circuit.set_root(root);
    let case = Case::new(circuit, &Direct, SectorKind::PerLayer, 0);
    let train =
        Dataset::from_rows(&Variables::binary(1), [vec![Some(0.0)], vec![Some(1.0)]]).unwrap();
    let splits = Splits { train: &train, valid: Some(&train), test: None };
    let mut engine = OracleEngine::new(&case.circuit, &case.parameters);
    let options = plain(recipe(2));
    let outcome = fit(&mut engine, &case.parameters, Vec::new(), &splits, &options, &mut ());
    let outcome = outcome.unwrap();
    assert_eq!((outcome.train.mean_ll, outcome.train.impossible_rows), (None, 1));
    assert_eq!(outcome.history[0].impossible_rows, 3);
}

#[test]
fn a_run_of_anything_else_does_not_take_up_a_checkpoint() {
    let case = small_case();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    run(&case, &kept(recipe(7), &path, false), &mut |_| {}).unwrap();
    let resume = |recipe, circuit: &str| {
        let mut options = kept(recipe, &path, true);
        options.keep.as_mut().unwrap().circuit = circuit.into();
        match run(&case, &options, &mut |_| {}) {
            Err(TrainError::Refused(fault)) => {
                assert_eq!(fault.code, Code::E0602);
                format!("{}; {}", fault.message, fault.notes.join("; "))
            }
            Err(fault) => panic!("{fault}"),
            Ok(_) => "taken up".into(),
        }
    };
    let found = [
        resume(recipe(7), "small"),
        resume(recipe(7), "large"),
        resume(recipe(8), "small"),
        resume(Recipe { rate: 0.5, ..recipe(7) }, "small"),
        resume(Recipe { method: Method::Sgd { momentum: 0.0 }, ..recipe(7) }, "small"),
    ];
    insta::assert_snapshot!(found.join("\n"), @r#"
    taken up
    the checkpoint is of another run: they differ in `circuit`; the checkpoint has small, this run large
    the checkpoint is of another run: they differ in `steps`; the checkpoint has 7, this run 8
    the checkpoint is of another run: they differ in `rate`; the checkpoint has 0.05, this run 0.5
    the checkpoint is of another run: they differ in `method`; the checkpoint has {"Adam":{"beta1":0.9,"beta2":0.999,"epsilon":1e-8}}, this run {"Sgd":{"momentum":0.0}}
    "#);
}

#[test]
fn every_damage_of_a_checkpoint_is_found() {
    let case = small_case();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    run(&case, &kept(recipe(7), &path, false), &mut |_| {}).unwrap();
    let (train, valid) = (rows(60, 0), rows(20, 1));
    let splits = Splits { train: &train, valid: Some(&valid), test: None };
    let identity = checkpoint::Identity::new("small", &splits, &recipe(7), "oracle");
    let load = || {
        let len = case.parameters.learnable();
        checkpoint::load(&path, &identity, len, [len; 2])
    };
    assert_eq!(load().unwrap().unwrap().step, 7);
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        replace(&path, &damaged);
        assert_eq!(load().unwrap_err().code, Code::E0601, "byte {at}");
        replace(&path, &bytes[..at]);
        assert_eq!(load().unwrap_err().code, Code::E0601, "cut to {at}");
    }
}

#[test]
fn a_recipe_that_means_nothing_is_refused() {
    let case = small_case();
    let refused = |recipe: Recipe| {
        let fault = run(&case, &plain(recipe), &mut |_| {}).unwrap_err();
        assert_eq!(fault.exit_code(), 1);
        fault.to_string()
    };
    let found = [
        refused(Recipe { batch: 0, ..recipe(1) }),
        refused(Recipe { eval_every: 0, ..recipe(1) }),
        refused(Recipe { rate: f64::NAN, ..recipe(1) }),
        refused(Recipe { method: Method::Sgd { momentum: 1.0 }, ..recipe(1) }),
    ];
    insta::assert_snapshot!(found.join("\n"), @"
    error[E0105]: the batch must be at least 1
    error[E0105]: eval_every must be at least 1
    error[E0105]: the learning rate must be finite and above 0
    error[E0105]: the momentum must be in [0, 1)
    ");
}

#[test]
fn gaussian_leaves_are_learned_too() {
    let mut circuit = Circuit::new(Variables::uniform(VarKind::Real, 1));
    let dist = circuit.add_dist(Dist::learnable(Family::GAUSSIAN, 1));
    let leaf = circuit.add(Op::Leaf { var: VarId(0), dist }, 1);
    circuit.set_root(leaf);
    let case = Case::new(circuit, &Direct, SectorKind::PerLayer, 0);
    let values = [-1.0, 0.0, 1.0, 2.0, 3.0];
    let variables = Variables::uniform(VarKind::Real, 1);
    let train = Dataset::from_rows(&variables, values.map(|x| vec![Some(x)])).unwrap();
    let splits = Splits { train: &train, valid: None, test: None };
    let mut engine = OracleEngine::new(&case.circuit, &case.parameters);
    let options = plain(recipe(400));
    let outcome =
        fit(&mut engine, &case.parameters, initial(&case), &splits, &options, &mut ()).unwrap();
    // Of variance 2, the maximum: −ln √(2π·2) − 1/2.
    let best = -(2.0 * std::f64::consts::TAU).ln() / 2.0 - 0.5;
    assert!((outcome.train.mean_ll.unwrap() - best).abs() < 1e-3, "{:?}", outcome.train);
}

#[test]
fn a_learned_model_explains_the_data_as_well_when_it_is_read_back() {
    let compiled = || {
        let map = SourceMap::default();
        compile(small_circuit(), &map, &network(), &compile::Options::default()).unwrap()
    };
    let case = small_case();
    let train = rows(60, 0);
    let outcome = run(&case, &plain(recipe(20)), &mut |_| {}).unwrap();
    let training = outcome.training(&train, 3);
    let source = Source::new("small.ron", "Circuit()");
    let model = Model { source, compiled: compiled().into(), flat: outcome.parameters };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pcc");
    save(&path, &model.to_file(Some(training))).unwrap();

    let file = load(&path).unwrap();
    let summary = file.training.as_ref().unwrap();
    assert_eq!((summary.steps, &summary.data), (20, &train.fingerprint()));
    assert_eq!(summary.train_ll, outcome.train.mean_ll);
    let again = Model::from_file(&path, &file, compiled()).unwrap();
    assert_eq!(again.flat, model.flat);
    let parameters = &again.compiled.parameters;
    let mut engine = OracleEngine::new(&again.compiled.written, parameters);
    assert_eq!(again.evaluate(&mut engine, &train).unwrap(), outcome.train);
    let row = row_of(&train, 0);
    let log_p = reference::log_likelihood(&again.compiled.written, &again.values(), &row);
    assert_eq!(log_p, outcome.train.log_p[0]);
}
