//! `pcc query`: refused until the queries are there.

use super::answer::Answer;
use super::args::Query;
use super::failure::Failure;
use crate::diag::{Code, Diagnostic};

/// Says that this build answers no queries.
///
/// # Errors
/// E0704, always.
pub fn run(args: &Query) -> Result<Answer, Failure> {
    let message = format!("`pcc query … {}` is not answered by this build", args.query);
    Err(Diagnostic::new(Code::E0704, message)
        .help("`pcc eval` gives log-likelihoods, of rows with missing values too")
        .into())
}
