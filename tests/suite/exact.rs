//! The oracle against arithmetic that needs no trust: enumeration, a direct linear evaluation,
//! quadrature and finite differences.

use pcc::circuit::{Circuit, Op, SourceMap, ValidCircuit, Values, WeightSource, validate};
use pcc::engine::reference;
use pcc::ids::VarId;
use pcc::leaf::{Dist, Family};
use pcc::variables::{VarKind, Variables};
use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::case::{Case, cases, parameterizers, specialise};
use crate::support::enumerate::{Table, observed, worlds};
use crate::support::literal::linear_values;
use crate::support::random_circuits::Kinds;

/// Random circuits of binary and of other discrete variables, 240 in all.
fn discrete_cases() -> impl Iterator<Item = Case> {
    let makers: &'static _ = Box::leak(Box::new(parameterizers()));
    cases(0..160, Kinds::Binary, makers).chain(cases(1000..1080, Kinds::Discrete, makers))
}

/// A row with each entry missing with probability `missing`; real entries within ±3.
fn random_row(circuit: &Circuit, missing: f64, rng: &mut ChaCha8Rng) -> Vec<Option<f32>> {
    let variables = circuit.variables();
    let mut value = |var| match variables.kind(var) {
        VarKind::Categorical { states } => rng.random_range(0..states) as f32,
        VarKind::Real => rng.random_range(-3.0..3.0),
    };
    let values: Vec<f32> = variables.ids().map(&mut value).collect();
    values.into_iter().map(|value| (!rng.random_bool(missing)).then_some(value)).collect()
}

#[test]
fn the_oracle_is_the_definition_of_every_operation() {
    let makers = parameterizers();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut kinds_met = [0; 5];
    for case in discrete_cases().chain(cases(2000..2080, Kinds::Mixed, &makers)) {
        let values = case.values();
        for &node in case.circuit.order() {
            kinds_met[match case.circuit.op(node) {
                Op::Leaf { .. } | Op::Given { .. } | Op::One => 0,
                Op::Product => 1,
                Op::Kronecker => 2,
                Op::Sum { .. } => 3,
                Op::Mixing { .. } => 4,
            }] += 1;
        }
        for _ in 0..4 {
            let row = random_row(&case.circuit, 0.3, &mut rng);
            let linear = linear_values(&case.circuit, &values, &row, |a, b| a + b);
            let forward = reference::forward(&case.circuit, &values, &row);
            for &node in case.circuit.order() {
                for (unit, &expected) in linear[node].iter().enumerate() {
                    let log = forward.log_value(node, unit);
                    let ok = if expected == 0.0 {
                        log == f64::NEG_INFINITY
                    } else {
                        (log - expected.ln()).abs() <= 1e-12 * expected.ln().abs().max(1.0)
                    };
                    assert!(ok, "{}: {node} unit {unit}: {log}, not ln {expected}", case.name);
                }
            }
        }
    }
    assert!(kinds_met.iter().all(|&met| met > 100), "too few nodes of some kind: {kinds_met:?}");
}

#[test]
fn total_mass_is_one_and_a_marginal_is_the_sum_of_its_completions() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for case in discrete_cases() {
        let values = case.values();
        let table = Table::new(&case.circuit, &values);
        let nothing_seen = vec![None; case.circuit.variables().len()];
        let mass = table.log_marginal(&nothing_seen).exp();
        assert!((mass - 1.0).abs() <= 1e-12, "{}: mass {mass}", case.name);
        let log_one = reference::log_likelihood(&case.circuit, &values, &nothing_seen);
        assert!(log_one.abs() <= 1e-12, "{}: ln p of nothing seen is {log_one}", case.name);
        for _ in 0..4 {
            let row = random_row(&case.circuit, 0.5, &mut rng);
            let expected = table.log_marginal(&row);
            let log_p = reference::log_likelihood(&case.circuit, &values, &row);
            let ok =
                log_p == expected || (log_p - expected).abs() <= 1e-12 * expected.abs().max(1.0);
            assert!(
                ok,
                "{}: marginal of {row:?} is {log_p}, its completions {expected}",
                case.name
            );
        }
    }
}

#[test]
fn densities_integrate_to_one_and_marginals_to_their_completions() {
    // Deviations are at least 0.5 and all mass lies within ±14, so that the sum over a grid of this
    // step is the integral to about twelve digits.
    const STEP: f64 = 0.4375;
    const CELLS: i32 = 32;
    let makers = parameterizers();
    let mut by_dimension = [0; 4];
    for case in cases(3000..3040, Kinds::Real, &makers) {
        let dimension = case.circuit.variables().len();
        by_dimension[dimension] += 1;
        if dimension == 3 && by_dimension[3] > 2 {
            continue;
        }
        let values = case.values();
        let side = (2 * CELLS + 1) as usize;
        let point = |index: usize| ((index as i32 - CELLS) as f64 * STEP) as f32;
        let (mut mass, mut slice) = (0.0, 0.0);
        for cell in 0..side.pow(dimension as u32) {
            let row: Vec<Option<f32>> = (0..dimension as u32)
                .map(|axis| Some(point(cell / side.pow(axis) % side)))
                .collect();
            let p = reference::log_likelihood(&case.circuit, &values, &row).exp();
            mass += p * STEP.powi(dimension as i32);
            if row[0] == Some(point(side / 2)) {
                slice += p * STEP.powi(dimension as i32 - 1);
            }
        }
        assert!((mass - 1.0).abs() < 1e-9, "{}: mass {mass}", case.name);
        let mut first_seen = vec![None; dimension];
        first_seen[0] = Some(point(side / 2));
        let marginal = reference::log_likelihood(&case.circuit, &values, &first_seen).exp();
        assert!((marginal - slice).abs() < 1e-9, "{}: {marginal}, not {slice}", case.name);
    }
    assert!(by_dimension[1..].iter().all(|&count| count > 1), "{by_dimension:?}");
}

/// Mean ln p of the rows.
fn mean_log_likelihood(case: &Case, flat: &[f64], rows: &[Vec<Option<f32>>]) -> f64 {
    let values = case.parameters.values(&case.circuit, flat);
    let sum: f64 =
        rows.iter().map(|row| reference::log_likelihood(&case.circuit, &values, row)).sum();
    sum / rows.len() as f64
}

/// The gradient of [`mean_log_likelihood`] by the parameters.
fn gradient(case: &Case, rows: &[Vec<Option<f32>>]) -> Vec<f64> {
    let values = case.values();
    let mut d_values = Values::zeros(&case.circuit);
    for row in rows {
        let forward = reference::forward(&case.circuit, &values, row);
        let scale = 1.0 / rows.len() as f64;
        reference::backward(&case.circuit, &values, &forward, row, scale, &mut d_values);
    }
    case.parameters.gradient(&case.circuit, &case.flat, &values, &d_values)
}

#[test]
fn the_gradient_by_the_parameters_equals_finite_differences() {
    const STEP: f64 = 1e-5;
    let makers = parameterizers();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut compared = 0;
    for case in discrete_cases().chain(cases(4000..4080, Kinds::Mixed, &makers)) {
        let values = case.values();
        let mut rows: Vec<_> = (0..8).map(|_| random_row(&case.circuit, 0.2, &mut rng)).collect();
        rows.retain(|row| {
            reference::log_likelihood(&case.circuit, &values, row) > f64::NEG_INFINITY
        });
        if rows.is_empty() {
            continue;
        }
        let gradient = gradient(&case, &rows);
        let count = case.flat.len().min(6);
        for at in index::sample(&mut rng, case.flat.len(), count) {
            let moved = |step: f64| {
                let mut flat = case.flat.clone();
                flat[at] += step;
                mean_log_likelihood(&case, &flat, &rows)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let difference = (slope - gradient[at]).abs();
            assert!(
                difference <= 1e-7 * slope.abs().max(1.0),
                "{}: parameter {at}: gradient {}, finite difference {slope}",
                case.name,
                gradient[at]
            );
            compared += usize::from(slope.abs() > 1e-3);
        }
    }
    assert!(compared > 500, "only {compared} derivatives were not about zero");
}

#[test]
fn impossible_rows_are_minus_infinity_with_no_gradient() {
    let (mut impossible, mut possible) = (0, 0);
    for case in discrete_cases() {
        let values = case.values();
        for world in worlds(&case.circuit).take(64) {
            let row = observed(&world);
            let linear = linear_values(&case.circuit, &values, &row, |a, b| a + b);
            let zero = linear[case.circuit.root()] == [0.0];
            let log_p = reference::log_likelihood(&case.circuit, &values, &row);
            assert_eq!(log_p == f64::NEG_INFINITY, zero, "{}: {row:?} has {log_p}", case.name);
            let gradient = gradient(&case, std::slice::from_ref(&row));
            assert!(gradient.iter().all(|d| d.is_finite()), "{}: {row:?}", case.name);
            assert!(!zero || gradient.iter().all(|&d| d == 0.0), "{}: {row:?}", case.name);
            impossible += usize::from(zero);
            possible += usize::from(!zero);
        }
    }
    assert!(impossible > 50 && possible > 1000, "{impossible} impossible, {possible} possible");
}

#[test]
fn a_leaf_that_is_given_a_value_is_evidence_and_one_is_a_missing_entry() {
    let makers = parameterizers();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for case in discrete_cases().chain(cases(2000..2040, Kinds::Mixed, &makers)) {
        let values = case.values();
        let row = random_row(&case.circuit, 0.3, &mut rng);
        let specialised = specialise(&case.circuit, &row);
        let nothing = vec![None; row.len()];
        let by_evidence = reference::forward(&case.circuit, &values, &row);
        let by_circuit = reference::forward(&specialised, &values, &nothing);
        assert_eq!(by_evidence, by_circuit, "{}: {row:?}", case.name);
        let gradient = |circuit: &ValidCircuit, forward, row: &[Option<f32>]| {
            let mut d_values = Values::zeros(circuit);
            reference::backward(circuit, &values, forward, row, 1.0, &mut d_values);
            d_values
        };
        assert_eq!(
            gradient(&case.circuit, &by_evidence, &row),
            gradient(&specialised, &by_circuit, &nothing),
            "{}: {row:?}",
            case.name
        );
    }
}

/// A sum of two branches, each Bernoulli(x) · Gaussian(y), with variance 1e-4 and y at 0 and at 10.
fn two_branches(weights: Vec<f64>) -> ValidCircuit {
    let variables = Variables::named([("x".into(), VarKind::BINARY), ("y".into(), VarKind::Real)]);
    let mut circuit = Circuit::new(variables);
    let family = Family::Gaussian { min_var: 1e-6, max_var: f64::INFINITY };
    let mut branch = |p: f64, mean: f64| {
        let x = Dist { family: Family::Bernoulli, units: 1, given: Some(vec![p]), frozen: true };
        let y = Dist { family, units: 1, given: Some(vec![mean, 1e-4]), frozen: false };
        let (x, y) = (circuit.add_dist(x), circuit.add_dist(y));
        let inputs = [circuit.leaf(VarId(0), x), circuit.leaf(VarId(1), y)];
        circuit.product(&inputs)
    };
    let inputs = [branch(0.0, 0.0), branch(0.5, 10.0)];
    let root = circuit.sum(1, &inputs, WeightSource::Given(weights));
    circuit.set_root(root);
    validate(circuit, &SourceMap::default()).unwrap().0
}

#[test]
fn a_zero_weight_over_the_only_likely_input_has_a_finite_gradient() {
    let circuit = two_branches(vec![0.0, 1.0]);
    let mut values = Values::zeros(&circuit);
    let sum = circuit.op(circuit.root()).weights().unwrap();
    values.weights_mut(sum).copy_from_slice(&[0.0, 1.0]);
    for (id, dist) in circuit.dists().iter() {
        values.leaf_mut(id).copy_from_slice(&dist.given_raw().unwrap());
    }
    // A hundred thousand deviations from the branch that has all the weight: e^−500000.
    let row = [Some(0.0), Some(0.0)];
    let forward = reference::forward(&circuit, &values, &row);
    assert!(forward.log_likelihood() < -400_000.0 && forward.log_likelihood().is_finite());
    let mut d_values = Values::zeros(&circuit);
    reference::backward(&circuit, &values, &forward, &row, 1.0, &mut d_values);
    assert_eq!(d_values.weights(sum), [f64::MAX, 1.0]);
    reference::backward(&circuit, &values, &forward, &row, 1.0, &mut d_values);
    assert_eq!(d_values.weights(sum), [f64::MAX, 2.0]);
    let mut nothing = Values::zeros(&circuit);
    reference::backward(&circuit, &values, &forward, &row, 0.0, &mut nothing);
    assert_eq!(nothing.weights(sum), [0.0, 0.0]);
}

#[test]
fn the_gradient_of_a_row_scales_and_adds_up() {
    let makers = parameterizers();
    for case in cases(5000..5010, Kinds::Mixed, &makers) {
        let (circuit, values) = (&case.circuit, case.values());
        let row = random_row(circuit, 0.0, &mut ChaCha8Rng::seed_from_u64(5));
        let forward = reference::forward(circuit, &values, &row);
        let at = |scales: &[f64]| {
            let mut d_values = Values::zeros(circuit);
            for &scale in scales {
                reference::backward(circuit, &values, &forward, &row, scale, &mut d_values);
            }
            let weights = circuit.weights().ids().flat_map(|id| d_values.weights(id).to_vec());
            let leaves = circuit.dists().ids().flat_map(|id| d_values.leaf(id).to_vec());
            weights.chain(leaves).collect::<Vec<f64>>()
        };
        let (once, twice) = (at(&[4.0]), at(&[3.0, 1.0]));
        for (at, (a, b)) in once.iter().zip(&twice).enumerate() {
            let size = a.abs().max(1.0);
            assert!((a - b).abs() <= 1e-12 * size, "{}: number {at}: {a} {b}", case.name);
        }
        assert!(once.iter().any(|&d| d != 0.0), "{}: nothing to compare", case.name);
        assert!(at(&[0.0]).iter().all(|&d| d == 0.0), "{}", case.name);
    }
}
