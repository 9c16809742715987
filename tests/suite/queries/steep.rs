//! Evidence so unlikely that linear numbers cannot hold it: the forward pass against the oracle's.

use pcc::engine::reference;
use pcc::ids::VarId;
use pcc::query::{
    Conditional, Divergence, Entropy, ExpectedLogLikelihood, Posterior, conditionals, moments,
};
use pcc::variables::VarKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{INSTANCES, assert_close, instances, structures};
use crate::structures::random::Kinds;
use crate::support::describe::compiled;

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

/// Two unit Gaussians apart, told by a binary variable, each with a binary variable of its own.
const APART: &str = r#"(
    variables: Named([(name: "z", kind: Binary), (name: "x", kind: Real), (name: "y", kind: Binary)]),
    structure: Graph(
        nodes: {
            "z0": Leaf(var: "z", dist: Bernoulli(p: 0.0, frozen: true)),
            "z1": Leaf(var: "z", dist: Bernoulli(p: 1.0, frozen: true)),
            "x0": Leaf(var: "x", dist: Gaussian(mean: 0.0, var: 1.0, frozen: true)),
            "x1": Leaf(var: "x", dist: Gaussian(mean: 3.0, var: 0.01, frozen: true)),
            "y0": Leaf(var: "y", dist: Bernoulli(p: 0.25, frozen: true)),
            "y1": Leaf(var: "y", dist: Bernoulli(p: 0.75, frozen: true)),
            "p0": Product(["z0", "x0", "y0"]),
            "p1": Product(["z1", "x1", "y1"]),
            "s": Sum(inputs: ["p0", "p1"], weights: [0.3, 0.7], frozen: true),
        },
        root: "s",
    ),
)"#;

#[test]
fn shares_sum_to_one_however_far_out_the_evidence_lies() {
    let compiled = compiled(APART);
    let circuit = &compiled.written;
    let values = compiled.parameters.values::<f64>(circuit, &[]);
    let [z, x, y] = [0, 1, 2].map(VarId);
    for far in [1e3, 1e6, 1e8, 1e9] {
        // Of the wide Gaussian alone, for the narrow one is a hundred times as many nats away.
        let row = [None, Some(far), None];
        let posterior = Posterior::new(circuit, &values, &row).unwrap();
        let found = moments(&posterior, &[z, x, y]);
        assert_eq!(found.mean, [0.0, f64::from(far), 0.25], "{far}");
        assert_eq!((found.covariance(1, 1), found.covariance(2, 2)), (0.0, 0.1875), "{far}");
        let entropy = Entropy::new(circuit, &[z]).unwrap().given(&posterior);
        assert_eq!(entropy, 0.0, "{far}");
        let divergence = Divergence::new(circuit, circuit).unwrap();
        assert_eq!(divergence.given(&posterior, &posterior), 0.0, "{far}");
        let expected = ExpectedLogLikelihood::new(circuit, circuit).unwrap();
        let of_y = 0.25 * 0.25f64.ln() + 0.75 * 0.75f64.ln();
        assert_close("apart", "ln q", expected.given(&posterior, &posterior), of_y, 1e-12);
    }
}
