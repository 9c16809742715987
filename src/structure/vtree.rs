//! A circuit that splits the variables as a vtree does, so that it is structured-decomposable by it.
//!
//! Each node of the vtree is a region of k units: a leaf of the vtree a region of one variable, every
//! other node a Hadamard product of its two children under a sum layer, that of the root of one unit.
//!
//! [`VtreeFile`] says how a vtree is written.

use std::collections::HashMap;
use std::path::Path;

use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::{Code, Diagnostic, Diagnostics, Place, Source, Span};
use crate::ids::NodeId;
use crate::import::{self, Vnode, VtreeFile};
use crate::spec::{Spanned, Spec, VtreeSpec, VtreeText};

/// Builds the circuit. `source` is the description, which a path is relative to.
///
/// # Errors
/// A file that cannot be read, what is no vtree over these variables, every kind of variable that the
/// leaves do not suit, and a size beyond all memory.
pub(super) fn build(
    spec: &Spec,
    vtree: &VtreeSpec,
    span: Span,
    source: &Source,
) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, vtree.units, &mut faults);
    let (n, k) = (spec.variables.value.len() as u128, u128::from(vtree.units));
    if let Some(fault) = check_size(4 * n, n * (kinds.most_numbers(k) + k * k)) {
        faults.push(fault.at(span));
    }
    let tree = faults.unless_errors(parsed(vtree, n as usize, source))?;
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let mut regions: HashMap<u64, NodeId> = HashMap::new();
    let mut nodes = tree.nodes().peekable();
    while let Some((id, node)) = nodes.next() {
        let (below, units) = match node {
            Vnode::Leaf(var) => (leaves.region(&mut circuit, var, vtree.units), None),
            Vnode::Split(left, right) => {
                (circuit.product(&[regions[&left], regions[&right]]), Some(vtree.units))
            }
        };
        let units = if nodes.peek().is_none() { Some(1) } else { units };
        let region = match units {
            Some(units) => circuit.sum(units, &[below], WeightSource::Parameterizer),
            None => below,
        };
        regions.insert(id, region);
        circuit.set_root(region);
    }
    Ok(Draft::whole(circuit))
}

/// The text of the structure with the vtree in it. `None` if it is there already.
///
/// # Errors
/// E0001 or E0002 if the file cannot be read.
pub(super) fn inlined(vtree: &VtreeSpec, source: &Source) -> Result<Option<String>, Diagnostic> {
    let VtreeText::File(file) = &vtree.vtree else { return Ok(None) };
    let text = opened(file, source)?.text;
    Ok(Some(format!("Vtree(units: {}, text: {text:?})", vtree.units)))
}

/// The file that a description names.
fn opened(file: &Spanned<String>, source: &Source) -> Result<Source, Diagnostic> {
    let path = Path::new(&source.name).parent().unwrap_or(Path::new("")).join(&file.value);
    import::open(&path).map_err(|fault| {
        let message = format!("`{}`: {}", path.display(), fault.message);
        Diagnostic::new(fault.code, message)
            .at(file.span)
            .help("a path is relative to the description's")
    })
}

/// The vtree, over as many variables as the circuit has.
///
/// # Errors
/// E0001 or E0002 if the file cannot be read, E0117 for other variables, and what [`VtreeFile::read`]
/// finds: in the file, or at the description's text with the line in the message.
fn parsed(vtree: &VtreeSpec, variables: usize, source: &Source) -> Result<VtreeFile, Diagnostic> {
    let (tree, place) = match &vtree.vtree {
        VtreeText::File(file) => (VtreeFile::read(&opened(file, source)?), file.span),
        VtreeText::Here(text) => {
            let tree = VtreeFile::read(&Source::new("", text.value.as_str()));
            (tree.map_err(|fault| within(fault, text.span)), text.span)
        }
    };
    let tree = tree?;
    if tree.variables() == variables {
        return Ok(tree);
    }
    let message =
        format!("the vtree is over {} variables, the circuit over {variables}", tree.variables());
    Err(Diagnostic::new(Code::E0117, message).at(place).help("describe as many variables"))
}

/// A fault of a vtree that is one text of a description. A text in RON is written with escapes, so
/// that the fault's own bytes are not to be had; its line is told instead.
fn within(fault: Diagnostic, span: Span) -> Diagnostic {
    let line = match fault.place {
        Place::File { row: Some(row), .. } => format!("line {row} of the vtree: "),
        _ => String::new(),
    };
    Diagnostic { message: line + &fault.message, place: Place::Span(span), ..fault }
}
