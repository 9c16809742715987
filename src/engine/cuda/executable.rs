//! A plan, run on a device: the passes over the batch there, the rest on the host.
//!
//! Weights are made, and gradients by coefficients taken back to parameters, by the CPU engine's code; so
//! every parameterizer works. Rows in doubt are settled there too, in the log domain.

use std::sync::Arc;

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::buffers::{self, Content, FIELDS, Field};
use super::device::{Buffer, Device, Kernel};
use super::emit::Specialisation;
use super::tables::Tables;
use crate::compile::Compiled;
use crate::data::Dataset;
use crate::diag::Diagnostic;
use crate::engine::cpu::CpuExecutable;
use crate::engine::{Executable, Tally};
use crate::plan::{Plan, Purpose};

/// A plan, ready to run on a device.
pub struct DeviceExecutable<D> {
    /// Makes weights, and settles rows in doubt. Its plan has one shard.
    host: CpuExecutable,
    device: D,
    plan: Plan,
    specialisation: Specialisation,
    tables: Tables,
    fields: [Field; FIELDS],
    /// The buffer of each field; `None` for numbers.
    buffers: Vec<Option<Buffer>>,
    /// What the kernels are given: addresses and numbers, by field.
    words: Vec<u64>,
    staging: Staging,
    fault: Option<Diagnostic>,
}

/// What is copied to and from the device.
struct Staging {
    coefficients: Vec<f32>,
    certified: Vec<i32>,
    in_doubt: Vec<i32>,
}

impl<D: Device> DeviceExecutable<D> {
    /// Loads a plan of `compiled` on a device whose module was made for `specialisation`.
    ///
    /// # Errors
    /// E0702 for a plan that may not be run; what the device reports.
    pub fn new(
        compiled: Arc<Compiled>,
        plan: Plan,
        specialisation: Specialisation,
        device: D,
        threads: usize,
    ) -> Result<Self, Diagnostic> {
        let tables = Tables::new(&plan);
        let fields = buffers::fields(&plan, &specialisation, &tables);
        let host_plan = Plan { shards: 1, ..plan.clone() };
        let staging = Staging {
            coefficients: vec![0.0; tables.coefficients],
            certified: vec![0; plan.parts.len()],
            in_doubt: vec![0; plan.batch as usize],
        };
        let mut executable = DeviceExecutable {
            host: CpuExecutable::new(compiled, host_plan, threads)?,
            device,
            plan,
            specialisation,
            tables,
            fields,
            buffers: Vec::new(),
            words: Vec::new(),
            staging,
            fault: None,
        };
        executable.allocate()?;
        Ok(executable)
    }

    /// Allocates all buffers, and writes those that never change.
    fn allocate(&mut self) -> Result<(), Diagnostic> {
        let total = buffers::bytes(&self.fields);
        for field in &self.fields {
            self.buffers.push(match field.content {
                Content::Buffer { bytes: 0, .. } | Content::Number(_) => None,
                Content::Buffer { bytes, .. } => {
                    let note = format!("the plan takes {total} bytes on the device in all");
                    Some(self.device.allocate(bytes).map_err(|fault| fault.note(note))?)
                }
            });
        }
        self.words = (self.fields.iter().zip(&self.buffers))
            .map(|(field, buffer)| match field.content {
                Content::Number(number) => number,
                Content::Buffer { .. } => buffer.map_or(0, |buffer| buffer.address),
            })
            .collect();
        for (name, words) in self.tables.words() {
            let field = self.fields.iter().position(|field| field.name == name);
            if let Some(buffer) = field.and_then(|field| self.buffers[field]) {
                self.device.write(buffer, cast_slice(words))?;
            }
        }
        // Rows beyond the batch are evaluated too, and an output that the head does not read has no
        // gradient.
        for name in ["data", "d_handed"] {
            if let Some(buffer) = self.buffer(name) {
                self.device.write(buffer, &vec![0; buffer.bytes])?;
            }
        }
        Ok(())
    }

    fn buffer(&self, name: &str) -> Option<Buffer> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        self.buffers[at]
    }

    /// Changes the number of this name.
    fn set(&mut self, name: &str, number: usize) {
        let at = self.fields.iter().position(|field| field.name == name);
        at.into_iter().for_each(|at| self.words[at] = number as u64);
    }

    /// Copies from the buffer of this name, if the plan has it.
    fn download<T: Pod>(&mut self, name: &str, numbers: &mut [T]) -> Result<(), Diagnostic> {
        match self.buffer(name) {
            Some(buffer) => self.device.read(buffer, cast_slice_mut(numbers)),
            None => Ok(()),
        }
    }

    /// Makes the weights on the host, and copies them.
    fn make_weights(&mut self, parameters: &[f32]) -> Result<(), Diagnostic> {
        self.host.load(parameters);
        for part in 0..self.plan.parts.len() {
            let (coefficients, certified) = self.host.coefficients(part);
            self.tables.spread(part, coefficients, &mut self.staging.coefficients);
            self.staging.certified[part] = i32::from(certified);
        }
        if let Some(buffer) = self.buffer("coefficients") {
            self.device.write(buffer, cast_slice(&self.staging.coefficients))?;
        }
        if let Some(buffer) = self.buffer("certified") {
            self.device.write(buffer, cast_slice(&self.staging.certified))?;
        }
        Ok(())
    }

    /// Launches the kernels of a pass over the first `rows` rows of the batch.
    fn launch(&mut self, rows: usize, train: bool) -> Result<(), Diagnostic> {
        self.set("rows", rows);
        self.set("train", usize::from(train));
        let kernels = if train { &Kernel::ALL[..] } else { &Kernel::ALL[..2] };
        for &kernel in kernels {
            let Self { plan, specialisation, tables, .. } = &*self;
            if let Some(launch) = buffers::launch(kernel, rows, plan, specialisation, tables) {
                self.device.launch(launch, &self.words)?;
            }
        }
        Ok(())
    }

    /// Runs the passes over some rows of the data, and settles those in doubt. Returns how many there were.
    fn pass(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        train: bool,
    ) -> Result<usize, Diagnostic> {
        if let Some(buffer) = self.buffer("data") {
            self.device.write(buffer, cast_slice(self.host.gather_rows(data, rows)))?;
        }
        self.launch(rows.len(), train)?;
        self.download("log_p", log_p)?;
        let mut in_doubt = std::mem::take(&mut self.staging.in_doubt);
        let read = self.download("in_doubt", &mut in_doubt[..rows.len()]);
        self.staging.in_doubt = in_doubt;
        read?;
        if train {
            self.read_gradients()?;
        }
        let in_doubt = self.staging.in_doubt[..rows.len()].iter().zip(0..);
        let in_doubt = in_doubt.filter(|(flag, _)| **flag != 0).map(|(_, row)| row);
        Ok(self.host.settle(in_doubt, rows.len(), data.has_missing(), train, log_p))
    }

    /// Takes the gradients by coefficients from the device.
    fn read_gradients(&mut self) -> Result<(), Diagnostic> {
        let mut d_coefficients = std::mem::take(&mut self.staging.coefficients);
        let read = self.download("d_coefficients", &mut d_coefficients);
        for part in 0..self.plan.parts.len() {
            self.tables.collect(part, &d_coefficients, self.host.d_coefficients(part));
        }
        // The staging of weights keeps zeros between the rows of tables, as this has them.
        self.staging.coefficients = d_coefficients;
        read
    }

    fn step(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Result<usize, Diagnostic> {
        self.make_weights(parameters)?;
        let in_logs = self.pass(data, rows, log_p, true)?;
        self.host.collect_gradients(parameters, gradient);
        Ok(in_logs)
    }

    /// Runs `work` unless the device has failed before. Where it fails, the results are no numbers, and the
    /// fault is kept until it is asked for.
    fn guarded(
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
        let batch = self.plan.batch as usize;
        for (rows, log_p) in rows.chunks(batch).zip(log_p.chunks_mut(batch)) {
            tally += self.guarded(log_p, |this, log_p| this.pass(data, rows, log_p, false));
        }
        tally
    }

    /// # Panics
    /// When the plan is for evaluation only, or there are more rows than its batch.
    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally {
        assert!(self.plan.purpose == Purpose::Train, "a plan for evaluation has no gradients");
        assert!(rows.len() <= self.plan.batch as usize, "more rows than the plan's batch");
        let tally =
            self.guarded(log_p, |this, log_p| this.step(parameters, data, rows, log_p, gradient));
        if self.fault.is_some() {
            gradient.fill(f32::NAN);
        }
        tally
    }

    fn fault(&self) -> Option<Diagnostic> {
        self.fault.clone()
    }

    fn arithmetic(&self) -> String {
        format!("{}, {} threads", self.device.arithmetic(), self.specialisation.threads)
    }
}
