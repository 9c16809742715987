//! How values are stored, and which values a variable admits.
//!
//! Two representations, both flat and row-major: a byte for each value when every variable is
//! categorical with at most 255 states, which is what all the benchmarks are; else an `f32`.

use std::ops::Range;
use std::sync::Arc;

use crate::diag::{Code, Diagnostic};
use crate::ids::VarId;
use crate::variables::{VarKind, Variables};

use super::Dataset;

/// The byte of a missing value.
pub(super) const MISSING: u8 = u8::MAX;

/// The largest number of states whose categories leave room for [`MISSING`].
const BYTE_STATES: u32 = MISSING as u32;

/// Categories below this are exact in `f32`.
const EXACT: f64 = (1u32 << f32::MANTISSA_DIGITS) as f64;

/// A byte of the store as a value.
#[inline(always)]
pub(super) fn widen(byte: u8) -> f32 {
    WIDENED[byte as usize]
}

/// The value of each byte. In a tile's scattered stores a load costs less than a conversion and a
/// comparison.
static WIDENED: [f32; 256] = {
    let mut widened = [f32::NAN; 256];
    let mut byte = 0;
    while byte < MISSING as usize {
        widened[byte] = byte as f32;
        byte += 1;
    }
    widened
};

/// The values of a data set, row-major.
#[derive(Clone)]
pub(super) enum Store {
    /// Categories below 255; 255 is missing.
    Bytes(Vec<u8>),
    /// Categories and finite reals; NaN is missing.
    Reals(Vec<f32>),
}

impl Store {
    /// The value at a position, NaN if missing.
    pub fn value(&self, cell: usize) -> f32 {
        match self {
            Store::Bytes(values) => widen(values[cell]),
            Store::Reals(values) => values[cell],
        }
    }

    /// Writes the values at `cells` to `out`, of the same length.
    pub fn copy(&self, cells: Range<usize>, out: &mut [f32]) {
        match self {
            Store::Bytes(values) => {
                for (out, &byte) in out.iter_mut().zip(&values[cells]) {
                    *out = widen(byte);
                }
            }
            Store::Reals(values) => out.copy_from_slice(&values[cells]),
        }
    }

    /// A copy of the values at `cells`.
    pub fn slice(&self, cells: Range<usize>) -> Store {
        match self {
            Store::Bytes(values) => Store::Bytes(values[cells].to_vec()),
            Store::Reals(values) => Store::Reals(values[cells].to_vec()),
        }
    }

    /// Whether a value is missing.
    pub fn has_missing(&self) -> bool {
        match self {
            Store::Bytes(values) => values.contains(&MISSING),
            Store::Reals(values) => values.iter().any(|value| value.is_nan()),
        }
    }

    /// Adds the values to a hash, reals as little-endian bytes.
    pub fn hash(&self, hasher: &mut blake3::Hasher) {
        match self {
            Store::Bytes(values) => {
                hasher.update(values);
            }
            Store::Reals(values) => {
                let mut bytes = Vec::with_capacity(4 * HASHED_AT_ONCE);
                for chunk in values.chunks(HASHED_AT_ONCE) {
                    bytes.clear();
                    bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
                    hasher.update(&bytes);
                }
            }
        }
    }
}

/// Reals turned into bytes for each call of the hash.
const HASHED_AT_ONCE: usize = 4096;

/// A data set under construction: values are pushed row by row.
pub(super) struct Builder<'a> {
    variables: &'a Variables,
    rows: usize,
    store: Store,
    has_missing: bool,
}

impl<'a> Builder<'a> {
    /// A data set without rows yet.
    pub fn new(variables: &'a Variables) -> Self {
        let fits = |var| match variables.kind(var) {
            VarKind::Categorical { states } => states <= BYTE_STATES,
            VarKind::Real => false,
        };
        let store = if variables.ids().all(fits) {
            Store::Bytes(Vec::new())
        } else {
            Store::Reals(Vec::new())
        };
        Builder { variables, rows: 0, store, has_missing: false }
    }

    /// Appends the next value of the row: one that [`admit`] returned, or `None`, a missing one.
    #[inline]
    pub fn push(&mut self, value: Option<f32>) {
        self.has_missing |= value.is_none();
        match &mut self.store {
            Store::Bytes(values) => values.push(value.map_or(MISSING, |value| value as u8)),
            Store::Reals(values) => values.push(value.unwrap_or(f32::NAN)),
        }
    }

    /// Ends a row, of which every value has been pushed.
    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The data set.
    pub fn finish(mut self) -> Dataset {
        match &mut self.store {
            Store::Bytes(values) => values.shrink_to_fit(),
            Store::Reals(values) => values.shrink_to_fit(),
        }
        Dataset {
            variables: self.variables.clone(),
            rows: self.rows,
            store: self.store,
            has_missing: self.has_missing,
            identity: Arc::new(()),
        }
    }
}

/// Why a value does not suit its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The text is no number.
    NotANumber,
    /// NaN, which does not stand for a missing value.
    Nan,
    /// Infinite, or too large for an `f32`.
    NotFinite,
    /// A category with a fractional part.
    Fraction,
    /// A category below 0 or not below the number of states.
    OutOfRange,
    /// A category of the variable, but too large to be exact in `f32`.
    Inexact,
}

/// The value as it is stored, if a variable of this kind admits it. Zero loses its sign, so that
/// equal data have equal fingerprints.
pub(super) fn admit(kind: VarKind, value: f64) -> Result<f32, Misfit> {
    if value.is_nan() {
        return Err(Misfit::Nan);
    }
    if let VarKind::Categorical { states } = kind
        && value.is_finite()
    {
        if value.fract() != 0.0 {
            return Err(Misfit::Fraction);
        }
        if value < 0.0 || value >= f64::from(states) {
            return Err(Misfit::OutOfRange);
        }
        if value >= EXACT {
            return Err(Misfit::Inexact);
        }
    }
    let stored = value as f32;
    if stored.is_finite() { Ok(stored + 0.0) } else { Err(Misfit::NotFinite) }
}

impl Misfit {
    /// The diagnostic E0502 about the value `text` of `var`, without a place yet.
    pub fn diagnostic(self, variables: &Variables, var: VarId, text: &str) -> Diagnostic {
        let (name, kind) = (variables.name(var), variables.kind(var));
        let reason = match (self, kind) {
            (Misfit::NotANumber, _) => "it is not a number".to_string(),
            (Misfit::Nan, _) => "NaN is not a value, nor a missing one".to_string(),
            (Misfit::NotFinite, _) => "it is not a finite 32-bit number".to_string(),
            (Misfit::Fraction, _) => "it has a fractional part".to_string(),
            (Misfit::OutOfRange, VarKind::Categorical { states }) => {
                format!("its categories are 0 to {}", states.saturating_sub(1))
            }
            (Misfit::OutOfRange, VarKind::Real) => "it is out of range".to_string(),
            (Misfit::Inexact, _) => format!("categories from {EXACT} on are not exact"),
        };
        let message = format!("`{}` does not suit `{name}`, {kind}: {reason}", short(text));
        let diagnostic = Diagnostic::new(Code::E0502, message);
        match self {
            Misfit::NotANumber | Misfit::Nan => {
                diagnostic.help("in a text file a missing value is an empty field or `?`")
            }
            _ => diagnostic,
        }
    }
}

/// The diagnostic E0501 of a row of `found` columns, without a place yet.
pub(super) fn wrong_count(found: usize, expected: usize) -> Diagnostic {
    let (found, expected) = (counted(found, "column"), counted(expected, "variable"));
    Diagnostic::new(Code::E0501, format!("{found} where the circuit has {expected}"))
}

/// A number and its noun.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A text for a message: control characters escaped, cut when long.
fn short(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown = String::new();
    for letter in text.chars().take(SHOWN) {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
