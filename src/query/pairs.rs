//! How each unit of one circuit sees each unit of another over the same scope, by the sums of `compare.rs`: down
//! from both roots to the pairs that these ask for, each met once, and up again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::circuit::{Op, ValidCircuit};
use crate::ids::{IdVec, NodeId, ScopeId};

use super::leaves::Seen;
use super::posterior::Posterior;

/// A node of p and one of q of the same scope.
type Pair = (NodeId, NodeId);

/// A node and one of its units.
type Unit = (NodeId, usize);

/// A hash of pairs of ids, of which there are millions and none is chosen by a stranger to collide: what a
/// circuit of theirs makes slow is their own query.
#[derive(Clone, Copy, Default)]
struct PairHasher(u64);

type Mixed = BuildHasherDefault<PairHasher>;

impl Hasher for PairHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(byte.into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// The terms of each unit of a node that has terms; nothing of units that are not possible.
type Terms = Vec<Vec<(Unit, f64)>>;

/// One of the two circuits, given evidence.
struct Given<'a> {
    of: &'a Posterior<'a>,
    /// Of each node that has terms.
    terms: IdVec<NodeId, Option<Terms>>,
    /// Of each node that has terms those inputs that some unit of it has a share of; of others, all.
    inputs: IdVec<NodeId, Vec<NodeId>>,
}

impl<'a> Given<'a> {
    fn new(of: &'a Posterior<'a>) -> Self {
        let circuit = of.circuit();
        let terms = |node| has_terms(circuit, node).then(|| terms(of, node));
        let terms: IdVec<NodeId, Option<Terms>> = circuit.nodes().map(terms).collect();
        let inputs = |node| match &terms[node] {
            None => circuit.inputs(node).collect(),
            Some(terms) => {
                let inputs = terms.iter().flatten().map(|&((input, _), _)| input);
                let mut inputs: Vec<NodeId> = inputs.collect();
                inputs.sort_unstable();
                inputs.dedup();
                inputs
            }
        };
        Given { of, inputs: circuit.nodes().map(inputs).collect(), terms }
    }
}

/// All pairs of units that meet. Of a pair of products whose factors over one scope have nothing in common the
/// others are not looked at: two sentential decision nodes have as many pairs of elements as the product of
/// their numbers, of which few have primes that go together.
pub(super) struct Pairs<'a> {
    p: Given<'a>,
    q: Given<'a>,
    /// The scope in q of each scope of p that its vtree has.
    scopes: IdVec<ScopeId, Option<ScopeId>>,
    /// [units of p's node, units of q's node] a pair of nodes; of a pair that has nothing in common, nothing.
    met: HashMap<Pair, Vec<Seen>, Mixed>,
}

/// A pair whose own pairs are being looked at.
struct Open {
    pair: Pair,
    below: Vec<Pair>,
    /// How many of these are done.
    done: usize,
}

impl<'a> Pairs<'a> {
    /// Of two circuits given the same evidence; `scopes` has the scope in q of each scope of p.
    pub(super) fn new(
        p: &'a Posterior<'a>,
        q: &'a Posterior<'a>,
        scopes: &HashMap<ScopeId, ScopeId>,
    ) -> Self {
        let mut in_q = IdVec::filled(None, p.circuit().scopes().len());
        scopes.iter().for_each(|(&of_p, &of_q)| in_q[of_p] = Some(of_q));
        Pairs { p: Given::new(p), q: Given::new(q), scopes: in_q, met: HashMap::default() }
    }

    /// How the root of p sees that of q. A stack of its own, for circuits may be deep.
    pub(super) fn run(mut self) -> Seen {
        let root = (self.p.of.circuit().root(), self.q.of.circuit().root());
        let mut open = vec![self.open(root)];
        while let Some(Open { pair, below, done }) = open.last_mut() {
            let (pair, next) = (*pair, below.get(*done).copied());
            match next.map(|next| (next, self.met.get(&next))) {
                Some((next, None)) => open.push(self.open(next)),
                Some((_, Some(seen))) if seen.is_empty() && !self.has_terms(pair) => {
                    self.met.insert(pair, Vec::new());
                    open.pop();
                }
                Some(_) => *done += 1,
                None => {
                    let seen = self.pair(pair);
                    self.met.insert(pair, seen);
                    open.pop();
                }
            }
        }
        self.met[&root].first().copied().unwrap_or(Seen::NOTHING)
    }

    /// Whether one of the two weighs its inputs.
    fn has_terms(&self, (u, v): Pair) -> bool {
        self.p.terms[u].is_some() || self.q.terms[v].is_some()
    }

    /// A pair, and the pairs that it is made of.
    fn open(&self, (u, v): Pair) -> Open {
        let (left, right) = (&self.p.inputs[u], &self.q.inputs[v]);
        let below = if self.p.terms[u].is_some() {
            left.iter().map(|&input| (input, v)).collect()
        } else if self.q.terms[v].is_some() {
            right.iter().map(|&input| (u, input)).collect()
        } else {
            left.iter().zip(self.matches((u, v))).map(|(&input, at)| (input, right[at])).collect()
        };
        Open { pair: (u, v), below, done: 0 }
    }

    /// For each input of p's product, which input of q's has its scope.
    fn matches(&self, (u, v): Pair) -> Vec<usize> {
        let (p, q) = (self.p.of.circuit(), self.q.of.circuit());
        let right = &self.q.inputs[v];
        let place = |&input: &NodeId| {
            let scope = self.scopes[p.scope(input)]?;
            right.iter().position(|&other| q.scope(other) == scope)
        };
        self.p.inputs[u].iter().filter_map(place).collect()
    }

    /// How each unit of p's node sees each of q's, what they are made of being there. Units that are not
    /// possible see nothing and are not seen.
    fn pair(&self, (u, v): Pair) -> Vec<Seen> {
        let (p, q) = (self.p.of, self.q.of);
        let (rows, cols) = (p.circuit().units(u) as usize, q.circuit().units(v) as usize);
        let matches = if self.has_terms((u, v)) { Vec::new() } else { self.matches((u, v)) };
        let mut seen = vec![Seen::NOTHING; rows * cols];
        for a in (0..rows).filter(|&a| p.possible(u, a)) {
            for b in (0..cols).filter(|&b| q.possible(v, b)) {
                seen[a * cols + b] = match (&self.p.terms[u], &self.q.terms[v]) {
                    (Some(terms), _) => self.left_terms(&terms[a], (v, b)),
                    (None, Some(terms)) => self.right_terms((u, a), &terms[b]),
                    (None, None) => self.units((u, a), (v, b), &matches),
                };
            }
        }
        if seen.iter().all(|&seen| seen == Seen::NOTHING) { Vec::new() } else { seen }
    }

    /// A mixture of units of p sees what each of them sees.
    fn left_terms(&self, terms: &[(Unit, f64)], right: Unit) -> Seen {
        terms.iter().fold(Seen::NOTHING, |sum, &(of, share)| {
            let term = self.seen(of, right);
            Seen { mass: sum.mass + share * term.mass, log: sum.log + share * term.log }
        })
    }

    /// Of a deterministic mixture of units of q one term is seen wherever it has mass.
    fn right_terms(&self, left: Unit, terms: &[(Unit, f64)]) -> Seen {
        terms.iter().fold(Seen::NOTHING, |sum, &(of, share)| {
            let term = self.seen(left, of);
            let log = term.log + share.ln() * term.mass;
            Seen { mass: sum.mass + term.mass, log: sum.log + log }
        })
    }

    /// Two units of leaves, or of products that split their scope in one way.
    fn units(&self, left: Unit, right: Unit, matches: &[usize]) -> Seen {
        let (p, q) = (self.p.of, self.q.of);
        if let (Op::Leaf { var, dist }, Op::Leaf { dist: other, .. }) =
            (p.circuit().op(left.0), q.circuit().op(right.0))
        {
            return match p.observed(var) {
                Some(_) => Seen::CERTAIN,
                None => p.leaf(dist, left.1).seen_through(&q.leaf(other, right.1)),
            };
        }
        let of_right: Vec<Unit> = q.factors(right.0, right.1).collect();
        let of_left = p.factors(left.0, left.1);
        of_left.zip(matches).fold(Seen::CERTAIN, |all, (of, &at)| {
            let one = self.seen(of, of_right[at]);
            Seen { mass: all.mass * one.mass, log: all.log * one.mass + all.mass * one.log }
        })
    }

    fn seen(&self, (u, a): Unit, (v, b): Unit) -> Seen {
        let cols = self.q.of.circuit().units(v) as usize;
        let seen = self.met.get(&(u, v)).and_then(|seen| seen.get(a * cols + b));
        seen.copied().unwrap_or(Seen::NOTHING)
    }
}

/// Whether a node weighs its inputs; a product of one input does, by one.
fn has_terms(circuit: &ValidCircuit, node: NodeId) -> bool {
    match circuit.op(node) {
        Op::Sum { .. } | Op::Mixing { .. } => true,
        Op::Product | Op::Kronecker => circuit.inputs(node).count() == 1,
        Op::Leaf { .. } | Op::Given { .. } | Op::One => false,
    }
}

/// What each unit of such a node weighs, and by how much; nothing of units that are not possible.
fn terms(of: &Posterior<'_>, node: NodeId) -> Terms {
    let layer = of.terms(node);
    let terms = |unit| match &layer {
        _ if !of.possible(node, unit) => Vec::new(),
        Some(layer) => layer.shares(unit).collect(),
        None => of.factors(node, unit).map(|factor| (factor, 1.0)).collect(),
    };
    (0..of.circuit().units(node) as usize).map(terms).collect()
}
