//! What a run tells while it runs, and the log it can be written to.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// One evaluation in the course of learning. Log-likelihoods are means over rows, in nats; `None` when
/// there was no such data, or a row was impossible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done.
    pub step: u64,
    /// Time spent on learning so far.
    pub seconds: f64,
    /// Over the batches since the evaluation before, each under the parameters of its step.
    pub batch_ll: Option<f64>,
    /// Over the validation data.
    pub valid_ll: Option<f64>,
    /// Impossible rows among those batches and the validation data.
    pub impossible_rows: usize,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It begins, or goes on from a checkpoint.
    Begun {
        /// Steps done before.
        step: u64,
        /// Steps to be done in all.
        steps: u64,
        /// The evaluations before.
        history: &'a [Record],
    },
    /// A step is done.
    Step {
        /// Steps done.
        step: u64,
    },
    /// An evaluation is done.
    Evaluated(&'a Record),
    /// A checkpoint is written.
    Saved {
        /// Steps done.
        step: u64,
    },
}

/// Whoever wants to know.
pub trait Observer {
    /// Is told each event.
    fn event(&mut self, event: Event<'_>);
}

impl Observer for () {
    fn event(&mut self, _: Event<'_>) {}
}

impl<F: FnMut(Event<'_>)> Observer for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}

/// A log of JSON lines, a [`Record`] each. A run that goes on from a checkpoint writes the records
/// before it again, so that its log is whole.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> JsonLines<W> {
    /// A log written to `out`, which is to be empty.
    pub fn new(out: W) -> Self {
        JsonLines { out, failed: None }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, record)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Gives `out` back.
    ///
    /// # Errors
    /// The first failure of writing.
    pub fn finish(self) -> io::Result<W> {
        self.failed.map_or(Ok(self.out), Err)
    }
}

impl<W: Write> Observer for JsonLines<W> {
    fn event(&mut self, event: Event<'_>) {
        let records = match event {
            Event::Begun { history, .. } => history,
            Event::Evaluated(record) => std::slice::from_ref(record),
            Event::Step { .. } | Event::Saved { .. } => &[],
        };
        for record in records {
            if self.failed.is_none() {
                self.failed = self.write(record).err();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_line_a_record_and_those_of_before() {
        let record = |step, valid_ll| Record {
            step,
            seconds: 0.5,
            batch_ll: Some(-2.25),
            valid_ll,
            impossible_rows: usize::from(valid_ll.is_none()),
        };
        let mut log = JsonLines::new(Vec::new());
        log.event(Event::Begun { step: 10, steps: 30, history: &[record(10, Some(-1.0))] });
        log.event(Event::Step { step: 11 });
        log.event(Event::Evaluated(&record(20, None)));
        insta::assert_snapshot!(String::from_utf8(log.finish().unwrap()).unwrap(), @r#"
        {"step":10,"seconds":0.5,"batch_ll":-2.25,"valid_ll":-1.0,"impossible_rows":0}
        {"step":20,"seconds":0.5,"batch_ll":-2.25,"valid_ll":null,"impossible_rows":1}
        "#);
    }
}
