//! `pcc query`: an answer for each row, and whether it is exact.

mod reply;

use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use self::reply::{Reply, conditional_names, csv, moment_names};
use super::answer::{Answer as Told, Table, thousands};
use super::args::{Ask, Query};
use super::failure::Failure;
use super::names::Names;
use super::{engine, load, run};
use crate::circuit::{ValidCircuit, Values};
use crate::data::Dataset;
use crate::data::write::write_whole;
use crate::diag::{Code, Diagnostic};
use crate::ids::VarId;
use crate::model::Model;
use crate::model::evaluate::{NotALikelihood, log_likelihoods};
use crate::query::{
    self, Completion, Divergence, Entropy, ExpectedLogLikelihood, MutualInformation, Posterior,
};

/// Covariances of all rows together that are not too many to print.
const MOST_COVARIANCES: usize = 100_000_000;

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    query: String,
    deterministic: &'static str,
    /// What the numbers of a row's lists belong to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variables: Vec<String>,
    rows: &'a [Reply],
}

/// Answers the query.
///
/// # Errors
/// What is wrong with the models, the rows or the variables named; E0704 where the circuit does not answer
/// the query; a file that cannot be written.
pub fn run(args: &Query, json: bool) -> Result<Told, Failure> {
    allowed(args)?;
    run::check(&args.run)?;
    let (model, _) = load::model(&args.model, &args.run)?;
    let other = match &args.other {
        Some(path) => Some(load::model(path, &args.run)?.0),
        None => None,
    };
    let variables = model.compiled.written.variables();
    let rows = match &args.data {
        Some(path) => load::data(path, &model.compiled)?,
        None => Dataset::from_rows(variables, [vec![None; variables.len()]])?,
    };
    let asked = Asked::new(args, &model, other.as_ref(), rows.rows())?;
    let replies = match &asked {
        Asked::Loglik => log_likelihood(args, &model, &rows)?,
        Asked::Conditionals => conditionals(args, &model, &rows, json)?,
        Asked::LogConditional(of) => log_conditionals(args, &model, of, &rows)?,
        Asked::Map => completions(args, &model, &rows)?,
        asked => replies(asked, &model, other.as_ref(), &rows)?,
    };
    let circuit = &model.compiled.written;
    let report = Report {
        query: name(args.ask),
        deterministic: circuit.properties().deterministic.name(),
        variables: asked.listed(circuit),
        // Nobody reads them elsewhere.
        rows: if json { &replies } else { &[] },
    };
    let told = Told::new(&report)?.table(table(&replies));
    let text = || csv(&asked.columns(circuit), &replies);
    if args.output != Path::new("-") {
        write(&args.output, &text())?;
        return Ok(told);
    }
    Ok(if json { told } else { told.product(text()) })
}

/// The name of a query on the command line.
fn name(ask: Ask) -> String {
    let value = clap::ValueEnum::to_possible_value(&ask);
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Refuses options that mean nothing to the query, and the lack of those it needs.
fn allowed(args: &Query) -> Result<(), Failure> {
    let takes_of =
        matches!(args.ask, Ask::Conditional | Ask::Moments | Ask::Entropy | Ask::MutualInformation);
    let takes_other = matches!(args.ask, Ask::ExpectedLl | Ask::Kl);
    let takes_with = args.ask == Ask::MutualInformation;
    let name = name(args.ask);
    for (option, given, taken, needed) in [
        ("--of", !args.of.is_empty(), takes_of, takes_with),
        ("--with", !args.with.is_empty(), takes_with, takes_with),
        ("--other", args.other.is_some(), takes_other, takes_other),
    ] {
        if given && !taken {
            return Err(Failure::usage(format!("`{option}` means nothing to `{name}`")));
        }
        if needed && !given {
            return Err(Failure::usage(format!("`{name}` needs `{option}`")));
        }
    }
    Ok(())
}

/// A query of a circuit, known to have an answer.
enum Asked {
    Loglik,
    Conditionals,
    LogConditional(Vec<VarId>),
    Map,
    Moments(Vec<VarId>),
    Entropy(Entropy),
    MutualInformation(MutualInformation),
    ExpectedLl(ExpectedLogLikelihood),
    Kl(Divergence),
}

impl Asked {
    fn new(
        args: &Query,
        model: &Model,
        other: Option<&Model>,
        rows: usize,
    ) -> Result<Self, Diagnostic> {
        let circuit = &model.compiled.written;
        let of = named(&args.of, circuit)?;
        let all = || circuit.variables().ids().collect::<Vec<_>>();
        let of_or_all = if of.is_empty() { all() } else { of.clone() };
        // The command line has been refused if a second circuit is needed and lacking.
        let other = other.map_or(circuit, |other| &other.compiled.written);
        Ok(match args.ask {
            Ask::Loglik => Asked::Loglik,
            Ask::Conditional if of.is_empty() => Asked::Conditionals,
            Ask::Conditional => Asked::LogConditional(of),
            Ask::Map => Asked::Map,
            Ask::Moments => {
                within_reason(rows, of_or_all.len())?;
                Asked::Moments(of_or_all)
            }
            Ask::Entropy => Asked::Entropy(Entropy::new(circuit, &of_or_all)?),
            Ask::MutualInformation => {
                let with = named(&args.with, circuit)?;
                Asked::MutualInformation(MutualInformation::new(circuit, &of, &with)?)
            }
            Ask::ExpectedLl => Asked::ExpectedLl(ExpectedLogLikelihood::new(circuit, other)?),
            Ask::Kl => Asked::Kl(Divergence::new(circuit, other)?),
        })
    }

    /// The names of the columns.
    fn columns(&self, circuit: &ValidCircuit) -> Vec<String> {
        match self {
            Asked::Loglik | Asked::LogConditional(_) => vec!["log_p".into()],
            Asked::Conditionals => conditional_names(circuit.variables()),
            Asked::Map => self.listed(circuit).into_iter().chain(["log_p".into()]).collect(),
            Asked::Moments(of) => moment_names(circuit.variables(), of),
            Asked::Entropy(_) => vec!["entropy".into()],
            Asked::MutualInformation(_) => vec!["mutual_information".into()],
            Asked::ExpectedLl(_) => vec!["expected_ll".into()],
            Asked::Kl(_) => vec!["kl".into()],
        }
    }

    /// The variables whose numbers an answer lists in order.
    fn listed(&self, circuit: &ValidCircuit) -> Vec<String> {
        let variables = circuit.variables();
        let name = |var: VarId| variables.name(var).into_owned();
        match self {
            Asked::Map => variables.ids().map(name).collect(),
            Asked::Moments(of) => of.iter().copied().map(name).collect(),
            _ => Vec::new(),
        }
    }

    /// The answer for one row.
    fn reply(&self, model: Side<'_>, other: Option<Side<'_>>, row: &[Option<f32>]) -> Reply {
        let Side { circuit, values } = model;
        let posterior = || Posterior::new(circuit, values, row);
        let both = || Some((posterior()?, Posterior::new(other?.circuit, other?.values, row)?));
        let found = match self {
            // By the engine, all rows at once.
            Asked::Loglik | Asked::Conditionals | Asked::LogConditional(_) | Asked::Map => None,
            Asked::Moments(of) => {
                posterior().map(|given| Reply::moments(&query::moments(&given, of)))
            }
            Asked::Entropy(entropy) => {
                posterior().map(|of| Reply::number("entropy", entropy.given(&of)))
            }
            Asked::MutualInformation(information) => {
                posterior().map(|of| Reply::number("mutual_information", information.given(&of)))
            }
            Asked::ExpectedLl(of) => {
                both().map(|(p, q)| Reply::infinite("expected_ll", of.given(&p, &q)))
            }
            Asked::Kl(of) => both().map(|(p, q)| Reply::infinite("kl", of.given(&p, &q))),
        };
        found.unwrap_or_else(Reply::impossible)
    }
}

/// The variables of some names, each once.
fn named(names: &[Names], circuit: &ValidCircuit) -> Result<Vec<VarId>, Diagnostic> {
    let mut found = Vec::new();
    for name in names.iter().flat_map(|names| &names.0) {
        let var = load::variable(name, circuit.variables())?;
        if !found.contains(&var) {
            found.push(var);
        }
    }
    Ok(found)
}

fn within_reason(rows: usize, variables: usize) -> Result<(), Diagnostic> {
    let count = rows.saturating_mul(variables).saturating_mul(variables);
    match count > MOST_COVARIANCES {
        false => Ok(()),
        true => {
            let message = format!("{} covariances are more than can be told", thousands(count));
            Err(Diagnostic::new(Code::E0702, message)
                .help("ask for fewer rows, or for some variables with `--of`"))
        }
    }
}

/// A circuit and its numbers.
#[derive(Clone, Copy)]
struct Side<'a> {
    circuit: &'a ValidCircuit,
    values: &'a Values<f64>,
}

/// The answers for all rows, each computed alone.
fn replies(
    asked: &Asked,
    model: &Model,
    other: Option<&Model>,
    rows: &Dataset,
) -> Result<Vec<Reply>, Failure> {
    let values = model.values();
    let of_other = other.map(Model::values);
    let model = Side { circuit: &model.compiled.written, values: &values };
    let other = other
        .zip(of_other.as_ref())
        .map(|(other, values)| Side { circuit: &other.compiled.written, values });
    let row = |at: usize| -> Vec<Option<f32>> {
        rows.variables().ids().map(|var| rows.value(at, var)).collect()
    };
    Ok((0..rows.rows()).into_par_iter().map(|at| asked.reply(model, other, &row(at))).collect())
}

/// ln p of all rows, by the engine that was chosen.
fn log_likelihood(args: &Query, model: &Model, rows: &Dataset) -> Result<Vec<Reply>, Failure> {
    let mut executable = engine::evaluator(&model.compiled, &args.run)?;
    executable.load(&model.flat);
    executable.prepare_evaluations(rows, 1);
    let found = log_likelihoods(executable.as_mut(), rows);
    if let Some(fault) = executable.fault() {
        return Err(fault.into());
    }
    let (log_p, _) = found.map_err(|fault| not_a_likelihood(args, fault))?;
    let reply = |log_p: f64| match log_p == f64::NEG_INFINITY {
        true => Reply::impossible(),
        false => Reply::number("log_p", log_p),
    };
    Ok(log_p.into_iter().map(reply).collect())
}

/// ln p(A | B) of all rows, by the engine that was chosen.
fn log_conditionals(
    args: &Query,
    model: &Model,
    of: &[VarId],
    rows: &Dataset,
) -> Result<Vec<Reply>, Failure> {
    let mut executable = engine::evaluator(&model.compiled, &args.run)?;
    let found = model.log_conditionals(executable.as_mut(), of, rows);
    if let Some(fault) = executable.fault() {
        return Err(fault.into());
    }
    let found = found.map_err(|fault| not_a_likelihood(args, fault))?;
    let reply = |log_p: Option<f64>| match log_p {
        None => Reply::impossible(),
        Some(log_p) => Reply::infinite("log_p", log_p),
    };
    Ok(found.into_iter().map(reply).collect())
}

fn not_a_likelihood(args: &Query, fault: NotALikelihood) -> Diagnostic {
    let path = args.data.as_deref().unwrap_or(Path::new("-")).display().to_string();
    let message = format!("the log-likelihood is {}", fault.log_p);
    Diagnostic::new(Code::E0703, message).in_row(path, fault.row + 1, None)
}

/// The likeliest completion of each row, by the engine that answers queries or by walking the circuit as written.
fn completions(args: &Query, model: &Model, rows: &Dataset) -> Result<Vec<Reply>, Failure> {
    let found = match engine::for_queries(&model.compiled, &args.run)? {
        Some(mut executable) => {
            let found = model.complete(executable.as_mut(), rows);
            if let Some(fault) = executable.fault() {
                return Err(fault.into());
            }
            found
        }
        None => model.complete_as_written(rows),
    };
    let of_row = |best: Option<Completion>| best.map(|best| Reply::map(&best));
    Ok(found.into_iter().map(|best| of_row(best).unwrap_or_else(Reply::impossible)).collect())
}

/// Every variable's distribution given each row, by the engine that answers queries or by walking the circuit as
/// written.
fn conditionals(
    args: &Query,
    model: &Model,
    rows: &Dataset,
    json: bool,
) -> Result<Vec<Reply>, Failure> {
    let found = match engine::for_queries(&model.compiled, &args.run)? {
        Some(mut executable) => {
            let found = model.conditionals(executable.as_mut(), rows);
            if let Some(fault) = executable.fault() {
                return Err(fault.into());
            }
            found
        }
        None => model.conditionals_as_written(rows),
    };
    let log_p = |row| found.log_p(row);
    let is_fault = |&row: &usize| log_p(row).is_nan() || log_p(row) == f64::INFINITY;
    if let Some(row) = (0..found.rows()).find(is_fault) {
        return Err(not_a_likelihood(args, NotALikelihood { row, log_p: log_p(row) }).into());
    }
    let variables = model.compiled.written.variables();
    let reply = |row| Reply::conditionals(variables, &found, row, json);
    Ok((0..found.rows()).into_par_iter().map(reply).collect())
}

fn table(replies: &[Reply]) -> Table {
    let impossible = replies.iter().filter(|reply| reply.is_impossible()).count();
    let bounds = replies.iter().filter(|reply| reply.is_bound()).count();
    let table = Table::new()
        .row([&"rows", &thousands(replies.len())])
        .row([&"impossible evidence", &thousands(impossible)])
        .row([&"exact", &thousands(replies.len() - impossible - bounds)]);
    match bounds {
        0 => table,
        _ => table.row([&"lower bounds", &thousands(bounds)]),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    write_whole(path, |out: &mut dyn Write| out.write_all(text.as_bytes())).map_err(|error| {
        Diagnostic::new(Code::E0001, format!("the file cannot be written: {error}"))
            .in_file(path.display().to_string())
            .into()
    })
}
