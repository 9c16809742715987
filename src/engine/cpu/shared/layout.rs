//! How a program is laid out when its values are evaluated entry by entry.

use std::ops::Range;

use crate::plan::{Op, Program, Spaces, Step};

/// Sub-assignments of the largest table.
const LARGEST_TABLE: u64 = 32;
/// Units up to which a row of them is [`NARROW`] numbers: a vector of AVX2.
pub(super) const NARROW: usize = 8;
/// Rows of wider values are padded to so many numbers: a vector of AVX-512.
const WIDE: usize = 16;
/// Entries whose products are formed at once.
pub(super) const BLOCK: usize = 32;

/// How the entries of a space are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All sub-assignments, an entry each, in the order of their numbers in mixed radix.
    Table(u32),
    /// Those that the batch has.
    Listed,
}

/// Places of everything, for a program and a number of rows.
///
/// A value is a matrix [entries][stride], row-major, an entry's units side by side and zeros after
/// them, so that what an entry reads of another is a run of memory, whichever entry it is.
pub(in crate::engine::cpu) struct Layout {
    /// Whether a row has [`NARROW`] numbers.
    pub(super) narrow: bool,
    pub(super) kinds: Vec<Kind>,
    /// The steps, in order.
    pub(super) steps: Vec<Placed>,
    /// For each projection between tables, what each entry becomes.
    maps: Vec<Vec<u32>>,
    /// For each table, what a state of each of its columns adds to the entry's number.
    radix: Vec<Vec<u32>>,
    /// Where each projection's results begin that are found batch by batch.
    pub(super) found: Vec<usize>,
    /// Where each space's list begins.
    pub(super) lists: Vec<usize>,
    pub(super) sizes: Sizes,
    /// 0, 1, 2, …
    ramp: Vec<u32>,
}

/// How a step is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The columns of a table [units, states].
    Lookup { table: usize, states: usize },
    /// Ones.
    One,
    /// A product, elementwise or of all pairs.
    Product { pairs: bool },
    /// A sum over an input.
    Sum { weights: usize },
    /// A sum over a product that is formed on the way, by a kernel of its own where one fits.
    ProductSum { weights: usize, narrow: bool },
}

/// A step, with all places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) form: Form,
    pub(super) output: Value,
    /// Its inputs, as many as the form has.
    pub(super) inputs: [Read; 2],
    /// Units of what it forms of its inputs.
    pub(super) width: usize,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) space: usize,
    /// Its first number.
    pub(super) rows: usize,
    /// Numbers of a row.
    pub(super) stride: usize,
    pub(super) units: usize,
    /// Its first scale, and exponent, of one an entry.
    pub(super) entries: usize,
    pub(super) learns: bool,
}

/// An input of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) value: Value,
    through: Through,
}

/// Which entry of an input an entry of the output reads.
#[derive(Clone, Copy, Debug)]
enum Through {
    /// That of its own number.
    Same,
    /// What a projection between tables says.
    Map(usize),
    /// What was found for the batch, from this number on.
    Found(usize),
}

/// Numbers that a program takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::cpu) struct Sizes {
    /// Of rows of all values, and of gradients as many.
    pub(super) rows: usize,
    /// Of scales and exponents.
    pub(super) entries: usize,
    /// Of results of projections.
    pub(super) found: usize,
    /// Of lists.
    pub(super) lists: usize,
    /// Of what a block of entries forms, and of the widest matrix of weights.
    pub(super) formed: usize,
    pub(super) weights: usize,
}

impl Sizes {
    /// The larger of each.
    pub(super) fn max(self, other: Sizes) -> Sizes {
        Sizes {
            rows: self.rows.max(other.rows),
            entries: self.entries.max(other.entries),
            found: self.found.max(other.found),
            lists: self.lists.max(other.lists),
            formed: self.formed.max(other.formed),
            weights: self.weights.max(other.weights),
        }
    }
}

/// Numbers of a row of so many units.
pub(super) fn stride(narrow: bool, units: usize) -> usize {
    units.next_multiple_of(if narrow { NARROW } else { WIDE })
}

impl Layout {
    /// For batches of at most `rows` rows, of which some lack values if `missing` says so.
    pub(super) fn new(program: &Program, spaces: &Spaces, rows: usize, missing: bool) -> Self {
        let widest = program.widest().max(program.scratch_rows as usize);
        let narrow = widest <= NARROW;
        let limit = LARGEST_TABLE.min(rows as u64);
        let kind = |space: usize| match spaces.domain(space, missing) {
            // A column's states lie in a table already.
            Some(domain) if domain <= limit || spaces.spaces[space].width <= 1 => {
                Kind::Table(domain as u32)
            }
            _ => Kind::Listed,
        };
        let kinds: Vec<Kind> = (0..spaces.spaces.len()).map(kind).collect();
        let most = |kind: &Kind| match *kind {
            Kind::Table(entries) => entries as usize,
            Kind::Listed => rows,
        };
        let most: Vec<usize> = kinds.iter().map(most).collect();
        let radix: Vec<Vec<u32>> = (0..kinds.len())
            .map(|space| match kinds[space] {
                Kind::Table(_) => radix(spaces, space, missing),
                Kind::Listed => Vec::new(),
            })
            .collect();
        let map = |projection: &crate::plan::Projection| {
            let (from, to) = (projection.from as usize, projection.to as usize);
            match kinds[from] {
                Kind::Table(entries) => {
                    let columns = |space: usize| &spaces.spaces[space].columns[..];
                    project(entries, (columns(from), &radix[from]), (columns(to), &radix[to]))
                }
                Kind::Listed => Vec::new(),
            }
        };
        let maps: Vec<Vec<u32>> = spaces.projections.iter().map(map).collect();
        let mut sizes = Sizes { weights: weights(program, narrow), ..Sizes::default() };
        sizes.formed = BLOCK * stride(narrow, widest);
        let take = |at: &mut usize, count: usize| {
            *at += count;
            *at - count
        };
        let values = program.values.iter().enumerate();
        let values: Vec<Value> = values
            .map(|(id, value)| {
                let space = spaces.of_value[id] as usize;
                let (units, most) = (value.units as usize, most[space]);
                let stride = stride(narrow, units);
                let (rows, entries) = (sizes.rows, sizes.entries);
                sizes.rows += most * stride;
                sizes.entries += most;
                Value { space, rows, stride, units, entries, learns: value.learns }
            })
            .collect();
        let count = |space: usize| if kinds[space] == Kind::Listed { most[space] } else { 0 };
        let projections = spaces.projections.iter();
        let found: Vec<usize> =
            projections.map(|pair| take(&mut sizes.found, count(pair.from as usize))).collect();
        // Room for an entry more: see the module that finds them.
        let listed = |space: usize| count(space) + usize::from(kinds[space] == Kind::Listed);
        let lists = (0..kinds.len()).map(|space| take(&mut sizes.lists, listed(space))).collect();
        let read = |input: usize| {
            let value = values[program.inputs[input].value as usize];
            let projection = spaces.through[input] as usize;
            let through = if spaces.through[input] == crate::plan::NOWHERE {
                Through::Same
            } else if kinds[spaces.projections[projection].from as usize] == Kind::Listed {
                Through::Found(found[projection])
            } else {
                Through::Map(projection)
            };
            Read { value, through }
        };
        let step = |step: &Step| placed(step, values[step.output as usize], narrow, read);
        let steps = program.steps.iter().map(step).collect();
        let longest = most.iter().copied().max().unwrap_or(0);
        let ramp = (0..longest as u32).collect();
        Layout {
            narrow,
            steps,
            maps,
            radix,
            found,
            lists,
            sizes,
            ramp,
            kinds,
        }
    }

    /// For each of the first `entries` entries of a step's output, which entry of an input it reads.
    #[inline]
    pub(super) fn index<'a>(&'a self, read: &Read, found: &'a [u32], entries: usize) -> &'a [u32] {
        match read.through {
            Through::Same => &self.ramp[..entries],
            Through::Map(projection) => &self.maps[projection][..entries],
            Through::Found(first) => &found[first..first + entries],
        }
    }

    /// Where a step's output lies, of a program whose steps make a value each, in order.
    pub(super) fn value(&self, id: u32) -> &Value {
        &self.steps[id as usize].output
    }

    /// Where the results of a projection from a listed space lie.
    pub(super) fn found(&self, projection: usize) -> Range<usize> {
        let end = self.found.get(projection + 1).copied().unwrap_or(self.sizes.found);
        self.found[projection]..end
    }

    /// Where the list of a space lies; an empty range for a table.
    pub(super) fn list(&self, space: usize) -> Range<usize> {
        let end = self.lists.get(space + 1).copied().unwrap_or(self.sizes.lists);
        self.lists[space]..end
    }

    /// Adds up the number of a table's entry from the states of its columns: calls `state` with each
    /// column and what it counts for.
    pub(super) fn radix<'a>(
        &'a self,
        spaces: &'a Spaces,
        table: usize,
    ) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        spaces.spaces[table].columns.iter().copied().zip(self.radix[table].iter().copied())
    }
}

/// A step with its places; `read` gives those of an input.
fn placed(step: &Step, output: Value, narrow: bool, read: impl Fn(usize) -> Read) -> Placed {
    let inputs = match step.inputs.1 - step.inputs.0 {
        // Not read.
        0 => [Read { value: output, through: Through::Same }; 2],
        1 => [read(step.inputs.0 as usize); 2],
        _ => [read(step.inputs.0 as usize), read(step.inputs.0 as usize + 1)],
    };
    let [a, b] = [inputs[0].value.units, inputs[1].value.units];
    let width = if step.op == Op::Kronecker { a * b } else { a };
    let form = match step.op {
        Op::Lookup { table, states, .. } => {
            Form::Lookup { table: table as usize, states: states as usize }
        }
        Op::One => Form::One,
        Op::Sum { weights } => Form::Sum { weights: weights as usize },
        Op::ProductSum { weights } => {
            let narrow = narrow && super::narrow::fits(width, output.units);
            Form::ProductSum { weights: weights as usize, narrow }
        }
        op => Form::Product { pairs: op == Op::Kronecker },
    };
    Placed { form, output, inputs, width }
}

/// The place values of a space's columns, the last counting for one.
fn radix(spaces: &Spaces, space: usize, missing: bool) -> Vec<u32> {
    let mut place = 1;
    let columns = spaces.spaces[space].columns.iter().rev();
    let mut radix: Vec<u32> = columns
        .map(|&column| {
            let states = spaces.states[column as usize] + u32::from(missing);
            place *= states;
            place / states
        })
        .collect();
    radix.reverse();
    radix
}

/// What each entry of a table is in a table of some of its columns.
fn project(entries: u32, from: (&[u32], &[u32]), to: (&[u32], &[u32])) -> Vec<u32> {
    let kept: Vec<(u32, u32, u32)> = (from.0.iter().enumerate())
        .filter_map(|(at, column)| {
            let kept = to.0.iter().position(|other| other == column)?;
            let above = if at == 0 { entries } else { from.1[at - 1] };
            Some((from.1[at], above / from.1[at], to.1[kept]))
        })
        .collect();
    let entry = |entry: u32| kept.iter().map(|&(place, states, to)| entry / place % states * to).sum();
    (0..entries).map(entry).collect()
}

/// Numbers of the widest matrix of weights, each row padded, either way up.
fn weights(program: &Program, narrow: bool) -> usize {
    let of_step = |step: &crate::plan::Step| {
        let units = program.values[step.output as usize].units as usize;
        let inputs = program.inputs(step);
        match step.op {
            Op::Sum { .. } | Op::ProductSum { .. } => {
                let width = program.values[inputs[0].value as usize].units as usize;
                (units * stride(narrow, width)).max(width * stride(narrow, units))
            }
            _ => 0,
        }
    };
    program.steps.iter().map(of_step).max().unwrap_or(0)
}
