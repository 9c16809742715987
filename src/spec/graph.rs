//! A circuit written out node by node. Each node is read by itself, so that every faulty one is
//! reported.

use super::leaves::{dist, matrix};
use super::reader::{Fields, Reader, Variant};
use super::tree::Tree;
use super::{Graph, NodeSpec, OpSpec, Spanned, WeightsSpec};
use crate::diag::{Code, Diagnostic};

/// Units of one node at most.
pub(super) const MOST_UNITS: u32 = 65_536;

const OPS: &[&str] = &["Leaf", "Product", "Kronecker", "Sum", "Mixing"];

/// `Graph(nodes: {…}, root: "…")`.
pub(super) fn graph(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Graph> {
    let fields = reader.fields_of(variant, &["nodes", "root"])?;
    let root = reader.required(&fields, "root").and_then(|tree| reader.text(tree, "root"));
    let tree = reader.required(&fields, "nodes")?;
    let again = |name: &str| (Code::E0112, format!("node `{name}` is defined twice"));
    let entries = reader.map(tree, "nodes", "a node's name", again)?;
    let mut nodes = Vec::with_capacity(entries.len());
    for (name, tree) in entries {
        reader.node = Some(name.value.clone());
        let op = op(reader, tree);
        nodes.push(NodeSpec { name, op });
    }
    reader.node = None;
    Some(Graph { nodes, root })
}

fn op(reader: &mut Reader, tree: &Tree<'_>) -> Option<OpSpec> {
    let variant = reader.variant(tree, "kind of node", OPS)?;
    match variant.name {
        "Leaf" => leaf(reader, &variant),
        "Product" => product_inputs(reader, &variant).map(OpSpec::Product),
        "Kronecker" => product_inputs(reader, &variant).map(OpSpec::Kronecker),
        "Sum" => sum(reader, &variant),
        _ => mixing(reader, &variant),
    }
}

fn leaf(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<OpSpec> {
    let fields = reader.fields_of(variant, &["var", "dist", "units"])?;
    let var = reader.required(&fields, "var").and_then(|tree| reader.text(tree, "var"));
    let dist = reader.required(&fields, "dist").and_then(|tree| dist(reader, tree));
    let units = match fields.get("units") {
        Some(tree) => {
            let units = reader.whole(tree, "units", 1..=MOST_UNITS)?;
            Some(Spanned::new(units, tree.span))
        }
        None => None,
    };
    Some(OpSpec::Leaf { var: var?, dist: dist?, units })
}

fn product_inputs(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Vec<Spanned<String>>> {
    let tree = reader.only(variant, "inputs")?;
    inputs(reader, tree)
}

fn inputs(reader: &mut Reader, tree: &Tree<'_>) -> Option<Vec<Spanned<String>>> {
    reader.each(tree, "the list of inputs", |reader, item| reader.text(item, "an input"))
}

fn sum(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<OpSpec> {
    let fields = reader.fields_of(variant, &["inputs", "units", "weights", "frozen"])?;
    let inputs = reader.required(&fields, "inputs").and_then(|tree| inputs(reader, tree));
    let units = match fields.get("units") {
        Some(tree) => reader.whole(tree, "units", 1..=MOST_UNITS),
        None => Some(1),
    };
    let weights = weights(reader, variant, &fields);
    Some(OpSpec::Sum { inputs: inputs?, units: units?, weights: weights? })
}

fn mixing(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<OpSpec> {
    let fields = reader.fields_of(variant, &["inputs", "weights", "frozen"])?;
    let inputs = reader.required(&fields, "inputs").and_then(|tree| inputs(reader, tree));
    let weights = weights(reader, variant, &fields);
    Some(OpSpec::Mixing { inputs: inputs?, weights: weights? })
}

/// The given weights, if any; the outer `None` if they are faulty.
fn weights(
    reader: &mut Reader,
    variant: &Variant<'_, '_>,
    fields: &Fields<'_, '_>,
) -> Option<Option<WeightsSpec>> {
    let frozen = match fields.get("frozen") {
        Some(tree) => reader.flag(tree, "frozen")?,
        None => false,
    };
    match fields.get("weights") {
        Some(tree) => {
            let rows = matrix(reader, tree, "weights")?;
            Some(Some(WeightsSpec { rows, frozen, span: tree.span }))
        }
        None if frozen => {
            let message = format!("a frozen {} lacks its `weights`", variant.name);
            let fault = Diagnostic::new(Code::E0103, message).at(variant.tree.span);
            reader.report(fault.help("give `weights`, or leave `frozen` out"));
            None
        }
        None => Some(None),
    }
}
