//! Likeliest completions on a device: max-product by logarithms in double precision, as on the processor.
//!
//! Nothing is scaled and nothing lost, so no row is in doubt and the host has nothing to settle.

use super::device::{Device, Kernel};
use super::executable::DeviceExecutable;
use super::passes::Pass;
use super::queries::fill_missing;
use crate::data::Dataset;
use crate::diag::Diagnostic;
use crate::engine::Completions;
use crate::plan::Purpose;

impl<D: Device> DeviceExecutable<D> {
    /// The likeliest completions of some rows; `None` if the plan is not for queries. All is NaN where the device fails.
    pub(super) fn completions_of(&mut self, data: &Dataset, rows: &[u32]) -> Option<Completions> {
        let (width, batch) = (data.columns(), self.layout.plan.batch as usize);
        // A circuit of no variables is walked, as with the processor.
        if self.layout.plan.purpose != Purpose::Query || width == 0 {
            return None;
        }
        self.guarded(&mut [], |this, _| this.launch(0, [Kernel::TakeLogs]).map(|()| 0));
        let mut found = Completions::new(rows.len(), width);
        let Completions { log_best, values, .. } = &mut found;
        let batches = rows.chunks(batch).zip(log_best.chunks_mut(batch));
        for ((rows, log_best), out) in batches.zip(values.chunks_mut(batch * width)) {
            self.guarded(log_best, |this, log_best| this.complete_batch(data, rows, log_best, out));
            self.fault.iter().for_each(|_| out.fill(f32::NAN));
        }
        Some(found)
    }

    /// Completes a batch, none of which is in doubt.
    fn complete_batch(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        log_best: &mut [f64],
        out: &mut [f32],
    ) -> Result<usize, Diagnostic> {
        let in_doubt = self.pass(data, rows, log_best, Pass::Complete)?;
        let (width, pitch) = (data.columns(), self.layout.pitch());
        let mut best = vec![f32::NAN; pitch * width];
        self.download("drawn", &mut best)?;
        let answers = out.chunks_exact_mut(width).zip(log_best).enumerate();
        for (at, (out, log_best)) in answers {
            if *log_best > f64::NEG_INFINITY {
                data.row(rows[at] as usize, out);
                fill_missing(out, |var| best[var * pitch + at]);
            }
        }
        Ok(in_doubt)
    }
}
