//! What can be said of a node from its inputs' widths and the kind of its distribution and the shape of its
//! weights.

use super::Check;
use crate::circuit::{Node, Op};
use crate::diag::{Code, Diagnostic};
use crate::ids::{DistId, NodeId, VarId, WeightsId};
use crate::leaf::{Dist, Family};
use crate::variables::VarKind;

impl Check<'_> {
    /// Checks every node by itself, and the width of the root.
    pub(super) fn each_node(&mut self) {
        for node in self.circuit.nodes() {
            let Node { op, units } = self.circuit.node(node);
            match op {
                Op::Leaf { var, dist } => self.leaf(node, var, dist),
                Op::Given { .. } | Op::One => {}
                Op::Product => self.equal_widths(node, units, "product"),
                Op::Kronecker => self.kronecker(node, units),
                Op::Sum { weights } => self.sum(node, units, weights),
                Op::Mixing { weights } => self.mixing(node, units, weights),
            }
        }
        let root = self.circuit.root();
        let units = self.circuit.units(root);
        if self.root_known && !self.doubt[root] && units != 1 {
            let name = self.map.name(root);
            let fault = self
                .fault(Code::E0205, root, format!("the root `{name}` has {units} units, not one"))
                .help("put a sum of one unit over it, or give it one unit");
            self.faults.push(fault);
        }
    }

    fn leaf(&mut self, node: NodeId, var: VarId, dist: DistId) {
        let dist = &self.circuit.dists()[dist];
        let kind = self.circuit.variables().kind(var);
        if !dist.family.suits(kind) {
            let variable = self.circuit.variables().name(var);
            let message = format!("{} does not suit `{variable}`, which is {kind}", describe(dist));
            let fault = self.part_fault(Code::E0301, node, message).help(suitable(kind));
            self.faults.push(fault);
        }
    }

    /// A fault of the distribution or the weights of a node.
    pub(super) fn part_fault(&self, code: Code, node: NodeId, message: String) -> Diagnostic {
        let fault = Diagnostic::new(code, message).node(self.map.name(node));
        fault.at_option(self.map.part_span(node))
    }

    fn has_inputs(&mut self, node: NodeId, what: &str) -> bool {
        let some = self.circuit.inputs(node).next().is_some();
        if !some && !self.doubt[node] {
            let name = self.map.name(node);
            let fault = self.fault(Code::E0206, node, format!("{what} `{name}` has no inputs"));
            self.faults.push(fault.help("name at least one node"));
            self.spread_doubt(std::iter::once(node));
        }
        some
    }

    fn equal_widths(&mut self, node: NodeId, units: u32, what: &str) {
        if !self.has_inputs(node, what) {
            return;
        }
        let Some(first) = self.sure_inputs(node).next() else { return };
        let width = |node| self.circuit.units(node);
        // A node in doubt may have taken its own width from an input in doubt.
        let units = if self.doubt[node] { width(first) } else { units };
        let Some(odd) = self.sure_inputs(node).find(|&input| width(input) != units) else { return };
        let first = if odd == first { node } else { first };
        let (name, a, b) = (self.map.name(node), self.map.name(first), self.map.name(odd));
        let (units_a, units_b) = (units_text(width(first)), units_text(width(odd)));
        let message = format!(
            "the inputs of {what} `{name}` differ in width: `{a}` has {units_a}, `{b}` has {units_b}"
        );
        let mut fault = self.fault(Code::E0203, node, message);
        for (input, units) in [(first, units_a), (odd, units_b)] {
            let place = self.map.nodes.get(&input).map(|&(_, span)| span);
            fault = fault.label(place, units);
        }
        let help = match what {
            "product" => "give the inputs equal `units`, or use Kronecker for all pairs",
            _ => "give the inputs equal `units`",
        };
        self.faults.push(fault.help(help));
    }

    fn kronecker(&mut self, node: NodeId, units: u32) {
        if !self.has_inputs(node, "Kronecker product") || self.doubt[node] {
            return;
        }
        let mut inputs = self.circuit.inputs(node);
        let pairs = inputs.try_fold(1u32, |n, input| n.checked_mul(self.circuit.units(input)));
        if pairs != Some(units) {
            let name = self.map.name(node);
            let message = format!(
                "Kronecker product `{name}` has {}, not as many as its inputs have pairs",
                units_text(units)
            );
            self.faults.push(self.fault(Code::E0203, node, message));
        }
    }

    fn sum(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        if self.has_inputs(node, "sum") && !self.doubt[node] {
            let widths = self.circuit.inputs(node).map(|n| u64::from(self.circuit.units(n)));
            let cols = widths.sum();
            self.shape(node, weights, u64::from(units), cols);
        }
    }

    fn mixing(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        self.equal_widths(node, units, "mixing layer");
        let inputs = self.circuit.inputs(node).count() as u64;
        if inputs > 0 && !self.doubt[node] {
            self.shape(node, weights, u64::from(units), inputs);
        }
    }

    fn shape(&mut self, node: NodeId, weights: WeightsId, rows: u64, cols: u64) {
        let weights = &self.circuit.weights()[weights];
        let (has_rows, has_cols) = (weights.rows, weights.cols);
        if (u64::from(has_rows), u64::from(has_cols)) != (rows, cols) {
            let name = self.map.name(node);
            let message =
                format!("`{name}` needs weights [{rows}, {cols}], not [{has_rows}, {has_cols}]");
            self.faults.push(self.part_fault(Code::E0303, node, message));
        }
    }
}

fn units_text(units: u32) -> String {
    if units == 1 { "1 unit".into() } else { format!("{units} units") }
}

fn describe(dist: &Dist) -> String {
    match dist.family {
        Family::Indicators { states } | Family::Categorical { states } => {
            format!("{} of {states} states", dist.family.name())
        }
        family => family.name().into(),
    }
}

/// What suits a kind of variable.
fn suitable(kind: VarKind) -> &'static str {
    match kind {
        VarKind::Real => "a real variable takes Gaussian(), or Poisson() where it counts",
        VarKind::BINARY => "a binary variable takes Indicators, Bernoulli() or Categorical()",
        VarKind::Categorical { .. } => {
            "a categorical variable takes Indicators, Categorical() or Binomial()"
        }
    }
}
