//! From a description to a circuit: `Spec` → [`Circuit`] and the places of its nodes.
//!
//! Each structure of the language is one file. What a structure finds wrong it reports without
//! stopping; if the circuit could be built all the same, or in part, validation looks for the faults
//! in what there is, leaving out those that only follow from the first. [`load`] is the way from a
//! text to a valid circuit, all faults of all stages in one list.

pub mod chow_liu;
mod dist;
mod einet;
mod foreign;
mod graph;
mod grid;
mod hclt;
mod hidden;
mod hmm;
mod leaves;
mod parameterizer;
mod poon_domingos;
mod quad_tree;
mod rat_spn;
mod vtree;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::parameterizer::parameterizer;
use crate::circuit::{Circuit, SourceMap, ValidCircuit, smooth, validate, validate_in_doubt};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic, Diagnostics, Source};
use crate::ids::{IdVec, NodeId, VarId};
use crate::import::{Format, Models};
use crate::spec::{Spec, StructureSpec, read};
use crate::variables::Variables;

/// Nodes of a circuit at most.
const MOST_NODES: u64 = 1 << 28;
/// Weights, and leaf parameters, of a circuit at most.
const MOST_NUMBERS: u64 = 1 << 31;

/// A circuit that may lack something.
struct Draft {
    circuit: Circuit,
    map: SourceMap,
    /// Nodes of which the text has a fault, so that nothing should be concluded from them.
    doubtful: IdVec<NodeId, bool>,
    /// Whether the root is what the author meant.
    root_known: bool,
    faults: Diagnostics,
}

impl Draft {
    /// A circuit that lacks nothing, and of which no text spells out a node.
    fn whole(circuit: Circuit) -> Self {
        let doubtful = IdVec::filled(false, circuit.node_count());
        let (map, faults) = (SourceMap::default(), Diagnostics::new());
        Draft { circuit, map, doubtful, root_known: true, faults }
    }
}

/// A text that was read, built and validated.
#[derive(Debug)]
pub struct Loaded {
    /// The description.
    pub spec: Spec,
    /// The circuit.
    pub circuit: ValidCircuit,
    /// Names and places of its nodes.
    pub map: SourceMap,
    /// Sums that were made smooth, each with the variables that were multiplied in.
    pub smoothed: Vec<(NodeId, Vec<VarId>)>,
    /// Of a formula in another format, its models.
    pub models: Option<Models>,
    /// What is worth saying and no error.
    pub warnings: Diagnostics,
}

/// A description in which everything stands that it takes from elsewhere: the tree that a structure
/// learns from data, which `data` is asked for if they are needed, and the contents of a file it names.
/// A faulty description comes back as it is, for [`load`] to find its faults.
///
/// # Errors
/// What `data` returns, and E0001 for a file that cannot be read.
pub fn resolve(
    source: &Source,
    data: impl FnOnce(&Variables) -> Result<Option<Dataset>, Diagnostic>,
) -> Result<Source, Diagnostic> {
    if Format::of(Path::new(&source.name)).is_some() {
        return Ok(source.clone());
    }
    let (Some(spec), faults) = read(source) else { return Ok(source.clone()) };
    let Some(structure) = spec.structure.filter(|_| !faults.has_errors()) else {
        return Ok(source.clone());
    };
    let text = match &structure.value {
        StructureSpec::Hclt(hclt) if hclt.tree.is_none() => {
            data(&spec.variables.value)?.map(|data| hclt::learned(hclt, &data))
        }
        StructureSpec::Vtree(vtree) => vtree::inlined(vtree, source)?,
        _ => None,
    };
    let Some(text) = text else { return Ok(source.clone()) };
    let (before, after) = (structure.span.start as usize, structure.span.end as usize);
    let text = [&source.text[..before], &text, &source.text[after..]].concat();
    Ok(Source::new(source.name.clone(), text))
}

/// Builds the circuit that `spec`, read from `source`, describes. It may still be faulty in the ways
/// that validation knows.
///
/// # Errors
/// All faults, those that validation finds in the remaining circuit included.
pub fn lower(spec: &Spec, source: &Source) -> Result<(Circuit, SourceMap), Diagnostics> {
    match draft(spec, source) {
        Ok(draft) if draft.faults.has_errors() => Err(all_faults(draft)),
        Ok(draft) => Ok((draft.circuit, draft.map)),
        Err(faults) => Err(faults),
    }
}

/// Reads, builds and validates a description, or a circuit in another format by the extension of the
/// source's name. With `make_smooth`, sums that are not smooth are made
/// so where that is possible.
///
/// # Errors
/// Every fault of every stage, in the order of the text.
pub fn load(source: &Source, make_smooth: bool) -> Result<Loaded, Diagnostics> {
    if let Some(format) = Format::of(Path::new(&source.name)) {
        return foreign::load(source, format, make_smooth);
    }
    let (spec, mut found) = read(source);
    let built = spec.as_ref().map(|spec| draft(spec, source));
    match (spec, built) {
        (Some(spec), Some(Ok(draft))) if !found.has_errors() && !draft.faults.has_errors() => {
            let (circuit, smoothed) = match make_smooth {
                true => smooth(draft.circuit),
                false => (draft.circuit, Vec::new()),
            };
            let (circuit, warnings) = validate(circuit, &draft.map)?;
            let circuit = match foreign::is_declared(&spec) {
                true => circuit.declare_deterministic(),
                false => circuit,
            };
            found.extend(warnings);
            found.sort();
            Ok(Loaded { spec, circuit, map: draft.map, smoothed, models: None, warnings: found })
        }
        (_, Some(Ok(draft))) => {
            found.extend(all_faults(draft));
            found.sort();
            Err(found)
        }
        (_, Some(Err(faults))) => {
            // Nothing was learned from the data of a faulty description.
            let follows = |fault: &Diagnostic| found.has_errors() && fault.code == Code::E0118;
            let own: Diagnostics = faults.iter().filter(|fault| !follows(fault)).cloned().collect();
            found.extend(own);
            found.sort();
            Err(found)
        }
        (_, None) => {
            found.sort();
            Err(found)
        }
    }
}

fn draft(spec: &Spec, source: &Source) -> Result<Draft, Diagnostics> {
    let Some(structure) = &spec.structure else { return Err(Diagnostics::new()) };
    let mut draft = match &structure.value {
        StructureSpec::RatSpn(rat) => rat_spn::build(spec, rat, structure.span)?,
        StructureSpec::Einet(einet) => einet::build(spec, einet, structure.span)?,
        StructureSpec::PoonDomingos(pd) => poon_domingos::build(spec, pd, structure.span)?,
        StructureSpec::QuadTree(tree) => quad_tree::build(spec, tree, structure.span)?,
        StructureSpec::Hmm(hmm) => hmm::build(spec, hmm, structure.span)?,
        StructureSpec::Hclt(hclt) => hclt::build(spec, hclt, structure.span)?,
        StructureSpec::Vtree(vtree) => vtree::build(spec, vtree, structure.span, source)?,
        StructureSpec::Graph(graph) => graph::build(spec, graph, structure.span),
        StructureSpec::Import(import) => foreign::build(spec, import, structure.span, source)?,
    };
    draft.map.source = Some(source.clone());
    draft.map.structure = Some(structure.span);
    Ok(draft)
}

fn all_faults(draft: Draft) -> Diagnostics {
    let mut faults = draft.faults;
    let root_known = draft.root_known;
    faults.extend(validate_in_doubt(&draft.circuit, &draft.map, &draft.doubtful, root_known));
    faults.sort();
    faults
}

/// What is wrong with a circuit of so many nodes, and of so many weights and leaf parameters.
fn check_size(nodes: u128, numbers: u128) -> Option<Diagnostic> {
    if nodes > u128::from(MOST_NODES) {
        Some(too_large("nodes", nodes, MOST_NODES))
    } else if numbers > u128::from(MOST_NUMBERS) {
        Some(too_large("weights and leaf parameters", numbers, MOST_NUMBERS))
    } else {
        None
    }
}

/// A circuit beyond the memory of any machine this is meant for.
fn too_large(what: &str, count: u128, most: u64) -> Diagnostic {
    let message = format!("the circuit would have {count:.2e} {what}", count = count as f64);
    let help = format!("at most {:.2e} are allowed; lower its `units` or its size", most as f64);
    Diagnostic::new(Code::E0105, message).help(help)
}
