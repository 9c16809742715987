//! How many blocks each kernel is launched on, for so many rows.

use super::device::{Kernel, Launch};
use super::layout::{BLOCKS, Layout, Sizes, WORD};
use super::weights::{self, count};
use crate::plan::Purpose;

impl Layout {
    /// The launch of a kernel over `rows` rows of a batch; `None` if it has nothing to do.
    pub(super) fn launch(&self, kernel: Kernel, rows: usize) -> Option<Launch> {
        let Sizes { shards, blocks, network_blocks, .. } = self.sizes;
        let threads = self.specialisation.threads as usize;
        let arenas = self.specialisation.arenas;
        let parts = self.plan.below_head().len();
        let warps = |items: usize| (items.div_ceil(threads / 32), BLOCKS, 0);
        let learned = self.weights.as_ref();
        let rows_of_weights = learned.map_or(0, |made| count(&made.rows, weights::ROW));
        let numbers = |count: usize| (count.div_ceil(threads), BLOCKS, 0);
        let cells = self.sizes.pitch * self.plan.variables.max(1) as usize;
        let (items, most, arena) = match kernel {
            Kernel::GatherRows => numbers(cells),
            Kernel::Inspect => numbers(self.learned().max(rows)),
            Kernel::UpdateParameters => numbers(self.learned()),
            Kernel::MakeLogits | Kernel::LogitsBack => (network_blocks, BLOCKS, arenas.network),
            Kernel::MakeWeights | Kernel::WeightsBack => warps(rows_of_weights),
            Kernel::Certify => warps(learned.map_or(0, |_| self.plan.parts.len())),
            Kernel::SumNetwork => numbers(learned.map_or(0, |made| made.network)),
            Kernel::ForwardParts => (parts * rows.div_ceil(threads), blocks, arenas.parts),
            Kernel::Head => (shards, blocks, arenas.head),
            Kernel::BackwardParts => (parts * shards, blocks, arenas.parts),
            Kernel::TakeLogs | Kernel::BestParts | Kernel::BestHead | Kernel::CompleteParts
                if self.plan.purpose != Purpose::Query =>
            {
                (0, 0, 0)
            }
            Kernel::TakeLogs => numbers(self.tables.coefficients),
            Kernel::BestParts | Kernel::CompleteParts => {
                (parts * rows.div_ceil(threads), blocks, arenas.parts)
            }
            Kernel::BestHead => (rows.div_ceil(threads), blocks, arenas.head),
            Kernel::SumShards => numbers(match self.plan.purpose {
                Purpose::Query => self.states() * self.sizes.pitch,
                Purpose::Evaluate | Purpose::Train => self.tables.coefficients,
            }),
        };
        let shared = if self.specialisation.shared { arena * threads * WORD } else { 0 };
        let (blocks, shared_bytes) = (items.min(most) as u32, shared as u32);
        let threads = self.specialisation.threads;
        (blocks > 0).then_some(Launch { kernel, blocks, threads, shared_bytes })
    }
}
