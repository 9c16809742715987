//! All worlds of a circuit over discrete variables.

use pcc::circuit::{Circuit, ValidCircuit, Values};
use pcc::engine::reference;
use pcc::real::log_sum_exp;
use pcc::variables::VarKind;

use super::chi_square::assert_drawn_from;

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
    /// Worlds and ln p, in the order of [`worlds`].
    pub entries: Vec<(Vec<f32>, f64)>,
    states: Vec<u32>,
}

impl Table {
    /// Evaluates every world, none missing an entry.
    pub fn new(circuit: &ValidCircuit, values: &Values<f64>) -> Self {
        let entry = |world: Vec<f32>| {
            let log_p = reference::log_likelihood(circuit, values, &observed(&world));
            (world, log_p)
        };
        Table { entries: worlds(circuit).map(entry).collect(), states: states(circuit) }
    }

    /// Fails unless rows drawn given `row`, `[draws][variables]`, agree with it and have the frequencies of worlds.
    pub fn assert_drawn(&self, name: &str, row: &[Option<f32>], drawn: &[f32]) {
        let mut counts = vec![0; self.entries.len()];
        for world in drawn.chunks_exact(self.states.len()) {
            let place = |place: Option<usize>, (&x, &states): (&f32, &u32)| {
                let state = x as u32;
                (state as f32 == x && state < states)
                    .then_some(place? * states as usize + state as usize)
            };
            let place = world.iter().zip(&self.states).rev().fold(Some(0), place);
            counts[place.unwrap_or_else(|| panic!("{name} given {row:?}: drew {world:?}"))] += 1;
        }
        let log_evidence = self.log_marginal(row);
        let of_world = |((world, log_p), count): (&(Vec<f32>, f64), usize)| {
            let agrees = agrees(world, row);
            assert!(agrees || count == 0, "{name} given {row:?}: drew {world:?}");
            agrees.then_some(((log_p - log_evidence).exp(), count))
        };
        let cells: Vec<_> = self.entries.iter().zip(counts).filter_map(of_world).collect();
        assert_drawn_from(&format!("{name} given {row:?}"), &cells);
    }

    /// ln of the summed probability of the worlds that agree with a row: its marginal.
    pub fn log_marginal(&self, row: &[Option<f32>]) -> f64 {
        let agreeing = self.entries.iter().filter(|(world, _)| agrees(world, row));
        log_sum_exp(agreeing.map(|&(_, log_p)| log_p))
    }
}
