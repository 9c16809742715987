//! Data sets: rows of values, some of them missing.
//!
//! A file becomes a [`Dataset`] at once or not at all: every value is checked against the kind of
//! its variable while it is read ([`csv`], [`npy`]), and the first fault is one diagnostic with its
//! row and column. A data set never changes afterwards, so engines may read it from many threads.
//!
//! Shapes: a data set is `[rows, columns]`, row-major, one column for each variable. Engines read
//! it by *tiles* of [`LANES`] rows in structure-of-arrays order, `[columns][LANES]`. Outside of a
//! data set's own storage a value is an `f32` — categories are exact in it — and a missing one is
//! NaN.

pub mod csv;
pub mod image;
pub mod npy;
pub mod toy;
pub mod write;

mod moments;
mod store;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::diag::{Code, Diagnostic};
use crate::ids::{Id, VarId};
use crate::variables::{VarKind, Variables};

use store::{Builder, Store};

/// Rows of a tile.
pub const LANES: usize = 64;

/// Columns transposed together: their part of a tile stays in the first-level cache.
const BLOCK: usize = 8;

/// Rows of values of given variables, immutable.
#[derive(Clone)]
pub struct Dataset {
    variables: Variables,
    rows: usize,
    store: Store,
    has_missing: bool,
    identity: Arc<()>,
}

impl Dataset {
    /// The data set of given rows, `None` being a missing value.
    ///
    /// # Errors
    /// E0501 for a row of the wrong length, E0502 for a value that does not suit its variable; both
    /// name the row, counted from 1.
    pub fn from_rows(
        variables: &Variables,
        rows: impl IntoIterator<Item = Vec<Option<f32>>>,
    ) -> Result<Self, Diagnostic> {
        let mut builder = Builder::new(variables);
        for (index, row) in rows.into_iter().enumerate() {
            if row.len() != variables.len() {
                return Err(store::wrong_count(row.len(), variables.len())
                    .note(format!("in row {}", index + 1)));
            }
            for (var, value) in variables.ids().zip(row) {
                let stored = value.map(|value| {
                    store::admit(variables.kind(var), f64::from(value)).map_err(|misfit| {
                        misfit.diagnostic(variables, var, &value.to_string()).note(format!(
                            "in row {}, column {}",
                            index + 1,
                            var.index() + 1
                        ))
                    })
                });
                builder.push(stored.transpose()?);
            }
            builder.end_row();
        }
        Ok(builder.finish())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns, that is of variables.
    pub fn columns(&self) -> usize {
        self.variables.len()
    }

    /// The variables, in the order of the columns.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Whether at least one value is missing.
    pub fn has_missing(&self) -> bool {
        self.has_missing
    }

    /// Whether all values of a row are missing.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn is_open(&self, row: usize) -> bool {
        self.has_missing && self.variables.ids().all(|var| self.value(row, var).is_none())
    }

    /// The value of `var` in `row`: a category or a finite real; `None` when it is missing.
    ///
    /// # Panics
    /// When there is no such row or variable.
    pub fn value(&self, row: usize, var: VarId) -> Option<f32> {
        assert!(var.index() < self.columns(), "variable {var} of {} columns", self.columns());
        let value = self.store.value(row * self.columns() + var.index());
        (!value.is_nan()).then_some(value)
    }

    /// Writes row `row` to `out`, `[columns]`; a missing value is NaN.
    ///
    /// # Panics
    /// When there is no such row, or `out` is not of that length.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns(), "a row's length is the number of columns");
        self.store.copy(self.cells(row), out);
    }

    /// Writes up to [`LANES`] rows to `out`, `[columns][LANES]`: value `column` of `rows[lane]` is
    /// `out[column * LANES + lane]`. A missing value is NaN, and so is every value of a lane past
    /// the last row.
    ///
    /// # Panics
    /// When there are more rows than lanes, a row does not exist or `out` is not of that length.
    pub fn tile(&self, rows: &[u32], out: &mut [f32]) {
        assert!(rows.len() <= LANES, "{} rows in a tile of {LANES}", rows.len());
        assert_eq!(out.len(), self.columns() * LANES, "a tile's length is columns × lanes");
        match &self.store {
            Store::Bytes(values) => self.turn(values, rows, out, store::widen),
            Store::Reals(values) => self.turn(values, rows, out, |value| value),
        }
    }

    /// Writes up to [`LANES`] values of `var` to `out`: that of `rows[lane]` is `out[lane]`. A missing value
    /// is NaN, and so is every value past the last row.
    ///
    /// # Panics
    /// When there are more rows than `out` has places, or a row or the variable does not exist.
    pub fn column(&self, var: VarId, rows: &[u32], out: &mut [f32]) {
        assert!(var.index() < self.columns(), "variable {var} of {} columns", self.columns());
        let (lanes, rest) = out.split_at_mut(rows.len());
        for (out, &row) in lanes.iter_mut().zip(rows) {
            *out = self.store.value(row as usize * self.columns() + var.index());
        }
        rest.fill(f32::NAN);
    }

    /// The rows `rows` as a data set of their own.
    ///
    /// # Panics
    /// When the range leaves the data set.
    pub fn subset(&self, rows: Range<usize>) -> Dataset {
        let columns = self.columns();
        let store = self.store.slice(rows.start * columns..rows.end * columns);
        Dataset {
            variables: self.variables.clone(),
            rows: rows.len(),
            has_missing: self.has_missing && store.has_missing(),
            store,
            identity: Arc::new(()),
        }
    }

    /// The same rows, all values of some variables missing.
    pub fn without(&self, of: &[VarId]) -> Dataset {
        let mut hidden = vec![false; self.variables.len()];
        of.iter().for_each(|var| hidden[var.index()] = true);
        let mut builder = Builder::new(&self.variables);
        for row in 0..self.rows {
            for var in self.variables.ids() {
                builder.push(self.value(row, var).filter(|_| !hidden[var.index()]));
            }
            builder.end_row();
        }
        builder.finish()
    }

    /// What tells this data set from others in this process: the same in a clone, for data never
    /// change.
    pub fn identity(&self) -> &Arc<()> {
        &self.identity
    }

    /// A hash of shape, kinds and values (not of names), as 64 hexadecimal digits: equal data have
    /// equal fingerprints on every machine and whatever file they came from.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"pcc data 1");
        for length in [self.rows, self.columns()] {
            hasher.update(&(length as u64).to_le_bytes());
        }
        for var in self.variables.ids() {
            let states = match self.variables.kind(var) {
                VarKind::Categorical { states } => states,
                VarKind::Real => 0,
            };
            hasher.update(&states.to_le_bytes());
        }
        self.store.hash(&mut hasher);
        hasher.finalize().to_hex().to_string()
    }

    /// Positions of the values of `row` in the store.
    fn cells(&self, row: usize) -> Range<usize> {
        assert!(row < self.rows, "row {row} of {} rows", self.rows);
        row * self.columns()..(row + 1) * self.columns()
    }

    /// Transposes a block of columns at a time. `widen` makes an `f32` of a stored value.
    fn turn<T: Copy>(&self, values: &[T], rows: &[u32], out: &mut [f32], widen: impl Fn(T) -> f32) {
        for (block, out) in out.chunks_mut(BLOCK * LANES).enumerate() {
            for (lane, &row) in rows.iter().enumerate() {
                let row = &values[self.cells(row as usize)][block * BLOCK..];
                for (out, &value) in out.chunks_exact_mut(LANES).zip(row) {
                    out[lane] = widen(value);
                }
            }
            if rows.len() < LANES {
                for out in out.chunks_exact_mut(LANES) {
                    out[rows.len()..].fill(f32::NAN);
                }
            }
        }
    }
}

impl fmt::Debug for Dataset {
    /// The shape only: the values would fill the screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset[{} rows, {} columns]", self.rows, self.columns())
    }
}

/// Reads a data file of the given variables: a NumPy array if it begins as one or is called
/// `.npy`, else comma-separated values.
///
/// # Errors
/// What [`csv::read_csv`] and [`npy::read_npy`] report, and E0504 for a Parquet file.
pub fn read(path: &Path, variables: &Variables) -> Result<Dataset, Diagnostic> {
    let mut file = BufReader::new(open(path)?);
    let start = file.fill_buf().map_err(|error| unreadable(path, &error))?;
    let named = |extension| path.extension().is_some_and(|found| found == extension);
    if start.starts_with(b"PAR1") || named("parquet") {
        return Err(Diagnostic::new(Code::E0504, "Parquet files are not read by this build")
            .in_file(shown(path))
            .help("convert it to comma-separated values without a header, or to `.npy`"));
    }
    if start.starts_with(npy::MAGIC) || named("npy") {
        npy::read_npy(path, variables)
    } else {
        csv::parse(path, file, variables)
    }
}

/// Opens a file for reading; a directory is refused here, for some systems open it.
fn open(path: &Path) -> Result<File, Diagnostic> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let about = file.metadata().map_err(|error| unreadable(path, &error))?;
    if about.is_dir() {
        return Err(Diagnostic::new(Code::E0001, "this is a directory, not a data file")
            .in_file(shown(path)));
    }
    Ok(file)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::new(Code::E0001, format!("the file cannot be read: {error}")).in_file(shown(path))
}

fn no_rows(path: &Path) -> Diagnostic {
    Diagnostic::new(Code::E0503, "the file holds no rows").in_file(shown(path))
}

/// A path as messages show it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Categories 0 to 3 and missing values, in a pattern that differs between rows and columns.
    fn sample(kind: VarKind, rows: usize, columns: usize) -> Dataset {
        let value = |row: usize, column: usize| match (row * 7 + column * 3) % 5 {
            4 => None,
            code => Some(code as f32),
        };
        let rows = (0..rows).map(|row| (0..columns).map(|column| value(row, column)).collect());
        Dataset::from_rows(&Variables::uniform(kind, columns), rows).unwrap()
    }

    const KINDS: [VarKind; 3] =
        [VarKind::Categorical { states: 4 }, VarKind::Categorical { states: 300 }, VarKind::Real];

    #[test]
    fn a_tile_holds_the_rows_it_was_asked_for_and_nan_in_the_other_lanes() {
        for kind in KINDS {
            let data = sample(kind, 70, 37);
            let rows = [69, 0, 3, 3, 41];
            let mut tile = vec![-1.0; 37 * LANES];
            data.tile(&rows, &mut tile);
            for (index, &found) in tile.iter().enumerate() {
                let (var, lane) = (VarId::from_index(index / LANES), index % LANES);
                let value = rows.get(lane).and_then(|&row| data.value(row as usize, var));
                assert_eq!((!found.is_nan()).then_some(found), value, "{kind}, {var}, lane {lane}");
            }
        }
    }

    #[test]
    fn a_row_holds_its_values_and_nan_for_a_missing_one() {
        for kind in KINDS {
            let data = sample(kind, 3, 5);
            let mut row = [0.0; 5];
            data.row(2, &mut row);
            assert!(row[0].is_nan(), "{row:?}");
            assert_eq!(row[1..], [2.0, 0.0, 3.0, 1.0]);
        }
    }

    #[test]
    fn a_subset_has_the_rows_of_its_range() {
        for kind in KINDS {
            let data = sample(kind, 9, 5);
            let subset = data.subset(2..5);
            assert_eq!(subset.rows(), 3);
            for var in data.variables().ids() {
                assert_eq!(subset.value(0, var), data.value(2, var));
                assert_eq!(subset.value(2, var), data.value(4, var));
            }
        }
    }

    #[test]
    fn missing_values_are_noticed_in_the_whole_and_in_parts() {
        let rows = [vec![Some(1.0)], vec![None]];
        for kind in KINDS {
            let data = Dataset::from_rows(&Variables::uniform(kind, 1), rows.clone()).unwrap();
            let missing = [0..1, 1..2, 0..2].map(|range| data.subset(range).has_missing());
            assert_eq!((data.has_missing(), missing), (true, [false, true, true]));
        }
    }

    #[test]
    fn the_fingerprint_tells_shape_kind_and_each_value_apart_but_not_names() {
        let print = |variables: &Variables, rows: &[&[Option<f32>]]| {
            let rows = rows.iter().map(|row| row.to_vec());
            Dataset::from_rows(variables, rows).unwrap().fingerprint()
        };
        let two = Variables::binary(2);
        let base = print(&two, &[&[Some(0.0), Some(1.0)]]);
        let other = [
            print(&two, &[&[Some(0.0), None]]),
            print(&two, &[&[Some(1.0), Some(0.0)]]),
            print(&Variables::binary(1), &[&[Some(0.0)], &[Some(1.0)]]),
            print(&Variables::uniform(KINDS[0], 2), &[&[Some(0.0), Some(1.0)]]),
            print(&Variables::uniform(VarKind::Real, 2), &[&[Some(0.0), Some(1.0)]]),
        ];
        for (index, other) in other.iter().enumerate() {
            assert_ne!(*other, base, "case {index}");
        }
        let named = ["a", "b"].map(|name| (name.to_string(), VarKind::BINARY));
        assert_eq!(print(&Variables::named(named), &[&[Some(-0.0), Some(1.0)]]), base);
    }

    #[test]
    fn rows_made_in_memory_are_checked_like_a_file() {
        let fault = |row: Vec<Option<f32>>| {
            let rows = [vec![Some(0.0); 2], row];
            Dataset::from_rows(&Variables::binary(2), rows).unwrap_err()
        };
        let value = fault(vec![Some(0.0), Some(f32::NAN)]);
        insta::assert_snapshot!(value, @"error[E0502]: `NaN` does not suit `x1`, binary: NaN is not a value, nor a missing one");
        insta::assert_snapshot!(value.notes.join("; "), @"in row 2, column 2");
        insta::assert_snapshot!(fault(vec![Some(0.5), None]), @"error[E0502]: `0.5` does not suit `x0`, binary: it has a fractional part");
        insta::assert_snapshot!(fault(vec![None]), @"error[E0501]: 1 column where the circuit has 2 variables");
    }

    #[test]
    fn a_file_is_read_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let read_as = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            match read(&path, &Variables::binary(2)) {
                Ok(data) => format!("{data:?}"),
                Err(fault) => {
                    fault.to_string().replace(&folder.path().display().to_string(), "DIR")
                }
            }
        };
        let outcomes = [
            read_as("a.data", b"0,1\n"),
            read_as("a.npy", b"0,1\n"),
            read_as("a.parquet", b"0,1\n"),
            read_as("b.data", b"PAR1"),
            read_as("c.data", b"\x93NUMPY\x01"),
        ];
        insta::assert_snapshot!(outcomes.join("\n"), @"
        Dataset[1 rows, 2 columns]
        DIR/a.npy: error[E0504]: the file is not a NumPy array
        DIR/a.parquet: error[E0504]: Parquet files are not read by this build
        DIR/b.data: error[E0504]: Parquet files are not read by this build
        DIR/c.data: error[E0504]: the file ends within the array's header
        ");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::binary(2);
        for name in ["absent.data", "absent.npy", "."] {
            let path = folder.path().join(name);
            let faults = [
                read(&path, &variables).unwrap_err(),
                csv::read_csv(&path, &variables).unwrap_err(),
                npy::read_npy(&path, &variables).unwrap_err(),
            ];
            for fault in faults {
                assert_eq!(fault.code, Code::E0001, "{fault}");
                assert!(fault.to_string().starts_with(&shown(&path)), "{fault}");
            }
        }
    }

    #[test]
    fn a_million_columns_take_a_byte_a_value() {
        let rows = (0..3).map(|_| vec![Some(1.0); 1_000_000]);
        let data = Dataset::from_rows(&Variables::binary(1_000_000), rows).unwrap();
        assert!(matches!(&data.store, Store::Bytes(values) if values.capacity() == 3_000_000));
    }
}
