//! Steps of learning that an engine takes, beside those by its gradients and the host's optimiser.

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::{Executable, Stepped, Tally};
use pcc::train::batches::Batches;
use pcc::train::{Group, Method, Optimizer};

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

    fn prepare(&mut self, data: &Dataset) -> usize {
        self.0.prepare(data)
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
    /// What became of their rows.
    pub tally: Tally,
    /// Data sets with real variables, and without.
    pub in_bytes: [bool; 2],
}

/// Takes some steps on an engine that takes steps itself, and the same ones by its gradients and the host's
/// optimiser. `engine` makes one; a case is a circuit, its parameters at first, and data.
///
/// # Errors
/// Where they differ, in one sentence.
pub fn compare_steps(
    engine: &dyn Fn() -> Box<dyn Executable>,
    (compiled, flat, data): (&Compiled, &[f32], &Dataset),
    seed: u64,
    seen: &mut Seen,
) -> Result<(), String> {
    let method = METHODS[seed as usize % METHODS.len()];
    // A sum over a batch is large: gradients are, where nothing divides by their size.
    let factor = if matches!(method, Method::Sgd { .. }) { 1e-3 } else { 1.0 };
    let (mut there, mut here) = (engine(), StepsHere(engine()));
    let (mut there_optimizer, mut optimizer) =
        (optimizer(compiled, method), optimizer(compiled, method));
    let Some(stepper) = there.stepper() else { return Ok(()) };
    stepper.begin(data, flat, there_optimizer.moments());
    let mut batches = Batches::new(seed, data.rows(), BATCH);
    let (mut log_p, mut log_p_there) = (vec![0.0; BATCH], vec![0.0; BATCH]);
    let (mut parameters, mut gradient) = (flat.to_vec(), vec![0.0; flat.len()]);
    for step in 0..4 {
        let rows = batches.draw(step).to_vec();
        let tally = here.gradient(&parameters, data, &rows, &mut log_p, &mut gradient);
        let is_finite = gradient.iter().all(|g| g.is_finite());
        let expected = match is_finite && optimizer.step(factor, &mut parameters, &gradient) {
            true => Stepped::Taken,
            false if is_finite => Stepped::OutOfRange,
            false => Stepped::NotTaken,
        };
        let updates = there_optimizer.next_step(factor);
        let (tally_there, stepped) = stepper.step(data, &rows, updates, &mut log_p_there);
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
    refuses_what_is_not_finite(stepper, data, &mut batches, there, there_optimizer)
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
