//! What a person sees of a run of learning: a bar on a terminal, and a line for each evaluation.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::answer::{decimal, to_stderr};
use crate::train::log::JsonLines;
use crate::train::{Event, Observer, Record};

/// Shows the course of a run, and writes its log if there is one.
pub struct Progress<W: Write> {
    bar: ProgressBar,
    log: Option<JsonLines<W>>,
    prefix: String,
}

impl<W: Write> Progress<W> {
    /// A bar that appears with the first event, on a terminal only.
    pub fn new(log: Option<W>) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left");
        // The template is fixed and right; were it not, the bar would only look otherwise.
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Progress { bar, log: log.map(JsonLines::new), prefix: String::new() }
    }

    /// With a word before each line.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = format!("{prefix}  ");
        self
    }

    /// Takes the bar away and closes the log.
    ///
    /// # Errors
    /// When the log could not be written.
    pub fn finish(self) -> io::Result<()> {
        self.bar.finish_and_clear();
        match self.log {
            Some(log) => log.finish()?.flush(),
            None => Ok(()),
        }
    }

    fn evaluated(&self, record: &Record) {
        let number = |value| decimal(value, 4);
        let line = format!(
            "{}step {:>6}  batches {}  valid {}  {:.1} s",
            self.prefix,
            record.step,
            number(record.batch_ll),
            number(record.valid_ll),
            record.seconds
        );
        if self.bar.is_hidden() {
            to_stderr(&format!("{line}\n"));
        } else {
            self.bar.println(line);
        }
    }
}

impl<W: Write> Observer for Progress<W> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Begun { step, steps, .. } => {
                self.bar.set_length(steps);
                self.bar.set_position(step);
            }
            Event::Step { step } => self.bar.set_position(step),
            Event::Evaluated(record) => self.evaluated(record),
            Event::Saved { .. } => {}
        }
        if let Some(log) = &mut self.log {
            log.event(event);
        }
    }
}
