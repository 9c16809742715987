//! Likeliest completions on the device, kernels on the processor, against the oracle and the CPU engine.

use std::ops::Range;
use std::sync::Arc;

use pcc::circuit::SourceMap;
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Code;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::cuda::{DeviceExecutable, Layout};
use pcc::engine::{Completions, Executable};
use pcc::param::direct::Direct;
use pcc::plan::{Purpose, Schedule};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::queries::{Break, Drawn, engine, for_queries, sparse_sums, unnoticed};
use super::sparse::{any_rows, diagram};
use super::{Lost, case, general, planned, skipped, specialised};
use crate::completions::assert_as_good;
use crate::conditionals::rows_of;
use crate::structures::random::{Kinds as LeafKinds, STRUCTURES, description};
use crate::support::cpu_device::{self, Order};
use crate::support::describe::{compiled as compiled_text, compiled_with, rat_spn};
use crate::support::deterministic;
use crate::support::enumerate::worlds;

/// Rows of a batch: no multiple of anything, and fewer than there are rows.
const BATCH: u32 = 70;

/// What the kernels say; all rows are said by the device.
fn completed(
    kernels: &cpu_device::Compiled,
    order: Order,
    (compiled, flat): (&Arc<Compiled>, &[f32]),
    data: &Dataset,
    how: (Schedule, u32),
) -> Completions {
    let mut engine = engine(kernels, order, compiled, how);
    said(&mut engine, flat, data)
}

fn said(engine: &mut dyn Executable, flat: &[f32], data: &Dataset) -> Completions {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    engine.load(flat);
    let found = engine.completions(data, &rows).expect("the plan is for queries");
    assert_eq!(engine.fault(), None);
    found
}

/// Fails unless the kernels say what the CPU engine says, ties too.
fn assert_same(
    name: &str,
    (compiled, flat): (&Arc<Compiled>, &[f32]),
    data: &Dataset,
    found: &Completions,
) {
    let plan = planned(compiled, Purpose::Query, Schedule::Wide, 64);
    let mut cpu = CpuExecutable::new(compiled.clone(), plan, 1).unwrap();
    let expected = said(&mut cpu, flat, data);
    let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    for row in 0..data.rows() {
        let (own, other) = (found.of(row), expected.of(row));
        assert!(bits(own) == bits(other), "{name}, row {row}: {own:?}, not {other:?}");
        let (own, other) = (found.log_best(row), expected.log_best(row));
        let close = own == other || (own - other).abs() <= 1e-12 * other.abs().max(1.0);
        assert!(close, "{name}, row {row}: {own}, not {other}");
    }
}

/// Circuits of every parameterizer, structure, leaf and width, not rewritten: merged sums have other trees.
fn circuits(seeds: Range<u64>) -> Vec<Drawn> {
    let random = seeds.clone().map(|seed| 2 * seed + 1);
    let random = random.map(|seed| Drawn::new(format!("seed {seed}"), case(seed).0, seed));
    let described = seeds.flat_map(|seed| {
        STRUCTURES.map(|structure| {
            let text = description(structure, seed, LeafKinds::Any);
            Drawn::new(&text, compiled_with(&text, true), seed)
        })
    });
    let texts = [
        rat_spn(6, 17, 2, "leaves: Bernoulli(), parameterizer: Direct"),
        "(variables: Real(3), structure: RatSpn(units: 3, replicas: 2), leaves: Poisson())".into(),
        "(variables: Categorical(n: 3, states: 10), structure: RatSpn(units: 3, replicas: 2), \
         leaves: Binomial(n: 9))"
            .into(),
        "(variables: Binary(9), structure: Einet(units: 5, replicas: 3, depth: 2, seed: 1))".into(),
    ];
    let texts = texts.map(|text| Drawn::new(&text, compiled_with(&text, true), 3));
    random.chain(described).chain(texts).collect()
}

/// Compares completions with the oracle's max-product, and with the CPU engine's where the host makes the weights of
/// both. How many circuits there were of each kind.
fn circuits_agree(kernels: [&cpu_device::Compiled; 2], circuits: &[Drawn]) -> [usize; 2] {
    let mut seen = [0; 2];
    for (number, drawn) in circuits.iter().enumerate() {
        let Drawn { name, compiled, flat, values } = drawn;
        let missing = [0.3, 0.7, 1.0][number % 3];
        let data = rows_of(compiled, 150, missing, number as u64);
        let order = [Order::Ascending, Order::Descending, Order::Shuffled][number / 2 % 3];
        let (kernels, schedule) = (kernels[number % 2], [Schedule::Wide, Schedule::Deep]);
        let how = (schedule[number / 3 % 2], BATCH);
        let found = completed(kernels, order, (compiled, flat), &data, how);
        assert_as_good(name, &compiled.written, values, &data, &found);
        let plan = planned(compiled, Purpose::Query, Schedule::Wide, BATCH);
        let specialisation = specialised(compiled, &plan);
        let on_device = Layout::new(compiled, plan, specialisation).makes_weights();
        seen[usize::from(on_device)] += 1;
        if !on_device {
            assert_same(name, (compiled, flat), &data, &found);
        }
    }
    seen
}

/// Where all logits are zero all terms are as great.
fn ties_agree(kernels: &cpu_device::Compiled) {
    let texts = [
        rat_spn(7, 3, 3, "leaves: Bernoulli(), parameterizer: Direct"),
        "(variables: Binary(7), structure: Hmm(units: 3))".into(),
        "(variables: Categorical(n: 3, states: 5), structure: Einet(units: 3, replicas: 2, depth: 2, seed: 1))".into(),
    ];
    for text in texts {
        let compiled = compiled_text(&text);
        let data = rows_of(&compiled, 150, 0.7, 4);
        let mut flat = vec![0.0; compiled.parameters.tensors().len()];
        // The leaves of units differ, so that it shows which unit was picked.
        let spread = Drawn::new("", compiled.clone(), 1).flat;
        let leaves =
            compiled.parameters.tensors().iter().filter(|(_, spec)| spec.name.contains("leaves"));
        for (id, _) in leaves {
            let range = compiled.parameters.tensors().range(id);
            flat[range.clone()].copy_from_slice(&spread[range]);
        }
        let how = (Schedule::Wide, BATCH);
        let found = completed(kernels, Order::Shuffled, (&compiled, &flat), &data, how);
        assert_same(&text, (&compiled, &flat), &data, &found);
    }
}

/// Compares completions of deterministic circuits, given parts of worlds, with the CPU engine's. How many rows were
/// impossible.
fn choices_agree(kernels: &cpu_device::Compiled, seeds: Range<u64>) -> usize {
    let mut impossible = 0;
    for seed in seeds {
        let plan = deterministic::plan(seed, deterministic::Kinds::Discrete);
        let circuit = deterministic::circuit(&plan, seed, 1);
        let made = compile(circuit, &SourceMap::default(), &Direct, &Options::default());
        let Drawn { name, compiled, flat, .. } =
            Drawn::new(format!("choices {seed}"), Arc::new(made.unwrap()), seed);
        let all: Vec<Vec<f32>> = worlds(&compiled.written).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut row = |_| {
            let world = &all[rng.random_range(0..all.len())];
            world.iter().map(|&x| rng.random_bool(0.7).then_some(x)).collect::<Vec<_>>()
        };
        let rows: Vec<_> = (0..150).map(&mut row).collect();
        let data = Dataset::from_rows(compiled.written.variables(), rows).unwrap();
        let how = (Schedule::Wide, BATCH);
        let found = completed(kernels, Order::Descending, (&compiled, &flat), &data, how);
        impossible += agree_but_for_rounding(&name, (&compiled, &flat), &data, &found);
    }
    impossible
}

/// Compares which rows are impossible, and the greatest trees of others by weights that device and host make. How many
/// rows are impossible.
fn agree_but_for_rounding(
    name: &str,
    (compiled, flat): (&Arc<Compiled>, &[f32]),
    data: &Dataset,
    found: &Completions,
) -> usize {
    let plan = planned(compiled, Purpose::Query, Schedule::Wide, 64);
    let mut cpu = CpuExecutable::new(compiled.clone(), plan, 1).unwrap();
    let expected = said(&mut cpu, flat, data);
    let mut impossible = 0;
    for row in 0..data.rows() {
        let (own, other) = (found.log_best(row), expected.log_best(row));
        let close = own == other || (own - other).abs() <= 1e-5 * other.abs().max(1.0);
        assert!(close, "{name}, row {row}: {own}, not {other}");
        let nothing = found.of(row).iter().all(|x| x.is_nan());
        assert_eq!(nothing, other == f64::NEG_INFINITY, "{name}, row {row}");
        impossible += usize::from(nothing);
    }
    impossible
}

/// Compares completions of circuits of others with the CPU engine's. How many sparse sums they have.
fn diagrams_agree(kernels: [&cpu_device::Compiled; 2], seeds: Range<u64>) -> usize {
    let mut sparse = 0;
    for seed in seeds {
        let Drawn { name, compiled, flat, values } =
            Drawn::new(format!("diagram {seed}"), diagram(12, seed), 0);
        let data = any_rows(&compiled, [0.2, 0.6, 0.9][seed as usize / 2 % 3], seed);
        let how = ([Schedule::Wide, Schedule::Deep][seed as usize % 2], BATCH);
        let found =
            completed(kernels[seed as usize % 2], Order::Shuffled, (&compiled, &flat), &data, how);
        assert_as_good(&name, &compiled.written, &values, &data, &found);
        assert_same(&name, (&compiled, &flat), &data, &found);
        sparse += sparse_sums(&compiled);
    }
    sparse
}

#[test]
fn completions_on_the_device_are_as_good_as_the_oracles() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(for_queries(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("completions on the processor", "there is no C++ compiler");
    };
    let seen = circuits_agree([&shared, &global], &circuits(0..10));
    assert!(seen.iter().all(|&count| count > 3), "{seen:?} circuits");
    ties_agree(&shared);
}

#[test]
fn completions_of_circuits_of_others_on_the_device_are_the_cpu_engines() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(for_queries(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("completions of sparse sums", "there is no C++ compiler");
    };
    let sparse = diagrams_agree([&shared, &global], 0..12);
    assert!(sparse > 50, "{sparse} sparse sums");
    let impossible = choices_agree(&shared, 0..8);
    assert!(impossible > 10, "{impossible} impossible rows");
}

#[test]
fn a_completion_on_the_device_depends_on_its_row_alone() {
    let Some(kernels) = cpu_device::Compiled::new(for_queries(32, true)) else {
        return skipped("what completions depend on", "there is no C++ compiler");
    };
    for seed in [1, 2, 6] {
        let (compiled, flat, _) = case(seed);
        let data = rows_of(&compiled, 100, 0.5, seed);
        let bits = |order, batch, is_held| {
            let mut engine = engine(&kernels, order, &compiled, (Schedule::Wide, batch));
            if is_held {
                engine.prepare(&data);
            }
            let found = said(&mut engine, &flat, &data);
            let row = |row| found.of(row).iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            (0..100).map(|at| (found.log_best(at).to_bits(), row(at))).collect::<Vec<_>>()
        };
        let first = bits(Order::Ascending, 128, false);
        assert!(first == bits(Order::Shuffled, 33, false), "batches");
        assert!(first == bits(Order::Descending, 70, true), "data that are held");
    }
    let (compiled, _, data) = case(1);
    let plan = planned(&compiled, Purpose::Evaluate, Schedule::Wide, 70);
    let layout = Layout::new(&compiled, plan, general(32, true));
    let device = kernels.start(Order::Ascending);
    let mut evaluates = DeviceExecutable::new(compiled, layout, device, 1).unwrap();
    assert!(evaluates.completions(&data, &[0]).is_none());
}

#[test]
fn a_lost_device_leaves_no_completions() {
    let (compiled, flat, data) = case(0);
    let plan = planned(&compiled, Purpose::Query, Schedule::Wide, 70);
    let specialisation = specialised(&compiled, &plan);
    let layout = Layout::new(&compiled, plan, specialisation);
    let mut lost = DeviceExecutable::new(compiled, layout, Lost, 1).unwrap();
    lost.load(&flat);
    let found = lost.completions(&data, &[0, 1]).unwrap();
    assert_eq!(lost.fault().map(|fault| fault.code), Some(Code::E0701));
    for row in 0..2 {
        assert!(found.log_best(row).is_nan() && found.of(row).iter().all(|x| x.is_nan()));
    }
}

const BREAKS: [Break; 13] = [
    (
        "coefficients for their logarithms",
        "= log((double)buffers.coefficients[i])",
        "= buffers.coefficients[i]",
    ),
    ("sums of other weights", "step.pitch + i] + factor", "step.pitch + i] * 0.1 + factor"),
    (
        "products of one factor",
        "+ unit_at(right, all ? j : unit)",
        "+ 0.1 * unit_at(right, all ? j : unit)",
    ),
    (
        "picks by one factor",
        "(unit_at(first, i) + unit_at(second, i))",
        "(unit_at(first, i) + 0.1 * unit_at(second, i))",
    ),
    (
        "the last of the greatest",
        "if (!(own > top)) continue;",
        "if (!(own >= top) || own == -infinity()) continue;",
    ),
    (
        "the first state for the likeliest",
        "return state == NOWHERE ? 0 : state;",
        "return 0 * state;",
    ),
    ("pairs the other way round", "Two{i % wide, i / wide}", "Two{i / wide, i % wide}"),
    (
        "the first input of a mixing layer",
        "++n) top = fmax(top, mixed",
        "++n) if (n == 0) top = fmax(top, mixed",
    ),
    (
        "sparse terms of one factor",
        "(unit_at(best.values, of.left) + right)",
        "(unit_at(best.values, of.left) + 0.1 * right)",
    ),
    (
        "another output of a part",
        "buffers.handed_logs[(step.table + unit) * buffers.pitch",
        "buffers.handed_logs[step.table * buffers.pitch",
    ),
    ("the parts that no tree has reached", "if (!take_picked(", "if (take_picked("),
    (
        "picks of the batch before",
        "buffers.picked[step.column * buffers.pitch + tree.row] = unit;",
        "if (unit != NOWHERE) buffers.picked[step.column * buffers.pitch + tree.row] = unit;",
    ),
    ("densities of one width", "0.5 * d * d * normal.y", "0.5 * d * d"),
];

#[test]
fn each_way_to_break_a_completion_is_noticed() {
    if !cpu_device::has_compiler() {
        return skipped("breaking completions on purpose", "there is no C++ compiler");
    }
    let circuits = circuits(0..3);
    let agree = |kernels: &cpu_device::Compiled| {
        let run = std::panic::AssertUnwindSafe(|| {
            diagrams_agree([kernels; 2], 0..3);
            ties_agree(kernels);
            circuits_agree([kernels; 2], &circuits);
        });
        std::panic::catch_unwind(run).is_ok()
    };
    assert_eq!(unnoticed(&BREAKS, agree), [""; 0]);
}
