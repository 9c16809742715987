//! The leaves that a structure makes by itself.
//!
//! Indicators have nothing to learn, so a variable has one leaf of them in the whole circuit, and a
//! region of k units over it is a sum layer, k × states. A leaf with parameters is each region's own,
//! and has k units by itself.

use super::dist::{dist, stand_in};
use crate::circuit::{Circuit, WeightSource};
use crate::diag::Diagnostics;
use crate::ids::{DistId, Id, NodeId, VarId};
use crate::leaf::{Dist, Family};
use crate::spec::Spec;
use crate::variables::VarKind;

/// The leaf of each kind of variable there is.
pub(super) struct Kinds(Vec<(VarKind, Dist)>);

impl Kinds {
    /// The leaves of a description, of `units` units. A kind of variable that they do not suit is
    /// reported and left out.
    pub(super) fn of(spec: &Spec, units: u32, faults: &mut Diagnostics) -> Self {
        let variables = &spec.variables.value;
        let mut kinds: Vec<(VarKind, Dist)> = Vec::new();
        let mut unsuited: Vec<VarKind> = Vec::new();
        for var in variables.ids() {
            let kind = variables.kind(var);
            if kinds.iter().any(|&(known, _)| known == kind) || unsuited.contains(&kind) {
                continue;
            }
            match dist(spec.leaves.of(kind), kind, &variables.name(var), units) {
                Ok(dist) => kinds.push((kind, dist)),
                Err(fault) => {
                    unsuited.push(kind);
                    faults.push(fault);
                }
            }
        }
        Kinds(kinds)
    }

    /// Numbers of a region of one variable, at most: of its leaf, or of the sum over it.
    pub(super) fn most_numbers(&self, units: u128) -> u128 {
        let numbers = |dist: &Dist| match dist.family {
            Family::Indicators { states } => units * u128::from(states),
            family => units * family.raw_len() as u128,
        };
        self.0.iter().map(|(_, dist)| numbers(dist)).max().unwrap_or(0)
    }

    /// The leaf of a kind of variable.
    fn dist(&self, kind: VarKind, units: u32) -> Dist {
        let found = self.0.iter().find(|&&(of, _)| of == kind);
        // Every kind among the variables has an entry, or the description was refused.
        found.map_or_else(|| stand_in(kind, units), |(_, dist)| dist.clone())
    }
}

/// Makes regions of one variable.
pub(super) struct Leaves {
    kinds: Kinds,
    /// The leaf that all regions share, of variables with indicators.
    shared: Vec<Option<NodeId>>,
}

impl Leaves {
    /// Adds the leaves that are shared.
    pub(super) fn new(kinds: Kinds, circuit: &mut Circuit) -> Self {
        let dists: Vec<(VarKind, DistId)> = (kinds.0.iter())
            .filter(|(_, dist)| matches!(dist.family, Family::Indicators { .. }))
            .map(|(kind, dist)| (*kind, circuit.add_dist(dist.clone())))
            .collect();
        let shared = circuit.variables().ids().map(|var| {
            let kind = circuit.variables().kind(var);
            let &(_, dist) = dists.iter().find(|&&(of, _)| of == kind)?;
            Some(circuit.leaf(var, dist))
        });
        Leaves { shared: shared.collect(), kinds }
    }

    /// The region of one variable. Units other than those of the leaves are wanted of a root alone.
    pub(super) fn region(&self, circuit: &mut Circuit, var: VarId, units: u32) -> NodeId {
        if let Some(leaf) = self.shared[var.index()] {
            return circuit.sum(units, &[leaf], WeightSource::Parameterizer);
        }
        let own = circuit.add_dist(self.kinds.dist(circuit.variables().kind(var), units));
        let leaf = circuit.leaf(var, own);
        match circuit.units(leaf) == units {
            true => leaf,
            false => circuit.sum(units, &[leaf], WeightSource::Parameterizer),
        }
    }

    /// The region of several variables, independent of each other in each unit.
    pub(super) fn independent(&self, circuit: &mut Circuit, vars: &[VarId], units: u32) -> NodeId {
        let regions: Vec<NodeId> =
            vars.iter().map(|&var| self.region(circuit, var, units)).collect();
        match regions[..] {
            [region] => region,
            _ => circuit.product(&regions),
        }
    }

    /// The leaf that all regions of `var` share, if it is made of indicators.
    pub(super) fn shared(&self, var: VarId) -> Option<NodeId> {
        self.shared[var.index()]
    }
}
