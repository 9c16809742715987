//! EiNet over random binary trees (Peharz et al. 2020, Einsum Networks; the trees as in Peharz et
//! al. 2019, Random Sum-Product Networks).
//!
//! A replica splits the variables at random into two halves, each half again, and so on `depth` times
//! or until a variable stands alone. A region at the bottom has k units, in each of which its
//! variables are independent. Every other region is an einsum layer, a sum layer over all pairs of
//! the halves' units; that of all variables has one unit. The replicas meet in one mixing layer:
//!
//! ```text
//! {x2, x0} k units ─┐
//!                   ├ Kronecker k² ─ sum 1×k² ┐
//! {x1, x3} k units ─┘                         ├ mixing 1×R
//!                            other replicas ──┘
//! ```
//!
//! Nodes, and with them weights and sectors, are numbered replica by replica, and in a replica the
//! first half before the second and both before what is above them.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::ids::{NodeId, VarId};
use crate::spec::{Einet, Spec};

/// Builds the circuit.
///
/// # Errors
/// Every kind of variable that the leaves do not suit, and a size beyond all memory.
pub(super) fn build(spec: &Spec, einet: &Einet, span: Span) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, einet.units, &mut faults);
    if let Some(fault) = size_fault(spec, einet, &kinds) {
        faults.push(fault.at(span));
    }
    if faults.has_errors() {
        return Err(faults);
    }
    let mut circuit = Circuit::new(spec.variables.value.clone());
    let leaves = Leaves::new(kinds, &mut circuit);
    let mut builder = Builder { units: einet.units, leaves, circuit };
    let depth = einet.depth.unwrap_or(u32::MAX);
    let roots: Vec<NodeId> = (0..einet.replicas)
        .map(|replica| {
            // A replica depends on its own number and the seed alone, not on how many there are.
            let mut rng = ChaCha8Rng::seed_from_u64(einet.seed);
            rng.set_stream(replica.into());
            let mut vars: Vec<VarId> = builder.circuit.variables().ids().collect();
            builder.replica(&mut vars, depth, &mut rng)
        })
        .collect();
    let root = builder.circuit.mixing(&roots, WeightSource::Direct);
    builder.circuit.set_root(root);
    Ok(Draft::whole(builder.circuit))
}

fn size_fault(spec: &Spec, einet: &Einet, kinds: &Kinds) -> Option<Diagnostic> {
    let (n, k) = (spec.variables.value.len() as u128, u128::from(einet.units));
    let replicas = u128::from(einet.replicas);
    let bottom =
        einet.depth.and_then(|depth| 1u128.checked_shl(depth)).map_or(n, |most| n.min(most));
    let nodes = replicas * (2 * n + 3 * bottom);
    let numbers =
        replicas * (n * kinds.most_numbers(k) + bottom.saturating_sub(2) * k * k * k + k * k);
    check_size(nodes, numbers)
}

struct Builder {
    units: u32,
    leaves: Leaves,
    circuit: Circuit,
}

impl Builder {
    /// One replica; returns its root, of one unit.
    fn replica(&mut self, vars: &mut [VarId], depth: u32, rng: &mut ChaCha8Rng) -> NodeId {
        let below = match depth == 0 || vars.len() == 1 {
            true => self.leaves.independent(&mut self.circuit, vars, self.units),
            false => self.pairs(vars, depth, rng),
        };
        self.circuit.sum(1, &[below], WeightSource::Parameterizer)
    }

    /// A region of k units that may be split `depth` times.
    fn region(&mut self, vars: &mut [VarId], depth: u32, rng: &mut ChaCha8Rng) -> NodeId {
        if depth == 0 || vars.len() == 1 {
            return self.leaves.independent(&mut self.circuit, vars, self.units);
        }
        let pairs = self.pairs(vars, depth, rng);
        self.circuit.sum(self.units, &[pairs], WeightSource::Parameterizer)
    }

    /// All pairs of units of two random halves, of which the first has the odd variable.
    fn pairs(&mut self, vars: &mut [VarId], depth: u32, rng: &mut ChaCha8Rng) -> NodeId {
        vars.shuffle(rng);
        let (left, right) = vars.split_at_mut(vars.len().div_ceil(2));
        let halves = [self.region(left, depth - 1, rng), self.region(right, depth - 1, rng)];
        self.circuit.kronecker(&halves)
    }
}
