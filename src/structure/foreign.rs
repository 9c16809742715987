//! Circuits in other people's formats: a file in place of a description.

use std::path::Path;

use super::{Draft, Loaded};
use crate::circuit::{SourceMap, ValidCircuit, smooth, validate};
use crate::diag::{Code, Diagnostic, Diagnostics, Place, Source, Span};
use crate::ids::IdVec;
use crate::import::{self, Companions, Format};
use crate::sector::SectorKind;
use crate::spec::{Import, LeavesSpec, ParameterizerSpec, Spanned, Spec, StructureSpec};
use crate::variables::Variables;

/// Reads and validates a circuit, with the files that stand beside it.
///
/// # Errors
/// Every fault of the first stage that finds one; E0804 for a formula that nothing satisfies.
pub(super) fn load(
    source: &Source,
    format: Format,
    make_smooth: bool,
) -> Result<Loaded, Diagnostics> {
    let companions = Companions::beside(Path::new(&source.name))?;
    let imported = import::read(format, source, &companions)?;
    let Some(circuit) = imported.circuit else { return Err(unsatisfied(source).into()) };
    let (circuit, smoothed) = match make_smooth {
        true => smooth(circuit),
        false => (circuit, Vec::new()),
    };
    let (circuit, warnings) = validate(circuit, &imported.map)?;
    let circuit = match imported.deterministic {
        true => circuit.declare_deterministic(),
        false => circuit,
    };
    let spec = spec(source, &circuit);
    let (map, models): (SourceMap, _) = (imported.map, imported.models);
    Ok(Loaded { spec, circuit, map, smoothed, models, warnings })
}

/// Builds the circuit of a file that a description names.
///
/// # Errors
/// E0117 for a file of no known format or of other variables; every fault of the file, told in it;
/// E0804 for a formula that nothing satisfies.
pub(super) fn build(
    spec: &Spec,
    import: &Import,
    span: Span,
    source: &Source,
) -> Result<Draft, Diagnostics> {
    let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
    let path = folder.join(&import.file.value);
    let Some(format) = Format::of(&path) else {
        let message = format!("`{}` is of no format that is read", import.file.value);
        let fault = Diagnostic::new(Code::E0117, message).at(import.file.span);
        return Err(fault.help("formats are told by .psdd, .sdd, .nnf, .spn and .bin").into());
    };
    let mut companions = Companions::beside(&path)?;
    let open = |named: &Spanned<String>| import::open(&folder.join(&named.value));
    if let Some(vtree) = &import.vtree {
        companions.vtree = Some(open(vtree)?);
    }
    if let Some(weights) = &import.weights {
        companions.weights = Some(open(weights)?);
    }
    companions.variables = Some(spec.variables.value.clone());
    let file = import::open(&path)?;
    let imported = import::read(format, &file, &companions);
    let imported = imported.map_err(|faults| elsewhere(faults, &file, span))?;
    let Some(circuit) = imported.circuit else {
        let message = format!("nothing satisfies the formula of `{}`", import.file.value);
        return Err(Diagnostic::new(Code::E0804, message).at(import.file.span).into());
    };
    // The nodes keep their names; as places the description has one only.
    let names = imported.map.nodes.into_iter();
    let nodes = names.map(|(node, (name, _))| (node, (name, span))).collect();
    Ok(Draft {
        doubtful: IdVec::filled(false, circuit.node_count()),
        circuit,
        map: SourceMap { nodes, ..SourceMap::default() },
        root_known: true,
        faults: Diagnostics::new(),
    })
}

/// Faults of a file, told by its name and their lines; those without a place stand at the description.
fn elsewhere(faults: Diagnostics, file: &Source, span: Span) -> Diagnostics {
    let told = |fault: &Diagnostic| match fault.place {
        Place::Span(at) => {
            let (line, column) = file.line_column(at.start);
            fault.clone().in_row(&file.name, line, Some(column))
        }
        Place::None => fault.clone().at(span),
        Place::File { .. } => fault.clone(),
    };
    faults.iter().map(told).map(|fault| Diagnostic { labels: Vec::new(), ..fault }).collect()
}

/// Whether a description's circuit is deterministic by the word of the format it is in.
pub(super) fn is_declared(spec: &Spec) -> bool {
    match spec.structure.as_ref().map(|structure| &structure.value) {
        Some(StructureSpec::Import(import)) => {
            Format::of(Path::new(&import.file.value)).is_some_and(Format::is_deterministic)
        }
        _ => false,
    }
}

fn unsatisfied(source: &Source) -> Diagnostic {
    let message = "nothing satisfies the formula: it has no models, so no distribution over them";
    let end = source.text.trim_end().len();
    Diagnostic::new(Code::E0804, message)
        .at(Span::new(end.saturating_sub(1), end))
        .help("`pcc inspect` says how many models a formula has")
}

/// A description that says no more than the file does.
fn spec(source: &Source, circuit: &ValidCircuit) -> Spec {
    let at = Span::default();
    let variables: Variables = circuit.variables().clone();
    let stem = Path::new(&source.name).file_stem();
    Spec {
        name: stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        variables: Spanned::new(variables, at),
        structure: None,
        leaves: LeavesSpec::default(),
        parameterizer: Spanned::new(ParameterizerSpec::default(), at),
        sectors: Spanned::new(SectorKind::default(), at),
        groups: Vec::new(),
    }
}
