//! How a command ends: its exit code, and what it says when it fails.

use std::process::ExitCode;

use crate::diag::{Code, Diagnostic, Diagnostics, Source};

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, maybe with warnings.
    Done = 0,
    /// The input is wrong.
    Input = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The machine lacks something.
    Machine = 3,
    /// Training met a number that is not finite.
    NonFinite = 4,
    /// The user interrupted it; a checkpoint of what `pcc train` learns has been written.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was found; at least one error, unless it was interrupted.
    pub diagnostics: Diagnostics,
    /// The circuit's text, for diagnostics that point into it.
    pub source: Option<Source>,
    /// What is said of a command that was stopped, and is no fault.
    pub message: Option<String>,
    /// How the process ends.
    pub exit: Exit,
}

impl Failure {
    /// The failure of some diagnostics. The first code that has an exit code of its own decides.
    pub fn new(diagnostics: impl Into<Diagnostics>) -> Self {
        let diagnostics = diagnostics.into();
        let exit = diagnostics.iter().find_map(|diagnostic| match diagnostic.code {
            Code::E0701 | Code::E0705 => Some(Exit::Machine),
            Code::E0703 => Some(Exit::NonFinite),
            _ => None,
        });
        Failure { diagnostics, source: None, message: None, exit: exit.unwrap_or(Exit::Input) }
    }

    /// Whether a diagnostic of this code is among those found.
    pub fn has(&self, code: Code) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == code)
    }

    /// Whether something takes more memory than is allowed, or than a device has.
    pub fn lacks_room(&self) -> bool {
        self.has(Code::E0702) || self.has(Code::E0705)
    }

    /// The command line asks for what cannot be had together.
    pub fn usage(message: impl Into<String>) -> Self {
        let exit = Exit::Usage;
        Failure { exit, ..Failure::new(Diagnostic::new(Code::E0702, message)) }
    }

    /// The user stopped it.
    pub fn interrupted(message: impl Into<String>) -> Self {
        let message = Some(message.into());
        Failure { message, exit: Exit::Interrupted, ..Failure::new(Diagnostics::new()) }
    }

    /// With the text that the diagnostics point into.
    pub fn with_source(mut self, source: &Source) -> Self {
        self.source = Some(source.clone());
        self
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Failure::new(diagnostic)
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Failure::new(diagnostics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_from_the_diagnostic() {
        let exit = |code| Failure::from(Diagnostic::new(code, "")).exit as u8;
        assert_eq!([Code::E0502, Code::E0701, Code::E0703].map(exit), [1, 3, 4]);
    }
}
