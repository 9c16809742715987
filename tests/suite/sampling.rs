//! Samples against the distribution they are drawn from, by chi-square tests at 1e-4 with fixed
//! seeds.

use pcc::circuit::{Circuit, Op, SourceMap, ValidCircuit, Values, WeightSource, validate};
use pcc::engine::reference;
use pcc::ids::VarId;
use pcc::sample::{Sampler, row_rng, sample, sample_rows};
use pcc::variables::Variables;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::case::{cases, parameterizers};
use crate::support::chi_square::assert_drawn_from;
use crate::support::enumerate::Table;
use crate::support::random_circuits::Kinds;

/// Samples a test.
const DRAWS: usize = 20_000;
/// Worlds of a circuit at most, so that most are drawn often.
const MOST_WORLDS: usize = 600;

#[test]
fn samples_of_discrete_circuits_have_the_frequencies_of_all_worlds() {
    let makers = parameterizers();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut checked = [0; 2];
    for case in
        cases(6000..6030, Kinds::Binary, &makers).chain(cases(7000..7030, Kinds::Discrete, &makers))
    {
        let values = case.values();
        let table = Table::new(&case.circuit, &values);
        if table.entries.len() > MOST_WORLDS {
            continue;
        }
        let check = |evidence: &[Option<f32>]| {
            let samples = sample_rows(&case.circuit, &values, evidence, DRAWS, 7).unwrap();
            table.assert_drawn(&case.name, evidence, &samples);
        };
        let mut evidence = vec![None; case.circuit.variables().len()];
        check(&evidence);
        checked[0] += 1;
        // Evidence that a random world has.
        let (world, _) = &table.entries[rng.random_range(0..table.entries.len())];
        for (seen, value) in evidence.iter_mut().zip(world) {
            *seen = rng.random_bool(0.4).then_some(*value);
        }
        if table.log_marginal(&evidence) > f64::NEG_INFINITY {
            check(&evidence);
            checked[1] += 1;
        }
    }
    assert!(checked[0] > 40 && checked[1] > 30, "only {checked:?} circuits");
}

#[test]
fn samples_of_densities_have_the_frequencies_of_their_integrals() {
    const CELL: f64 = 0.5;
    const POINTS: u32 = 16;
    let makers = parameterizers();
    for case in cases(8000..8016, Kinds::Real, &makers) {
        let values = case.values();
        let width = case.circuit.variables().len();
        for seen in [None, Some(0.5)] {
            // The first variable is drawn and looked at, given the last or nothing.
            let mut evidence = vec![None; width];
            if width > 1 {
                evidence[width - 1] = seen;
            }
            let log_evidence = reference::log_likelihood(&case.circuit, &values, &evidence);
            let samples = sample_rows(&case.circuit, &values, &evidence, DRAWS, 8).unwrap();
            let cells: Vec<(f64, usize)> = (-28..28)
                .map(|cell| {
                    let within = |x: f32| (f64::from(x) / CELL).floor() as i32 == cell;
                    let count = samples.chunks_exact(width).filter(|row| within(row[0])).count();
                    let density = |point: u32| {
                        let part = (f64::from(point) + 0.5) / f64::from(POINTS);
                        let mut row = evidence.clone();
                        row[0] = Some(((f64::from(cell) + part) * CELL) as f32);
                        let log_p = reference::log_likelihood(&case.circuit, &values, &row);
                        (log_p - log_evidence).exp()
                    };
                    let mean = (0..POINTS).map(density).sum::<f64>() / f64::from(POINTS);
                    (mean * CELL, count)
                })
                .collect();
            let inside: usize = cells.iter().map(|&(_, count)| count).sum();
            assert_eq!(inside, DRAWS, "{}: samples beyond ±14", case.name);
            assert_drawn_from(&format!("{} given {evidence:?}", case.name), &cells);
        }
    }
}

#[test]
fn a_row_depends_on_its_seed_and_number_alone() {
    let makers = parameterizers();
    for case in cases(9000..9006, Kinds::Mixed, &makers) {
        let (circuit, values) = (&case.circuit, case.values());
        let evidence = vec![None; circuit.variables().len()];
        let draw = |n, seed| sample_rows(circuit, &values, &evidence, n, seed).unwrap();
        let with_threads = |count| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
            pool.install(|| draw(64, 3))
        };
        assert_eq!(with_threads(1), with_threads(3), "{}", case.name);
        assert_eq!(draw(64, 3)[..evidence.len() * 10], draw(10, 3), "{}", case.name);
        let sampler = Sampler::new(circuit, &values, &evidence).unwrap();
        assert_eq!(
            draw(10, 3)[evidence.len() * 9..],
            sampler.draw(&mut row_rng(3, 9)),
            "{}",
            case.name
        );
        assert_ne!(draw(64, 3), draw(64, 4), "{}", case.name);
    }
}

/// [a = b] over two binary variables: half [a = 0][b = 0], half [a = 1][b = 1].
fn equal_pair() -> (ValidCircuit, Values<f64>) {
    let mut circuit = Circuit::new(Variables::binary(2));
    let indicators = circuit.add_dist(pcc::leaf::Dist::indicators(2));
    let leaves = [circuit.leaf(VarId(0), indicators), circuit.leaf(VarId(1), indicators)];
    let product = circuit.product(&leaves);
    let root = circuit.sum(1, &[product], WeightSource::Frozen(vec![0.5, 0.5]));
    circuit.set_root(root);
    let (circuit, _) = validate(circuit, &SourceMap::default()).unwrap();
    let mut values = Values::zeros(&circuit);
    let weights = circuit.op(circuit.root()).weights().unwrap();
    values.weights_mut(weights).copy_from_slice(&[0.5, 0.5]);
    (circuit, values)
}

#[test]
fn impossible_evidence_yields_no_sample_and_possible_evidence_is_kept() {
    let (circuit, values) = equal_pair();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut draw = |evidence: [Option<f32>; 2]| sample(&circuit, &values, &evidence, &mut rng);
    assert_eq!(draw([Some(0.0), Some(1.0)]), None);
    for _ in 0..20 {
        assert_eq!(draw([None, Some(1.0)]), Some(vec![1.0, 1.0]));
        assert_eq!(draw([Some(0.0), None]), Some(vec![0.0, 0.0]));
    }
    assert_eq!(sample_rows(&circuit, &values, &[Some(0.0), Some(1.0)], 3, 0), None);
}

#[test]
fn evidence_built_into_a_circuit_draws_what_evidence_beside_it_draws() {
    let makers = parameterizers();
    for case in cases(9100..9120, Kinds::Mixed, &makers) {
        let (circuit, values) = (&case.circuit, case.values());
        let nothing = vec![None; circuit.variables().len()];
        let mut evidence = nothing.clone();
        evidence[0] = Some(1.0);
        let built_in = give(circuit, VarId(0), 1.0);
        let Some(beside) = sample_rows(circuit, &values, &evidence, 50, 5) else { continue };
        let mut inside = sample_rows(&built_in, &values, &nothing, 50, 5).unwrap();
        for row in inside.chunks_exact_mut(nothing.len()) {
            // The circuit no longer depends on it.
            assert!(row[0].is_nan(), "{}", case.name);
            row[0] = 1.0;
        }
        assert_eq!(beside, inside, "{}", case.name);
    }
}

/// The circuit with its leaves of one variable given a value.
pub fn give(circuit: &ValidCircuit, given: VarId, value: f32) -> ValidCircuit {
    let mut circuit = Circuit::clone(circuit);
    for node in circuit.nodes() {
        if let Op::Leaf { var, dist } = circuit.op(node)
            && var == given
        {
            circuit.set_op(node, Op::Given { dist, value });
        }
    }
    validate(circuit, &SourceMap::default()).unwrap().0
}
