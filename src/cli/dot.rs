//! A circuit as a graph for Graphviz: `pcc compile … --emit dot | dot -Tsvg`.

use std::fmt::Write as _;

use crate::circuit::{Op, SourceMap, ValidCircuit};
use crate::ids::NodeId;

/// The text of the graph; edges run from a node to its inputs.
pub fn dot(circuit: &ValidCircuit, map: &SourceMap) -> String {
    let mut text = String::from("digraph circuit {\n  node [fontname=\"sans-serif\"];\n");
    for &node in circuit.order() {
        write_node(&mut text, circuit, map, node);
        for input in circuit.inputs(node) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {node} -> {input};");
        }
    }
    text.push_str("}\n");
    text
}

fn write_node(text: &mut String, circuit: &ValidCircuit, map: &SourceMap, node: NodeId) {
    let (shape, what) = match circuit.op(node) {
        Op::Leaf { var, dist } => {
            let family = circuit.dists()[dist].family.name();
            ("box", format!("{} {family}", circuit.variables().name(var)))
        }
        Op::Given { value, .. } => ("box", format!("= {value}")),
        Op::One => ("box", "1".to_string()),
        Op::Product => ("circle", "×".to_string()),
        Op::Kronecker => ("circle", "⊗".to_string()),
        Op::Sum { weights } => ("circle", format!("+ {weights}")),
        Op::Mixing { weights } => ("circle", format!("mix {weights}")),
    };
    let units = match circuit.units(node) {
        1 => String::new(),
        units => format!("\n{units} units"),
    };
    let label = quoted(&format!("{}\n{what}{units}", map.name(node)));
    let _ = writeln!(text, "  {node} [shape={shape}, label={label}];");
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Circuit, WeightSource, validate};
    use crate::ids::VarId;
    use crate::leaf::Dist;
    use crate::variables::Variables;

    #[test]
    fn a_mixture_is_drawn_from_its_root_to_its_leaves() {
        let mut circuit = Circuit::new(Variables::binary(1));
        let dist = circuit.add_dist(Dist::indicators(2));
        let leaf = circuit.leaf(VarId(0), dist);
        let root = circuit.sum(1, &[leaf], WeightSource::Parameterizer);
        circuit.set_root(root);
        let map = SourceMap::default();
        let text = match validate(circuit, &map) {
            Ok((circuit, _)) => dot(&circuit, &map),
            Err(faults) => faults.to_string(),
        };
        insta::assert_snapshot!(text, @r#"
        digraph circuit {
          node [fontname="sans-serif"];
          n0 [shape=box, label="n0\nx0 Indicators\n2 units"];
          n1 [shape=circle, label="n1\n+ w0"];
          n1 -> n0;
        }
        "#);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\n""#);
    }
}
