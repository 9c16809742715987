//! `pcc check`: every fault of a circuit, or its properties, sizes and exact queries.

use serde::Serialize;

use super::answer::{Answer, Table, thousands};
use super::args::Check;
use super::draw::to_json;
use super::failure::Failure;
use super::load;
use crate::circuit::ValidCircuit;
use crate::diag::{Code, Diagnostics, Source};
use crate::query;
use crate::structure::{self, Loaded};

/// What programs read.
#[derive(Serialize)]
struct Report {
    /// Null where it was not found out, like all else.
    smooth: Option<bool>,
    decomposable: Option<bool>,
    structured_decomposable: Option<bool>,
    deterministic: &'static str,
    nodes: Option<usize>,
    edges: Option<usize>,
    variables: Option<usize>,
    faults: serde_json::Value,
}

/// Checks the circuit. A faulty one is an answer too, with exit code 1.
///
/// # Errors
/// When the file cannot be read.
pub fn run(args: &Check) -> Result<Answer, Failure> {
    let source = match &args.data {
        Some(data) => load::whole(&args.circuit, Some(data))?,
        None => load::source(&args.circuit)?,
    };
    match structure::load(&source, args.smooth) {
        Ok(loaded) => accepted(&source, loaded),
        Err(faults) => refused(&source, faults),
    }
}

fn accepted(source: &Source, loaded: Loaded) -> Result<Answer, Failure> {
    let circuit = &loaded.circuit;
    let properties = circuit.properties();
    let mut faults = loaded.warnings.clone();
    if let Err(more) = load::learns(&loaded.spec, circuit, &loaded.map) {
        faults.extend(more);
        faults.sort();
    }
    let report = Report {
        smooth: Some(true),
        decomposable: Some(true),
        structured_decomposable: Some(properties.structured_decomposable),
        deterministic: properties.deterministic.name(),
        nodes: Some(circuit.node_count()),
        edges: Some(circuit.edge_count()),
        variables: Some(circuit.variables().len()),
        faults: to_json(&faults, Some(source)),
    };
    if faults.has_errors() {
        return Ok(Answer::new(&report)?.warnings(faults, source).refusing(true));
    }
    let mut table = described(&loaded).to_string();
    table.push_str(&smoothed(&loaded));
    table.push('\n');
    table.push_str(&queries(circuit));
    if let Some(vtree) = circuit.vtree() {
        table.push_str(&format!("\nvtree\n{vtree}"));
    }
    Ok(Answer::new(&report)?.table(table).warnings(faults, source))
}

fn refused(source: &Source, faults: Diagnostics) -> Result<Answer, Failure> {
    let has = |code| faults.iter().any(|fault| fault.code == code);
    // With a fault of its text, a circuit was built in part at the most, and what is proven of a part is
    // not proven of all.
    let is_whole = faults.iter().all(|fault| fault.code.is_of_circuit());
    let proven = |code| if has(code) { Some(false) } else { is_whole.then_some(true) };
    let report = Report {
        smooth: proven(Code::E0201),
        decomposable: proven(Code::E0202),
        structured_decomposable: None,
        deterministic: "unknown",
        nodes: None,
        edges: None,
        variables: None,
        faults: to_json(&faults, Some(source)),
    };
    Ok(Answer::new(&report)?.warnings(faults, source).refusing(true))
}

fn described(loaded: &Loaded) -> Table {
    let circuit = &loaded.circuit;
    let properties = circuit.properties();
    Table::new()
        .row([&"circuit", &loaded.spec.name])
        .row([&"variables", &thousands(circuit.variables().len())])
        .row([&"nodes", &thousands(circuit.node_count())])
        .row([&"edges", &thousands(circuit.edge_count())])
        .row([&"smooth", &"proven"])
        .row([&"decomposable", &"proven"])
        .row([
            &"structured-decomposable",
            &if properties.structured_decomposable { "proven" } else { "no" },
        ])
        .row([&"deterministic", &properties.deterministic.name()])
}

/// A line for each sum that `--smooth` mended.
fn smoothed(loaded: &Loaded) -> String {
    let line = |(node, variables): &(_, Vec<_>)| {
        let names: Vec<_> =
            variables.iter().map(|&var| loaded.circuit.variables().name(var)).collect();
        format!("made smooth: `{}`, by {}\n", loaded.map.name(*node), names.join(", "))
    };
    loaded.smoothed.iter().map(line).collect()
}

fn queries(circuit: &ValidCircuit) -> String {
    query::table(circuit).to_string()
}
