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

use crate::circuit::{Determinism, Op, ValidCircuit};
use crate::diag::{Code, Diagnostic};
use crate::ids::{ScopeId, VarId};
use crate::leaf::Family;
use crate::scope::Scopes;
use crate::variables::VarKind;

use super::entropy::Entropy;
use super::pairs::Pairs;
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
