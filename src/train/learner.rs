//! The two ways to learn from a batch: along the gradient, and by expected counts.

use super::em::Em;
use super::update::first_not_finite;
use super::{Method, Optimizer, Recipe, TrainError};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::engine::{Counts, Executable, Stepped};
use crate::sector::Parameters;

/// What looks at a batch, then changes the parameters.
pub(super) enum Learner {
    /// The gradient is empty as long as the engine takes the steps.
    Gradient {
        optimizer: Optimizer,
        gradient: Vec<f32>,
    },
    Em {
        em: Em,
        counts: Counts<f32>,
    },
}

/// A number taken from a batch, by the place of its parameter in the flat buffer.
#[derive(Clone, Copy)]
pub(super) enum Taken {
    Gradient(usize),
    Count(usize),
}

impl Learner {
    /// The learner that a recipe asks for.
    pub(super) fn new(recipe: &Recipe, parameters: &Parameters) -> Result<Self, Diagnostic> {
        let Recipe { method, rate, groups, .. } = recipe;
        if let Method::Em { pseudo_count } = *method {
            let em = Em::new(parameters, pseudo_count, *rate, groups)?;
            return Ok(Learner::Em { em, counts: Counts::zeros(parameters) });
        }
        let (tensors, decay) = (parameters.tensors(), parameters.decay());
        let optimizer = Optimizer::new(*method, tensors, *rate, decay, groups)?;
        Ok(Learner::Gradient { optimizer, gradient: Vec::new() })
    }

    /// Takes from a batch what the next step needs, and writes ln p of its rows.
    ///
    /// # Errors
    /// E0405 if the engine does not count.
    pub(super) fn look(
        &mut self,
        executable: &mut dyn Executable,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
    ) -> Result<(), TrainError> {
        let counted = match self {
            Learner::Gradient { gradient, .. } => {
                gradient.resize(parameters.len(), 0.0);
                Some(executable.gradient(parameters, data, rows, log_p, gradient))
            }
            Learner::Em { counts, .. } => {
                executable.expected_counts(parameters, data, rows, log_p, counts)
            }
        };
        match counted {
            Some(_) => Ok(()),
            None => Err(Diagnostic::new(Code::E0405, "this engine does not learn by EM")
                .help("use the CPU engine, or an optimiser that follows gradients")
                .into()),
        }
    }

    /// The first number taken that is not finite.
    pub(super) fn first_not_finite(&self, parameters: &Parameters) -> Option<Taken> {
        match self {
            Learner::Gradient { gradient, .. } => first_not_finite(gradient).map(Taken::Gradient),
            Learner::Em { counts, .. } => {
                let leaf = || {
                    let mut dists = parameters.families().ids();
                    let bad = dists.find(|&dist| first_not_finite(counts.leaf(dist)).is_some())?;
                    Some(parameters.leaf(bad).start)
                };
                first_not_finite(&counts.weights).or_else(leaf).map(Taken::Count)
            }
        }
    }

    /// Changes the parameters by what was taken last, from so many rows, this share of those to learn
    /// from. Returns whether all numbers are finite.
    pub(super) fn step(&mut self, factor: f64, seen: (usize, f64), parameters: &mut [f32]) -> bool {
        match self {
            Learner::Gradient { optimizer, gradient } => {
                optimizer.step(factor, parameters, gradient)
            }
            Learner::Em { em, counts } => em.step(factor, seen, counts, parameters),
        }
    }

    /// Hands parameters and moments over to an engine that takes whole steps. Returns whether there was one, with room
    /// for the data.
    pub(super) fn hand_over(
        &self,
        executable: &mut dyn Executable,
        data: &Dataset,
        parameters: &[f32],
    ) -> bool {
        let (Learner::Gradient { optimizer, .. }, Some(stepper)) = (self, executable.stepper())
        else {
            return false;
        };
        stepper.begin(data, parameters, optimizer.moments())
    }

    /// A step on the engine that they were handed over to; `None` where they were not.
    pub(super) fn step_there(
        &mut self,
        executable: &mut dyn Executable,
        factor: f64,
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
    ) -> Option<Stepped> {
        let (Learner::Gradient { optimizer, .. }, Some(stepper)) = (self, executable.stepper())
        else {
            return None;
        };
        Some(stepper.step(data, rows, optimizer.next_step(factor), log_p).1)
    }

    /// Copies parameters and moments from the engine that they were handed over to.
    pub(super) fn fetch(&mut self, executable: &mut dyn Executable, parameters: &mut [f32]) {
        if let (Learner::Gradient { optimizer, .. }, Some(stepper)) = (self, executable.stepper()) {
            stepper.read(parameters, optimizer.moments_mut());
        }
    }

    /// What it remembers from step to step; nothing of EM.
    pub(super) fn moments(&self) -> [&[f32]; 2] {
        match self {
            Learner::Gradient { optimizer, .. } => optimizer.moments(),
            Learner::Em { .. } => [&[], &[]],
        }
    }

    /// Puts back what [`Learner::moments`] gave after so many steps.
    pub(super) fn restore(&mut self, steps: u64, [first, second]: [Vec<f32>; 2]) {
        if let Learner::Gradient { optimizer, .. } = self {
            optimizer.restore(steps, first, second);
        }
    }
}
