//! The pipeline, in one function: from the text of a circuit to everything an engine needs.

use std::path::Path;

use crate::circuit::{SourceMap, ValidCircuit, validate};
use crate::diag::{Diagnostics, Source};
use crate::param::Parameterizer;
use crate::param::registry::Registry;
use crate::rewrite::{self, Request};
use crate::sector::{Parameters, SectorKind, bind, partition};

/// Choices that the text of the circuit does not make.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave the circuit as it is written.
    pub no_rewrite: bool,
    /// What is known of the query.
    pub request: Request,
}

/// A circuit after all stages that know no batch: what plans and engines are made from.
pub struct Compiled {
    /// The circuit as written. Parameters belong to it, and the oracle walks it.
    pub written: ValidCircuit,
    /// The circuit that is run.
    pub circuit: ValidCircuit,
    /// What it learns, and its sectors.
    pub parameters: Parameters,
    /// What rewriting did; `None` if it was turned off.
    pub rewriting: Option<rewrite::Report>,
    /// What was found that did not stop it.
    pub warnings: Diagnostics,
}
