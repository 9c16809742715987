//! Variables of any kind, by quadrature over densities and long sums over counts.

use pcc::circuit::{Op, ValidCircuit};
use pcc::engine::reference;
use pcc::ids::VarId;
use pcc::leaf::Family;
use pcc::query::{
    Conditional, Divergence, Entropy, ExpectedLogLikelihood, Posterior, conditionals, map, moments,
};
use pcc::variables::VarKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::deterministic::instance;
use super::{INSTANCES, Instance, assert_close, instances, structures};
use crate::structures::random::Kinds;
use crate::support::deterministic::{self, plan};

/// The trapezium rule misses less than this of a density of variance 0.3 and more, and the tails.
pub const TOLERANCE: f64 = 1e-6;

/// The distance of points, and how many there are on either side of zero.
const STEP: f64 = 0.5;
const POINTS: i32 = 28;

/// Counts that are summed.
pub const COUNTS: u32 = 60;

/// Points of a variable, each with its weight in a sum over them that is the integral.
fn points(circuit: &ValidCircuit, var: VarId) -> Vec<(f32, f64)> {
    match circuit.variables().kind(var) {
        VarKind::Categorical { states } => (0..states).map(|state| (state as f32, 1.0)).collect(),
        VarKind::Real if family(circuit, var) == Family::Poisson => {
            (0..COUNTS).map(|count| (count as f32, 1.0)).collect()
        }
        VarKind::Real => {
            (-POINTS..=POINTS).map(|at| ((f64::from(at) * STEP) as f32, STEP)).collect()
        }
    }
}

/// The family of the first leaf of a variable.
pub fn family(circuit: &ValidCircuit, var: VarId) -> Family {
    let of = |&node: &_| match circuit.op(node) {
        Op::Leaf { var: other, dist } if other == var => Some(circuit.dists()[dist].family),
        _ => None,
    };
    circuit.order().iter().find_map(of).unwrap_or(Family::Bernoulli)
}

/// Evidence with each variable in it with probability one half.
pub fn evidence(circuit: &ValidCircuit, rng: &mut ChaCha8Rng) -> Vec<Option<f32>> {
    let value = |var| {
        let likely = match circuit.variables().kind(var) {
            VarKind::Categorical { states } => rng.random_range(0..states) as f32,
            VarKind::Real if family(circuit, var) == Family::Poisson => {
                rng.random_range(0..3) as f32
            }
            VarKind::Real => rng.random_range(-1.5..1.5),
        };
        rng.random_bool(0.5).then_some(likely)
    };
    circuit.variables().ids().map(value).collect()
}

/// A row at each point of some variables together: their values, and the point's weight.
pub fn lattice(
    circuit: &ValidCircuit,
    of: &[VarId],
    row: &[Option<f32>],
) -> impl Iterator<Item = (Vec<f64>, f64, Vec<Option<f32>>)> {
    let of = of.to_vec();
    let points: Vec<Vec<(f32, f64)>> = of.iter().map(|&var| points(circuit, var)).collect();
    let count: usize = points.iter().map(Vec::len).product();
    let row = row.to_vec();
    (0..count).map(move |at| {
        let (mut rest, mut weight, mut full, mut values) = (at, 1.0, row.clone(), Vec::new());
        for (var, points) in of.iter().zip(&points) {
            let (value, of_point) = points[rest % points.len()];
            rest /= points.len();
            weight *= of_point;
            full[var.0 as usize] = Some(value);
            values.push(f64::from(value));
        }
        (values, weight, full)
    })
}

/// The points of some variables together, with their weights and p given the row.
pub fn given(
    instance: &Instance,
    of: &[VarId],
    row: &[Option<f32>],
) -> impl Iterator<Item = (Vec<f64>, f64)> {
    let log_p =
        |row: &[Option<f32>]| reference::log_likelihood(&instance.circuit, &instance.values, row);
    let log_evidence = log_p(row);
    lattice(&instance.circuit, of, row)
        .map(move |(values, weight, full)| (values, weight * (log_p(&full) - log_evidence).exp()))
}

#[test]
fn conditionals_and_moments_of_any_variables_are_integrals() {
    let mut real_pairs = 0;
    for structure in structures() {
        for (seed, instance) in (0..).zip(instances(structure, Kinds::Any, INSTANCES)) {
            let circuit = &instance.circuit;
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let row = evidence(circuit, &mut rng);
            let Some(posterior) = Posterior::new(circuit, &instance.values, &row) else { continue };
            let name = format!("{} given {row:?}", instance.name);
            let found = conditionals(&posterior);
            let mut open = instance.shuffled(&mut rng);
            open.retain(|var| row[var.0 as usize].is_none());
            for &var in &open {
                let each: Vec<(f64, f64)> =
                    given(&instance, &[var], &row).map(|(values, p)| (values[0], p)).collect();
                match &found[var.0 as usize] {
                    Conditional::States(p) => {
                        for (found, &(state, expected)) in p.iter().zip(&each) {
                            assert_close(
                                &name,
                                &format!("p({var} = {state})"),
                                *found,
                                expected,
                                1e-11,
                            );
                        }
                    }
                    Conditional::Real { mean, variance } => {
                        let expected: f64 = each.iter().map(|(x, p)| p * x).sum();
                        assert_close(
                            &name,
                            &format!("the mean of {var}"),
                            *mean,
                            expected,
                            TOLERANCE,
                        );
                        let square = |&(x, p): &(f64, f64)| p * (x - expected).powi(2);
                        let expected: f64 = each.iter().map(square).sum();
                        assert_close(
                            &name,
                            &format!("the variance of {var}"),
                            *variance,
                            expected,
                            TOLERANCE,
                        );
                    }
                }
            }
            let pair = &open[..open.len().min(2)];
            let [a, b] = pair else { continue };
            let found = moments(&posterior, pair);
            let product =
                |(x, p): (Vec<f64>, f64)| p * (x[0] - found.mean[0]) * (x[1] - found.mean[1]);
            let expected: f64 = given(&instance, pair, &row).map(product).sum();
            let what = format!("the covariance of {a} and {b}");
            assert_close(&name, &what, found.covariance(0, 1), expected, TOLERANCE);
            let is_real = |var: &&VarId| circuit.variables().kind(**var) == VarKind::Real;
            real_pairs += usize::from(pair.iter().filter(is_real).count() == 2);
        }
    }
    assert!(real_pairs > 60, "only {real_pairs} covariances of two real variables");
}

/// The mixed circuits of a plan, small enough for a sum over all points.
fn mixed(seed: u64) -> [Instance; 2] {
    let plan = plan(seed, deterministic::Kinds::Mixed);
    [instance(&plan, 2 * seed, 1), instance(&plan, 2 * seed + 1, 1)]
}

#[test]
fn entropies_and_divergences_of_any_variables_are_integrals() {
    let mut finite = 0;
    for seed in 0..INSTANCES / 2 {
        let [p, q] = mixed(seed);
        let all: Vec<VarId> = p.circuit.variables().ids().collect();
        let nothing = vec![None; all.len()];
        let [of_p, of_q] =
            [&p, &q].map(|of| Posterior::new(&of.circuit, &of.values, &nothing).unwrap());
        let weight = |at: &[f64]| -> f64 {
            let real = |var: &&VarId| {
                p.circuit.variables().kind(**var) == VarKind::Real
                    && family(&p.circuit, **var) != Family::Poisson
            };
            STEP.powi(all.iter().filter(real).count() as i32) * f64::from(u8::from(!at.is_empty()))
        };
        let (mut entropy, mut ll) = (0.0, 0.0);
        for ((x, p), (_, q)) in given(&p, &all, &nothing).zip(given(&q, &all, &nothing)) {
            if p > 0.0 {
                entropy -= p * (p / weight(&x)).ln();
                ll += p * (q / weight(&x)).ln();
            }
        }
        let found = Entropy::new(&p.circuit, &all).unwrap();
        assert!(!found.is_listed());
        assert_close(&p.name, "the entropy", found.given(&of_p), entropy, TOLERANCE);
        let expected = ExpectedLogLikelihood::new(&p.circuit, &q.circuit).unwrap();
        assert_close(&p.name, "the expected LL", expected.given(&of_p, &of_q), ll, TOLERANCE);
        let divergence = Divergence::new(&p.circuit, &q.circuit).unwrap().given(&of_p, &of_q);
        assert_close(&p.name, "the divergence", divergence, -entropy - ll, TOLERANCE);
        finite += usize::from(divergence.is_finite());
    }
    assert!(finite > 20, "only {finite} divergences are finite");
}

#[test]
fn map_takes_the_modes_of_densities_and_counts() {
    for seed in 0..INSTANCES {
        let [p, _] = mixed(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let row = evidence(&p.circuit, &mut rng);
        let Some(best) = map(&p.circuit, &p.values, &row) else { continue };
        let evaluate = |row: &[f32]| {
            let row: Vec<Option<f32>> = row.iter().copied().map(Some).collect();
            reference::log_likelihood(&p.circuit, &p.values, &row)
        };
        assert_eq!(best.log_p, evaluate(&best.row), "{}", p.name);
        for (value, seen) in best.row.iter().zip(&row) {
            assert!(seen.is_none_or(|seen| seen == *value), "{}: {best:?} for {row:?}", p.name);
        }
        // No state, count or value in a wide neighbourhood is better, whatever the states of the others.
        let open: Vec<VarId> =
            p.circuit.variables().ids().filter(|var| row[var.0 as usize].is_none()).collect();
        let all: Vec<Vec<(f32, f64)>> = open.iter().map(|&var| points(&p.circuit, var)).collect();
        let count: usize = all.iter().map(Vec::len).product();
        for at in 0..count {
            let (mut rest, mut other) = (at, best.row.clone());
            for (var, points) in open.iter().zip(&all) {
                other[var.0 as usize] = points[rest % points.len()].0;
                rest /= points.len();
            }
            assert!(evaluate(&other) <= best.log_p + 1e-5, "{}: {other:?}, not {best:?}", p.name);
        }
    }
}
