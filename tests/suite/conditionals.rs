//! Every variable's distribution given a row by the CPU engine, against the walk in double precision: random
//! circuits, rewritten or not, scheduled wide or deep; every structure with every leaf; circuits of others.

use std::path::Path;
use std::sync::Arc;

use pcc::circuit::{SourceMap, Values};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::{Conditionals, Executable, Tally, reference};
use pcc::ids::VarId;
use pcc::import::{self, Companions, Format};
use pcc::model::Model;
use pcc::param::direct::Direct;
use pcc::plan::{self, Op, Purpose, Schedule, Sharing, plan};
use pcc::query::{Conditional, Posterior, conditionals, log_conditional};
use pcc::sample::sample_rows;
use pcc::variables::VarKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::import::diagrams::Random;
use crate::structures::random::{Kinds as Described, STRUCTURES, description};
use crate::support::case::{parameterizers, spread};
use crate::support::describe::compiled_with;
use crate::support::deterministic;
use crate::support::oracle_engine::row_of;
use crate::support::random_circuits::{Kinds, circuit};

/// How far a number may be off, relative to itself, and a probability besides: what a row may lack before it is
/// in doubt.
const TOLERANCE: f64 = 1e-5;
const LACK: f64 = 1.0 / (1 << 20) as f64;
/// Parameters are numbers of single precision. So the logarithm of a density is known to some 2⁻²⁴ of itself, and
/// how two of them compare to a share of twice as much of the logarithm: more than [`TOLERANCE`], far out.
const ROUNDED: f64 = 1.0 / (1 << 23) as f64;

/// The engine's answer for all rows.
fn by_cpu(
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    schedule: Schedule,
    threads: usize,
) -> (Conditionals, Tally) {
    let options =
        plan::Options { purpose: Purpose::Query, schedule, batch: 64, sharing: Sharing::WherePays };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
    engine.load(flat);
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let found = engine.conditionals(data, &rows).expect("the plan is for queries");
    // The same engine still says how likely rows are.
    let mut log_p = vec![f64::NAN; rows.len()];
    engine.log_likelihood(data, &rows, &mut log_p);
    for (row, &log_p) in log_p.iter().enumerate() {
        let other = found.0.log_p(row);
        assert!(log_p == other || (log_p - other).abs() <= TOLERANCE * log_p.abs().max(1.0));
    }
    found
}

/// Fails unless the engine agrees with the walk over the circuit as written.
pub fn assert_agree(
    name: &str,
    compiled: &Compiled,
    values: &Values<f64>,
    data: &Dataset,
    found: &Conditionals,
) {
    let circuit = &compiled.written;
    for at in 0..data.rows() {
        let row = row_of(data, at as u32);
        let name = format!("{name}, row {at}: {row:?}");
        let Some(posterior) = Posterior::new(circuit, values, &row) else {
            assert_eq!(found.log_p(at), f64::NEG_INFINITY, "{name}");
            assert!(found.row(at).iter().all(|number| number.is_nan()), "{name}");
            continue;
        };
        let (expected, log_p) = (posterior.log_evidence(), found.log_p(at));
        assert!((expected - log_p).abs() <= TOLERANCE * expected.abs().max(1.0), "{name}: {log_p}");
        let tolerance = TOLERANCE.max(ROUNDED * expected.abs());
        for (var, expected) in circuit.variables().ids().zip(conditionals(&posterior)) {
            let found = found.of(at, var);
            let name = format!("{name}, {var}: {found:?}, not {expected:?}");
            match expected {
                Conditional::States(expected) => {
                    assert_eq!(found.len(), expected.len(), "{name}");
                    let close = |(p, q): (&f64, &f64)| (p - q).abs() <= tolerance * p + LACK;
                    assert!(expected.iter().zip(found).all(close), "{name}");
                }
                Conditional::Real { mean, variance } => {
                    let scale = mean.abs().max(variance.sqrt());
                    assert!((mean - found[0]).abs() <= tolerance * scale, "{name}");
                    assert!((variance - found[1]).abs() <= tolerance * variance, "{name}");
                }
            }
        }
    }
}

/// Rows drawn from the circuit under other parameters, a share of their values missing, some of real variables
/// far from all means.
pub fn rows_of(compiled: &Compiled, count: usize, missing: f64, seed: u64) -> Dataset {
    let circuit = &compiled.written;
    let flat = spread(circuit, &compiled.parameters, seed + 1000);
    let values = compiled.parameters.values(circuit, &flat);
    let variables = circuit.variables();
    let drawn = sample_rows(circuit, &values, &vec![None; variables.len()], count, seed).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut value = |row: usize, var: VarId| {
        let x = drawn[row * variables.len() + var.0 as usize];
        let far = if row.is_multiple_of(7) && seed.is_multiple_of(2) { 30.0 } else { 1.0 };
        let x = if variables.kind(var) == VarKind::Real { far * x } else { x };
        (!rng.random_bool(missing)).then_some(x)
    };
    let row = |row| variables.ids().map(|var| value(row, var)).collect::<Vec<_>>();
    Dataset::from_rows(variables, (0..count).map(row).collect::<Vec<_>>()).unwrap()
}

/// Parameters that single precision holds, in it and in double.
pub fn numbers(compiled: &Compiled, seed: u64) -> (Vec<f32>, Values<f64>) {
    let flat = spread(&compiled.written, &compiled.parameters, seed);
    let single: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
    let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
    let values = compiled.parameters.values(&compiled.written, &flat);
    (single, values)
}

/// Compares both schedules with the walk; what became of the rows.
fn check(name: &str, compiled: &Arc<Compiled>, data: &Dataset, seed: u64) -> Tally {
    let (flat, values) = numbers(compiled, seed);
    let mut tally = Tally::default();
    for (schedule, threads) in [(Schedule::Wide, 1), (Schedule::Deep, 2)] {
        let name = format!("{name}, {schedule:?}");
        let (found, of_rows) = by_cpu(compiled, &flat, data, schedule, threads);
        assert_agree(&name, compiled, &values, data, &found);
        tally += of_rows;
    }
    tally
}

#[test]
fn random_circuits_rewritten_or_not_agree_with_the_walk() {
    let parameterizers = parameterizers();
    let mut tally = Tally::default();
    let mut rewritten = 0;
    for seed in 0..100 {
        let kinds = [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Binary, Kinds::Real];
        let parameterizer = &*parameterizers[seed as usize % parameterizers.len()];
        for no_rewrite in [false, true] {
            let options = Options { no_rewrite, ..Options::default() };
            let circuit = circuit(seed, kinds[seed as usize % kinds.len()]);
            let compiled = compile(circuit, &SourceMap::default(), parameterizer, &options);
            let compiled = Arc::new(compiled.unwrap());
            rewritten +=
                usize::from(compiled.rewriting.as_ref().is_some_and(|found| !found.unchanged));
            let missing = [0.0, 0.3, 0.7, 1.0][seed as usize / 5 % 4];
            let data = rows_of(&compiled, 150, missing, seed);
            let name = format!("seed {seed}, rewrite {}", !no_rewrite);
            let of_rows = check(&name, &compiled, &data, seed);
            let is_real = matches!(seed % 5, 2 | 4);
            assert!(is_real || of_rows.in_logs == 0, "{name}: {of_rows:?}");
            tally += of_rows;
        }
    }
    assert!(rewritten > 0, "no circuit was rewritten");
    assert!(tally.in_logs > 0, "no row went through the log domain");
}

#[test]
fn every_structure_with_every_leaf_agrees_with_the_walk() {
    let mut tally = Tally::default();
    for structure in STRUCTURES {
        for seed in 0..30 {
            let text = description(structure, seed, Described::Any);
            let compiled = compiled_with(&text, seed.is_multiple_of(2));
            let data = rows_of(&compiled, 70, 0.4, seed);
            let of_rows = check(&text, &compiled, &data, seed);
            // Of odd seeds no values are far.
            assert!(seed.is_multiple_of(2) || of_rows.in_logs == 0, "{text}: {of_rows:?}");
            tally += of_rows;
        }
    }
    assert!(tally.in_logs > 0, "no row went through the log domain");
}

#[test]
fn circuits_of_others_agree_with_the_walk() {
    let (mut tally, mut sparse) = (Tally::default(), 0);
    for seed in 0..24u64 {
        // Every third has probabilities whose products single precision does not hold.
        let least = if seed.is_multiple_of(3) { -60.0 } else { -4.0 };
        let text = Random::new(12, least, seed).psdd();
        let format = Format::of(Path::new("random.psdd")).unwrap();
        let source = Source::new("random.psdd", text);
        let imported = import::read(format, &source, &Companions::default()).unwrap();
        let options = Options { no_rewrite: seed % 4 > 0, ..Options::default() };
        let compiled =
            compile(imported.circuit.unwrap(), &imported.map, &Direct, &options).unwrap();
        let how = plan::Options {
            purpose: Purpose::Query,
            schedule: Schedule::Wide,
            batch: 64,
            sharing: Sharing::Off,
        };
        let plan = plan(&compiled.circuit, &compiled.parameters, &how);
        let steps = plan.programs.iter().flat_map(|program| &program.steps);
        sparse += steps.filter(|step| matches!(step.op, Op::Sparse { .. })).count();
        let compiled = Arc::new(compiled);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let missing = [0.1, 0.5, 0.9][seed as usize % 3];
        let mut value = |_| (!rng.random_bool(missing)).then(|| f32::from(rng.random_bool(0.5)));
        let variables = compiled.written.variables();
        let rows = (0..150).map(|_| variables.ids().map(&mut value).collect::<Vec<_>>());
        let data = Dataset::from_rows(variables, rows.collect::<Vec<_>>()).unwrap();
        let of_rows = check(&format!("diagram {seed}"), &compiled, &data, seed);
        assert!(least < -4.0 || of_rows.in_logs == 0, "diagram {seed}: {of_rows:?}");
        tally += of_rows;
    }
    assert!(sparse > 50, "{sparse} sparse sums");
    assert!(tally.in_logs > 0, "no row was in doubt");
}

#[test]
fn circuits_most_of_whose_units_are_zero_agree_with_the_walk() {
    let mut tally = Tally::default();
    for seed in 0..30 {
        let plan = deterministic::plan(seed, deterministic::Kinds::Discrete);
        let circuit = deterministic::circuit(&plan, seed, 1);
        let options = Options { no_rewrite: seed.is_multiple_of(2), ..Options::default() };
        let compiled = compile(circuit, &SourceMap::default(), &Direct, &options);
        let compiled = Arc::new(compiled.unwrap());
        let variables = compiled.written.variables();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut value = |var| match variables.kind(var) {
            VarKind::Categorical { states } => {
                rng.random_bool(0.5).then(|| rng.random_range(0..states) as f32)
            }
            VarKind::Real => None,
        };
        let rows = (0..100).map(|_| variables.ids().map(&mut value).collect::<Vec<_>>());
        let data = Dataset::from_rows(variables, rows.collect::<Vec<_>>()).unwrap();
        tally += check(&format!("seed {seed}"), &compiled, &data, seed);
    }
    assert!(tally.impossible > 0, "no row was impossible");
}

#[test]
fn neither_threads_nor_neighbours_change_a_bit() {
    let compiled = compiled_with(&description("RatSpn", 4, Described::Any), false);
    let data = rows_of(&compiled, 700, 0.4, 4);
    let (flat, _) = numbers(&compiled, 4);
    let bits = |found: &Conditionals, row: usize| -> Vec<u64> {
        found.row(row).iter().map(|number| number.to_bits()).collect()
    };
    let (one, _) = by_cpu(&compiled, &flat, &data, Schedule::Wide, 1);
    let (three, _) = by_cpu(&compiled, &flat, &data, Schedule::Wide, 3);
    for row in 0..data.rows() {
        assert_eq!(bits(&one, row), bits(&three, row), "row {row}");
    }
    let last = data.subset(699..700);
    let (alone, _) = by_cpu(&compiled, &flat, &last, Schedule::Wide, 2);
    assert_eq!(bits(&one, 699), bits(&alone, 0));
}

#[test]
fn some_values_given_the_others_are_as_likely_as_two_marginals_say() {
    let mut unlikely = 0;
    for seed in 0..24u64 {
        let (circuit, name) = (circuit(seed, Kinds::Mixed), format!("seed {seed}"));
        let compiled = compile(circuit, &SourceMap::default(), &Direct, &Options::default());
        let compiled = Arc::new(compiled.unwrap());
        let data = rows_of(&compiled, 70, 0.3, 2 * seed);
        let (flat, values) = numbers(&compiled, seed);
        let of: Vec<VarId> = compiled
            .written
            .variables()
            .ids()
            .filter(|var| (var.0 + seed as u32).is_multiple_of(3))
            .collect();
        let options = plan::Options {
            purpose: Purpose::Evaluate,
            schedule: Schedule::Wide,
            batch: 64,
            sharing: Sharing::WherePays,
        };
        let plan = plan(&compiled.circuit, &compiled.parameters, &options);
        let mut engine = CpuExecutable::new(compiled.clone(), plan, 1).unwrap();
        let model = Model { source: Source::new("", ""), compiled: compiled.clone(), flat };
        let found = model.log_conditionals(&mut engine, &of, &data).unwrap();
        for (at, found) in found.into_iter().enumerate() {
            let row = row_of(&data, at as u32);
            let circuit = &compiled.written;
            let expected = log_conditional(circuit, &values, &of, &row);
            let (Some(expected), Some(found)) = (expected, found) else {
                assert_eq!(expected, found, "{name}, row {at}");
                continue;
            };
            unlikely += usize::from(expected < -10.0);
            // Each marginal is as near as that.
            let log_p = reference::log_likelihood(circuit, &values, &row);
            let close = (expected - found).abs() <= 2.0 * TOLERANCE * log_p.abs().max(1.0);
            assert!(found == expected || close, "{name}, row {at}: {found}, not {expected}");
        }
        // An engine made to evaluate has no way back, and the model says the same without it.
        assert!(engine.conditionals(&data, &[0]).is_none());
        let walked = model.conditionals(&mut engine, &data);
        assert_agree(&name, &compiled, &values, &data, &walked);
    }
    assert!(unlikely > 10, "{unlikely} unlikely");
}
