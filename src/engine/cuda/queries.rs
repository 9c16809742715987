//! Queries on a device: what rows lack, drawn or told by distributions.
//!
//! A plan for queries keeps all values for a way back that goes to the leaves of variables. To draw, a thread walks
//! it with the units that it has picked; for conditionals, gradients by leaves are flows over the states of what is
//! missing, summed over parts in a fixed order. Neither depends on other rows, nor on batches.

use super::device::Device;
use super::executable::DeviceExecutable;
use super::passes::Pass;
use crate::data::Dataset;
use crate::diag::Diagnostic;
use crate::engine::{Conditionals, Draws, Executable, Tally};
use crate::plan::{Op, Purpose};

/// What became of rows that were drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// ln p of what each row has.
    pub log_p: Vec<f64>,
    /// Of them all.
    pub tally: Tally,
    /// Those of which linear arithmetic may have lost a part, by place: they have not been drawn, and are for a walk
    /// over the circuit in double precision.
    pub in_doubt: Vec<usize>,
}

/// Writes what is missing of a row, NaN, by its variables.
pub(super) fn fill_missing(row: &mut [f32], value: impl Fn(usize) -> f32) {
    let missing = row.iter_mut().enumerate().filter(|(_, value)| value.is_nan());
    missing.for_each(|(var, missing)| *missing = value(var));
}

/// An odd number, multiples of which are seeds far from each other (the golden ratio's, as of SplitMix64).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl<D: Device> DeviceExecutable<D> {
    /// Draws what each of `rows` of `evidence` lacks, given what it has, under the parameters loaded last; any number of
    /// rows, and a row any number of times. Writes them to `out`, `[rows][variables]`. Of a row that is impossible or in
    /// doubt, and of a variable on which the circuit does not depend, what is missing stays NaN.
    ///
    /// A draw follows from `seed` and its number alone, `first` for the first of `rows`, and from the row: neither other
    /// rows nor batches count. To a row's evidence a draw is as likely as the circuit says, but for the rounding of
    /// single precision and 2⁻²⁰, which a row may lack before it is in doubt.
    ///
    /// `None` where the plan is not for [queries](Purpose::Query).
    ///
    /// # Panics
    /// When `out` has another size.
    pub fn draw(
        &mut self,
        evidence: &Dataset,
        rows: &[u32],
        (seed, first): (u64, u64),
        out: &mut [f32],
    ) -> Option<Drawn> {
        if self.layout.plan.purpose != Purpose::Query {
            return None;
        }
        let (width, batch) = (evidence.columns(), self.layout.plan.batch as usize);
        assert_eq!(out.len(), rows.len() * width, "a number for each variable of each row");
        let mut drawn = Drawn { log_p: vec![f64::NAN; rows.len()], ..Drawn::default() };
        for (number, (rows, out)) in
            rows.chunks(batch).zip(out.chunks_mut(batch * width)).enumerate()
        {
            let before = number * batch;
            let draws = (seed, first + before as u64);
            let mut in_doubt = Vec::new();
            let log_p = &mut drawn.log_p[before..before + rows.len()];
            drawn.tally += self.guarded(log_p, |this, log_p| {
                in_doubt = this.draw_batch(evidence, rows, draws, log_p, out)?;
                Ok(in_doubt.len())
            });
            drawn.in_doubt.extend(in_doubt.iter().map(|row| before + row));
            self.fault.iter().for_each(|_| out.fill(f32::NAN));
        }
        Some(drawn)
    }

    /// The same of all rows, `each` times: those in doubt are drawn by the host, each from a seed of its own.
    pub(super) fn draws_of(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        each: usize,
        seed: u64,
    ) -> Option<(Draws, Tally)> {
        let width = data.columns();
        let all: Vec<u32> = rows.iter().flat_map(|&row| std::iter::repeat_n(row, each)).collect();
        let mut out = vec![f32::NAN; all.len() * width];
        let drawn = self.draw(data, &all, (seed, 0), &mut out)?;
        if !drawn.in_doubt.is_empty() {
            self.load_host();
        }
        for &at in &drawn.in_doubt {
            let own = seed.wrapping_add((at as u64 + 1).wrapping_mul(SPREAD));
            let (settled, _) = self.host.draws(data, &all[at..=at], 1, own)?;
            out[at * width..(at + 1) * width].copy_from_slice(settled.of(0));
        }
        let mut found = Draws::new(rows.len(), each, width);
        for row in 0..rows.len() {
            let first = row * each;
            // Where nothing was drawn it is not known.
            let log_p = drawn.log_p.get(first).copied().unwrap_or(f64::NAN);
            found.set(row, log_p, &out[first * width..(first + each) * width]);
        }
        Some((found, drawn.tally))
    }

    /// Draws a batch. Returns the rows in doubt.
    fn draw_batch(
        &mut self,
        evidence: &Dataset,
        rows: &[u32],
        (seed, first): (u64, u64),
        log_p: &mut [f64],
        out: &mut [f32],
    ) -> Result<Vec<usize>, Diagnostic> {
        let parts = self.layout.plan.below_head().len();
        // Parts draw different variables, so each may be a run of its own.
        let numbers = [("seed", seed as usize), ("first_draw", first as usize), ("draws", 1)];
        numbers.into_iter().chain([("runs", parts)]).for_each(|(name, n)| self.set(name, n));
        let in_logs = self.pass(evidence, rows, log_p, Pass::Draw)?;
        let pitch = self.layout.pitch();
        let mut drawn = vec![f32::NAN; pitch * evidence.columns()];
        self.download("drawn", &mut drawn)?;
        let flags = &self.staging.in_doubt[..rows.len()];
        let doubtful = flags.iter().enumerate().filter(|(_, flag)| in_logs > 0 && **flag != 0);
        let in_doubt: Vec<usize> = doubtful.map(|(row, _)| row).collect();
        for (at, (&row, out)) in
            rows.iter().zip(out.chunks_exact_mut(evidence.columns())).enumerate()
        {
            evidence.row(row as usize, out);
            if in_doubt.binary_search(&at).is_err() {
                fill_missing(out, |var| drawn[var * pitch + at]);
            }
        }
        Ok(in_doubt)
    }

    /// The distributions given some rows; `None` if the plan is not for queries, or the circuit has densities or counts.
    pub(super) fn conditionals_of(
        &mut self,
        data: &Dataset,
        rows: &[u32],
    ) -> Option<(Conditionals, Tally)> {
        let plan = &self.layout.plan;
        let mut ops = plan.programs.iter().flat_map(|program| &program.steps).map(|step| step.op);
        let is_density =
            |op| matches!(op, Op::Gaussian { .. } | Op::Poisson { .. } | Op::LogLookup { .. });
        if plan.purpose != Purpose::Query || ops.any(is_density) {
            return None;
        }
        let batch = plan.batch as usize;
        let mut found = Conditionals::new(data.variables(), rows.len());
        let mut log_p = vec![f64::NAN; rows.len()];
        let mut tally = Tally::default();
        for (number, (chunk, log_p)) in rows.chunks(batch).zip(log_p.chunks_mut(batch)).enumerate()
        {
            tally += self.guarded(log_p, |this, log_p| {
                this.tell_batch(data, chunk, log_p, (number * batch, &mut found))
            });
        }
        self.host.tell_of_nothing(data, rows, &mut found.log_p);
        Some((found, tally))
    }

    /// Says what holds given the rows of a batch, from row `first` of what is found on. Returns how many were in doubt.
    fn tell_batch(
        &mut self,
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        (first, found): (usize, &mut Conditionals),
    ) -> Result<usize, Diagnostic> {
        let numbers = [("draws", 0), ("runs", self.layout.runs())];
        numbers.into_iter().for_each(|(name, number)| self.set(name, number));
        self.pass(data, rows, log_p, Pass::Flow)?;
        let pitch = self.layout.pitch();
        let mut flows = vec![0.0f32; pitch * self.layout.states()];
        self.download("d_coefficients", &mut flows)?;
        let mut in_logs = 0;
        for (at, (&row, &log_p)) in rows.iter().zip(log_p.iter()).enumerate() {
            let flow = |state: usize| flows[state * pitch + at].into();
            let is_sure = self.staging.in_doubt[at] == 0
                && self.host.tell_flows((data, row), log_p, flow, (found, first + at));
            if !is_sure {
                self.load_host();
                self.host.tell_in_logs((data, row), (found, first + at));
                in_logs += 1;
            }
        }
        Ok(in_logs)
    }
}
