//! Microseconds a row of queries that the CPU engine answers, every variable's conditional distribution, a row drawn
//! given the observed values or given nothing, and the likeliest completion: by the engine, and by the walk over
//! the circuit as written; beside them what ln p of the same rows takes, row by row.
//!
//! Run with `cargo bench --bench queries`. Rows are drawn from the circuit, three values in ten then made
//! missing. `PCC_CIRCUITS` may name files of circuits of others, separated by colons, to be measured too, as they
//! are written: `nltcs.psdd:plants.psdd`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pcc::compile::{Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::import;
use pcc::model::Model;
use pcc::param::registry::Registry;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::sample::sample_rows;
use pcc::structure;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The paper's circuits of `nltcs` and `plants`, an EiNet, a hidden Markov model, and one of densities.
const CIRCUITS: [(&str, &str); 5] = [
    ("RatSpn, 16 variables", "Binary(16), structure: RatSpn(units: 5, replicas: 50)"),
    ("RatSpn, 69 variables", "Binary(69), structure: RatSpn(units: 5, replicas: 50)"),
    ("Einet, 69 variables", "Binary(69), structure: Einet(units: 10, replicas: 5)"),
    ("Hmm, 69 variables", "Binary(69), structure: Hmm(units: 16)"),
    ("RatSpn, 16 densities", "Real(16), structure: RatSpn(units: 5, replicas: 50)"),
];
/// Rows that the engine is given, and that are walked.
const ROWS: usize = 4096;
const WALKED: usize = 64;
/// Each measurement is the least of so many.
const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:37} {:>9} {:>9} {:>9} {:>9}", "", "walk", "1 thread", "times", "2 threads");
    for (name, rest) in CIRCUITS {
        measure(name, Source::new("bench.ron", format!("(variables: {rest})")), false)?;
    }
    for path in std::env::var("PCC_CIRCUITS").iter().flat_map(|paths| paths.split(':')) {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        measure(&name, import::open(Path::new(path))?, true)?;
    }
    Ok(())
}

/// Measures one circuit, under parameters as they begin.
fn measure(name: &str, source: Source, no_rewrite: bool) -> Result<(), Box<dyn Error>> {
    let loaded = structure::load(&source, false).map_err(|faults| format!("{faults}"))?;
    let maker = structure::parameterizer(&loaded.spec, &Registry::new())?;
    let options = Options { no_rewrite, ..Options::default() };
    let compiled = compile(loaded.circuit.into_circuit(), &loaded.map, &*maker, &options)
        .map_err(|faults| format!("{faults}"))?;
    let flat = compiled.parameters.initial::<f32>(&compiled.written, 0, None);
    let model = Model { source, compiled: Arc::new(compiled), flat };
    let data = rows(&model, ROWS)?;
    let engine = |purpose, threads| -> Result<_, Box<dyn Error>> {
        let (schedule, sharing) = (Schedule::Wide, Sharing::Off);
        let how = plan::Options { purpose, schedule, batch: 512, sharing };
        let plan = plan(&model.compiled.circuit, &model.compiled.parameters, &how);
        Ok(CpuExecutable::new(Arc::clone(&model.compiled), plan, threads)?)
    };
    let few = data.subset(0..WALKED);
    let nothing = Dataset::from_rows(data.variables(), [vec![None; data.columns()]])?;
    let mut engines = [engine(Purpose::Query, 1)?, engine(Purpose::Query, 2)?];
    let queries: [Query; 4] = [
        ("conditionals", &|| drop(model.conditionals_as_written(&few)), &|engine| {
            drop(model.conditionals(engine, &data))
        }),
        ("a row given some values", &|| drop(model.draws_as_written(&few, 1, 0)), &|engine| {
            drop(model.draws(engine, &data, 1, 0))
        }),
        ("a row given nothing", &|| drop(model.draws_as_written(&nothing, WALKED, 0)), &|engine| {
            drop(model.draws(engine, &nothing, ROWS, 0))
        }),
        ("completion", &|| drop(model.complete_as_written(&few)), &|engine| {
            drop(model.complete(engine, &data))
        }),
    ];
    println!("{name}");
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for (query, walk, answer) in queries {
        let walk = one.install(|| least(WALKED, walk));
        let [single, both] = engines.each_mut().map(|engine| least(ROWS, || answer(engine)));
        let times = walk / single;
        println!("  {query:35} {walk:9.1} {single:9.2} {times:9.0} {both:9.2}");
    }
    let mut likely = engine(Purpose::Evaluate, 1)?;
    likely.load(&model.flat);
    let numbers: Vec<u32> = (0..ROWS as u32).collect();
    let mut log_p = vec![0.0; ROWS];
    let likely = least(ROWS, || {
        likely.log_likelihood(&data, &numbers, &mut log_p);
    });
    println!("  {:35} {:9} {likely:9.2}", "ln p", "");
    Ok(())
}

/// The name of a query, the walk that answers it for some rows, and the engine for all.
type Query<'a> = (&'a str, &'a (dyn Fn() + Sync), &'a dyn Fn(&mut CpuExecutable));

/// Microseconds a row.
fn least(rows: usize, mut run: impl FnMut()) -> f64 {
    let mut once = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e6 / rows as f64
    };
    (0..REPEATS).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Rows drawn from the circuit, three values in ten made missing.
fn rows(model: &Model, count: usize) -> Result<Dataset, Box<dyn Error>> {
    let variables = model.compiled.written.variables();
    let nothing = vec![None; variables.len()];
    let drawn = sample_rows(&model.compiled.written, &model.values(), &nothing, count, 0)
        .ok_or("no row is possible")?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut value = |&x: &f32| rng.random_bool(0.7).then_some(x);
    let rows = drawn.chunks(variables.len()).map(|row| row.iter().map(&mut value).collect());
    Ok(Dataset::from_rows(variables, rows.collect::<Vec<Vec<_>>>())?)
}
