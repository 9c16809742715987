//! Queries on the device, kernels on the processor: draws by chi-square tests against all worlds, and conditionals
//! against the walk over the circuit as written.

use std::sync::Arc;

use pcc::circuit::Values;
use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::cuda::{DeviceExecutable, Layout, Specialisation, source};
use pcc::engine::{Conditionals, Executable, Tally, reference};
use pcc::plan::{Op, Purpose, Schedule};
use pcc::sample::{Sampler, row_rng, sample_rows};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sparse::{any_rows, diagram};
use super::{case, general, planned, skipped, specialised, spread_single};
use crate::conditionals::{assert_agree, rows_of};
use crate::structures::random::{Kinds as LeafKinds, description};
use crate::support::cpu_device::{self, CpuDevice, Order};
use crate::support::describe::{compiled as compiled_text, rat_spn};
use crate::support::enumerate::Table;

/// Draws of a circuit.
const DRAWS: usize = 6_000;
/// Worlds of a circuit at most, so that most are drawn often.
const MOST_WORLDS: usize = 1_100;
/// Rows of a batch: no multiple of anything.
const BATCH: u32 = 1_500;

/// What serves all plans for queries.
pub(super) fn for_queries(threads: u32, shared: bool) -> Specialisation {
    Specialisation { queries: true, ..general(threads, shared) }
}

/// The engine on kernels that run on the processor.
pub(super) fn engine(
    kernels: &cpu_device::Compiled,
    order: Order,
    compiled: &Arc<Compiled>,
    (schedule, batch): (Schedule, u32),
) -> DeviceExecutable<CpuDevice> {
    let plan = planned(compiled, Purpose::Query, schedule, batch);
    let Specialisation { arenas, .. } = specialised(compiled, &plan);
    let specialisation = Specialisation { arenas, ..kernels.specialisation.clone() };
    let layout = Layout::new(compiled, plan, specialisation);
    DeviceExecutable::new(compiled.clone(), layout, kernels.start(order), 1).unwrap()
}

/// A circuit with parameters, as engines and as the oracle has them.
pub(super) struct Drawn {
    pub(super) name: String,
    pub(super) compiled: Arc<Compiled>,
    pub(super) flat: Vec<f32>,
    pub(super) values: Values<f64>,
}

impl Drawn {
    pub(super) fn new(name: impl Into<String>, compiled: Arc<Compiled>, seed: u64) -> Self {
        let flat = spread_single(&compiled, seed);
        let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
        let values = compiled.parameters.values(&compiled.written, &double);
        Drawn { name: name.into(), compiled, flat, values }
    }

    /// Rows of one row of evidence, many times; those in doubt by the walk. Returns how many these were, too.
    fn draw(
        &self,
        engine: &mut DeviceExecutable<CpuDevice>,
        evidence: &[Option<f32>],
        (draws, seed): (usize, u64),
    ) -> (Vec<f32>, usize) {
        let Drawn { compiled, flat, values, .. } = self;
        let data = Dataset::from_rows(compiled.written.variables(), [evidence.to_vec()]).unwrap();
        let mut rows = vec![f32::NAN; draws * evidence.len()];
        engine.load(flat);
        let drawn = engine.draw(&data, &vec![0; draws], (seed, 0), &mut rows).unwrap();
        assert_eq!(engine.fault(), None);
        let sampler = Sampler::new(&compiled.written, values, evidence).unwrap();
        for &row in &drawn.in_doubt {
            let walked = sampler.draw(&mut row_rng(seed, row as u64));
            rows[row * evidence.len()..][..evidence.len()].copy_from_slice(&walked);
        }
        (rows, drawn.in_doubt.len())
    }

    /// Draws with evidence and compares with the table of all worlds. Returns how many rows were in doubt.
    fn check_worlds(
        &self,
        engine: &mut DeviceExecutable<CpuDevice>,
        table: &Table,
        evidence: &[Option<f32>],
    ) -> usize {
        let (rows, in_doubt) = self.draw(engine, evidence, (DRAWS, 7));
        table.assert_drawn(&self.name, evidence, &rows);
        in_doubt
    }
}

/// Sparse sums of a circuit's plan.
pub(super) fn sparse_sums(compiled: &Compiled) -> usize {
    let plan = planned(compiled, Purpose::Query, Schedule::Wide, 70);
    let steps = plan.programs.iter().flat_map(|program| &program.steps);
    steps.filter(|step| matches!(step.op, Op::Sparse { .. })).count()
}

/// Circuits whose worlds can be listed: random ones, one of each kind of sum, and circuits of others.
fn discrete() -> Vec<Drawn> {
    let mut found: Vec<Drawn> = (0..20u64)
        .filter(|seed| !matches!(seed % 5, 2 | 4))
        .map(|seed| Drawn::new(format!("seed {seed}"), case(seed).0, seed))
        .collect();
    let texts = [
        rat_spn(7, 3, 3, "leaves: Indicators, parameterizer: Direct"),
        rat_spn(6, 17, 2, "leaves: Bernoulli(), parameterizer: Direct"),
        "(variables: Categorical(n: 3, states: 5), structure: Einet(units: 3, replicas: 2, depth: 2, seed: 1))".into(),
        "(variables: Binary(7), structure: Hmm(units: 3))".into(),
    ];
    found.extend(texts.iter().map(|text| Drawn::new(text, compiled_text(text), 3)));
    let diagrams = (1..40u64).filter(|seed| seed % 3 > 0).map(|seed| (seed, diagram(10, seed)));
    let sparse = diagrams.filter(|(_, compiled)| sparse_sums(compiled) > 0).take(4);
    found.extend(sparse.map(|(seed, made)| Drawn::new(format!("diagram {seed}"), made, 0)));
    found
}

/// Whether draws of discrete circuits have the frequencies of all worlds: how many circuits were drawn from, without
/// evidence and with some, and how many rows were in doubt.
fn draws_of_discrete(
    kernels: [&cpu_device::Compiled; 2],
    circuits: &[Drawn],
) -> ([usize; 2], usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut checked, mut in_doubt) = ([0; 2], 0);
    for (number, drawn) in circuits.iter().enumerate() {
        let written = &drawn.compiled.written;
        let table = Table::new(written, &drawn.values);
        if table.entries.len() > MOST_WORLDS {
            continue;
        }
        let order = [Order::Ascending, Order::Descending, Order::Shuffled][number % 3];
        let schedule = [Schedule::Wide, Schedule::Deep][number % 2];
        let mut engine = engine(kernels[number % 2], order, &drawn.compiled, (schedule, BATCH));
        let mut evidence = vec![None; written.variables().len()];
        in_doubt += drawn.check_worlds(&mut engine, &table, &evidence);
        checked[0] += 1;
        // Evidence that a random world has.
        let (world, _) = &table.entries[rng.random_range(0..table.entries.len())];
        for (seen, value) in evidence.iter_mut().zip(world) {
            *seen = rng.random_bool(0.4).then_some(*value);
        }
        if table.log_marginal(&evidence) > f64::NEG_INFINITY {
            in_doubt += drawn.check_worlds(&mut engine, &table, &evidence);
            checked[1] += 1;
        }
    }
    (checked, in_doubt)
}

#[test]
fn draws_on_the_device_have_the_frequencies_of_all_worlds() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(for_queries(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("draws on the processor", "there is no C++ compiler");
    };
    let (checked, in_doubt) = draws_of_discrete([&shared, &global], &discrete());
    println!("{checked:?} circuits, {in_doubt} rows in doubt");
    assert!(checked[0] > 12 && checked[1] > 9, "only {checked:?} circuits");
}

/// Fails where two samples differ more than once in 10,000 times, if they are of one law (Kolmogorov & Smirnov).
fn assert_of_one_law(name: &str, mut a: Vec<f32>, mut b: Vec<f32>) {
    const QUANTILE: f64 = 2.225;
    assert_eq!(a.len(), b.len());
    a.sort_by(f32::total_cmp);
    b.sort_by(f32::total_cmp);
    let below = |sample: &[f32], x: f32| sample.partition_point(|&y| y <= x) as f64;
    let apart = |&x: &f32| (below(&a, x) - below(&b, x)).abs();
    let most = a.iter().chain(&b).map(apart).fold(0.0, f64::max) / a.len() as f64;
    let statistic = most * (a.len() as f64 / 2.0).sqrt();
    assert!(statistic <= QUANTILE, "{name}: {statistic}");
}

#[test]
fn draws_of_densities_and_counts_on_the_device_are_of_the_law_that_the_walk_draws_from() {
    let Some(kernels) = cpu_device::Compiled::new(for_queries(64, true)) else {
        return skipped("draws of densities on the processor", "there is no C++ compiler");
    };
    let random = (0..20)
        .filter(|seed| matches!(seed % 5, 2 | 4))
        .map(|seed| Drawn::new(format!("seed {seed}"), case(seed).0, seed));
    let counts = ["Poisson()", "Binomial(n: 9)"].map(|leaves| {
        let variables =
            if leaves.starts_with('P') { "Real(3)" } else { "Categorical(n: 3, states: 10)" };
        let text = format!(
            "(variables: {variables}, structure: RatSpn(units: 3, replicas: 2), leaves: {leaves})"
        );
        Drawn::new(leaves, compiled_text(&text), 5)
    });
    for drawn in random.chain(counts) {
        let mut engine =
            engine(&kernels, Order::Shuffled, &drawn.compiled, (Schedule::Wide, BATCH));
        let width = drawn.compiled.written.variables().len();
        for seen in [None, Some(1.0)] {
            let mut evidence = vec![None; width];
            evidence[width - 1] = seen;
            let (rows, _) = drawn.draw(&mut engine, &evidence, (DRAWS, 3));
            let walked =
                sample_rows(&drawn.compiled.written, &drawn.values, &evidence, DRAWS, 4).unwrap();
            let column = |rows: &[f32], var: usize| -> Vec<f32> {
                rows.chunks_exact(width).map(|row| row[var]).collect()
            };
            for var in 0..width {
                let name = format!("{}, variable {var} given {evidence:?}", drawn.name);
                assert_of_one_law(&name, column(&rows, var), column(&walked, var));
            }
            // How variables go together.
            let joined = |rows: &[f32]| -> Vec<f32> {
                let sum = |row: &[f32]| row.iter().zip(1..).map(|(x, n)| x / n as f32).sum();
                rows.chunks_exact(width).map(sum).collect()
            };
            assert_of_one_law(&drawn.name, joined(&rows), joined(&walked));
        }
    }
}

#[test]
fn a_draw_on_the_device_depends_on_its_seed_number_and_row_alone() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(for_queries(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("what draws depend on", "there is no C++ compiler");
    };
    for seed in [1, 2, 6] {
        let (compiled, flat, _) = case(seed);
        let data = rows_of(&compiled, 100, 0.5, seed);
        let draw = |kernels, order, batch: u32, (of, first): (u64, u64), rows: &[u32]| {
            let mut engine = engine(kernels, order, &compiled, (Schedule::Wide, batch));
            engine.load(&flat);
            let mut out = vec![0.0; rows.len() * data.columns()];
            let drawn = engine.draw(&data, rows, (of, first), &mut out).unwrap();
            assert_eq!(engine.fault(), None);
            (out.iter().map(|x| x.to_bits()).collect::<Vec<u32>>(), drawn)
        };
        let rows: Vec<u32> = (0..100).collect();
        let all = draw(&shared, Order::Ascending, 128, (5, 0), &rows);
        assert!(all == draw(&shared, Order::Shuffled, 33, (5, 0), &rows), "batches");
        assert!(all == draw(&global, Order::Descending, 70, (5, 0), &rows), "blocks");
        let (last, _) = draw(&shared, Order::Ascending, 128, (5, 99), &[99]);
        assert_eq!(all.0[99 * data.columns()..], last);
        assert!(all.0 != draw(&shared, Order::Ascending, 128, (6, 0), &rows).0, "seeds");
        assert!(all.0 != draw(&shared, Order::Ascending, 128, (5, 1 << 32), &rows).0, "numbers");
    }
    let (compiled, _, data) = case(1);
    let plan = planned(&compiled, Purpose::Evaluate, Schedule::Wide, 70);
    let layout = Layout::new(&compiled, plan, general(32, true));
    let device = shared.start(Order::Ascending);
    let mut evaluates = DeviceExecutable::new(compiled, layout, device, 1).unwrap();
    assert_eq!(evaluates.draw(&data, &[0], (0, 0), &mut vec![0.0; data.columns()]), None);
}

#[test]
fn draws_by_the_engine_are_the_devices_and_the_hosts_of_rows_in_doubt() {
    let Some(kernels) = cpu_device::Compiled::new(for_queries(32, true)) else {
        return skipped("draws by the engine", "there is no C++ compiler");
    };
    const EACH: usize = 30;
    let mut settled = 0;
    for seed in [0, 2, 4] {
        let (compiled, flat, _) = case(seed);
        let data = rows_of(&compiled, 40, 0.5, seed);
        let width = data.columns();
        let mut engine = engine(&kernels, Order::Shuffled, &compiled, (Schedule::Wide, BATCH));
        engine.load(&flat);
        let rows: Vec<u32> = (0..40).collect();
        let (found, tally) = engine.draws(&data, &rows, EACH, 9).unwrap();
        let again: Vec<u32> = rows.iter().flat_map(|&row| [row; EACH]).collect();
        let mut drawn = vec![f32::NAN; again.len() * width];
        let Drawn { values, .. } = Drawn::new("", compiled.clone(), seed);
        let device = engine.draw(&data, &again, (9, 0), &mut drawn).unwrap();
        assert_eq!((engine.fault(), tally), (None, device.tally));
        settled += device.in_doubt.len();
        for (at, drawn) in drawn.chunks_exact(width).enumerate() {
            let row = at / EACH;
            let own = &found.of(row)[at % EACH * width..][..width];
            let evidence: Vec<Option<f32>> =
                compiled.written.variables().ids().map(|var| data.value(row, var)).collect();
            let log_p = reference::log_likelihood(&compiled.written, &values, &evidence);
            let most = 1e-5 * log_p.abs().max(1.0);
            assert!(found.log_p(row) == log_p || (found.log_p(row) - log_p).abs() <= most);
            if log_p == f64::NEG_INFINITY {
                continue;
            }
            if device.in_doubt.binary_search(&at).is_err() {
                assert_eq!(own, drawn, "seed {seed}, draw {at}");
            }
            for (value, seen) in own.iter().zip(&evidence) {
                assert!(!value.is_nan() && seen.is_none_or(|seen| seen == *value), "{own:?}");
            }
        }
    }
    assert!(settled > 0, "no row was in doubt");
}

/// A way to break a kernel: its name, what is written, and what would be instead.
pub(super) type Break = (&'static str, &'static str, &'static str);

/// The breaks that a test does not notice.
pub(super) fn unnoticed(
    breaks: &[Break],
    agree: impl Fn(&cpu_device::Compiled) -> bool,
) -> Vec<&'static str> {
    let specialisation = for_queries(64, true);
    let whole = source(&specialisation);
    let kernels = cpu_device::Compiled::of_text(&whole, specialisation.clone());
    assert!(agree(&kernels), "before anything is broken");
    let unnoticed = breaks.iter().filter(|(_, written, instead)| {
        let broken = whole.replace(written, instead);
        broken == whole || agree(&cpu_device::Compiled::of_text(&broken, specialisation.clone()))
    });
    unnoticed.map(|(name, ..)| *name).collect()
}

const DRAW_BREAKS: [Break; 10] = [
    ("one number for all draws", "draw.draw[0], draw.draw[1]}", "0u, 0u}"),
    ("one number for all steps", "{(unsigned)step, draw.part", "{0u, draw.part"),
    ("one number for both factors", "draw.part * USES + use", "draw.part * USES"),
    (
        "products without weights",
        "return weights[i] * unit_of(lane, in[0], i)",
        "return (weights[i] < 2.0f) * unit_of(lane, in[0], i)",
    ),
    ("products of one factor", "* unit_of(lane, in[1], i);", "* 1.0;"),
    ("pairs the other way round", "unit % in[0].units, unit / in", "unit / in[0].units, unit % in"),
    ("picks written over", "input.first || unit != NOWHERE", "true"),
    ("the last term", "if (left < own) break;", ""),
    (
        "sparse terms without weights",
        "return weight * at(lane.values, term.left)",
        "return (weight < 2.0) * at(lane.values, term.left)",
    ),
    ("evidence unread", "return x == x ? row[(int)x] : 1.0f;", "return x == x ? row[0] : 1.0f;"),
];

#[test]
fn each_way_to_break_a_draw_is_noticed() {
    if !cpu_device::has_compiler() {
        return skipped("breaking draws on purpose", "there is no C++ compiler");
    }
    // A random circuit, three of the described ones, and all diagrams: of some no weight of a sparse sum counts.
    let circuits = discrete();
    let described = circuits.len() - 8;
    let few = [
        0,
        described,
        described + 2,
        described + 3,
        described + 4,
        described + 5,
        described + 6,
        described + 7,
    ];
    let circuits: Vec<Drawn> =
        circuits.into_iter().enumerate().filter(|(n, _)| few.contains(n)).map(|(_, c)| c).collect();
    let agree = |kernels: &cpu_device::Compiled| {
        let run = std::panic::AssertUnwindSafe(|| draws_of_discrete([kernels; 2], &circuits));
        std::panic::catch_unwind(run).is_ok()
    };
    assert_eq!(unnoticed(&DRAW_BREAKS, agree), [""; 0]);
}

/// The distributions given rows by the kernels.
fn told(
    kernels: &cpu_device::Compiled,
    order: Order,
    drawn: &Drawn,
    data: &Dataset,
    schedule: Schedule,
) -> Option<(Conditionals, Tally)> {
    let mut engine = engine(kernels, order, &drawn.compiled, (schedule, 70));
    engine.load(&drawn.flat);
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let found = engine.conditionals(data, &rows);
    assert_eq!(engine.fault(), None);
    found
}

/// Compares conditionals of circuits of others with the walk; what became of the rows.
fn diagrams_agree(kernels: &cpu_device::Compiled, seeds: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let drawn = Drawn::new(format!("diagram {seed}"), diagram(12, seed), 0);
        let data = any_rows(&drawn.compiled, [0.2, 0.6][seed as usize / 2 % 2], seed);
        let schedule = [Schedule::Wide, Schedule::Deep][seed as usize % 2];
        let (found, of_rows) = told(kernels, Order::Shuffled, &drawn, &data, schedule).unwrap();
        assert_agree(&drawn.name, &drawn.compiled, &drawn.values, &data, &found);
        // Elsewhere the host would mend what is wrong.
        assert!(seed.is_multiple_of(3) || of_rows.in_logs == 0, "{}: {of_rows:?}", drawn.name);
        tally += of_rows;
    }
    tally
}

#[test]
fn conditionals_of_circuits_of_others_on_the_device_agree_with_the_walk() {
    let Some(kernels) = cpu_device::Compiled::new(for_queries(64, false)) else {
        return skipped("conditionals of sparse sums on the processor", "there is no C++ compiler");
    };
    let tally = diagrams_agree(&kernels, 0..12);
    assert!(tally.in_logs > 0, "no row was in doubt");
    let sparse: usize = (0..12).map(|seed| sparse_sums(&diagram(12, seed))).sum();
    assert!(sparse > 50, "{sparse} sparse sums");
}

/// Compares conditionals of discrete circuits with the walk. Returns how many had any, and what became of the rows.
fn circuits_agree(
    kernels: [&cpu_device::Compiled; 2],
    seeds: std::ops::Range<u64>,
) -> (usize, Tally) {
    let (mut told_of, mut tally) = (0, Tally::default());
    let random = seeds.clone().map(|seed| Drawn::new(format!("seed {seed}"), case(seed).0, seed));
    let described = seeds.flat_map(|seed| {
        ["RatSpn", "Einet", "Hmm"].map(|structure| {
            let text = description(structure, seed, LeafKinds::Any);
            Drawn::new(&text, compiled_text(&text), seed)
        })
    });
    for (number, drawn) in random.chain(described).enumerate() {
        let data = rows_of(&drawn.compiled, 150, 0.4, number as u64 * 2 + 1);
        let schedule = [Schedule::Wide, Schedule::Deep][number % 2];
        let order = [Order::Ascending, Order::Descending][number / 2 % 2];
        let found = told(kernels[number % 2], order, &drawn, &data, schedule);
        let Some((found, of_rows)) = found else { continue };
        assert_agree(&drawn.name, &drawn.compiled, &drawn.values, &data, &found);
        assert_eq!(of_rows.in_logs, 0, "{}: the host would mend what is wrong", drawn.name);
        told_of += 1;
        tally += of_rows;
    }
    (told_of, tally)
}

#[test]
fn conditionals_of_discrete_circuits_on_the_device_agree_with_the_walk() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(for_queries(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("conditionals on the processor", "there is no C++ compiler");
    };
    let (told_of, _) = circuits_agree([&shared, &global], 0..20);
    assert!(told_of > 20, "only {told_of} circuits");
}

const FLOW_BREAKS: [Break; 9] = [
    (
        "tables unread",
        "sum += at(d, j) * table[j * pitch + s]",
        "sum += at(d, j) * (table[j * pitch + s] < 2.0f)",
    ),
    ("one variable's states for all", "buffers.first_states[variable]", "buffers.first_states[0]"),
    (
        "flows of the batch before",
        "for (long long at = 0; at < buffers.summed; at += buffers.pitch) flows",
        "for (long long at = 0; at < 0; ++at) flows",
    ),
    ("the first run alone", "n < buffers.summands; ++n", "n < 1; ++n"),
    (
        "sparse sums unscaled",
        "step.out.gradient + k) * down;\n    }\n    for (int n",
        "step.out.gradient + k) * (down > 0.0f);\n    }\n    for (int n",
    ),
    (
        "left factors without the right",
        "term.d_left) += own * right",
        "term.d_left) += own * (right < 4.0f)",
    ),
    (
        "right factors without the left",
        "term.d_right) += own * left",
        "term.d_right) += own * (left < 4.0f)",
    ),
    ("sparse terms without weights", "d * lane.coefficients[term.weight]", "d"),
    (
        "gradients of the step before",
        "if (!in[n].first || in[n].gradient < 0) continue;",
        "continue;",
    ),
];

#[test]
fn each_way_to_break_a_flow_is_noticed() {
    if !cpu_device::has_compiler() {
        return skipped("breaking flows on purpose", "there is no C++ compiler");
    }
    let agree = |kernels: &cpu_device::Compiled| {
        std::panic::catch_unwind(|| {
            diagrams_agree(kernels, [1, 2].into_iter());
            circuits_agree([kernels; 2], 0..4);
        })
        .is_ok()
    };
    assert_eq!(unnoticed(&FLOW_BREAKS, agree), [""; 0]);
}

#[test]
fn each_batch_and_order_of_threads_says_the_same_to_the_bit() {
    let Some(kernels) = cpu_device::Compiled::new(for_queries(32, true)) else {
        return skipped("the order of threads in queries", "there is no C++ compiler");
    };
    let (compiled, flat, _) = case(1);
    let data = rows_of(&compiled, 100, 0.4, 3);
    let bits = |order, batch| {
        let mut engine = engine(&kernels, order, &compiled, (Schedule::Wide, batch));
        engine.load(&flat);
        let rows: Vec<u32> = (0..100).collect();
        let (found, _) = engine.conditionals(&data, &rows).unwrap();
        let row = |row| found.row(row).iter().map(|p| p.to_bits()).collect::<Vec<u64>>();
        (0..100).map(row).collect::<Vec<_>>()
    };
    let first = bits(Order::Ascending, 100);
    assert!(first == bits(Order::Descending, 33) && first == bits(Order::Shuffled, 70));
}
