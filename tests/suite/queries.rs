//! Every query on random small instances of every structure, against the table of all worlds, against
//! quadrature and long sums where variables are real.

mod comparisons;
mod densities;
mod deterministic;
mod discrete;
mod draws;
mod refusals;
mod steep;
mod table;

use pcc::circuit::{ValidCircuit, Values};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use pcc::ids::VarId;

use crate::structures::numbers;
use crate::structures::random::{Kinds, STRUCTURES, description};
use crate::support::case::{cases, parameterizers};
use crate::support::describe::compiled_with;
use crate::support::enumerate::Table;
use crate::support::random_circuits;

/// Random instances of each structure.
const INSTANCES: u64 = 100;

/// A random circuit with its numbers.
pub struct Instance {
    /// What it is, for messages.
    pub name: String,
    /// The circuit.
    pub circuit: ValidCircuit,
    /// Its weights and leaf parameters.
    pub values: Values<f64>,
}

impl Instance {
    /// All worlds.
    fn table(&self) -> Table {
        Table::new(&self.circuit, &self.values)
    }

    /// The variables in a random order.
    fn shuffled(&self, rng: &mut ChaCha8Rng) -> Vec<VarId> {
        let mut all: Vec<VarId> = self.circuit.variables().ids().collect();
        all.shuffle(rng);
        all
    }
}

/// The structures that are made by a rule, and circuits written out node by node.
fn structures() -> impl Iterator<Item = &'static str> {
    STRUCTURES.into_iter().chain(["Graph"])
}

/// So many random instances of a structure.
fn instances(structure: &str, kinds: Kinds, count: u64) -> Vec<Instance> {
    if structure == "Graph" {
        let kinds = match kinds {
            Kinds::Discrete => random_circuits::Kinds::Discrete,
            Kinds::Any => random_circuits::Kinds::Mixed,
        };
        let makers = parameterizers();
        return cases(0..count, kinds, &makers)
            .map(|case| Instance {
                values: case.values(),
                name: format!("Graph, {}", case.name),
                circuit: case.circuit,
            })
            .collect();
    }
    let instance = |seed| {
        let name = description(structure, seed, kinds);
        let compiled = compiled_with(&name, true);
        let (_, values) = numbers(&compiled, seed);
        Instance { name, circuit: compiled.written.clone(), values }
    };
    (0..count).map(instance).collect()
}

/// Evidence that some possible world has, each variable in it with probability one half.
fn evidence(table: &Table, rng: &mut ChaCha8Rng) -> Vec<Option<f32>> {
    let possible: Vec<&Vec<f32>> = table
        .entries
        .iter()
        .filter(|(_, log_p)| *log_p > f64::NEG_INFINITY)
        .map(|e| &e.0)
        .collect();
    let world = possible.choose(rng).expect("a world is possible");
    world.iter().map(|&value| rng.random_bool(0.5).then_some(value)).collect()
}

/// Fails unless two numbers differ by no more than `tolerance`, absolutely or relative to the second.
fn assert_close(name: &str, what: &str, found: f64, expected: f64, tolerance: f64) {
    let allowed = tolerance * expected.abs().max(1.0);
    let close = found == expected || expected.is_finite() && (found - expected).abs() <= allowed;
    assert!(close, "{name}: {what} is {found}, not {expected}");
}
