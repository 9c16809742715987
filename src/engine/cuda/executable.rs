//! A plan, run on a device: its memory there, copies and launches, and what is asked of an engine.

use std::sync::Arc;

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::device::{Buffer, Device, Kernel, Launch};
use super::emit::Specialisation;
use super::held::Held;
use super::layout::{Content, FIELDS, Field, Layout, MET};
use super::passes::Pass;
use crate::compile::Compiled;
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::engine::cpu::CpuExecutable;
use crate::engine::{Completions, Conditionals, Counts, Draws, Executable, Stepper, Tally};
use crate::plan::Plan;

/// A plan, ready to run on a device.
pub struct DeviceExecutable<D> {
    /// Settles rows in doubt, and makes weights that the device cannot. Its plan has one shard.
    pub(super) host: CpuExecutable,
    pub(super) device: D,
    pub(super) layout: Layout,
    fields: [Field; FIELDS],
    /// The buffer of each field; `None` for numbers.
    buffers: [Option<Buffer>; FIELDS],
    /// What the kernels are given: addresses and numbers, by field.
    words: [u64; FIELDS],
    /// The data sets that it was prepared for.
    pub(super) held: Vec<Held>,
    pub(super) staging: Staging,
    pub(super) fault: Option<Diagnostic>,
}

/// What is copied to and from the device, and the host's share of a step.
pub(super) struct Staging {
    pub(super) coefficients: Vec<f32>,
    pub(super) certified: Vec<i32>,
    pub(super) least: Vec<f32>,
    pub(super) in_doubt: Vec<i32>,
    pub(super) parameters: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    /// What a step is told.
    pub(super) order: Vec<i32>,
    /// What it says: ln p of its rows, and what it met.
    pub(super) report: Vec<f64>,
    pub(super) launches: Vec<Launch>,
    /// Whether the host has made the weights of `parameters`.
    pub(super) host_is_loaded: bool,
}

/// Copies to a buffer, if the plan has it.
pub(super) fn upload<T: Pod>(
    device: &mut impl Device,
    buffer: Option<Buffer>,
    numbers: &[T],
) -> Result<(), Diagnostic> {
    buffer.map_or(Ok(()), |buffer| device.write(buffer, cast_slice(numbers)))
}

impl<D: Device> DeviceExecutable<D> {
    /// Loads a layout of `compiled` on a device whose module was made for its specialisation, with fewer blocks and
    /// shards where the device has not the memory free for all. The host uses `threads` threads; 0 for as many as it
    /// has.
    ///
    /// # Errors
    /// E0702 for a plan that may not be run, E0705 for one that takes more memory at least than is free; what the
    /// device reports.
    pub fn new(
        compiled: Arc<Compiled>,
        mut layout: Layout,
        device: D,
        threads: usize,
    ) -> Result<Self, Diagnostic> {
        let free = device.free()?;
        layout.fit(free).map_err(|least| {
            let message = format!(
                "the plan takes {least} bytes on the device at least, which has {free} bytes free"
            );
            Diagnostic::new(Code::E0705, message)
                .help("take smaller batches, or use `--engine cpu`")
        })?;
        let parameters = compiled.parameters.tensors().len();
        let mut host = Plan { shards: 1, ..layout.plan.clone() };
        host.sharing.iter_mut().for_each(|spaces| *spaces = None);
        let staging = Staging {
            coefficients: layout.constants.clone(),
            certified: vec![0; layout.plan.parts.len()],
            least: vec![0.0; layout.plan.parts.len()],
            in_doubt: vec![0; layout.plan.batch as usize],
            parameters: vec![0.0; parameters],
            gradient: vec![0.0; parameters],
            order: Vec::with_capacity(layout.order()),
            report: vec![0.0; layout.pitch() + MET],
            launches: Vec::with_capacity(Kernel::ALL.len()),
            host_is_loaded: false,
        };
        let mut executable = DeviceExecutable {
            host: CpuExecutable::new(compiled, host, threads)?,
            device,
            fields: layout.fields(),
            layout,
            buffers: [None; FIELDS],
            words: [0; FIELDS],
            held: Vec::new(),
            staging,
            fault: None,
        };
        executable.allocate()?;
        executable.fill()?;
        Ok(executable)
    }

    /// Allocates all buffers.
    fn allocate(&mut self) -> Result<(), Diagnostic> {
        let total = self.layout.bytes();
        for (at, field) in self.fields.iter().enumerate() {
            match field.content {
                Content::Number(number) => self.words[at] = number,
                Content::Buffer { bytes: 0, .. } => {}
                Content::Buffer { bytes, .. } => {
                    let note = format!("the plan takes {total} bytes on the device in all");
                    let buffer = self.device.allocate(bytes).map_err(|fault| fault.note(note))?;
                    self.words[at] = buffer.address;
                    self.buffers[at] = Some(buffer);
                }
            }
        }
        Ok(())
    }

    /// Writes what never changes, and what must be there before it is first made.
    fn fill(&mut self) -> Result<(), Diagnostic> {
        for (name, words) in self.layout.words() {
            let at = self.fields.iter().position(|field| field.name == name);
            if let Some(buffer) = at.and_then(|at| self.buffers[at]) {
                self.device.write(buffer, cast_slice(words))?;
            }
        }
        // Rows beyond the batch are evaluated too; an output that the head does not read has no gradient, nor
        // has a parameter that nothing reads.
        for name in ["data", "d_handed", "gradient"] {
            if let Some(buffer) = self.buffer(name) {
                self.device.write(buffer, &vec![0; buffer.bytes])?;
            }
        }
        // Nothing is picked and nothing drawn: −1, and no number.
        for name in ["picked", "drawn"] {
            if let Some(buffer) = self.buffer(name) {
                self.device.write(buffer, &vec![u8::MAX; buffer.bytes])?;
            }
        }
        match self.buffer("coefficients") {
            Some(buffer) => self.device.write(buffer, cast_slice(&self.layout.constants)),
            None => Ok(()),
        }
    }

    pub(super) fn buffer(&self, name: &str) -> Option<Buffer> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        self.buffers[at]
    }

    /// Gives the field of this name another buffer.
    pub(super) fn replace(&mut self, name: &str, buffer: Buffer) {
        if let Some(at) = self.fields.iter().position(|field| field.name == name) {
            self.buffers[at] = Some(buffer);
            self.words[at] = buffer.address;
        }
    }

    /// Changes the number of this name.
    pub(super) fn set(&mut self, name: &str, number: usize) {
        let at = self.fields.iter().position(|field| field.name == name);
        at.into_iter().for_each(|at| self.words[at] = number as u64);
    }

    /// Copies from the buffer of this name, if the plan has it.
    pub(super) fn download<T: Pod>(
        &mut self,
        name: &str,
        numbers: &mut [T],
    ) -> Result<(), Diagnostic> {
        match self.buffer(name) {
            Some(buffer) => self.device.read(buffer, cast_slice_mut(numbers)),
            None => Ok(()),
        }
    }

    /// Launches some kernels, those that have something to do, for `rows` rows of a batch.
    pub(super) fn launch(
        &mut self,
        rows: usize,
        kernels: impl IntoIterator<Item = Kernel>,
    ) -> Result<(), Diagnostic> {
        self.set("rows", rows);
        let kernels = kernels.into_iter();
        let launches = kernels.filter_map(|kernel| self.layout.launch(kernel, rows));
        self.staging.launches.clear();
        self.staging.launches.extend(launches);
        self.device.launch(&self.staging.launches, &self.words)
    }

    /// Runs `work` unless the device has failed before. Where it fails, the results are no numbers, and the
    /// fault is kept until it is asked for.
    pub(super) fn guarded(
        &mut self,
        log_p: &mut [f64],
        work: impl FnOnce(&mut Self, &mut [f64]) -> Result<usize, Diagnostic>,
    ) -> Tally {
        let done = match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => work(self, log_p),
        };
        match done {
            Ok(in_logs) => {
                let impossible = log_p.iter().filter(|&&log| log == f64::NEG_INFINITY).count();
                Tally { impossible, in_logs }
            }
            Err(fault) => {
                log_p.fill(f64::NAN);
                self.fault = Some(fault);
                Tally::default()
            }
        }
    }
}

impl<D: Device> Executable for DeviceExecutable<D> {
    fn load(&mut self, parameters: &[f32]) {
        self.guarded(&mut [], |this, _| this.make_weights(parameters).map(|()| 0));
    }

    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally {
        let mut tally = Tally::default();
        let batch = self.layout.plan.batch as usize;
        for (rows, log_p) in rows.chunks(batch).zip(log_p.chunks_mut(batch)) {
            tally +=
                self.guarded(log_p, |this, log_p| this.pass(data, rows, log_p, Pass::Evaluate));
        }
        tally
    }

    /// # Panics
    /// When the plan is not to train, or there are more rows than its batch.
    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        self.takes(rows);
        let work =
            |this: &mut Self, log_p: &mut [f64]| this.step(parameters, data, rows, log_p, gradient);
        let tally = self.guarded(log_p, work);
        self.fault.iter().for_each(|_| gradient.fill(f32::NAN));
        tally
    }

    /// # Panics
    /// When the plan is not to train, or there are more rows than its batch.
    fn expected_counts(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        counts: &mut Counts<f32>,
    ) -> Option<Tally> {
        self.takes(rows);
        let work =
            |this: &mut Self, log_p: &mut [f64]| this.count(parameters, data, rows, log_p, counts);
        let tally = self.guarded(log_p, work);
        self.fault.iter().for_each(|_| counts.fill(f32::NAN));
        Some(tally)
    }

    /// Copies the data to the device, and keeps nothing in the memory of the host. Where they do not fit, batches are
    /// copied as before.
    fn prepare_within(&mut self, data: &Dataset, _limit: usize) -> usize {
        if self.fault.is_none() {
            let _ = self.hold(data);
        }
        0
    }

    /// `None` where the circuit has densities or counts, too.
    fn conditionals(&mut self, data: &Dataset, rows: &[u32]) -> Option<(Conditionals, Tally)> {
        self.conditionals_of(data, rows)
    }

    /// By numbers of the device's own: other rows than the CPU engine's, of the same distribution.
    fn draws(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        each: usize,
        seed: u64,
    ) -> Option<(Draws, Tally)> {
        self.draws_of(data, rows, each, seed)
    }

    fn completions(&mut self, data: &Dataset, rows: &[u32]) -> Option<Completions> {
        self.completions_of(data, rows)
    }

    fn fault(&self) -> Option<Diagnostic> {
        self.fault.clone()
    }

    /// None where the host makes the weights: it needs the parameters for that in each step.
    fn stepper(&mut self) -> Option<&mut dyn Stepper> {
        self.layout.weights.is_some().then_some(self as &mut dyn Stepper)
    }

    fn arithmetic(&self) -> String {
        let Specialisation { threads, precision, .. } = &self.layout.specialisation;
        let [shards, networks] = self.layout.sums();
        let (device, precision) = (self.device.arithmetic(), precision.name());
        format!("{device}, {threads} threads, {precision}, {shards} + {networks} sums")
    }
}
