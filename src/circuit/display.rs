//! The text of a circuit: a node a line, inputs before the nodes that use them.

use std::fmt;

use super::{Op, ValidCircuit};
use crate::ids::NodeId;

/// Nodes printed at most; a larger circuit says how many it leaves out.
const MOST: usize = 400;

impl fmt::Display for ValidCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "circuit variables={} nodes={} edges={} root={}",
            self.variables().len(),
            self.node_count(),
            self.edge_count(),
            self.root()
        )?;
        let order = self.order();
        for &node in order.iter().take(MOST) {
            write_node(f, self, node)?;
        }
        if order.len() > MOST {
            writeln!(f, "… {} more nodes", order.len() - MOST)?;
        }
        Ok(())
    }
}

fn write_node(f: &mut fmt::Formatter<'_>, circuit: &ValidCircuit, node: NodeId) -> fmt::Result {
    write!(f, "{node} ")?;
    match circuit.op(node) {
        Op::Leaf { var, dist } => {
            let family = circuit.dists()[dist].family.name();
            write!(f, "leaf {} {family} {dist}", circuit.variables().name(var))?;
        }
        Op::Given { dist, value } => write!(f, "given {dist} = {value}")?,
        Op::One => write!(f, "one")?,
        Op::Product => write!(f, "product")?,
        Op::Kronecker => write!(f, "kronecker")?,
        Op::Sum { weights } => write!(f, "sum {weights}")?,
        Op::Mixing { weights } => write!(f, "mixing {weights}")?,
    }
    let inputs: Vec<String> = circuit.inputs(node).map(|input| input.to_string()).collect();
    if !inputs.is_empty() {
        write!(f, "({})", inputs.join(", "))?;
    }
    writeln!(
        f,
        " units={} scope={}",
        circuit.units(node),
        circuit.scopes().size(circuit.scope(node))
    )
}
