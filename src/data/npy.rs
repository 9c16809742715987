//! NumPy arrays: the first axis is the rows, the others, flattened in C order, are the columns.
//!
//! A header is small text that may declare anything, so nothing is allocated or multiplied by what
//! it says before it has been compared with the length of the file. An array has no missing values:
//! NaN is a fault, as it is everywhere outside a text's empty field.

use std::io::{self, BufReader, Read};
use std::path::Path;

use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar};

use crate::diag::{Code, Diagnostic};
use crate::ids::Id;
use crate::variables::Variables;

use super::store::{Builder, admit, counted, wrong_count};
use super::{Dataset, no_rows, open, shown, unreadable};

/// The first bytes of every file of the format.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// A plain array's header takes about a hundred bytes; a longer one is not worth reading.
const LONGEST_HEADER: usize = 1 << 16;

/// Brackets of a plain array's header: the dictionary's and the shape's. Bounding them bounds the
/// depth to which the header's parser recurses.
const MOST_BRACKETS: usize = 8;

/// Product of the numbers in a header from which on sizes derived from it could overflow.
const LARGEST_PRODUCT: u64 = 1 << 48;

/// Reads an array of bools, integers (8 to 64 bits) or floats (32 or 64 bits), in C or Fortran
/// order, of shape `[rows, …]` where the product of the other axes is the number of variables.
///
/// # Errors
/// One diagnostic, of the first fault in row-major order: E0001 the file cannot be read, E0501 the
/// wrong number of columns, E0502 a value that does not suit its variable (NaN and infinities
/// included), E0503 no rows, E0504 a damaged file or an element type not listed above. Rows and
/// columns count from 1.
pub fn read_npy(path: &Path, variables: &Variables) -> Result<Dataset, Diagnostic> {
    let file = open(path)?;
    let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    parse(path, BufReader::new(file), length, variables)
}

/// Reads an array from `length` bytes of input; `path` only names it in messages.
fn parse(
    path: &Path,
    mut input: impl Read,
    length: u64,
    variables: &Variables,
) -> Result<Dataset, Diagnostic> {
    let damaged = |reason: String| Diagnostic::new(Code::E0504, reason).in_file(shown(path));
    let text = read_header(&mut input).map_err(damaged)?;
    let header = NpyHeader::from_reader(text.as_slice())
        .map_err(|error| damaged(format!("the array's header is damaged: {}", brief(&error))))?;
    let element = Element::of(&header.dtype()).map_err(damaged)?;
    check_length(&header, element, length.saturating_sub(text.len() as u64)).map_err(damaged)?;
    let shape = Shape::of(&header).map_err(damaged)?;
    if shape.rows == 0 || variables.is_empty() {
        return Err(no_rows(path));
    }
    if shape.columns != variables.len() {
        return Err(wrong_count(shape.columns, variables.len()).in_file(shown(path)));
    }
    element.read(Job { path, variables, shape, file: NpyFile::with_header(header, input) })
}

/// The bytes from the magic to the end of the header, once they are known to be harmless.
fn read_header(input: &mut impl Read) -> Result<Vec<u8>, String> {
    let truncated = |_: io::Error| "the file ends within the array's header".to_string();
    let mut bytes = vec![0; MAGIC.len()];
    if input.read_exact(&mut bytes).is_err() || bytes != MAGIC {
        return Err("the file is not a NumPy array".to_string());
    }
    let mut version = [0; 2];
    input.read_exact(&mut version).map_err(truncated)?;
    let mut size = [0; 4];
    let size_bytes = if version[0] == 1 { 2 } else { 4 };
    input.read_exact(&mut size[..size_bytes]).map_err(truncated)?;
    bytes.extend_from_slice(&version);
    bytes.extend_from_slice(&size[..size_bytes]);
    let size = u32::from_le_bytes(size) as usize;
    if size > LONGEST_HEADER {
        return Err(format!("the array's header is said to take {size} bytes"));
    }
    let start = bytes.len();
    bytes.resize(start + size, 0);
    input.read_exact(&mut bytes[start..]).map_err(truncated)?;
    check_header(&bytes[start..])?;
    Ok(bytes)
}

/// What the header's parser found wrong, without its excerpt of the header.
fn brief(error: &io::Error) -> String {
    error.to_string().split(':').next().unwrap_or_default().to_string()
}

/// Refuses what the header's parser could overflow on: deep nesting and enormous numbers.
fn check_header(text: &[u8]) -> Result<(), String> {
    if text.iter().filter(|byte| b"([{".contains(byte)).count() > MOST_BRACKETS {
        return Err("the array is not of plain numbers".to_string());
    }
    let odd_number = |pair: &[u8]| {
        pair[0].is_ascii_digit() && (pair[1].is_ascii_alphabetic() || pair[1] == b'_')
    };
    if text.windows(2).any(odd_number) {
        return Err("the array's header is damaged: a number is not decimal".to_string());
    }
    let numbers = text.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let product = numbers.map(decimal).fold(1u64, |product, n| product.saturating_mul(n.max(1)));
    if product > LARGEST_PRODUCT {
        return Err("the array's header declares a size no file has".to_string());
    }
    Ok(())
}

/// The number of these decimal digits, or the largest one.
fn decimal(digits: &[u8]) -> u64 {
    let append =
        |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    digits.iter().fold(0, append)
}

/// Refuses a file that is shorter or longer than its header declares.
fn check_length(header: &NpyHeader, element: Element, found: u64) -> Result<(), String> {
    let declared = header.len().saturating_mul(element.bytes());
    if found < declared {
        return Err(format!("the file is truncated: {found} of {declared} bytes of values"));
    }
    if found > declared {
        let extra = usize::try_from(found - declared).unwrap_or(usize::MAX);
        return Err(format!("the file goes on for {} after the array", counted(extra, "byte")));
    }
    Ok(())
}

/// How the stored elements map to rows and columns.
struct Shape {
    rows: usize,
    columns: usize,
    /// Axes after the first.
    axes: Vec<usize>,
    order: Order,
}

impl Shape {
    fn of(header: &NpyHeader) -> Result<Self, String> {
        let axes: Option<Vec<usize>> =
            header.shape().iter().map(|&axis| usize::try_from(axis).ok()).collect();
        match axes.as_deref() {
            Some([rows, axes @ ..]) => Ok(Shape {
                rows: *rows,
                columns: axes.iter().product(),
                axes: axes.to_vec(),
                order: header.order(),
            }),
            _ => Err("the array has no axis for the rows".to_string()),
        }
    }

    /// In Fortran order, the position of each column (in C order) among the columns as stored.
    fn stored_columns(&self) -> Vec<usize> {
        let stored = |mut column: usize| {
            let mut stride = self.columns;
            let mut position = 0;
            for &axis in self.axes.iter().rev() {
                stride /= axis;
                position += column % axis * stride;
                column /= axis;
            }
            position
        };
        (0..self.columns).map(stored).collect()
    }
}

/// A number type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
}

impl Element {
    fn of(dtype: &DType) -> Result<Self, String> {
        let plain = match dtype {
            DType::Plain(plain) => (plain.type_char(), plain.size_field()),
            _ => return Err("the array is not of plain numbers".to_string()),
        };
        Ok(match plain {
            (TypeChar::Bool, 1) => Element::Bool,
            (TypeChar::Int, 1) => Element::I8,
            (TypeChar::Int, 2) => Element::I16,
            (TypeChar::Int, 4) => Element::I32,
            (TypeChar::Int, 8) => Element::I64,
            (TypeChar::Uint, 1) => Element::U8,
            (TypeChar::Uint, 2) => Element::U16,
            (TypeChar::Uint, 4) => Element::U32,
            (TypeChar::Uint, 8) => Element::U64,
            (TypeChar::Float, 4) => Element::F32,
            (TypeChar::Float, 8) => Element::F64,
            _ => {
                return Err(format!(
                    "elements of type {} are not read; bool, integers of 8 to 64 bits and floats of 32 or 64 bits are",
                    dtype.descr()
                ));
            }
        })
    }

    fn bytes(self) -> u64 {
        match self {
            Element::Bool | Element::I8 | Element::U8 => 1,
            Element::I16 | Element::U16 => 2,
            Element::I32 | Element::U32 | Element::F32 => 4,
            Element::I64 | Element::U64 | Element::F64 => 8,
        }
    }

    /// Reads the values. An integer beyond 2^53 is rounded, which no check can notice: it is no
    /// category, and an `f32` in any case.
    fn read<R: Read>(self, job: Job<R>) -> Result<Dataset, Diagnostic> {
        match self {
            Element::Bool => job.read(|value: bool| f64::from(u8::from(value))),
            Element::I8 => job.read(|value: i8| f64::from(value)),
            Element::I16 => job.read(|value: i16| f64::from(value)),
            Element::I32 => job.read(|value: i32| f64::from(value)),
            Element::I64 => job.read(|value: i64| value as f64),
            Element::U8 => job.read(|value: u8| f64::from(value)),
            Element::U16 => job.read(|value: u16| f64::from(value)),
            Element::U32 => job.read(|value: u32| f64::from(value)),
            Element::U64 => job.read(|value: u64| value as f64),
            Element::F32 => job.read(|value: f32| f64::from(value)),
            Element::F64 => job.read(|value: f64| value),
        }
    }
}

/// An array whose header has been accepted.
struct Job<'a, R: Read> {
    path: &'a Path,
    variables: &'a Variables,
    shape: Shape,
    file: NpyFile<R>,
}

impl<R: Read> Job<'_, R> {
    fn read<T: Deserialize + Copy>(self, number: impl Fn(T) -> f64) -> Result<Dataset, Diagnostic> {
        let Job { path, variables, shape, file } = self;
        let damaged = |error: &dyn std::fmt::Display| {
            Diagnostic::new(Code::E0504, format!("the array is damaged: {error}"))
                .in_file(shown(path))
        };
        let mut elements = file.data::<T>().map_err(|error| damaged(&error))?;
        match shape.order {
            Order::C => fill(path, variables, shape.rows, |_, _| match elements.next() {
                Some(element) => element.map(&number).map_err(|error| damaged(&error)),
                None => Err(damaged(&"it ends early")),
            }),
            Order::Fortran => {
                let stored: Vec<T> =
                    elements.collect::<Result<_, _>>().map_err(|error| damaged(&error))?;
                let columns = shape.stored_columns();
                fill(path, variables, shape.rows, |row, column| {
                    Ok(number(stored[columns[column] * shape.rows + row]))
                })
            }
        }
    }
}

/// Asks for each value in row-major order and checks it.
fn fill(
    path: &Path,
    variables: &Variables,
    rows: usize,
    mut next: impl FnMut(usize, usize) -> Result<f64, Diagnostic>,
) -> Result<Dataset, Diagnostic> {
    let mut builder = Builder::new(variables);
    for row in 0..rows {
        for var in variables.ids() {
            let value = next(row, var.index())?;
            let stored = admit(variables.kind(var), value).map_err(|misfit| {
                misfit.diagnostic(variables, var, &number_text(value)).in_row(
                    shown(path),
                    row + 1,
                    Some(var.index() + 1),
                )
            })?;
            builder.push(Some(stored));
        }
        builder.end_row();
    }
    Ok(builder.finish())
}

/// A number for a message, with an exponent when it is long otherwise.
fn number_text(value: f64) -> String {
    let plain = value.to_string();
    if plain.len() > 20 { format!("{value:e}") } else { plain }
}

#[cfg(test)]
mod tests;
