//! What lasts longer than one tile: coefficients, what parts hand to the head and get back, and
//! gradients by coefficients.

use std::ops::Range;

use super::shared::{Found, Shared, ValueBuffers};
use crate::engine::all_below;
use crate::param::normalise::Least;
use crate::plan::{LANES, Part, Plan, Program, Purpose};

/// The numbers of one part, or of the head.
pub(super) struct PartState {
    pub(super) coefficients: Vec<f32>,
    /// How small the coefficients that nothing learns are.
    pub(super) constant_least: Least,
    /// Whether no product of this part can lose a unit under the weights made last.
    pub(super) certified: bool,
    /// Whether none of its weights is zero for ever.
    pub(super) positive: bool,
    pub(super) shards: Vec<Shard>,
}

/// What a part has of a run of tiles.
pub(super) struct Shard {
    /// The tiles, of a full batch.
    pub(super) tiles: Range<usize>,
    /// Units of the outputs, [tiles][units of all outputs][LANES].
    pub(super) outputs: Vec<f32>,
    /// Exponents and bounds of the outputs, [tiles][outputs][LANES].
    pub(super) exponents: Vec<i32>,
    pub(super) bounds: Vec<f32>,
    /// Gradients by coefficients; empty in a plan that only evaluates.
    pub(super) d_coefficients: Vec<f32>,
    /// Partial sums of them, if the plan has them.
    pub(super) partial: Vec<f32>,
    /// The entries of a batch, if values are shared.
    pub(super) found: Option<Found>,
    /// Their values, if they are kept for the way back.
    pub(super) kept: Option<ValueBuffers>,
}

/// Gradients below are far from overflow, also when those of a batch are summed.
const MODERATE: f32 = (1u128 << 100) as f32;

/// Whether a loss is impossible: a chain of coefficients of at least `least` keeps above 2^−100.
fn is_certified(program: &Program, least: Least, has_zeros: bool) -> bool {
    let Some(chain) = program.chain else { return false };
    if least.zero || has_zeros || chain == 0 {
        return chain == 0;
    }
    let bits = if least.weight.is_finite() { (-least.weight.log2()).ceil().max(0.0) } else { 0.0 };
    (bits + 2.0) * chain as f32 <= 100.0
}

impl PartState {
    /// Gradients by some coefficients, once the shards are joined.
    pub(super) fn gradients(&self, range: Range<usize>) -> &[f32] {
        &self.shards[0].d_coefficients[range]
    }

    /// Gradients by all coefficients, once the shards are joined.
    pub(super) fn all_gradients(&self) -> &[f32] {
        &self.shards[0].d_coefficients
    }

    /// Whether the gradients by coefficients are moderate.
    pub(super) fn is_moderate(&self) -> bool {
        self.shards.iter().all(|shard| all_below(&shard.d_coefficients, MODERATE))
    }

    pub(super) fn new(plan: &Plan, part: &Part, shared: Option<&Shared>) -> Self {
        let program = plan.program(part);
        let train = plan.purpose == Purpose::Train;
        let is_head = std::ptr::eq(part, plan.head());
        let units: usize = program
            .outputs
            .iter()
            .map(|&output| program.values[output as usize].units as usize)
            .sum();
        let outputs = program.outputs.len();
        let shard = |tiles: Range<usize>| {
            let rows = if is_head { 0 } else { tiles.len() * LANES };
            Shard {
                outputs: vec![0.0; rows * units],
                exponents: vec![0; rows * outputs],
                bounds: vec![0.0; rows * outputs],
                d_coefficients: vec![0.0; if train { program.coefficients as usize } else { 0 }],
                partial: vec![0.0; if is_head { 0 } else { plan.partial_sums(program) }],
                found: shared.map(|shared| shared.found(program, rows)),
                kept: shared.filter(|_| plan.keeps).map(Shared::kept),
                tiles,
            }
        };
        PartState {
            coefficients: vec![0.0; program.coefficients as usize],
            constant_least: Least::NONE,
            certified: false,
            positive: false,
            shards: shard_tiles(plan).map(shard).collect(),
        }
    }

    /// Room for the numbers of one part after the other, none of more than so many.
    pub(super) fn alone(numbers: usize, train: bool) -> Self {
        let shard = Shard {
            tiles: 0..0,
            outputs: Vec::new(),
            exponents: Vec::new(),
            bounds: Vec::new(),
            d_coefficients: Vec::with_capacity(if train { numbers } else { 0 }),
            partial: Vec::new(),
            found: None,
            kept: None,
        };
        PartState {
            coefficients: Vec::with_capacity(numbers),
            constant_least: Least::NONE,
            certified: false,
            positive: false,
            shards: vec![shard],
        }
    }

    /// Makes place for a part of so many coefficients, whose values are yet to be written.
    pub(super) fn resize(&mut self, numbers: usize) {
        self.coefficients.resize(numbers, 0.0);
        let d_coefficients = &mut self.shards[0].d_coefficients;
        if d_coefficients.capacity() > 0 {
            d_coefficients.resize(numbers, 0.0);
        }
    }

    pub(super) fn certify(&mut self, program: &Program, least: Least, has_zeros: bool) {
        self.certified = is_certified(program, least, has_zeros);
        self.positive = !has_zeros;
    }

    /// Whether values may be shared: if a unit may be lost, entries can say how much that is. Where weights
    /// are zero for ever many entries are zero, and every row that is impossible would be in doubt.
    pub(super) fn may_share(&self) -> bool {
        self.certified || self.positive
    }

    /// Adds the gradients of all shards to the first's, in their order.
    pub(super) fn join_shards(&mut self) {
        let Some((first, rest)) = self.shards.split_first_mut() else { return };
        for shard in rest {
            let pairs = first.d_coefficients.iter_mut().zip(&shard.d_coefficients);
            pairs.for_each(|(sum, &more)| *sum += more);
        }
    }
}

/// The tiles of each shard of a batch.
fn shard_tiles(plan: &Plan) -> impl Iterator<Item = Range<usize>> {
    let (tiles, shards) = (plan.tiles(), plan.shards as usize);
    (0..shards).map(move |shard| tiles * shard / shards..tiles * (shard + 1) / shards)
}

/// What the head has of a run of tiles.
pub(super) struct HeadShard {
    pub(super) tiles: Range<usize>,
    /// ln p of each row of the tiles.
    pub(super) log_p: Vec<f64>,
    /// Rows of the batch that are to be evaluated in the log domain.
    pub(super) in_doubt: Vec<u32>,
    /// Gradients by the outputs of all parts, [tiles][units][LANES].
    gradients: Vec<f32>,
    /// Where each part's outputs begin among the units; one more than parts.
    parts: Vec<usize>,
}

impl HeadShard {
    pub(super) fn all(plan: &Plan) -> Vec<HeadShard> {
        let mut parts = vec![0];
        let mut total = 0;
        for part in plan.below_head() {
            let program = plan.program(part);
            let units = program.outputs.iter().map(|&v| program.values[v as usize].units as usize);
            total += units.sum::<usize>();
            parts.push(total);
        }
        let train = plan.purpose == Purpose::Train;
        let shard = |tiles: Range<usize>| HeadShard {
            log_p: vec![0.0; tiles.len() * LANES],
            in_doubt: Vec::with_capacity(tiles.len() * LANES),
            gradients: vec![0.0; if train { tiles.len() * total * LANES } else { 0 }],
            parts: parts.clone(),
            tiles,
        };
        shard_tiles(plan).map(shard).collect()
    }

    /// Where the gradients by a part's outputs lie, for a tile of this shard counted from zero.
    fn range(&self, tile: usize, part: usize) -> Range<usize> {
        let total = self.parts[self.parts.len() - 1];
        let (start, end) = (self.parts[part], self.parts[part + 1]);
        (tile * total + start) * LANES..(tile * total + end) * LANES
    }

    pub(super) fn gradient(&self, tile: usize, part: usize) -> &[f32] {
        &self.gradients[self.range(tile, part)]
    }

    pub(super) fn gradient_mut(&mut self, tile: usize, part: usize) -> &mut [f32] {
        let range = self.range(tile, part);
        &mut self.gradients[range]
    }

    /// Whether no row is in doubt, and what flows back to the parts is moderate.
    pub(super) fn is_sure(&self) -> bool {
        self.in_doubt.is_empty() && all_below(&self.gradients, MODERATE)
    }

    pub(super) fn clear_gradients(&mut self) {
        self.gradients.fill(0.0);
    }

    /// Copies ln p of its rows out.
    pub(super) fn read(&self, log_p: &mut [f64]) {
        let (start, end) = (self.tiles.start * LANES, (self.tiles.end * LANES).min(log_p.len()));
        if start < end {
            log_p[start..end].copy_from_slice(&self.log_p[..end - start]);
        }
    }
}
