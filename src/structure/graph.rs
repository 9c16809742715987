//! Circuits written out node by node: names become nodes, in the order of the text.
//!
//! Widths are found first, inputs before the nodes that use them, whatever the order of the text. A
//! node of which something is unknown (its own text, an input, its variable) is built from the rest
//! and marked as doubtful, so that nothing is concluded from it.

use std::collections::HashMap;

use super::dist::{dist, stand_in};
use super::{Draft, MOST_NUMBERS, too_large};
use crate::circuit::{Circuit, Op, SourceMap, WeightSource, Weights};
use crate::diag::{Code, Diagnostic, Diagnostics, Span, nearest};
use crate::ids::{Id, IdVec, NodeId, WeightsId};
use crate::spec::{DistSpec, FamilySpec, Graph, NodeSpec, OpSpec, Spanned, Spec, WeightsSpec};
use crate::variables::{VarKind, Variables};

/// Units of a Kronecker product at most.
const MOST_UNITS: u32 = 1 << 24;

/// Builds what can be built.
pub(super) fn build(spec: &Spec, graph: &Graph, span: Span) -> Draft {
    let mut builder = Builder::new(spec, graph);
    builder.resolve_inputs();
    builder.find_widths();
    builder.check_size(span);
    for node in &graph.nodes {
        builder.add(node);
    }
    for node in builder.circuit.nodes() {
        let inputs = std::mem::take(&mut builder.inputs[node]);
        builder.circuit.connect(node, &inputs);
    }
    let root = graph.root.as_ref().and_then(|root| match builder.find(root, "the root") {
        Ok(root) => Some(root),
        Err(fault) => {
            builder.faults.push(fault.node(&root.value));
            None
        }
    });
    builder.circuit.set_root(root.unwrap_or(NodeId(0)));
    Draft {
        circuit: builder.circuit,
        map: builder.map,
        doubtful: builder.doubtful,
        root_known: root.is_some(),
        faults: builder.faults,
    }
}

struct Builder<'a> {
    spec: &'a Spec,
    graph: &'a Graph,
    by_name: HashMap<&'a str, NodeId>,
    /// The known inputs of each node.
    inputs: IdVec<NodeId, Vec<NodeId>>,
    /// The width of each node, where it is known.
    widths: IdVec<NodeId, Option<u32>>,
    doubtful: IdVec<NodeId, bool>,
    circuit: Circuit,
    map: SourceMap,
    faults: Diagnostics,
}

/// The names of a node's inputs.
fn input_names(node: &NodeSpec) -> &[Spanned<String>] {
    match &node.op {
        Some(OpSpec::Product(inputs) | OpSpec::Kronecker(inputs)) => inputs,
        Some(OpSpec::Sum { inputs, .. } | OpSpec::Mixing { inputs, .. }) => inputs,
        Some(OpSpec::Leaf { .. }) | None => &[],
    }
}

impl<'a> Builder<'a> {
    fn new(spec: &'a Spec, graph: &'a Graph) -> Self {
        let count = graph.nodes.len();
        let names = graph.nodes.iter().map(|node| node.name.value.as_str());
        Builder {
            spec,
            graph,
            by_name: names.enumerate().map(|(i, name)| (name, NodeId::from_index(i))).collect(),
            inputs: IdVec::filled(Vec::new(), count),
            widths: IdVec::filled(None, count),
            doubtful: IdVec::filled(false, count),
            circuit: Circuit::new(spec.variables.value.clone()),
            map: SourceMap::default(),
            faults: Diagnostics::new(),
        }
    }

    /// The node of a name.
    ///
    /// # Errors
    /// E0111, which calls the name what `role` says.
    fn find(&self, name: &Spanned<String>, role: &str) -> Result<NodeId, Diagnostic> {
        if let Some(&node) = self.by_name.get(name.value.as_str()) {
            return Ok(node);
        }
        let message = format!("{role} `{}` is not defined", name.value);
        let fault = Diagnostic::new(Code::E0111, message).at(name.span);
        // In the order of the text, so that of two names equally near the first is offered.
        let names = self.graph.nodes.iter().map(|node| node.name.value.as_str());
        Err(match nearest(&name.value, names) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("define a node of this name, or name another"),
        })
    }

    fn resolve_inputs(&mut self) {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let id = NodeId::from_index(index);
            self.doubtful[id] = node.op.is_none();
            let names = input_names(node);
            self.inputs[id].reserve(names.len());
            for name in names {
                match self.find(name, "the input") {
                    Ok(input) => self.inputs[id].push(input),
                    Err(fault) => {
                        self.faults.push(fault.node(&node.name.value));
                        self.doubtful[id] = true;
                    }
                }
            }
        }
    }

    /// Finds the width of every node, inputs first. On a cycle it stays unknown.
    fn find_widths(&mut self) {
        let mut begun = IdVec::<NodeId, bool>::filled(false, self.inputs.len());
        let mut stack = Vec::new();
        for start in self.inputs.ids() {
            stack.push((start, false));
            while let Some((node, inputs_done)) = stack.pop() {
                if inputs_done {
                    self.widths[node] = self.width(node);
                    self.doubtful[node] |= self.widths[node].is_none();
                } else if !std::mem::replace(&mut begun[node], true) {
                    stack.push((node, true));
                    stack.extend(self.inputs[node].iter().map(|&input| (input, false)));
                }
            }
        }
    }

    /// The width of a node, by its inputs' widths if it has none of its own.
    fn width(&mut self, node: NodeId) -> Option<u32> {
        let spec = &self.graph.nodes[node.index()];
        match spec.op.as_ref()? {
            OpSpec::Leaf { var, dist, units } => Some(self.leaf_width(var, dist, units.as_ref())),
            OpSpec::Sum { units, .. } => Some(*units),
            OpSpec::Product(_) | OpSpec::Mixing { .. } => match self.inputs[node].as_slice() {
                // Validation refuses a product or a mixing layer of nothing.
                [] => Some(1),
                inputs => inputs.iter().find_map(|&input| self.widths[input]),
            },
            OpSpec::Kronecker(_) => {
                let inputs = self.inputs[node].iter();
                let widths: Option<Vec<u32>> = inputs.map(|&input| self.widths[input]).collect();
                let pairs: u128 = widths?.iter().map(|&width| u128::from(width)).product();
                if pairs > u128::from(MOST_UNITS) {
                    let name = &spec.name.value;
                    let message = format!("Kronecker product `{name}` would have {pairs} units");
                    let fault = Diagnostic::new(Code::E0105, message).at(spec.name.span);
                    let help = format!("at most {MOST_UNITS} are allowed; put a sum in between");
                    self.faults.push(fault.node(name).help(help));
                    return None;
                }
                Some(pairs as u32)
            }
        }
    }

    fn leaf_width(
        &self,
        var: &Spanned<String>,
        dist: &Spanned<DistSpec>,
        units: Option<&Spanned<u32>>,
    ) -> u32 {
        let variables = &self.spec.variables.value;
        let states = match variables.find(&var.value).map(|var| variables.kind(var)) {
            Some(VarKind::Categorical { states })
                if dist.value.family == FamilySpec::Indicators =>
            {
                Some(states)
            }
            _ => None,
        };
        states.or(units.map(|units| units.value)).unwrap_or(1)
    }

    /// Refuses a circuit beyond all memory before its weights are made.
    fn check_size(&mut self, span: Span) {
        let mut numbers = 0u128;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let id = NodeId::from_index(index);
            let units = u128::from(self.widths[id].unwrap_or(1));
            numbers += match &node.op {
                Some(OpSpec::Sum { .. }) => units * self.columns(id),
                Some(OpSpec::Mixing { inputs, .. }) => units * inputs.len() as u128,
                Some(OpSpec::Leaf { var, .. }) => units * self.parameters(var),
                _ => 0,
            };
        }
        if numbers > u128::from(MOST_NUMBERS) {
            let fault = too_large("weights and leaf parameters", numbers, MOST_NUMBERS);
            self.faults.push(fault.at(span));
        }
    }

    /// Units of the inputs of a node together, as far as they are known.
    fn columns(&self, node: NodeId) -> u128 {
        self.inputs[node].iter().filter_map(|&n| self.widths[n]).map(u128::from).sum()
    }

    /// Parameters of one unit of a leaf over `var` at most.
    fn parameters(&self, var: &Spanned<String>) -> u128 {
        let variables = &self.spec.variables.value;
        match variables.find(&var.value).map(|var| variables.kind(var)) {
            Some(VarKind::Categorical { states }) => u128::from(states),
            _ => 2,
        }
    }

    /// Adds a node without its inputs.
    fn add(&mut self, node: &'a NodeSpec) {
        let id = NodeId::from_index(self.circuit.node_count());
        let units = self.widths[id].unwrap_or(1);
        self.map.nodes.insert(id, (node.name.value.clone(), node.name.span));
        let op = match &node.op {
            None => Op::One,
            Some(OpSpec::Leaf { var, dist, units: stated }) => {
                self.leaf(id, node, var, dist, stated.as_ref())
            }
            Some(OpSpec::Product(_)) => Op::Product,
            Some(OpSpec::Kronecker(_)) => Op::Kronecker,
            Some(OpSpec::Sum { weights, .. }) => {
                let cols = u32::try_from(self.columns(id)).unwrap_or(u32::MAX);
                Op::Sum { weights: self.weights(id, weights.as_ref(), units, cols, false) }
            }
            Some(OpSpec::Mixing { weights, .. }) => {
                let cols = self.inputs[id].len() as u32;
                Op::Mixing { weights: self.weights(id, weights.as_ref(), units, cols, true) }
            }
        };
        self.circuit.add(op, units);
    }

    fn leaf(
        &mut self,
        id: NodeId,
        node: &NodeSpec,
        name: &Spanned<String>,
        spec: &Spanned<DistSpec>,
        stated: Option<&Spanned<u32>>,
    ) -> Op {
        let variables = &self.spec.variables.value;
        self.map.parts.insert(id, spec.span);
        let Some(var) = variables.find(&name.value) else {
            self.faults.push(unknown_variable(variables, name).node(&node.name.value));
            self.doubtful[id] = true;
            return Op::One;
        };
        let (kind, units) = (variables.kind(var), self.widths[id].unwrap_or(1));
        let built = dist(spec, kind, &name.value, units).unwrap_or_else(|fault| {
            self.faults.push(fault.node(&node.name.value));
            stand_in(kind, units)
        });
        if let Some(stated) = stated.filter(|stated| stated.value != built.units) {
            let message = format!(
                "indicators of `{}` have a unit a state, {} in all, not {}",
                name.value, built.units, stated.value
            );
            let fault = Diagnostic::new(Code::E0203, message).at(stated.span);
            self.faults.push(fault.node(&node.name.value).help("leave `units` out"));
        }
        Op::Leaf { var, dist: self.circuit.add_dist(built) }
    }

    fn weights(
        &mut self,
        id: NodeId,
        spec: Option<&WeightsSpec>,
        rows: u32,
        cols: u32,
        mixing: bool,
    ) -> WeightsId {
        let source = match spec {
            None if mixing => WeightSource::Direct,
            None => WeightSource::Parameterizer,
            Some(spec) => {
                self.map.parts.insert(id, spec.span);
                let values = self.given(id, spec, rows, cols);
                match values {
                    Some(values) if spec.frozen => WeightSource::Frozen(values),
                    Some(values) => WeightSource::Given(values),
                    None => WeightSource::Direct,
                }
            }
        };
        self.circuit.add_weights(Weights { rows, cols, source })
    }

    /// Given weights, [rows, cols]; whether they are distributions is left to validation. A wrong
    /// shape is reported here, where the rows are known; nothing is said of a node in doubt.
    fn given(&mut self, id: NodeId, spec: &WeightsSpec, rows: u32, cols: u32) -> Option<Vec<f64>> {
        let unknown = self.inputs[id].iter().any(|&input| self.widths[input].is_none());
        if self.doubtful[id] || unknown {
            return None;
        }
        let wrong_row = spec.rows.iter().position(|row| row.len() != cols as usize);
        let problem = match wrong_row {
            _ if spec.rows.len() != rows as usize => {
                format!("{} given, {} needed", rows_text(spec.rows.len()), rows_text(rows as usize))
            }
            Some(row) => {
                let which = if rows == 1 { String::new() } else { format!(" in row {row}") };
                format!("{} numbers given{which}, {cols} needed", spec.rows[row].len())
            }
            None => return Some(spec.rows.concat()),
        };
        let name = &self.graph.nodes[id.index()].name.value;
        let message = format!("the weights of `{name}` have the wrong shape: {problem}");
        let fault = Diagnostic::new(Code::E0303, message).at(spec.span).node(name);
        self.faults.push(fault.help("give a row a unit, with a number for each thing it weighs"));
        None
    }
}

fn rows_text(rows: usize) -> String {
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}

fn unknown_variable(variables: &Variables, name: &Spanned<String>) -> Diagnostic {
    let message = format!("unknown variable `{}`", name.value);
    let fault = Diagnostic::new(Code::E0115, message).at(name.span);
    let names: Vec<_> = variables.ids().map(|var| variables.name(var)).collect();
    match nearest(&name.value, names.iter().map(|name| name.as_ref())) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => {
            let (first, last) = (&names[0], &names[names.len() - 1]);
            fault.help(format!("the {} variables are `{first}` to `{last}`", names.len()))
        }
    }
}
