//! Likeliest completions by the CPU engine against the oracle's max-product: random circuits, every structure
//! with every leaf, circuits of others, and those of which a completion is the most probable one.

use std::path::Path;
use std::sync::Arc;

use pcc::circuit::{SourceMap, ValidCircuit, Values};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::{Completions, Executable, reference};
use pcc::import::{self, Companions, Format};
use pcc::model::Model;
use pcc::param::direct::Direct;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::query::{Answer, map};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::conditionals::{numbers, rows_of};
use crate::import::diagrams::Random;
use crate::structures::random::{Kinds as Described, STRUCTURES, description};
use crate::support::case::parameterizers;
use crate::support::describe::compiled_with;
use crate::support::deterministic;
use crate::support::enumerate::{Table, agrees, worlds};
use crate::support::oracle_engine::row_of;
use crate::support::random_circuits::{Kinds, circuit};

/// How far a logarithm may be off, relative to itself or to one.
const TOLERANCE: f64 = 1e-5;

fn engine(compiled: &Arc<Compiled>, schedule: Schedule, threads: usize) -> CpuExecutable {
    let sharing = Sharing::WherePays;
    let options = plan::Options { purpose: Purpose::Query, schedule, batch: 64, sharing };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    CpuExecutable::new(compiled.clone(), plan, threads).unwrap()
}

fn completed(engine: &mut CpuExecutable, flat: &[f32], data: &Dataset) -> Completions {
    engine.load(flat);
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    engine.completions(data, &rows).expect("the plan is for queries")
}

fn close(found: f64, expected: f64) -> bool {
    found == expected || (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
}

/// [`assert_as_good`] of the engine by both schedules, which say the same to the bit.
fn check(name: &str, compiled: &Arc<Compiled>, data: &Dataset, seed: u64) -> (usize, usize) {
    let (flat, values) = numbers(compiled, seed);
    let circuit = &compiled.written;
    let wide = completed(&mut engine(compiled, Schedule::Wide, 1), &flat, data);
    let deep = completed(&mut engine(compiled, Schedule::Deep, 2), &flat, data);
    let bits = |found: &Completions| -> Vec<Vec<u32>> {
        let row = |row| found.of(row).iter().map(|x| x.to_bits()).collect();
        (0..found.rows()).map(row).collect()
    };
    assert_eq!(bits(&wide), bits(&deep), "{name}: threads or schedules change completions");
    assert_as_good(name, circuit, &values, data, &wide)
}

/// Fails unless each row's best tree is as good as the oracle's, and its completion has a tree as good. How many
/// rows are impossible, and how many completions are others than the oracle's.
pub fn assert_as_good(
    name: &str,
    circuit: &ValidCircuit,
    values: &Values<f64>,
    data: &Dataset,
    found: &Completions,
) -> (usize, usize) {
    let (mut impossible, mut others) = (0, 0);
    for at in 0..data.rows() {
        let row = row_of(data, at as u32);
        let name = format!("{name}, row {at}: {row:?}");
        let best = reference::max_product(circuit, values, &row).log_likelihood();
        let (log_best, own) = (found.log_best(at), found.of(at));
        assert!(close(log_best, best), "{name}: {log_best}, not {best}");
        let Some(expected) = reference::complete(circuit, values, &row) else {
            assert!(own.iter().all(|x| x.is_nan()), "{name}");
            impossible += 1;
            continue;
        };
        assert!(agrees(own, &row), "{name}: {own:?}");
        let full: Vec<Option<f32>> = own.iter().map(|&x| Some(x)).collect();
        let reached = reference::max_product(circuit, values, &full).log_likelihood();
        assert!(close(reached, best), "{name}: reaches {reached}, not {best}");
        others += usize::from(expected != own);
    }
    (impossible, others)
}

#[test]
fn completions_of_random_circuits_are_as_good_as_the_oracles() {
    let parameterizers = parameterizers();
    for seed in 0..80 {
        let kinds = [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Real][seed as usize % 4];
        let parameterizer = &*parameterizers[seed as usize % parameterizers.len()];
        // Where rewriting merges sums, trees are others.
        let options = Options { no_rewrite: true, ..Options::default() };
        let compiled =
            compile(circuit(seed, kinds), &SourceMap::default(), parameterizer, &options);
        let compiled = Arc::new(compiled.unwrap());
        let missing = [0.3, 0.7, 1.0][seed as usize % 3];
        let data = rows_of(&compiled, 100, missing, seed);
        check(&format!("seed {seed}"), &compiled, &data, seed);
    }
}

#[test]
fn completions_of_every_structure_with_every_leaf_are_as_good_as_the_oracles() {
    let (mut rows, mut others) = (0, 0);
    for structure in STRUCTURES {
        for seed in 0..20 {
            let text = description(structure, seed, Described::Any);
            let compiled = compiled_with(&text, true);
            let data = rows_of(&compiled, 70, 0.5, seed);
            others += check(&text, &compiled, &data, seed).1;
            rows += data.rows();
        }
    }
    // Of equally good ones either may be taken.
    assert!(others * 20 < rows, "{others} of {rows} completions are not the oracle's");
}

#[test]
fn completions_of_circuits_of_others_are_as_good_as_the_oracles() {
    for seed in 0..12u64 {
        let least = if seed.is_multiple_of(3) { -60.0 } else { -4.0 };
        let text = Random::new(12, least, seed).psdd();
        let format = Format::of(Path::new("random.psdd")).unwrap();
        let source = Source::new("random.psdd", text);
        let imported = import::read(format, &source, &Companions::default()).unwrap();
        // A diagram is deterministic, so that merged sums have the same greatest tree.
        let options = Options { no_rewrite: seed % 4 > 0, ..Options::default() };
        let compiled =
            compile(imported.circuit.unwrap(), &imported.map, &Direct, &options).unwrap();
        let compiled = Arc::new(compiled);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let missing = [0.1, 0.5, 0.9][seed as usize % 3];
        let mut value = |_| (!rng.random_bool(missing)).then(|| f32::from(rng.random_bool(0.5)));
        let variables = compiled.written.variables();
        let rows = (0..100).map(|_| variables.ids().map(&mut value).collect::<Vec<_>>());
        let data = Dataset::from_rows(variables, rows.collect::<Vec<_>>()).unwrap();
        check(&format!("diagram {seed}"), &compiled, &data, seed);
    }
}

#[test]
fn a_model_completes_deterministic_circuits_by_their_likeliest_worlds() {
    let mut impossible = 0;
    for seed in 0..40 {
        let plan = deterministic::plan(seed, deterministic::Kinds::Discrete);
        let circuit = deterministic::circuit(&plan, seed, 1);
        let options = Options { no_rewrite: seed.is_multiple_of(2), ..Options::default() };
        let compiled = compile(circuit, &SourceMap::default(), &Direct, &options);
        let compiled = Arc::new(compiled.unwrap());
        let (flat, values) = numbers(&compiled, seed);
        let table = Table::new(&compiled.written, &values);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let all: Vec<Vec<f32>> = worlds(&compiled.written).collect();
        let rows: Vec<Vec<Option<f32>>> = (0..80)
            .map(|_| {
                let world = &all[rng.random_range(0..all.len())];
                world.iter().map(|&x| rng.random_bool(0.5).then_some(x)).collect()
            })
            .collect();
        let data = Dataset::from_rows(compiled.written.variables(), rows.clone()).unwrap();
        let mut engine = engine(&compiled, Schedule::Wide, 2);
        let model = Model { source: Source::new("", ""), compiled: compiled.clone(), flat };
        let found = model.complete(&mut engine, &data);
        for (row, found) in rows.iter().zip(found) {
            let name = format!("seed {seed}, {row:?}: {found:?}");
            let agreeing = table.entries.iter().filter(|(world, _)| agrees(world, row));
            let best = agreeing.map(|of| of.1).fold(f64::NEG_INFINITY, f64::max);
            let Some(found) = found else {
                assert_eq!(best, f64::NEG_INFINITY, "{name}");
                impossible += 1;
                continue;
            };
            assert_eq!(found.answer, Answer::Exact, "{name}");
            assert!(close(found.log_p, best), "{name}: not {best}");
            let own = table.entries.iter().find(|(world, _)| *world == found.row).unwrap();
            assert!(close(own.1, best), "{name}: {} of {best}", own.1);
        }
    }
    assert!(impossible > 20, "{impossible} impossible rows");
}

#[test]
fn what_a_model_says_of_a_bound_is_what_the_circuit_gives_the_assignment() {
    for (seed, structure) in (0..).zip(STRUCTURES) {
        let text = description(structure, seed, Described::Any);
        let compiled = compiled_with(&text, true);
        let data = rows_of(&compiled, 60, 0.6, seed);
        let (flat, values): (_, Values<f64>) = numbers(&compiled, seed);
        let mut engine = engine(&compiled, Schedule::Wide, 1);
        let model = Model { source: Source::new("", ""), compiled: compiled.clone(), flat };
        let found = model.complete(&mut engine, &data);
        let walked = model.complete_as_written(&data);
        for (at, (found, walked)) in found.iter().zip(&walked).enumerate() {
            let (Some(found), Some(walked)) = (found, walked) else {
                assert_eq!(found, walked, "{text}, row {at}");
                continue;
            };
            assert_eq!(found.answer, walked.answer, "{text}, row {at}");
            let full: Vec<Option<f32>> = found.row.iter().map(|&x| Some(x)).collect();
            let expected = reference::log_likelihood(&compiled.written, &values, &full);
            assert!(close(found.log_p, expected), "{text}, row {at}: {found:?}, not {expected}");
            let best = map(&compiled.written, &values, &row_of(&data, at as u32)).unwrap();
            assert_eq!(best, *walked, "{text}, row {at}");
        }
    }
}
