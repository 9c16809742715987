//! Whole steps of learning on the device, kernels on the processor: they are those of the host's optimiser, to the
//! bit, and a run goes on from its checkpoint as if it had never stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::cuda::source;
use pcc::engine::{Executable, Stepped, Tally};
use pcc::plan::{Purpose, Schedule};
use pcc::train::batches::Batches;
use pcc::train::{Event, Group, Keep, Method, Optimizer, Options, Recipe, Splits, TrainError, fit};

use super::{Make, case, general, has_device, on_device, on_processor, planned, skipped};
use crate::support::cpu_device::{self, Order};

/// Rows of a batch: no multiple of anything.
const BATCH: usize = 70;

/// An engine that learns a circuit.
fn trains(make: Make<'_>, compiled: &Arc<Compiled>) -> Box<dyn Executable> {
    make(compiled, planned(compiled, Purpose::Train, Schedule::Wide, BATCH as u32))
}

/// The engine with its steps taken by the caller.
struct StepsHere(Box<dyn Executable>);

impl Executable for StepsHere {
    fn load(&mut self, parameters: &[f32]) {
        self.0.load(parameters);
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        self.0.log_likelihood(data, rows, log_p)
    }

    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        self.0.gradient(parameters, data, rows, log_p, gradient)
    }

    fn arithmetic(&self) -> String {
        self.0.arithmetic()
    }
}

const METHODS: [Method; 3] = [
    Method::Adam(pcc::train::Moments { beta1: 0.9, beta2: 0.99, epsilon: 1e-6 }),
    Method::AdamW(pcc::train::Moments { beta1: 0.8, beta2: 0.999, epsilon: 1e-8 }),
    Method::Sgd { momentum: 0.7 },
];

/// An optimiser with a rate and a decay of its own for the first tensor.
fn optimizer(compiled: &Compiled, method: Method) -> Optimizer {
    let tensors = compiled.parameters.tensors();
    let first = tensors.iter().next().map(|(_, spec)| spec.name.clone());
    let own = first.map(|name| Group { name, rate: Some(0.003), decay: Some(0.1) });
    let groups: Vec<Group> = own.into_iter().collect();
    Optimizer::new(method, tensors, 0.01, 0.02, &groups).unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// What steps there and here, which must not differ, have met.
#[derive(Default)]
struct Seen {
    circuits: usize,
    tally: Tally,
    in_bytes: [bool; 2],
}

/// Takes some steps on the device, and the same ones by its gradients and the host's optimiser.
fn compare_steps(make: Make<'_>, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let (compiled, flat, data) = case(seed);
    let method = METHODS[seed as usize % METHODS.len()];
    // A sum over a batch is large: gradients are, where nothing divides by their size.
    let factor = if matches!(method, Method::Sgd { .. }) { 1e-3 } else { 1.0 };
    let mut device = trains(make, &compiled);
    let mut here = StepsHere(trains(make, &compiled));
    let (mut there_optimizer, mut optimizer) =
        (optimizer(&compiled, method), optimizer(&compiled, method));
    let Some(stepper) = device.stepper() else { return Ok(()) };
    stepper.begin(&data, &flat, there_optimizer.moments());
    let mut batches = Batches::new(seed, data.rows(), BATCH);
    let (mut log_p, mut log_p_there) = (vec![0.0; BATCH], vec![0.0; BATCH]);
    let (mut parameters, mut gradient) = (flat.clone(), vec![0.0; flat.len()]);
    for step in 0..4 {
        let rows = batches.draw(step).to_vec();
        let tally = here.gradient(&parameters, &data, &rows, &mut log_p, &mut gradient);
        let is_finite = gradient.iter().all(|g| g.is_finite());
        let expected = match is_finite && optimizer.step(factor, &mut parameters, &gradient) {
            true => Stepped::Taken,
            false if is_finite => Stepped::OutOfRange,
            false => Stepped::NotTaken,
        };
        let updates = there_optimizer.next_step(factor);
        let (tally_there, stepped) = stepper.step(&data, &rows, updates, &mut log_p_there);
        if (tally_there, stepped) != (tally, expected) || log_p_there != log_p {
            return Err(format!("seed {seed}, step {step}: {tally_there:?} {stepped:?}"));
        }
        seen.tally += tally;
        if expected != Stepped::Taken {
            break;
        }
    }
    let mut there = vec![f32::NAN; flat.len()];
    stepper.read(&mut there, there_optimizer.moments_mut());
    let [first, second] = optimizer.moments().map(bits);
    if bits(&there) != bits(&parameters) || there_optimizer.moments().map(bits) != [first, second] {
        return Err(format!("seed {seed}: parameters or moments differ"));
    }
    seen.circuits += 1;
    let reals = data
        .variables()
        .ids()
        .any(|var| matches!(data.variables().kind(var), pcc::variables::VarKind::Real));
    seen.in_bytes[usize::from(!reals)] = true;
    refuses_what_is_not_finite(stepper, &data, &mut batches, there, there_optimizer)
        .map_err(|fault| format!("seed {seed}: {fault}"))
}

/// Steps that cannot be taken, and one that leads out of range.
fn refuses_what_is_not_finite(
    stepper: &mut dyn pcc::engine::Stepper,
    data: &Dataset,
    batches: &mut Batches,
    mut parameters: Vec<f32>,
    mut optimizer: Optimizer,
) -> Result<(), String> {
    let rows = batches.draw(9).to_vec();
    let mut log_p = vec![0.0; BATCH];
    let finite = parameters.clone();
    stepper.begin(data, &finite, optimizer.moments());
    let (_, stepped) = stepper.step(data, &rows, optimizer.next_step(f64::INFINITY), &mut log_p);
    if stepped != Stepped::OutOfRange {
        return Err(format!("an infinite step was {stepped:?}"));
    }
    parameters.fill(f32::NAN);
    stepper.begin(data, &parameters, optimizer.moments());
    let before = bits(&parameters);
    let (_, stepped) = stepper.step(data, &rows, optimizer.next_step(1.0), &mut log_p);
    let moments = optimizer.moments().map(bits);
    stepper.read(&mut parameters, optimizer.moments_mut());
    if stepped != Stepped::NotTaken || bits(&parameters) != before {
        return Err(format!("a step on numbers that are none was {stepped:?}"));
    }
    if optimizer.moments().map(bits) != moments {
        return Err("a step that was not taken has changed the moments".into());
    }
    // What was met is forgotten.
    let zeros = vec![0.0; finite.len()];
    stepper.begin(data, &finite, [&zeros, &zeros]);
    match stepper.step(data, &rows, optimizer.next_step(0.0), &mut log_p).1 {
        Stepped::Taken => Ok(()),
        stepped => Err(format!("a step that can be taken was {stepped:?}")),
    }
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
        compare_steps(&on_processor(kernels, order), seed, &mut seen).unwrap();
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
        compare_steps(&on_device(folder.path()), seed, &mut Seen::default()).unwrap();
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

/// A run that is interrupted after so many steps, if it is.
fn run(
    device: &mut dyn Executable,
    compiled: &Compiled,
    data: &Dataset,
    initial: &[f32],
    keep: Option<Keep>,
    stop: Option<u64>,
) -> Result<String, TrainError> {
    let valid = data.subset(0..40);
    let splits = Splits { train: data, valid: Some(&valid), test: None };
    let recipe = Recipe { steps: 13, batch: BATCH, eval_every: 4, rate: 0.02, ..Recipe::default() };
    let interrupt = AtomicBool::new(false);
    let options = Options { recipe, keep, interrupt: Some(&interrupt) };
    let mut observer = |event: Event<'_>| match event {
        Event::Step { step } if Some(step) == stop => interrupt.store(true, Ordering::Relaxed),
        _ => {}
    };
    let outcome =
        fit(device, &compiled.parameters, initial.to_vec(), &splits, &options, &mut observer)?;
    let history: Vec<_> =
        outcome.history.iter().map(|r| (r.step, r.batch_ll, r.valid_ll)).collect();
    Ok(format!("{:?} {} {history:?}", bits(&outcome.parameters), outcome.selected_step))
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
        let whole = run(&mut *device(), &compiled, &data, &flat, None, None).unwrap();
        let here = run(&mut StepsHere(device()), &compiled, &data, &flat, None, None).unwrap();
        assert_eq!(whole, here, "seed {seed}: steps here and there");
        let path = folder.path().join(format!("{seed}"));
        let keep = |resume| Some(Keep { resume, share: 0, ..Keep::new(&path, "a circuit") });
        for stop in [3, 8] {
            let stopped = run(&mut *device(), &compiled, &data, &flat, keep(stop > 3), Some(stop));
            let at = matches!(stopped, Err(TrainError::Interrupted { step }) if step == stop);
            assert!(at, "seed {seed}: {stopped:?}");
        }
        let resumed = run(&mut *device(), &compiled, &data, &flat, keep(true), None).unwrap();
        assert_eq!(whole, resumed, "seed {seed}: stopped twice");
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
    let there = run(&mut *device(), &compiled, &data, &flat, None, None).unwrap_err();
    let here = run(&mut StepsHere(device()), &compiled, &data, &flat, None, None).unwrap_err();
    assert_eq!(there.to_string(), here.to_string());
    assert_eq!(there.exit_code(), 4);
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
                compare_steps(&make, seed, &mut Seen::default())
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
