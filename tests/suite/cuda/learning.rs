//! Whole steps of learning on the device, kernels on the processor: they are those of the host's optimiser, to the
//! bit, and a run goes on from its checkpoint as if it had never stopped.

use std::sync::Arc;

use pcc::compile::Compiled;
use pcc::engine::cuda::source;
use pcc::engine::{Executable, Tally};
use pcc::plan::{Purpose, Schedule};

use super::{Make, case, general, has_device, on_device, on_processor, planned, skipped};
use crate::support::cpu_device::{self, Order};
use crate::support::steps::{BATCH, Seen, compare_runs, compare_steps, fault};

/// An engine that learns a circuit.
fn trains(make: Make<'_>, compiled: &Arc<Compiled>) -> Box<dyn Executable> {
    make(compiled, planned(compiled, Purpose::Train, Schedule::Wide, BATCH as u32))
}

/// Takes some steps on the device and some by the host's optimiser; they must not differ.
fn compare(make: Make<'_>, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let (compiled, flat, data) = case(seed);
    compare_steps(&|| trains(make, &compiled), (&compiled, &flat, &data), seed, seen)
}

#[test]
fn steps_on_the_device_are_those_of_the_hosts_optimiser_to_the_bit() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(general(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("steps of learning on the processor", "there is no C++ compiler");
    };
    let mut seen = Seen::default();
    for seed in 0..24 {
        let kernels = if seed % 2 == 0 { &shared } else { &global };
        let order = [Order::Ascending, Order::Descending, Order::Shuffled][seed as usize % 3];
        compare(&on_processor(kernels, order), seed, &mut seen).unwrap();
    }
    assert!(seen.circuits >= 15, "{}", seen.circuits);
    assert!(seen.tally.in_logs > 0, "no row was in doubt");
    assert_eq!(seen.in_bytes, [true; 2], "data sets of bytes and of reals");
}

#[test]
fn steps_on_the_device_at_hand_are_those_of_the_hosts_optimiser_to_the_bit() {
    if !has_device("steps of learning on a device") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..24 {
        compare(&on_device(folder.path()), seed, &mut Seen::default()).unwrap();
    }
}

#[test]
fn rows_of_a_data_set_that_stays_are_evaluated_as_those_that_are_copied() {
    let Some(kernels) = cpu_device::Compiled::new(general(64, true)) else {
        return skipped("data sets on the processor", "there is no C++ compiler");
    };
    let mut tally = Tally::default();
    for seed in 0..8 {
        let (compiled, flat, data) = case(seed);
        for purpose in [Purpose::Evaluate, Purpose::Train] {
            let plan = planned(&compiled, purpose, Schedule::Wide, BATCH as u32);
            let mut device = on_processor(&kernels, Order::Ascending)(&compiled, plan);
            device.load(&flat);
            let rows: Vec<u32> = (0..data.rows() as u32).rev().chain([3, 3]).collect();
            let (mut copied, mut held) = (vec![0.0; rows.len()], vec![f64::NAN; rows.len()]);
            tally += device.log_likelihood(&data, &rows, &mut copied);
            let other = data.subset(4..9);
            for data in [&other, &data, &other] {
                device.prepare(data);
            }
            device.log_likelihood(&data, &rows, &mut held);
            assert_eq!(device.fault(), None);
            assert_eq!(copied, held, "seed {seed}, {purpose:?}");
            device.log_likelihood(&other, &[2], &mut held[..1]);
            device.log_likelihood(&data, &[6], &mut copied[..1]);
            assert_eq!(copied[0], held[0], "seed {seed}, {purpose:?}: a part of the data");
        }
    }
    assert!(tally.in_logs > 0, "no row was in doubt");
}

#[test]
fn a_run_on_the_device_goes_on_from_its_checkpoint_as_if_it_had_never_stopped() {
    let Some(kernels) = cpu_device::Compiled::new(general(64, true)) else {
        return skipped("runs of learning on the processor", "there is no C++ compiler");
    };
    let folder = tempfile::tempdir().unwrap();
    for seed in [0, 2, 5] {
        let (compiled, flat, data) = case(seed);
        let device = || trains(&on_processor(&kernels, Order::Ascending), &compiled);
        assert!(device().stepper().is_some(), "seed {seed}");
        let path = folder.path().join(format!("{seed}"));
        compare_runs(&device, (&compiled, &flat, &data), &path)
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
}

#[test]
fn what_is_not_finite_is_blamed_on_the_row_and_the_tensor_as_by_any_engine() {
    let Some(kernels) = cpu_device::Compiled::new(general(64, true)) else {
        return skipped("faults of learning on the processor", "there is no C++ compiler");
    };
    let (compiled, mut flat, data) = case(0);
    flat[0] = f32::NAN;
    let device = || trains(&on_processor(&kernels, Order::Ascending), &compiled);
    let error = fault(&device, (&compiled, &flat, &data)).unwrap();
    assert_eq!(error.exit_code(), 4);
}

/// A way to break a kernel: its name, what is written, and what would be instead.
const BREAKS: [(&str, &str, &str); 8] = [
    (
        "rows by their place in the batch",
        "held_value(buffers, rows[row], var",
        "held_value(buffers, rows[0] + row, var",
    ),
    ("missing values that are seen", "byte == 255 ? not_a_number() : (float)byte", "(float)byte"),
    ("a step in spite of doubt", "met(buffers, IN_DOUBT) != 0.0 || ", ""),
    ("a step in spite of what is not finite", " || met(buffers, NOT_FINITE) != 0.0", ""),
    ("one update for all", "while (i >= buffers.updates[tensor].end) ++tensor;", ""),
    ("no correction of the bias", "sqrtf(square), update.unbias", "sqrtf(square), 1.0f"),
    ("range unwatched", "met(buffers, OUT_OF_RANGE) = 1.0", "(void)0"),
    ("what was met before", "met(buffers, (int)own_thread()) = 0.0", "(void)0"),
];

#[test]
fn each_way_to_break_a_step_is_noticed() {
    let specialisation = general(64, true);
    let whole = source(&specialisation);
    let Some(kernels) = cpu_device::Compiled::new(specialisation.clone()) else {
        return skipped("breaking steps on purpose", "there is no C++ compiler");
    };
    let agree = |kernels: &cpu_device::Compiled| {
        (0..15).all(|seed| {
            let compared = std::panic::catch_unwind(|| {
                let make = on_processor(kernels, Order::Ascending);
                compare(&make, seed, &mut Seen::default())
            });
            matches!(compared, Ok(Ok(())))
        })
    };
    assert!(agree(&kernels), "before anything is broken");
    let unnoticed = BREAKS.iter().filter(|(_, written, instead)| {
        let broken = whole.replace(written, instead);
        broken == whole || agree(&cpu_device::Compiled::of_text(&broken, specialisation.clone()))
    });
    let unnoticed: Vec<&str> = unnoticed.map(|(name, ..)| *name).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
