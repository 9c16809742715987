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

use super::store::{Builder, Misfit, admit, counted, wrong_count};
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
    for var in variables.ids() {
        let field = fields.next().ok_or(Fault::Count)?;
        let value = parse_field(field, variables.kind(var));
        builder.push(value.map_err(|misfit| Fault::Value(var, misfit))?);
    }
    match fields.next() {
        Some(_) => Err(Fault::Count),
        None => Ok(()),
    }
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
                let fault = misfit.diagnostic(variables, var, field);
                let fault = match misfit {
                    Misfit::NotANumber if row == 1 => fault.note("data files have no header line"),
                    _ => fault,
                };
                fault.in_row(path, row, Some(var.index() + 1))
            }
            _ if text.is_empty() => {
                let expected = counted(expected, "variable");
                let message = format!("an empty row where the circuit has {expected}");
                Diagnostic::new(Code::E0501, message).in_row(path, row, None)
            }
            _ => wrong_count(found, expected).in_row(path, row, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8], variables: &Variables) -> Result<Dataset, Diagnostic> {
        parse(Path::new("f.data"), text, variables)
    }

    /// Every value as text, `_` for a missing one.
    fn values(text: &[u8], variables: &Variables) -> String {
        let data = match parsed(text, variables) {
            Ok(data) => data,
            Err(fault) => return fault.to_string(),
        };
        let row = |row| {
            let value = |var| data.value(row, var).map_or("_".to_string(), |v| v.to_string());
            variables.ids().map(value).collect::<Vec<_>>().join(" ")
        };
        (0..data.rows()).map(row).collect::<Vec<_>>().join("; ")
    }

    fn mixed() -> Variables {
        Variables::named([
            ("rain".into(), VarKind::BINARY),
            ("wind".into(), VarKind::Categorical { states: 12 }),
            ("heat".into(), VarKind::Real),
        ])
    }

    #[test]
    fn each_bad_input_has_its_message() {
        let faults: &[&[u8]] = &[
            b"0,1\n",
            b"0,1,2\n0,1,2,3\n",
            b"0,1,2\n\n0,1,2\n",
            b"0,1,2\r\n\r\n",
            b"0,1,2\n0\n",
            b"x,1\n",
            b"-1,0,0\n",
            b"2,0,0\n",
            b"0,12,0\n",
            b"0,1.5,0\n",
            b"0,1e20,0\n",
            b"0,inf,0\n",
            b"0,NaN,0\n",
            b"0,0,NaN\n",
            b"0,0,inf\n",
            b"0,0,-inf\n",
            b"0,0,Infinity\n",
            b"0,0,1e39\n",
            b"0,0,-1e999\n",
            b"0,0,warm\n",
            b"0,0,1 2\n",
            b"0,0,0x1\n",
            b"0,0,NA\n",
            b"0,0,\"\n",
            b"0,0,a\x07 very long text that nobody wants to read in full\n",
            b"0,0,1\n0,\xff,1\n",
            b"\xff\xfe0\0,\0",
            b"",
            b"\xef\xbb\xbf",
        ];
        let table: Vec<String> = faults
            .iter()
            .map(|text| format!("{}\n  {}", text.escape_ascii(), values(text, &mixed())))
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
        0,1\n
          f.data:1: error[E0501]: 2 columns where the circuit has 3 variables
        0,1,2\n0,1,2,3\n
          f.data:2: error[E0501]: 4 columns where the circuit has 3 variables
        0,1,2\n\n0,1,2\n
          f.data:2: error[E0501]: an empty row where the circuit has 3 variables
        0,1,2\r\n\r\n
          f.data:2: error[E0501]: an empty row where the circuit has 3 variables
        0,1,2\n0\n
          f.data:2: error[E0501]: 1 column where the circuit has 3 variables
        x,1\n
          f.data:1: error[E0501]: 2 columns where the circuit has 3 variables
        -1,0,0\n
          f.data:1:1: error[E0502]: `-1` does not suit `rain`, binary: its categories are 0 to 1
        2,0,0\n
          f.data:1:1: error[E0502]: `2` does not suit `rain`, binary: its categories are 0 to 1
        0,12,0\n
          f.data:1:2: error[E0502]: `12` does not suit `wind`, categorical(12): its categories are 0 to 11
        0,1.5,0\n
          f.data:1:2: error[E0502]: `1.5` does not suit `wind`, categorical(12): it has a fractional part
        0,1e20,0\n
          f.data:1:2: error[E0502]: `1e20` does not suit `wind`, categorical(12): its categories are 0 to 11
        0,inf,0\n
          f.data:1:2: error[E0502]: `inf` does not suit `wind`, categorical(12): it is not a finite 32-bit number
        0,NaN,0\n
          f.data:1:2: error[E0502]: `NaN` does not suit `wind`, categorical(12): NaN is not a value, nor a missing one
        0,0,NaN\n
          f.data:1:3: error[E0502]: `NaN` does not suit `heat`, real: NaN is not a value, nor a missing one
        0,0,inf\n
          f.data:1:3: error[E0502]: `inf` does not suit `heat`, real: it is not a finite 32-bit number
        0,0,-inf\n
          f.data:1:3: error[E0502]: `-inf` does not suit `heat`, real: it is not a finite 32-bit number
        0,0,Infinity\n
          f.data:1:3: error[E0502]: `Infinity` does not suit `heat`, real: it is not a finite 32-bit number
        0,0,1e39\n
          f.data:1:3: error[E0502]: `1e39` does not suit `heat`, real: it is not a finite 32-bit number
        0,0,-1e999\n
          f.data:1:3: error[E0502]: `-1e999` does not suit `heat`, real: it is not a finite 32-bit number
        0,0,warm\n
          f.data:1:3: error[E0502]: `warm` does not suit `heat`, real: it is not a number
        0,0,1 2\n
          f.data:1:3: error[E0502]: `1 2` does not suit `heat`, real: it is not a number
        0,0,0x1\n
          f.data:1:3: error[E0502]: `0x1` does not suit `heat`, real: it is not a number
        0,0,NA\n
          f.data:1:3: error[E0502]: `NA` does not suit `heat`, real: it is not a number
        0,0,\"\n
          f.data:1:3: error[E0502]: `"` does not suit `heat`, real: it is not a number
        0,0,a\x07 very long text that nobody wants to read in full\n
          f.data:1:3: error[E0502]: `a\u{7} very long text that nobody wants to r…` does not suit `heat`, real: it is not a number
        0,0,1\n0,\xff,1\n
          f.data:2: error[E0002]: the row is not UTF-8 text
        \xff\xfe0\x00,\x00
          f.data:1: error[E0002]: the row is not UTF-8 text

          f.data: error[E0503]: the file holds no rows
        \xef\xbb\xbf
          f.data: error[E0503]: the file holds no rows
        "#);
    }

    #[test]
    fn each_form_of_a_good_value_is_read() {
        let mixed = mixed();
        for (text, expected) in [
            ("0,1,2", "0 1 2"),
            ("0,1,2\r\n1,11,-2.5\r\n", "0 1 2; 1 11 -2.5"),
            ("\u{feff}0,1,2\n", "0 1 2"),
            ("?,,?\n,?,\n", "_ _ _; _ _ _"),
            ("1.0,1e1,1e-3\n", "1 10 0.001"),
            (" 1,\t11 , 3e38\n", "1 11 300000000000000000000000000000000000000"),
            ("\"1\",\"?\",\"-7\"\n", "1 _ -7"),
            ("+1,-0,-0.0\n", "1 0 0"),
        ] {
            assert_eq!(values(text.as_bytes(), &mixed), expected, "{text:?}");
        }
    }

    #[test]
    fn an_empty_line_of_a_table_of_one_column_is_a_missing_value() {
        assert_eq!(values(b"\n1\n\r\n0\n\n", &Variables::binary(1)), "_; 1; _; 0; _");
        assert_eq!(
            values(b"\n2\n", &Variables::binary(1)),
            "f.data:2:1: error[E0502]: `2` does not suit `x0`, binary: its categories are 0 to 1"
        );
    }

    #[test]
    fn a_real_is_rounded_once() {
        // Rounded to f64 first, this would be a tie and go down to 1.
        let data = parsed(b"1.00000005960464477540\n", &Variables::uniform(VarKind::Real, 1));
        let value = data.ok().and_then(|data| data.value(0, VarId(0)));
        assert_eq!(value, Some(1.000_000_1));
    }

    #[test]
    fn a_category_that_f32_cannot_hold_is_refused_and_not_rounded() {
        let variables = Variables::uniform(VarKind::Categorical { states: 1 << 25 }, 1);
        assert_eq!(values(b"16777215\n", &variables), "16777215");
        assert_eq!(
            values(b"16777217\n", &variables),
            "f.data:1:1: error[E0502]: `16777217` does not suit `x0`, categorical(33554432): \
             categories from 16777216 on are not exact"
        );
    }

    #[test]
    fn the_widest_byte_category_is_not_taken_for_a_missing_value() {
        for states in [255, 256, 257] {
            let variables = Variables::uniform(VarKind::Categorical { states }, 2);
            let text = format!("{},\n", states - 1);
            assert_eq!(values(text.as_bytes(), &variables), format!("{} _", states - 1));
        }
    }
}
