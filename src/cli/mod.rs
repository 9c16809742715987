//! The command line: a file a verb.
//!
//! [`args`] is what may be written, [`answer`] what a command answers and where each part of it goes,
//! [`failure`] how it ends. A verb is a function from its arguments to an [`answer::Answer`]; it
//! prints nothing but progress, and [`main`] alone writes, so that `--json` keeps its promise on every
//! way out.

pub mod answer;
pub mod args;
mod bench;
mod check;
mod compile;
mod cuda;
mod dot;
pub mod draw;
mod engine;
mod eval;
pub mod failure;
mod files;
mod inspect;
mod interrupt;
mod load;
mod names;
mod peak;
mod progress;
mod query;
mod reproduce;
mod run;
mod sample;
pub mod size;
mod train;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use self::answer::{Answer, deliver, explain};
use self::args::{Cli, Verb};
use self::failure::{Exit, Failure};

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error).into(),
    };
    let exit = match dispatch(&cli) {
        Ok(answer) => deliver(&answer, cli.json),
        Err(failure) => explain(&failure, cli.json),
    };
    exit.into()
}

fn dispatch(cli: &Cli) -> Result<Answer, Failure> {
    files::distinct(&cli.verb)?;
    match &cli.verb {
        Verb::Check(args) => check::run(args),
        Verb::Compile(args) => compile::run(args),
        Verb::Train(args) => train::run(args),
        Verb::Eval(args) => eval::run(args, cli.json),
        Verb::Query(args) => query::run(args, cli.json),
        Verb::Sample(args) => sample::run(args, cli.json),
        Verb::Inspect(args) => inspect::run(args),
        Verb::Reproduce(args) => reproduce::run(args),
        Verb::Bench(args) => bench::run(args),
    }
}

/// What clap makes of a command line that is no command: help and version, or a usage error. The
/// flag `--json` is looked for by hand, for nothing has been parsed.
fn refused(error: &clap::Error) -> Exit {
    // Where not even this can be written, there is nobody left to tell.
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Exit::Done;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        answer::usage_json(&error.to_string());
    }
    Exit::Usage
}
