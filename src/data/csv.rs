//! Comma-separated values: a row a line, no header, as the benchmarks' `.data` files are.
//!
//! The dialect is smaller than RFC 4180 and stricter: every field is a number or missing, so a
//! quoted one never holds a comma or a line break, and a row is a line. That is why lines are split
//! here and not by a general reader: general readers skip empty lines, and here an empty line is a
//! fault — or, in a table of one column, a missing value — and must be counted to name later rows
//! rightly.
//!
//! A missing value is an empty field or `?`. Windows line ends, a byte order mark, blanks around a
//! field and a last line without a line end are accepted.

use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::diag::{Code, Diagnostic};
use crate::ids::{Id, VarId};
use crate::variables::{VarKind, Variables};

use super::store::{Builder, Misfit, admit, wrong_count};
use super::{Dataset, no_rows, open, shown, unreadable};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a file of comma-separated values, one column for each variable.
///
/// # Errors
/// One diagnostic, of the first fault: E0001 the file cannot be read, E0002 it is not UTF-8, E0501
/// a row of the wrong number of columns, E0502 a value that does not suit its variable, E0503 no
/// rows. Rows are lines; rows and columns count from 1.
pub fn read_csv(path: &Path, variables: &Variables) -> Result<Dataset, Diagnostic> {
    parse(path, BufReader::new(open(path)?), variables)
}

/// Reads from an open file; `path` only names it in messages.
pub(super) fn parse(
    path: &Path,
    mut input: impl BufRead,
    variables: &Variables,
) -> Result<Dataset, Diagnostic> {
    let mut builder = Builder::new(variables);
    let mut line = Vec::new();
    while read_line(&mut input, &mut line).map_err(|error| unreadable(path, &error))? {
        let row = builder.rows() + 1;
        let text = match (row, line.strip_prefix(BYTE_ORDER_MARK)) {
            (1, Some([])) => break,
            (1, Some(text)) => text,
            _ => line.as_slice(),
        };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        push_row(&mut builder, text, variables)
            .map_err(|fault| fault.diagnostic(text, variables, &shown(path), row))?;
        builder.end_row();
    }
    if builder.rows() == 0 {
        return Err(no_rows(path));
    }
    Ok(builder.finish())
}

/// The next line with its line end; false at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    input.read_until(b'\n', line).map(|length| length > 0)
}

/// What is wrong with a line.
enum Fault {
    /// It does not have a field for each variable.
    Count,
    /// Its field of this variable.
    Value(VarId, Misfit),
}

/// Appends the values of one line. A row with a fault leaves the builder unfinished.
fn push_row(builder: &mut Builder, line: &[u8], variables: &Variables) -> Result<(), Fault> {
    let mut fields = line.split(|&byte| byte == b',');
    let mut columns = variables.ids();
    for (var, field) in columns.by_ref().zip(fields.by_ref()) {
        let value = parse_field(field, variables.kind(var));
        builder.push(value.map_err(|misfit| Fault::Value(var, misfit))?);
    }
    if columns.next().is_some() || fields.next().is_some() {
        return Err(Fault::Count);
    }
    Ok(())
}

/// One field; `None` is a missing value.
#[inline]
fn parse_field(field: &[u8], kind: VarKind) -> Result<Option<f32>, Misfit> {
    match *field {
        [digit @ b'0'..=b'9'] => admit(kind, f64::from(digit - b'0')).map(Some),
        [] | [b'?'] => Ok(None),
        _ => parse_number(field, kind),
    }
}

/// A field of more than one digit. A real is rounded once, from its decimal digits to `f32`; a
/// category is read as `f64`, in which each one is exact.
fn parse_number(field: &[u8], kind: VarKind) -> Result<Option<f32>, Misfit> {
    let text = std::str::from_utf8(field).map_err(|_| Misfit::NotANumber)?;
    let text = unquoted(text.trim_matches([' ', '\t']));
    if text.is_empty() || text == "?" {
        return Ok(None);
    }
    let value = match kind {
        VarKind::Real => text.parse::<f32>().map(f64::from),
        VarKind::Categorical { .. } => text.parse::<f64>(),
    };
    admit(kind, value.map_err(|_| Misfit::NotANumber)?).map(Some)
}

/// The text between quotation marks, if it has them.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

impl Fault {
    /// The diagnostic of a fault in `line`. A line that is not text at all is reported as such.
    fn diagnostic(self, line: &[u8], variables: &Variables, path: &str, row: usize) -> Diagnostic {
        let Ok(text) = std::str::from_utf8(line) else {
            return Diagnostic::new(Code::E0002, "the row is not UTF-8 text")
                .in_row(path, row, None);
        };
        let (found, expected) = (text.split(',').count(), variables.len());
        match self {
            Fault::Value(var, misfit) if found == expected => {
                let field = text.split(',').nth(var.index()).unwrap_or_default().trim();
                misfit.diagnostic(variables, var, field).in_row(path, row, Some(var.index() + 1))
            }
            _ if text.is_empty() => {
                let message = format!("the row is empty; the circuit has {expected} variables");
                Diagnostic::new(Code::E0501, message).in_row(path, row, None)
            }
            _ => wrong_count(found, expected).in_row(path, row, None),
        }
    }
}
