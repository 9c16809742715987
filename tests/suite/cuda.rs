//! The CUDA engine without a device: its kernels run on the processor, against the oracle.

use std::io::Write;
use std::sync::Arc;

use pcc::circuit::SourceMap;
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::engine::cuda::{DeviceExecutable, Specialisation};
use pcc::engine::{Executable, Tally};
use pcc::plan::{self, Plan, Purpose, Schedule, plan};
use pcc::sector::SectorKind;

use crate::agreement::{assert_agree, by_reference, rows_of};
use crate::support::case::{parameterizers, spread};
use crate::support::cpu_device::{self, Order};
use crate::support::random_circuits::{Kinds, circuit};

/// Says on the terminal, past the harness that hides what passing tests print, that a test did not run.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {test}: {why} ***\n");
}

/// The kernels of all operations and of some widths, in blocks of one or two warps.
fn specialisation(threads: u32, shared: bool) -> Specialisation {
    // Width 4 is left to the kernels for any width.
    Specialisation { threads, shared, ops: 0x7ff, widths: [1, 2, 3, 5].into() }
}

fn planned(compiled: &Compiled, purpose: Purpose, schedule: Schedule, batch: u32) -> Plan {
    let options = plan::Options { purpose, schedule, batch };
    plan(&compiled.circuit, &compiled.parameters, &options)
}

/// log p and gradients by the kernels.
fn by_kernels(
    kernels: &cpu_device::Compiled,
    order: Order,
    compiled: &Arc<Compiled>,
    flat: &[f32],
    data: &Dataset,
    schedule: Schedule,
) -> (Vec<f64>, Vec<f32>, Tally) {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let run = |purpose, batch| {
        let plan = planned(compiled, purpose, schedule, batch);
        let specialisation = kernels.specialisation.clone();
        let device = kernels.start(order);
        DeviceExecutable::new(compiled.clone(), plan, specialisation, device, 1).unwrap()
    };
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

/// A compiled random circuit with parameters and rows; every parameterizer and kind of sectors in turn.
fn case(seed: u64) -> (Arc<Compiled>, Vec<f32>, Dataset) {
    const KINDS: [Kinds; 5] =
        [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Binary, Kinds::Real];
    const SECTORS: [SectorKind; 2] = [SectorKind::PerLayer, SectorKind::Slices(1)];
    let parameterizers = parameterizers();
    let at = seed as usize;
    let parameterizer = &*parameterizers[at % parameterizers.len()];
    let sectors = SECTORS[at / 3 % 2];
    let options = Options { sectors, no_rewrite: seed % 2 == 1, ..Options::default() };
    let circuit = circuit(seed, KINDS[at % KINDS.len()]);
    let compiled = compile(circuit, &SourceMap::default(), parameterizer, &options).unwrap();
    let flat = spread(&compiled.written, &compiled.parameters, seed);
    let flat = flat.iter().map(|&value| value as f32).collect();
    let data = rows_of(&compiled, 150, seed);
    (Arc::new(compiled), flat, data)
}

#[test]
fn the_kernels_agree_with_the_oracle_on_random_circuits_in_any_order_of_threads() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(specialisation(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("kernels on the processor", "there is no C++ compiler");
    };
    let mut tally = Tally::default();
    for seed in 0..40 {
        let (compiled, flat, data) = case(seed);
        let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
        let expected = by_reference(&compiled, &double, &data);
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
}
