//! Every engine against enumeration, on every structure: all worlds have mass one, and what an engine says of a row
//! with missing values, likelihood, distributions, completion and draws, is what its completions add up to. Where
//! variables are real, quadrature and long sums stand for sums over worlds.
//!
//! `cuda/worlds.rs` asks the kernels the same.

mod integrals;

use std::collections::BTreeMap;

use pcc::circuit::{Determinism, Values};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::cpu::{BoundedExecutable, CpuExecutable, Evaluated};
use pcc::engine::{Conditionals, Executable};
use pcc::ids::VarId;
use pcc::model::Model;
use pcc::plan::{self, Purpose, Schedule, Sharing, bounded_by, plan};
use pcc::query::{Answer, Completion};
use pcc::sample::sample_rows;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use self::integrals::Integrals;
use crate::queries::{INSTANCES, Instance, evidence, instance, structures};
use crate::structures::random::Kinds;
use crate::support::enumerate::{Table, agrees, observed, states};

/// How far a logarithm may be off, relative to itself or to one, and a probability relative to itself.
const TOLERANCE: f64 = 1e-5;
/// What a probability may be off besides: what a row may lack before it is in doubt.
const LACK: f64 = 1.0 / (1 << 20) as f64;
/// How far the mass of all worlds, or of a row's completions, may be from what it should be.
const MASS: f64 = 1e-6;
/// Draws a row.
const DRAWS: usize = 100_000;

type Row = Vec<Option<f32>>;

/// How a circuit is run on the processor.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Part by part.
    Parts(Schedule, Sharing),
    /// Segment by segment, each as small as can be.
    Segments,
}

const HOWS: [How; 3] = [
    How::Parts(Schedule::Wide, Sharing::Wherever),
    How::Parts(Schedule::Deep, Sharing::Off),
    How::Segments,
];

/// The engine part by part.
fn by_parts(
    Instance { compiled, .. }: &Instance,
    (schedule, sharing): (Schedule, Sharing),
    purpose: Purpose,
) -> CpuExecutable {
    let batch = if purpose == Purpose::Query { 64 } else { 256 };
    let options = plan::Options { purpose, schedule, batch, sharing };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    CpuExecutable::new(compiled.clone(), plan, 2).unwrap()
}

/// The engine segment by segment; `None` of a circuit that is not cut.
fn by_segments(Instance { compiled, .. }: &Instance) -> Option<BoundedExecutable> {
    let (schedule, sharing) = (Schedule::Deep, Sharing::Off);
    let options = plan::Options { purpose: Purpose::Evaluate, schedule, batch: 256, sharing };
    let plan = bounded_by(&compiled.circuit, &compiled.parameters, &options, 1)?;
    Some(BoundedExecutable::new(compiled, plan, 2).unwrap())
}

/// What a model of an instance says, whichever engine answers.
fn model(instance: &Instance) -> Model {
    let (compiled, flat) = (instance.compiled.clone(), instance.flat.clone());
    Model { source: Source::new("", ""), compiled, flat }
}

/// ln p of all rows.
fn log_likelihoods(engine: &mut dyn Executable, instance: &Instance, data: &Dataset) -> Vec<f64> {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let mut log_p = vec![f64::NAN; rows.len()];
    engine.load(&instance.flat);
    engine.log_likelihood(data, &rows, &mut log_p);
    assert_eq!(engine.fault(), None, "{}", instance.name);
    log_p
}

fn is_close(found: f64, expected: f64) -> bool {
    found == expected || (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
}

/// What completions were met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    exact: usize,
    bounds: usize,
    /// Bounds below the likeliest completion.
    gaps: usize,
    impossible: usize,
}

/// What the worlds that agree with a row say of it.
struct Truth {
    row: Row,
    log_p: f64,
    /// p of each state of each variable given the row.
    states: Vec<Vec<f64>>,
    /// ln p of its likeliest completion.
    log_best: f64,
}

impl Truth {
    fn new(table: &Table, states: &[u32], row: Row) -> Self {
        let log_p = table.log_marginal(&row);
        let mut p: Vec<Vec<f64>> = states.iter().map(|&count| vec![0.0; count as usize]).collect();
        let mut log_best = f64::NEG_INFINITY;
        for (world, of_world) in table.entries.iter().filter(|(world, _)| agrees(world, &row)) {
            log_best = log_best.max(*of_world);
            for (p, &state) in p.iter_mut().zip(world) {
                p[state as usize] += (of_world - log_p).exp();
            }
        }
        Truth { row, log_p, states: p, log_best }
    }

    fn is_possible(&self) -> bool {
        self.log_p > f64::NEG_INFINITY
    }
}

/// A circuit whose worlds are known, and rows of evidence.
pub struct Judge<'a> {
    instance: &'a Instance,
    table: Table,
    /// Of nothing observed, of evidence that some world has, twice, and of any.
    truths: Vec<Truth>,
    /// All worlds, then these rows.
    worlds_and_rows: Dataset,
    rows: Dataset,
}

impl<'a> Judge<'a> {
    pub fn new(instance: &'a Instance, seed: u64) -> Self {
        let (table, states) = (instance.table(), states(&instance.circuit));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut any =
            |&states: &u32| rng.random_bool(0.5).then(|| rng.random_range(0..states) as f32);
        let any: Row = states.iter().map(&mut any).collect();
        let rows: Vec<Row> =
            [vec![None; states.len()], evidence(&table, &mut rng), evidence(&table, &mut rng), any]
                .into();
        let variables = instance.circuit.variables();
        let worlds = table.entries.iter().map(|(world, _)| observed(world));
        let worlds_and_rows = Dataset::from_rows(variables, worlds.chain(rows.clone())).unwrap();
        let data = Dataset::from_rows(variables, rows.clone()).unwrap();
        let truths = rows.into_iter().map(|row| Truth::new(&table, &states, row)).collect();
        Judge { instance, table, truths, worlds_and_rows, rows: data }
    }

    /// Worlds.
    pub fn worlds(&self) -> usize {
        self.table.entries.len()
    }

    /// The mass of all worlds, ln p of each, and that of rows with missing values.
    pub fn likelihoods(&self, how: &str, engine: &mut dyn Executable) {
        let name = format!("{}, {how}", self.instance.name);
        let log_p = log_likelihoods(engine, self.instance, &self.worlds_and_rows);
        let (of_worlds, of_rows) = log_p.split_at(self.worlds());
        for ((world, expected), found) in self.table.entries.iter().zip(of_worlds) {
            assert!(is_close(*found, *expected), "{name}: {world:?} has {found}, not {expected}");
        }
        let p = |log_p: &f64| log_p.exp();
        let mass: f64 = of_worlds.iter().map(p).sum();
        assert!((mass - 1.0).abs() <= MASS, "{name}: the worlds have mass {mass}");
        for (Truth { row, log_p: expected, .. }, found) in self.truths.iter().zip(of_rows) {
            assert!(is_close(*found, *expected), "{name}: {row:?} has {found}, not {expected}");
            let worlds = self.table.entries.iter().zip(of_worlds);
            let completions = worlds.filter(|((world, _), _)| agrees(world, row));
            let sum: f64 = completions.map(|(_, log_p)| p(log_p)).sum();
            let close = (p(found) - sum).abs() <= MASS;
            assert!(close, "{name}: {row:?} has {found}, its completions {sum}");
        }
        assert_eq!(of_rows[0], 0.0, "{name}: nothing is known, which is certain");
    }

    /// Every variable's distribution and the likeliest completion given each row.
    fn queries(&self, how: &str, engine: &mut dyn Executable) -> Met {
        let name = format!("{}, {how}", self.instance.name);
        let model = model(self.instance);
        let conditionals = model.conditionals(engine, &self.rows);
        let completions = model.complete(engine, &self.rows);
        assert_eq!(engine.fault(), None, "{name}");
        assert_eq!(self.left_to_logs(engine), 0, "{name}");
        let mut met = Met::default();
        for (at, truth) in self.truths.iter().enumerate() {
            let name = format!("{name}, given {:?}", truth.row);
            assert_is_told(&name, truth, &conditionals, at);
            match &completions[at] {
                Some(found) => self.complete(&name, truth, found, &mut met),
                None => {
                    assert!(!truth.is_possible(), "{name}: no completion");
                    met.impossible += 1;
                }
            }
        }
        met
    }

    /// Rows whose distributions an engine leaves to the log domain, which would mend what is wrong.
    fn left_to_logs(&self, engine: &mut dyn Executable) -> usize {
        let rows: Vec<u32> = (0..self.truths.len() as u32).collect();
        engine.load(&self.instance.flat);
        engine.conditionals(&self.rows, &rows).map_or(0, |(_, tally)| tally.in_logs)
    }

    /// A completion is the likeliest one where it is called exact, and elsewhere no likelier than that.
    fn complete(&self, name: &str, truth: &Truth, found: &Completion, met: &mut Met) {
        let name = format!("{name}: {found:?}");
        let own = self.table.entries.iter().find(|(world, _)| *world == found.row);
        let Some(&(_, log_p)) = own else { panic!("{name} is no world") };
        assert!(agrees(&found.row, &truth.row), "{name}");
        assert!(is_close(found.log_p, log_p), "{name}: not {log_p}");
        let deterministic =
            self.instance.circuit.properties().deterministic != Determinism::Unknown;
        assert_eq!(found.answer == Answer::Exact, deterministic, "{name}");
        if deterministic {
            assert!(is_close(log_p, truth.log_best), "{name}: not {}", truth.log_best);
            met.exact += 1;
        } else {
            let below = found.log_p <= truth.log_best + TOLERANCE * truth.log_best.abs().max(1.0);
            assert!(below, "{name}: above all worlds");
            met.bounds += 1;
            met.gaps += usize::from(log_p < truth.log_best - 1e-3);
        }
    }

    /// Draws given nothing and given evidence.
    pub fn draws(&self, how: &str, engine: &mut dyn Executable, each: usize) {
        let name = format!("{}, {how}", self.instance.name);
        let given = self.rows.subset(0..2);
        let found = model(self.instance).draws(engine, &given, each, 7);
        assert_eq!(engine.fault(), None, "{name}");
        for (at, truth) in self.truths[..2].iter().enumerate() {
            let (log_p, expected) = (found.log_p(at), truth.log_p);
            assert!(is_close(log_p, expected), "{name}: {log_p}, not {expected}");
            self.table.assert_drawn(&name, &truth.row, found.of(at));
        }
    }

    /// All that an engine answers, and so many draws a row.
    pub fn all(&self, how: &str, engine: &mut dyn Executable, draws: usize) {
        self.likelihoods(how, engine);
        self.queries(how, engine);
        self.draws(how, engine, draws);
    }
}

/// Calls `check` with each structure and seed, on two threads. (No tasks of a pool: one that waits for an engine's
/// own pool would take up another within itself, and so on.)
fn for_each_instance(check: impl Fn((&str, u64)) + Sync) {
    let all = structures().flat_map(|structure| (0..INSTANCES).map(move |seed| (structure, seed)));
    let all: Vec<(&str, u64)> = all.collect();
    std::thread::scope(|scope| {
        for first in 0..2 {
            let own = all.iter().copied().skip(first).step_by(2);
            scope.spawn(|| own.for_each(&check));
        }
    });
}

/// Fails unless an engine tells the distributions that a row has.
fn assert_is_told(name: &str, truth: &Truth, found: &Conditionals, at: usize) {
    let (log_p, expected) = (found.log_p(at), truth.log_p);
    assert!(is_close(log_p, expected), "{name}: {log_p}, not {expected}");
    if !truth.is_possible() {
        assert!(found.row(at).iter().all(|number| number.is_nan()), "{name}");
        return;
    }
    for (var, expected) in truth.states.iter().enumerate() {
        let var = VarId(var as u32);
        let found = found.of(at, var);
        let close = |(p, q): (&f64, &f64)| (p - q).abs() <= TOLERANCE * p + LACK;
        let told = expected.len() == found.len() && expected.iter().zip(found).all(close);
        assert!(told, "{name}: {var} has {found:?}, not {expected:?}");
    }
}

#[test]
fn every_engine_says_of_every_structure_what_worlds_add_up_to() {
    let (mut evaluated, mut whole, mut cut) = (Evaluated::default(), 0, 0);
    let mut most = 0;
    for structure in structures() {
        let mut met: BTreeMap<String, Met> = BTreeMap::new();
        for seed in 0..INSTANCES {
            let instance = instance(structure, Kinds::Discrete, seed, seed % 2 == 1);
            let judge = Judge::new(&instance, seed);
            most = most.max(judge.worlds());
            for how in HOWS {
                let name = format!("{how:?}");
                let of_how = match how {
                    How::Parts(schedule, sharing) => {
                        let how = (schedule, sharing);
                        let mut engine = by_parts(&instance, how, Purpose::Evaluate);
                        judge.likelihoods(&name, &mut engine);
                        evaluated += engine.evaluated();
                        if engine.prepare(&judge.worlds_and_rows) > 0 {
                            judge.likelihoods(&format!("{name}, prepared"), &mut engine);
                            evaluated += engine.evaluated();
                        }
                        if engine.prepare_evaluations(&judge.worlds_and_rows, 1) > 0 {
                            whole += 1;
                            judge.likelihoods(&format!("{name}, at once"), &mut engine);
                        }
                        judge.queries(&name, &mut by_parts(&instance, how, Purpose::Query))
                    }
                    How::Segments => {
                        let Some(mut engine) = by_segments(&instance) else { continue };
                        cut += 1;
                        judge.likelihoods(&name, &mut engine);
                        judge.queries(&name, &mut engine)
                    }
                };
                let met = met.entry(name).or_default();
                met.exact += of_how.exact;
                met.bounds += of_how.bounds;
                met.gaps += of_how.gaps;
                met.impossible += of_how.impossible;
            }
        }
        let proven = matches!(structure, "Decision" | "Psdd");
        for (how, met) in met {
            let name = format!("{structure}, {how}: {met:?}");
            assert_eq!(met.bounds == 0, proven, "{name}");
            assert!(proven || met.gaps > 0, "{name}: no bound is below the likeliest completion");
            assert!(met.impossible > 0 || structure != "Decision", "{name}");
        }
    }
    let Evaluated { table, listed, each, dense } = evaluated;
    assert!([table, listed, each, dense].iter().all(|&values| values > 0), "{evaluated:?}");
    assert!(whole > 200 && cut > 200, "{whole} sets at once, {cut} circuits in segments");
    assert!(most >= 1 << 12, "no circuit of twelve binary variables; at most {most} worlds");
}

#[test]
fn draws_by_the_walk_and_the_engine_have_the_frequencies_of_worlds() {
    let check = |(structure, seed): (&str, u64)| {
        let instance = instance(structure, Kinds::Discrete, seed, seed % 2 == 1);
        let judge = Judge::new(&instance, seed);
        let (row, values): (&Row, &Values<f64>) = (&judge.truths[1].row, &instance.values);
        let walked = sample_rows(&instance.circuit, values, row, DRAWS, seed).unwrap();
        judge.table.assert_drawn(&format!("{}, walked", instance.name), row, &walked);
        let model = model(&instance);
        let draw = |how, each| {
            let mut engine = by_parts(&instance, how, Purpose::Query);
            engine.load(&model.flat);
            engine.draws(&judge.rows, &[1], each, seed).expect("the plan is for queries")
        };
        let how = [(Schedule::Wide, Sharing::Wherever), (Schedule::Deep, Sharing::Off)];
        let how = how[seed as usize / 2 % 2];
        let (drawn, tally) = draw(how, DRAWS);
        judge.table.assert_drawn(&instance.name, row, drawn.of(0));
        // Some numbers fall where mantissas do not decide, and few do.
        assert!(tally.in_logs < DRAWS / 50, "{}: {tally:?}", instance.name);
    };
    for_each_instance(check);
}
