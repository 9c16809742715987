//! The CUDA engine without a device: its kernels run on the processor, against the oracle.

mod artifact;
mod completions;
mod counts;
mod far;
mod learning;
mod memory;
mod pairs;
mod precision;
mod queries;
mod sparse;
mod tensor;
mod worlds;

use std::collections::BTreeSet;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use pcc::circuit::SourceMap;
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::{Code, Diagnostic};
use pcc::engine::cuda::compile as compile_cuda;
use pcc::engine::cuda::{
    Architecture, Arenas, Buffer, Cache, Device, DeviceExecutable, Form, Kernel, Launch, Layout,
    Manifest, Precision, Specialisation, compiler, executable, probe, source,
};
use pcc::engine::{Executable, Tally};
use pcc::param::direct::Direct;
use pcc::param::{Bound, Parameterizer, Shape};
use pcc::plan::{self, Plan, Purpose, Schedule, Sharing, plan};
use pcc::sector::SectorKind;

use crate::agreement::{Expected, assert_agree, by_reference, rows_of};
use crate::structures::random::{Kinds as LeafKinds, STRUCTURES, description};

use crate::support::case::{parameterizers, spread};
use crate::support::cpu_device::{self, Order};
use crate::support::describe::{collected, compiled as compiled_text, rat_spn};
use crate::support::random_circuits::{Kinds, circuit};

/// Says on the terminal, past the harness that hides what passing tests print, that a test did not run.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {test}: {why} ***\n");
}

/// What serves all plans, in blocks of so many threads. Width 4 is left to the kernels for any width.
fn general(threads: u32, shared: bool) -> Specialisation {
    let [part_ops, head_ops] = [Specialisation::ALL_OPS; 2];
    let widths = [1, 2, 3, 5].into();
    let arenas = Arenas { parts: 0, head: 0, network: 0 };
    Specialisation {
        threads,
        shared,
        arenas,
        part_ops,
        head_ops,
        widths,
        any_width: true,
        precision: Precision::F32,
        queries: false,
    }
}

fn planned(compiled: &Compiled, purpose: Purpose, schedule: Schedule, batch: u32) -> Plan {
    let options = plan::Options { purpose, schedule, batch, sharing: Sharing::WherePays };
    plan(&compiled.circuit, &compiled.parameters, &options)
}

/// What suits a plan, in single precision.
fn specialised(compiled: &Compiled, plan: &Plan) -> Specialisation {
    Specialisation::of(plan, &compiled.parameters, Precision::F32)
}

/// What makes an engine of a plan.
type Make<'a> = &'a dyn Fn(&Arc<Compiled>, Plan) -> Box<dyn Executable>;

/// The engine on kernels that run on the processor.
fn on_processor(
    kernels: &cpu_device::Compiled,
    order: Order,
) -> impl Fn(&Arc<Compiled>, Plan) -> Box<dyn Executable> {
    move |compiled, plan| {
        let Specialisation { arenas, .. } = specialised(compiled, &plan);
        let specialisation = Specialisation { arenas, ..kernels.specialisation.clone() };
        let layout = Layout::new(compiled, plan, specialisation);
        let device = kernels.start(order);
        Box::new(DeviceExecutable::new(compiled.clone(), layout, device, 1).unwrap())
    }
}

/// The engine on the device at hand, its modules kept in a folder.
fn on_device(folder: &Path) -> impl Fn(&Arc<Compiled>, Plan) -> Box<dyn Executable> {
    let cache = Cache::new(folder);
    move |compiled, plan| {
        let specialisation = specialised(compiled, &plan);
        let layout = Layout::new(compiled, plan, specialisation);
        Box::new(executable(compiled.clone(), layout, 1, Some(&cache)).unwrap())
    }
}

/// Whether this machine has a device. Where it has none, says that a test did not run, or fails if
/// `PCC_REQUIRE_CUDA` demands one.
fn has_device(test: &str) -> bool {
    let Err(fault) = probe() else { return true };
    let demanded = std::env::var("PCC_REQUIRE_CUDA").is_ok_and(|value| value == "1");
    assert!(!demanded, "PCC_REQUIRE_CUDA: {test}: {}", fault.message);
    skipped(test, &fault.message);
    false
}

/// log p and gradients by kernels on the processor.
fn by_kernels(
    kernels: &cpu_device::Compiled,
    order: Order,
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    schedule: Schedule,
) -> (Vec<f64>, Vec<f32>, Tally) {
    by_engine(&on_processor(kernels, order), compiled, flat, data, schedule)
}

/// log p and gradients by an engine.
fn by_engine(
    make: Make<'_>,
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    schedule: Schedule,
) -> (Vec<f64>, Vec<f32>, Tally) {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let run = |purpose, batch| make(compiled, planned(compiled, purpose, schedule, batch));
    let mut train = run(Purpose::Train, data.rows() as u32);
    let mut log_p = vec![f64::NAN; rows.len()];
    let mut gradient = vec![f32::NAN; flat.len()];
    let tally = train.gradient(flat, data, &rows, &mut log_p, &mut gradient);
    assert_eq!(train.fault(), None);
    let mut evaluate = run(Purpose::Evaluate, 70);
    let mut again = vec![f64::NAN; rows.len()];
    evaluate.load(flat);
    evaluate.log_likelihood(data, &rows, &mut again);
    assert_eq!(evaluate.fault(), None);
    assert_eq!(log_p, again, "the same rows in training and in evaluation");
    (log_p, gradient, tally)
}

/// Parameters that are spread, as an engine has them.
fn spread_single(compiled: &Compiled, seed: u64) -> Vec<f32> {
    let flat = spread(&compiled.written, &compiled.parameters, seed);
    flat.iter().map(|&value| value as f32).collect()
}

/// What the oracle says of parameters as an engine has them.
fn by_oracle(compiled: &Compiled, flat: &[f32], data: &Dataset) -> Expected {
    let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
    by_reference(compiled, &double, data)
}

/// A circuit with parameters, so many rows, and what the oracle says of these.
struct Judged {
    compiled: Arc<Compiled>,
    flat: Vec<f32>,
    data: Dataset,
    expected: Expected,
}

impl Judged {
    fn new(compiled: Arc<Compiled>, rows: usize, seed: u64) -> Self {
        let (flat, data) = (spread_single(&compiled, seed), rows_of(&compiled, rows, seed));
        let expected = by_oracle(&compiled, &flat, &data);
        Judged { compiled, flat, data, expected }
    }

    /// Log p and gradients by kernels on the processor, by which no row is in doubt: the host would mend what is wrong.
    fn by_kernels(&self, kernels: &cpu_device::Compiled, order: Order) -> (Vec<f64>, Vec<f32>) {
        let Judged { compiled, flat, data, .. } = self;
        let (log_p, gradient, tally) =
            by_kernels(kernels, order, compiled, flat, data, Schedule::Wide);
        assert_eq!(tally.in_logs, 0);
        (log_p, gradient)
    }
}

/// [`Direct`] without kernels of its own, as a user's parameterizer is.
#[derive(Debug)]
struct HostOnly;

impl Parameterizer for HostOnly {
    fn name(&self) -> &str {
        "HostOnly"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        Ok(Bound { device: None, ..Direct.bind(shapes)? })
    }
}

/// A compiled random circuit with parameters and rows; every parameterizer and kind of sectors in turn.
fn case(seed: u64) -> (Arc<Compiled>, Vec<f32>, Dataset) {
    const KINDS: [Kinds; 5] =
        [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Binary, Kinds::Real];
    const SECTORS: [SectorKind; 2] = [SectorKind::PerLayer, SectorKind::Slices(1)];
    let mut parameterizers = parameterizers();
    parameterizers.push(Box::new(HostOnly));
    let at = seed as usize;
    let parameterizer = &*parameterizers[at % parameterizers.len()];
    let sectors = SECTORS[at / 4 % 2];
    let options = Options { sectors, no_rewrite: seed % 2 == 1, ..Options::default() };
    let circuit = circuit(seed, KINDS[at % KINDS.len()]);
    let compiled = compile(circuit, &SourceMap::default(), parameterizer, &options).unwrap();
    let flat = spread_single(&compiled, seed);
    let data = rows_of(&compiled, 150, seed);
    (Arc::new(compiled), flat, data)
}

#[test]
fn the_kernels_agree_with_the_oracle_on_random_circuits_in_any_order_of_threads() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(general(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("kernels on the processor", "there is no C++ compiler");
    };
    let mut tally = Tally::default();
    let mut made = [false; 2];
    for seed in 0..40 {
        let (compiled, flat, data) = case(seed);
        let plan = planned(&compiled, Purpose::Train, Schedule::Wide, 150);
        let layout = Layout::new(&compiled, plan, shared.specialisation.clone());
        made[usize::from(layout.makes_weights())] = true;
        let expected = by_oracle(&compiled, &flat, &data);
        for (schedule, kernels) in [(Schedule::Wide, &shared), (Schedule::Deep, &global)] {
            let order = [Order::Ascending, Order::Descending, Order::Shuffled][seed as usize % 3];
            let name = format!("seed {seed}, {schedule:?}, {order:?}");
            let (log_p, gradient, seen) =
                by_kernels(kernels, order, &compiled, &flat, &data, schedule);
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            tally += seen;
        }
    }
    assert!(tally.in_logs > 0, "no row went through the log domain");
    assert_eq!(made, [true; 2], "weights were not made on the host and on the device");
}

#[test]
fn gradients_are_the_same_to_the_bit_in_every_order_of_threads() {
    let Some(kernels) = cpu_device::Compiled::new(general(64, false)) else {
        return skipped("the order of threads", "there is no C++ compiler");
    };
    for seed in 0..12 {
        let (compiled, flat, data) = case(seed);
        let bits = |order| {
            let (log_p, gradient, _) =
                by_kernels(&kernels, order, &compiled, &flat, &data, Schedule::Wide);
            let gradient: Vec<u32> = gradient.iter().map(|g| g.to_bits()).collect();
            (log_p, gradient)
        };
        let first = bits(Order::Ascending);
        assert!(first == bits(Order::Descending), "seed {seed}");
        assert!(first == bits(Order::Shuffled), "seed {seed}");
    }
}

#[test]
fn the_device_at_hand_agrees_with_the_oracle_on_random_circuits() {
    if !has_device("kernels on a device") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let make = on_device(folder.path());
    for seed in 0..40 {
        let (compiled, flat, data) = case(seed);
        let expected = by_oracle(&compiled, &flat, &data);
        for schedule in [Schedule::Wide, Schedule::Deep] {
            let run = || by_engine(&make, &compiled, &flat, &data, schedule);
            let (log_p, gradient, tally) = run();
            let name = format!("seed {seed}, {schedule:?}");
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            assert!(run() == (log_p, gradient, tally), "{name}: twice the same bits");
        }
    }
}

/// A device that is lost at its first launch.
struct Lost;

impl Device for Lost {
    fn free(&self) -> Result<usize, Diagnostic> {
        Ok(usize::MAX)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic> {
        Ok(Buffer { index: 0, address: 0, bytes })
    }

    fn write_at(&mut self, _: Buffer, _: usize, _: &[u8]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn read(&mut self, _: Buffer, _: &mut [u8]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn launch(&mut self, _: &[Launch], _: &[u64]) -> Result<(), Diagnostic> {
        Err(Diagnostic::new(Code::E0701, "the device was lost"))
    }

    fn arithmetic(&self) -> String {
        String::new()
    }
}

#[test]
fn a_lost_device_leaves_a_diagnostic_and_no_numbers() {
    let (compiled, flat, data) = case(0);
    let plan = planned(&compiled, Purpose::Train, Schedule::Wide, data.rows() as u32);
    let specialisation = specialised(&compiled, &plan);
    let layout = Layout::new(&compiled, plan, specialisation);
    let mut lost = DeviceExecutable::new(compiled, layout, Lost, 1).unwrap();
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let (mut log_p, mut gradient) = (vec![0.0; rows.len()], vec![0.0; flat.len()]);
    lost.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
    assert_eq!(lost.fault().map(|fault| fault.code), Some(Code::E0701));
    assert!(log_p.iter().all(|log| log.is_nan()) && gradient.iter().all(|g| g.is_nan()));
}

#[test]
fn the_kernels_agree_with_the_oracle_on_every_structure_and_every_leaf() {
    let Some(kernels) = cpu_device::Compiled::new(general(32, true)) else {
        return skipped("kernels of every structure on the processor", "there is no C++ compiler");
    };
    let mut seen = BTreeSet::new();
    for structure in STRUCTURES {
        for seed in 0..4 {
            let compiled = compiled_text(&description(structure, seed, LeafKinds::Any));
            let flat = spread_single(&compiled, seed);
            let data = rows_of(&compiled, 40, 2 * seed + 1);
            let expected = by_oracle(&compiled, &flat, &data);
            let name = format!("{structure}, seed {seed}");
            let (log_p, gradient, _) =
                by_kernels(&kernels, Order::Shuffled, &compiled, &flat, &data, Schedule::Deep);
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            let plan = planned(&compiled, Purpose::Train, Schedule::Deep, 40);
            let steps = plan.programs.iter().flat_map(|program| &program.steps);
            seen.extend(steps.map(|step| step.op.name()));
        }
    }
    for op in ["gaussian", "kronecker+sum", "log-lookup", "lookup", "poisson", "product+sum"] {
        assert!(seen.contains(op), "no plan had a step {op}; they had {seen:?}");
    }
}

/// Whether log p and gradients of some circuits agree with the oracle; `false`, too, where the kernels stop.
fn agree(kernels: &cpu_device::Compiled, orders: &[Order], seeds: std::ops::Range<u64>) -> bool {
    seeds.clone().all(|seed| {
        let (compiled, flat, data) = case(seed);
        let expected = by_oracle(&compiled, &flat, &data);
        let agrees = |&order: &Order| {
            let answer = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let (log_p, gradient, _) =
                    by_kernels(kernels, order, &compiled, &flat, &data, Schedule::Deep);
                assert_agree("", &compiled, &expected, (&log_p, &gradient));
            }));
            answer.is_ok()
        };
        orders.iter().all(agrees)
    })
}

/// A way to break a kernel: its name, what is written, and what would be instead.
type Break = (&'static str, &'static str, &'static str);

const BREAKS: [Break; 15] = [
    ("a wrong pitch", "table[j * pitch + state]", "table[j * (pitch - 1) + state]"),
    ("a read past the end", "first + i < width) sums", "true) sums"),
    (
        "no rescaling",
        "p[i] *= scaled.down;\n        return scaled;",
        "p[i] *= 1.0f;\n        return scaled;",
    ),
    (
        "no barrier before the block sums",
        "__syncthreads();\n        if (weighted)",
        "if (weighted)",
    ),
    (
        "no barrier after the block has summed",
        "__syncthreads();\n    }\n    const bool to_a",
        "}\n    const bool to_a",
    ),
    (
        "a barrier that not all threads reach",
        "if (lane < 8 && i < width) out",
        "if (lane < 8) __syncthreads();\n            if (lane < 8 && i < width) out",
    ),
    ("no bound of what is lost", "top_b, scaled.down) + lost;", "top_b, scaled.down) * 0.0f;"),
    ("gradients written over", "input.first ? d : gradient + d", "d"),
    (
        "weights that do not sum to one",
        "(double)expf(logits[i] - top) / sum",
        "(double)expf(logits[i] - top)",
    ),
    ("a certificate for all", "certified ? 1 : 0", "(int)certified | 1"),
    (
        "no barrier after the network's sums",
        "partial + (output.weights - start));\n            __syncthreads();",
        "partial + (output.weights - start));",
    ),
    (
        "a pair's other unit",
        "left[i * THREADS] * pairs.right[j",
        "left[i * THREADS] * pairs.right[i",
    ),
    (
        "what a pair passes on is scaled otherwise",
        "at(d[side], i) *= by;",
        "at(d[side], i) *= 2.0f * by;",
    ),
    (
        "no barrier before the sums over pairs",
        "} else {\n        __syncthreads();\n        float* out",
        "} else {\n        float* out",
    ),
    ("no ReLU", "fmaxf(affine(buffers, layer, j, rows), 0.0f)", "affine(buffers, layer, j, rows)"),
];

#[test]
fn each_way_to_break_a_kernel_is_noticed() {
    let specialisation = general(64, true);
    let whole = source(&specialisation);
    let orders = [Order::Ascending, Order::Descending];
    let seeds = 0..15;
    let Some(kernels) = cpu_device::Compiled::new(specialisation.clone()) else {
        return skipped("breaking kernels on purpose", "there is no C++ compiler");
    };
    assert!(agree(&kernels, &orders, seeds.clone()), "before anything is broken");
    let unnoticed = BREAKS.iter().filter(|(_, written, instead)| {
        let broken = whole.replace(written, instead);
        broken == whole || {
            let kernels = cpu_device::Compiled::of_text(&broken, specialisation.clone());
            agree(&kernels, &orders, seeds.clone())
        }
    });
    let unnoticed: Vec<&str> = unnoticed.map(|(name, ..)| *name).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

/// Each specialisation that the plans of some circuits need, with the name of one of these.
fn specialisations() -> Vec<(String, Specialisation)> {
    let mut found: Vec<(String, Specialisation)> = Vec::new();
    let mut see = |name: String, compiled: &Compiled| {
        // A module has all kernels, so one for training is one for evaluation.
        for schedule in [Schedule::Wide, Schedule::Deep] {
            let plan = planned(compiled, Purpose::Train, schedule, 500);
            let made = specialised(compiled, &plan);
            if found.iter().all(|(_, other)| other.constants() != made.constants()) {
                found.push((format!("{name}, {schedule:?}"), made));
            }
        }
    };
    for seed in 0..4 {
        see(format!("seed {seed}"), &case(seed).0);
    }
    for units in [5, 20, 24, 32, 64] {
        let text = rat_spn(100, units, 2, "leaves: Indicators, parameterizer: Direct");
        see(format!("a RAT-SPN of {units} units"), &compiled_text(&text));
    }
    // The last has wide sums.
    for precision in [Precision::Tf32, Precision::Bf16] {
        let (name, wide) = &found[found.len() - 1];
        let (name, wide) = (format!("{name}, {precision:?}"), wide.clone());
        found.push((name, Specialisation { precision, ..wide }));
    }
    // For queries there are other ways back: of a random circuit, of the widest, and of all operations.
    let mut queried = vec![found[0].clone(), found[found.len() - 3].clone()];
    queried.push(("all operations".to_string(), general(64, false)));
    found.extend(
        queried
            .into_iter()
            .map(|(name, of)| (format!("{name}, queries"), Specialisation { queries: true, ..of })),
    );
    found
}

/// What ptxas says of one kernel: `N bytes stack frame, N bytes spill stores, N bytes spill loads`.
fn spills(log: &str) -> Vec<&str> {
    let lines = log.lines().filter(|line| line.contains("bytes spill stores"));
    lines.filter(|line| !line.contains(" 0 bytes spill stores, 0 bytes spill loads")).collect()
}

#[test]
fn every_kernel_compiles_for_both_generations_of_devices_without_spills() {
    if compiler().is_none() {
        return skipped("compiling kernels by NVRTC", "NVRTC cannot be loaded");
    }
    for (name, specialisation) in specialisations() {
        let source = source(&specialisation);
        for architecture in [Architecture(80), Architecture(90)] {
            let module = compile_cuda(&source, architecture, Form::Cubin);
            let log = module.unwrap_or_else(|fault| panic!("{name}: {fault:?}")).log;
            let kernels = log.matches("Compiling entry function").count();
            assert_eq!(kernels, Kernel::ALL.len(), "{name}, {architecture}: {log}");
            assert_eq!(spills(&log), [""; 0], "{name}, {architecture}: {log}");
        }
    }
}

#[test]
fn source_that_is_not_cuda_is_refused_with_the_compilers_words() {
    if compiler().is_none() {
        return skipped("NVRTC's refusals", "NVRTC cannot be loaded");
    }
    let fault = compile_cuda("nonsense;", Architecture(90), Form::Cubin).unwrap_err();
    assert_eq!(fault.code, Code::E0701);
    assert!(format!("{fault:?}").contains("nonsense"), "{fault:?}");
}

#[test]
fn the_kernels_buffers_have_the_manifests_fields_in_its_order() {
    let compiled = compiled_text(&rat_spn(4, 2, 1, "leaves: Indicators"));
    let plan = planned(&compiled, Purpose::Train, Schedule::Wide, 64);
    let manifest = serde_json::to_value(manifest(&compiled, &plan)).unwrap();
    let named: Vec<&str> = manifest["buffers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["name"].as_str().unwrap())
        .collect();
    let header = include_str!("../../kernels/program.cuh");
    let fields = header.split_once("struct Buffers {").unwrap().1.split_once('}').unwrap().0;
    let fields =
        fields.lines().filter_map(|line| line.split("//").next()?.trim().strip_suffix(';'));
    let fields: Vec<&str> = fields.map(|field| field.rsplit([' ', '*']).next().unwrap()).collect();
    assert_eq!(named, fields);
}

fn manifest(compiled: &Compiled, plan: &Plan) -> Manifest {
    let specialisation = specialised(compiled, plan);
    let layout = Layout::new(compiled, plan.clone(), specialisation);
    Manifest::new(&layout, &compiled.parameters, Architecture(90))
}

#[test]
fn constants_and_manifests_are_those_on_record() {
    let circuits = [
        ("rat-spn", rat_spn(8, 3, 2, "leaves: Indicators, parameterizer: Direct")),
        ("hyperspn", collected("nltcs-hyperspn.ron")),
    ];
    insta::with_settings!({ snapshot_path => "../snapshots/cuda", prepend_module_to_snapshot => false }, {
        for (name, text) in circuits {
            let compiled = compiled_text(&text);
            for purpose in [Purpose::Evaluate, Purpose::Train] {
                let plan = planned(&compiled, purpose, Schedule::Wide, 500);
                let constants = specialised(&compiled, &plan).constants();
                let mut manifest = serde_json::to_value(manifest(&compiled, &plan)).unwrap();
                // One of many.
                manifest["coefficients"].as_array_mut().unwrap().truncate(3);
                let manifest = serde_json::to_string_pretty(&manifest).unwrap();
                let snapshot = format!("{name}-{purpose:?}").to_lowercase();
                insta::assert_snapshot!(snapshot, format!("{constants}\n{manifest}"));
            }
        }
    });
}
