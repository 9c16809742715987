//! The CPU engine against the oracle: every parameterizer and kind of sectors, rewritten or not,
//! scheduled wide or deep, on random circuits of every kind of variable.

use std::sync::Arc;

use pcc::circuit::{Circuit, SourceMap, Values};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::engine::cpu::{BoundedExecutable, CpuExecutable, Evaluated};
use pcc::engine::{Executable, Tally, reference};
use pcc::ids::{IdVec, TensorId, VarId};
use pcc::plan::{self, Purpose, Schedule, Sharing, bounded_by, plan};
use pcc::rewrite::Request;
use pcc::sample::sample_rows;
use pcc::sector::SectorKind;
use pcc::variables::{VarKind, Variables};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::case::{parameterizers, spread};
use crate::support::random_circuits::{Kinds, circuit};

/// DESIGN: |Δ log p| ≤ 1e-5 · max(1, |log p|), and a gradient tensor at a time ‖Δ‖∞ ≤ 1e-5 · ‖g‖∞,
/// for f32 engines.
const TOLERANCE: f64 = 1e-5;

/// No f32 engine meets that where a gradient is what is left of counts that cancel: weights are numbers of
/// 24 bits there, and the true gradient by weights rounded so may differ by more. Some tensors have a
/// gradient that is zero in truth. So an error may also be this many times what moves the true gradient when
/// every weight and leaf moves by half a last place. A number that all weights share, such as the last bias of
/// a network, adds up what flows through all of them; so it may be half a last place of all flows, too. (And
/// it may be less than any number of f32.)
const ROUNDINGS: f64 = 8.0;
/// Half a last place of a number of 24 bits, as a share of it.
const HALF_PLACE: f64 = 1.0 / (1 << 24) as f64;
/// Ways to move them that are tried, of which the worst counts.
const WAYS: u64 = 4;

/// What is true of some rows under some parameters.
pub struct Expected {
    /// log p of each row.
    pub log_p: Vec<f64>,
    /// The gradient of their sum by each parameter.
    pub gradient: Vec<f64>,
    /// What flows through all weights: Σ weight · the gradient by it.
    flows: f64,
    flat: Vec<f64>,
    data: Dataset,
}

/// Asks the oracle.
pub fn by_reference(compiled: &Compiled, flat: &[f64], data: &Dataset) -> Expected {
    let values = compiled.parameters.values(&compiled.written, flat);
    let (log_p, gradient, flows) = differentiate(compiled, flat, &values, data);
    Expected { log_p, gradient, flows, flat: flat.to_vec(), data: data.clone() }
}

/// log p of each row by some values of the parameters, the gradient of their sum, and the flows through all
/// weights together.
fn differentiate(
    compiled: &Compiled,
    flat: &[f64],
    values: &Values<f64>,
    data: &Dataset,
) -> (Vec<f64>, Vec<f64>, f64) {
    let circuit = &compiled.written;
    let mut d_values = Values::zeros(circuit);
    let mut log_p = Vec::new();
    for row in 0..data.rows() {
        let row: Vec<Option<f32>> =
            circuit.variables().ids().map(|var| data.value(row, var)).collect();
        let forward = reference::forward(circuit, values, &row);
        log_p.push(forward.log_likelihood());
        reference::backward(circuit, values, &forward, &row, 1.0, &mut d_values);
    }
    let flow = |id| {
        let weights = values.weights(id).iter().zip(d_values.weights(id));
        weights.map(|(weight, d)| (weight * d).abs()).sum::<f64>()
    };
    let flows = circuit.weights().ids().map(flow).sum();
    (log_p, compiled.parameters.gradient(circuit, flat, values, &d_values), flows)
}

impl Expected {
    /// How far each tensor's gradient moves, at the most, when weights and leaves move by half a last place
    /// of single precision.
    fn moved(&self, compiled: &Compiled) -> IdVec<TensorId, f64> {
        let tensors = compiled.parameters.tensors();
        let mut most: IdVec<TensorId, f64> = tensors.iter().map(|_| 0.0).collect();
        for way in 0..WAYS {
            let mut rng = ChaCha8Rng::seed_from_u64(way);
            let mut place = || if rng.random_bool(0.5) { HALF_PLACE } else { -HALF_PLACE };
            let mut values = compiled.parameters.values(&compiled.written, &self.flat);
            for id in compiled.written.weights().ids() {
                values.weights_mut(id).iter_mut().for_each(|w| *w *= 1.0 + place());
            }
            for id in compiled.written.dists().ids() {
                values.leaf_mut(id).iter_mut().for_each(|x| *x += place() * x.abs().max(1.0));
            }
            let (_, moved, _) = differentiate(compiled, &self.flat, &values, &self.data);
            for (id, _) in tensors.iter() {
                let pairs = tensors.range(id).map(|at| (self.gradient[at] - moved[at]).abs());
                most[id] = pairs.fold(most[id], f64::max);
            }
        }
        most
    }
}

/// The same by the CPU engine, under a schedule, sharing where it pays.
pub fn by_cpu(
    name: &str,
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    schedule: Schedule,
    threads: usize,
) -> (Vec<f64>, Vec<f32>, Tally) {
    let how = (schedule, Sharing::WherePays);
    let (log_p, gradient, tally, _) = by_cpu_sharing(name, compiled, flat, data, how, threads);
    (log_p, gradient, tally)
}

/// The same, sharing as is said, with what was evaluated of prepared data.
fn by_cpu_sharing(
    name: &str,
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    (schedule, sharing): (Schedule, Sharing),
    threads: usize,
) -> (Vec<f64>, Vec<f32>, Tally, Evaluated) {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let run = |purpose, batch, sharing| {
        let options = plan::Options { purpose, schedule, batch, sharing };
        let plan = plan(&compiled.circuit, &compiled.parameters, &options);
        CpuExecutable::new(compiled.clone(), plan, threads).unwrap()
    };
    let mut log_p = vec![f64::NAN; rows.len()];
    let mut gradient = vec![f32::NAN; flat.len()];
    let mut one_by_one = run(Purpose::Train, data.rows() as u32, Sharing::Off);
    let run = |purpose, batch| run(purpose, batch, sharing);
    let mut train = run(Purpose::Train, data.rows() as u32);
    let tally = train.gradient(flat, data, &rows, &mut log_p, &mut gradient);
    let mut evaluated = train.evaluated();
    train.prepare(data);
    let (mut again, mut d_again) = (vec![f64::NAN; rows.len()], vec![f32::NAN; flat.len()]);
    train.gradient(flat, data, &rows, &mut again, &mut d_again);
    let asked = (&**compiled, flat, data);
    let prepared = format!("{name}, prepared");
    assert_same(&prepared, asked, (&log_p, &gradient), (&again, &d_again));
    train.prepare_evaluations(data, 1);
    train.load(flat);
    train.log_likelihood(data, &rows, &mut again);
    let at_once = format!("{name}, evaluated at once");
    assert_same(&at_once, asked, (&log_p, &gradient), (&again, &d_again));
    evaluated += train.evaluated();
    let mut dense = vec![f64::NAN; rows.len()];
    let mut d_dense = vec![f32::NAN; flat.len()];
    one_by_one.gradient(flat, data, &rows, &mut dense, &mut d_dense);
    let row_by_row = format!("{name}, row by row");
    assert_same(&row_by_row, asked, (&log_p, &gradient), (&dense, &d_dense));
    // A small batch, so that the rows take several.
    let mut evaluate = run(Purpose::Evaluate, 70);
    let mut again = vec![f64::NAN; rows.len()];
    evaluate.load(flat);
    evaluate.log_likelihood(data, &rows, &mut again);
    for (row, (a, b)) in log_p.iter().zip(&again).enumerate() {
        let close = a == b || (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
        assert!(close, "{name}, row {row}: {a} in training, {b} in evaluation");
    }
    (log_p, gradient, tally, evaluated)
}

/// Asserts that an answer of the CPU engine is another one's.
fn assert_same(
    name: &str,
    (compiled, flat, data): (&Compiled, &[f32], &Dataset),
    (log_p, gradient): (&[f64], &[f32]),
    (again, d_again): (&[f64], &[f32]),
) {
    for (row, (&a, &b)) in log_p.iter().zip(again).enumerate() {
        let close = a == b || (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
        assert!(close, "{name}, row {row}: {a} and {b}");
    }
    let largest = gradient.iter().fold(0.0f32, |top, g| top.max(g.abs()));
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > TOLERANCE as f32 * largest;
    if gradient.iter().zip(d_again).any(far) {
        // The oracle says how far apart they may be.
        let flat: Vec<f64> = flat.iter().map(|&x| x.into()).collect();
        let expected = by_reference(compiled, &flat, data);
        assert_agree(name, compiled, &expected, (again, d_again));
    }
}

/// Asserts that two answers agree within the bounds of an f32 engine.
pub fn assert_agree(
    name: &str,
    compiled: &Compiled,
    expected: &Expected,
    (log_p, gradient): (&[f64], &[f32]),
) {
    assert_eq!(expected.log_p.len(), log_p.len(), "{name}");
    for (row, (&expected, &found)) in expected.log_p.iter().zip(log_p).enumerate() {
        let close =
            expected == found || (expected - found).abs() <= TOLERANCE * expected.abs().max(1.0);
        assert!(close, "{name}, row {row}: log p = {expected}, the engine has {found}");
    }
    let tensors = compiled.parameters.tensors();
    let off = |at: usize| (expected.gradient[at] - f64::from(gradient[at])).abs();
    let largest = |id| {
        let entries = expected.gradient[tensors.range(id)].iter();
        entries.fold(0.0f64, |top, g| top.max(g.abs()))
    };
    let is_far = |&(id, _): &(TensorId, _)| {
        // Written so that what is no number is far.
        !tensors.range(id).all(|at| off(at) <= TOLERANCE * largest(id))
    };
    let far: Vec<_> = tensors.iter().filter(is_far).collect();
    if far.is_empty() {
        return;
    }
    let moved = expected.moved(compiled);
    for (id, spec) in far {
        for at in tensors.range(id) {
            let (truth, found, largest) = (expected.gradient[at], gradient[at], largest(id));
            let moved = moved[id];
            let rounded = ROUNDINGS * moved + HALF_PLACE * expected.flows;
            assert!(
                off(at) <= TOLERANCE * largest + rounded + f64::from(f32::MIN_POSITIVE),
                "{name}, {}: gradient {truth}, the engine has {found}, largest {largest}, which \
                 rounding of weights moves by {moved}; {} flows",
                spec.name,
                expected.flows
            );
        }
    }
}

/// Random rows: drawn from the circuit under other parameters, then some entries made missing. Under
/// its own parameters the gradient would be zero on average, and all rounding.
pub fn rows_of(compiled: &Compiled, count: usize, seed: u64) -> Dataset {
    let circuit = &compiled.written;
    let flat = spread(circuit, &compiled.parameters, seed + 1000);
    let values = compiled.parameters.values(circuit, &flat);
    let width = circuit.variables().len();
    let drawn = sample_rows(circuit, &values, &vec![None; width], count, seed).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let missing_share = if seed.is_multiple_of(3) { 0.3 } else { 0.0 };
    // Far from the means densities differ by more than linear arithmetic can hold.
    let far = if seed.is_multiple_of(2) { 30.0 } else { 1.0 };
    let variables = circuit.variables();
    let is_real = |var: usize| variables.kind(VarId(var as u32)) == VarKind::Real;
    let drawn: Vec<f32> = (drawn.iter().enumerate())
        .map(|(at, &x)| if is_real(at % width) { far * x } else { x })
        .collect();
    let rows = drawn.chunks(width).map(|row| {
        row.iter().map(|&x| (!rng.random_bool(missing_share)).then_some(x)).collect::<Vec<_>>()
    });
    Dataset::from_rows(circuit.variables(), rows.collect::<Vec<_>>()).unwrap()
}

/// One variable summed out and another at zero; nothing where a variable is real.
fn request(variables: &Variables, seed: u64) -> Request {
    if variables.ids().any(|var| variables.kind(var) == VarKind::Real) {
        return Request::default();
    }
    let var = |at: u64| VarId((at % variables.len() as u64) as u32);
    let (summed_out, given) = (var(seed), var(seed + 1));
    let evidence = if given == summed_out { Vec::new() } else { vec![(given, 0.0)] };
    Request { marginalize: vec![summed_out], evidence }
}

/// The rows as a request has them, whatever they say themselves.
fn as_requested(data: &Dataset, variables: &Variables, request: &Request) -> Dataset {
    let value = |row, var| {
        let given = request.evidence.iter().find(|&&(given, _)| given == var);
        let seen = given.map_or_else(|| data.value(row, var), |&(_, value)| Some(value));
        seen.filter(|_| !request.marginalize.contains(&var))
    };
    let row = |row| variables.ids().map(|var| value(row, var)).collect::<Vec<_>>();
    Dataset::from_rows(variables, (0..data.rows()).map(row)).unwrap()
}

/// What the grid went through.
#[derive(Default)]
struct Seen {
    ops: std::collections::BTreeSet<&'static str>,
    tally: Tally,
    rewritten: usize,
    cut: Cut,
    evaluated: Evaluated,
}

/// What bounded plans went through.
#[derive(Default)]
struct Cut {
    segments: usize,
    importing: usize,
    in_logs: usize,
}

impl std::ops::AddAssign for Cut {
    fn add_assign(&mut self, other: Cut) {
        self.segments += other.segments;
        self.importing += other.importing;
        self.in_logs += other.in_logs;
    }
}

/// Cuts the circuit into segments as small as can be and runs them one by one.
fn check_bounded(
    name: &str,
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    expected: &Expected,
) -> Cut {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let run = |purpose, batch, size| {
        let schedule = Schedule::Deep;
        let options = plan::Options { purpose, schedule, batch, sharing: Sharing::Off };
        let plan = bounded_by(&compiled.circuit, &compiled.parameters, &options, size)?;
        let engine = BoundedExecutable::new(compiled, plan.clone(), 2).unwrap();
        Some((engine, plan))
    };
    let mut seen = Cut::default();
    for size in [1, 3] {
        let Some((mut train, plan)) = run(Purpose::Train, rows.len() as u32, size) else { break };
        let (mut log_p, mut gradient) = (vec![f64::NAN; rows.len()], vec![f32::NAN; flat.len()]);
        seen.in_logs += train.gradient(flat, data, &rows, &mut log_p, &mut gradient).in_logs;
        let name = format!("{name}, segments of {size}");
        assert_agree(&name, compiled, expected, (&log_p, &gradient));
        seen.segments += plan.below_head().len();
        seen.importing += plan.below_head().iter().filter(|part| !part.imports.is_empty()).count();
        let Some((mut evaluate, _)) = run(Purpose::Evaluate, 70, size) else { break };
        evaluate.load(flat);
        let mut again = vec![f64::NAN; rows.len()];
        evaluate.log_likelihood(data, &rows, &mut again);
        assert_eq!(log_p, again, "{name}");
    }
    seen
}

fn check_circuit(circuit: Circuit, seed: u64, seen: &mut Seen) {
    const SECTORS: [SectorKind; 2] = [SectorKind::PerLayer, SectorKind::Slices(1)];
    let parameterizers = parameterizers();
    let parameterizer = &*parameterizers[seed as usize % parameterizers.len()];
    let requested = request(circuit.variables(), seed);
    for (no_rewrite, request) in
        [(false, Request::default()), (true, Request::default()), (true, requested)]
    {
        let sectors = SECTORS[seed as usize / 3 % 2];
        let asked = !request.is_empty();
        let options = Options { sectors, no_rewrite, request, ..Options::default() };
        let compiled =
            compile(circuit.clone(), &SourceMap::default(), parameterizer, &options).unwrap();
        let compiled = Arc::new(compiled);
        seen.rewritten += usize::from(compiled.rewriting.as_ref().is_some_and(|r| !r.unchanged));
        let flat = spread(&compiled.written, &compiled.parameters, seed);
        // Both sides see the numbers that f32 can hold.
        let single: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
        let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
        let data = rows_of(&compiled, 150, seed);
        let data = as_requested(&data, compiled.written.variables(), &options.request);
        let expected = by_reference(&compiled, &flat, &data);
        for (schedule, sharing) in [
            (Schedule::Wide, Sharing::WherePays),
            (Schedule::Wide, Sharing::Wherever),
            (Schedule::Deep, Sharing::Off),
        ] {
            let name = format!(
                "seed {seed}, {}, rewrite {}, request {asked}, {schedule:?}, {sharing:?}",
                parameterizer.name(),
                !no_rewrite
            );
            let how = (schedule, sharing);
            let (log_p, gradient, tally, evaluated) =
                by_cpu_sharing(&name, &compiled, &single, &data, how, 2);
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            seen.tally += tally;
            if sharing == Sharing::Off {
                seen.cut += check_bounded(&name, &compiled, &single, &data, &expected);
            }
            seen.evaluated += evaluated;
            let options = plan::Options {
                purpose: Purpose::Train,
                schedule,
                batch: 64,
                sharing: Sharing::WherePays,
            };
            let plan = plan(&compiled.circuit, &compiled.parameters, &options);
            let steps = plan.programs.iter().flat_map(|program| &program.steps);
            seen.ops.extend(steps.map(|step| step.op.name()));
        }
    }
}

#[test]
fn the_cpu_engine_agrees_with_the_oracle_on_random_circuits() {
    let mut seen = Seen::default();
    for seed in 0..200 {
        let kinds = [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Binary, Kinds::Real];
        check_circuit(circuit(seed, kinds[seed as usize % kinds.len()]), seed, &mut seen);
    }
    let ops = [
        "add-logs",
        "exponentiate",
        "gaussian",
        "import",
        "kronecker",
        "lookup",
        "mix",
        "one",
        "product",
        "product+sum",
        "sum",
    ];
    for op in ops {
        assert!(seen.ops.contains(op), "no plan had a step {op}; they had {:?}", seen.ops);
    }
    let Evaluated { table, listed, each, dense } = seen.evaluated;
    assert!([table, listed, each, dense].iter().all(|&values| values > 0), "{:?}", seen.evaluated);
    assert!(seen.rewritten > 0, "no circuit was rewritten");
    assert!(seen.tally.in_logs > 0, "no row went through the log domain");
    let Cut { segments, importing, in_logs } = seen.cut;
    assert!(importing > 100 && segments > 2 * importing, "{segments} segments, {importing} import");
    assert!(in_logs > 0, "no row of a bounded plan went through the log domain");
}
