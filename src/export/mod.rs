//! Circuits as texts: in the project's own language, and as PSDDs where they are one.
//!
//! What is written is the circuit, not what was learned for it: numbers that the circuit gives come
//! out as they went in, and what is left to learning is left open, with how it is to be learned, or for a PSDD
//! refused.

mod psdd;
mod ron;

pub use self::psdd::{Diagram, psdd};
pub use self::ron::ron;
use crate::diag::{Code, Diagnostic};

/// What a format cannot say.
fn unfit(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::E0704, message)
}
