//! Two circuits over the same variables: expected log-likelihood and Kullback–Leibler divergence.
//!
//! E_p[ln q] is exact if q is deterministic and both circuits split every scope in the same way, that is
//! follow one vtree; KL(p ‖ q) = −H(p) − E_p[ln q] if p is deterministic too (Vergari et al. 2021, *A
//! Compositional Atlas of Tractable Circuit Operations*, sections 3 and 4: cross-entropy, KL divergence).
//! For each unit u of p and v of q over one scope, two numbers are carried up, the mass that u has
//! where v has some, and the mean of ln v over that mass:
//!
//! ```text
//! u = Σ r_c u_c      mass(u, v) = Σ r_c mass(u_c, v)     log(u, v) = Σ r_c log(u_c, v)
//! v = Σ r_c v_c      mass(u, v) = Σ mass(u, v_c)         log(u, v) = Σ (log(u, v_c) + ln r_c mass(u, v_c))
//! products           mass = Π massᵢ                      log = Σ logᵢ Π_{j ≠ i} massⱼ
//! ```
//!
//! The second line is where v must be deterministic: of the logarithm of a sum one term is left. The cost is
//! that of the pairs of units that meet over one scope and of which what they are parts of asks. Logarithms are natural.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::circuit::{Determinism, Op, ValidCircuit};
use crate::diag::{Code, Diagnostic};
use crate::ids::{IdVec, NodeId, ScopeId, VarId};
use crate::leaf::Family;
use crate::scope::Scopes;
use crate::variables::VarKind;

use super::entropy::Entropy;
use super::leaves::Seen;
use super::posterior::Posterior;

/// Mass of p outside the support of q above which that is not rounding, and E_p[ln q] is −∞.
const MASS_OUTSIDE: f64 = 1e-9;

/// The expected log-likelihood of one circuit under another. Made once for all rows.
#[derive(Clone, Debug)]
pub struct ExpectedLogLikelihood {
    /// The scope in q of each scope of p.
    scopes: HashMap<ScopeId, ScopeId>,
}

impl ExpectedLogLikelihood {
    /// Of `q` under `p`.
    ///
    /// # Errors
    /// E0704 where the variables differ, where `q` is not known to be deterministic, where the circuits do
    /// not split every scope in the same way, or where a variable is a count in one and a density in the
    /// other.
    pub fn new(p: &ValidCircuit, q: &ValidCircuit) -> Result<Self, Diagnostic> {
        same_variables(p, q)?;
        if p.is_specialised() || q.is_specialised() {
            return Err(refused("variables have been taken out of one of the circuits"));
        }
        deterministic(q, "second")?;
        let scopes = same_splits(p, q)?;
        same_densities(p, q)?;
        Ok(ExpectedLogLikelihood { scopes })
    }

    /// E[ln q(x | e)] of x drawn from p(x | e), in nats; −∞ where p has mass that q has not. Both are given
    /// the same evidence.
    pub fn given(&self, p: &Posterior<'_>, q: &Posterior<'_>) -> f64 {
        let seen = Pairs::new(p, q, &self.scopes).run();
        match seen.mass < 1.0 - MASS_OUTSIDE {
            true => f64::NEG_INFINITY,
            false => seen.log,
        }
    }
}

/// The Kullback–Leibler divergence of one circuit from another. Made once for all rows.
#[derive(Clone, Debug)]
pub struct Divergence {
    entropy: Entropy,
    expected: ExpectedLogLikelihood,
}

impl Divergence {
    /// KL(p ‖ q).
    ///
    /// # Errors
    /// As [`ExpectedLogLikelihood::new`], and E0704 where `p` is not known to be deterministic.
    pub fn new(p: &ValidCircuit, q: &ValidCircuit) -> Result<Self, Diagnostic> {
        let expected = ExpectedLogLikelihood::new(p, q)?;
        deterministic(p, "first")?;
        let all: Vec<VarId> = p.variables().ids().collect();
        Ok(Divergence { entropy: Entropy::new(p, &all)?, expected })
    }

    /// KL(p(x | e) ‖ q(x | e)), in nats; +∞ where p has mass that q has not. Zero where rounding would have
    /// made it negative.
    pub fn given(&self, p: &Posterior<'_>, q: &Posterior<'_>) -> f64 {
        (-self.entropy.given(p) - self.expected.given(p, q)).max(0.0)
    }
}

fn deterministic(circuit: &ValidCircuit, which: &str) -> Result<(), Diagnostic> {
    match circuit.properties().deterministic {
        Determinism::Unknown => {
            let message = format!("the {which} circuit is not known to be deterministic");
            Err(refused(message).help(
                "the logarithm of a sum is tractable where at most one of its terms is not zero",
            ))
        }
        Determinism::Proven | Determinism::Declared => Ok(()),
    }
}

fn refused(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::E0704, message)
}

fn same_variables(p: &ValidCircuit, q: &ValidCircuit) -> Result<(), Diagnostic> {
    let (of_p, of_q) = (p.variables(), q.variables());
    if of_p.len() != of_q.len() {
        let message = format!("one circuit has {} variables, the other {}", of_p.len(), of_q.len());
        return Err(refused(message));
    }
    let differs =
        |&var: &VarId| of_p.name(var) != of_q.name(var) || of_p.kind(var) != of_q.kind(var);
    match of_p.ids().find(differs) {
        None => Ok(()),
        Some(var) => {
            let names = (of_p.name(var), of_q.name(var));
            Err(refused(format!("`{}` of one circuit is not `{}` of the other", names.0, names.1))
                .help("the same variables, of one kind each, in one order"))
        }
    }
}

/// The variables of a scope, ascending.
fn sorted(scopes: &Scopes, scope: ScopeId) -> Vec<VarId> {
    let mut variables = scopes.variables(scope);
    variables.sort_unstable();
    variables
}

/// Which scope of q is which of p, from the root down both vtrees.
fn same_splits(
    p: &ValidCircuit,
    q: &ValidCircuit,
) -> Result<HashMap<ScopeId, ScopeId>, Diagnostic> {
    let (Some(of_p), Some(of_q)) = (p.vtree(), q.vtree()) else {
        let which = if p.vtree().is_some() { "second" } else { "first" };
        let message = format!("the {which} circuit is not structured-decomposable");
        return Err(refused(message).help("all products of one scope must split it in one way"));
    };
    let mut scopes = HashMap::new();
    let mut open = vec![(of_p.root(), of_q.root())];
    while let Some((a, b)) = open.pop() {
        scopes.insert(a, b);
        let parts = |scopes: &Scopes, parts: &[ScopeId]| {
            let part = |&part: &ScopeId| (sorted(scopes, part), part);
            let mut parts: Vec<(Vec<VarId>, ScopeId)> = parts.iter().map(part).collect();
            parts.sort_unstable();
            parts
        };
        let (left, right) = (parts(p.scopes(), of_p.parts(a)), parts(q.scopes(), of_q.parts(b)));
        if !left.iter().map(|part| &part.0).eq(right.iter().map(|part| &part.0)) {
            return Err(refused(format!(
                "the circuits split the variables {} in different ways",
                names(p, &sorted(p.scopes(), a))
            ))
            .help("`pcc check` prints the vtree of each"));
        }
        open.extend(left.into_iter().zip(right).map(|(a, b)| (a.1, b.1)));
    }
    Ok(scopes)
}

/// Variables by name, the first ones of many.
fn names(circuit: &ValidCircuit, variables: &[VarId]) -> String {
    const LISTED: usize = 8;
    let name = |&var: &VarId| format!("`{}`", circuit.variables().name(var));
    let names: Vec<String> = variables.iter().take(LISTED).map(name).collect();
    let more = if variables.len() > LISTED { ", …" } else { "" };
    names.join(", ") + more
}

/// Whether the leaves of each real variable are densities in both circuits, or counts in both.
fn same_densities(p: &ValidCircuit, q: &ValidCircuit) -> Result<(), Diagnostic> {
    let mut counts: HashMap<VarId, bool> = HashMap::new();
    for circuit in [p, q] {
        for &node in circuit.order() {
            let Op::Leaf { var, dist } = circuit.op(node) else { continue };
            if circuit.variables().kind(var) == VarKind::Real {
                let counted = circuit.dists()[dist].family == Family::Poisson;
                if *counts.entry(var).or_insert(counted) != counted {
                    let name = circuit.variables().name(var);
                    let message = format!("some leaves of `{name}` are densities, others counts");
                    return Err(refused(message));
                }
            }
        }
    }
    Ok(())
}

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
}

impl<'a> Given<'a> {
    fn new(of: &'a Posterior<'a>) -> Self {
        let circuit = of.circuit();
        let terms = |node| has_terms(circuit, node).then(|| terms(of, node));
        Given { of, terms: circuit.nodes().map(terms).collect() }
    }

    /// Inputs of a node with terms that some unit of it has a share of.
    fn met(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let terms = self.terms[node].iter().flatten().flatten();
        let mut inputs: Vec<NodeId> = terms.map(|&((input, _), _)| input).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs.into_iter()
    }
}

/// All pairs of units that meet. Of a pair of products whose factors over one scope have nothing in common the
/// others are not looked at: two sentential decision nodes have as many pairs of elements as the product of
/// their numbers, of which few have primes that go together.
struct Pairs<'a> {
    p: Given<'a>,
    q: Given<'a>,
    scopes: &'a HashMap<ScopeId, ScopeId>,
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
    fn new(
        p: &'a Posterior<'a>,
        q: &'a Posterior<'a>,
        scopes: &'a HashMap<ScopeId, ScopeId>,
    ) -> Self {
        Pairs { p: Given::new(p), q: Given::new(q), scopes, met: HashMap::default() }
    }

    /// How the root of p sees that of q. A stack of its own, for circuits may be deep.
    fn run(mut self) -> Seen {
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
        let (p, q) = (self.p.of.circuit(), self.q.of.circuit());
        let below = if self.p.terms[u].is_some() {
            self.p.met(u).map(|input| (input, v)).collect()
        } else if self.q.terms[v].is_some() {
            self.q.met(v).map(|input| (u, input)).collect()
        } else {
            let right: Vec<NodeId> = q.inputs(v).collect();
            p.inputs(u).zip(self.matches((u, v))).map(|(input, at)| (input, right[at])).collect()
        };
        Open { pair: (u, v), below, done: 0 }
    }

    /// For each input of p's product, which input of q's has its scope.
    fn matches(&self, (u, v): Pair) -> Vec<usize> {
        let (p, q) = (self.p.of.circuit(), self.q.of.circuit());
        let right: Vec<ScopeId> = q.inputs(v).map(|input| q.scope(input)).collect();
        let place = |input| {
            let scope = self.scopes.get(&p.scope(input));
            scope.and_then(|scope| right.iter().position(|other| other == scope))
        };
        p.inputs(u).filter_map(place).collect()
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
