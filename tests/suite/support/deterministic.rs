//! Random deterministic circuits that follow one vtree, small enough to enumerate.
//!
//! A *plan* fixes how each scope is split: by the value of one of its discrete variables, if it has one,
//! the others falling into one or two parts. Circuits of one plan differ in everything else: how a
//! decision is written (a mixing layer over guarded products, one sum layer over all of them, or a layer of
//! indicators), which states are possible, where weights come from, and what the leaves are.

use pcc::circuit::{Circuit, Op, WeightSource};
use pcc::ids::{NodeId, VarId};
use pcc::leaf::{Dist, Family};
use pcc::variables::{VarKind, Variables};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the variables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// 1 to 6 variables of two to four states.
    Discrete,
    /// 1 to 3 variables of two or three states, and one or two real ones.
    Mixed,
}

/// How a scope is split.
enum Split {
    /// It is one variable, and not split.
    One(VarId),
    /// By the value of a variable, if there is a discrete one, and the others into parts.
    Parts { decided: Option<VarId>, parts: Vec<Split> },
}

/// What circuits have in common.
pub struct Plan {
    /// Their variables.
    pub variables: Variables,
    /// The real variables that are counts.
    counts: Vec<bool>,
    split: Split,
}

/// A random plan: a function of its arguments.
pub fn plan(seed: u64, kinds: Kinds) -> Plan {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let discrete = |rng: &mut ChaCha8Rng, count, most| -> Vec<VarKind> {
        let kind = |_| VarKind::Categorical { states: rng.random_range(2..=most) };
        (0..count).map(kind).collect()
    };
    let count = rng.random_range(1..=6);
    let mut each = match kinds {
        Kinds::Discrete => discrete(&mut rng, count, 4),
        Kinds::Mixed => {
            let mut each = discrete(&mut rng, 1 + count % 3, 3);
            each.extend(vec![VarKind::Real; rng.random_range(1..=2)]);
            each
        }
    };
    each.shuffle(&mut rng);
    let counts = each.iter().map(|_| rng.random()).collect();
    let named = each.into_iter().enumerate().map(|(at, kind)| (format!("v{at}"), kind));
    let variables = Variables::named(named);
    let mut all: Vec<VarId> = variables.ids().collect();
    all.shuffle(&mut rng);
    let split = split(&variables, &all, &mut rng);
    Plan { variables, counts, split }
}

fn split(variables: &Variables, scope: &[VarId], rng: &mut ChaCha8Rng) -> Split {
    if let [var] = scope {
        return Split::One(*var);
    }
    let decided = scope.iter().copied().find(|&var| variables.kind(var) != VarKind::Real);
    let rest: Vec<VarId> = scope.iter().copied().filter(|&var| Some(var) != decided).collect();
    let least = usize::from(decided.is_none());
    let cut = rng.random_range(least..rest.len().max(least + 1));
    let (left, right) = rest.split_at(cut);
    let parts = [left, right].into_iter().filter(|part| !part.is_empty());
    Split::Parts { decided, parts: parts.map(|part| split(variables, part, rng)).collect() }
}

/// A random circuit of a plan, deterministic if `replicas` is one; a mixture of so many others that are.
pub fn circuit(plan: &Plan, seed: u64, replicas: usize) -> Circuit {
    let mut builder = Builder {
        plan,
        circuit: Circuit::new(plan.variables.clone()),
        rng: ChaCha8Rng::seed_from_u64(seed),
    };
    let roots: Vec<NodeId> = (0..replicas).map(|_| builder.region(&plan.split, 1)).collect();
    let root = match roots[..] {
        [root] => root,
        _ => builder.circuit.mixing(&roots, WeightSource::Direct),
    };
    builder.circuit.set_root(root);
    builder.circuit
}

struct Builder<'a> {
    plan: &'a Plan,
    circuit: Circuit,
    rng: ChaCha8Rng,
}

impl Builder<'_> {
    /// A region of `units` units.
    fn region(&mut self, split: &Split, units: u32) -> NodeId {
        match split {
            Split::One(var) => self.one(*var, units),
            Split::Parts { decided: None, parts } => self.product(None, parts, units),
            Split::Parts { decided: Some(var), parts } => self.decision(*var, parts, units),
        }
    }

    fn states(&self, var: VarId) -> u32 {
        match self.plan.variables.kind(var) {
            VarKind::Categorical { states } => states,
            VarKind::Real => 0,
        }
    }

    /// A product of a node, if there is one, and of regions.
    fn product(&mut self, guard: Option<NodeId>, parts: &[Split], units: u32) -> NodeId {
        let below: Vec<NodeId> = parts.iter().map(|part| self.region(part, units)).collect();
        let inputs: Vec<NodeId> = guard.into_iter().chain(below).collect();
        match units {
            1 if self.rng.random() => self.circuit.kronecker(&inputs),
            _ => self.circuit.product(&inputs),
        }
    }

    fn decision(&mut self, var: VarId, parts: &[Split], units: u32) -> NodeId {
        let states = self.states(var);
        match self.rng.random_range(0..3) {
            // Each unit weighs its own products, guarded by the states.
            0 => {
                let possible = self.possible(states);
                let terms: Vec<NodeId> =
                    possible.iter().map(|&state| self.guarded(var, state, parts, units)).collect();
                let source = self.source(units, terms.len());
                self.circuit.mixing(&terms, source)
            }
            // All units weigh the same products.
            1 => {
                let possible = self.possible(states);
                let terms: Vec<NodeId> =
                    possible.iter().map(|&state| self.guarded(var, state, parts, 1)).collect();
                let source = self.source(units, terms.len());
                self.circuit.sum(units, &terms, source)
            }
            // The same, as one product of as many units as states.
            _ => {
                let indicators = self.circuit.add_dist(Dist::indicators(states));
                let guard = self.circuit.leaf(var, indicators);
                let term = self.product(Some(guard), parts, states);
                let source = self.source(units, states as usize);
                self.circuit.sum(units, &[term], source)
            }
        }
    }

    /// Most of the states, at least one.
    fn possible(&mut self, states: u32) -> Vec<u32> {
        let certain = self.rng.random_range(0..states);
        (0..states).filter(|&state| state == certain || !self.rng.random_ratio(1, 8)).collect()
    }

    fn guarded(&mut self, var: VarId, state: u32, parts: &[Split], units: u32) -> NodeId {
        let states = self.states(var);
        let one = (0..states).map(|other| f64::from(u8::from(other == state)));
        let given: Vec<f64> = one.collect::<Vec<_>>().repeat(units as usize);
        let family = Family::Categorical { states };
        let dist = Dist { family, units, given: Some(given), frozen: true };
        let dist = self.circuit.add_dist(dist);
        let guard = self.circuit.leaf(var, dist);
        self.product(Some(guard), parts, units)
    }

    fn source(&mut self, rows: u32, cols: usize) -> WeightSource {
        if self.rng.random_ratio(3, 4) {
            return WeightSource::Direct;
        }
        let row = |rng: &mut ChaCha8Rng| {
            let row: Vec<f64> = (0..cols).map(|_| rng.random_range(0.1..1.0)).collect();
            let sum: f64 = row.iter().sum();
            row.into_iter().map(move |w| w / sum).collect::<Vec<f64>>()
        };
        WeightSource::Frozen((0..rows).flat_map(|_| row(&mut self.rng)).collect())
    }

    /// A region of one variable.
    fn one(&mut self, var: VarId, units: u32) -> NodeId {
        let states = self.states(var);
        let family = match self.plan.variables.kind(var) {
            VarKind::Real if self.plan.counts[var.0 as usize] => Family::Poisson,
            VarKind::Real => Family::Gaussian { min_var: 0.3, max_var: 2.0 },
            VarKind::Categorical { .. } => match self.rng.random_range(0..3) {
                0 => {
                    let indicators = self.circuit.add_dist(Dist::indicators(states));
                    let leaf = self.circuit.leaf(var, indicators);
                    let source = self.source(units, states as usize);
                    return self.circuit.sum(units, &[leaf], source);
                }
                1 => Family::Binomial { trials: states - 1 },
                _ => Family::Categorical { states },
            },
        };
        let dist = self.circuit.add_dist(Dist::learnable(family, units));
        let leaf = self.circuit.leaf(var, dist);
        // A product of one input is allowed, and says what its input says.
        match self.rng.random_ratio(1, 8) {
            true => self.circuit.add_over(Op::Product, units, &[leaf]),
            false => leaf,
        }
    }
}
