//! A batch on a device: its weights are made, its rows go through the passes, and those in doubt are settled on the host.
//!
//! Weights are made where their makers have kernels; else the host makes them by the CPU engine's code, so every
//! parameterizer works. Rows in doubt are settled on the host, in the log domain, by that engine too: then the
//! gradients of these rows, and of no others, come from there.

use super::device::{Device, Kernel};
use super::executable::{DeviceExecutable, Staging, upload};
use super::layout::UPDATE;
use crate::data::Dataset;
use crate::diag::Diagnostic;
use crate::engine::{Counts, Executable};
use crate::plan::Purpose;

/// What is asked of the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// ln p.
    Evaluate,
    /// The gradient by parameters, too.
    Differentiate,
    /// The gradient by coefficients, on the host.
    Count,
    /// What they lack, drawn.
    Draw,
    /// The flows over the states of what they lack.
    Flow,
    /// The greatest tree of each, and its logarithm in place of ln p.
    Complete,
}

impl Pass {
    fn kernels(self) -> &'static [Kernel] {
        match self {
            Pass::Evaluate => &Kernel::EVALUATE,
            Pass::Differentiate => &Kernel::PASSES,
            Pass::Count | Pass::Flow => &Kernel::COUNT,
            Pass::Draw => &Kernel::DRAW,
            Pass::Complete => &Kernel::COMPLETE,
        }
    }
}

impl<D: Device> DeviceExecutable<D> {
    /// Makes the weights, on the device if it can.
    pub(super) fn make_weights(&mut self, parameters: &[f32]) -> Result<(), Diagnostic> {
        self.staging.parameters.copy_from_slice(parameters);
        self.staging.host_is_loaded = false;
        if self.layout.weights.is_none() {
            return self.copy_weights();
        }
        let buffer = self.buffer("parameters");
        upload(&mut self.device, buffer, parameters)?;
        self.launch(0, Kernel::MAKE)
    }

    /// Makes the weights on the host.
    pub(super) fn load_host(&mut self) {
        if !std::mem::replace(&mut self.staging.host_is_loaded, true) {
            self.host.load(&self.staging.parameters);
        }
    }

    /// Makes the weights on the host, and copies them.
    fn copy_weights(&mut self) -> Result<(), Diagnostic> {
        self.load_host();
        for part in 0..self.layout.plan.parts.len() {
            let (coefficients, certified) = self.host.coefficients(part);
            self.layout.tables.spread(part, coefficients, &mut self.staging.coefficients);
            self.staging.certified[part] = i32::from(certified);
            let positive = coefficients.iter().copied().filter(|&number| number > 0.0);
            self.staging.least[part] = positive.fold(f32::INFINITY, f32::min);
        }
        let names = ["coefficients", "certified", "least"];
        let [coefficients, certified, least] = names.map(|name| self.buffer(name));
        upload(&mut self.device, coefficients, &self.staging.coefficients)?;
        upload(&mut self.device, certified, &self.staging.certified)?;
        upload(&mut self.device, least, &self.staging.least)
    }

    /// Runs the passes over some rows of the data, and settles those in doubt. Returns how many there were.
    pub(super) fn pass(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        pass: Pass,
    ) -> Result<usize, Diagnostic> {
        let is_held = self.draw_from(data);
        if is_held {
            let no_updates = std::iter::repeat_n(0, self.layout.updates() * UPDATE);
            self.send_order(rows, no_updates)?;
        } else {
            let buffer = self.buffer("data");
            upload(&mut self.device, buffer, self.host.gather_rows(data, rows))?;
        }
        self.set("train", usize::from(pass != Pass::Evaluate));
        let gather = is_held.then_some(Kernel::GatherRows);
        self.launch(rows.len(), gather.into_iter().chain(pass.kernels().iter().copied()))?;
        self.download("log_p", log_p)?;
        match pass {
            // What is asked of rows in doubt is asked elsewhere.
            Pass::Evaluate | Pass::Draw | Pass::Flow => {}
            // None is in doubt.
            Pass::Complete => return Ok(0),
            Pass::Differentiate => self.take_gradients()?,
            Pass::Count => self.copy_gradients()?,
        }
        let mut in_logs = 0;
        if self.is_in_doubt(rows.len())? {
            if is_held {
                self.host.gather_rows(data, rows);
            }
            let train = matches!(pass, Pass::Differentiate | Pass::Count);
            in_logs = self.settle(rows.len(), data.has_missing(), train, log_p);
        }
        self.host.tell_of_nothing(data, rows, log_p);
        Ok(in_logs)
    }

    /// Reads which rows are in doubt. Returns whether there are any.
    pub(super) fn is_in_doubt(&mut self, rows: usize) -> Result<bool, Diagnostic> {
        let mut in_doubt = std::mem::take(&mut self.staging.in_doubt);
        let read = self.download("in_doubt", &mut in_doubt[..rows]);
        self.staging.in_doubt = in_doubt;
        read?;
        Ok(self.staging.in_doubt[..rows].iter().any(|&flag| flag != 0))
    }

    /// Evaluates the rows in doubt, which have been read, on the host, which has gathered the batch. Returns how
    /// many there were.
    pub(super) fn settle(
        &mut self,
        rows: usize,
        missing: bool,
        train: bool,
        log_p: &mut [f64],
    ) -> usize {
        self.load_host();
        let in_doubt = self.staging.in_doubt[..rows].iter().zip(0..);
        let in_doubt = in_doubt.filter(|(flag, _)| **flag != 0).map(|(_, row)| row);
        self.host.settle(in_doubt, missing, train, log_p)
    }

    /// What the host has of the gradients by coefficients before rows in doubt add theirs: all others' if it
    /// takes them back to parameters, else nothing.
    pub(super) fn take_gradients(&mut self) -> Result<(), Diagnostic> {
        if self.layout.weights.is_none() {
            return self.copy_gradients();
        }
        let parts = 0..self.layout.plan.parts.len();
        parts.for_each(|part| self.host.d_coefficients(part).fill(0.0));
        Ok(())
    }

    /// Copies the gradients by coefficients to the host.
    fn copy_gradients(&mut self) -> Result<(), Diagnostic> {
        let mut d_coefficients = std::mem::take(&mut self.staging.coefficients);
        let read = self.download("d_coefficients", &mut d_coefficients);
        for part in 0..self.layout.plan.parts.len() {
            let own = self.host.d_coefficients(part);
            self.layout.tables.collect(part, &d_coefficients, own);
        }
        // Between the rows of tables there are zeros, as the staging of weights must have them.
        self.staging.coefficients = d_coefficients;
        read
    }

    /// Checks that a gradient can be had of these rows.
    ///
    /// # Panics
    /// When the plan is not to train, or there are more rows than its batch.
    pub(super) fn takes(&self, rows: &[u32]) {
        let plan = &self.layout.plan;
        assert!(plan.purpose == Purpose::Train, "a plan for evaluation has no gradients");
        assert!(rows.len() <= plan.batch as usize, "more rows than the plan's batch");
    }

    pub(super) fn step(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Result<usize, Diagnostic> {
        self.make_weights(parameters)?;
        let in_logs = self.pass(data, rows, log_p, Pass::Differentiate)?;
        if self.layout.weights.is_none() {
            self.host.collect_gradients(parameters, gradient);
            return Ok(in_logs);
        }
        self.download("gradient", gradient)?;
        if in_logs > 0 {
            self.add_settled(gradient);
        }
        Ok(in_logs)
    }

    /// Counts on the host, by weights that it makes, and by what the device has summed and the host has settled.
    pub(super) fn count(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        counts: &mut Counts<f32>,
    ) -> Result<usize, Diagnostic> {
        self.make_weights(parameters)?;
        let in_logs = self.pass(data, rows, log_p, Pass::Count)?;
        self.load_host();
        self.host.collect_counts(counts);
        Ok(in_logs)
    }

    /// Adds what the rows that the host has settled give to a gradient.
    pub(super) fn add_settled(&mut self, gradient: &mut [f32]) {
        let Staging { parameters, gradient: more, .. } = &mut self.staging;
        self.host.collect_gradients(parameters, more);
        gradient.iter_mut().zip(more).for_each(|(sum, &mut more)| *sum += more);
    }
}
