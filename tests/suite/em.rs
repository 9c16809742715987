//! Expectation-maximisation: the counts of engines, the promise that its objective never falls, and the
//! closed forms of its steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pcc::circuit::{Circuit, Op, SourceMap, WeightSource};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Code;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::{Counts, Executable, Tally, reference};
use pcc::ids::{VarId, WeightsId};
use pcc::leaf::counts::sample_poisson;
use pcc::leaf::{Dist, Family, discrete};
use pcc::param::Parameterizer;
use pcc::param::direct::{Direct, WeightDecay};
use pcc::param::hyper::Hyper;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::sector::SectorKind;
use pcc::train::em::{self, Em};
use pcc::train::{
    Event, Keep, Method, Options as TrainOptions, Outcome, Recipe, Splits, TrainError, fit,
};
use pcc::variables::{VarKind, Variables};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::agreement::rows_of;
use crate::support::case::{Case, parameterizers, spread};
use crate::support::oracle_engine::{OracleEngine, expected, placed, row_of};
use crate::support::random_circuits::{Kinds, circuit};

const KINDS: [Kinds; 4] = [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Real];

fn compiled(seed: u64, parameterizer: &dyn Parameterizer, no_rewrite: bool) -> Arc<Compiled> {
    const SECTORS: [SectorKind; 2] = [SectorKind::PerLayer, SectorKind::Slices(1)];
    let sectors = SECTORS[seed as usize / 4 % 2];
    let options = Options { sectors, no_rewrite, ..Options::default() };
    let circuit = circuit(seed, KINDS[seed as usize % 4]);
    Arc::new(compile(circuit, &SourceMap::default(), parameterizer, &options).unwrap())
}

fn all(data: &Dataset) -> std::ops::Range<u32> {
    0..data.rows() as u32
}

fn cpu(compiled: &Arc<Compiled>, batch: u32) -> CpuExecutable {
    let options = plan::Options {
        purpose: Purpose::Train,
        batch,
        schedule: Schedule::Wide,
        sharing: Sharing::WherePays,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    CpuExecutable::new(compiled.clone(), plan, 2).unwrap()
}

/// The counts of each row are at most one a sum's unit, so their sums are of the order of the rows.
#[test]
fn the_cpu_engine_counts_what_the_oracle_counts() {
    for seed in 0..80 {
        let parameterizers = parameterizers();
        let parameterizer = &*parameterizers[seed as usize % parameterizers.len()];
        // As it is written: rewriting leaves out weights on which nothing depends.
        let compiled = compiled(seed, parameterizer, true);
        let parameters = &compiled.parameters;
        let single: Vec<f32> =
            spread(&compiled.written, parameters, seed).iter().map(|&x| x as f32).collect();
        let double: Vec<f64> = single.iter().map(|&x| x.into()).collect();
        // No multiple of three: no value is missing. What a sum over indicators counts of a missing
        // one, which is nothing but its weights, engines leave out.
        let data = rows_of(&compiled, 150, 3 * seed + 1);
        let values = parameters.values(&compiled.written, &double);
        let truth: Counts<f64> =
            placed(parameters, &expected(&compiled.written, &values, &data, all(&data)));

        let rows: Vec<u32> = all(&data).collect();
        let mut counts = Counts::zeros(parameters);
        // What was there before is forgotten.
        counts.weights.fill(7.0);
        let mut log_p = vec![0.0; rows.len()];
        let mut engine = cpu(&compiled, rows.len() as u32);
        engine.expected_counts(&single, &data, &rows, &mut log_p, &mut counts).unwrap();
        let near = |name: &str, truth: &[f64], found: &[f32]| {
            let largest = truth.iter().fold(1.0f64, |top, x| top.max(x.abs()));
            for (&truth, &found) in truth.iter().zip(found) {
                let off = (truth - f64::from(found)).abs();
                assert!(off <= 1e-5 * largest, "seed {seed}, {name}: {truth}, engine {found}");
            }
        };
        near("weights", &truth.weights, &counts.weights);
        for dist in parameters.families().ids() {
            let family = compiled.written.dists()[dist].family;
            near(family.name(), truth.leaf(dist), counts.leaf(dist));
        }
    }
}

/// Σ ln p, and Σ α/K ln w of each group and each discrete unit: zero weights are no outcomes.
fn objective(compiled: &Compiled, flat: &[f64], data: &Dataset, alpha: f64) -> f64 {
    let (circuit, parameters) = (&compiled.written, &compiled.parameters);
    let values = parameters.values(circuit, flat);
    let log_p =
        all(data).map(|row| reference::log_likelihood(circuit, &values, &row_of(data, row)));
    let mut sum: f64 = log_p.filter(|log_p| log_p.is_finite()).sum();
    let mut prior = |p: &[f64]| {
        let outcomes = p.iter().filter(|&&p| p > 0.0);
        let each = alpha / outcomes.clone().count() as f64;
        sum += each * outcomes.map(|p| p.ln()).sum::<f64>();
    };
    for (id, weights) in circuit.weights().iter() {
        if !matches!(weights.source, WeightSource::Frozen(_)) {
            values.weights(id).chunks(weights.cols as usize).for_each(&mut prior);
        }
    }
    for (id, dist) in circuit.dists().iter().filter(|(_, dist)| dist.learnable_len() > 0) {
        if matches!(dist.family, Family::Bernoulli | Family::Categorical { .. }) {
            for raw in values.leaf(id).chunks(dist.family.raw_len()) {
                let mut p = vec![0.0; discrete::states(raw.len())];
                discrete::probabilities(raw, &mut p);
                prior(&p);
            }
        }
    }
    sum
}

#[test]
fn a_step_over_all_rows_never_lowers_the_penalised_likelihood() {
    for seed in 0..48 {
        let compiled = compiled(seed, &Direct, true);
        let parameters = &compiled.parameters;
        let mut flat = spread(&compiled.written, parameters, seed);
        let data = rows_of(&compiled, 60, seed);
        let alpha = if seed % 3 == 0 { 0.0 } else { 0.7 };
        let em = Em::new(parameters, alpha, 1.0, &[]).unwrap();
        let first = objective(&compiled, &flat, &data, alpha);
        let mut before = first;
        for step in 0..20 {
            let values = parameters.values(&compiled.written, &flat);
            let expected = expected(&compiled.written, &values, &data, all(&data));
            assert!(em.step(1.0, (data.rows(), 1.0), &placed(parameters, &expected), &mut flat));
            let after = objective(&compiled, &flat, &data, alpha);
            let slack = 1e-12 * before.abs().max(1.0);
            assert!(after >= before - slack, "seed {seed}, step {step}: {before} to {after}");
            before = after;
        }
        assert!(before > first || parameters.learnable() == 0 || first == 0.0, "seed {seed}");
    }
}

/// A circuit that is one leaf, after one whole step over `values`.
fn one_leaf(family: Family, kind: VarKind, values: &[f32], pseudo_count: f64) -> Vec<f64> {
    let mut circuit = Circuit::new(Variables::uniform(kind, 1));
    let dist = circuit.add_dist(Dist::learnable(family, 1));
    let leaf = circuit.add(Op::Leaf { var: VarId(0), dist }, 1);
    circuit.set_root(leaf);
    let mut case = Case::new(circuit, &Direct, SectorKind::PerLayer, 0);
    let variables = Variables::uniform(kind, 1);
    let rows = values.iter().map(|&x| vec![Some(x)]).chain([vec![None]]);
    let data = Dataset::from_rows(&variables, rows).unwrap();
    let em = Em::new(&case.parameters, pseudo_count, 1.0, &[]).unwrap();
    let expected = expected(&case.circuit, &case.values(), &data, all(&data));
    assert!(em.step(1.0, (data.rows(), 1.0), &placed(&case.parameters, &expected), &mut case.flat));
    case.flat
}

fn assert_near(found: &[f64], truth: &[f64]) {
    assert_eq!(found.len(), truth.len());
    for (found, truth) in found.iter().zip(truth) {
        assert!((found - truth).abs() < 1e-12, "{found} is not {truth}");
    }
}

#[test]
fn one_step_of_a_single_leaf_ends_at_its_closed_form() {
    let sigmoid = |raw: f64| 1.0 / (1.0 + (-raw).exp());
    let bits = [1.0, 0.0, 1.0, 1.0];
    let raw = one_leaf(Family::Bernoulli, VarKind::BINARY, &bits, 0.0);
    assert_near(&[sigmoid(raw[0])], &[0.75]);
    // Half of the pseudo-count for each state: (3 + 1) / (4 + 2).
    let raw = one_leaf(Family::Bernoulli, VarKind::BINARY, &bits, 2.0);
    assert_near(&[sigmoid(raw[0])], &[4.0 / 6.0]);

    let (family, kind) = (Family::Categorical { states: 3 }, VarKind::Categorical { states: 3 });
    let raw = one_leaf(family, kind, &[2.0, 0.0, 2.0, 1.0, 2.0], 0.0);
    assert_near(&raw.iter().map(|raw| raw.exp()).collect::<Vec<_>>(), &[0.2, 0.2, 0.6]);

    let (family, kind) = (Family::Binomial { trials: 4 }, VarKind::Categorical { states: 5 });
    let raw = one_leaf(family, kind, &[4.0, 1.0, 3.0, 1.0], 0.0);
    assert_near(&[sigmoid(raw[0])], &[9.0 / 16.0]);

    // The one row without a value is one of the five, of which the unit might be responsible.
    let before = one_leaf(Family::Poisson, VarKind::Real, &[], 0.0)[0].exp();
    let raw = one_leaf(Family::Poisson, VarKind::Real, &[4.0, 1.0, 7.0, 2.0], 0.0);
    assert_near(&[raw[0].exp()], &[before + 0.8 * (3.5 - before)]);

    let values = [-1.0, 0.0, 1.0, 2.0, 3.0];
    let raw = one_leaf(Family::GAUSSIAN, VarKind::Real, &values, 0.0);
    assert_near(&[raw[0], 1e-6 + raw[1].exp()], &[1.0, 2.0]);
    let bounded = Family::Gaussian { min_var: 0.1, max_var: 1.5 };
    let raw = one_leaf(bounded, VarKind::Real, &values, 0.0);
    assert_near(&[raw[0]], &[1.0]);
    assert!((0.1 + 1.4 * sigmoid(raw[1]) - 1.5).abs() < 1e-5);
}

/// Components of independent bits.
fn mixture(components: u32, sources: WeightSource) -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(3));
    let leaves: Vec<_> = (0..3)
        .map(|var| {
            let dist = circuit.add_dist(Dist::learnable(Family::Bernoulli, components));
            circuit.leaf(VarId(var), dist)
        })
        .collect();
    let product = circuit.product(&leaves);
    let root = circuit.sum(1, &[product], sources);
    circuit.set_root(root);
    circuit
}

/// Rows in which the three bits mostly agree.
fn rows(count: usize) -> Dataset {
    let row = |at: usize| {
        let noise = (at * 7919) % 31;
        (0..3).map(|var| Some(((at % 2) ^ usize::from(noise == 3 * var)) as f32)).collect()
    };
    Dataset::from_rows(&Variables::binary(3), (0..count).map(row)).unwrap()
}

fn recipe(steps: u64, batch: usize, rate: f64) -> Recipe {
    let method = Method::Em { pseudo_count: 0.1 };
    Recipe { steps, batch, eval_every: 7, seed: 3, method, rate, ..Recipe::default() }
}

/// A run on 60 rows by the CPU engine.
fn run(
    components: u32,
    options: &TrainOptions<'_>,
    observer: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    let circuit = mixture(components, WeightSource::Direct);
    let map = SourceMap::default();
    let compiled = Arc::new(compile(circuit, &map, &Direct, &Options::default()).unwrap());
    let data = rows(60);
    let splits = Splits { train: &data, valid: None, test: None };
    let initial = compiled.parameters.initial(&compiled.written, 1, None);
    let mut observer = |event: Event<'_>| observer(event);
    let mut engine = cpu(&compiled, 60);
    fit(&mut engine, &compiled.parameters, initial, &splits, options, &mut observer)
}

fn plain(recipe: Recipe) -> TrainOptions<'static> {
    TrainOptions { recipe, ..TrainOptions::default() }
}

#[test]
fn two_components_explain_more_than_one_whatever_the_batch() {
    for (steps, batch, rate) in [(40, 60, 1.0), (400, 10, 0.1), (8000, 1, 0.02)] {
        let learned = |components| {
            let outcome = run(components, &plain(recipe(steps, batch, rate)), &mut |_| {});
            outcome.unwrap().train.mean_ll.unwrap()
        };
        let (one, two) = (learned(1), learned(2));
        // Independent bits have 3 ln 2 at best; two components nearly ln 2 and a little noise.
        assert!(one < -1.9 && two > one + 0.5, "batches of {batch}: {one} and {two}");
    }
}

#[test]
fn a_run_of_em_that_is_interrupted_and_continued_ends_as_if_it_never_was() {
    let bits = |outcome: &Outcome| -> Vec<u32> {
        outcome.parameters.iter().map(|value| value.to_bits()).collect()
    };
    let whole = run(2, &plain(recipe(30, 10, 0.2)), &mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let kept = |resume| {
        let keep = Keep { resume, share: 0, ..Keep::new(&path, "mixture") };
        TrainOptions { keep: Some(keep), ..plain(recipe(30, 10, 0.2)) }
    };
    let flag = AtomicBool::new(false);
    let stopped = run(2, &TrainOptions { interrupt: Some(&flag), ..kept(false) }, &mut |event| {
        flag.fetch_or(matches!(event, Event::Step { step: 11 }), Ordering::Relaxed);
    });
    assert!(matches!(stopped, Err(TrainError::Interrupted { step: 11 })));
    let resumed = run(2, &kept(true), &mut |_| {}).unwrap();
    assert_eq!(bits(&resumed), bits(&whole));
}

#[test]
fn weights_of_zero_stay_so_and_groups_without_counts_keep_theirs() {
    let given = WeightSource::Given(vec![0.0, 1.0]);
    let mut case = Case::new(mixture(2, given), &Direct, SectorKind::PerLayer, 0);
    let before = case.flat.clone();
    let em = Em::new(&case.parameters, 3.0, 1.0, &[]).unwrap();
    assert!(em.step(1.0, (1, 1.0), &Counts::zeros(&case.parameters), &mut case.flat));
    assert_eq!(case.flat, before);

    let data = rows(10);
    let expected = expected(&case.circuit, &case.values(), &data, all(&data));
    assert!(em.step(1.0, (data.rows(), 1.0), &placed(&case.parameters, &expected), &mut case.flat));
    let values = case.values();
    let (id, _) = case.circuit.weights().iter().next().unwrap();
    assert_eq!(values.weights(id), [0.0, 1.0]);
}

/// An engine that learns by gradients alone.
struct GradientsOnly<'a>(OracleEngine<'a>);

impl Executable for GradientsOnly<'_> {
    fn load(&mut self, parameters: &[f32]) {
        self.0.load(parameters);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        self.0.log_likelihood(data, rows, log_p)
    }

    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        self.0.gradient(parameters, data, rows, log_p, gradient)
    }

    fn arithmetic(&self) -> String {
        self.0.arithmetic()
    }
}

#[test]
fn what_em_cannot_learn_is_refused() {
    let refusal = |circuit: Circuit, parameterizer: &dyn Parameterizer| {
        let case = Case::new(circuit, parameterizer, SectorKind::PerLayer, 0);
        let fault = Em::new(&case.parameters, 0.1, 1.0, &[]).unwrap_err();
        assert_eq!(fault.code, Code::E0405);
        fault.to_string()
    };
    let of_network = || mixture(2, WeightSource::Parameterizer);

    let case = Case::new(mixture(2, WeightSource::Direct), &Direct, SectorKind::PerLayer, 0);
    let data = rows(8);
    let splits = Splits { train: &data, valid: None, test: None };
    let initial: Vec<f32> = case.flat.iter().map(|&x| x as f32).collect();
    let by = |recipe: Recipe| {
        let mut engine = GradientsOnly(OracleEngine::new(&case.circuit, &case.parameters));
        let options = plain(recipe);
        let (parameters, initial) = (&case.parameters, initial.clone());
        let fault = fit(&mut engine, parameters, initial, &splits, &options, &mut ());
        let fault = fault.unwrap_err();
        assert_eq!(fault.exit_code(), 1);
        fault.to_string()
    };
    let negative = Method::Em { pseudo_count: -1.0 };
    let found = [
        refusal(of_network(), &Hyper { embedding: 2, hidden: vec![4] }),
        refusal(of_network(), &WeightDecay { lambda: 0.1 }),
        by(recipe(1, 8, 1.0)),
        by(recipe(1, 8, 1.5)),
        by(Recipe { method: negative, ..recipe(1, 8, 1.0) }),
    ];
    insta::assert_snapshot!(found.join("\n"), @"
    error[E0405]: EM cannot learn weights that a parameterizer makes of shared parameters
    error[E0405]: EM cannot learn under weight decay
    error[E0405]: this engine does not learn by EM
    error[E0105]: a learning rate of EM must be at most 1
    error[E0105]: the pseudo-count must be finite and at least 0
    ");
}

#[test]
fn what_was_drawn_begins_unequal_and_what_was_given_stays() {
    let begun = |sources| {
        let mut case = Case::new(mixture(64, sources), &Direct, SectorKind::PerLayer, 0);
        let mut flat: Vec<f64> = case.parameters.initial(&case.circuit, 5, None);
        em::begin(&case.circuit, &case.parameters, &mut flat);
        case.flat = flat;
        case.values().weights(WeightsId(0)).to_vec()
    };
    let weights = begun(WeightSource::Direct);
    let effective = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
    // Nearly 64 of logits uniform on [0, 1); of squares of exponential numbers n · (Γ(3)² / Γ(5)).
    assert!((4.0..25.0).contains(&effective), "{effective}");
    let mut given = vec![1.0 / 64.0; 64];
    (given[0], given[1]) = (1.5 / 64.0, 0.5 / 64.0);
    let weights = begun(WeightSource::Given(given.clone()));
    for (found, given) in weights.iter().zip(&given) {
        assert!((found - given).abs() < 1e-12);
    }
}

/// Two counts an hour, in quiet and in busy hours, by two Poissons each; some are missing.
fn hours() -> (Circuit, Dataset) {
    let variables = Variables::uniform(VarKind::Real, 2);
    let mut circuit = Circuit::new(variables.clone());
    let leaves = [0, 1].map(|var| {
        let dist = circuit.add_dist(Dist::learnable(Family::Poisson, 2));
        circuit.leaf(VarId(var), dist)
    });
    let product = circuit.product(&leaves);
    let root = circuit.sum(1, &[product], WeightSource::Direct);
    circuit.set_root(root);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let row = |hour: usize| {
        let rates: [f64; 2] = if hour.is_multiple_of(3) { [20.0, 6.0] } else { [2.0, 9.0] };
        let counts = rates.map(|rate| Some(sample_poisson(rate.ln(), &mut rng) as f32));
        counts.into_iter().map(|count| count.filter(|_| !hour.is_multiple_of(11))).collect()
    };
    let data = Dataset::from_rows(&variables, (0..400).map(row)).unwrap();
    (circuit, data)
}

#[test]
fn rates_of_poissons_are_learned_and_never_lower_the_likelihood() {
    let (circuit, data) = hours();
    let map = SourceMap::default();
    let compiled = Arc::new(compile(circuit, &map, &Direct, &Options::default()).unwrap());
    let parameters = &compiled.parameters;
    let moments = data.moments();
    let mut flat: Vec<f64> = parameters.initial(&compiled.written, 1, Some(&moments));
    let em = Em::new(parameters, 0.0, 1.0, &[]).unwrap();
    let mut engine = cpu(&compiled, 400);
    let rows: Vec<u32> = all(&data).collect();
    let mut before = objective(&compiled, &flat, &data, 0.0);
    for step in 0..60 {
        let values = parameters.values(&compiled.written, &flat);
        let truth: Counts<f64> =
            placed(parameters, &expected(&compiled.written, &values, &data, all(&data)));
        let single: Vec<f32> = flat.iter().map(|&x| x as f32).collect();
        let (mut counts, mut log_p) = (Counts::zeros(parameters), vec![0.0; 400]);
        engine.expected_counts(&single, &data, &rows, &mut log_p, &mut counts).unwrap();
        for dist in parameters.families().ids() {
            for (truth, found) in truth.leaf(dist).iter().zip(counts.leaf(dist)) {
                let off = (truth - f64::from(*found)).abs();
                assert!(off < 1e-5 * 4000.0, "step {step}: {truth}, engine {found}");
            }
        }
        assert!(em.step(1.0, (400, 1.0), &truth, &mut flat));
        let after = objective(&compiled, &flat, &data, 0.0);
        assert!(after >= before - 1e-12 * before.abs(), "step {step}: {before} to {after}");
        before = after;
    }
    let mut rates: Vec<f64> = parameters
        .families()
        .ids()
        .flat_map(|dist| {
            flat[parameters.leaf(dist)].iter().map(|raw| raw.exp()).collect::<Vec<_>>()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    for (found, truth) in rates.iter().zip([2.0, 6.0, 9.0, 20.0]) {
        assert!((found - truth).abs() < 0.15 * truth, "{rates:?}");
    }
}
