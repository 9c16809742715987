//! How the entries of each space are found: as a table of all sub-assignments, in a list of those that a batch has,
//! or row by row.

use super::placed::fits;
use super::{Op, Program, Spaces, Step};

/// Sub-assignments of the largest table.
const LARGEST_TABLE: u64 = 256;
/// A table is evaluated whole if it has at most so many sub-assignments for each that a batch has: to
/// find the ones that are there takes about as long as to evaluate as many.
const SPARSE: f64 = 1.5;
/// Side by side with others its entries take less, about half of what one takes that is found; and
/// what a step by itself takes, whatever its entries, is that of so many more. Of (1.5, 0), (3, 12), (8, 0)
/// and these, steps of training on nltcs, plants, baudio, bbc and ad took least, of 5 units (Zen 4).
const SPARSE_BESIDE: (f64, f64) = (2.0, 12.0);

/// How the entries of a space are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All sub-assignments, an entry each, in the order of their numbers in mixed radix.
    Table(u32),
    /// Those that the batch has, by the numbers that interned data give them.
    Listed,
    /// Each row of the batch is one, whether it agrees with others or not.
    Each,
}

/// The rows that a layout is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// As many as a shard of a batch has at most.
    pub(crate) most: usize,
    /// As many different ones as it is expected to have.
    pub(crate) expected: usize,
    /// Whether some lack values.
    pub(crate) missing: bool,
    /// The distinct sub-assignments of each space that these are expected to have, if that is known.
    pub(crate) seen: Option<&'a [f64]>,
    /// Whether they come batch by batch, so that tables are evaluated side by side where they can.
    pub(crate) batches: bool,
    /// Spaces of smaller numbers are listed if their sub-assignments are too many for a table; others have
    /// an entry a row.
    pub(crate) interned: usize,
}

impl<'a> Rows<'a> {
    /// Whether a space of so many sub-assignments may be a table.
    pub(super) fn may_be_table(&self, domain: u64) -> bool {
        domain <= LARGEST_TABLE.min(self.most as u64)
    }

    /// All rows of a data set, of which `distinct` differ: each entry is evaluated, so nothing has to be
    /// found, and no batch bounds what there is.
    pub(super) fn all(distinct: usize, missing: bool, seen: &'a [f64]) -> Self {
        let most = LARGEST_TABLE as usize;
        let interned = seen.len();
        Rows { most, expected: distinct, missing, seen: Some(seen), batches: false, interned }
    }

    /// Rows of which nothing is known.
    pub(crate) fn unknown(most: usize, missing: bool) -> Self {
        Rows { most, expected: most, missing, seen: None, batches: true, interned: 0 }
    }
}

/// How the entries of each space are found.
pub(super) fn kinds(
    program: &Program,
    spaces: &Spaces,
    known: Rows<'_>,
    narrow: bool,
) -> Vec<Kind> {
    let Rows { missing, seen, .. } = known;
    let beside = spaces_beside(program, spaces, narrow && known.batches);
    let pays = |domain: f64, seen: f64, beside: bool| match beside {
        true => domain <= SPARSE_BESIDE.0 * seen + SPARSE_BESIDE.1,
        false => domain <= SPARSE * seen,
    };
    let kind = |space: usize| {
        let seen = seen.map_or(f64::INFINITY, |seen| seen[space]);
        match spaces.domain(space, missing) {
            // A column's states lie in a table already.
            Some(domain) if spaces.spaces[space].width <= 1 => Kind::Table(domain as u32),
            Some(domain) if known.may_be_table(domain) => {
                match pays(domain as f64, seen, beside[space]) {
                    true => Kind::Table(domain as u32),
                    false => Kind::Listed,
                }
            }
            _ if space < known.interned => Kind::Listed,
            _ => Kind::Each,
        }
    };
    let mut kinds: Vec<Kind> = (0..spaces.spaces.len()).map(kind).collect();
    // What is projected from a table is one.
    for pair in spaces.projections.iter().rev() {
        if let (Kind::Table(_), Some(domain)) =
            (kinds[pair.from as usize], spaces.domain(pair.to as usize, missing))
        {
            kinds[pair.to as usize] = Kind::Table(domain as u32);
        }
    }
    kinds
}

/// The spaces all of whose values may be run side by side, if any may: look-ups, and sums over products
/// that have a kernel of narrow rows.
fn spaces_beside(program: &Program, spaces: &Spaces, may: bool) -> Vec<bool> {
    let mut beside = vec![may; spaces.spaces.len()];
    let units = |value: u32| program.values[value as usize].units as usize;
    let is_beside = |step: &&Step| match step.op {
        Op::Lookup { .. } | Op::One => true,
        Op::ProductSum { .. } => fits(units(program.inputs(step)[0].value), units(step.output)),
        _ => false,
    };
    for step in program.steps.iter().filter(|step| !is_beside(step)) {
        beside[spaces.of_value[step.output as usize] as usize] = false;
    }
    beside
}
