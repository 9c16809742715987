//! Rows drawn by the CPU engine: by chi-square tests at 1e-4 with fixed seeds against the table of all worlds,
//! against the engine's conditionals where variables are real, and bit by bit against itself.

use std::path::Path;
use std::sync::Arc;

use pcc::circuit::{SourceMap, Values};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::{Draws, Executable, Tally};
use pcc::ids::VarId;
use pcc::import::{self, Companions, Format};
use pcc::model::Model;
use pcc::param::direct::Direct;
use pcc::plan::{self, Op, Purpose, Schedule, Sharing, plan};
use pcc::sample::sample_rows;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::conditionals::{numbers, rows_of};
use crate::import::diagrams::Random;
use crate::sampling::give;
use crate::structures::random::{Kinds as Described, STRUCTURES, description};
use crate::support::case::parameterizers;
use crate::support::chi_square::assert_drawn_from;
use crate::support::describe::compiled_with;
use crate::support::deterministic;
use crate::support::enumerate::Table;
use crate::support::random_circuits::{Kinds, circuit};

/// Samples a test.
const DRAWS: usize = 100_000;
/// Random instances of each structure.
const INSTANCES: u64 = 8;

type Row = Vec<Option<f32>>;

/// An engine for queries.
fn engine(
    compiled: &Arc<Compiled>,
    flat: &[f32],
    (schedule, sharing): (Schedule, Sharing),
    threads: usize,
) -> CpuExecutable {
    let options = plan::Options { purpose: Purpose::Query, schedule, batch: 64, sharing };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
    engine.load(flat);
    engine
}

/// How the plan of a seed is made.
fn how(seed: u64) -> (Schedule, Sharing) {
    [(Schedule::Wide, Sharing::WherePays), (Schedule::Deep, Sharing::Off)][seed as usize % 2]
}

/// All rows of some data, `each` drawn given each.
fn drawn(engine: &mut CpuExecutable, data: &Dataset, each: usize, seed: u64) -> (Draws, Tally) {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    engine.draws(data, &rows, each, seed).expect("the plan is for queries")
}

/// Nothing observed, and evidence that some possible world has.
fn rows_given(table: &Table, seed: u64) -> [Row; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let possible: Vec<_> =
        table.entries.iter().filter(|(_, log_p)| *log_p > f64::NEG_INFINITY).collect();
    let (world, _) = possible.choose(&mut rng).expect("a world is possible");
    let seen = world.iter().map(|&value| rng.random_bool(0.5).then_some(value)).collect();
    [vec![None; world.len()], seen]
}

/// Draws given nothing and given evidence, and compares with the table of all worlds.
fn check_worlds(name: &str, compiled: &Arc<Compiled>, seed: u64) -> Tally {
    let (flat, values) = numbers(compiled, seed);
    let table = Table::new(&compiled.written, &values);
    let given = rows_given(&table, seed);
    let variables = compiled.written.variables();
    let data = Dataset::from_rows(variables, given.clone()).unwrap();
    let mut engine = engine(compiled, &flat, how(seed), 2);
    let (found, tally) = drawn(&mut engine, &data, DRAWS, seed);
    for (at, row) in given.iter().enumerate() {
        check_draws(&format!("{name}, given {row:?}"), &table, row, &found, at);
    }
    tally
}

fn check_draws(name: &str, table: &Table, row: &Row, found: &Draws, at: usize) {
    let log_evidence = table.log_marginal(row);
    let close = (found.log_p(at) - log_evidence).abs() <= 1e-5 * log_evidence.abs().max(1.0);
    assert!(close, "{name}: {}, not {log_evidence}", found.log_p(at));
    table.assert_drawn(name, row, found.of(at));
}

#[test]
fn draws_of_random_circuits_have_the_frequencies_of_worlds() {
    let parameterizers = parameterizers();
    let (mut steps, mut checked) = ([0; 3], 0);
    for seed in 0..40 {
        let kinds = [Kinds::Binary, Kinds::Discrete][seed as usize % 2];
        let parameterizer = &*parameterizers[seed as usize / 2 % parameterizers.len()];
        let options = Options { no_rewrite: seed % 3 == 1, ..Options::default() };
        let compiled =
            compile(circuit(seed, kinds), &SourceMap::default(), parameterizer, &options);
        let compiled = Arc::new(compiled.unwrap());
        if compiled.written.variables().len() > 9 {
            continue;
        }
        let (schedule, sharing) = how(seed);
        let how = plan::Options { purpose: Purpose::Query, schedule, batch: 64, sharing };
        let plan = plan(&compiled.circuit, &compiled.parameters, &how);
        for step in plan.programs.iter().flat_map(|program| &program.steps) {
            match step.op {
                Op::Mix { .. } => steps[0] += 1,
                Op::Kronecker => steps[1] += 1,
                Op::Sum { .. } if step.inputs.1 - step.inputs.0 > 1 => steps[2] += 1,
                _ => {}
            }
        }
        check_worlds(&format!("seed {seed}"), &compiled, seed);
        checked += 1;
    }
    assert!(checked > 25, "{checked} circuits");
    assert!(steps.iter().all(|&count| count > 5), "{steps:?} mixtures, pairs and wide sums");
}

/// A random PSDD, compiled.
fn diagram(seed: u64, variables: usize, least: f64) -> Arc<Compiled> {
    let text = Random::new(variables, least, seed).psdd();
    let format = Format::of(Path::new("random.psdd")).unwrap();
    let source = Source::new("random.psdd", text);
    let imported = import::read(format, &source, &Companions::default()).unwrap();
    let options = Options { no_rewrite: !seed.is_multiple_of(4), ..Options::default() };
    Arc::new(compile(imported.circuit.unwrap(), &imported.map, &Direct, &options).unwrap())
}

#[test]
fn draws_of_circuits_of_others_have_the_frequencies_of_worlds() {
    let mut sparse = 0;
    for seed in 0..8 {
        let compiled = diagram(seed, 12, -4.0);
        let how = plan::Options {
            purpose: Purpose::Query,
            schedule: Schedule::Wide,
            batch: 64,
            sharing: Sharing::Off,
        };
        let plan = plan(&compiled.circuit, &compiled.parameters, &how);
        let steps = plan.programs.iter().flat_map(|program| &program.steps);
        sparse += steps.filter(|step| matches!(step.op, Op::Sparse { .. })).count();
        check_worlds(&format!("diagram {seed}"), &compiled, seed);
    }
    assert!(sparse > 10, "{sparse} sparse sums");
}

#[test]
fn rows_in_doubt_are_drawn_as_often_as_worlds_say() {
    const EACH: usize = 1000;
    let mut in_doubt = 0;
    for seed in [0, 3, 6, 9, 12, 15] {
        // Probabilities whose products single precision does not hold.
        let compiled = diagram(seed, 12, -60.0);
        let (flat, values) = numbers(&compiled, seed);
        let table = Table::new(&compiled.written, &values);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let missing = [0.1, 0.5, 0.9][seed as usize / 3 % 3];
        let mut value = |_| (!rng.random_bool(missing)).then(|| f32::from(rng.random_bool(0.5)));
        let given: Vec<Row> = (0..100).map(|_| (0..12).map(&mut value).collect()).collect();
        let data = Dataset::from_rows(compiled.written.variables(), given.clone()).unwrap();
        let mut engine = engine(&compiled, &flat, how(seed), 2);
        let (found, tally) = drawn(&mut engine, &data, EACH, seed);
        in_doubt += tally.in_logs / EACH;
        for (at, row) in given.iter().enumerate() {
            if table.log_marginal(row) > f64::NEG_INFINITY {
                check_draws(&format!("diagram {seed}, given {row:?}"), &table, row, &found, at);
            }
        }
    }
    assert!(in_doubt > 0, "no row was in doubt");
}

#[test]
fn draws_of_real_variables_have_the_means_and_variances_of_conditionals() {
    const EACH: usize = 4000;
    let (mut checked, mut in_logs) = (0, 0);
    for structure in STRUCTURES {
        for seed in 0..INSTANCES {
            let text = description(structure, seed, Described::Any);
            let compiled = compiled_with(&text, seed.is_multiple_of(3));
            // Of even seeds some values are far from all means.
            let data = rows_of(&compiled, 8, 0.5, seed);
            let (flat, _) = numbers(&compiled, seed);
            let mut engine = engine(&compiled, &flat, how(seed), 1);
            let (found, tally) = drawn(&mut engine, &data, EACH, seed);
            in_logs += tally.in_logs;
            let rows: Vec<u32> = (0..8).collect();
            let (conditionals, _) = engine.conditionals(&data, &rows).unwrap();
            for at in 0..data.rows() {
                for var in compiled.written.variables().ids() {
                    let drawn = found.of(at).iter().skip(var.0 as usize).step_by(data.columns());
                    let name = format!("{text}, row {at}, {var}");
                    checked +=
                        check_variable(&name, drawn, &data, at, conditionals.of(at, var), var);
                }
            }
        }
    }
    assert!(checked > 400, "{checked} open variables");
    assert!(in_logs > 0, "no draw was in doubt");
}

/// Compares what was drawn of a variable with its distribution given a row. Whether it was open.
fn check_variable<'a>(
    name: &str,
    drawn: impl Iterator<Item = &'a f32>,
    data: &Dataset,
    at: usize,
    expected: &[f64],
    var: VarId,
) -> usize {
    use pcc::variables::VarKind;
    let drawn: Vec<f64> = drawn.map(|&x| x.into()).collect();
    if let Some(value) = data.value(at, var) {
        assert!(drawn.iter().all(|&x| x == f64::from(value)), "{name}: observed");
        return 0;
    }
    if let VarKind::Categorical { .. } = data.variables().kind(var) {
        let count = |state: usize| drawn.iter().filter(|&&x| x == state as f64).count();
        let cells: Vec<(f64, usize)> =
            expected.iter().enumerate().map(|(state, &p)| (p, count(state))).collect();
        assert_drawn_from(name, &cells);
        return 1;
    }
    let n = drawn.len() as f64;
    let [mean, variance] = [expected[0], expected[1]];
    let found = drawn.iter().sum::<f64>() / n;
    // Five deviations of the mean: once in two million.
    let off = (found - mean).abs() / (variance / n).sqrt();
    assert!(off < 5.0, "{name}: mean {found}, not {mean}: {off} deviations");
    let squares: Vec<f64> = drawn.iter().map(|x| (x - mean).powi(2)).collect();
    let found = squares.iter().sum::<f64>() / n;
    let spread = squares.iter().map(|square| (square - found).powi(2)).sum::<f64>() / n;
    let off = (found - variance).abs() / (spread / n).sqrt();
    assert!(off < 6.0, "{name}: variance {found}, not {variance}: {off} deviations");
    1
}

#[test]
fn neither_threads_nor_neighbours_nor_sharing_change_what_is_drawn() {
    for (seed, structure) in (0..).zip(STRUCTURES) {
        let text = description(structure, seed, Described::Any);
        let compiled = compiled_with(&text, false);
        let data = rows_of(&compiled, 300, 0.6, seed);
        let (flat, _) = numbers(&compiled, seed);
        let bits = |found: &Draws| -> Vec<u32> {
            found.values().iter().map(|value| value.to_bits()).collect()
        };
        let mut one = engine(&compiled, &flat, (Schedule::Wide, Sharing::Off), 1);
        let mut three = engine(&compiled, &flat, (Schedule::Wide, Sharing::Off), 3);
        // Depth first, factors are taken in another order, and so are random numbers.
        let mut shared = engine(&compiled, &flat, (Schedule::Wide, Sharing::Wherever), 2);
        let (expected, _) = drawn(&mut one, &data, 3, seed);
        assert_eq!(bits(&expected), bits(&drawn(&mut three, &data, 3, seed).0), "{text}");
        assert_eq!(bits(&expected), bits(&drawn(&mut shared, &data, 3, seed).0), "{text}");
        let few = drawn(&mut three, &data.subset(0..70), 3, seed).0;
        assert_eq!(bits(&expected)[..few.values().len()], bits(&few), "{text}");
        assert_ne!(bits(&expected), bits(&drawn(&mut one, &data, 3, seed + 1).0), "{text}");
    }
}

#[test]
fn impossible_rows_are_not_drawn_and_leave_others_alone() {
    let mut impossible = 0;
    for seed in 0..10 {
        let plan = deterministic::plan(seed, deterministic::Kinds::Discrete);
        let circuit = deterministic::circuit(&plan, seed, 1);
        let compiled = compile(circuit, &SourceMap::default(), &Direct, &Options::default());
        let compiled = Arc::new(compiled.unwrap());
        let (flat, values) = numbers(&compiled, seed);
        let table = Table::new(&compiled.written, &values);
        let given: Vec<Row> = table
            .entries
            .iter()
            .map(|(world, _)| {
                let seen = |(at, &x): (usize, &f32)| (at as u64 % 4 != seed % 4).then_some(x);
                world.iter().enumerate().map(seen).collect()
            })
            .collect();
        let data = Dataset::from_rows(compiled.written.variables(), given.clone()).unwrap();
        let mut engine = engine(&compiled, &flat, how(seed), 2);
        let (found, tally) = drawn(&mut engine, &data, 300, seed);
        let mut expected = 0;
        for (at, row) in given.iter().enumerate() {
            if table.log_marginal(row) > f64::NEG_INFINITY {
                check_draws(&format!("seed {seed}, given {row:?}"), &table, row, &found, at);
                continue;
            }
            expected += 1;
            assert_eq!(found.log_p(at), f64::NEG_INFINITY);
            assert!(found.of(at).iter().all(|x| x.is_nan()), "seed {seed}, given {row:?}");
        }
        assert_eq!(tally.impossible, expected);
        impossible += expected;
    }
    assert!(impossible > 20, "{impossible} impossible rows");
}

#[test]
fn evidence_built_into_a_circuit_is_minded_where_nothing_is_observed() {
    for seed in 0..12 {
        let circuit = circuit(seed, Kinds::Discrete);
        let compiled = compile(circuit, &SourceMap::default(), &Direct, &Options::default());
        let compiled = compiled.unwrap();
        let (_, values) = numbers(&compiled, seed);
        let table = Table::new(&compiled.written, &values);
        let mut row = vec![None; compiled.written.variables().len()];
        row[0] = Some(1.0);
        let built_in = give(&compiled.written, VarId(0), 1.0).into_circuit();
        let built_in = compile(built_in, &SourceMap::default(), &Direct, &Options::default());
        let built_in = Arc::new(built_in.unwrap());
        let (flat, _) = numbers(&built_in, seed);
        let mut engine = engine(&built_in, &flat, how(seed), 1);
        let nothing = [vec![None; row.len()]];
        let data = Dataset::from_rows(built_in.written.variables(), nothing).unwrap();
        let (found, _) = drawn(&mut engine, &data, 20_000, seed);
        let log_evidence = table.log_marginal(&row);
        assert!((found.log_p(0) - log_evidence).abs() < 1e-5, "seed {seed}: {log_evidence}");
        let mut drawn = found.of(0).to_vec();
        for row in drawn.chunks_exact_mut(row.len()) {
            // The circuit no longer depends on it.
            assert!(row[0].is_nan(), "seed {seed}");
            row[0] = 1.0;
        }
        table.assert_drawn(&format!("seed {seed}"), &row, &drawn);
    }
}

#[test]
fn one_tree_takes_the_random_numbers_of_the_walk_in_its_order() {
    // Of a single part, not rewritten, rows are those of the walk over the circuit as written, but where a
    // number falls within rounding of where two terms part.
    let text =
        "(variables: Binary(9), structure: RatSpn(units: 4, replicas: 6), leaves: Bernoulli())";
    let compiled = compiled_with(text, true);
    let (flat, values) = numbers(&compiled, 3);
    let given = [vec![None; 9], [vec![Some(1.0), None, Some(0.0)], vec![None; 6]].concat()];
    let data = Dataset::from_rows(compiled.written.variables(), given.clone()).unwrap();
    let mut engine = engine(&compiled, &flat, (Schedule::Wide, Sharing::Off), 1);
    let (found, _) = drawn(&mut engine, &data, 5000, 11);
    let walked = sample_rows(&compiled.written, &values, &given[0], 5000, 11).unwrap();
    let rows = found.of(0).chunks_exact(9).zip(walked.chunks_exact(9));
    let others = rows.filter(|(a, b)| a != b).count();
    assert!(others < 5, "{others} of 5,000 rows are others");
    let source = Source::new("", "");
    let model = Model { source, compiled: compiled.clone(), flat };
    let walked = model.draws_as_written(&data, 5000, 11);
    let rows = found.of(1).chunks_exact(9).zip(walked.of(1).chunks_exact(9));
    let others = rows.filter(|(a, b)| a != b).count();
    assert!(others < 5, "{others} of 5,000 rows are others, given some");
}

#[test]
fn a_model_draws_by_the_walk_where_the_engine_does_not() {
    let text = description("RatSpn", 2, Described::Discrete);
    let compiled = compiled_with(&text, false);
    let (flat, _): (_, Values<f64>) = numbers(&compiled, 2);
    let data = rows_of(&compiled, 20, 0.5, 2);
    let options = plan::Options {
        purpose: Purpose::Evaluate,
        schedule: Schedule::Wide,
        batch: 64,
        sharing: Sharing::WherePays,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let mut evaluator = CpuExecutable::new(compiled.clone(), plan, 1).unwrap();
    let mut queried = engine(&compiled, &flat, how(0), 1);
    let model = Model { source: Source::new("", ""), compiled, flat };
    assert!(evaluator.draws(&data, &[0], 1, 0).is_none());
    assert!(evaluator.completions(&data, &[0]).is_none());
    let walked = model.draws(&mut evaluator, &data, 2, 7);
    assert_eq!(walked, model.draws_as_written(&data, 2, 7));
    let found = model.draws(&mut queried, &data, 2, 7);
    for row in 0..data.rows() {
        assert!((found.log_p(row) - walked.log_p(row)).abs() < 1e-5);
    }
}
