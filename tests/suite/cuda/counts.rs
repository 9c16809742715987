//! Expected counts by the device, kernels on the processor, against the oracle's, and a run of EM against the CPU
//! engine's.

use std::sync::Arc;

use pcc::circuit::SourceMap;
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::cuda::source;
use pcc::engine::{Counts, Executable, Tally};
use pcc::plan::{Purpose, Schedule};
use pcc::train::em::Em;

use super::{HostOnly, general, on_processor, planned, skipped};
use crate::agreement::rows_of;
use crate::support::case::{parameterizers, spread};
use crate::support::cpu_device::{self, Order};
use crate::support::oracle_engine::{expected, placed};
use crate::support::random_circuits::{Kinds, circuit};

const KINDS: [Kinds; 4] = [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Real];
const ROWS: usize = 150;

/// A random circuit as it is written, for rewriting leaves out weights on which nothing depends; with rows of which no
/// value is missing, for what a sum over indicators counts of a missing one engines leave out.
fn case(seed: u64) -> (Arc<Compiled>, Vec<f32>, Dataset) {
    let mut parameterizers = parameterizers();
    parameterizers.push(Box::new(HostOnly));
    let parameterizer = &*parameterizers[seed as usize % parameterizers.len()];
    let circuit = circuit(seed, KINDS[seed as usize % KINDS.len()]);
    let options = Options { no_rewrite: true, ..Options::default() };
    let compiled = compile(circuit, &SourceMap::default(), parameterizer, &options).unwrap();
    let flat = spread(&compiled.written, &compiled.parameters, seed);
    let data = rows_of(&compiled, ROWS, 3 * seed + 1);
    (Arc::new(compiled), flat.iter().map(|&value| value as f32).collect(), data)
}

/// What the CPU engine counts. Densities far out in their tails are logarithms of many digits, of which single
/// precision keeps seven: where it is off, so may a device be.
fn counted_by_cpu(compiled: &Arc<Compiled>, flat: &[f32], data: &Dataset) -> Counts<f32> {
    let plan = planned(compiled, Purpose::Train, Schedule::Wide, ROWS as u32);
    let mut engine = CpuExecutable::new(compiled.clone(), plan, 1).unwrap();
    let mut counts = Counts::zeros(&compiled.parameters);
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    engine.expected_counts(flat, data, &rows, &mut vec![0.0; ROWS], &mut counts).unwrap();
    counts
}

/// Compares with the oracle; what became of the rows, or what is not near.
fn compare(
    kernels: &cpu_device::Compiled,
    order: Order,
    seed: u64,
    holds: bool,
) -> Result<Tally, String> {
    let (compiled, flat, data) = case(seed);
    let parameters = &compiled.parameters;
    let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
    let values = parameters.values(&compiled.written, &double);
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let of_rows = expected(&compiled.written, &values, &data, rows.iter().copied());
    let truth: Counts<f64> = placed(parameters, &of_rows);
    let plan = planned(&compiled, Purpose::Train, Schedule::Wide, ROWS as u32);
    let mut engine = on_processor(kernels, order)(&compiled, plan);
    if holds {
        engine.prepare(&data);
    }
    let mut counts = Counts::zeros(parameters);
    // What was there before is forgotten.
    counts.weights.fill(7.0);
    let mut log_p = vec![f64::NAN; ROWS];
    let tally = engine.expected_counts(&flat, &data, &rows, &mut log_p, &mut counts).unwrap();
    if let Some(fault) = engine.fault() {
        return Err(fault.message);
    }
    let by_cpu = counted_by_cpu(&compiled, &flat, &data);
    let near = |name: &str, truth: &[f64], found: &[f32], by_cpu: &[f32]| {
        let largest = truth.iter().fold(1.0f64, |top, x| top.max(x.abs()));
        let off = |counts: &[f32]| {
            let pairs = truth.iter().zip(counts).map(|(x, &y)| (x - f64::from(y)).abs());
            // So that NaN is far.
            pairs.map(|off| if off.is_nan() { f64::INFINITY } else { off }).fold(0.0, f64::max)
        };
        let (device, cpu) = (off(found), off(by_cpu));
        match device <= 1e-5 * largest || device <= 2.0 * cpu {
            true => Ok(()),
            false => {
                Err(format!("seed {seed}, {name}: off by {device} of {largest}, the CPU by {cpu}"))
            }
        }
    };
    near("weights", &truth.weights, &counts.weights, &by_cpu.weights)?;
    for dist in parameters.families().ids() {
        let family = compiled.written.dists()[dist].family;
        near(family.name(), truth.leaf(dist), counts.leaf(dist), by_cpu.leaf(dist))?;
    }
    Ok(tally)
}

#[test]
fn the_device_counts_what_the_oracle_counts() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(general(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("expected counts on the processor", "there is no C++ compiler");
    };
    let mut tally = Tally::default();
    for seed in 0..24 {
        let kernels = if seed % 2 == 0 { &shared } else { &global };
        let order = [Order::Ascending, Order::Descending, Order::Shuffled][seed as usize % 3];
        tally += compare(kernels, order, seed, seed % 4 < 2).unwrap();
    }
    assert!(tally.in_logs > 0, "no row was in doubt");
}

#[test]
fn steps_of_em_on_the_device_are_those_of_the_cpu_engine() {
    let Some(kernels) = cpu_device::Compiled::new(general(64, true)) else {
        return skipped("EM on the processor", "there is no C++ compiler");
    };
    let mut circuits = 0;
    for seed in 0..24 {
        let (compiled, flat, data) = case(seed);
        let Ok(em) = Em::new(&compiled.parameters, 0.1, 1.0, &[]) else { continue };
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        let learn = |mut engine: Box<dyn Executable>| {
            let mut flat = flat.clone();
            let mut counts = Counts::zeros(&compiled.parameters);
            let mut log_p = vec![0.0; ROWS];
            for _ in 0..4 {
                engine.expected_counts(&flat, &data, &rows, &mut log_p, &mut counts).unwrap();
                assert!(em.step(1.0, (ROWS, 1.0), &counts, &mut flat), "seed {seed}");
            }
            log_p
        };
        let plan = || planned(&compiled, Purpose::Train, Schedule::Wide, ROWS as u32);
        let device = learn(on_processor(&kernels, Order::Ascending)(&compiled, plan()));
        let cpu = learn(Box::new(CpuExecutable::new(compiled.clone(), plan(), 1).unwrap()));
        for (row, (device, cpu)) in device.iter().zip(&cpu).enumerate() {
            let near = device == cpu || (device - cpu).abs() <= 1e-4 * cpu.abs().max(1.0);
            assert!(near, "seed {seed}, row {row}: {device} and {cpu}");
        }
        circuits += 1;
    }
    assert!(circuits >= 6, "{circuits}");
}

/// A way to break a kernel: its name, what is written, and what would be instead.
const BREAKS: [(&str, &str, &str); 3] = [
    (
        "the last shard alone",
        "sum += buffers.partial[n * count + i]",
        "sum = buffers.partial[n * count + i]",
    ),
    (
        "counts of a leaf of the first lane",
        "d[j * THREADS + l], off = x[l]",
        "d[j * THREADS], off = x[l]",
    ),
    (
        "shards that are not cleared",
        "sums[i] = 0.0f;\n    __syncthreads();",
        "sums[i] += 0.0f;\n    __syncthreads();",
    ),
];

#[test]
fn each_way_to_break_what_is_counted_is_noticed() {
    let specialisation = general(64, true);
    let whole = source(&specialisation);
    if !cpu_device::has_compiler() {
        return skipped("breaking counts on purpose", "there is no C++ compiler");
    }
    let unnoticed = BREAKS.iter().filter(|(_, written, instead)| {
        let broken = whole.replace(written, instead);
        broken == whole || {
            let kernels = cpu_device::Compiled::of_text(&broken, specialisation.clone());
            (0..8).all(|seed| compare(&kernels, Order::Ascending, seed, false).is_ok())
        }
    });
    let unnoticed: Vec<&str> = unnoticed.map(|(name, ..)| *name).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
