//! Whole steps of learning on a device.
//!
//! Parameters, moments and the data set stay there. All of a step is one sequence of launches, which a device
//! replays at once: the rows of the batch are gathered, weights made, the passes run, and parameters updated. The
//! host sends row numbers and the constants of the update, and reads ln p and what the step has met. Only where rows
//! are in doubt does it stop in between, to add what the log domain says of them.

use super::device::{Device, Kernel};
use super::executable::{DeviceExecutable, upload};
use super::tables::words_of;
use crate::data::Dataset;
use crate::diag::Diagnostic;
use crate::engine::{Stepped, Stepper, Tally, Update};

/// What a step has met, in the order of `Met` of the kernels.
struct Met {
    in_doubt: bool,
    not_finite: bool,
    out_of_range: bool,
}

impl<D: Device> DeviceExecutable<D> {
    /// Takes parameters and moments over, if the device has room for the data. Returns whether it has.
    fn take_over(
        &mut self,
        data: &Dataset,
        parameters: &[f32],
        [first, second]: [&[f32]; 2],
    ) -> Result<bool, Diagnostic> {
        if !self.hold(data)? {
            return Ok(false);
        }
        let zeros = vec![0.0; parameters.len()];
        let second = if second.is_empty() { &zeros } else { second };
        for (name, numbers) in [("parameters", parameters), ("first", first), ("second", second)] {
            let buffer = self.buffer(name);
            upload(&mut self.device, buffer, numbers)?;
        }
        Ok(true)
    }

    /// Reads what a step says.
    fn read_report(&mut self, log_p: &mut [f64]) -> Result<Met, Diagnostic> {
        let mut report = std::mem::take(&mut self.staging.report);
        let read = self.download("log_p", &mut report);
        log_p.copy_from_slice(&report[..log_p.len()]);
        let met = &report[self.layout.pitch()..];
        let [in_doubt, not_finite, out_of_range] = [0, 1, 2].map(|what| met[what] != 0.0);
        self.staging.report = report;
        read.map(|()| Met { in_doubt, not_finite, out_of_range })
    }

    /// Settles the rows in doubt of a step that was not taken for them, and writes what it has then to go on with.
    /// Returns how many there were.
    fn settle_step(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
    ) -> Result<usize, Diagnostic> {
        let mut parameters = std::mem::take(&mut self.staging.parameters);
        let read = self.download("parameters", &mut parameters);
        self.staging.parameters = parameters;
        read?;
        self.staging.host_is_loaded = false;
        self.host.gather_rows(data, rows);
        self.take_gradients()?;
        self.is_in_doubt(rows.len())?;
        let in_logs = self.settle(rows.len(), data.has_missing(), true, log_p);
        let mut gradient = vec![0.0; self.staging.parameters.len()];
        self.download("gradient", &mut gradient)?;
        self.add_settled(&mut gradient);
        self.staging.in_doubt.fill(0);
        self.staging.report.fill(0.0);
        self.staging.report[..rows.len()].copy_from_slice(log_p);
        let [sum, in_doubt, report] =
            ["gradient", "in_doubt", "log_p"].map(|name| self.buffer(name));
        upload(&mut self.device, sum, &gradient)?;
        upload(&mut self.device, in_doubt, &self.staging.in_doubt)?;
        upload(&mut self.device, report, &self.staging.report)?;
        Ok(in_logs)
    }

    fn take_step(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        updates: &[Update],
        log_p: &mut [f64],
    ) -> Result<(usize, Stepped), Diagnostic> {
        assert!(self.draw_from(data), "it has begun with other data");
        self.send_order(rows, updates.iter().flat_map(words))?;
        self.set("train", 1);
        self.launch(rows.len(), Kernel::ALL)?;
        let mut met = self.read_report(log_p)?;
        let mut in_logs = 0;
        if met.in_doubt {
            in_logs = self.settle_step(data, rows, log_p)?;
            self.launch(rows.len(), Kernel::FINISH)?;
            met = self.read_report(log_p)?;
        }
        self.host.tell_of_nothing(data, rows, log_p);
        let stepped = match met {
            Met { not_finite: true, .. } => Stepped::NotTaken,
            Met { out_of_range: true, .. } => Stepped::OutOfRange,
            _ => Stepped::Taken,
        };
        Ok((in_logs, stepped))
    }
}

impl<D: Device> Stepper for DeviceExecutable<D> {
    fn begin(&mut self, data: &Dataset, parameters: &[f32], moments: [&[f32]; 2]) -> bool {
        // A device that is lost has begun: the first step says so.
        let mut begun = true;
        self.guarded(&mut [], |this, _| {
            begun = this.take_over(data, parameters, moments)?;
            Ok(0)
        });
        begun
    }

    fn step(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        updates: &[Update],
        log_p: &mut [f64],
    ) -> (Tally, Stepped) {
        self.takes(rows);
        assert_eq!(updates.len(), self.layout.tensors, "an update for each tensor");
        let mut stepped = Stepped::NotTaken;
        let tally = self.guarded(log_p, |this, log_p| {
            let (in_logs, done) = this.take_step(data, rows, updates, log_p)?;
            stepped = done;
            Ok(in_logs)
        });
        (tally, stepped)
    }

    fn read(&mut self, parameters: &mut [f32], [first, second]: [&mut [f32]; 2]) {
        self.guarded(&mut [], |this, _| {
            this.download("parameters", parameters)?;
            this.download("first", first)?;
            this.download("second", second).map(|()| 0)
        });
    }
}

/// An `Update` of the kernels.
fn words(update: &Update) -> [i32; super::layout::UPDATE] {
    let &Update { rate, decay, shrink, beta1, fresh1, beta2, fresh2, unbias, epsilon, .. } = update;
    let [low, high] = words_of(update.end);
    let [rate, decay, shrink, beta1, fresh1, beta2, fresh2, unbias, epsilon] =
        [rate, decay, shrink, beta1, fresh1, beta2, fresh2, unbias, epsilon]
            .map(|number: f32| number.to_bits() as i32);
    let descends = i32::from(update.descends);
    [low, high, rate, decay, shrink, beta1, fresh1, beta2, fresh2, unbias, epsilon, descends]
}
