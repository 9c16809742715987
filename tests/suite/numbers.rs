//! Numbers of the CPU engine where they are hard: both ways to evaluate a row, taken on purpose; very
//! small and impossible rows; zeros; and the same bits however many threads there are.

use std::sync::Arc;

use pcc::circuit::{Circuit, SourceMap, WeightSource};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::{Executable, Tally};
use pcc::ids::{NodeId, VarId};
use pcc::leaf::{Dist, Family};
use pcc::param::direct::Direct;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::variables::{VarKind, Variables};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agreement::{assert_agree, by_cpu, by_reference};
use crate::support::case::spread;
use crate::support::describe::{collected, compiled, rat_spn};
use crate::support::random_circuits::{Kinds, circuit};

type Row = Vec<Option<f32>>;

fn made(circuit: Circuit) -> Arc<Compiled> {
    let options = Options::default();
    Arc::new(compile(circuit, &SourceMap::default(), &Direct, &options).unwrap())
}

fn data_of(compiled: &Compiled, rows: Vec<Row>) -> Dataset {
    Dataset::from_rows(compiled.written.variables(), rows).unwrap()
}

/// Parameters as they begin.
fn initial(compiled: &Compiled) -> Vec<f32> {
    compiled.parameters.initial::<f32>(&compiled.written, 0, None)
}

/// Parameters far from where they begin.
fn far(compiled: &Compiled, seed: u64) -> Vec<f32> {
    let flat = spread(&compiled.written, &compiled.parameters, seed);
    flat.into_iter().map(|value| value as f32).collect()
}

/// What the engine says, under both schedules, having been compared with the oracle.
fn agreed(
    name: &str,
    compiled: &Arc<Compiled>,
    single: &[f32],
    data: &Dataset,
) -> (Vec<f64>, Vec<f32>, Tally) {
    let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
    let expected = by_reference(compiled, &flat, data);
    let deep = by_cpu(name, compiled, single, data, Schedule::Deep, 2);
    assert_agree(name, compiled, &expected, (&deep.0, &deep.1));
    let wide = by_cpu(name, compiled, single, data, Schedule::Wide, 2);
    assert_agree(name, compiled, &expected, (&wide.0, &wide.1));
    assert_eq!(wide.2, deep.2, "{name}: the schedules tell rows apart");
    wide
}

fn binary_rows(count: usize, width: usize, seed: u64) -> Vec<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| (0..width).map(|_| Some(f32::from(rng.random_bool(0.5)))).collect())
        .collect()
}

fn repeated(rows: &[Row], times: usize) -> Vec<Row> {
    rows.iter().cycle().take(rows.len() * times).cloned().collect()
}

fn leaf(circuit: &mut Circuit, var: u32, family: Family, given: &[f64], frozen: bool) -> NodeId {
    let units = (given.len() / family.natural_len()) as u32;
    let dist = circuit.add_dist(Dist { family, units, given: Some(given.to_vec()), frozen });
    circuit.leaf(VarId(var), dist)
}

/// Two groups of two real variables each around −20 or 20, with a binary one between them, whose sum
/// keeps the logarithms of the two apart: one unit for each group.
fn peaked() -> Circuit {
    let kinds = [("left", VarKind::Real), ("flag", VarKind::BINARY), ("right", VarKind::Real)];
    let named = kinds.map(|(name, kind)| (name.to_owned(), kind));
    let mut circuit = Circuit::new(Variables::named(named));
    let means = [-20.0, 0.25, 20.0, 0.25];
    let left = leaf(&mut circuit, 0, Family::GAUSSIAN, &means, false);
    let right = leaf(&mut circuit, 2, Family::GAUSSIAN, &means, false);
    let dist = circuit.add_dist(Dist::indicators(2));
    let indicators = circuit.leaf(VarId(1), dist);
    let flag = circuit.sum(2, &[indicators], WeightSource::Parameterizer);
    let product = circuit.product(&[left, flag, right]);
    let root = circuit.sum(1, &[product], WeightSource::Parameterizer);
    circuit.set_root(root);
    circuit
}

#[test]
fn rows_between_the_peaks_of_a_mixture_go_through_the_log_domain_and_agree() {
    let compiled = made(peaked());
    let flat = initial(&compiled);
    let row = |index: usize| {
        let shift = index as f32 / 40.0 - 1.0;
        let (left, right) = match index % 3 {
            0 => (-20.0 + shift, -20.0 - shift),
            1 => (20.0 + shift, 20.0 + shift),
            _ => (-20.0 + shift, 20.0 - shift),
        };
        vec![Some(left), Some((index % 2) as f32), Some(right)]
    };
    let data = data_of(&compiled, (0..150).map(row).collect());
    let (log_p, _, tally) = agreed("peaked", &compiled, &flat, &data);
    // Every third row is of both groups: each unit of the product is far below what it was made of.
    assert_eq!(tally, Tally { impossible: 0, in_logs: 50 });
    assert!(log_p.iter().skip(2).step_by(3).all(|&log_p| log_p < -2500.0), "{log_p:?}");
}

#[test]
fn rows_whose_densities_leave_single_precision_are_as_likely_as_the_oracle_says() {
    let compiled = made(peaked());
    let flat = initial(&compiled);
    let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
    for far in [1e3, 3e4, 1e5, 1e7, 1e15, 1e20, 3e37] {
        let row = |index: usize| {
            let sign = if index.is_multiple_of(2) { 1.0 } else { -1.0 };
            let near = (!index.is_multiple_of(3)).then_some(20.0);
            vec![Some(sign * far), Some((index % 5 % 2) as f32), near]
        };
        let data = data_of(&compiled, (0..100).map(row).collect());
        let (log_p, ..) = by_cpu("far", &compiled, &flat, &data, Schedule::Wide, 2);
        let expected = by_reference(&compiled, &double, &data).log_p;
        for (found, expected) in log_p.iter().zip(&expected) {
            let most = 1e-5 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= most, "{far}: {found}, not {expected}");
        }
    }
}

#[test]
fn frozen_weights_that_single_precision_holds_one_by_one_are_not_lost_together() {
    let small = || WeightSource::Frozen(vec![1.0, 1e-30]);
    let mut circuit = Circuit::new(Variables::binary(1));
    let [zero, one] = [0.0, 1.0].map(|p| leaf(&mut circuit, 0, Family::Bernoulli, &[p], true));
    let inner = circuit.sum(1, &[zero, one], small());
    let root = circuit.sum(1, &[zero, inner], small());
    circuit.set_root(root);
    let compiled = made(circuit);
    let data = data_of(&compiled, vec![vec![Some(0.0)], vec![Some(1.0)]]);
    let (log_p, _, _) = agreed("1e-30 twice", &compiled, &[], &data);
    assert!((log_p[1] - 2.0 * 1e-30f64.ln()).abs() < 1e-3, "{log_p:?}");
}

#[test]
fn rows_near_a_peak_alone_stay_linear() {
    let compiled = made(peaked());
    let row = |index: usize| {
        let centre = if index.is_multiple_of(2) { -20.0 } else { 20.0 };
        vec![Some(centre + index as f32 / 100.0), Some(1.0), Some(centre)]
    };
    let data = data_of(&compiled, (0..90).map(row).collect());
    let (_, _, tally) = agreed("one peak", &compiled, &initial(&compiled), &data);
    assert_eq!(tally, Tally::default());
}

#[test]
fn softmax_sums_over_discrete_leaves_never_leave_linear_arithmetic() {
    let parameterizers = [
        "parameterizer: Direct",
        "parameterizer: WeightDecay(lambda: 1e-4)",
        "parameterizer: Hyper(embedding: 3, hidden: [8])",
    ];
    for leaves in ["leaves: Indicators", "leaves: Bernoulli()"] {
        for parameterizer in parameterizers {
            let name = format!("{leaves}, {parameterizer}");
            let compiled = compiled(&rat_spn(150, 4, 3, &name));
            let data = data_of(&compiled, binary_rows(130, 150, 1));
            let (log_p, _, tally) = agreed(&name, &compiled, &far(&compiled, 5), &data);
            assert_eq!(tally, Tally::default(), "{name}");
            assert!(log_p.iter().all(|&log_p| log_p < -80.0), "{name}");
        }
    }
}

/// `groups` products, each of `width` Bernoulli leaves of one unit and a small probability, mixed.
fn tiny_chain(width: u32, probabilities: &[f64]) -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(width as usize));
    let products: Vec<NodeId> = probabilities
        .iter()
        .map(|&p| {
            // A chain of products of two, the deepest there is.
            let first = leaf(&mut circuit, 0, Family::Bernoulli, &[p], false);
            (1..width).fold(first, |so_far, var| {
                let next = leaf(&mut circuit, var, Family::Bernoulli, &[p], false);
                circuit.product(&[so_far, next])
            })
        })
        .collect();
    let root = circuit.sum(1, &products, WeightSource::Direct);
    circuit.set_root(root);
    circuit
}

#[test]
fn a_long_chain_of_tiny_probabilities_does_not_vanish() {
    let compiled = made(tiny_chain(400, &[1e-7, 1e-5, 1e-6]));
    let ones = |count: usize| (0..400).map(|var| Some(f32::from(var < count))).collect();
    let data = data_of(&compiled, vec![ones(400), ones(399), ones(200), ones(1), ones(0)]);
    let (log_p, _, tally) = agreed("a chain", &compiled, &initial(&compiled), &data);
    // The likelier chain is beyond the others by far.
    let all = 400.0 * 1e-5f64.ln();
    assert!(log_p[0] < all && log_p[0] > all - 10.0, "{log_p:?}");
    assert_eq!(tally.impossible, 0);
}

/// x0 and x1 are equal: a mixture of two products of certain leaves.
fn equal_pair() -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(2));
    let products: Vec<NodeId> = [0.0, 1.0]
        .into_iter()
        .map(|p| {
            let leaves = [0, 1].map(|var| leaf(&mut circuit, var, Family::Bernoulli, &[p], true));
            circuit.product(&leaves)
        })
        .collect();
    let root = circuit.sum(1, &products, WeightSource::Given(vec![0.25, 0.75]));
    circuit.set_root(root);
    circuit
}

#[test]
fn impossible_rows_are_minus_infinity_without_gradient_and_are_counted() {
    let compiled = made(equal_pair());
    let flat = initial(&compiled);
    let row = |a: f32, b: f32| vec![Some(a), Some(b)];
    let impossible = data_of(&compiled, repeated(&[row(0.0, 1.0), row(1.0, 0.0)], 50));
    let (log_p, gradient, tally) = agreed("impossible", &compiled, &flat, &impossible);
    assert!(log_p.iter().all(|&log_p| log_p == f64::NEG_INFINITY), "{log_p:?}");
    assert!(gradient.iter().all(|&g| g == 0.0), "{gradient:?}");
    assert_eq!(tally, Tally { impossible: 100, in_logs: 0 });

    let mixed = repeated(&[row(0.0, 0.0), row(0.0, 1.0), row(1.0, 1.0), vec![Some(1.0), None]], 30);
    let (log_p, gradient, tally) = agreed("mixed", &compiled, &flat, &data_of(&compiled, mixed));
    assert_eq!(tally, Tally { impossible: 30, in_logs: 0 });
    assert!(log_p[1] == f64::NEG_INFINITY && (log_p[2] - 0.75f64.ln()).abs() < 1e-6);
    assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|&g| g != 0.0));
}

#[test]
fn a_deterministic_circuit_has_every_world_as_the_oracle_does() {
    let compiled = compiled(&collected("sprinkler.ron"));
    let worlds: Vec<Row> = (0..27)
        .map(|world| {
            let value = |at: u32| match world / 3_usize.pow(at) % 3 {
                2 => None,
                known => Some(known as f32),
            };
            (0..3).map(value).collect()
        })
        .collect();
    let data = data_of(&compiled, worlds);
    let (log_p, _, tally) = agreed("sprinkler", &compiled, &initial(&compiled), &data);
    // Wet grass, no rain and the sprinkler off, is impossible.
    assert_eq!(tally, Tally { impossible: 1, in_logs: 0 });
    assert_eq!(log_p[9], f64::NEG_INFINITY, "{log_p:?}");
}

#[test]
fn weights_of_zero_stay_zero() {
    let mut circuit = Circuit::new(Variables::binary(2));
    let layers = [0, 1].map(|var| {
        let dist = circuit.add_dist(Dist::indicators(2));
        let indicators = circuit.leaf(VarId(var), dist);
        circuit.sum(2, &[indicators], WeightSource::Given(vec![1.0, 0.0, 0.5, 0.5]))
    });
    let product = circuit.product(&layers);
    let root = circuit.sum(1, &[product], WeightSource::Given(vec![1.0, 0.0]));
    circuit.set_root(root);
    let compiled = made(circuit);
    let rows = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)];
    let data = data_of(&compiled, rows.map(|(a, b)| vec![Some(a), Some(b)]).to_vec());
    let (log_p, _, tally) = agreed("zeros", &compiled, &initial(&compiled), &data);
    // The second unit, which would allow more, has weight zero.
    assert_eq!(log_p[1..], [f64::NEG_INFINITY; 3]);
    assert!(log_p[0].abs() < 1e-6, "{log_p:?}");
    assert_eq!(tally.impossible, 3);
}

#[test]
fn a_row_of_which_nothing_is_known_has_probability_one() {
    let rat = compiled(&rat_spn(40, 3, 2, "leaves: Indicators"));
    let patients = compiled(&collected("patients.ron"));
    let random =
        (0..60).map(|seed| made(circuit(seed, [Kinds::Mixed, Kinds::Real][seed as usize % 2])));
    for (number, compiled) in [rat, patients].into_iter().chain(random).enumerate() {
        let name = format!("circuit {number}");
        let width = compiled.written.variables().len();
        let data = data_of(&compiled, vec![vec![None; width]; 70]);
        let (log_p, gradient, tally) = agreed(&name, &compiled, &far(&compiled, 7), &data);
        assert!(log_p.iter().all(|&log_p| log_p == 0.0), "{name}: {log_p:?}");
        assert!(gradient.iter().all(|g| g.abs() < 1e-2), "{name}: {gradient:?}");
        assert_eq!(tally, Tally::default(), "{name}");
    }
}

/// The bits of ln p, of the gradient, and of ln p again in batches of another size.
fn bits(
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    schedule: Schedule,
    threads: usize,
) -> (Vec<u64>, Vec<u32>, Vec<u64>, Tally) {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let engine = |purpose, batch| {
        let options = plan::Options { purpose, schedule, batch, sharing: Sharing::WherePays };
        let plan = plan(&compiled.circuit, &compiled.parameters, &options);
        assert!(purpose == Purpose::Evaluate || plan.shards > 1, "one shard tests nothing");
        CpuExecutable::new(compiled.clone(), plan, threads).unwrap()
    };
    let mut log_p = vec![f64::NAN; rows.len()];
    let mut gradient = vec![f32::NAN; flat.len()];
    let mut train = engine(Purpose::Train, rows.len() as u32);
    let tally = train.gradient(flat, data, &rows, &mut log_p, &mut gradient);
    let first = (log_p.clone(), gradient.clone());
    // Nothing is left over from the run before.
    train.gradient(flat, data, &rows, &mut log_p, &mut gradient);
    assert_eq!((&log_p, &gradient), (&first.0, &first.1), "the second run differs");
    let mut again = vec![f64::NAN; rows.len()];
    let mut evaluate = engine(Purpose::Evaluate, 200);
    evaluate.load(flat);
    evaluate.log_likelihood(data, &rows, &mut again);
    (
        log_p.into_iter().map(f64::to_bits).collect(),
        gradient.into_iter().map(f32::to_bits).collect(),
        again.into_iter().map(f64::to_bits).collect(),
        tally,
    )
}

fn assert_same_bits(name: &str, compiled: &Arc<Compiled>, flat: &[f32], data: &Dataset) -> Tally {
    let mut tally = Tally::default();
    for schedule in [Schedule::Wide, Schedule::Deep] {
        let one = bits(compiled, flat, data, schedule, 1);
        for threads in [1, 2, 3, 5] {
            let other = bits(compiled, flat, data, schedule, threads);
            assert!(one == other, "{name}, {schedule:?}: {threads} threads change bits");
        }
        tally = one.3;
    }
    tally
}

#[test]
fn results_have_the_same_bits_however_many_threads_there_are() {
    let hyper = compiled(&rat_spn(
        20,
        4,
        7,
        "leaves: Indicators, parameterizer: Hyper(embedding: 3, hidden: [8])",
    ));
    let data = data_of(&hyper, binary_rows(1000, 20, 3));
    assert_same_bits("hyperspn", &hyper, &far(&hyper, 2), &data);

    let patients = compiled(&collected("patients.ron"));
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let rows = (0..700).map(|_| {
        let smokes = rng.random_bool(0.8).then(|| f32::from(rng.random_bool(0.5)));
        vec![smokes, Some(rng.random_range(0..5) as f32), Some(rng.random_range(8.0..20.0))]
    });
    let data = data_of(&patients, rows.collect());
    assert_same_bits("patients", &patients, &far(&patients, 2), &data);

    let peaked = made(peaked());
    let rows = (0..700).map(|index| {
        let side = |bit: usize| if index >> bit & 1 == 0 { -20.0 } else { 20.0 };
        vec![Some(side(0) + index as f32 / 700.0), Some(0.0), Some(side(1))]
    });
    let data = data_of(&peaked, rows.collect());
    let tally = assert_same_bits("peaked", &peaked, &initial(&peaked), &data);
    assert!(tally.in_logs > 300, "{tally:?}");
}
