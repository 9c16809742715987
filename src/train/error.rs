//! Why learning stops before its end.

use std::fmt;

use thiserror::Error;

use crate::diag::{Code, Diagnostic};
use crate::ids::SectorId;
use crate::sector::Parameters;

/// Why learning stopped before its end.
#[derive(Debug, Error)]
pub enum TrainError {
    /// What it was given is wrong, or its checkpoint cannot be read or written.
    #[error(transparent)]
    Refused(#[from] Box<Diagnostic>),
    /// A number that is not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// It was asked to stop; its checkpoint is written, if it keeps one.
    #[error("interrupted after step {step}")]
    Interrupted {
        /// Steps done.
        step: u64,
    },
}

impl From<Diagnostic> for TrainError {
    fn from(diagnostic: Diagnostic) -> Self {
        TrainError::Refused(Box::new(diagnostic))
    }
}

impl TrainError {
    /// The exit code of a program that ends because of this.
    pub fn exit_code(&self) -> u8 {
        match self {
            TrainError::Refused(_) => 1,
            TrainError::NotFinite(_) => 4,
            TrainError::Interrupted { .. } => 130,
        }
    }

    /// It as a diagnostic; `None` for an interruption, which is no fault.
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        match self {
            TrainError::Refused(diagnostic) => Some(Diagnostic::clone(diagnostic)),
            TrainError::NotFinite(fault) => Some(fault.diagnostic()),
            TrainError::Interrupted { .. } => None,
        }
    }
}

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The training data.
    Train,
    /// The validation data.
    Valid,
    /// The test data.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Train => "training",
            Part::Valid => "validation",
            Part::Test => "test",
        })
    }
}

/// A number that is not finite, and where it came up.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// The step, counted from 1; of an evaluation, that before it.
    pub step: u64,
    /// What it is.
    pub stage: Stage,
}

/// What was not finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// The log-likelihood of a row is NaN or +∞.
    LogLikelihood {
        /// Of which data.
        part: Part,
        /// The row, counted from 0.
        row: usize,
        /// ln p as computed.
        log_p: f64,
    },
    /// The derivative by a parameter.
    Gradient {
        /// By which.
        place: Place,
        /// The first row of the batch whose own derivative is not finite, counted from 0; `None` if
        /// only their sum is so.
        row: Option<usize>,
    },
    /// An expected count.
    Count {
        /// Of which parameter.
        place: Place,
        /// The first row of the batch whose own count is not finite, counted from 0; `None` if only
        /// their sum is so.
        row: Option<usize>,
    },
    /// A parameter, or the mean square of its gradient, after a step.
    Parameter {
        /// Which.
        place: Place,
    },
}

/// A parameter, by its tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Name of the tensor.
    pub tensor: String,
    /// Entry of the tensor.
    pub entry: usize,
    /// The sector it makes alone, if there is one.
    pub sector: Option<SectorId>,
}

impl Place {
    /// What lies at `at` in the flat buffer.
    pub(super) fn of(parameters: &Parameters, at: usize) -> Place {
        let holds = |id| parameters.tensors().range(id).contains(&at);
        let found = parameters.tensors().iter().find(|&(id, _)| holds(id));
        let (tensor, entry) = found.map_or((String::new(), at), |(id, spec)| {
            (spec.name.clone(), at - parameters.tensors().range(id).start)
        });
        let maker = parameters.makers().iter().find(|maker| maker.own.contains(&at));
        let sector = maker.and_then(|maker| {
            let mut ordinals = 0..maker.sectors.len();
            let ordinal = ordinals.find(|&s| maker.own_row(s as u32).contains(&at))?;
            maker.sectors.get(ordinal).copied()
        });
        Place { tensor, entry, sector }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of tensor `{}`", self.entry, self.tensor)?;
        match self.sector {
            Some(sector) => write!(f, " (sector {sector})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: ", self.step)?;
        match &self.stage {
            Stage::LogLikelihood { part, row, log_p } => {
                write!(f, "the log-likelihood of row {} of the {part} data is {log_p}", row + 1)
            }
            Stage::Gradient { place, row: Some(row) } => {
                write!(f, "row {} makes the gradient by {place} not finite", row + 1)
            }
            Stage::Gradient { place, row: None } => {
                write!(f, "the gradient by {place} is not finite")
            }
            Stage::Count { place, row: Some(row) } => {
                write!(f, "row {} makes the expected count of {place} not finite", row + 1)
            }
            Stage::Count { place, row: None } => {
                write!(f, "the expected count of {place} is not finite")
            }
            Stage::Parameter { place } => {
                write!(f, "{place}, or its mean squared gradient, is not finite after the step")
            }
        }
    }
}

impl std::error::Error for NotFinite {}

impl NotFinite {
    /// It as a diagnostic.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Code::E0703, self.to_string())
            .help("a smaller learning rate may keep the parameters in range")
    }
}
