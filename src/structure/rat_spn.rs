//! RAT-SPN: random binary trees over all variables, mixed at the root (Peharz et al. 2019, Random
//! Sum-Product Networks; the trees as in Shih, Sadigh and Ermon 2021).
//!
//! A replica takes the variables in a random order. Over each leaf stands a sum layer of k units;
//! then, level by level, neighbours are paired from left to right into Hadamard products, each under
//! a sum layer of k units, the last of one unit. Where a level has an odd number of regions its last
//! product joins three. The roots of the replicas meet in one mixing layer:
//!
//! ```text
//! order x2 x0 x1:   x2 ─ sum k×2 ┐
//!                   x0 ─ sum k×2 ┼ product ─ sum 1×k ┐
//!                   x1 ─ sum k×2 ┘                   ├ mixing 1×R
//!                                    other replicas ─┘
//! ```
//!
//! Indicators have nothing to learn, so a variable has one leaf for all replicas. A leaf with
//! parameters is each replica's own, has k units by itself, and no sum over it.
//!
//! Nodes, and with them weights and sectors, are numbered replica by replica, and in a replica level
//! by level from the leaves.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::leaves::{Kinds, Leaves};
use super::{Draft, check_size};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::{Code, Diagnostic, Diagnostics, Span};
use crate::ids::{Id, NodeId, VarId};
use crate::spec::{Permutation, RatSpn, Spec};

/// Builds the circuit.
///
/// # Errors
/// Every list of `permutations` that is none, every kind of variable that the leaves do not suit,
/// and a size beyond all memory.
pub(super) fn build(spec: &Spec, rat: &RatSpn, span: Span) -> Result<Draft, Diagnostics> {
    let mut faults = Diagnostics::new();
    let kinds = Kinds::of(spec, rat.units, &mut faults);
    check_permutations(spec, rat, &mut faults);
    if let Some(fault) = size_fault(spec, rat, &kinds) {
        faults.push(fault.at(span));
    }
    if faults.has_errors() {
        return Err(faults);
    }
    Ok(Draft::whole(Builder::new(spec, rat, kinds).build()))
}

fn check_permutations(spec: &Spec, rat: &RatSpn, faults: &mut Diagnostics) {
    let Some(lists) = &rat.permutations else { return };
    let count = lists.value.len();
    if count != rat.replicas as usize {
        let lists_text =
            if count == 1 { "1 permutation".into() } else { format!("{count} permutations") };
        let message = format!("{lists_text} for {} replicas", rat.replicas);
        let fault = Diagnostic::new(Code::E0117, message).at(lists.span);
        faults.push(fault.help("give a permutation of the variables for each replica"));
    }
    faults.extend(
        lists
            .value
            .iter()
            .enumerate()
            .filter_map(|(replica, order)| permutation_fault(spec, replica, order))
            .collect(),
    );
}

/// The first entry that makes `order` no permutation of the variables.
fn permutation_fault(spec: &Spec, replica: usize, order: &Permutation) -> Option<Diagnostic> {
    let n = spec.variables.value.len();
    let help = format!("a permutation names each variable once, from 0 to {}", n - 1);
    let mut first: Vec<Option<Span>> = vec![None; n];
    for entry in &order.value {
        let fault = |message: String| {
            Diagnostic::new(Code::E0117, message).at(entry.span).help(help.as_str())
        };
        match first.get_mut(entry.value as usize) {
            None => {
                let message = format!("permutation {replica} names variable {}", entry.value);
                return Some(fault(message));
            }
            Some(Some(place)) => {
                let message = format!("permutation {replica} has variable {} twice", entry.value);
                return Some(fault(message).label(Some(*place), "first here"));
            }
            Some(place) => *place = Some(entry.span),
        }
    }
    let missing = first.iter().position(Option::is_none)?;
    let name = spec.variables.value.name(VarId::from_index(missing));
    let message = format!("permutation {replica} lacks variable {missing} (`{name}`)");
    Some(Diagnostic::new(Code::E0117, message).at(order.span).help(help))
}

fn size_fault(spec: &Spec, rat: &RatSpn, kinds: &Kinds) -> Option<Diagnostic> {
    let (n, k) = (spec.variables.value.len() as u128, u128::from(rat.units));
    let replicas = u128::from(rat.replicas);
    let nodes = replicas * 4 * n;
    let numbers = replicas * (n * kinds.most_numbers(k) + n.saturating_sub(2) * k * k + k);
    check_size(nodes, numbers)
}

struct Builder<'a> {
    rat: &'a RatSpn,
    leaves: Leaves,
    circuit: Circuit,
}

impl<'a> Builder<'a> {
    fn new(spec: &Spec, rat: &'a RatSpn, kinds: Kinds) -> Self {
        let mut circuit = Circuit::new(spec.variables.value.clone());
        let n = spec.variables.value.len();
        let replicas = rat.replicas as usize;
        circuit.reserve((n + 1) + replicas * 3 * n, replicas * 4 * n);
        let leaves = Leaves::new(kinds, &mut circuit);
        Builder { rat, leaves, circuit }
    }

    fn build(mut self) -> Circuit {
        let replicas = 0..self.rat.replicas as usize;
        let roots: Vec<NodeId> = replicas
            .map(|replica| {
                let order = self.order(replica);
                self.tree(&order)
            })
            .collect();
        let root = self.circuit.mixing(&roots, WeightSource::Direct);
        self.circuit.set_root(root);
        self.circuit
    }

    /// The order of the variables in a replica. A replica's order depends on its own number and the
    /// seed alone, not on how many replicas there are.
    fn order(&self, replica: usize) -> Vec<VarId> {
        if let Some(lists) = &self.rat.permutations {
            return lists.value[replica].value.iter().map(|entry| VarId(entry.value)).collect();
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.rat.seed);
        rng.set_stream(replica as u64);
        let mut order: Vec<VarId> = self.circuit.variables().ids().collect();
        order.shuffle(&mut rng);
        order
    }

    /// One replica; returns its root, of one unit.
    fn tree(&mut self, order: &[VarId]) -> NodeId {
        let leaf_units = if order.len() == 1 { 1 } else { self.rat.units };
        let mut level: Vec<NodeId> = order
            .iter()
            .map(|&var| self.leaves.region(&mut self.circuit, var, leaf_units))
            .collect();
        while level.len() > 1 {
            let pairs = level.len() / 2;
            let units = if pairs == 1 { 1 } else { self.rat.units };
            let mut above = Vec::with_capacity(pairs);
            for pair in 0..pairs {
                let end = if pair + 1 == pairs { level.len() } else { 2 * pair + 2 };
                let product = self.circuit.product(&level[2 * pair..end]);
                above.push(self.circuit.sum(units, &[product], WeightSource::Parameterizer));
            }
            level = above;
        }
        level[0]
    }
}
