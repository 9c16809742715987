//! `pcc eval`: the log-likelihood of data.

use std::io::Write;
use std::path::Path;

use super::answer::{Answer, Table, decimal, thousands, unwritten};
use super::args::Eval;
use super::failure::Failure;
use super::{engine, load, run};
use crate::data::{self, write::write_whole};
use crate::diag::{Code, Diagnostic};
use crate::model::{Evaluation, Model, evaluate};

/// Evaluates the rows.
///
/// # Errors
/// What is wrong with the model or the data; a row file that cannot be written.
pub fn run(args: &Eval, json: bool) -> Result<Answer, Failure> {
    run::check(&args.run)?;
    let per_row = args.per_row.as_deref();
    let to_stdout = per_row == Some(Path::new("-"));
    if to_stdout && json {
        return Err(Failure::usage("`--per-row -` and `--json` both want standard output"));
    }
    let (Model { compiled, flat, .. }, _) = load::model(&args.model, &args.run)?;
    let mut executable = engine::evaluator(&compiled, &args.run)?;
    // A bounded plan needs the circuit no more, and others want its place.
    let variables = compiled.written.variables().clone();
    drop(compiled);
    executable.load(&flat);
    drop(flat);
    let data = data::read(&args.data, &variables)?;
    executable.prepare_evaluations(&data, 1);
    let evaluation = evaluate(executable.as_mut(), &data);
    if let Some(fault) = executable.fault() {
        return Err(fault.into());
    }
    let evaluation = evaluation.map_err(|fault| {
        Diagnostic::new(Code::E0703, format!("the log-likelihood is {}", fault.log_p)).in_row(
            args.data.display().to_string(),
            fault.row + 1,
            None,
        )
    })?;
    let answer = Answer::new(&evaluation)?.table(table(&evaluation));
    match per_row {
        Some(_) if to_stdout => Ok(answer.product(lines(&evaluation))),
        Some(path) => {
            write(path, &lines(&evaluation))?;
            Ok(answer)
        }
        None => Ok(answer),
    }
}

/// ln p of each row in nats, a line each, in the shortest form that reads back to the same number.
fn lines(evaluation: &Evaluation) -> String {
    evaluation.log_p.iter().map(|log_p| format!("{log_p}\n")).collect()
}

fn table(evaluation: &Evaluation) -> Table {
    let number = |value| decimal(value, 5);
    Table::new()
        .row([&"rows", &thousands(evaluation.rows)])
        .row([&"impossible rows", &thousands(evaluation.impossible_rows)])
        .row([&"mean log-likelihood", &number(evaluation.mean_ll)])
        .row([&"standard error", &number(evaluation.std_error)])
        .row([&"bits a dimension", &number(evaluation.bits_per_dim)])
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    write_whole(path, |out: &mut dyn Write| out.write_all(text.as_bytes()))
        .map_err(|error| unwritten(path, &error).into())
}
