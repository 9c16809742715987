//! `pcc sample`: rows drawn from a model, with evidence or without, as text or as images.

use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::answer::{Answer, Table, thousands};
use super::args::Sample;
use super::failure::Failure;
use super::{load, run};
use crate::circuit::Values;
use crate::data::Dataset;
use crate::data::image::{Picture, Shape};
use crate::data::write::{csv_text, write_csv};
use crate::diag::{Code, Diagnostic};
use crate::model::Model;
use crate::sample::{Sampler, row_rng};

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
    let rows = draw(args, &model, &evidence)?;
    let data = Dataset::from_rows(variables, rows)?;
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

/// `n` rows for each row of evidence.
fn draw(
    args: &Sample,
    model: &Model,
    evidence: &Dataset,
) -> Result<Vec<Vec<Option<f32>>>, Failure> {
    let values: Values<f64> = model.values();
    let circuit = &model.compiled.written;
    let n = u64::from(args.n.get());
    let mut rows = Vec::new();
    for given in 0..evidence.rows() {
        let row: Vec<Option<f32>> =
            evidence.variables().ids().map(|var| evidence.value(given, var)).collect();
        let sampler =
            Sampler::new(circuit, &values, &row).ok_or_else(|| impossible(args, given))?;
        let first = given as u64 * n;
        rows.par_extend((first..first + n).into_par_iter().map(|number| {
            let drawn = sampler.draw(&mut row_rng(args.seed, number));
            drawn.into_iter().map(Some).collect::<Vec<_>>()
        }));
    }
    Ok(rows)
}

fn impossible(args: &Sample, row: usize) -> Diagnostic {
    let fault = Diagnostic::new(Code::E0502, "this evidence has probability zero");
    match &args.given {
        Some(path) => fault.in_row(path.display().to_string(), row + 1, None),
        None => fault,
    }
}
