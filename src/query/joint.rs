//! The joint distribution of a few discrete variables given evidence, as a table.
//!
//! One pass up: a product's table is the outer product of its factors', a sum's the mixture of its
//! terms' by their shares. A table is dropped once the last node above has read it.

use std::collections::HashMap;

use crate::circuit::{Circuit, Op};
use crate::ids::{Id, NodeId, VarId};
use crate::variables::VarKind;

use super::posterior::Posterior;

/// Joint states that a table has at most.
pub const MOST_STATES: usize = 1 << 16;

/// Number of joint states of some variables, none named twice; `None` where one is real or they are
/// more than [`MOST_STATES`].
pub fn joint_states(circuit: &Circuit, of: &[VarId]) -> Option<usize> {
    of.iter().try_fold(1usize, |product, &var| match circuit.variables().kind(var) {
        VarKind::Categorical { states } => {
            product.checked_mul(states as usize).filter(|&product| product <= MOST_STATES)
        }
        VarKind::Real => None,
    })
}

/// The probability of each joint state of `of`, discrete variables that the circuit depends on, none named
/// twice: the first varies fastest. Exact, in one pass; a unit's table has as many numbers as the
/// variables in its scope have joint states.
pub fn joint(posterior: &Posterior<'_>, of: &[VarId]) -> Vec<f64> {
    let circuit = posterior.circuit();
    let kind = |&var: &VarId| match circuit.variables().kind(var) {
        VarKind::Categorical { states } => states as usize,
        VarKind::Real => 1,
    };
    let mut axis_of = vec![None; circuit.variables().len()];
    of.iter().enumerate().for_each(|(axis, var)| axis_of[var.index()] = Some(axis));
    let pass = Pass { posterior, axis_of, lengths: of.iter().map(kind).collect() };
    let mut left: HashMap<NodeId, usize> = HashMap::new();
    let inputs = |node| circuit.inputs(node);
    for input in circuit.order().iter().flat_map(|&node| inputs(node)) {
        *left.entry(input).or_default() += 1;
    }
    let mut tables: HashMap<NodeId, Table> = HashMap::new();
    for &node in circuit.order() {
        let table = pass.table(node, &tables);
        tables.insert(node, table);
        for input in inputs(node) {
            let readers = left.entry(input).or_default();
            *readers -= 1;
            if *readers == 0 {
                tables.remove(&input);
            }
        }
    }
    tables.remove(&circuit.root()).map(|table| table.p).unwrap_or_default()
}

/// The tables of the units of one node.
struct Table {
    /// The axes in its scope, ascending; the first varies fastest.
    axes: Vec<usize>,
    /// [units, joint states of the axes]; zero of units that are not possible.
    p: Vec<f64>,
    states: usize,
}

impl Table {
    fn of(&self, unit: usize) -> &[f64] {
        &self.p[unit * self.states..][..self.states]
    }
}

struct Pass<'a> {
    posterior: &'a Posterior<'a>,
    axis_of: Vec<Option<usize>>,
    lengths: Vec<usize>,
}

impl Pass<'_> {
    /// The tables of one node, those of its inputs being there.
    fn table(&self, node: NodeId, tables: &HashMap<NodeId, Table>) -> Table {
        let circuit = self.posterior.circuit();
        let below: Vec<&Table> = circuit.inputs(node).filter_map(|n| tables.get(&n)).collect();
        let axes = match circuit.op(node) {
            Op::Leaf { var, .. } => self.axis_of[var.index()].into_iter().collect(),
            Op::Given { .. } | Op::One => Vec::new(),
            Op::Product | Op::Kronecker => {
                let mut axes: Vec<usize> = below.iter().flat_map(|t| t.axes.clone()).collect();
                axes.sort_unstable();
                axes
            }
            Op::Sum { .. } | Op::Mixing { .. } => {
                below.first().map(|table| table.axes.clone()).unwrap_or_default()
            }
        };
        let states = axes.iter().map(|&axis| self.lengths[axis]).product();
        let units = circuit.units(node) as usize;
        let mut p = vec![0.0; units * states];
        // Where each factor's table is read for each state of a product.
        let places: Vec<Vec<usize>> = match circuit.op(node) {
            Op::Product | Op::Kronecker => {
                below.iter().map(|table| self.places(&axes, &table.axes)).collect()
            }
            _ => Vec::new(),
        };
        let terms = self.posterior.terms(node);
        for (unit, out) in p.chunks_exact_mut(states).enumerate() {
            if !self.posterior.possible(node, unit) {
                continue;
            }
            match &terms {
                Some(terms) => mixture(terms.shares(unit), tables, out),
                None => self.fill(node, unit, &places, tables, out),
            }
        }
        Table { axes, p, states }
    }

    /// Writes the table of one possible unit of a node that is no sum.
    fn fill(
        &self,
        node: NodeId,
        unit: usize,
        places: &[Vec<usize>],
        tables: &HashMap<NodeId, Table>,
        out: &mut [f64],
    ) {
        match self.posterior.circuit().op(node) {
            Op::Leaf { var, dist } if self.axis_of[var.index()].is_some() => {
                match self.posterior.observed(var) {
                    Some(value) => out[value as usize] = 1.0,
                    None => {
                        let p = self.posterior.leaf(dist, unit);
                        out.iter_mut().zip(p.probabilities()).for_each(|(out, p)| *out = p);
                    }
                }
            }
            Op::Leaf { .. } | Op::Given { .. } | Op::One => out[0] = 1.0,
            Op::Product | Op::Kronecker => {
                out.fill(1.0);
                for ((input, of_input), places) in self.posterior.factors(node, unit).zip(places) {
                    let factor = tables[&input].of(of_input);
                    out.iter_mut().zip(places).for_each(|(out, &at)| *out *= factor[at]);
                }
            }
            Op::Sum { .. } | Op::Mixing { .. } => {}
        }
    }

    /// For each joint state of `axes`, the joint state of `part`, some of them.
    fn places(&self, axes: &[usize], part: &[usize]) -> Vec<usize> {
        let states: usize = axes.iter().map(|&axis| self.lengths[axis]).product();
        let place = |state: usize| {
            let (mut rest, mut place, mut stride) = (state, 0, 1);
            for axis in axes {
                let digit = rest % self.lengths[*axis];
                rest /= self.lengths[*axis];
                if part.binary_search(axis).is_ok() {
                    place += digit * stride;
                    stride *= self.lengths[*axis];
                }
            }
            place
        };
        (0..states).map(place).collect()
    }
}

/// Writes the mixture of some units' tables.
fn mixture(
    shares: impl Iterator<Item = ((NodeId, usize), f64)>,
    tables: &HashMap<NodeId, Table>,
    out: &mut [f64],
) {
    for ((input, unit), share) in shares {
        let term = tables[&input].of(unit);
        out.iter_mut().zip(term).for_each(|(out, p)| *out += share * p);
    }
}
