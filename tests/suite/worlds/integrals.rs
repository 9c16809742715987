//! Variables of any kind: marginals, distributions and draws by quadrature over densities and long sums over counts.

use pcc::circuit::Determinism;
use pcc::data::Dataset;
use pcc::engine::{Executable, reference};
use pcc::ids::VarId;
use pcc::leaf::Family;
use pcc::plan::Purpose;
use pcc::query::Answer;
use pcc::variables::VarKind;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{
    DRAWS, HOWS, How, LACK, Row, TOLERANCE, by_parts, by_segments, for_each_instance, is_close,
    log_likelihoods, model,
};
use crate::queries::densities::{self, COUNTS, evidence, family, given, lattice};
use crate::queries::{INSTANCES, Instance, instance, structures};
use crate::structures::random::Kinds;
use crate::support::chi_square::assert_drawn_from;
use crate::support::enumerate::agrees;

/// A distribution of one variable as an engine tells it: of states, or mean and variance.
type Told = Vec<f64>;

/// A circuit, rows of evidence, and what is true of these.
pub struct Integrals<'a> {
    instance: &'a Instance,
    /// Nothing observed, and some possible evidence.
    rows: [Row; 2],
    /// The rows.
    data: Dataset,
    /// For each row itself, then a row for each point of some variables that are open in it.
    points: Vec<Dataset>,
    weights: Vec<Vec<f64>>,
    /// Of the second row every open variable's distribution.
    told: Vec<(VarId, Told)>,
}

impl<'a> Integrals<'a> {
    /// `None` where the evidence that was drawn is impossible.
    pub fn new(instance: &'a Instance, seed: u64) -> Option<Self> {
        let circuit = &instance.circuit;
        let variables = circuit.variables();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows = [vec![None; variables.len()], evidence(circuit, &mut rng)];
        let log_p = reference::log_likelihood(circuit, &instance.values, &rows[1]);
        if log_p == f64::NEG_INFINITY {
            return None;
        }
        let shuffled = instance.shuffled(&mut rng);
        let (mut points, mut weights) = (Vec::new(), Vec::new());
        for row in &rows {
            let open = shuffled.iter().copied().filter(|var| row[var.0 as usize].is_none());
            let open: Vec<VarId> = open.take(2).collect();
            let (of_points, at_points): (Vec<f64>, Vec<Row>) =
                lattice(circuit, &open, row).map(|(_, weight, row)| (weight, row)).unzip();
            let all = [row.clone()].into_iter().chain(at_points);
            points.push(Dataset::from_rows(variables, all).unwrap());
            weights.push(of_points);
        }
        let open = shuffled.into_iter().filter(|var| rows[1][var.0 as usize].is_none());
        let told = open.map(|var| (var, told(instance, var, &rows[1]))).collect();
        let data = Dataset::from_rows(variables, rows.clone()).unwrap();
        Some(Integrals { instance, rows, data, points, weights, told })
    }

    /// All that an engine answers but draws.
    pub fn check(&self, how: &str, likelihoods: &mut dyn Executable, queries: &mut dyn Executable) {
        let name = format!("{}, {how}", self.instance.name);
        self.likelihoods(&name, likelihoods);
        self.distributions(&name, queries);
        self.completions(&name, queries);
    }

    /// What rows at all points of some variables add up to is the row without them.
    fn likelihoods(&self, name: &str, engine: &mut dyn Executable) {
        for ((row, points), weights) in self.rows.iter().zip(&self.points).zip(&self.weights) {
            let log_p = log_likelihoods(engine, self.instance, points);
            let (of_row, at_points) = (log_p[0], &log_p[1..]);
            let expected =
                reference::log_likelihood(&self.instance.circuit, &self.instance.values, row);
            assert!(is_close(of_row, expected), "{name}: {row:?} has {of_row}, not {expected}");
            let terms = weights.iter().zip(at_points).map(|(w, log_p)| w * (log_p - of_row).exp());
            let sum: f64 = terms.sum();
            // Each logarithm may be off by as much.
            let allowed = densities::TOLERANCE + 4.0 * TOLERANCE * of_row.abs().max(1.0);
            assert!((sum - 1.0).abs() <= allowed, "{name}: the points of {row:?} have {sum} of it");
        }
    }

    fn distributions(&self, name: &str, engine: &mut dyn Executable) {
        let found = model(self.instance).conditionals(engine, &self.data);
        assert_eq!(engine.fault(), None, "{name}");
        for (var, expected) in &self.told {
            let found = found.of(1, *var);
            let name = format!("{name}: {var} has {found:?}, not {expected:?}, {:?}", self.rows[1]);
            assert_eq!(found.len(), expected.len(), "{name}");
            let close = |(p, q): (&f64, &f64)| {
                let allowed = TOLERANCE * p.abs() + LACK + densities::TOLERANCE;
                (p - q).abs() <= 2.0 * allowed
            };
            assert!(expected.iter().zip(found).all(close), "{name}");
        }
    }

    fn completions(&self, name: &str, engine: &mut dyn Executable) {
        let found = model(self.instance).complete(engine, &self.data);
        let Instance { circuit, values, .. } = self.instance;
        for ((row, points), found) in self.rows.iter().zip(&self.points).zip(found) {
            let name = format!("{name}, given {row:?}: {found:?}");
            let Some(found) = found else { panic!("{name}") };
            assert!(agrees(&found.row, row), "{name}");
            let evaluate = |row: &[Option<f32>]| reference::log_likelihood(circuit, values, row);
            let full: Row = found.row.iter().map(|&x| Some(x)).collect();
            let log_p = evaluate(&full);
            assert!(is_close(found.log_p, log_p), "{name}: not {log_p}");
            let deterministic = circuit.properties().deterministic != Determinism::Unknown;
            assert_eq!(found.answer == Answer::Exact, deterministic, "{name}");
            if !deterministic {
                continue;
            }
            // Nothing is likelier at any point of some of the variables.
            for at in 1..points.rows() {
                let ids = circuit.variables().ids();
                let other: Row = ids
                    .map(|var| points.value(at, var).or(Some(found.row[var.0 as usize])))
                    .collect();
                assert!(evaluate(&other) <= log_p + TOLERANCE * log_p.abs().max(1.0), "{name}");
            }
        }
    }

    /// Draws of the second row have, variable by variable, the frequencies of integrals over cells.
    pub fn draws(&self, engine: &mut dyn Executable, each: usize, seed: u64) {
        let given = self.data.subset(1..2);
        let drawn = model(self.instance).draws(engine, &given, each, seed);
        for &(var, _) in &self.told {
            let column = drawn.of(0).iter().skip(var.0 as usize).step_by(self.rows[1].len());
            let (first, cells) = cells(self.instance, var, &self.rows[1]);
            let mut counts = vec![0; cells.p.len()];
            for &x in column {
                let cell = (f64::from(x) / cells.width).floor() - first;
                assert!(cell >= 0.0 && cell < counts.len() as f64, "{}: {x}", self.instance.name);
                counts[cell as usize] += 1;
            }
            let name = format!("{}, {var} given {:?}", self.instance.name, self.rows[1]);
            let cells: Vec<(f64, usize)> = cells.p.into_iter().zip(counts).collect();
            assert_drawn_from(&name, &cells);
        }
    }
}

/// A variable's distribution given a row, by enumeration of its points.
fn told(instance: &Instance, var: VarId, row: &[Option<f32>]) -> Told {
    let each: Vec<(f64, f64)> =
        given(instance, &[var], row).map(|(values, p)| (values[0], p)).collect();
    match instance.circuit.variables().kind(var) {
        VarKind::Categorical { .. } => each.into_iter().map(|(_, p)| p).collect(),
        VarKind::Real => {
            let mean: f64 = each.iter().map(|(x, p)| p * x).sum();
            vec![mean, each.iter().map(|(x, p)| p * (x - mean).powi(2)).sum()]
        }
    }
}

/// Probabilities of runs of values of one width.
struct Cells {
    width: f64,
    p: Vec<f64>,
}

/// The cells of a variable given a row, and the number of the first: states and counts one by one, densities over
/// halves, each by so many midpoints that a chi-square test does not tell.
fn cells(instance: &Instance, var: VarId, row: &[Option<f32>]) -> (f64, Cells) {
    const WIDTH: f64 = 0.5;
    const REACH: i32 = 28;
    const POINTS: u32 = 8;
    let Instance { circuit, values, .. } = instance;
    let log_evidence = reference::log_likelihood(circuit, values, row);
    let p = |x: f64| {
        let mut row = row.to_vec();
        row[var.0 as usize] = Some(x as f32);
        (reference::log_likelihood(circuit, values, &row) - log_evidence).exp()
    };
    let whole = |count: u32| Cells { width: 1.0, p: (0..count).map(|x| p(x.into())).collect() };
    match circuit.variables().kind(var) {
        VarKind::Categorical { states } => (0.0, whole(states)),
        VarKind::Real if family(circuit, var) == Family::Poisson => (0.0, whole(COUNTS)),
        VarKind::Real => {
            let part = |point: u32| (f64::from(point) + 0.5) / f64::from(POINTS);
            let mean = |cell: i32| {
                let points = (0..POINTS).map(|point| p((f64::from(cell) + part(point)) * WIDTH));
                WIDTH * points.sum::<f64>() / f64::from(POINTS)
            };
            let p = (-REACH..REACH).map(mean).collect();
            (f64::from(-REACH), Cells { width: WIDTH, p })
        }
    }
}

#[test]
fn every_engine_says_of_real_variables_what_integrals_and_long_sums_come_to() {
    for structure in structures() {
        let mut checked = 0;
        for seed in 0..INSTANCES {
            let instance = instance(structure, Kinds::Any, seed, seed % 2 == 1);
            let Some(integrals) = Integrals::new(&instance, seed) else { continue };
            for how in HOWS {
                let name = format!("{how:?}");
                match how {
                    How::Parts(schedule, sharing) => {
                        let [mut likelihoods, mut queries] = [Purpose::Evaluate, Purpose::Query]
                            .map(|purpose| by_parts(&instance, (schedule, sharing), purpose));
                        integrals.check(&name, &mut likelihoods, &mut queries);
                    }
                    How::Segments => {
                        let Some(mut engine) = by_segments(&instance) else { continue };
                        integrals.likelihoods(&format!("{}, {name}", instance.name), &mut engine);
                    }
                }
            }
            checked += 1;
        }
        assert!(checked > 80, "{structure}: {checked} circuits");
    }
}

#[test]
fn draws_of_real_variables_have_the_frequencies_of_integrals_and_long_sums() {
    let check = |(structure, seed): (&str, u64)| {
        let instance = instance(structure, Kinds::Any, seed, seed % 2 == 1);
        let Some(integrals) = Integrals::new(&instance, seed) else { return };
        let how = [HOWS[0], HOWS[1]][seed as usize / 2 % 2];
        let How::Parts(schedule, sharing) = how else { unreachable!("both are part by part") };
        let mut engine = by_parts(&instance, (schedule, sharing), Purpose::Query);
        integrals.draws(&mut engine, if seed % 4 == 0 { DRAWS } else { DRAWS / 10 }, seed);
    };
    for_each_instance(check);
}
