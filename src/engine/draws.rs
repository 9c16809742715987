//! Rows drawn given others, and likeliest completions.

/// Rows drawn given each of some rows.
///
/// A drawn row has the observed values, and others for those that were missing. All values given an
/// impossible row are NaN, and of every row those of an open variable on which the circuit does not depend.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    each: usize,
    width: usize,
    /// [rows given].
    pub(super) log_p: Vec<f64>,
    /// [rows given][draws of each][variables].
    pub(super) values: Vec<f32>,
}

impl Draws {
    /// Room for so many draws given each of so many rows of so many variables.
    pub fn new(rows: usize, each: usize, variables: usize) -> Self {
        let values = vec![f32::NAN; rows * each * variables];
        Draws { each, width: variables, log_p: vec![f64::NAN; rows], values }
    }

    /// ln p of what is observed of a row given, in nats; −∞ where that is impossible. Where nothing was
    /// drawn it is not known.
    pub fn log_p(&self, row: usize) -> f64 {
        self.log_p[row]
    }

    /// Says ln p of a row given, and the rows drawn, `[draws of each][variables]`.
    ///
    /// # Panics
    /// When there is no such row, or not as many values.
    pub fn set(&mut self, row: usize, log_p: f64, values: &[f32]) {
        let len = self.each * self.width;
        self.log_p[row] = log_p;
        self.values[row * len..(row + 1) * len].copy_from_slice(values);
    }

    /// The rows drawn given a row, `[draws of each][variables]`.
    pub fn of(&self, row: usize) -> &[f32] {
        let len = self.each * self.width;
        &self.values[row * len..(row + 1) * len]
    }

    /// All rows drawn, `[rows given][draws of each][variables]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// The likeliest completion of each of some rows, as max-product finds it: the assignment of the greatest
/// induced tree.
///
/// All values of an impossible row are NaN, and of every row those of an open variable on which the circuit
/// does not depend.
#[derive(Clone, Debug, PartialEq)]
pub struct Completions {
    width: usize,
    /// [rows].
    pub(super) log_best: Vec<f64>,
    /// [rows][variables].
    pub(super) values: Vec<f32>,
}

impl Completions {
    /// Room for so many rows of so many variables.
    pub fn new(rows: usize, variables: usize) -> Self {
        let values = vec![f32::NAN; rows * variables];
        Completions { width: variables, log_best: vec![f64::NAN; rows], values }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.log_best.len()
    }

    /// The logarithm of the greatest tree of a row: of the part of its completion's probability that one
    /// induced tree has, and of all of it where the circuit is deterministic. −∞ where the row is impossible.
    pub fn log_best(&self, row: usize) -> f64 {
        self.log_best[row]
    }

    /// The completion of a row, `[variables]`.
    pub fn of(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}
