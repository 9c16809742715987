//! What a run of learning is given.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::{Group, Method, Schedule};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};

/// The data of a run.
#[derive(Clone, Copy, Debug)]
pub struct Splits<'a> {
    /// What is learned from.
    pub train: &'a Dataset,
    /// What says which parameters to keep.
    pub valid: Option<&'a Dataset>,
    /// What the kept parameters are judged by, once.
    pub test: Option<&'a Dataset>,
}

/// Everything that the learned parameters depend on besides circuit, data and engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Rows a step, at least 1; all of them, where there are fewer.
    pub batch: usize,
    /// Steps between evaluations, at least 1. The last step is followed by one in any case.
    pub eval_every: u64,
    /// Where the batches are drawn from.
    pub seed: u64,
    /// The optimiser.
    pub method: Method,
    /// Learning rate, above 0; for EM at most 1.
    pub rate: f64,
    /// Tensors with options of their own.
    pub groups: Vec<Group>,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Stop after so many evaluations in a row without a better validation value.
    pub patience: Option<u64>,
}

impl Default for Recipe {
    /// What the HyperSPN experiments used for most data sets.
    fn default() -> Self {
        Recipe {
            steps: 4000,
            batch: 500,
            eval_every: 200,
            seed: 0,
            method: Method::default(),
            rate: 5e-3,
            groups: Vec::new(),
            schedule: Schedule::default(),
            patience: None,
        }
    }
}

impl Recipe {
    /// The steps in which batches of `batch` of `rows` rows are as many rows as `epochs` times all.
    pub fn steps_of(epochs: u64, rows: usize, batch: usize) -> u64 {
        epochs.saturating_mul(rows.div_ceil(batch.max(1)) as u64)
    }

    /// Refuses numbers that mean nothing.
    ///
    /// # Errors
    /// E0105 for the first of them.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let out = |what: &str, must: &str| Diagnostic::new(Code::E0105, format!("{what} {must}"));
        for (what, number) in [("the batch", self.batch as u64), ("eval_every", self.eval_every)] {
            if number == 0 {
                return Err(out(what, "must be at least 1"));
            }
        }
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let greatest = |groups: &[Group]| {
            groups.iter().filter_map(|group| group.rate).fold(self.rate, f64::max)
        };
        let fraction = |number: f64| (0.0..1.0).contains(&number);
        if !positive(self.rate) {
            return Err(out("the learning rate", "must be finite and above 0"));
        }
        for group in &self.groups {
            if group.rate.is_some_and(|rate| !(rate >= 0.0 && rate.is_finite())) {
                return Err(out(
                    &format!("the learning rate of `{}`", group.name),
                    "must be finite and at least 0",
                ));
            }
            if group.decay.is_some_and(|decay| !(decay >= 0.0 && decay.is_finite())) {
                return Err(out(
                    &format!("the decay of `{}`", group.name),
                    "must be finite and at least 0",
                ));
            }
        }
        match self.method {
            Method::Sgd { momentum } if !fraction(momentum) => {
                Err(out("the momentum", "must be in [0, 1)"))
            }
            Method::Adam(moments) | Method::AdamW(moments)
                if !(fraction(moments.beta1)
                    && fraction(moments.beta2)
                    && positive(f64::from(moments.epsilon as f32))) =>
            {
                Err(out(
                    "Adam's constants",
                    "must be β in [0, 1) and ε above 0 in single precision",
                ))
            }
            Method::Em { pseudo_count } if !(pseudo_count >= 0.0 && pseudo_count.is_finite()) => {
                Err(out("the pseudo-count", "must be finite and at least 0"))
            }
            Method::Em { .. } if greatest(&self.groups) > 1.0 => {
                Err(out("a learning rate of EM", "must be at most 1"))
            }
            _ => Ok(()),
        }
    }
}

/// Where and when a run keeps its checkpoint.
///
/// It is written at the beginning, at the end, when the run is interrupted, and otherwise after an
/// evaluation, or after half a minute without one. When it is written has no influence on the outcome.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The file.
    pub path: PathBuf,
    /// Whether to go on from the checkpoint there. If there is none, the run begins at the beginning:
    /// it was stopped before it had written one.
    pub resume: bool,
    /// What stands for the circuit and all choices of its compilation: a run goes on only where this
    /// is the same.
    pub circuit: String,
    /// After an evaluation it is written only if that takes no more than one part in so many of the
    /// time; at 0, always.
    pub share: u32,
}

impl Keep {
    /// A checkpoint at `path` of learning what `circuit` stands for, begun anew, that takes at most a
    /// twentieth of the time.
    pub fn new(path: impl Into<PathBuf>, circuit: impl Into<String>) -> Self {
        Keep { path: path.into(), resume: false, circuit: circuit.into(), share: 20 }
    }
}

/// What a run is given besides circuit, engine and data.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// What the outcome depends on.
    pub recipe: Recipe,
    /// Where to keep a checkpoint, if anywhere.
    pub keep: Option<Keep>,
    /// When this becomes true, the run writes its checkpoint and stops.
    pub interrupt: Option<&'a AtomicBool>,
}
