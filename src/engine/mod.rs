//! What an engine is, and the engines.
//!
//! An engine turns a plan into an [`Executable`]; learning, evaluation and benchmarks speak to that
//! trait and know no engine by name. [`mod@reference`] is no such engine: it is the oracle that judges
//! them, walks the circuit itself and knows no plan.

mod conditionals;
mod counts;
pub mod cpu;
pub mod cuda;
mod draws;
pub mod reference;
mod stepper;
mod update;

pub use self::conditionals::Conditionals;
pub use self::counts::Counts;
pub use self::draws::{Completions, Draws};
pub use self::stepper::{Stepped, Stepper};
pub(crate) use self::update::all_below;
pub use self::update::{Update, all_finite};
use crate::data::Dataset;
use crate::diag::Diagnostic;

/// What became of the rows of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows of probability zero.
    pub impossible: usize,
    /// Rows evaluated again in the log domain, because linear arithmetic might have lost a part of
    /// them.
    pub in_logs: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.impossible += other.impossible;
        self.in_logs += other.in_logs;
    }
}

/// Says of rows of which nothing is known that they are certain, and not what the rounding of weights and sums
/// makes of that, where `is_whole` says that no evidence is built in. What is no number stays so.
pub(crate) fn tell_of_nothing(is_whole: bool, data: &Dataset, rows: &[u32], log_p: &mut [f64]) {
    if !is_whole || !data.has_missing() {
        return;
    }
    for (log_p, &row) in log_p.iter_mut().zip(rows) {
        if log_p.is_finite() && data.is_open(row as usize) {
            *log_p = 0.0;
        }
    }
}

/// A compiled circuit, ready to run. It owns its memory, and allocates none while it runs.
pub trait Executable: Send {
    /// Makes the weights of the circuit from the flat buffer of its parameters, for evaluations.
    fn load(&mut self, parameters: &[f32]);

    /// Writes ln p of each of `rows` of `data` to `log_p`, in nats, under the parameters loaded last;
    /// −∞ for an impossible row. Any number of rows.
    fn log_likelihood(&mut self, data: &Dataset, rows: &[u32], log_p: &mut [f64]) -> Tally;

    /// Loads `parameters`, writes ln p of each row to `log_p`, and the gradient of their sum by each
    /// parameter to `gradient`. Impossible rows have no gradient.
    fn gradient(
        &mut self,
        parameters: &[f32],
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
        gradient: &mut [f32],
    ) -> Tally;

    /// Makes ready for batches of rows of these data, again and again: an engine may look for rows that
    /// agree, once, so that each batch takes less. Results do not depend on it, but for rounding. Returns
    /// the bytes that it keeps.
    fn prepare(&mut self, data: &Dataset) -> usize {
        self.prepare_within(data, usize::MAX)
    }

    /// The same, keeping at most `limit` bytes: what would take more is done without. While it works an
    /// engine may hold about as much again. Data that were prepared before stay as they are.
    fn prepare_within(&mut self, _data: &Dataset, _limit: usize) -> usize {
        0
    }

    /// Makes ready for `times` evaluations of all rows of these data, where that is expected to take less
    /// time in all. Results do not depend on it, but for rounding. Returns the bytes that it keeps, those
    /// that it will work in among them.
    fn prepare_evaluations(&mut self, data: &Dataset, times: usize) -> usize {
        if times > 1 { self.prepare(data) } else { 0 }
    }

    /// Why the machine no longer runs it, if so: a device that was lost. From then on ln p is no number.
    fn fault(&self) -> Option<Diagnostic> {
        None
    }

    /// Loads `parameters`, writes ln p of each row to `log_p`, and what the rows are expected to have
    /// counted to `counts`. Impossible rows count for nothing. `None`, and nothing done, by an engine
    /// that does not count.
    fn expected_counts(
        &mut self,
        _parameters: &[f32],
        _data: &Dataset,
        _rows: &[u32],
        _log_p: &mut [f64],
        _counts: &mut Counts<f32>,
    ) -> Option<Tally> {
        None
    }

    /// Every variable's distribution given each of `rows`, under the parameters loaded last: one pass
    /// forward and one back. Any number of rows. `None` by an engine that does not answer this, or was
    /// not planned for [queries](crate::plan::Purpose::Query).
    fn conditionals(&mut self, _data: &Dataset, _rows: &[u32]) -> Option<(Conditionals, Tally)> {
        None
    }

    /// `each` rows drawn given each of `rows`, under the parameters loaded last: one pass forward, and one
    /// tree down for each draw. Draw j given the i-th of `rows` has the random numbers of the stream
    /// i · `each` + j of `seed` ([`row_rng`](crate::sample::row_rng)), or those that a device makes of both
    /// numbers, and depends on nothing else but the plan: a depth-first one takes factors in another order.
    /// [`Tally::in_logs`] counts draws. Any number of rows. `None` as from [`Executable::conditionals`].
    fn draws(
        &mut self,
        _data: &Dataset,
        _rows: &[u32],
        _each: usize,
        _seed: u64,
    ) -> Option<(Draws, Tally)> {
        None
    }

    /// The likeliest completion of each of `rows` that max-product finds, under the parameters loaded last;
    /// of terms that are equally great the first is taken, of equally likely values the least. Any number of
    /// rows. `None` as from [`Executable::conditionals`].
    fn completions(&mut self, _data: &Dataset, _rows: &[u32]) -> Option<Completions> {
        None
    }

    /// The engine as one that takes whole steps of learning; `None` from one that leaves them to its caller.
    fn stepper(&mut self) -> Option<&mut dyn Stepper> {
        None
    }

    /// What the bits of a result depend on besides the inputs: the instruction set, say. A training
    /// run is continued only where this is the same.
    fn arithmetic(&self) -> String;
}
