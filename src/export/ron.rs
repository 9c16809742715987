//! A circuit spelled out in RON, node by node.

use std::fmt::Write;

use super::unfit;
use crate::circuit::{Op, ValidCircuit, WeightSource, Weights};
use crate::diag::Diagnostic;
use crate::ids::{DistId, NodeId, VarId, WeightsId};
use crate::leaf::{Dist, Family};
use crate::variables::VarKind;

/// The text of a circuit. Reading it gives the same function, and the same parameters to learn, if `learning`
/// has the fields that say how those are made, with the texts of their values: see
/// [`learning`](crate::spec::learning).
///
/// # Errors
/// E0704 for what the language cannot say: values or ones in place of leaves, tied weights that are
/// learned, and sum layers that are learned but not by the circuit's parameterizer.
pub fn ron(
    circuit: &ValidCircuit,
    name: &str,
    learning: &[(&str, &str)],
) -> Result<String, Diagnostic> {
    let mut users = vec![0u32; circuit.weights().len()];
    for &node in circuit.order() {
        if let Some(weights) = circuit.op(node).weights() {
            users[weights.0 as usize] += 1;
        }
    }
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(out, "(\n    name: {name:?},\n    variables: {},", variables(circuit));
    let _ = writeln!(out, "    structure: Graph(\n        nodes: {{");
    for &node in circuit.order() {
        let text = self::node(circuit, node, &users)?;
        let _ = writeln!(out, "            \"{node}\": {text},");
    }
    let _ = writeln!(out, "        }},\n        root: \"{}\",\n    ),", circuit.root());
    for (field, value) in learning {
        let _ = writeln!(out, "    {field}: {value},");
    }
    out.push_str(")\n");
    Ok(out)
}

fn variables(circuit: &ValidCircuit) -> String {
    let variables = circuit.variables();
    let named: Vec<String> = variables
        .ids()
        .map(|var| {
            let kind = match variables.kind(var) {
                VarKind::BINARY => "Binary".into(),
                VarKind::Categorical { states } => format!("Categorical({states})"),
                VarKind::Real => "Real".into(),
            };
            format!("(name: {:?}, kind: {kind})", variables.name(var))
        })
        .collect();
    let plain = |var: VarId| {
        variables.kind(var) == VarKind::BINARY && variables.name(var) == var.to_string()
    };
    match variables.ids().all(plain) {
        true => format!("Binary({})", variables.len()),
        false => format!("Named([{}])", named.join(", ")),
    }
}

fn node(circuit: &ValidCircuit, node: NodeId, users: &[u32]) -> Result<String, Diagnostic> {
    let inputs: Vec<String> = circuit.inputs(node).map(|input| format!("\"{input}\"")).collect();
    let inputs = inputs.join(", ");
    Ok(match circuit.op(node) {
        Op::Leaf { var, dist } => leaf(circuit, var, dist),
        Op::Given { .. } | Op::One => {
            return Err(unfit(format!("`{node}` stands for evidence, which RON does not hold")));
        }
        Op::Product => format!("Product([{inputs}])"),
        Op::Kronecker => format!("Kronecker([{inputs}])"),
        Op::Sum { weights } => {
            let open = matches!(circuit.weights()[weights].source, WeightSource::Direct);
            let given = match open {
                true => {
                    return Err(unfit(format!("`{node}` is learned by itself, not as a layer")));
                }
                false => self::weights(circuit, node, weights, users)?,
            };
            format!("Sum(inputs: [{inputs}], units: {}{given})", circuit.units(node))
        }
        Op::Mixing { weights } => {
            format!("Mixing(inputs: [{inputs}]{})", self::weights(circuit, node, weights, users)?)
        }
    })
}

fn weights(
    circuit: &ValidCircuit,
    node: NodeId,
    id: WeightsId,
    users: &[u32],
) -> Result<String, Diagnostic> {
    let Weights { cols, source, .. } = &circuit.weights()[id];
    let (values, frozen) = match source {
        WeightSource::Frozen(values) => (values, ", frozen: true"),
        _ if users[id.0 as usize] > 1 => {
            return Err(unfit(format!("`{node}` shares weights that are learned")));
        }
        WeightSource::Given(values) => (values, ""),
        WeightSource::Parameterizer | WeightSource::Direct => return Ok(String::new()),
    };
    let rows: Vec<String> =
        values.chunks_exact(*cols as usize).map(|row| format!("{row:?}")).collect();
    Ok(format!(", weights: [{}]{frozen}", rows.join(", ")))
}

fn leaf(circuit: &ValidCircuit, var: VarId, dist: DistId) -> String {
    let Dist { family, units, given, frozen } = &circuit.dists()[dist];
    let name = circuit.variables().name(var);
    let mut arguments = match (family, given) {
        (Family::Indicators { .. }, _) => {
            return format!("Leaf(var: {name:?}, dist: Indicators)");
        }
        (_, None) => Vec::new(),
        (Family::Poisson, Some(rate)) => vec![format!("rate: {rate:?}")],
        (Family::Bernoulli | Family::Binomial { .. }, Some(p)) => vec![format!("p: {p:?}")],
        (Family::Categorical { states }, Some(p)) => {
            let rows: Vec<String> =
                p.chunks_exact(*states as usize).map(|row| format!("{row:?}")).collect();
            vec![format!("p: [{}]", rows.join(", "))]
        }
        (Family::Gaussian { .. }, Some(pairs)) => {
            let part = |at: usize| pairs.iter().skip(at).step_by(2).copied().collect::<Vec<f64>>();
            vec![format!("mean: {:?}, var: {:?}", part(0), part(1))]
        }
    };
    if let Family::Binomial { trials } = family {
        arguments.push(format!("n: {trials}"));
    }
    if let Family::Gaussian { min_var, max_var } = family {
        arguments.push(format!("min_var: {min_var:?}"));
        if max_var.is_finite() {
            arguments.push(format!("max_var: {max_var:?}"));
        }
    }
    if *frozen {
        arguments.push("frozen: true".into());
    }
    let arguments = arguments.join(", ");
    format!("Leaf(var: {name:?}, dist: {}({arguments}), units: {units})", family.name())
}
