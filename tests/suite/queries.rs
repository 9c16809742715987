//! Every query on random small instances of every structure, against the table of all worlds, against
//! quadrature and long sums where variables are real.

mod comparisons;
pub mod densities;
pub mod deterministic;
pub mod discrete;
mod refusals;
mod steep;
mod table;

use std::path::Path;
use std::sync::Arc;

use pcc::circuit::{Circuit, SourceMap, ValidCircuit, Values};
use pcc::compile::{Compiled, Options, compile};
use pcc::diag::Source;
use pcc::ids::VarId;
use pcc::import::{self, Companions, Format};
use pcc::param::Parameterizer;
use pcc::param::direct::Direct;
use pcc::sector::SectorKind;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::conditionals::numbers;
use crate::import::diagrams::Random;
use crate::structures::random::{Kinds, STRUCTURES, description};
use crate::support::case::parameterizers;
use crate::support::describe::compiled_with;
use crate::support::deterministic as decisions;
use crate::support::enumerate::Table;
use crate::support::random_circuits;

/// Random instances of each structure.
pub const INSTANCES: u64 = 100;

/// A random circuit with its numbers.
pub struct Instance {
    /// What it is, for messages.
    pub name: String,
    /// The circuit, compiled.
    pub compiled: Arc<Compiled>,
    /// Its parameters.
    pub flat: Vec<f32>,
    /// The circuit as written.
    pub circuit: ValidCircuit,
    /// Its weights and leaf parameters.
    pub values: Values<f64>,
}

impl Instance {
    /// A circuit with random numbers.
    fn new(name: String, compiled: Arc<Compiled>, seed: u64) -> Self {
        let (flat, values) = numbers(&compiled, seed);
        Instance { name, flat, circuit: compiled.written.clone(), values, compiled }
    }

    /// A circuit that is made without a description.
    fn of(
        name: String,
        circuit: Circuit,
        parameterizer: &dyn Parameterizer,
        options: &Options,
        seed: u64,
    ) -> Self {
        let compiled = compile(circuit, &SourceMap::default(), parameterizer, options);
        let compiled = compiled.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        Instance::new(name, Arc::new(compiled), seed)
    }

    /// All worlds.
    pub fn table(&self) -> Table {
        Table::new(&self.circuit, &self.values)
    }

    /// The variables in a random order.
    pub fn shuffled(&self, rng: &mut ChaCha8Rng) -> Vec<VarId> {
        let mut all: Vec<VarId> = self.circuit.variables().ids().collect();
        all.shuffle(rng);
        all
    }
}

/// The structures that are made by a rule, circuits written out node by node, some of them proven deterministic,
/// and PSDDs of others.
pub fn structures() -> impl Iterator<Item = &'static str> {
    STRUCTURES.into_iter().chain(["Graph", "Decision", "Psdd"])
}

/// A random instance of a structure, rewritten or not. All variables of a PSDD are binary, whatever the kinds.
pub fn instance(structure: &str, kinds: Kinds, seed: u64, no_rewrite: bool) -> Instance {
    let options = Options { no_rewrite, ..Options::default() };
    let name = format!("{structure}, seed {seed}, rewrite {}", !no_rewrite);
    match (structure, kinds) {
        ("Graph", _) => {
            let kinds = match kinds {
                Kinds::Any => random_circuits::Kinds::Mixed,
                Kinds::Discrete if seed.is_multiple_of(3) => random_circuits::Kinds::Binary,
                Kinds::Discrete => random_circuits::Kinds::Discrete,
            };
            let makers = parameterizers();
            let maker = &*makers[seed as usize / 3 % makers.len()];
            let sectors = [SectorKind::PerLayer, SectorKind::Slices(1)][seed as usize / 9 % 2];
            let circuit = random_circuits::circuit(seed, kinds);
            Instance::of(name, circuit, maker, &Options { sectors, ..options }, seed)
        }
        ("Decision", _) => {
            let kinds = match kinds {
                Kinds::Any => decisions::Kinds::Mixed,
                Kinds::Discrete => decisions::Kinds::Discrete,
            };
            let plan = decisions::plan(seed, kinds);
            let circuit = decisions::circuit(&plan, seed, 1);
            Instance::of(name, circuit, &Direct, &options, seed)
        }
        ("Psdd", _) => {
            let text = Random::new(8 - seed as usize % 7, -4.0, seed).psdd();
            let format = Format::of(Path::new("random.psdd")).unwrap();
            let source = Source::new("random.psdd", text);
            let imported = import::read(format, &source, &Companions::default()).unwrap();
            let declared_deterministic = imported.deterministic;
            let options = Options { declared_deterministic, ..options };
            Instance::of(name, imported.circuit.unwrap(), &Direct, &options, seed)
        }
        _ => {
            let text = description(structure, seed, kinds);
            let compiled = compiled_with(&text, no_rewrite);
            Instance::new(format!("{name}: {text}"), compiled, seed)
        }
    }
}

/// So many random instances of a structure.
fn instances(structure: &str, kinds: Kinds, count: u64) -> Vec<Instance> {
    (0..count).map(|seed| instance(structure, kinds, seed, true)).collect()
}

/// Evidence that some possible world has, each variable in it with probability one half.
pub fn evidence(table: &Table, rng: &mut ChaCha8Rng) -> Vec<Option<f32>> {
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
