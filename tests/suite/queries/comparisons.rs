//! Expected log-likelihood and divergence of two circuits of one vtree, against sums over worlds.

use pcc::ids::VarId;
use pcc::query::{Divergence, ExpectedLogLikelihood, Posterior};
use rand::Rng;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::deterministic::instance;
use super::discrete::Worlds;
use super::{INSTANCES, assert_close, evidence, instances};
use crate::structures::random::Kinds as Described;
use crate::support::deterministic::{Kinds, plan};

#[test]
fn expected_log_likelihoods_and_divergences_are_sums_over_worlds() {
    let (mut finite, mut infinite, mut mixtures) = (0, 0, 0);
    for seed in 0..3 * INSTANCES {
        let plan = plan(seed, Kinds::Discrete);
        let replicas = 1 + seed as usize % 3 / 2;
        let (p, q) = (instance(&plan, 2 * seed, replicas), instance(&plan, 2 * seed + 1, 1));
        let (of_p, of_q) = (p.table(), q.table());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let nothing: Vec<Option<f32>> = vec![None; p.circuit.variables().len()];
        let pairs = of_p.entries.iter().zip(&of_q.entries);
        let both: Vec<&Vec<f32>> =
            pairs.filter(|(a, b)| (a.1 + b.1).is_finite()).map(|(a, _)| &a.0).collect();
        let mut rows = vec![nothing];
        if let Some(world) = both.choose(&mut rng) {
            rows.push(world.iter().map(|&v| rng.random_bool(0.4).then_some(v)).collect());
        }
        for row in rows {
            let worlds = [Worlds::new(&of_p, row.clone()), Worlds::new(&of_q, row.clone())];
            let terms = worlds[0].each.iter().zip(&worlds[1].each).map(|(a, b)| (a.1, b.1));
            let terms: Vec<(f64, f64)> = terms.filter(|&(p, _)| p > 0.0).collect();
            let expected: f64 = terms.iter().map(|&(p, q)| p * q.ln()).sum();
            let posteriors = [(&p, &row), (&q, &row)]
                .map(|(of, row)| Posterior::new(&of.circuit, &of.values, row).unwrap());
            let name = format!("{} and {}, given {row:?}", p.name, q.name);
            let ll = ExpectedLogLikelihood::new(&p.circuit, &q.circuit).unwrap();
            let found = ll.given(&posteriors[0], &posteriors[1]);
            assert_close(&name, "the expected log-likelihood", found, expected, 1e-11);
            infinite += usize::from(expected == f64::NEG_INFINITY);
            if replicas > 1 {
                mixtures += 1;
                continue;
            }
            finite += usize::from(expected.is_finite());
            let expected: f64 = terms.iter().map(|&(p, q)| p * (p / q).ln()).sum();
            let divergence = Divergence::new(&p.circuit, &q.circuit).unwrap();
            let found = divergence.given(&posteriors[0], &posteriors[1]);
            assert_close(&name, "the divergence", found, expected, 1e-11);
            let of_itself = Divergence::new(&p.circuit, &p.circuit).unwrap();
            let found = of_itself.given(&posteriors[0], &posteriors[0]);
            assert_close(&name, "the divergence from itself", found, 0.0, 1e-11);
        }
    }
    let counts = [finite, infinite, mixtures];
    assert!(counts.iter().all(|&count| count > 60), "{counts:?}");
}

#[test]
fn the_expected_log_likelihood_of_a_diagram_under_itself_is_its_entropy_below_zero() {
    for structure in ["Psdd", "Decision"] {
        for (seed, instance) in (0..).zip(instances(structure, Described::Discrete, INSTANCES)) {
            let table = instance.table();
            let row = evidence(&table, &mut ChaCha8Rng::seed_from_u64(seed));
            for row in [vec![None; row.len()], row] {
                let worlds = Worlds::new(&table, row);
                let (circuit, values) = (&instance.circuit, &instance.values);
                let posterior = Posterior::new(circuit, values, &worlds.row).unwrap();
                let all: Vec<VarId> = circuit.variables().ids().collect();
                let expected = ExpectedLogLikelihood::new(circuit, circuit).unwrap();
                let found = expected.given(&posterior, &posterior);
                let name = format!("{} given {:?}", instance.name, worlds.row);
                assert_close(&name, "E ln p", found, -worlds.entropy(&all), 1e-11);
            }
        }
    }
}
