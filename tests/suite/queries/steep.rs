//! Evidence so unlikely that linear numbers cannot hold it: the forward pass against the oracle's.

use pcc::engine::reference;
use pcc::query::{Conditional, Posterior, conditionals};
use pcc::variables::VarKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{INSTANCES, assert_close, instances, structures};
use crate::structures::random::Kinds;

#[test]
fn evidence_far_from_all_means_is_as_likely_as_the_oracle_says() {
    let mut far = 0;
    for structure in structures() {
        for (seed, instance) in (0..).zip(instances(structure, Kinds::Any, INSTANCES)) {
            let (circuit, values) = (&instance.circuit, &instance.values);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let value = |var| match circuit.variables().kind(var) {
                VarKind::Real => rng.random_bool(0.7).then(|| rng.random_range(0..300) as f32),
                VarKind::Categorical { states } => {
                    rng.random_bool(0.3).then(|| rng.random_range(0..states) as f32)
                }
            };
            let row: Vec<Option<f32>> = circuit.variables().ids().map(value).collect();
            let expected = reference::log_likelihood(circuit, values, &row);
            let Some(posterior) = Posterior::new(circuit, values, &row) else {
                assert_eq!(expected, f64::NEG_INFINITY, "{}: {row:?}", instance.name);
                continue;
            };
            let name = format!("{} given {row:?}", instance.name);
            assert_close(&name, "ln p", posterior.log_evidence(), expected, 1e-13);
            far += usize::from(expected < -1000.0);
            for (var, found) in circuit.variables().ids().zip(conditionals(&posterior)) {
                let Conditional::States(found) = found else { continue };
                for (state, &p) in found.iter().enumerate() {
                    let mut with = row.clone();
                    if with[var.0 as usize].is_some_and(|seen| seen != state as f32) {
                        assert_eq!(p, 0.0, "{name}");
                        continue;
                    }
                    with[var.0 as usize] = Some(state as f32);
                    let both = reference::log_likelihood(circuit, values, &with);
                    assert_close(&name, "a probability", p, (both - expected).exp(), 1e-9);
                }
            }
        }
    }
    assert!(far > 200, "only {far} rows are far");
}
