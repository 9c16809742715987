//! All worlds of a circuit over discrete variables.

use pcc::circuit::{Circuit, ValidCircuit, Values};
use pcc::engine::reference;
use pcc::real::log_sum_exp;
use pcc::variables::VarKind;

/// Number of states of each variable.
///
/// # Panics
/// When a variable is real: such a circuit has no list of worlds.
pub fn states(circuit: &Circuit) -> Vec<u32> {
    let variables = circuit.variables();
    let states = |var| match variables.kind(var) {
        VarKind::Categorical { states } => states,
        VarKind::Real => panic!("{} is real: no list of worlds", variables.name(var)),
    };
    variables.ids().map(states).collect()
}

/// All full assignments, the first variable varying fastest.
pub fn worlds(circuit: &Circuit) -> impl Iterator<Item = Vec<f32>> + use<> {
    let states = states(circuit);
    let count: usize = states.iter().map(|&states| states as usize).product();
    (0..count).map(move |world| {
        let mut rest = world;
        let mut digit = |&states: &u32| {
            let digit = rest % states as usize;
            rest /= states as usize;
            digit as f32
        };
        states.iter().map(&mut digit).collect()
    })
}

/// A row without missing entries.
pub fn observed(world: &[f32]) -> Vec<Option<f32>> {
    world.iter().copied().map(Some).collect()
}

/// Whether a world agrees with the observed part of a row.
pub fn agrees(world: &[f32], row: &[Option<f32>]) -> bool {
    world.iter().zip(row).all(|(value, seen)| seen.is_none_or(|seen| seen == *value))
}

/// Every world with its log-probability.
pub struct Table {
    /// Worlds and ln p.
    pub entries: Vec<(Vec<f32>, f64)>,
}

impl Table {
    /// Evaluates every world, none missing an entry.
    pub fn new(circuit: &ValidCircuit, values: &Values<f64>) -> Self {
        let entry = |world: Vec<f32>| {
            let log_p = reference::log_likelihood(circuit, values, &observed(&world));
            (world, log_p)
        };
        Table { entries: worlds(circuit).map(entry).collect() }
    }

    /// ln of the summed probability of the worlds that agree with a row: its marginal.
    pub fn log_marginal(&self, row: &[Option<f32>]) -> f64 {
        let agreeing = self.entries.iter().filter(|(world, _)| agrees(world, row));
        log_sum_exp(agreeing.map(|&(_, log_p)| log_p))
    }
}
