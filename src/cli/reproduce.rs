//! `pcc reproduce`: the experiments of the paper.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Table, decimal, thousands};
use super::args::{Experiment, Reproduce};
use super::failure::Failure;
use super::progress::Progress;
use super::{engine, interrupt, run};
use crate::data::toy::toy;
use crate::diag::{Code, Diagnostic};
use crate::plan::Purpose;
use crate::reproduce::toy::{CLAIM, Length, bears_out, contestants};
use crate::reproduce::{Contestant, Entry};
use crate::train::curves::{Series, curves_svg, of_history};
use crate::train::{Options, Splits};

/// The data's seed, and that of circuits and batches.
const SEED: u64 = 0;

/// What programs read.
#[derive(Serialize)]
struct Report {
    target: &'static str,
    models: Vec<ModelReport>,
    /// Whether the paper's claim is borne out.
    claim_holds: bool,
    curves: String,
}

#[derive(Serialize)]
struct ModelReport {
    name: &'static str,
    train_ll: Option<f64>,
    valid_ll: Option<f64>,
    test_ll: Option<f64>,
    learnable_parameters: usize,
    weights: usize,
    steps: u64,
    seconds: f64,
}

/// Runs the experiment.
///
/// # Errors
/// E0704 for one that this build does not have; a folder that cannot be written.
pub fn run(args: &Reproduce) -> Result<Answer, Failure> {
    run::check(&args.run)?;
    if args.target != Experiment::Toy {
        let message = "this build reproduces `toy` only";
        return Err(Diagnostic::new(Code::E0704, message).help("use `pcc reproduce toy`").into());
    }
    let folder = args.output.as_deref().unwrap_or(Path::new("toy"));
    let curves = folder.join("curves.svg");
    std::fs::create_dir_all(folder).map_err(|error| {
        Diagnostic::new(Code::E0001, format!("the folder cannot be made: {error}"))
            .in_file(folder.display().to_string())
    })?;
    let length = if args.quick { Length::Quick } else { Length::Full };
    let data = toy(SEED);
    let data = Splits { train: &data.train, valid: Some(&data.valid), test: Some(&data.test) };
    let [hyper, decay] = contestants(SEED, length);
    let entries = [learn(args, &hyper, &data)?, learn(args, &decay, &data)?];
    curves_svg(&curves, &series(&entries))?;
    let report = Report {
        target: "toy",
        models: entries.iter().map(model).collect(),
        claim_holds: bears_out(&entries[0], &entries[1]),
        curves: curves.display().to_string(),
    };
    Ok(Answer::new(&report)?.table(text(&report)))
}

fn learn(args: &Reproduce, contestant: &Contestant, data: &Splits<'_>) -> Result<Entry, Failure> {
    let compiled = Arc::new(contestant.compile()?);
    let batch = contestant.recipe.batch as u32;
    let mut executable = engine::executable(&compiled, &args.run, Purpose::Train, batch)?;
    let options = Options { interrupt: Some(interrupt::watch()), ..Options::default() };
    let mut progress = Progress::<File>::new(None).prefix(contestant.name);
    let entry = contestant.learn(&compiled, executable.as_mut(), data, &options, &mut progress);
    // There is no log that could have failed.
    let _ = progress.finish();
    entry.map_err(|error| match error.diagnostic() {
        Some(diagnostic) => diagnostic.into(),
        None => Failure::interrupted(format!(
            "{}: {error}; an experiment begins anew each time",
            contestant.name
        )),
    })
}

fn series(entries: &[Entry]) -> Vec<Series> {
    let named = |entry: &Entry| {
        let name = entry.name;
        of_history(&entry.outcome.history)
            .into_iter()
            .map(move |series| Series { name: format!("{name}, {}", series.name), ..series })
            .collect::<Vec<_>>()
    };
    entries.iter().flat_map(named).collect()
}

fn model(entry: &Entry) -> ModelReport {
    let outcome = &entry.outcome;
    ModelReport {
        name: entry.name,
        train_ll: outcome.train.mean_ll,
        valid_ll: outcome.valid.and_then(|totals| totals.mean()),
        test_ll: outcome.test.as_ref().and_then(|test| test.mean_ll),
        learnable_parameters: entry.learnable,
        weights: entry.weights,
        steps: outcome.steps,
        seconds: outcome.seconds,
    }
}

fn text(report: &Report) -> String {
    let number = |value| decimal(value, 3);
    let mut table = Table::new().row([
        &"",
        &"test log-likelihood",
        &"train",
        &"learnable parameters",
        &"weights",
        &"seconds",
    ]);
    for model in &report.models {
        table.push([
            &model.name,
            &number(model.test_ll),
            &number(model.train_ll),
            &thousands(model.learnable_parameters),
            &thousands(model.weights),
            &format!("{:.1}", model.seconds),
        ]);
    }
    let verdict = match report.claim_holds {
        true => "Here: borne out.",
        false => "Here: not borne out in so many steps.",
    };
    format!("\n{table}\n{CLAIM}\n{verdict}\nThe learning curves are in {}.\n", report.curves)
}
