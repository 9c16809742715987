//! Where a plan shares values, for the data at hand, and what that is expected to save.
//!
//! The choice is the plan's; what is known of the data comes from an engine that has counted them
//! ([`Counts`]). An engine runs what is chosen here, so the text of a choice says what will run. One
//! thing only is known later: a part whose weights are so small that linear arithmetic might lose
//! something is evaluated row by row for as long as they are.

use super::interning::Interning;
use super::layout::{Kind, Layout, Rows};
use super::{Plan, Purpose, Schedule, Sharing, Spaces, cost, spaces};

/// What an engine has counted of a data set.
pub(crate) struct Counts {
    /// Its rows, and how many of them differ.
    pub(crate) rows: usize,
    pub(crate) distinct: usize,
    /// Bytes that the distinct rows take by themselves.
    pub(crate) bytes: usize,
    /// Different rows of a shard of a batch.
    pub(crate) batch: usize,
    /// For each program the distinct sub-assignments of each space that such rows have, a mean over
    /// some of its parts; nothing for a program that shares nothing.
    pub(crate) in_batch: Vec<Vec<f64>>,
    /// For each part below the head those that all rows have; empty where they were not counted.
    pub(crate) in_data: Vec<Vec<usize>>,
}

/// Where values are shared.
pub struct Choice {
    /// What the plan is for.
    pub purpose: Purpose,
    /// Of interned data their rows, how many of them differ, and how many different ones a shard of a
    /// batch has.
    pub rows: Option<[usize; 3]>,
    /// The choice for each program.
    pub programs: Vec<Chosen>,
    /// Bytes that are interned, if that was counted.
    pub bytes: Option<usize>,
}

/// What is chosen for the parts of one program.
pub struct Chosen {
    /// How many parts it has below the head.
    pub parts: usize,
    /// Why it is evaluated row by row, if it is.
    pub unshared: Option<Unshared>,
    /// Its spaces; none where it cannot be shared.
    pub spaces: Vec<ChosenSpace>,
    /// Multiply-adds of all its parts for a batch: of entries, and of different rows, one by one.
    pub multiply_adds: [u64; 2],
    /// Cycles that all its parts are expected to take for a batch, likewise; forward, and to train, back.
    pub cycles: [f64; 2],
    /// Bytes of what its parts intern, if that was counted.
    pub bytes: Option<usize>,
    /// Places of everything, if it is shared.
    pub(crate) layout: Option<Layout>,
}

impl Chosen {
    /// How many bundles of tables there are, and tables in them, if any are evaluated side by side.
    pub fn bundles(&self) -> Option<(usize, usize)> {
        let bundles = &self.layout.as_ref()?.bundles;
        let tables = bundles.iter().map(|bundle| bundle.tables.len()).sum();
        (!bundles.is_empty()).then_some((bundles.len(), tables))
    }
}

/// What is chosen for one space.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenSpace {
    /// Columns of its scope.
    pub width: u32,
    /// Values that have this scope.
    pub values: u32,
    /// How its entries are found.
    pub kind: Kind,
    /// All sub-assignments that there are, if the scope is small.
    pub domain: Option<u64>,
    /// The fewest and the most sub-assignments that the data have, among all parts, if counted.
    pub in_data: Option<[usize; 2]>,
    /// Sub-assignments that a shard of a batch is expected to have.
    pub in_batch: Option<f64>,
}

/// Why rows are evaluated in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unshared {
    /// It was turned off, or the engine has no such thing.
    Off,
    /// The program is the head's alone, which is evaluated for each different row.
    Head,
    /// A depth-first schedule keeps too few values at a time.
    Deep,
    /// There is a step that is no look-up, product or sum over one input.
    Step(&'static str),
    /// Its values would take more memory than a worker may have.
    TooLarge,
    /// It is expected to take longer.
    TakesLonger,
}

impl Plan {
    /// Where values are shared of complete data of which nothing else is known.
    pub fn choice(&self) -> Choice {
        self.choose(None, false, usize::MAX)
    }

    /// Where values are shared of data that have been counted, or of others; `missing` says whether
    /// some lack values. What is interned takes at most `limit` bytes: of a program whose parts would
    /// take more, the widest spaces are not, whose sub-assignments are told most by their rows.
    pub(crate) fn choose(&self, counts: Option<&Counts>, missing: bool, limit: usize) -> Choice {
        let own = counts.map_or(0, |counts| counts.bytes);
        let mut rest = limit.saturating_sub(own);
        let mut choose = |program| {
            let chosen = self.choose_for(program, counts, missing, rest);
            rest = rest.saturating_sub(chosen.bytes.unwrap_or(0));
            chosen
        };
        let programs: Vec<Chosen> = (0..self.programs.len()).map(&mut choose).collect();
        let interned: Option<usize> = programs.iter().map(|program| program.bytes).sum();
        Choice {
            purpose: self.purpose,
            rows: counts.map(|counts| [counts.rows, counts.distinct, counts.batch]),
            bytes: interned.map(|interned| own + interned),
            programs,
        }
    }

    fn choose_for(
        &self,
        program: usize,
        counts: Option<&Counts>,
        missing: bool,
        limit: usize,
    ) -> Chosen {
        let own = |part: &&super::Part| part.program as usize == program;
        let parts = self.below_head().iter().filter(own).count();
        let mut chosen = Chosen {
            parts,
            unshared: self.refusal(program, parts),
            spaces: Vec::new(),
            multiply_adds: [0; 2],
            cycles: [0.0; 2],
            bytes: Some(0),
            layout: None,
        };
        let (Some(spaces), None) = (&self.sharing[program], &chosen.unshared) else {
            return chosen;
        };
        let most = self.shard_rows();
        let seen = counts.map(|counts| &counts.in_batch[program][..]);
        let of_parts = counts.and_then(|counts| self.counted(program, counts));
        let known = Rows {
            most,
            expected: counts.map_or(most, |counts| counts.batch),
            missing,
            seen,
            batches: true,
            interned: if counts.is_some() { spaces.spaces.len() } else { 0 },
        };
        let (layout, bytes) = match (counts, &of_parts) {
            (Some(counts), Some(of_parts)) => {
                let counted = (&of_parts[..], counts.distinct);
                let (layout, bytes) = self.layout_within(program, spaces, known, counted, limit);
                (layout, Some(bytes))
            }
            // Nothing is interned, or nobody asked how much.
            _ => {
                let layout = Layout::new(&self.programs[program], spaces, known);
                (layout, counts.is_none().then_some(0))
            }
        };
        chosen.bytes = bytes;
        chosen.spaces = spaces_of(spaces, &layout, missing, seen, of_parts.as_deref());
        let times = (parts * self.shards as usize) as f64;
        let (shared, dense) = layout.cycles(self.purpose == Purpose::Train);
        chosen.cycles = [shared * times, dense * times];
        chosen.multiply_adds = self.multiply_adds_of(program, &layout, known.expected, times);
        if self.pays(&layout) {
            chosen.layout = Some(layout);
        } else {
            chosen.unshared = Some(Unshared::TakesLonger);
            chosen.bytes = Some(0);
        }
        chosen
    }

    /// The layout for interned rows that interns most in so many bytes, and its bytes.
    fn layout_within(
        &self,
        program: usize,
        spaces: &Spaces,
        known: Rows<'_>,
        (of_parts, distinct): (&[&[usize]], usize),
        limit: usize,
    ) -> (Layout, usize) {
        let program = &self.programs[program];
        let layout = Layout::new(program, spaces, known);
        let rows = (distinct, self.records());
        let interning = Interning::new((program, spaces), (&layout, known), of_parts, rows);
        let (interned, bytes) = interning.within(limit);
        let layout = match interned {
            Some(interned) if interned < spaces.spaces.len() => {
                Layout::new(program, spaces, Rows { interned, ..known })
            }
            Some(_) => layout,
            None => Layout::new(program, spaces, Rows { seen: None, interned: 0, ..known }),
        };
        (layout, bytes)
    }

    /// Whether interned data are recorded row by row too: batches are found of them again and again.
    pub(crate) fn records(&self) -> bool {
        self.purpose == Purpose::Train
    }

    /// Why a program cannot be shared, if so.
    fn refusal(&self, program: usize, parts: usize) -> Option<Unshared> {
        if self.policy == Sharing::Off {
            Some(Unshared::Off)
        } else if parts == 0 {
            Some(Unshared::Head)
        } else if self.schedule == Schedule::Deep {
            Some(Unshared::Deep)
        } else if self.sharing[program].is_some() {
            None
        } else {
            let step = spaces::unshared_step(&self.programs[program]);
            Some(step.map_or(Unshared::TooLarge, |step| Unshared::Step(step.op.name())))
        }
    }

    /// What was counted of the parts of a program, if it was.
    fn counted<'a>(&self, program: usize, counts: &'a Counts) -> Option<Vec<&'a [usize]>> {
        let parts = self.below_head().iter().zip(&counts.in_data);
        let own = parts.filter(|(part, _)| part.program as usize == program);
        let counted: Vec<&[usize]> = own.map(|(_, counts)| &counts[..]).collect();
        (!counted.is_empty()).then_some(counted)
    }

    /// Multiply-adds of the entries of a layout, and of so many rows, `times` over.
    fn multiply_adds_of(
        &self,
        program: usize,
        layout: &Layout,
        rows: usize,
        times: f64,
    ) -> [u64; 2] {
        let program = &self.programs[program];
        let steps = program.steps.iter().zip(&layout.steps);
        let shared = steps.map(|(step, placed)| {
            layout.expected[placed.output.space] * cost::multiply_adds_of(program, step) as f64
        });
        [shared.sum::<f64>(), rows as f64 * program.multiply_adds as f64]
            .map(|count| (count * times).round() as u64)
    }
}

/// What is chosen for each space.
fn spaces_of(
    spaces: &Spaces,
    layout: &Layout,
    missing: bool,
    seen: Option<&[f64]>,
    of_parts: Option<&[&[usize]]>,
) -> Vec<ChosenSpace> {
    let mut values = vec![0; spaces.spaces.len()];
    spaces.of_value.iter().for_each(|&space| values[space as usize] += 1);
    let chosen = |(space, &kind): (usize, &Kind)| {
        let counts = of_parts.map(|parts| parts.iter().map(move |counts| counts[space]));
        ChosenSpace {
            width: spaces.spaces[space].width,
            values: values[space],
            kind,
            domain: spaces.domain(space, missing),
            in_data: counts.and_then(|counts| Some([counts.clone().min()?, counts.max()?])),
            in_batch: seen.map(|seen| seen[space]),
        }
    };
    layout.kinds.iter().enumerate().map(chosen).collect()
}
