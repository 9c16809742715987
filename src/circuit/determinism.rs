//! Determinism, where the supports of the leaves show it.
//!
//! A sum is deterministic if for every full assignment at most one of its inputs' units is non-zero.
//! Deciding this is coNP-hard in general (it contains unsatisfiability), so the proof here is
//! sufficient only: each unit of each node gets a superset of its support, and a sum whose inputs'
//! supersets are disjoint is deterministic.
//!
//! A superset is a union of *cuboids*. A cuboid allows each variable some of its states; a variable it
//! does not name may have any. Products intersect their inputs' cuboids, sums unite them; what one
//! learns can be anything but zero, so only frozen numbers and indicators restrict a support. The
//! work is bounded: a circuit that would need more is of unknown determinism, as is any at the first
//! sum that is not shown to be deterministic. A RAT-SPN gives up at its first k × k sum.

use super::{Circuit, Op, WeightSource};
use crate::ids::{IdVec, NodeId, VarId};
use crate::leaf::{Dist, Family};
use crate::variables::VarKind;

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

/// Cuboids of one unit before their union is replaced by the least cuboid around it.
const MOST_CUBOIDS: usize = 32;
/// Entries of cuboids looked at before the proof is given up.
const MOST_WORK: usize = 1 << 22;

/// Tries to prove a circuit, its nodes given inputs first, deterministic.
pub(super) fn prove(circuit: &Circuit, order: &[NodeId]) -> Determinism {
    let count = circuit.node_count();
    let mut proof = Proof { circuit, supports: IdVec::filled(Vec::new(), count), work: 0 };
    match order.iter().all(|&node| proof.visit(node).is_some()) {
        true => Determinism::Proven,
        false => Determinism::Unknown,
    }
}

/// Some states of a variable, a bit each; the last bit stands for all states from 63 on, so that of
/// two states there nothing is concluded.
type States = u64;

/// The states that each variable may have, ascending by variable; all of a variable not named.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cuboid {
    allowed: Vec<(VarId, States)>,
}

/// A superset of the support of one unit: the union of some cuboids, nothing if there are none.
type Support = Vec<Cuboid>;

struct Proof<'a> {
    circuit: &'a Circuit,
    supports: IdVec<NodeId, Vec<Support>>,
    work: usize,
}

/// Every state.
const ALL: States = States::MAX;

impl Proof<'_> {
    /// Finds the supports of a node; `None` if it is a sum not shown to be deterministic, or if the
    /// work is spent.
    fn visit(&mut self, node: NodeId) -> Option<()> {
        let units = self.circuit.units(node) as usize;
        self.spend(units)?;
        self.supports[node] = match self.circuit.op(node) {
            Op::Leaf { var, dist } => self.leaf(var, &self.circuit.dists()[dist]),
            Op::Given { .. } | Op::One => vec![vec![Cuboid::default()]; units],
            Op::Product => self.product(node, units)?,
            Op::Kronecker => self.kronecker(node)?,
            Op::Sum { weights } => {
                let inputs = self.circuit.inputs(node);
                let below: Vec<Support> = inputs.flat_map(|n| self.supports[n].clone()).collect();
                self.rows(&self.circuit.weights()[weights].source, units, |_| below.clone())?
            }
            Op::Mixing { weights } => {
                let inputs: Vec<NodeId> = self.circuit.inputs(node).collect();
                let below: Vec<Vec<Support>> = (0..units)
                    .map(|unit| inputs.iter().map(|&n| self.supports[n][unit].clone()).collect())
                    .collect();
                self.rows(&self.circuit.weights()[weights].source, units, |unit| {
                    below[unit].clone()
                })?
            }
        };
        Some(())
    }

    fn spend(&mut self, work: usize) -> Option<()> {
        self.work += work;
        (self.work <= MOST_WORK).then_some(())
    }

    fn leaf(&self, var: VarId, dist: &Dist) -> Vec<Support> {
        let allowed = |possible: &dyn Fn(usize) -> bool| {
            let states = dist.family.states().unwrap_or(0);
            let bits = (0..states).filter(|&state| possible(state)).map(bit);
            vec![self.cuboid(var, bits.fold(0, |all, bit| all | bit))]
        };
        let given = dist.given.as_ref().filter(|_| dist.frozen);
        (0..dist.units as usize)
            .map(|unit| match (dist.family, given) {
                (Family::Indicators { .. }, _) => allowed(&|state| state == unit),
                (Family::Bernoulli, Some(p)) => {
                    allowed(&|state| if state == 1 { p[unit] > 0.0 } else { p[unit] < 1.0 })
                }
                (Family::Categorical { states }, Some(p)) => {
                    allowed(&|state| p[unit * states as usize + state] > 0.0)
                }
                _ => vec![Cuboid::default()],
            })
            .collect()
    }

    /// The cuboid that allows `var` some states.
    fn cuboid(&self, var: VarId, states: States) -> Cuboid {
        match states == self.all_states(var) {
            true => Cuboid::default(),
            false => Cuboid { allowed: vec![(var, states)] },
        }
    }

    fn all_states(&self, var: VarId) -> States {
        match self.circuit.variables().kind(var) {
            VarKind::Categorical { states: states @ ..64 } => bit(states as usize) - 1,
            VarKind::Categorical { .. } | VarKind::Real => ALL,
        }
    }

    fn product(&mut self, node: NodeId, units: usize) -> Option<Vec<Support>> {
        let mut product = vec![vec![Cuboid::default()]; units];
        for input in self.circuit.inputs(node) {
            for (unit, support) in product.iter_mut().enumerate() {
                *support = self.intersection(support, &self.supports[input][unit].clone())?;
            }
        }
        Some(product)
    }

    /// All pairs, the first input's unit varying fastest.
    fn kronecker(&mut self, node: NodeId) -> Option<Vec<Support>> {
        let mut product = vec![vec![Cuboid::default()]];
        for input in self.circuit.inputs(node) {
            let mut pairs = Vec::new();
            for right in self.supports[input].clone() {
                for left in &product {
                    pairs.push(self.intersection(left, &right)?);
                }
            }
            product = pairs;
        }
        Some(product)
    }

    /// The supports of the rows of a sum, `below` giving what a row sums; `None` unless every row is
    /// over disjoint ones. Only frozen zeros take an input out of a row.
    fn rows(
        &mut self,
        weights: &WeightSource,
        rows: usize,
        below: impl Fn(usize) -> Vec<Support>,
    ) -> Option<Vec<Support>> {
        let mut result = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut inputs = below(row);
            if let WeightSource::Frozen(values) = weights {
                let first = row * inputs.len();
                let mut weights = values[first..first + inputs.len()].iter();
                inputs.retain(|_| weights.next().is_some_and(|&weight| weight > 0.0));
            }
            result.push(self.disjoint_union(inputs)?);
        }
        Some(result)
    }

    fn disjoint_union(&mut self, supports: Vec<Support>) -> Option<Support> {
        let mut union = Support::new();
        for (position, support) in supports.iter().enumerate() {
            for earlier in &supports[..position] {
                for (a, b) in earlier.iter().flat_map(|a| support.iter().map(move |b| (a, b))) {
                    self.spend(1 + a.allowed.len() + b.allowed.len())?;
                    if intersect(a, b).is_some() {
                        return None;
                    }
                }
            }
            for cuboid in support {
                self.unite(&mut union, cuboid.clone())?;
            }
        }
        if union.len() > MOST_CUBOIDS {
            let least = union.iter().skip(1).fold(union[0].clone(), |a, b| around(&a, b));
            union = vec![least];
        }
        Some(union)
    }

    /// Adds a cuboid to a union, joined with those that differ from it in one variable only.
    fn unite(&mut self, union: &mut Support, mut cuboid: Cuboid) -> Option<()> {
        loop {
            self.spend(union.iter().map(|other| 1 + other.allowed.len()).sum())?;
            let joined = union.iter().enumerate().find_map(|(at, other)| {
                let (var, states) = joined(other, &cuboid)?;
                Some((at, var, states))
            });
            let Some((at, var, states)) = joined else { break };
            union.swap_remove(at);
            let full = states == self.all_states(var);
            cuboid.allowed.retain_mut(|entry| {
                if entry.0 == var {
                    entry.1 = states;
                }
                entry.0 != var || !full
            });
        }
        union.push(cuboid);
        Some(())
    }

    fn intersection(&mut self, a: &Support, b: &Support) -> Option<Support> {
        let mut all = Support::new();
        for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
            self.spend(1 + a.allowed.len() + b.allowed.len())?;
            all.extend(intersect(a, b));
        }
        Some(all)
    }
}

fn bit(state: usize) -> States {
    1 << state.min(63)
}

/// What both allow; `None` if that is nothing.
fn intersect(a: &Cuboid, b: &Cuboid) -> Option<Cuboid> {
    let mut allowed = Vec::with_capacity(a.allowed.len() + b.allowed.len());
    let (mut left, mut right) = (a.allowed.iter().peekable(), b.allowed.iter().peekable());
    loop {
        let entry = match (left.peek(), right.peek()) {
            (Some(&&(a, x)), Some(&&(b, y))) if a == b => {
                right.next();
                left.next();
                (a, x & y)
            }
            (Some(a), Some(b)) if b.0 < a.0 => *right.next()?,
            (Some(_), _) => *left.next()?,
            (None, Some(_)) => *right.next()?,
            (None, None) => return Some(Cuboid { allowed }),
        };
        if entry.1 == 0 {
            return None;
        }
        allowed.push(entry);
    }
}

/// The one variable in which two cuboids over the same variables differ, and its states in either.
fn joined(a: &Cuboid, b: &Cuboid) -> Option<(VarId, States)> {
    if a.allowed.len() != b.allowed.len() {
        return None;
    }
    let mut pairs = a.allowed.iter().zip(&b.allowed);
    let mut differing = pairs.clone().filter(|(a, b)| a != b);
    let (x, y) = differing.next().or_else(|| pairs.next())?;
    (differing.next().is_none() && x.0 == y.0).then_some((x.0, x.1 | y.1))
}

/// The least cuboid around two.
fn around(a: &Cuboid, b: &Cuboid) -> Cuboid {
    let both = a.allowed.iter().filter_map(|&(var, x)| {
        let at = b.allowed.binary_search_by_key(&var, |&(var, _)| var).ok()?;
        Some((var, x | b.allowed[at].1))
    });
    Cuboid { allowed: both.collect() }
}

#[cfg(test)]
mod tests;
