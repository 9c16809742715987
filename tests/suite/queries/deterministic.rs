//! Circuits that are proven deterministic: MAP is the argmax, and entropies are found down the sums.

use pcc::circuit::Determinism;
use pcc::compile::Options;
use pcc::ids::VarId;
use pcc::param::direct::Direct;
use pcc::query::{Answer, Entropy, Posterior, map};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::discrete::Worlds;
use super::{INSTANCES, Instance, assert_close, evidence};
use crate::support::deterministic::{Kinds, Plan, circuit, plan};

/// A random circuit of a plan, with numbers.
pub fn instance(plan: &Plan, seed: u64, replicas: usize) -> Instance {
    let options = Options { no_rewrite: true, ..Options::default() };
    let name = format!("seed {seed}, of {replicas}");
    Instance::of(name, circuit(plan, seed, replicas), &Direct, &options, seed)
}

#[test]
fn map_of_deterministic_circuits_is_the_argmax_over_worlds() {
    for seed in 0..2 * INSTANCES {
        let instance = instance(&plan(seed, Kinds::Discrete), seed, 1);
        let name = &instance.name;
        assert_eq!(instance.circuit.properties().deterministic, Determinism::Proven, "{name}");
        let table = instance.table();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for row in [vec![None; instance.circuit.variables().len()], evidence(&table, &mut rng)] {
            let worlds = Worlds::new(&table, row);
            let best = map(&instance.circuit, &instance.values, &worlds.row).unwrap();
            assert_eq!(best.answer, Answer::Exact);
            let greatest = worlds.each.iter().map(|&(_, p)| p).fold(0.0, f64::max);
            let ln_p = greatest.ln() + worlds.log_evidence;
            assert_close(name, &format!("ln p of {best:?}"), best.log_p, ln_p, 1e-11);
        }
    }
}

#[test]
fn entropies_of_deterministic_circuits_are_sums_over_worlds() {
    let mut of_some = 0;
    for seed in 0..2 * INSTANCES {
        let instance = instance(&plan(seed, Kinds::Discrete), seed, 1);
        let table = instance.table();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let all: Vec<VarId> = instance.circuit.variables().ids().collect();
        let mut some = instance.shuffled(&mut rng);
        some.truncate(rng.random_range(0..=some.len()));
        let row = evidence(&table, &mut rng);
        for worlds in [Worlds::new(&table, vec![None; all.len()]), Worlds::new(&table, row)] {
            let posterior =
                Posterior::new(&instance.circuit, &instance.values, &worlds.row).unwrap();
            let entropy = Entropy::new(&instance.circuit, &all).unwrap();
            assert!(!entropy.is_listed(), "{}", instance.name);
            let (found, expected) = (entropy.given(&posterior), worlds.entropy(&all));
            assert_close(&instance.name, "the entropy", found, expected, 1e-11);
            let entropy = Entropy::new(&instance.circuit, &some).unwrap();
            of_some += usize::from(!entropy.is_listed() && some.len() < all.len());
            let (found, expected) = (entropy.given(&posterior), worlds.entropy(&some));
            assert_close(&instance.name, &format!("that of {some:?}"), found, expected, 1e-11);
        }
    }
    assert!(of_some > 60, "only {of_some} circuits are deterministic over some of their variables");
}
