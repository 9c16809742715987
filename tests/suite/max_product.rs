//! Max-product and completion by enumeration of all worlds.

use pcc::circuit::{Circuit, SourceMap, Values, WeightSource, validate};
use pcc::engine::reference;
use pcc::ids::VarId;
use pcc::leaf::Dist;
use pcc::variables::Variables;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::case::{cases, parameterizers};
use crate::support::enumerate::{agrees, observed, worlds};
use crate::support::literal::linear_values;
use crate::support::random_circuits::Kinds;

#[test]
fn max_product_is_the_best_induced_tree_of_any_completion() {
    let makers = parameterizers();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut checked = 0;
    for case in
        cases(0..60, Kinds::Binary, &makers).chain(cases(1000..1060, Kinds::Discrete, &makers))
    {
        let (circuit, values) = (&case.circuit, case.values());
        let seen: Vec<bool> =
            (0..circuit.variables().len()).map(|_| rng.random_bool(0.4)).collect();
        let Some(some_world) = worlds(circuit).nth(rng.random_range(0..2)) else { continue };
        let row: Vec<Option<f32>> =
            some_world.iter().zip(&seen).map(|(&v, seen)| seen.then_some(v)).collect();
        let best_tree = |world: &[f32]| {
            let linear = linear_values(circuit, &values, &observed(world), f64::max);
            linear[circuit.root()][0]
        };
        let completions = worlds(circuit).filter(|world| agrees(world, &row));
        let expected = completions.map(|world| best_tree(&world)).fold(0.0, f64::max);
        let log_best = reference::max_product(circuit, &values, &row).log_likelihood();
        let Some(completion) = reference::complete(circuit, &values, &row) else {
            assert_eq!((expected, log_best), (0.0, f64::NEG_INFINITY), "{}", case.name);
            continue;
        };
        assert!((log_best.exp() / expected - 1.0).abs() < 1e-11, "{}: {log_best}", case.name);
        assert!(agrees(&completion, &row), "{}: {completion:?} for {row:?}", case.name);
        let reached = best_tree(&completion);
        assert!((reached / expected - 1.0).abs() < 1e-11, "{}: reaches {reached}", case.name);
        checked += 1;
    }
    assert!(checked > 90, "only {checked} circuits");
}

#[test]
fn of_a_deterministic_circuit_the_completion_is_the_likeliest() {
    // p(a, b) = p(a) [b = a with weight 0.7, else 0.3]: the units of a sum exclude one another by a.
    let mut circuit = Circuit::new(Variables::binary(2));
    let indicators = circuit.add_dist(Dist::indicators(2));
    let (a, b) = (circuit.leaf(VarId(0), indicators), circuit.leaf(VarId(1), indicators));
    let copies = [0.7, 0.3, 0.3, 0.7];
    let b = circuit.sum(2, &[b], WeightSource::Frozen(copies.to_vec()));
    let product = circuit.product(&[a, b]);
    let root = circuit.sum(1, &[product], WeightSource::Frozen(vec![0.4, 0.6]));
    circuit.set_root(root);
    let (circuit, _) = validate(circuit, &SourceMap::default()).unwrap();
    let mut values = Values::zeros(&circuit);
    for (id, weights) in circuit.weights().iter() {
        if let WeightSource::Frozen(given) = &weights.source {
            values.weights_mut(id).copy_from_slice(given);
        }
    }
    let completion = |row: [Option<f32>; 2]| reference::complete(&circuit, &values, &row);
    assert_eq!(completion([None, None]), Some(vec![1.0, 1.0]));
    assert_eq!(completion([None, Some(0.0)]), Some(vec![0.0, 0.0]));
    assert_eq!(completion([Some(0.0), None]), Some(vec![0.0, 0.0]));
    let log_best = reference::max_product(&circuit, &values, &[None, None]).log_likelihood();
    assert!((log_best.exp() - 0.6 * 0.7).abs() < 1e-15);
}
