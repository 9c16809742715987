//! Milliseconds a training step, and rows a second of an evaluation, on the first GPU of this machine, beside a
//! straightforward implementation of the same models in PyTorch, eager and as a compiled CUDA graph, and beside PyJuice.
//!
//! Run with `cargo bench --bench gpu`. A training step is all that `pcc train` does in one: drawing the batch, weights,
//! forward, backward, optimiser. What Python measures is printed by `benches/gpu/eager.py` in the same run; a column is
//! empty where `python3` has no such package, and stderr says why. `PCC_ONLY` may name the one number of variables to
//! measure. Without a GPU there is one sentence, and exit code 3.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::cuda::{self, CudaExecutable, Layout, Precision, Specialisation};
use pcc::engine::{Executable, Stepped};
use pcc::param::registry::Registry;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::structure;
use pcc::train::batches::Batches;
use pcc::train::{Method, Optimizer};
use pcc::variables::{VarKind, Variables};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A model to train.
struct Model {
    variables: usize,
    states: u32,
    units: u32,
    replicas: u32,
    batch: u32,
    /// Whether a network makes its weights.
    hyper: bool,
    /// Of wide sums.
    precision: Precision,
}

/// The paper's models.
const SIZES: [(usize, u32); 3] = [(16, 500), (100, 500), (1556, 50)];
/// Widths of the large ones: 784 variables of 256 categories.
const WIDTHS: [u32; 4] = [64, 128, 256, 512];
/// Rows of the large evaluation, and multiply-adds a second, twice, that an H100 or H200 promises in single precision.
const ROWS: usize = 1_000_000;
const PEAK: f64 = 67e12;
/// Rows are drawn for so many batches.
const BATCHES: usize = 10;
/// Steps before the clock, and seconds on it.
const WARM_UP: u64 = 20;
const LENGTH: f64 = 1.0;
/// A learning rate so small that the measurement does not wander off.
const RATE: f64 = 1e-4;

fn main() -> ExitCode {
    if let Err(fault) = cuda::probe() {
        eprintln!("{}", fault.message);
        return ExitCode::from(3);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let only = std::env::var("PCC_ONLY").ok().map(|n| n.parse::<usize>()).transpose()?;
    let wanted = |model: &&Model| only.is_none_or(|only| only == model.variables);
    println!("A training step, milliseconds:\n");
    println!(
        "| variables | units | batch | weights | precision | pcc | PyTorch eager | PyTorch graph | PyJuice |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let models = models();
    for model in models.iter().filter(wanted) {
        let own = train_step(model)?;
        // They have one precision, whatever is asked of pcc.
        let is_first = model.precision == Precision::F32;
        let [eager, graph, juice] = if is_first { others(model) } else { Default::default() };
        let Model { variables, units, batch, .. } = model;
        let precision = model.precision.name();
        let weights = if model.hyper { "network" } else { "direct" };
        println!(
            "| {variables} | {units} | {batch} | {weights} | {precision} | {own:.4} | {eager} | {graph} | {juice} |"
        );
    }
    if only.is_none_or(|only| only == 100) {
        evaluation()?;
    }
    Ok(())
}

fn models() -> Vec<Model> {
    let small = SIZES.iter().flat_map(|&(variables, batch)| {
        [true, false].map(|hyper| Model {
            variables,
            states: 2,
            units: 5,
            replicas: 50,
            batch,
            hyper,
            precision: Precision::F32,
        })
    });
    let wide = WIDTHS.iter().flat_map(|&units| {
        Precision::ALL.map(|precision| Model {
            variables: 784,
            states: 256,
            units,
            replicas: 4,
            batch: 512,
            hyper: false,
            precision,
        })
    });
    small.chain(wide).collect()
}

impl Model {
    fn compiled(&self) -> Result<Arc<Compiled>, Box<dyn Error>> {
        let Model { variables, states, units, replicas, .. } = self;
        let parameterizer = match self.hyper {
            true => "Hyper(embedding: 5, hidden: [20, 20])",
            false => "Direct",
        };
        let kind = match states {
            2 => format!("Binary({variables})"),
            _ => format!("Categorical(n: {variables}, states: {states})"),
        };
        let leaves = if *states == 2 { "Indicators" } else { "Categorical()" };
        let text = format!(
            "(name: \"bench\", variables: {kind}, leaves: {leaves}, \
             structure: RatSpn(units: {units}, replicas: {replicas}, seed: 0), \
             parameterizer: {parameterizer})"
        );
        let loaded = structure::load(&Source::new("bench.ron", text), false)?;
        let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new())?;
        let options = Options { sectors: loaded.spec.sectors.value, ..Options::default() };
        let circuit = loaded.circuit.into_circuit();
        Ok(Arc::new(compile(circuit, &loaded.map, parameterizer.as_ref(), &options)?))
    }

    /// Random rows.
    fn rows(&self, rows: usize) -> Result<Dataset, Box<dyn Error>> {
        let kind = VarKind::Categorical { states: self.states };
        let variables = Variables::uniform(kind, self.variables);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut value = |_| Some(rng.random_range(0..self.states) as f32);
        let rows = (0..rows).map(|_| (0..self.variables).map(&mut value).collect());
        Ok(Dataset::from_rows(&variables, rows)?)
    }

    fn executable(
        &self,
        compiled: &Arc<Compiled>,
        purpose: Purpose,
        batch: u32,
    ) -> Result<CudaExecutable, Box<dyn Error>> {
        let options =
            plan::Options { purpose, schedule: Schedule::Wide, batch, sharing: Sharing::Off };
        let plan = plan(&compiled.circuit, &compiled.parameters, &options);
        let specialisation = Specialisation::of(&plan, &compiled.parameters, self.precision);
        let layout = Layout::new(compiled, plan, specialisation);
        Ok(cuda::executable(Arc::clone(compiled), layout, 0, None)?)
    }
}

/// Milliseconds of a training step.
fn train_step(model: &Model) -> Result<f64, Box<dyn Error>> {
    let compiled = model.compiled()?;
    let data = model.rows(model.batch as usize * BATCHES)?;
    let mut executable = model.executable(&compiled, Purpose::Train, model.batch)?;
    let tensors = compiled.parameters.tensors();
    let mut optimizer = Optimizer::new(Method::default(), tensors, RATE, 0.0, &[])?;
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let mut batches = Batches::new(0, data.rows(), model.batch as usize);
    let mut log_p = vec![0.0; batches.size()];
    let stepper = executable.stepper().ok_or("the device makes no weights of this model")?;
    assert!(
        stepper.begin(&data, &flat, optimizer.moments()),
        "the device has no room for the data"
    );
    let (mut steps, mut timed, mut start) = (0, 0, Instant::now());
    while timed == 0 || start.elapsed().as_secs_f64() < LENGTH {
        let (_, stepped) =
            stepper.step(&data, batches.draw(steps), optimizer.next_step(1.0), &mut log_p);
        if stepped != Stepped::Taken {
            return Err(format!("a step was {stepped:?}").into());
        }
        steps += 1;
        if steps <= WARM_UP {
            start = Instant::now();
        } else {
            timed += 1;
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / timed as f64)
}

/// What `eager.py` measures of the same model: eager, as a compiled graph, and PyJuice; an empty text each where
/// there is nothing to measure.
fn others(model: &Model) -> [String; 3] {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gpu/eager.py");
    let mut python = Command::new("python3");
    let numbers = [
        ("--variables", model.variables as u64),
        ("--states", model.states.into()),
        ("--units", model.units.into()),
        ("--replicas", model.replicas.into()),
        ("--batch", model.batch.into()),
        ("--seconds", LENGTH as u64),
    ];
    python.arg(script).args(numbers.iter().flat_map(|(name, n)| [name.to_string(), n.to_string()]));
    if model.hyper {
        python.args(["--network", "5,20,20"]);
    }
    let output = match python.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("python3: {error}");
            return Default::default();
        }
    };
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_string()
    };
    ["eager_ms", "graph_ms", "pyjuice_ms"].map(of)
}

/// A million random rows that lie on the device, weights included.
fn evaluation() -> Result<(), Box<dyn Error>> {
    let batch = 1 << 16;
    let model = Model {
        variables: 100,
        states: 2,
        units: 5,
        replicas: 50,
        batch,
        hyper: false,
        precision: Precision::F32,
    };
    let compiled = model.compiled()?;
    let data = model.rows(ROWS)?;
    let mut executable = model.executable(&compiled, Purpose::Evaluate, batch)?;
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let mut log_p = vec![0.0; ROWS];
    executable.prepare(&data);
    let mut seconds = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        executable.load(&flat);
        executable.log_likelihood(&data, &rows, &mut log_p);
        seconds = start.elapsed().as_secs_f64().min(seconds);
    }
    if let Some(fault) = executable.fault() {
        return Err(fault.message.into());
    }
    let options = plan::Options {
        purpose: Purpose::Evaluate,
        schedule: Schedule::Wide,
        batch,
        sharing: Sharing::Off,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let flops = 2.0 * plan.multiply_adds() as f64 * ROWS as f64 / seconds;
    println!("\nAn evaluation of {ROWS} rows on the device, 100 variables, 5 units, 50 replicas:");
    println!(
        "{:.1} ms, {:.1} TFLOP/s, {:.1} % of 67",
        seconds * 1e3,
        flops / 1e12,
        100.0 * flops / PEAK
    );
    Ok(())
}
