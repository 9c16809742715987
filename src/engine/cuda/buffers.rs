//! The buffers of a plan on a device: what each holds, how large it is, and the words that kernels get.
//!
//! The fields are those of `Buffers` in `kernels/program.cuh`, in its order; a test compares the two.

use super::device::{Kernel, Launch};
use super::emit::Specialisation;
use super::tables::Tables;
use crate::plan::{LANES, Plan, Purpose};

/// What a field of `Buffers` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The address of a buffer of so many bytes. `constant`: no kernel writes it.
    Buffer { bytes: usize, constant: bool },
    /// A number.
    Number(u64),
}

/// Fields of `Buffers`.
pub(super) const FIELDS: usize = 24;

/// A field of `Buffers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) content: Content,
}

/// Blocks that a device runs at once, generously: the largest today have 132 multiprocessors, of which
/// each holds a few blocks of this engine. More work than blocks is gone through in turns.
const BLOCKS: usize = 528;

/// Rows, blocks and shards of a plan's passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Rows of a batch that there is room for.
    pub(super) pitch: usize,
    /// Runs of tiles that gradients are summed over.
    pub(super) shards: usize,
    /// The most blocks of a launch.
    pub(super) blocks: usize,
}

impl Sizes {
    pub(super) fn of(plan: &Plan, specialisation: &Specialisation) -> Self {
        let threads = specialisation.threads as usize;
        let pitch = (plan.batch as usize).next_multiple_of(threads.max(LANES));
        let tiles = pitch / threads;
        let parts = plan.below_head().len().max(1);
        // As many shards as give every block work, no more: each has its gradients by coefficients.
        let shards = BLOCKS.div_ceil(parts).min(tiles);
        let blocks = (parts * tiles).min(BLOCKS);
        Sizes { pitch, shards, blocks }
    }
}

/// The fields of a plan's `Buffers`, for a full batch.
pub(super) fn fields(
    plan: &Plan,
    specialisation: &Specialisation,
    tables: &Tables,
) -> [Field; FIELDS] {
    let Sizes { pitch, shards, blocks } = Sizes::of(plan, specialisation);
    let train = plan.purpose == Purpose::Train;
    let arena = tables.arenas.largest() * specialisation.threads as usize;
    let table = |place: usize| {
        let (name, words) = tables.words()[place];
        let bytes = size_of_val(words);
        Field { name, content: Content::Buffer { bytes, constant: true } }
    };
    let input = |name, words: usize| Field {
        name,
        content: Content::Buffer { bytes: words * WORD, constant: true },
    };
    let made = |name, words: usize| Field {
        name,
        content: Content::Buffer { bytes: words * WORD, constant: false },
    };
    let number = |name, number: usize| Field { name, content: Content::Number(number as u64) };
    let back = usize::from(train);
    [
        table(0),
        table(1),
        table(2),
        table(3),
        input("coefficients", tables.coefficients),
        input("certified", plan.parts.len()),
        input("data", pitch * plan.variables as usize),
        made("handed", tables.handed * pitch),
        made("handed_exponents", tables.outputs * pitch),
        made("handed_bounds", tables.outputs * pitch),
        made("d_handed", back * tables.handed * pitch),
        made("log_p", 2 * pitch),
        made("in_doubt", pitch),
        made("partial", back * shards * tables.coefficients),
        made("d_coefficients", back * tables.coefficients),
        made("workspace", if specialisation.shared { 0 } else { blocks * arena }),
        number("parts_below", plan.below_head().len()),
        number("rows", plan.batch as usize),
        number("pitch", pitch),
        number("variables", plan.variables as usize),
        number("shards", shards),
        number("arena", tables.arenas.largest()),
        number("all_coefficients", tables.coefficients),
        number("train", back),
    ]
}

/// The launch of a kernel over a pass of `rows` rows; `None` if it has nothing to do.
pub(super) fn launch(
    kernel: Kernel,
    rows: usize,
    plan: &Plan,
    specialisation: &Specialisation,
    tables: &Tables,
) -> Option<Launch> {
    let sizes = Sizes::of(plan, specialisation);
    let threads = specialisation.threads as usize;
    let parts = plan.below_head().len();
    let items = match kernel {
        Kernel::ForwardParts => parts * rows.div_ceil(threads),
        Kernel::Head => sizes.shards,
        Kernel::BackwardParts => parts * sizes.shards,
        Kernel::SumShards => tables.coefficients.div_ceil(threads),
    };
    let arena = match kernel {
        Kernel::ForwardParts | Kernel::BackwardParts => tables.arenas.parts,
        Kernel::Head => tables.arenas.head,
        Kernel::SumShards => 0,
    };
    let shared_bytes = if specialisation.shared { arena * threads * WORD } else { 0 } as u32;
    let blocks = items.min(sizes.blocks) as u32;
    let threads = specialisation.threads;
    (blocks > 0).then_some(Launch { kernel, blocks, threads, shared_bytes })
}

/// Bytes of all buffers.
pub(super) fn bytes(fields: &[Field]) -> usize {
    let of = |field: &Field| match field.content {
        Content::Buffer { bytes, .. } => bytes,
        Content::Number(_) => 0,
    };
    fields.iter().map(of).sum()
}

/// Bytes of a number.
const WORD: usize = 4;
