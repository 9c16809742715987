//! From the nodes of a file to a circuit.
//!
//! Every number becomes frozen, every sum and leaf normalised. What a node's values sum to over all
//! assignments, its *mass*, goes into the weights above it, and at the root it is the partition
//! function: for a formula, the number of its models. Constants disappear: nothing is left of what is
//! never true, and what is always true is one.
//!
//! Formulas are made smooth on the way ([`gaps`]). An input of a sum that lacks variables of the others
//! is multiplied by a leaf of each, of the mass that the two literals have together:
//!
//! ```text
//! a ∨ (¬a ∧ b)   becomes   ⅔ · a · uniform(b) + ⅓ · ¬a · b,   of mass 3
//! ```
//!
//! Sum-product networks and PSDDs have mass one at each node and must be smooth as they are.

mod gaps;

use std::collections::HashMap;

use self::gaps::Free;
use super::count::{Count, Counter};
use super::nodes::What;
use super::weights::Weights;
use super::{Models, Parsed};
use crate::circuit::{Circuit, Op, SourceMap, WeightSource};
use crate::diag::Diagnostic;
use crate::ids::{DistId, NodeId, ScopeId, VarId};
use crate::leaf::{Dist, Family};
use crate::real::log_sum_exp;
use crate::scope::Scopes;
use crate::variables::VarKind;

/// The least variance that a Gaussian may have, unless the file has less.
const LEAST_VARIANCE: f64 = 1e-6;

/// What a file says, as a circuit.
pub(super) struct Built {
    /// The circuit; `None` if nothing satisfies it.
    pub(super) circuit: Option<Circuit>,
    /// Names and places.
    pub(super) map: SourceMap,
    /// Of a formula, how many models it has.
    pub(super) models: Option<Models>,
}

/// Builds the circuit.
///
/// # Errors
/// E0113 for nodes that depend on themselves; E0105 for a formula of which the scopes are beyond all
/// memory.
pub(super) fn build(parsed: &Parsed) -> Result<Built, Diagnostic> {
    let order = alive(parsed)?;
    let mut builder = Builder::new(parsed, &order);
    let mut made: Vec<Made> = vec![Made::zero(); parsed.nodes.len()];
    let mut readers = readers(parsed, &order);
    for &node in &order {
        let value = builder.visit(node, &made)?;
        made[node as usize] = value;
        for &(input, _) in parsed.nodes.inputs(node) {
            readers[input as usize] -= 1;
            if readers[input as usize] == 0 {
                // Counts are as long as the formula has variables.
                made[input as usize].count = None;
            }
        }
        builder.bounded()?;
    }
    let mut root = std::mem::replace(&mut made[parsed.root as usize], Made::zero());
    if parsed.weights.is_some() {
        let everything = builder.scopes.everything();
        root = builder.over(root, everything)?;
    }
    let models = parsed.weights.as_ref().map(|weights| Models {
        log_weight: root.log_mass,
        count: match root.log_mass == f64::NEG_INFINITY {
            true => Some(Count::default()),
            false => root.count.clone().filter(|_| weights.is_empty()),
        },
    });
    let circuit = (root.log_mass > f64::NEG_INFINITY).then(|| {
        let mut circuit = builder.circuit;
        let node = root.node.unwrap_or_else(|| circuit.add(Op::One, 1));
        circuit.set_root(node);
        circuit
    });
    Ok(Built { circuit, map: builder.map, models })
}

/// The nodes that the root reaches by way of what can be true, inputs first.
fn alive(parsed: &Parsed) -> Result<Vec<u32>, Diagnostic> {
    let nodes = &parsed.nodes;
    let order = nodes.order(parsed.root, |_, _| true)?;
    let mut alive = vec![false; nodes.len()];
    let weighs = |var, state| {
        let weights = parsed.weights.as_ref();
        weights.is_none_or(|weights| weights.log(var, state) > f64::NEG_INFINITY)
    };
    for &node in &order {
        let holds =
            |&(input, weight): &(u32, f64)| alive[input as usize] && weight > f64::NEG_INFINITY;
        alive[node as usize] = match nodes.get(node).what {
            What::False => false,
            What::Indicator { var, state } => weighs(var, state),
            What::Free { var } => weighs(var, 0) || weighs(var, 1),
            What::True | What::Categorical { .. } | What::Gaussian { .. } => true,
            What::Product => nodes.inputs(node).iter().all(holds),
            What::Sum => nodes.inputs(node).iter().any(holds),
        };
    }
    let holds = |weight: f64, input: u32| alive[input as usize] && weight > f64::NEG_INFINITY;
    nodes.order(parsed.root, holds)
}

/// How often each node is read by those of `order`.
fn readers(parsed: &Parsed, order: &[u32]) -> Vec<u32> {
    let mut readers = vec![0; parsed.nodes.len()];
    for &node in order {
        for &(input, _) in parsed.nodes.inputs(node) {
            readers[input as usize] += 1;
        }
    }
    readers
}

/// What has become of a node.
#[derive(Clone)]
struct Made {
    /// The node of the circuit; `None` for a constant.
    node: Option<NodeId>,
    /// The variables below, if smoothing needs them.
    scope: ScopeId,
    /// ln of the sum over all assignments of `scope`; −∞ for what is never true.
    log_mass: f64,
    /// The same without weights, exactly; `None` if it is not wanted.
    count: Option<Count>,
}

impl Made {
    fn zero() -> Self {
        Made { node: None, scope: Scopes::EMPTY, log_mass: f64::NEG_INFINITY, count: None }
    }
}

struct Builder<'a> {
    parsed: &'a Parsed,
    circuit: Circuit,
    map: SourceMap,
    scopes: Scopes,
    counter: Counter,
    dists: HashMap<Vec<u64>, DistId>,
    leaves: HashMap<(VarId, DistId), NodeId>,
    /// What fills each gap.
    gaps: HashMap<ScopeId, Free>,
    /// What fills each run of positions.
    runs: HashMap<(u32, u32), Free>,
    /// Bounds of the variance of all Gaussians of the file.
    min_var: f64,
}

impl<'a> Builder<'a> {
    fn new(parsed: &'a Parsed, order: &[u32]) -> Self {
        let variables = &parsed.variables;
        let least = order.iter().filter_map(|&node| match parsed.nodes.get(node).what {
            What::Gaussian { variance, .. } => Some(variance / 4.0),
            _ => None,
        });
        let mut builder = Builder {
            parsed,
            circuit: Circuit::new(variables.clone()),
            map: SourceMap::default(),
            scopes: Scopes::new(variable_order(parsed, order)),
            counter: Counter::new(parsed.weights.as_ref().is_some_and(Weights::is_empty)),
            dists: HashMap::new(),
            leaves: HashMap::new(),
            gaps: HashMap::new(),
            runs: HashMap::new(),
            min_var: least.fold(LEAST_VARIANCE, f64::min),
        };
        builder.circuit.reserve(order.len(), 2 * order.len());
        builder
    }

    fn visit(&mut self, node: u32, made: &[Made]) -> Result<Made, Diagnostic> {
        let item = self.parsed.nodes.get(node);
        Ok(match &item.what {
            What::False => Made::zero(),
            What::True => Made { log_mass: 0.0, count: self.counter.one(), ..Made::zero() },
            &What::Indicator { var, state } => {
                let states = self.states(var);
                let p = (0..states).map(|other| f64::from(u8::from(other == state))).collect();
                let weights = self.parsed.weights.as_ref();
                let log_mass = weights.map_or(0.0, |weights| weights.log(var, state));
                let leaf = self.categorical(node, var, p);
                Made { log_mass, count: self.counter.one(), ..leaf }
            }
            &What::Free { var } => {
                let Free { node: leaf, log_mass } = self.free(var);
                self.name(leaf, node);
                let one = self.counter.one();
                let count = self.counter.doubled(one, 1);
                Made { node: Some(leaf), scope: self.scopes.singleton(var), log_mass, count }
            }
            What::Categorical { var, p } => {
                let mut p = p.clone();
                p.resize(self.states(*var) as usize, 0.0);
                self.categorical(node, *var, p)
            }
            &What::Gaussian { var, mean, variance } => {
                let family = Family::Gaussian { min_var: self.min_var, max_var: f64::INFINITY };
                self.leaf(node, var, family, vec![mean, variance])
            }
            What::Product => self.product(node, made),
            What::Sum => self.sum(node, made)?,
        })
    }

    fn states(&self, var: VarId) -> u32 {
        match self.parsed.variables.kind(var) {
            VarKind::Categorical { states } => states,
            VarKind::Real => 0,
        }
    }

    fn categorical(&mut self, node: u32, var: VarId, p: Vec<f64>) -> Made {
        match p[..] {
            // Where one is all but certain, its complement would be lost beside it.
            [zero, one] if (1.0 - one - zero).abs() <= 1e-9 * zero => {
                self.leaf(node, var, Family::Bernoulli, vec![one])
            }
            _ => self.leaf(node, var, Family::Categorical { states: p.len() as u32 }, p),
        }
    }

    fn leaf(&mut self, node: u32, var: VarId, family: Family, natural: Vec<f64>) -> Made {
        let leaf = self.shared_leaf(var, family, natural);
        self.name(leaf, node);
        let scope = match self.parsed.weights {
            Some(_) => self.scopes.singleton(var),
            None => Scopes::EMPTY,
        };
        Made { node: Some(leaf), scope, log_mass: 0.0, count: None }
    }

    /// The leaf of these parameters: equal leaves are one node.
    fn shared_leaf(&mut self, var: VarId, family: Family, natural: Vec<f64>) -> NodeId {
        let key = [natural.len() as u64].into_iter().chain(natural.iter().map(|x| x.to_bits()));
        let dist = *self.dists.entry(key.collect()).or_insert_with(|| {
            let given = Some(natural);
            self.circuit.add_dist(Dist { family, units: 1, given, frozen: true })
        });
        let circuit = &mut self.circuit;
        *self.leaves.entry((var, dist)).or_insert_with(|| circuit.leaf(var, dist))
    }

    /// Gives a node of the circuit the name and place of a node of the file.
    fn name(&mut self, made: NodeId, node: u32) {
        let item = self.parsed.nodes.get(node);
        self.map.nodes.entry(made).or_insert_with(|| {
            let name = item.name.map_or_else(|| made.to_string(), |name| name.to_string());
            (name, item.span)
        });
    }

    fn product(&mut self, node: u32, made: &[Made]) -> Made {
        let inputs = self.parsed.nodes.inputs(node);
        let inputs: Vec<&Made> = inputs.iter().map(|&(input, _)| &made[input as usize]).collect();
        let log_mass = inputs.iter().map(|input| input.log_mass).sum();
        if log_mass == f64::NEG_INFINITY {
            return Made::zero();
        }
        let mut count = self.counter.one();
        for input in &inputs {
            count = self.counter.times(count, input.count.as_ref());
        }
        let scope = self.union(&inputs);
        let nodes: Vec<NodeId> = inputs.iter().filter_map(|input| input.node).collect();
        let made = match nodes[..] {
            [] => None,
            [only] => Some(only),
            _ => Some(self.circuit.product(&nodes)),
        };
        if let Some(made) = made {
            self.name(made, node);
        }
        Made { node: made, scope, log_mass, count }
    }

    /// The variables of all inputs, if smoothing needs them.
    fn union(&mut self, inputs: &[&Made]) -> ScopeId {
        if self.parsed.weights.is_none() {
            return Scopes::EMPTY;
        }
        let scopes: Vec<ScopeId> = inputs.iter().map(|input| input.scope).collect();
        self.scopes.union(&scopes).0
    }

    fn sum(&mut self, node: u32, made: &[Made]) -> Result<Made, Diagnostic> {
        let inputs = self.parsed.nodes.inputs(node).iter();
        let terms: Vec<(&Made, f64)> = inputs
            .map(|&(input, weight)| (&made[input as usize], weight))
            .filter(|&(input, weight)| input.log_mass + weight > f64::NEG_INFINITY)
            .collect();
        let below: Vec<&Made> = terms.iter().map(|&(input, _)| input).collect();
        let scope = self.union(&below);
        let (mut inputs, mut logs) = (Vec::with_capacity(terms.len()), Vec::new());
        let mut count = self.counter.zero();
        for (input, weight) in terms {
            let input = self.over(input.clone(), scope)?;
            logs.push(weight + input.log_mass);
            count = self.counter.plus(count, input.count.as_ref());
            inputs.extend(input.node);
        }
        let log_mass = log_sum_exp(logs.iter().copied());
        if log_mass == f64::NEG_INFINITY {
            return Ok(Made::zero());
        }
        let made = match inputs[..] {
            [] => None,
            [only] => Some(only),
            _ => {
                let weights: Vec<f64> = logs.iter().map(|log| (log - log_mass).exp()).collect();
                let total: f64 = weights.iter().sum();
                let weights = weights.iter().map(|weight| weight / total).collect();
                Some(self.circuit.sum(1, &inputs, WeightSource::Frozen(weights)))
            }
        };
        if let Some(made) = made {
            self.name(made, node);
        }
        let log_mass = if self.parsed.normalised { 0.0 } else { log_mass };
        Ok(Made { node: made, scope, log_mass, count })
    }
}

/// The variables in the order in which the nodes first name them, then all others.
fn variable_order(parsed: &Parsed, order: &[u32]) -> Vec<VarId> {
    let mut seen = vec![false; parsed.variables.len()];
    let named = order.iter().filter_map(|&node| match parsed.nodes.get(node).what {
        What::Indicator { var, .. }
        | What::Free { var }
        | What::Categorical { var, .. }
        | What::Gaussian { var, .. } => Some(var),
        What::True | What::False | What::Product | What::Sum => None,
    });
    let all = named.chain(parsed.variables.ids());
    all.filter(|var| !std::mem::replace(&mut seen[var.0 as usize], true)).collect()
}
