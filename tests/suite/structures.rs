//! Every structure that is made by a rule, on random small instances: with every parameterizer, sectors
//! of both kinds, leaves of every kind, rewritten or not, wide and deep.

mod facts;
mod learned;
mod leaves;
pub mod random;
mod recorded;

use std::collections::BTreeSet;

use pcc::circuit::{Op, ValidCircuit, Values};
use pcc::compile::Compiled;
use pcc::engine::reference;
use pcc::plan::Schedule;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::random::{Kinds, STRUCTURES, description};
use crate::agreement::{assert_agree, by_cpu, by_reference, rows_of};
use crate::support::case::spread;
use crate::support::describe::{compiled, compiled_with};
use crate::support::enumerate::{Table, states};

/// Random instances of each structure.
const INSTANCES: u64 = 100;

pub fn numbers(compiled: &Compiled, seed: u64) -> (Vec<f64>, Values<f64>) {
    let flat = spread(&compiled.written, &compiled.parameters, seed);
    let values = compiled.parameters.values(&compiled.written, &flat);
    (flat, values)
}

/// A row of some of the values, each missing half of the time.
fn random_row(circuit: &ValidCircuit, rng: &mut ChaCha8Rng) -> Vec<Option<f32>> {
    let value = |&states: &u32| rng.random_bool(0.5).then(|| rng.random_range(0..states) as f32);
    states(circuit).iter().map(value).collect()
}

#[test]
fn every_structure_has_mass_one_and_marginals_that_are_sums_of_completions() {
    for structure in STRUCTURES {
        for seed in 0..INSTANCES {
            let text = description(structure, seed, Kinds::Discrete);
            let compiled = compiled(&text);
            let circuit = &compiled.written;
            let (_, values) = numbers(&compiled, seed);
            let table = Table::new(circuit, &values);
            let nothing_seen = vec![None; circuit.variables().len()];
            let mass = table.log_marginal(&nothing_seen).exp();
            assert!((mass - 1.0).abs() <= 1e-12, "mass {mass} of {text}");
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..4 {
                let row = random_row(circuit, &mut rng);
                let expected = table.log_marginal(&row);
                let log_p = reference::log_likelihood(circuit, &values, &row);
                assert!(
                    (log_p - expected).abs() <= 1e-12 * expected.abs().max(1.0),
                    "marginal of {row:?} is {log_p}, its completions {expected}: {text}"
                );
            }
        }
    }
}

#[test]
fn the_cpu_engine_agrees_with_the_oracle_on_every_structure() {
    for structure in STRUCTURES {
        let mut seen = BTreeSet::new();
        for seed in 0..INSTANCES {
            let kinds = [Kinds::Discrete, Kinds::Any][seed as usize % 2];
            let text = description(structure, seed, kinds);
            for no_rewrite in [false, true] {
                let compiled = compiled_with(&text, no_rewrite);
                let (flat, _) = numbers(&compiled, seed);
                // Both sides see the numbers that f32 can hold.
                let single: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
                let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
                let data = rows_of(&compiled, 90, seed);
                let expected = by_reference(&compiled, &flat, &data);
                for schedule in [Schedule::Wide, Schedule::Deep] {
                    let name = format!("rewrite {}, {schedule:?}: {text}", !no_rewrite);
                    let (log_p, gradient, _) =
                        by_cpu(&name, &compiled, &single, &data, schedule, 2);
                    assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
                }
            }
            seen.extend(random::features(&text));
        }
        for feature in random::FEATURES {
            assert!(seen.contains(feature), "no {structure} had {feature}");
        }
    }
}

#[test]
fn tied_layers_are_one_sector_used_many_times() {
    let compiled = compiled("(variables: Binary(40), structure: Hmm(units: 3))");
    let circuit = &compiled.written;
    assert_eq!(compiled.parameters.table().sectors().len(), 3);
    let users = |weights| {
        let uses = |&node: &_| matches!(circuit.op(node), Op::Sum { weights: w } if w == weights);
        circuit.nodes().filter(uses).count()
    };
    let counts: BTreeSet<usize> = circuit.weights().ids().map(users).collect();
    // The emission of each step, a transition between each two, and the first state.
    assert_eq!(counts, BTreeSet::from([40, 39, 1]));
}
