//! What a figure says in words.

use crate::circuit::{Op, ValidCircuit};
use crate::ids::{Id, NodeId, ScopeId};

/// Variables named one by one.
const NAMED: usize = 4;
/// Characters of a line at most.
const LONGEST: usize = 34;

/// The size of a circuit.
pub(super) fn size(circuit: &ValidCircuit) -> String {
    format!(
        "{}, {}, {}",
        counted(circuit.variables().len(), "variable"),
        counted(circuit.order().len(), "node"),
        counted(circuit.edge_count(), "edge")
    )
}

/// `1 unit`, `5 units`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(count)) }
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A line that is not too long.
pub(super) fn short(line: String) -> String {
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// A scope by the names of its variables, runs of neighbours by the first and the last; by their
/// number, if that is long.
pub(super) fn scope(circuit: &ValidCircuit, scope: ScopeId) -> String {
    let size = circuit.scopes().size(scope);
    if size == circuit.variables().len() && size > NAMED {
        return format!("all {} variables", grouped(size));
    }
    let variables = circuit.scopes().variables(scope);
    let mut parts: Vec<String> = Vec::new();
    for run in variables.chunk_by(|a, b| a.index() + 1 == b.index()) {
        let name = |at: usize| circuit.variables().name(run[at]).into_owned();
        match run.len() {
            1..NAMED => parts.extend((0..run.len()).map(name)),
            length => parts.push(format!("{} … {}", name(0), name(length - 1))),
        }
    }
    let text = format!("{{{}}}", parts.join(", "));
    if parts.len() > NAMED || text.chars().count() > LONGEST {
        return counted(size, "variable");
    }
    text
}

/// What a node is, in a word or two.
pub(super) fn operation(circuit: &ValidCircuit, node: NodeId) -> String {
    several(circuit, node, 1)
}

/// What so many nodes like this are: `sum 5×2`, `800 sums 5×2`.
pub(super) fn several(circuit: &ValidCircuit, node: NodeId, count: usize) -> String {
    let (what, more) = match circuit.op(node) {
        Op::Leaf { dist, .. } => {
            let family = circuit.dists()[dist].family;
            match (count, family.states()) {
                (1, _) => return family.name().to_string(),
                (_, Some(states)) => ("leaf", format!(": {}, {states} states", family.name())),
                (_, None) => ("leaf", format!(": {}", family.name())),
            }
        }
        Op::Given { .. } => ("given value", String::new()),
        Op::One => ("one", String::new()),
        Op::Product => ("product", String::new()),
        Op::Kronecker => ("Kronecker product", String::new()),
        Op::Sum { weights } => ("sum", format!(" {}", shape(circuit, weights))),
        Op::Mixing { weights } => ("mixing layer", format!(" {}", shape(circuit, weights))),
    };
    match (count, what) {
        (1, _) => format!("{what}{more}"),
        (_, "leaf") => format!("{} leaves{more}", grouped(count)),
        _ => format!("{}{more}", counted(count, what)),
    }
}

/// The shape of a layer's weights.
fn shape(circuit: &ValidCircuit, weights: crate::ids::WeightsId) -> String {
    let weights = &circuit.weights()[weights];
    format!("{}×{}", weights.rows, weights.cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_lines_cut() {
        assert_eq!(counted(1, "node"), "1 node");
        assert_eq!(counted(1_234_567, "node"), "1,234,567 nodes");
        assert_eq!(short("é".repeat(40)), "é".repeat(33) + "…");
        assert_eq!(short("as it is".into()), "as it is");
    }
}
