//! How a program is laid out when its values are evaluated entry by entry.

use std::ops::Range;

use super::bundles::{Bundle, bundles};
use super::kinds::kinds;
pub(crate) use super::kinds::{Kind, Rows};
use super::placed::placed;
pub(crate) use super::placed::{Form, Placed, Read, Through, Value};
use super::radix::between_tables;
use super::{NOWHERE, Op, Program, Spaces, Step};

/// Units up to which a row of them is [`NARROW`] numbers: a vector of AVX2.
pub(crate) const NARROW: usize = 8;
/// Rows of wider values are padded to so many numbers: a vector of AVX-512.
const WIDE: usize = 16;
/// Bytes of a number.
pub(super) const WORD: usize = 4;
/// Numbers that let a buffer begin on a line of the cache.
pub(crate) const SLACK: usize = 16;
/// Entries whose products are formed at once.
pub(crate) const BLOCK: usize = 32;

/// Places of everything, for a program and a number of rows.
///
/// A value is a matrix [entries][stride], row-major, an entry's units side by side and zeros after
/// them, so that what an entry reads of another is a run of memory, whichever entry it is.
pub(crate) struct Layout {
    /// Whether a row has [`NARROW`] numbers.
    pub(crate) narrow: bool,
    pub(crate) kinds: Vec<Kind>,
    /// The steps, in order.
    pub(crate) steps: Vec<Placed>,
    /// The steps that are evaluated side by side, of batches.
    pub(crate) bundles: Vec<Bundle>,
    /// Those in no bundle, in order; empty where there are no bundles: see [`Layout::single_steps`].
    others: Vec<Placed>,
    /// For each projection between tables, what each entry becomes.
    maps: Vec<Vec<u32>>,
    /// For each table, what a state of each of its columns adds to the entry's number.
    radix: Vec<Vec<u32>>,
    /// Where each projection's results begin that are found batch by batch.
    pub(crate) found: Vec<usize>,
    /// Where each space's list begins.
    pub(crate) lists: Vec<usize>,
    /// The projections from spaces that are no tables, by the space they go to.
    into: Vec<u32>,
    pub(crate) sizes: Sizes,
    /// 0, 1, 2, …
    ramp: Vec<u32>,
    /// Entries of each space that a batch is expected to have.
    pub(super) expected: Vec<f64>,
    /// Different rows that it is expected to have.
    rows: usize,
}

/// Numbers that a program takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Of rows of all values, and of gradients as many.
    pub(crate) rows: usize,
    /// Of scales and exponents.
    pub(crate) entries: usize,
    /// Of results of projections.
    pub(crate) found: usize,
    /// Of lists.
    pub(crate) lists: usize,
    /// Of what a block of entries forms, and of the widest matrix of weights.
    pub(crate) formed: usize,
    pub(crate) weights: usize,
    /// Of what the largest bundle works in.
    pub(crate) bundle: usize,
}

impl Sizes {
    /// The larger of each.
    pub(crate) fn max(self, other: Sizes) -> Sizes {
        Sizes {
            rows: self.rows.max(other.rows),
            entries: self.entries.max(other.entries),
            found: self.found.max(other.found),
            lists: self.lists.max(other.lists),
            formed: self.formed.max(other.formed),
            weights: self.weights.max(other.weights),
            bundle: self.bundle.max(other.bundle),
        }
    }
}

/// Numbers of a row of so many units.
pub(crate) fn stride(narrow: bool, units: usize) -> usize {
    units.next_multiple_of(if narrow { NARROW } else { WIDE })
}

impl Layout {
    /// The layout of a program for such rows.
    pub(crate) fn new(program: &Program, spaces: &Spaces, known: Rows<'_>) -> Self {
        let Rows { most: rows, missing, seen, .. } = known;
        let widest = program.widest().max(program.scratch_rows as usize);
        let narrow = widest <= NARROW;
        let kinds = kinds(program, spaces, known, narrow);
        let most = |(space, kind): (usize, &Kind)| match *kind {
            Kind::Table(entries) => entries as usize,
            Kind::Listed => {
                let domain = spaces.domain(space, missing).unwrap_or(u64::MAX);
                domain.min(rows as u64) as usize
            }
            Kind::Each => rows,
        };
        let most: Vec<usize> = kinds.iter().enumerate().map(most).collect();
        let (radix, maps) = between_tables(spaces, &kinds, missing);
        let mut sizes = Sizes { weights: weights(program, narrow), ..Sizes::default() };
        sizes.formed = BLOCK * stride(narrow, widest);
        let take = |at: &mut usize, count: usize| {
            *at += count;
            *at - count
        };
        let values = values(program, spaces, &most, narrow, &mut sizes);
        let count = |space: usize| match kinds[space] {
            Kind::Table(_) => 0,
            Kind::Listed | Kind::Each => most[space],
        };
        let projections = spaces.projections.iter();
        let found: Vec<usize> =
            projections.map(|pair| take(&mut sizes.found, count(pair.from as usize))).collect();
        // Room for an entry more: see the module that finds them.
        let listed = |space: usize| match kinds[space] {
            Kind::Table(_) => 0,
            Kind::Listed | Kind::Each => most[space] + 1,
        };
        let lists = (0..kinds.len()).map(|space| take(&mut sizes.lists, listed(space))).collect();
        let read = |input: usize| {
            let value = values[program.inputs[input].value as usize];
            let projection = spaces.through[input] as usize;
            let through = if spaces.through[input] == NOWHERE {
                Through::Same
            } else if let Kind::Table(_) = kinds[spaces.projections[projection].from as usize] {
                Through::Map(projection)
            } else {
                Through::Found(projection)
            };
            Read { value, through }
        };
        let step = |step: &Step| placed(step, values[step.output as usize], narrow, read);
        let steps: Vec<Placed> = program.steps.iter().map(step).collect();
        let (bundles, others) = match known.batches {
            true => apart(bundles(&steps, &program.outputs, &kinds, &maps), &steps),
            false => (Vec::new(), Vec::new()),
        };
        sizes.bundle = bundles.iter().map(Bundle::room).max().unwrap_or(0);
        let longest = most.iter().copied().max().unwrap_or(0).max(rows);
        let ramp = (0..longest as u32).collect();
        let each = known.expected as f64;
        let expected = |(space, kind): (usize, &Kind)| match *kind {
            Kind::Table(entries) => f64::from(entries),
            Kind::Listed => seen.map_or(each, |seen| seen[space]),
            Kind::Each => each,
        };
        let expected = kinds.iter().enumerate().map(expected).collect();
        let into = by_target(spaces, &kinds);
        let rows = known.expected;
        Layout {
            narrow,
            steps,
            bundles,
            others,
            maps,
            radix,
            found,
            lists,
            into,
            sizes,
            ramp,
            expected,
            rows,
            kinds,
        }
    }

    /// Cycles that it is expected to take to evaluate the entries of a shard, and its rows.
    ///
    /// They are those of a core with AVX-512, fitted to RAT-SPNs of 5, 16 and 40 units; what counts
    /// is how they compare.
    pub(super) fn cycles(&self, train: bool) -> (f64, f64) {
        // Rows look tables up where they need them.
        let is_lookup = |step: &Placed| matches!(step.form, Form::Lookup { .. } | Form::One);
        let of_row = |step: &Placed| match (is_lookup(step), train) {
            (true, _) => 0.1 * step.work(),
            (false, true) => 10.0 + 0.43 * step.work(),
            (false, false) => 2.0 + 0.104 * step.work(),
        };
        let of_entry = |step: &Placed| {
            let find = match (self.kinds[step.output.space], train) {
                (Kind::Listed, true) => 15.0,
                (Kind::Listed, false) => 5.0,
                (Kind::Table(_) | Kind::Each, _) => 0.0,
            };
            match (is_lookup(step), train) {
                (true, _) => step.work(),
                (false, true) => find + 40.0 + 0.51 * step.work(),
                (false, false) => find + 45.0 + 0.133 * step.work(),
            }
        };
        let expected = |step: &Placed| self.expected[step.output.space] * of_entry(step);
        let shared: f64 = self.single_steps().iter().map(expected).sum();
        let beside: f64 = self.bundles.iter().map(|bundle| bundle.cycles(train)).sum();
        let dense: f64 = self.steps.iter().map(of_row).sum();
        let (shared, dense) = (shared + beside, self.rows as f64 * dense);
        (shared, dense)
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let numbers = |lists: &[Vec<u32>]| {
            let of_list = |list: &Vec<u32>| size_of::<Vec<u32>>() + WORD * list.len();
            lists.iter().map(of_list).sum::<usize>()
        };
        let of_space = size_of::<Kind>() + size_of::<usize>() + size_of::<f64>();
        let bundles = self.bundles.iter().map(|bundle| size_of::<Bundle>() + bundle.bytes());
        (self.steps.len() + self.others.len()) * size_of::<Placed>()
            + bundles.sum::<usize>()
            + numbers(&self.maps)
            + numbers(&self.radix)
            + self.kinds.len() * of_space
            + self.found.len() * size_of::<usize>()
            + self.into.len() * WORD
            + self.ramp.len() * WORD
    }

    /// For each of the first `entries` entries of a step's output, which entry of an input it reads.
    #[inline]
    pub(crate) fn index<'a>(&'a self, read: &Read, found: &'a [u32], entries: usize) -> &'a [u32] {
        match read.through {
            Through::Same => &self.ramp[..entries],
            Through::Map(projection) => &self.maps[projection][..entries],
            Through::Found(projection) => &found[self.found[projection]..][..entries],
        }
    }

    /// What each entry of a table is under a projection to another.
    pub(crate) fn map(&self, projection: usize) -> &[u32] {
        &self.maps[projection]
    }

    /// The steps that are in no bundle, in order.
    pub(crate) fn single_steps(&self) -> &[Placed] {
        if self.bundles.is_empty() { &self.steps } else { &self.others }
    }

    /// Where a step's output lies, of a program whose steps make a value each, in order.
    pub(crate) fn value(&self, id: u32) -> &Value {
        &self.steps[id as usize].output
    }

    /// Where the results of a projection from a listed space lie.
    pub(crate) fn found(&self, projection: usize) -> Range<usize> {
        let end = self.found.get(projection + 1).copied().unwrap_or(self.sizes.found);
        self.found[projection]..end
    }

    /// The projections whose results are found batch by batch, by the space they go to.
    pub(crate) fn by_target(&self) -> &[u32] {
        &self.into
    }

    /// Where the list of a space lies; an empty range for a table.
    pub(crate) fn list(&self, space: usize) -> Range<usize> {
        let end = self.lists.get(space + 1).copied().unwrap_or(self.sizes.lists);
        self.lists[space]..end
    }

    /// Adds up the number of a table's entry from the states of its columns: calls `state` with each
    /// column and what it counts for.
    pub(crate) fn radix<'a>(
        &'a self,
        spaces: &'a Spaces,
        table: usize,
    ) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        spaces.spaces[table].columns.iter().copied().zip(self.radix[table].iter().copied())
    }
}

/// Where the values lie, which have at most so many entries in each space; counted in `sizes`.
fn values(
    program: &Program,
    spaces: &Spaces,
    most: &[usize],
    narrow: bool,
    sizes: &mut Sizes,
) -> Vec<Value> {
    let mut is_read = vec![false; program.values.len()];
    program.inputs.iter().for_each(|input| is_read[input.value as usize] = true);
    // Products of narrow rows are formed in whole groups of entries; what is looked up is not.
    let mut in_groups = vec![narrow; program.values.len()];
    for step in program.steps.iter().filter(|step| matches!(step.op, Op::Lookup { .. } | Op::One)) {
        in_groups[step.output as usize] = false;
    }
    let values = program.values.iter().enumerate();
    values
        .map(|(id, value)| {
            let space = spaces.of_value[id] as usize;
            let (units, most) = (value.units as usize, most[space]);
            let stride = stride(narrow, units);
            let most = if in_groups[id] { most.next_multiple_of(NARROW) } else { most };
            let (rows, entries) = (sizes.rows, sizes.entries);
            sizes.rows += most * stride;
            sizes.entries += most;
            let (learns, is_read) = (value.learns, is_read[id]);
            Value { id, space, rows, stride, units, entries, learns, is_read }
        })
        .collect()
}

/// The bundles, and the steps that are in none if there are some: else that is all of them.
fn apart(
    (bundles, bundled): (Vec<Bundle>, Vec<bool>),
    steps: &[Placed],
) -> (Vec<Bundle>, Vec<Placed>) {
    let mut others = Vec::new();
    if !bundles.is_empty() {
        let single = steps.iter().zip(bundled).filter(|(_, bundled)| !bundled);
        others.extend(single.map(|(&step, _)| step));
        others.shrink_to_fit();
    }
    (bundles, others)
}

/// The projections from spaces that are no tables, by the space they go to.
fn by_target(spaces: &Spaces, kinds: &[Kind]) -> Vec<u32> {
    let is_found = |&projection: &u32| {
        let from = spaces.projections[projection as usize].from as usize;
        !matches!(kinds[from], Kind::Table(_))
    };
    let projections = 0..spaces.projections.len() as u32;
    let mut into: Vec<u32> = projections.filter(is_found).collect();
    into.sort_by_key(|&projection| spaces.projections[projection as usize].to);
    into
}

/// Numbers of the widest matrix of weights, each row padded, either way up.
fn weights(program: &Program, narrow: bool) -> usize {
    let of_step = |step: &Step| {
        let units = program.values[step.output as usize].units as usize;
        match step.op {
            Op::Sum { .. } | Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
                let width = program.formed(step) as usize;
                (units * stride(narrow, width)).max(width * stride(narrow, units))
            }
            _ => 0,
        }
    };
    program.steps.iter().map(of_step).max().unwrap_or(0)
}
