//! The pipeline, in one function: from a circuit to everything that plans and engines are made from.

use std::sync::Arc;

use crate::circuit::{Circuit, Op, SourceMap, ValidCircuit, Weights, validate};
use crate::diag::Diagnostics;
use crate::ids::{DistId, IdVec, WeightsId};
use crate::leaf::Dist;
use crate::param::Parameterizer;
use crate::rewrite::{self, Request, Target};
use crate::sector::{Parameters, SectorKind, bind, partition};

/// Choices beside the circuit.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How weight layers are cut into sectors.
    pub sectors: SectorKind,
    /// Leave the circuit as it is written.
    pub no_rewrite: bool,
    /// What is known of the query.
    pub request: Request,
    /// The format that the circuit came from guarantees that it is deterministic.
    pub declared_deterministic: bool,
}

/// A circuit after all stages that know no batch.
pub struct Compiled {
    /// The circuit as written. Parameters belong to it, and the oracle walks it.
    pub written: ValidCircuit,
    /// The circuit that is run: of the same function, and with the same parameters.
    pub circuit: ValidCircuit,
    /// What it learns, and its sectors.
    pub parameters: Arc<Parameters>,
    /// Whether values of variables were built into the circuit that is run.
    pub has_evidence: bool,
    /// What rewriting did; `None` if it was turned off.
    pub rewriting: Option<rewrite::Report>,
    /// What was found that did not stop it.
    pub warnings: Diagnostics,
}

/// What the numbers of a circuit are made from: all that an engine keeps of it beside its plan.
#[derive(Clone)]
pub struct Numbers {
    /// The weight layers of the circuit that is run.
    pub weights: Arc<IdVec<WeightsId, Weights>>,
    /// Its leaf distributions.
    pub dists: Arc<IdVec<DistId, Dist>>,
    /// What it learns.
    pub parameters: Arc<Parameters>,
    /// Whether all that there is has probability one: no evidence is built in.
    pub is_whole: bool,
}

impl Compiled {
    /// What the numbers of the circuit that is run are made from.
    pub fn numbers(&self) -> Numbers {
        let (weights, dists) = (self.circuit.shared_weights(), self.circuit.shared_dists());
        let is_given = |circuit: &ValidCircuit| {
            circuit.nodes().any(|node| matches!(circuit.op(node), Op::Given { .. }))
        };
        // What rewriting makes of evidence need not show it.
        let is_whole = !self.has_evidence && !is_given(&self.written);
        Numbers { weights, dists, parameters: Arc::clone(&self.parameters), is_whole }
    }
}

/// Validates a circuit, cuts its sectors, binds the parameterizer to them, and rewrites.
///
/// # Errors
/// Every fault that validation finds; else those of the sectors, the parameterizer or the request.
pub fn compile(
    circuit: Circuit,
    map: &SourceMap,
    parameterizer: &dyn Parameterizer,
    options: &Options,
) -> Result<Compiled, Diagnostics> {
    let (written, warnings) = validate(circuit, map)?;
    let written = match options.declared_deterministic {
        true => written.declare_deterministic(),
        false => written,
    };
    let table = partition(&written, map, options.sectors)?;
    let parameters = Arc::new(bind(&written, table, parameterizer)?);
    if options.no_rewrite && options.request.is_empty() {
        let circuit = written.clone();
        let (rewriting, has_evidence) = (None, false);
        return Ok(Compiled { written, circuit, parameters, has_evidence, rewriting, warnings });
    }
    let how = rewrite::Options::for_target(Target::CPU);
    let rewritten = rewrite::rewrite(written.clone(), &options.request, &how)?;
    let (circuit, rewriting) = (rewritten.circuit, Some(rewritten.report));
    let has_evidence = !options.request.evidence.is_empty();
    Ok(Compiled { written, circuit, parameters, has_evidence, rewriting, warnings })
}
