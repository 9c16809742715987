//! Whether a data set is evaluated whole: each of its entries once, with nothing to find, after all of
//! it was interned.
//!
//! To intern rows takes about as long as to evaluate them once, so a set that is evaluated a single
//! time is, where its rows agree much. Cycles are those of a core with AVX-512, fitted as those of
//! [`Layout::cycles`] are.

use std::fmt;

use super::layout::{Form, Kind, Layout, Rows};
use super::{Plan, Program, Sharing};

/// Cycles of a step besides those of its entries.
const STEP: f64 = 100.0;
/// Cycles to read a column of a row, and to tell distinct rows by it.
const READ: f64 = 6.0;
/// Cycles to number a row in a listed space, to write what an entry becomes, and to count.
const NUMBERED: f64 = 10.0;
const WRITTEN: f64 = 2.0;
const COUNTED: f64 = 4.0;
/// To find out whether it pays takes at most this share of the time of the rows.
const ASKED: f64 = 0.05;

/// How a data set is evaluated once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluated {
    /// Whole: all rows at once.
    Whole {
        /// Bytes that this takes on one thread.
        bytes: usize,
        /// Programs each of whose entries is evaluated once; rows of others are evaluated one by one.
        programs: Vec<usize>,
    },
    /// Batch by batch.
    InBatches(InBatches),
}

/// Why a data set is not evaluated whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InBatches {
    /// No program shares values.
    NotShared,
    /// To intern all rows is expected to take longer.
    TakesLonger,
    /// It would take more memory than it may.
    TooLarge,
}

impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evaluated::Whole { bytes, programs } => {
                let programs: Vec<String> = programs.iter().map(usize::to_string).collect();
                let s = if programs.len() > 1 { "s" } else { "" };
                let programs = programs.join(", ");
                write!(
                    f,
                    "evaluated once: all rows at once, by entries of program{s} {programs}; "
                )?;
                writeln!(f, "{bytes} bytes on one thread")
            }
            Evaluated::InBatches(why) => {
                let why = match why {
                    InBatches::NotShared => "nothing is shared",
                    InBatches::TakesLonger => "to intern all rows is expected to take longer",
                    InBatches::TooLarge => "all rows at once would take too much memory",
                };
                writeln!(f, "evaluated once: batch by batch, since {why}")
            }
        }
    }
}

/// What is known of a data set when it is decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// Its rows, and how many of them differ.
    pub(crate) rows: usize,
    pub(crate) distinct: usize,
    /// Whether some lack values.
    pub(crate) missing: bool,
    /// The entries of each space that one part of the program has of all rows.
    pub(crate) entries: &'a [f64],
}

/// How the parts of a program are evaluated over a whole data set.
pub(crate) struct Whole {
    /// Places of everything.
    pub(crate) layout: Layout,
    /// Cycles for a part: to intern it, to evaluate its entries, and to evaluate all rows one by one.
    cycles: [f64; 3],
}

impl Plan {
    /// Whether it may pay to find out, for so many evaluations of so many rows: to tell distinct rows and
    /// to count the entries of one part of each program takes little of what the rows do.
    pub(crate) fn may_pay_whole(&self, rows: usize, times: usize) -> bool {
        if rows == 0 || self.policy == Sharing::Wherever {
            return rows > 0;
        }
        let is_shared = |program: usize| self.sharing[program].is_some();
        let of_row = |program: &Program| {
            2.0 * program.steps.len() as f64 + 0.104 * program.multiply_adds as f64
        };
        let parts = self.below_head().iter().filter(|part| is_shared(part.program as usize));
        let evaluated: f64 = parts.map(|part| of_row(self.program(part))).sum();
        let counted = self.sharing.iter().flatten().map(|spaces| spaces.spaces.len());
        let counted = COUNTED * counted.sum::<usize>() as f64;
        let asked = READ * f64::from(self.variables) + counted;
        asked < ASKED * evaluated * times as f64
    }

    /// How the parts of a program are evaluated over a data set; `None` where they cannot be shared.
    pub(crate) fn whole(&self, program: usize, seen: Seen<'_>) -> Option<Whole> {
        let spaces = self.sharing[program].as_ref()?;
        let known = Rows::all(seen.distinct, seen.missing, seen.entries);
        let layout = Layout::new(&self.programs[program], spaces, known);
        let cycles = layout.cycles_whole(seen);
        Some(Whole { layout, cycles })
    }

    /// Whether to do so is expected to take less time than row by row, `times` over.
    pub(crate) fn pays_whole(&self, whole: &Whole, times: usize) -> bool {
        let ([intern, entries, rows], times) = (whole.cycles, times as f64);
        match self.policy {
            Sharing::Off => false,
            Sharing::WherePays => intern + times * entries < times * rows,
            Sharing::Wherever => true,
        }
    }
}

impl Layout {
    /// Cycles of a part: to intern it, to evaluate each of its entries once, and all rows one by one.
    /// Where nothing has to be found, and entries come eight at a time, one costs little more than a row.
    fn cycles_whole(&self, Seen { rows, distinct, .. }: Seen<'_>) -> [f64; 3] {
        let (rows, distinct) = (rows as f64, distinct as f64);
        let of_space = |(space, kind): (usize, &Kind)| match kind {
            Kind::Table(_) => distinct,
            // Where each row has an entry of its own, nothing is looked up.
            _ if self.expected[space] == distinct => WRITTEN * distinct,
            _ => NUMBERED * distinct + WRITTEN * self.expected[space],
        };
        let intern = self.kinds.iter().enumerate().map(of_space).sum();
        let (mut shared, mut dense) = (0.0, 0.0);
        for step in &self.steps {
            let (work, entries) = (step.work(), self.expected[step.output.space]);
            let (entry, row) = match step.form {
                // Rows look tables up where they need them.
                Form::Lookup { .. } | Form::One => (work, 0.1 * work),
                Form::ProductSum { narrow: true, .. } => (6.0 + 0.15 * work, 2.0 + 0.104 * work),
                _ => (40.0 + 0.133 * work, 2.0 + 0.104 * work),
            };
            shared += STEP + entries * entry;
            dense += rows * row;
        }
        [intern, shared, dense]
    }
}
