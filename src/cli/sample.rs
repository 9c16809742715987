//! `pcc sample`: rows drawn from a model, with evidence or without, as text or as images.

use std::path::Path;

use serde::Serialize;

use super::answer::{Answer, Table, thousands};
use super::args::Sample;
use super::failure::Failure;
use super::{engine, load, run};
use crate::data::Dataset;
use crate::data::image::{Picture, Shape};
use crate::data::write::{csv_text, write_csv};
use crate::diag::{Code, Diagnostic};
use crate::model::Model;

/// What programs read.
#[derive(Serialize)]
struct Report {
    rows: usize,
    seed: u64,
}

/// Draws the rows. Each has random numbers of its own, so that they do not depend on the threads.
///
/// # Errors
/// What is wrong with the model or the evidence; evidence of probability zero.
pub fn run(args: &Sample, json: bool) -> Result<Answer, Failure> {
    run::check(&args.run)?;
    let to_stdout = args.output == Path::new("-");
    if to_stdout && json {
        return Err(Failure::usage("`-o -` and `--json` both want standard output"));
    }
    let (model, _) = load::model(&args.model, &args.run)?;
    let variables = model.compiled.written.variables();
    let picture = args.image.map(|shape| picture(args, shape, &model)).transpose()?;
    let evidence = match &args.given {
        Some(path) => load::data(path, &model.compiled)?,
        None => Dataset::from_rows(variables, [vec![None; variables.len()]])?,
    };
    let data = draw(args, &model, &evidence)?;
    let report = Report { rows: data.rows(), seed: args.seed };
    let answer = Answer::new(&report)?.table(Table::new().row([&"rows", &thousands(data.rows())]));
    match picture {
        Some(picture) => picture.write_png(&args.output, &data)?,
        None if to_stdout => return Ok(answer.product(csv_text(&data))),
        None => write_csv(&args.output, &data)?,
    }
    Ok(answer)
}

/// How rows become images; found out before any is drawn.
fn picture(args: &Sample, shape: Shape, model: &Model) -> Result<Picture, Failure> {
    if args.output == Path::new("-") {
        return Err(Failure::usage("`--image` writes a file: name it with `-o`"));
    }
    let mut picture = Picture { shape, bounds: args.range, offset: Vec::new() };
    picture.check(model.compiled.written.variables())?;
    if let Some(path) = &args.offset {
        let data = load::data(path, &model.compiled)?;
        if data.rows() != 1 {
            let message = format!("one row is added to each image, and here are {}", data.rows());
            let fault = Diagnostic::new(Code::E0504, message);
            return Err(fault.in_file(path.display().to_string()).into());
        }
        picture.offset.resize(data.columns(), 0.0);
        data.row(0, &mut picture.offset);
    }
    Ok(picture)
}

/// `n` rows for each row of evidence: by the engine that answers queries, or by walking the circuit as written.
fn draw(args: &Sample, model: &Model, evidence: &Dataset) -> Result<Dataset, Failure> {
    let (n, seed) = (args.n.get() as usize, args.seed);
    let drawn = match engine::for_queries(&model.compiled, &args.run)? {
        Some(mut executable) => {
            let drawn = model.draws(executable.as_mut(), evidence, n, seed);
            if let Some(fault) = executable.fault() {
                return Err(fault.into());
            }
            drawn
        }
        None => model.draws_as_written(evidence, n, seed),
    };
    for given in 0..evidence.rows() {
        let log_p = drawn.log_p(given);
        if !log_p.is_finite() {
            return Err(refused(args, given, log_p).into());
        }
    }
    let rows = drawn.values().chunks(evidence.columns().max(1));
    let rows = rows.map(|row| row.iter().copied().map(Some).collect());
    Ok(Dataset::from_rows(evidence.variables(), rows)?)
}

/// A row of evidence that nothing can be drawn given.
fn refused(args: &Sample, row: usize, log_p: f64) -> Diagnostic {
    let fault = match log_p == f64::NEG_INFINITY {
        true => Diagnostic::new(Code::E0502, "this evidence has probability zero"),
        false => Diagnostic::new(Code::E0703, format!("the log-likelihood is {log_p}")),
    };
    match &args.given {
        Some(path) => fault.in_row(path.display().to_string(), row + 1, None),
        None => fault,
    }
}
