//! Weights of literals, for counting the models of a formula with weights.
//!
//! Read from a file beside the formula, in any mixture of three forms; what is not named weighs one.
//!
//! ```text
//! c p weight -3 0.7 0      a literal and its weight, as model counters exchange them
//! w 3 0.3                  variable 3 is true with 0.3 and false with 0.7; -1 for both one
//! 3 0.3                    a literal and its weight
//! ```

use std::collections::HashMap;

use super::lines::{Line, Text};
use super::nodes::{What, literal, variable};
use crate::diag::{Code, Diagnostic};
use crate::ids::VarId;

/// Logarithms of the weights of literals.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    of: HashMap<(VarId, u32), f64>,
}

impl Weights {
    /// Reads a file of weights.
    ///
    /// # Errors
    /// E0801 for a line of no known form, or a weight that is negative or not finite.
    pub(super) fn read(text: Text<'_>) -> Result<Self, Diagnostic> {
        let mut weights = Weights::default();
        for mut line in text.lines("#") {
            weights.line(&mut line)?;
        }
        Ok(weights)
    }

    fn line(&mut self, line: &mut Line<'_>) -> Result<(), Diagnostic> {
        let first = line.expect("a literal")?;
        match first.text {
            "p" => Ok(()),
            "c" => {
                let mut words = line.clone();
                let mut word = || words.field().map_or("", |field| field.text);
                if (word(), word()) != ("p", "weight") {
                    return Ok(());
                }
                line.field();
                line.field();
                let field = line.expect("a literal")?;
                let what = literal(line, field)?;
                self.set(&what, weight(line)?);
                line.field();
                line.end()
            }
            "w" => {
                let var = variable(line)?;
                let p: f64 = line.number("a weight")?;
                let pair = match p == -1.0 {
                    true => [1.0, 1.0],
                    false => [1.0 - p, p],
                };
                if !pair.iter().all(|p| (0.0..=1.0).contains(p)) {
                    return Err(
                        line.fault(Code::E0801, format!("{p} is no probability and not -1"))
                    );
                }
                for (state, weight) in (0..).zip(pair) {
                    self.set(&What::Indicator { var, state }, weight);
                }
                line.field();
                line.end()
            }
            _ => {
                let what = literal(line, first)?;
                self.set(&what, weight(line)?);
                line.end()
            }
        }
    }

    fn set(&mut self, what: &What, weight: f64) {
        if let &What::Indicator { var, state } = what {
            self.of.insert((var, state), weight.ln());
        }
    }

    /// The logarithm of the weight of a literal.
    pub(super) fn log(&self, var: VarId, state: u32) -> f64 {
        self.of.get(&(var, state)).copied().unwrap_or(0.0)
    }

    /// Whether no weight is given.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

fn weight(line: &mut Line<'_>) -> Result<f64, Diagnostic> {
    let field = line.expect("a weight")?;
    let weight: f64 = line.parse(field, "a weight")?;
    if weight.is_finite() && weight >= 0.0 {
        return Ok(weight);
    }
    Err(line.fault_at(field, Code::E0801, format!("{weight} is not a weight")))
}
