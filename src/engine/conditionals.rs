//! Every variable's distribution given each of some rows.

use crate::ids::{Id, VarId};
use crate::variables::{VarKind, Variables};

/// For each of some rows ln p of what is observed, and the distribution of every variable given that.
///
/// A variable has an entry for each of its states, their probabilities; a real one has two, mean and
/// variance. An observed variable has all probability at its value, or no variance. All numbers of an
/// impossible row are NaN, and of every row those of an open variable on which the circuit does not depend.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditionals {
    /// Where the numbers of each variable begin in a row; one more than variables.
    starts: Vec<usize>,
    /// [rows].
    pub(super) log_p: Vec<f64>,
    /// [rows][numbers of all variables].
    pub(super) numbers: Vec<f64>,
}

impl Conditionals {
    /// Room for so many rows over these variables.
    pub fn new(variables: &Variables, rows: usize) -> Self {
        let mut starts = vec![0];
        let mut total = 0;
        for var in variables.ids() {
            total += numbers(variables.kind(var));
            starts.push(total);
        }
        Conditionals { starts, log_p: vec![f64::NAN; rows], numbers: vec![f64::NAN; rows * total] }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.log_p.len()
    }

    /// Numbers of a row: those of all variables.
    pub fn width(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// ln p of what is observed of a row, in nats; −∞ where that is impossible.
    pub fn log_p(&self, row: usize) -> f64 {
        self.log_p[row]
    }

    /// The numbers of all variables, one after the other, given a row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.numbers[row * self.width()..(row + 1) * self.width()]
    }

    /// Says what holds given a row: ln p of what is observed, and the numbers of all variables.
    ///
    /// # Panics
    /// When there is no such row, or not as many numbers.
    pub fn set(&mut self, row: usize, log_p: f64, numbers: &[f64]) {
        let width = self.width();
        self.log_p[row] = log_p;
        self.numbers[row * width..(row + 1) * width].copy_from_slice(numbers);
    }

    /// The numbers of one variable given a row.
    pub fn of(&self, row: usize, var: VarId) -> &[f64] {
        &self.row(row)[self.starts[var.index()]..self.starts[var.index() + 1]]
    }
}

/// How many numbers say what a variable's distribution is.
fn numbers(kind: VarKind) -> usize {
    match kind {
        VarKind::Categorical { states } => states as usize,
        VarKind::Real => 2,
    }
}
