//! Validation: the one way from a [`Circuit`] to a [`ValidCircuit`].
//!
//! Checked, all faults in one run: E0113 acyclic · E0201 smooth: the inputs of a sum have one scope ·
//! E0202 decomposable: the inputs of a product share no variable · E0203 widths fit · E0204 the root
//! depends on every variable · E0205 the root has one unit · E0206 sums and products have inputs ·
//! E0301 leaves suit their variables · E0302, E0303 given weights are distributions of the right
//! shape · E0304 given leaf parameters lie in their domain · W0114 nodes the root does not reach.
//!
//! Proven on the way: structured decomposability (all products of one scope split it one way), and
//! determinism where the supports of the leaves show it. Determinism in general is coNP-hard to
//! decide and is `unknown` otherwise.
//!
//! A node below a fault is not reported again for what follows from it: a scope that is itself in
//! doubt is taken as it stands.

use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::visit::{Dfs, Walker};

use super::{Circuit, Node, Op, SourceMap, WeightSource, index};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::ids::{DistId, Id, IdVec, NodeId, ScopeId, VarId, WeightsId};
use crate::leaf::{Dist, Family};
use crate::scope::Scopes;

/// How far the rows of given weights may be from summing to one.
const SUM_TOLERANCE: f64 = 1e-6;
/// Variables listed in a message before it says how many more there are.
const LISTED: usize = 12;

/// Whether at most one input of every sum is non-zero for every full assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Determinism {
    /// The supports of the leaves show it.
    Proven,
    /// The format the circuit came from guarantees it.
    Declared,
    /// Neither.
    Unknown,
}

impl Determinism {
    /// As `--json` has it.
    pub fn name(self) -> &'static str {
        match self {
            Determinism::Proven => "proven",
            Determinism::Declared => "declared",
            Determinism::Unknown => "unknown",
        }
    }
}

/// What validation proved, beyond smoothness and decomposability, which every valid circuit has.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    /// All products of one scope split it one way.
    pub structured_decomposable: bool,
    /// See [`Determinism`].
    pub deterministic: Determinism,
}

/// A circuit that passed validation, with the scopes and properties that this proved. Dereferences
/// to the [`Circuit`]; it cannot be changed.
#[derive(Clone, Debug)]
pub struct ValidCircuit {
    circuit: Circuit,
    order: Vec<NodeId>,
    scopes: Scopes,
    scope_of: IdVec<NodeId, ScopeId>,
    properties: Properties,
}

impl std::ops::Deref for ValidCircuit {
    type Target = Circuit;
    fn deref(&self) -> &Circuit {
        &self.circuit
    }
}

impl ValidCircuit {
    /// The nodes that the root reaches, inputs before the nodes that use them, in the depth-first
    /// post-order of the inputs as written; the root is last.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The interned scopes.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The scope of a node that the root reaches; empty for others.
    pub fn scope(&self, node: NodeId) -> ScopeId {
        self.scope_of[node]
    }

    /// What validation proved.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The circuit, to be changed and validated again.
    pub fn into_circuit(self) -> Circuit {
        self.circuit
    }
}

/// Checks every law; on success returns the circuit with what was proven, and the warnings.
///
/// Time and memory are linear in the edges, up to the cost of scopes that are no runs of the
/// depth-first order.
pub fn validate(
    circuit: Circuit,
    map: &SourceMap,
) -> Result<(ValidCircuit, Diagnostics), Diagnostics> {
    let mut check = Check { circuit: &circuit, map, faults: Diagnostics::new() };
    check.root_exists();
    if check.faults.has_errors() {
        return Err(check.faults);
    }
    check.each_node();
    check.each_weights();
    check.unreachable();
    let Some(order) = check.order() else {
        check.faults.sort();
        return Err(check.faults);
    };
    let (scopes, scope_of) = check.scopes(&order);
    check.faults.sort();
    let faults = check.faults;
    if faults.has_errors() {
        return Err(faults);
    }
    let properties = Properties {
        structured_decomposable: structured_decomposable(&circuit, &order, &scope_of),
        deterministic: Determinism::Unknown,
    };
    Ok((ValidCircuit { circuit, order, scopes, scope_of, properties }, faults))
}

/// The reachable nodes in depth-first post-order, inputs first. `None` if there is a cycle.
fn post_order(circuit: &Circuit) -> Vec<NodeId> {
    let mut order = Vec::with_capacity(circuit.node_count());
    let mut seen: IdVec<NodeId, bool> = IdVec::filled(false, circuit.node_count());
    let mut stack = vec![(circuit.root(), false)];
    while let Some((node, inputs_done)) = stack.pop() {
        if inputs_done {
            order.push(node);
        } else if !seen[node] {
            seen[node] = true;
            stack.push((node, true));
            let first = stack.len();
            stack.extend(circuit.inputs(node).filter(|&input| !seen[input]).map(|n| (n, false)));
            stack[first..].reverse();
        }
    }
    order
}

struct Check<'a> {
    circuit: &'a Circuit,
    map: &'a SourceMap,
    faults: Diagnostics,
}

impl Check<'_> {
    fn fault(&self, code: Code, node: NodeId, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, message).at_option(self.map.span(node)).node(self.map.name(node))
    }

    fn root_exists(&mut self) {
        if self.circuit.node_count() <= self.circuit.root().index() {
            self.faults.push(
                Diagnostic::new(Code::E0206, "the circuit has no nodes")
                    .at_option(self.map.structure),
            );
        }
    }

    /// What can be said of a node from its inputs' widths and its own tables.
    fn each_node(&mut self) {
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
        if self.circuit.units(root) != 1 {
            let units = self.circuit.units(root);
            let name = self.map.name(root);
            let fault = self
                .fault(Code::E0205, root, format!("the root `{name}` has {units} units, not one"))
                .help("put a sum of one unit over it, or set `units: 1`");
            self.faults.push(fault);
        }
    }

    fn leaf(&mut self, node: NodeId, var: VarId, dist: DistId) {
        let dist = &self.circuit.dists()[dist];
        let kind = self.circuit.variables().kind(var);
        if !dist.family.suits(kind) {
            let variable = self.circuit.variables().name(var);
            let fault = self
                .fault(
                    Code::E0301,
                    node,
                    format!("{} does not suit `{variable}`, which is {kind}", describe(dist)),
                )
                .help(match kind {
                    crate::variables::VarKind::Real => "a real variable takes Gaussian()".into(),
                    crate::variables::VarKind::Categorical { states: 2 } => {
                        "a binary variable takes Indicators, Bernoulli() or Categorical()".into()
                    }
                    crate::variables::VarKind::Categorical { states } => {
                        format!("a variable of {states} states takes Indicators or Categorical()")
                    }
                });
            self.faults.push(fault);
        }
        if let Some(problem) = parameter_problem(dist) {
            let name = self.map.name(node);
            let fault = self.fault(Code::E0304, node, format!("leaf `{name}`: {problem}"));
            self.faults.push(fault);
        }
    }

    fn has_inputs(&mut self, node: NodeId, what: &str) -> bool {
        let some = self.circuit.inputs(node).next().is_some();
        if !some {
            let name = self.map.name(node);
            let fault = self.fault(Code::E0206, node, format!("{what} `{name}` has no inputs"));
            self.faults.push(fault);
        }
        some
    }

    fn equal_widths(&mut self, node: NodeId, units: u32, what: &str) {
        if !self.has_inputs(node, what) {
            return;
        }
        let Some(odd) = self.circuit.inputs(node).find(|&n| self.circuit.units(n) != units) else {
            return;
        };
        let first = self.circuit.inputs(node).next().unwrap_or(node);
        let name = self.map.name(node);
        let fault = self
            .fault(Code::E0203, node, format!("the inputs of {what} `{name}` differ in width"))
            .label(self.map.span(first), format!("`{}`: {units} units", self.map.name(first)))
            .label(
                self.map.span(odd),
                format!("`{}`: {} units", self.map.name(odd), self.circuit.units(odd)),
            )
            .note(format!(
                "`{}` has {units} units, `{}` has {}",
                self.map.name(first),
                self.map.name(odd),
                self.circuit.units(odd)
            ))
            .help("give the inputs equal `units`, or use Kronecker for all pairs");
        self.faults.push(fault);
    }

    fn kronecker(&mut self, node: NodeId, units: u32) {
        if !self.has_inputs(node, "Kronecker product") {
            return;
        }
        let product = self
            .circuit
            .inputs(node)
            .try_fold(1u32, |product, input| product.checked_mul(self.circuit.units(input)));
        if product != Some(units) {
            let name = self.map.name(node);
            let fault = self.fault(
                Code::E0203,
                node,
                format!(
                    "Kronecker product `{name}` has not as many units as its inputs have pairs"
                ),
            );
            self.faults.push(fault);
        }
    }

    fn sum(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        if self.has_inputs(node, "sum") {
            let cols =
                self.circuit.inputs(node).map(|n| u64::from(self.circuit.units(n))).sum::<u64>();
            self.shape(node, weights, u64::from(units), cols);
        }
    }

    fn mixing(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        self.equal_widths(node, units, "mixing layer");
        let inputs = self.circuit.inputs(node).count() as u64;
        self.shape(node, weights, u64::from(units), inputs);
    }

    fn shape(&mut self, node: NodeId, weights: WeightsId, rows: u64, cols: u64) {
        let weights = &self.circuit.weights()[weights];
        if (u64::from(weights.rows), u64::from(weights.cols)) != (rows, cols) {
            let name = self.map.name(node);
            let fault = self.fault(
                Code::E0303,
                node,
                format!(
                    "`{name}` needs weights of {rows} rows and {cols} columns, not {} and {}",
                    weights.rows, weights.cols
                ),
            );
            self.faults.push(fault);
        }
    }

    fn each_weights(&mut self) {
        let given = |weights: &super::Weights| match &weights.source {
            WeightSource::Given(values) | WeightSource::Frozen(values) => {
                weights_problem(values, weights.rows, weights.cols)
            }
            _ => None,
        };
        let problems: IdVec<WeightsId, Option<(Code, String)>> =
            self.circuit.weights().values().map(given).collect();
        if problems.values().all(Option::is_none) {
            return;
        }
        for node in self.circuit.nodes() {
            let weights = self.circuit.op(node).weights();
            if let Some((code, problem)) = weights.and_then(|weights| problems[weights].clone()) {
                let name = self.map.name(node);
                let fault = self
                    .fault(code, node, format!("weights of `{name}`: {problem}"))
                    .help("each row must be non-negative and sum to one");
                self.faults.push(fault);
            }
        }
    }

    fn unreachable(&mut self) {
        let graph = self.circuit.graph();
        let mut reached = IdVec::<NodeId, bool>::filled(false, self.circuit.node_count());
        for node in Dfs::new(graph, index(self.circuit.root())).iter(graph) {
            reached[NodeId::from_index(node.index())] = true;
        }
        for node in self.circuit.nodes().filter(|&node| !reached[node]) {
            let root = self.map.name(self.circuit.root());
            let name = self.map.name(node);
            let fault = self
                .fault(Code::W0114, node, format!("the root `{root}` does not reach node `{name}`"))
                .help("use it as an input, or leave it out");
            self.faults.push(fault);
        }
    }

    /// The order of evaluation; a cycle is reported with its nodes in order.
    fn order(&mut self) -> Option<Vec<NodeId>> {
        if toposort(self.circuit.graph(), None).is_ok() {
            return Some(post_order(self.circuit));
        }
        for component in kosaraju_scc(self.circuit.graph()) {
            let members: Vec<NodeId> =
                component.iter().map(|node| NodeId::from_index(node.index())).collect();
            let cyclic = members.len() > 1
                || self.circuit.inputs(members[0]).any(|input| input == members[0]);
            if cyclic {
                self.cycle(&members);
            }
        }
        None
    }

    /// One shortest way round through the first node of a strongly connected component.
    fn cycle(&mut self, members: &[NodeId]) {
        let inside: std::collections::HashSet<NodeId> = members.iter().copied().collect();
        let start = members.iter().copied().min().unwrap_or(members[0]);
        let mut came_from: std::collections::HashMap<NodeId, NodeId> = Default::default();
        let mut queue = std::collections::VecDeque::from([start]);
        let mut last = start;
        'search: while let Some(node) = queue.pop_front() {
            for input in self.circuit.inputs(node).filter(|input| inside.contains(input)) {
                if input == start {
                    last = node;
                    break 'search;
                }
                if input != start && !came_from.contains_key(&input) {
                    came_from.insert(input, node);
                    queue.push_back(input);
                }
            }
        }
        let mut path = vec![start];
        while last != start {
            path.push(last);
            last = came_from[&last];
        }
        path.push(start);
        path.reverse();
        let names: Vec<String> =
            path.iter().map(|&node| format!("`{}`", self.map.name(node))).collect();
        let fault = self
            .fault(Code::E0113, start, format!("a cycle: {}", names.join(" → ")))
            .help("a node may not depend on itself; break one of these edges");
        self.faults.push(fault);
    }

    fn scopes(&mut self, order: &[NodeId]) -> (Scopes, IdVec<NodeId, ScopeId>) {
        let circuit = self.circuit;
        let mut scopes = Scopes::new(variable_order(circuit, order));
        let mut scope_of = IdVec::filled(Scopes::EMPTY, circuit.node_count());
        let mut below = Vec::new();
        for &node in order {
            below.clear();
            below.extend(circuit.inputs(node).map(|input| scope_of[input]));
            scope_of[node] = match circuit.op(node) {
                Op::Leaf { var, .. } => scopes.singleton(var),
                Op::Given { .. } | Op::One => Scopes::EMPTY,
                Op::Product | Op::Kronecker => {
                    let (union, disjoint) = scopes.union(&below);
                    if !disjoint {
                        self.not_decomposable(node, &scopes, &below);
                    }
                    union
                }
                Op::Sum { .. } | Op::Mixing { .. } => {
                    if below.iter().any(|&scope| scope != below[0]) {
                        self.not_smooth(node, &scopes, &below);
                        scopes.union(&below).0
                    } else {
                        below.first().copied().unwrap_or(Scopes::EMPTY)
                    }
                }
            };
        }
        self.root_scope(&mut scopes, scope_of[circuit.root()]);
        (scopes, scope_of)
    }

    fn root_scope(&mut self, scopes: &mut Scopes, root_scope: ScopeId) {
        // A circuit from which variables were taken on purpose has nodes to show for it.
        let circuit = self.circuit;
        let specialised = circuit.is_specialised()
            || circuit.nodes().any(|node| matches!(circuit.op(node), Op::Given { .. } | Op::One));
        let all = scopes.everything();
        if root_scope != all && !specialised {
            let missing = self.list(&scopes.difference(all, root_scope));
            let name = self.map.name(circuit.root());
            let fault = self
                .fault(
                    Code::E0204,
                    circuit.root(),
                    format!("the root `{name}` does not depend on every variable"),
                )
                .note(format!("missing: {missing}"))
                .help("multiply a leaf of each into the root, or remove them from `variables`");
            self.faults.push(fault);
        }
    }

    fn not_decomposable(&mut self, node: NodeId, scopes: &Scopes, below: &[ScopeId]) {
        let pairs = (0..below.len()).flat_map(|a| (a + 1..below.len()).map(move |b| (a, b)));
        for (a, b) in pairs {
            let shared = scopes.intersection(below[a], below[b]);
            if shared.is_empty() {
                continue;
            }
            let (first, second) = self.two_inputs(node, a, b);
            let name = self.map.name(node);
            let fault = self
                .fault(
                    Code::E0202,
                    node,
                    format!(
                        "product `{name}` is not decomposable: `{}` and `{}` share {}",
                        self.map.name(first),
                        self.map.name(second),
                        self.list(&shared)
                    ),
                )
                .label(self.map.span(first), self.over(first, scopes, below[a]))
                .label(self.map.span(second), self.over(second, scopes, below[b]))
                .note(self.over(first, scopes, below[a]))
                .note(self.over(second, scopes, below[b]))
                .help("inputs of a product must depend on disjoint variables");
            self.faults.push(fault);
            return;
        }
    }

    fn not_smooth(&mut self, node: NodeId, scopes: &Scopes, below: &[ScopeId]) {
        let Some(odd) = below.iter().position(|&scope| scope != below[0]) else { return };
        let (first, second) = self.two_inputs(node, 0, odd);
        let lacks = scopes.difference(below[0], below[odd]);
        let extra = scopes.difference(below[odd], below[0]);
        let mut parts = Vec::new();
        for (input, missing) in [(second, &lacks), (first, &extra)] {
            if !missing.is_empty() {
                parts.push(format!("`{}` lacks {}", self.map.name(input), self.list(missing)));
            }
        }
        let name = self.map.name(node);
        let fault = self
            .fault(Code::E0201, node, format!("sum `{name}` is not smooth: {}", parts.join(", ")))
            .label(self.map.span(first), self.over(first, scopes, below[0]))
            .label(self.map.span(second), self.over(second, scopes, below[odd]))
            .note(self.over(first, scopes, below[0]))
            .note(self.over(second, scopes, below[odd]))
            .help("multiply leaves of the missing variables in, or let `pcc check --smooth` do it");
        self.faults.push(fault);
    }

    fn two_inputs(&self, node: NodeId, a: usize, b: usize) -> (NodeId, NodeId) {
        let nth = |n| self.circuit.inputs(node).nth(n).unwrap_or(node);
        (nth(a), nth(b))
    }

    fn over(&self, node: NodeId, scopes: &Scopes, scope: ScopeId) -> String {
        format!("`{}` is over {}", self.map.name(node), self.list(&scopes.variables(scope)))
    }

    fn list(&self, variables: &[VarId]) -> String {
        if variables.is_empty() {
            return "nothing".into();
        }
        let names: Vec<String> = variables
            .iter()
            .take(LISTED)
            .map(|&var| format!("`{}`", self.circuit.variables().name(var)))
            .collect();
        let more = match variables.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        names.join(", ") + &more
    }
}

/// The variables in the order in which a depth-first walk meets their leaves, the rest after them.
fn variable_order(circuit: &Circuit, order: &[NodeId]) -> Vec<VarId> {
    let mut met = IdVec::<VarId, bool>::filled(false, circuit.variables().len());
    let mut variables = Vec::with_capacity(met.len());
    let leaves = order.iter().filter_map(|&node| match circuit.op(node) {
        Op::Leaf { var, .. } => Some(var),
        _ => None,
    });
    for var in leaves.chain(circuit.variables().ids()) {
        if !std::mem::replace(&mut met[var], true) {
            variables.push(var);
        }
    }
    variables
}

fn describe(dist: &Dist) -> String {
    match dist.family {
        Family::Indicators { states } | Family::Categorical { states } => {
            format!("{} of {states} states", dist.family.name())
        }
        Family::Bernoulli | Family::Gaussian { .. } => dist.family.name().into(),
    }
}

fn parameter_problem(dist: &Dist) -> Option<String> {
    let given = dist.given.as_ref()?;
    let len = dist.family.natural_len();
    if given.len() != dist.units as usize * len {
        return Some(format!(
            "{} numbers given, {} units need {len} each",
            given.len(),
            dist.units
        ));
    }
    given.chunks_exact(len.max(1)).find_map(|natural| match (dist.family, natural) {
        (Family::Bernoulli, &[p]) if !(0.0..=1.0).contains(&p) => {
            Some(format!("p = {p} is no probability"))
        }
        (Family::Categorical { states }, p) => {
            weights_problem(p, 1, states).map(|(_, problem)| format!("probabilities: {problem}"))
        }
        (Family::Gaussian { min_var, max_var }, &[mean, var]) => {
            if !mean.is_finite() {
                Some(format!("mean {mean} is not finite"))
            } else if !(var > 0.0
                && var >= min_var * (1.0 - 1e-9)
                && var <= max_var
                && var.is_finite())
            {
                Some(format!("variance {var} is not between {min_var} and {max_var}"))
            } else {
                None
            }
        }
        _ => None,
    })
}

fn weights_problem(values: &[f64], rows: u32, cols: u32) -> Option<(Code, String)> {
    if values.len() != rows as usize * cols as usize {
        let text = format!("{} numbers given, {rows} × {cols} needed", values.len());
        return Some((Code::E0303, text));
    }
    if let Some(value) = values.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
        return Some((Code::E0302, format!("{value} is no weight")));
    }
    values.chunks_exact(cols.max(1) as usize).enumerate().find_map(|(row, values)| {
        let sum: f64 = values.iter().sum();
        let off = (sum - 1.0).abs() > SUM_TOLERANCE;
        let which = if rows > 1 { format!("row {row} sums") } else { "they sum".into() };
        off.then(|| (Code::E0302, format!("{which} to {sum}, not to one")))
    })
}

/// Whether all products of one scope split it one way. Inputs over no variables do not count.
fn structured_decomposable(
    circuit: &Circuit,
    order: &[NodeId],
    scope_of: &IdVec<NodeId, ScopeId>,
) -> bool {
    let mut split_of: std::collections::HashMap<ScopeId, Vec<ScopeId>> = Default::default();
    let products =
        order.iter().filter(|&&node| matches!(circuit.op(node), Op::Product | Op::Kronecker));
    for &node in products {
        let inputs = circuit.inputs(node).map(|input| scope_of[input]);
        let mut split: Vec<ScopeId> = inputs.filter(|&scope| scope != Scopes::EMPTY).collect();
        if split.len() < 2 {
            continue;
        }
        split.sort_unstable();
        match split_of.entry(scope_of[node]) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(split);
            }
            std::collections::hash_map::Entry::Occupied(entry) if *entry.get() != split => {
                return false;
            }
            std::collections::hash_map::Entry::Occupied(_) => {}
        }
    }
    true
}
