//! What a command answers, and where each part of it goes.
//!
//! Standard output carries the product (a plan's text, sampled rows), or with `--json` one JSON
//! object and nothing else. Tables, warnings and progress go to standard error. A reader that closes
//! the pipe early, like `head`, is no error.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use super::draw::{draw, to_json};
use super::failure::{Exit, Failure};
use crate::diag::{Code, Diagnostic, Diagnostics, Severity, Source, grouped};

/// The outcome of a command that came to its end.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    json: String,
    table: String,
    product: String,
    warnings: Diagnostics,
    source: Option<Source>,
    refused: bool,
}

impl Answer {
    /// An answer with its machine-readable form.
    ///
    /// # Errors
    /// When a number of it cannot be written as JSON, which no type of this crate contains.
    pub fn new(report: &impl Serialize) -> Result<Self, Failure> {
        let json = serde_json::to_string(report).map_err(|error| {
            Diagnostic::new(Code::E0001, format!("the answer cannot be written: {error}"))
        })?;
        Ok(Answer { json, ..Answer::default() })
    }

    /// With a table for people.
    pub fn table(mut self, table: impl ToString) -> Self {
        self.table = table.to_string();
        self
    }

    /// With text that is what the user asked for.
    pub fn product(mut self, product: impl Into<String>) -> Self {
        self.product = product.into();
        self
    }

    /// With diagnostics to draw, and the text they point into.
    pub fn warnings(mut self, warnings: Diagnostics, source: &Source) -> Self {
        self.warnings = warnings;
        self.source = Some(source.clone());
        self
    }

    /// The answer is that the input is wrong.
    pub fn refusing(mut self, refused: bool) -> Self {
        self.refused = refused;
        self
    }
}

/// Writes an answer and returns the exit code.
pub fn deliver(answer: &Answer, json: bool) -> Exit {
    to_stderr(&drawn(&answer.warnings, answer.source.as_ref()));
    let written = if json {
        to_stdout(&format!("{}\n", answer.json))
    } else {
        to_stderr(&answer.table);
        to_stdout(&answer.product)
    };
    match written {
        Err(error) => explain(&unwritable(&error), false),
        Ok(()) if answer.refused => Exit::Input,
        Ok(()) => Exit::Done,
    }
}

/// Writes a failure and returns its exit code.
pub fn explain(failure: &Failure, json: bool) -> Exit {
    to_stderr(&drawn(&failure.diagnostics, failure.source.as_ref()));
    if let Some(message) = &failure.message {
        to_stderr(&format!("{message}\n"));
    }
    if json {
        // Standard output being closed, there is nobody left to tell.
        let _ = to_stdout(&format!("{}\n", failure_json(failure)));
    }
    failure.exit
}

/// The JSON object of a command line that is no command.
pub fn usage_json(message: &str) {
    let error = message.trim_end();
    let _ = to_stdout(&format!("{}\n", serde_json::json!({ "error": error, "faults": [] })));
}

/// The JSON object of a failure: the first error in a sentence, and all faults.
fn failure_json(failure: &Failure) -> serde_json::Value {
    let first = failure.diagnostics.iter().find(|fault| fault.severity() == Severity::Error);
    let error = match first {
        Some(diagnostic) => diagnostic.to_string(),
        None => failure.message.clone().unwrap_or_default(),
    };
    serde_json::json!({
        "error": error,
        "faults": to_json(&failure.diagnostics, failure.source.as_ref()),
    })
}

fn unwritable(error: &io::Error) -> Failure {
    let message = format!("standard output cannot be written: {error}");
    Failure::from(Diagnostic::new(Code::E0001, message))
}

fn drawn(diagnostics: &Diagnostics, source: Option<&Source>) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = draw(diagnostics, source, color);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes to standard output; that the reader has gone is no error.
fn to_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes to standard error. Where even that fails there is nobody left to tell.
pub fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A table of two columns or more: the first to the left, the others to the right.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// Cells of more characters widen no column: a formula's number of models may have thousands of digits.
const WIDEST: usize = 64;

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn row<const N: usize>(mut self, cells: [&dyn std::fmt::Display; N]) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, cells: [&dyn std::fmt::Display; N]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let lengths = cells.map(|cell| cell.chars().count());
            lengths.filter(|&length| length <= WIDEST).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(line, "{cell:<width$}")?,
                    _ => write!(line, "  {cell:>width$}")?,
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A count with commas between thousands.
pub fn thousands(count: impl TryInto<u64>) -> String {
    count.try_into().map_or_else(|_| String::new(), grouped)
}

/// A number with so many decimals, or a dash where there is none.
pub fn decimal(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_string(), |value| format!("{value:.decimals$}"))
}

/// The fault of a file that could not be written.
pub fn unwritten(path: &Path, error: &dyn Display) -> Diagnostic {
    Diagnostic::new(Code::E0001, format!("the file cannot be written: {error}"))
        .in_file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let table = Table::new().row([&"nodes", &12_345]).row([&"peak", &"1 MiB"]);
        insta::assert_snapshot!(table, @r"
        nodes  12345
        peak   1 MiB
        ");
    }

    #[test]
    fn a_cell_too_long_for_a_line_widens_no_column() {
        let digits = "7".repeat(WIDEST + 1);
        let table = Table::new().row([&"nodes", &12]).row([&"models", &digits]);
        assert_eq!(table.to_string(), format!("nodes   12\nmodels  {digits}\n"));
    }

    #[test]
    fn thousands_are_parted_by_commas() {
        let shown = [0_u64, 999, 1_000, 25_800, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "25,800", "1,234,567"]);
    }
}
