//! Steps of learning that an engine takes, beside those by its gradients and the host's optimiser.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::{Executable, Stepped, Stepper, Tally};
use pcc::train::batches::Batches;
use pcc::train::{Event, Group, Keep, Method, Optimizer, Options, Recipe, Splits, TrainError, fit};
use pcc::variables::VarKind;

/// A circuit, parameters to begin with, and data.
pub type Case<'a> = (&'a Compiled, &'a [f32], &'a Dataset);

/// Rows of a batch: no multiple of anything.
pub const BATCH: usize = 70;

/// The engine with its steps taken by the caller.
pub struct StepsHere(pub Box<dyn Executable>);

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

    fn prepare_within(&mut self, data: &Dataset, limit: usize) -> usize {
        self.0.prepare_within(data, limit)
    }

    fn arithmetic(&self) -> String {
        self.0.arithmetic()
    }
}

/// The methods that follow a gradient.
pub const METHODS: [Method; 3] = [
    Method::Adam(pcc::train::Moments { beta1: 0.9, beta2: 0.99, epsilon: 1e-6 }),
    Method::AdamW(pcc::train::Moments { beta1: 0.8, beta2: 0.999, epsilon: 1e-8 }),
    Method::Sgd { momentum: 0.7 },
];

/// An optimiser with a rate and a decay of its own for the first tensor.
pub fn optimizer(compiled: &Compiled, method: Method) -> Optimizer {
    let tensors = compiled.parameters.tensors();
    let first = tensors.iter().next().map(|(_, spec)| spec.name.clone());
    let own = first.map(|name| Group { name, rate: Some(0.003), decay: Some(0.1) });
    let groups: Vec<Group> = own.into_iter().collect();
    Optimizer::new(method, tensors, 0.01, 0.02, &groups).unwrap()
}

/// The bits of numbers.
pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// What steps there and here, which must not differ, have met.
#[derive(Default)]
pub struct Seen {
    /// Circuits whose steps were taken.
    pub circuits: usize,
    /// Whether a step could not be taken.
    pub refused: bool,
    /// What became of their rows.
    pub tally: Tally,
    /// Data sets with real variables, and without.
    pub in_bytes: [bool; 2],
}

/// An engine that takes steps, *there*, and one whose steps are taken *here*, by its gradients and the host's
/// optimiser.
struct Both<'a> {
    there: &'a mut dyn Stepper,
    here: StepsHere,
    /// The optimisers of both.
    optimizers: [Optimizer; 2],
    data: &'a Dataset,
    /// As they are here.
    parameters: Vec<f32>,
    gradient: Vec<f32>,
}

impl Both<'_> {
    /// Begins, or begins again.
    fn begin(&mut self, parameters: &[f32], optimizer: &Optimizer) {
        self.optimizers = [optimizer.clone(), optimizer.clone()];
        self.parameters.copy_from_slice(parameters);
        assert!(self.there.begin(self.data, parameters, optimizer.moments()));
    }

    /// A step by the engine's gradient.
    fn step_here(&mut self, factor: f64, rows: &[u32], log_p: &mut [f64]) -> (Tally, Stepped) {
        let Both { here, optimizers, data, parameters, gradient, .. } = self;
        let tally = here.gradient(parameters, data, rows, log_p, gradient);
        if !gradient.iter().all(|g| g.is_finite()) {
            return (tally, Stepped::NotTaken);
        }
        match optimizers[1].step(factor, parameters, gradient) {
            true => (tally, Stepped::Taken),
            false => (tally, Stepped::OutOfRange),
        }
    }

    /// The same step there and here, after which all numbers are the same to the bit, unless some are no longer
    /// finite. Returns what became of it.
    fn step(&mut self, factor: f64, rows: &[u32]) -> Result<(Tally, Stepped), String> {
        let (mut log_p, mut log_p_there) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
        let here = self.step_here(factor, rows, &mut log_p);
        let updates = self.optimizers[0].next_step(factor);
        let there = self.there.step(self.data, rows, updates, &mut log_p_there);
        let same = log_p.iter().zip(&log_p_there).all(|(a, b)| a.to_bits() == b.to_bits());
        if there != here || !same {
            return Err(format!("there {there:?}, here {here:?}"));
        }
        let mut parameters = vec![f32::NAN; self.parameters.len()];
        let [optimizer, other] = &mut self.optimizers;
        self.there.read(&mut parameters, optimizer.moments_mut());
        let agree = bits(&parameters) == bits(&self.parameters)
            && optimizer.moments().map(bits) == other.moments().map(bits);
        match agree || here.1 == Stepped::OutOfRange {
            true => Ok(here),
            false => Err(format!("parameters or moments differ, {here:?}")),
        }
    }
}

/// Takes some steps on an engine that takes steps itself, and the same ones by its gradients and the host's
/// optimiser; then some from or to what is not finite. `engine` makes one.
///
/// # Errors
/// Where they differ, in one sentence.
pub fn compare_steps(
    engine: &dyn Fn() -> Box<dyn Executable>,
    (compiled, flat, data): Case<'_>,
    seed: u64,
    seen: &mut Seen,
) -> Result<(), String> {
    let method = METHODS[seed as usize % METHODS.len()];
    // A sum over a batch is large: gradients are, where nothing divides by their size.
    let factor = if matches!(method, Method::Sgd { .. }) { 1e-3 } else { 1.0 };
    let (mut there, here) = (engine(), StepsHere(engine()));
    let Some(there) = there.stepper() else { return Ok(()) };
    let mut optimizer = optimizer(compiled, method);
    let optimizers = [optimizer.clone(), optimizer.clone()];
    let (parameters, gradient) = (vec![0.0; flat.len()], vec![0.0; flat.len()]);
    let mut both = Both { there, here, optimizers, data, parameters, gradient };
    let mut batches = Batches::new(seed, data.rows(), BATCH);
    both.begin(flat, &optimizer);
    for step in 0..4 {
        let stepped = both.step(factor, batches.draw(step));
        let (tally, stepped) = stepped.map_err(|f| format!("seed {seed}, step {step}: {f}"))?;
        seen.tally += tally;
        seen.refused |= stepped == Stepped::NotTaken;
        if stepped != Stepped::Taken {
            break;
        }
    }
    let moments = optimizer.moments().map(|moments| vec![0.25; moments.len()]);
    let [first, second] = moments;
    optimizer.restore(2, first, second);
    let rows = batches.draw(9);
    let nothing = vec![f32::NAN; flat.len()];
    // What was met is forgotten in the end.
    for (start, factor) in [(flat, f64::INFINITY), (&nothing[..], 1.0), (flat, 0.0)] {
        both.begin(start, &optimizer);
        let stepped = both.step(factor, rows);
        stepped.map_err(|f| format!("seed {seed}, {factor} times the step: {f}"))?;
    }
    seen.circuits += 1;
    let mut kinds = data.variables().ids().map(|var| data.variables().kind(var));
    seen.in_bytes[usize::from(!kinds.any(|kind| matches!(kind, VarKind::Real)))] = true;
    Ok(())
}

/// A run that is interrupted after so many steps, if it is: all that it came to, as text.
pub fn run(
    engine: &mut dyn Executable,
    (compiled, flat, data): Case<'_>,
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
    let (parameters, initial) = (&compiled.parameters, flat.to_vec());
    let outcome = fit(engine, parameters, initial, &splits, &options, &mut observer)?;
    let history: Vec<_> =
        outcome.history.iter().map(|r| (r.step, r.batch_ll, r.valid_ll)).collect();
    Ok(format!("{:?} {} {history:?}", bits(&outcome.parameters), outcome.selected_step))
}

/// Whether a run is the same with steps there and here, and stopped twice. `engine` makes one, of any number of
/// threads.
///
/// # Errors
/// Where it differs, in one sentence.
pub fn compare_runs(
    engine: &dyn Fn() -> Box<dyn Executable>,
    case: Case<'_>,
    checkpoint: &Path,
) -> Result<(), String> {
    let ended = |run: Result<String, TrainError>| run.map_err(|error| error.to_string());
    let whole = ended(run(&mut *engine(), case, None, None))?;
    if whole != ended(run(&mut StepsHere(engine()), case, None, None))? {
        return Err("steps there and here differ".into());
    }
    let keep = |resume| Some(Keep { resume, share: 0, ..Keep::new(checkpoint, "a circuit") });
    for stop in [3, 8] {
        let stopped = run(&mut *engine(), case, keep(stop > 3), Some(stop));
        if !matches!(stopped, Err(TrainError::Interrupted { step }) if step == stop) {
            return Err(format!("it did not stop after step {stop}: {stopped:?}"));
        }
    }
    match whole == ended(run(&mut *engine(), case, keep(true), None))? {
        true => Ok(()),
        false => Err("a run that was stopped twice differs".into()),
    }
}

/// The fault that ends a run, which must be the same with steps there and here.
///
/// # Errors
/// Where it differs, in one sentence.
pub fn fault(
    engine: &dyn Fn() -> Box<dyn Executable>,
    case: Case<'_>,
) -> Result<TrainError, String> {
    let there = run(&mut *engine(), case, None, None).map(drop);
    let here = run(&mut StepsHere(engine()), case, None, None).map(drop);
    match (there, here) {
        (Err(there), Err(here)) if there.to_string() == here.to_string() => Ok(there),
        (there, here) => Err(format!("there {there:?}, here {here:?}")),
    }
}
