//! Whether the values of a plan's programs can be shared, and the memory that takes.

use super::layout::{Layout, NARROW, Rows, SLACK, Sizes, WORD};
use super::spaces::spaces;
use super::{LANES, Plan, Program, Purpose, Sharing, Spaces};

/// Bytes of values that a worker may need to share those of a program; beyond it is not shared.
const MOST_BYTES: usize = 64 << 20;
/// Sharing is to save so much at least: cycles are an estimate, and data are interned first, which takes up
/// to an epoch where rows agree little.
const WORTH: f64 = 0.85;
/// Bytes of values that are kept for the way back rather than made again.
const KEPT_BYTES: usize = 64 << 20;

/// The spaces of a program, if its values can be shared in batches of so many rows, and a worker can
/// hold them.
pub(super) fn shared(program: &Program, rows: usize) -> Option<Spaces> {
    // Two entries of a vector each, at the least.
    if program.values.len() * 2 * NARROW * WORD > MOST_BYTES {
        return None;
    }
    let spaces = spaces(program)?;
    let layout = Layout::new(program, &spaces, Rows::unknown(rows, true));
    (WORD * layout.sizes.rows <= MOST_BYTES).then_some(spaces)
}

impl Sizes {
    /// Bytes of values: what a shard keeps, or a worker makes again.
    pub(crate) fn values(&self) -> usize {
        WORD * (self.rows + self.entries + SLACK)
    }

    /// Bytes of one worker besides values.
    pub(crate) fn worker(&self, train: bool) -> usize {
        let gradients = if train { self.rows + SLACK } else { 0 };
        WORD * (3 * self.entries
            + 2 * self.formed
            + self.weights
            + self.bundle
            + SLACK
            + 2 * self.lists
            + gradients)
    }
}

impl Plan {
    /// How the values of a program are laid out for some rows; `None` where they are not to be shared.
    pub(crate) fn layout(&self, program: usize, rows: Rows<'_>) -> Option<Layout> {
        let spaces = self.sharing[program].as_ref()?;
        let layout = Layout::new(&self.programs[program], spaces, rows);
        self.pays(&layout).then_some(layout)
    }

    /// Whether a layout is to be used.
    pub(super) fn pays(&self, layout: &Layout) -> bool {
        match self.policy {
            Sharing::Off => false,
            Sharing::WherePays => {
                let (shared, dense) = layout.cycles(self.purpose == Purpose::Train);
                shared < WORTH * dense
            }
            Sharing::Wherever => true,
        }
    }

    /// What the values of a program take, if they are shared.
    pub(crate) fn sizes(&self, program: usize) -> Option<Sizes> {
        let spaces = self.sharing[program].as_ref()?;
        let layout = |missing| {
            let rows = Rows::unknown(self.shard_rows(), missing);
            Layout::new(&self.programs[program], spaces, rows).sizes
        };
        Some(layout(false).max(layout(true)))
    }

    /// Whether the shared values of all parts are to be kept from the way forward to that back. To read
    /// one again takes less time than to make it again, even where it has left the caches of a core, so
    /// they are unless they would take much memory.
    pub(super) fn may_keep(&self) -> bool {
        let values = |sizes: &Sizes| sizes.values();
        self.purpose == Purpose::Train && self.of_shards(values) <= KEPT_BYTES
    }

    /// What all shards of all parts take together, if one whose program has such sizes takes so much.
    fn of_shards(&self, of_sizes: impl Fn(&Sizes) -> usize) -> usize {
        let of_program = |program| self.sizes(program).map_or(0, |sizes| of_sizes(&sizes));
        let of_program: Vec<usize> = (0..self.programs.len()).map(of_program).collect();
        let parts = self.below_head().iter().map(|part| of_program[part.program as usize]);
        self.shards as usize * parts.sum::<usize>()
    }

    /// Bytes of sharing: of one worker, and of all shards of all parts.
    pub(super) fn sharing_bytes(&self) -> (usize, usize) {
        let train = self.purpose == Purpose::Train;
        let sizes = (0..self.programs.len()).filter_map(|program| self.sizes(program));
        let most = sizes.fold(Sizes::default(), Sizes::max);
        if most == Sizes::default() {
            return (0, 0);
        }
        let once = self.layout_bytes() + self.of_shards(|sizes| WORD * sizes.found);
        if self.keeps {
            return (most.worker(train), once + self.of_shards(Sizes::values));
        }
        (most.worker(train) + most.values(), once)
    }

    /// Bytes of the spaces and layouts of all programs, and of what parts find for each row and space.
    fn layout_bytes(&self) -> usize {
        let rows = self.shard_rows();
        let of_program = |(number, spaces): (usize, &Option<Spaces>)| {
            let Some(spaces) = spaces else { return 0 };
            let program = &self.programs[number];
            let parts = self.below_head().iter().filter(|part| part.program as usize == number);
            let found = WORD * (program.outputs.len() * rows + spaces.spaces.len());
            let layout = |missing| {
                let layout = self.layout(number, Rows::unknown(rows, missing));
                layout.map_or(0, |layout| layout.bytes())
            };
            let layouts = spaces.bytes() + layout(false) + layout(true);
            layouts + parts.count() * self.shards as usize * found
        };
        self.sharing.iter().enumerate().map(of_program).sum()
    }

    /// Rows of the largest shard of a batch.
    pub(crate) fn shard_rows(&self) -> usize {
        self.tiles().div_ceil(self.shards as usize) * LANES
    }
}
