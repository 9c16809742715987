//! `pcc train`: a circuit and data become a model.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::answer::{Answer, Table, decimal, thousands, to_stderr, unwritten};
use super::args::{OptimizerName, Train};
use super::failure::Failure;
use super::load::{self, Ready};
use super::progress::Progress;
use super::{engine, interrupt, run};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::leaf::Family;
use crate::model::{Model, Training, file};
use crate::plan::Purpose;
use crate::spec::{GroupOptions, ParameterizerSpec, Spanned, Spec};
use crate::train::curves::{curves_svg, of_history};
use crate::train::em::{self, Em};
use crate::train::{
    Decline, Group, Keep, Method, Options, Outcome, Recipe, Schedule, Splits, TrainError, fit,
};

/// Pseudo-count of EM where none is given.
const PSEUDO_COUNT: f64 = 0.1;

/// What programs read.
#[derive(Serialize)]
struct Report {
    train_ll: Option<f64>,
    valid_ll: Option<f64>,
    test_ll: Option<f64>,
    selected_step: u64,
    steps: u64,
    seconds: f64,
    learnable_parameters: usize,
    weights: usize,
}

/// Trains, and writes the model.
///
/// # Errors
/// What is wrong with the circuit, the data or a path; E0703 for a number that is not finite; an
/// interruption, after the checkpoint has been written.
pub fn run(args: &Train) -> Result<Answer, Failure> {
    run::check(&args.run)?;
    for path in [Some(&args.output), args.log.as_ref(), args.plot.as_ref()].into_iter().flatten() {
        writable(path)?;
    }
    let ready = load::ready(&args.circuit, Some(&args.train), &args.run)?;
    let read = |path: &PathBuf| load::data(path, &ready.compiled);
    let train = read(&args.train)?;
    let valid = args.valid.as_ref().map(read).transpose()?;
    let test = args.test.as_ref().map(read).transpose()?;
    let data = Splits { train: &train, valid: valid.as_ref(), test: test.as_ref() };
    let recipe = recipe(args, &ready.spec, train.rows());
    check_method(args, &recipe, &ready)
        .map_err(|fault| Failure::from(fault).with_source(&ready.source))?;
    let checkpoint = checkpoint(&args.output);
    if args.resume && !checkpoint.exists() {
        let path = checkpoint.display();
        to_stderr(&format!("there is no checkpoint `{path}`: training begins anew\n"));
    }
    let options = Options {
        recipe,
        keep: Some(Keep { resume: args.resume, ..Keep::new(&checkpoint, identity(args, &ready)) }),
        interrupt: Some(interrupt::watch()),
    };
    let outcome = learn(args, &ready, &data, &options)?;
    let Ready { source, compiled, .. } = ready;
    let warnings = compiled.warnings.clone();
    let model = Model { source, compiled, flat: outcome.parameters.clone() };
    let report = report(&model, &outcome);
    let training = training(args, &train, &report);
    file::save(&args.output, &model.to_file(Some(training)))?;
    // The model has all that was learned; a checkpoint that stays is only in the way.
    let _ = std::fs::remove_file(&checkpoint);
    if let Some(path) = &args.plot {
        curves_svg(path, &of_history(&outcome.history))?;
    }
    let answer = Answer::new(&report)?.table(table(&report));
    Ok(answer.warnings(warnings, &model.source))
}

fn learn(
    args: &Train,
    ready: &Ready,
    data: &Splits<'_>,
    options: &Options<'_>,
) -> Result<Outcome, Failure> {
    let compiled = &ready.compiled;
    let batch = options.recipe.batch.min(data.train.rows()).max(1) as u32;
    let mut executable = engine::executable(compiled, &args.run, Purpose::Train, batch)?;
    let mut initial: Vec<f32> = compiled.parameters.initial(
        &compiled.written,
        args.seed,
        moments(ready, data.train).as_deref(),
    );
    if matches!(options.recipe.method, Method::Em { .. }) {
        em::begin(&compiled.written, &compiled.parameters, &mut initial);
    }
    let mut progress = Progress::new(log(args)?);
    let outcome =
        fit(executable.as_mut(), &compiled.parameters, initial, data, options, &mut progress);
    progress.finish().map_err(|error| unwritable(args.log.as_deref(), &error))?;
    if let Some(fault) = executable.fault() {
        return Err(fault.into());
    }
    outcome.map_err(failure)
}

/// Why learning stopped, as the command line says it.
fn failure(error: TrainError) -> Failure {
    match error.diagnostic() {
        Some(diagnostic) => diagnostic.into(),
        None => Failure::interrupted(format!("{error}; `--resume` goes on from there")),
    }
}

/// Where leaves begin that describe quantities; nothing where there are none.
fn moments(ready: &Ready, data: &Dataset) -> Option<Vec<(f64, f64)>> {
    let quantity = |family: &Family| {
        matches!(family, Family::Gaussian { .. } | Family::Binomial { .. } | Family::Poisson)
    };
    ready.compiled.parameters.families().values().any(quantity).then(|| data.moments())
}

fn recipe(args: &Train, spec: &Spec, rows: usize) -> Recipe {
    let batch = args.batch.get() as usize;
    Recipe {
        steps: args.epochs.map_or(args.steps, |epochs| Recipe::steps_of(epochs, rows, batch)),
        batch,
        eval_every: u64::from(args.eval_every.get()),
        seed: args.seed,
        method: match args.optimizer {
            OptimizerName::Adam => Method::Adam(Default::default()),
            OptimizerName::Adamw => Method::AdamW(Default::default()),
            OptimizerName::Sgd => Method::Sgd { momentum: 0.0 },
            OptimizerName::Em => {
                Method::Em { pseudo_count: args.pseudo_count.unwrap_or(PSEUDO_COUNT) }
            }
        },
        rate: args.lr.unwrap_or(match (args.optimizer, &spec.parameterizer.value) {
            (OptimizerName::Em, _) if batch >= rows => 1.0,
            (OptimizerName::Em, _) => 0.5,
            (_, ParameterizerSpec::Hyper { .. }) => 5e-3,
            _ => 2e-2,
        }),
        groups: groups(spec),
        schedule: match args.optimizer {
            OptimizerName::Em if batch < rows => Schedule { warm_up: 0, decline: Decline::Linear },
            _ => Schedule::default(),
        },
        patience: args.patience.map(|patience| u64::from(patience.get())),
    }
}

/// Refuses EM, with the place to blame, for what it cannot learn.
///
/// # Errors
/// E0405 for parameters that it cannot learn, E0105 for a pseudo-count without it.
fn check_method(args: &Train, recipe: &Recipe, ready: &Ready) -> Result<(), Diagnostic> {
    let Method::Em { pseudo_count } = recipe.method else {
        return match args.pseudo_count {
            Some(_) => Err(Diagnostic::new(Code::E0105, "only EM has a pseudo-count")
                .help("add `--optimizer em`, or leave `--pseudo-count` out")),
            None => Ok(()),
        };
    };
    let made = Em::new(&ready.compiled.parameters, pseudo_count, recipe.rate, &recipe.groups);
    let parameterizer = &ready.spec.parameterizer;
    made.map(drop).map_err(|fault| match parameterizer.value {
        ParameterizerSpec::Direct => fault,
        _ => fault.at(parameterizer.span),
    })
}

/// The options of named tensors that the circuit's text gives.
fn groups(spec: &Spec) -> Vec<Group> {
    let group = |(name, options): &(Spanned<String>, GroupOptions)| Group {
        name: name.value.clone(),
        rate: options.lr,
        decay: options.decay,
    };
    spec.groups.iter().map(group).collect()
}

/// The checkpoint lies beside the model.
fn checkpoint(model: &Path) -> PathBuf {
    let mut name = model.as_os_str().to_os_string();
    name.push(".checkpoint");
    PathBuf::from(name)
}

/// What a run is, so that only the same is resumed: the text and how it is compiled.
fn identity(args: &Train, ready: &Ready) -> String {
    let text = blake3::hash(ready.source.text.as_bytes()).to_hex();
    let rewriting = if args.run.no_rewrite { "as written" } else { "rewritten" };
    format!("{text}, {rewriting}")
}

/// Learning must not end in a file that cannot be written: it is tried before it begins.
fn writable(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(unwritten(path, &"it is a directory").into());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tempfile::tempfile_in(folder).map(drop).map_err(|error| unwritten(path, &error).into())
}

fn log(args: &Train) -> Result<Option<BufWriter<File>>, Failure> {
    let Some(path) = &args.log else { return Ok(None) };
    let file = File::create(path).map_err(|error| unwritable(Some(path), &error))?;
    Ok(Some(BufWriter::new(file)))
}

fn unwritable(path: Option<&Path>, error: &std::io::Error) -> Failure {
    let fault = Diagnostic::new(Code::E0001, format!("the file cannot be written: {error}"));
    match path {
        Some(path) => fault.in_file(path.display().to_string()).into(),
        None => fault.into(),
    }
}

fn report(model: &Model, outcome: &Outcome) -> Report {
    Report {
        train_ll: outcome.train.mean_ll,
        valid_ll: outcome.valid.and_then(|totals| totals.mean()),
        test_ll: outcome.test.as_ref().and_then(|test| test.mean_ll),
        selected_step: outcome.selected_step,
        steps: outcome.steps,
        seconds: outcome.seconds,
        learnable_parameters: model.compiled.parameters.learnable(),
        weights: run::weights(&model.compiled),
    }
}

fn training(args: &Train, data: &Dataset, report: &Report) -> Training {
    Training {
        data: data.fingerprint(),
        seed: args.seed,
        steps: report.steps,
        selected_step: report.selected_step,
        train_ll: report.train_ll,
        valid_ll: report.valid_ll,
        test_ll: report.test_ll,
    }
}

fn table(report: &Report) -> Table {
    let number = |value| decimal(value, 5);
    Table::new()
        .row([&"train log-likelihood", &number(report.train_ll)])
        .row([&"valid log-likelihood", &number(report.valid_ll)])
        .row([&"test log-likelihood", &number(report.test_ll)])
        .row([&"selected step", &thousands(report.selected_step)])
        .row([&"steps", &thousands(report.steps)])
        .row([&"seconds", &format!("{:.2}", report.seconds)])
        .row([&"learnable parameters", &thousands(report.learnable_parameters)])
        .row([&"weights", &thousands(report.weights)])
}
