//! Parameterizers: where the mixture weights come from.
//!
//! A circuit knows the shapes of its weights and nothing of how they are made. A [`Parameterizer`]
//! is bound once to the sectors of a circuit, which fixes the tensors it learns; the [`Generator`] it
//! leaves behind makes the *logits* of any block of sectors on demand, so that an engine can make
//! weights when it needs them and forget them, or run a network over all sectors as one blocked
//! matrix product. The engine owns gathering, the softmax, scattering and the accumulation of tied
//! sectors.
//!
//! Logits are laid out `[sectors of the block][rows][cols]`. Sectors are named by *ordinals*: positions
//! among the sectors that this parameterizer makes, 0 … count − 1.

pub mod direct;
pub mod hyper;
pub mod laws;
pub mod normalise;
pub mod registry;
mod tensors;

use std::fmt;

pub use self::tensors::{Init, TensorSet, TensorSpec};
use crate::diag::Diagnostic;
use crate::real::Real;

/// The shape of a sector's block of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// Rows: units of the sum layer, or 1 for slices.
    pub rows: u32,
    /// Columns: inputs, or the length of a slice.
    pub cols: u32,
}

impl Shape {
    /// rows × cols.
    pub fn len(self) -> usize {
        self.rows as usize * self.cols as usize
    }

    /// Whether it holds no entries.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.rows, self.cols)
    }
}

/// Some sectors of one shape, by ordinal, never splitting a normalisation group.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The shape of each.
    pub shape: Shape,
    /// Which.
    pub sectors: &'a [u32],
}

impl Block<'_> {
    /// Number of logits of the block.
    pub fn len(&self) -> usize {
        self.sectors.len() * self.shape.len()
    }

    /// Whether the block has no sectors.
    pub fn is_empty(&self) -> bool {
        self.sectors.is_empty()
    }
}

/// The tensor of which every sector has a row of its own: an embedding, or the logits themselves.
/// Only a sector's own block reads or writes its row, so gradients need no reduction.
#[derive(Clone, Debug)]
pub struct OwnTensor {
    /// Name, shape, initial values.
    pub spec: TensorSpec,
    /// Where the row of each ordinal begins; one entry more than sectors.
    pub offsets: Vec<usize>,
}

impl OwnTensor {
    /// Rows of one length.
    pub fn uniform(spec: TensorSpec, sectors: usize, row: usize) -> Self {
        OwnTensor { spec, offsets: (0..=sectors).map(|sector| sector * row).collect() }
    }
}

/// Source of a device function that makes a sector's logits inside a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSource {
    /// Names the family of kernels under `kernels/`.
    pub family: String,
    /// Constants the source is specialised by.
    pub constants: Vec<(String, u64)>,
}

/// A parameterizer bound to the sectors of one circuit.
pub struct Bound {
    /// The tensor with a row a sector, if there is one.
    pub own: Option<OwnTensor>,
    /// Tensors that every sector reads.
    pub shared: Vec<TensorSpec>,
    /// L2 that the optimiser adds to the gradient of every learnable tensor of the model, unless the
    /// tensor says otherwise.
    pub decay: f64,
    /// Makes logits in single precision.
    pub single: Box<dyn Generator<f32>>,
    /// Makes them in double precision, for the oracle.
    pub double: Box<dyn Generator<f64>>,
    /// How a device makes them in its kernels; `None`: on the host, and copied.
    pub device: Option<DeviceSource>,
}

/// A way to make mixture weights. Object-safe: a registry holds them by name.
///
/// Laws: binding is a pure function of the shapes; logits
/// are a pure function of the tensors and the sector, the same in any block; the gradient is that of
/// the logits; both precisions agree.
pub trait Parameterizer: Send + Sync + fmt::Debug {
    /// The name, as in RON.
    fn name(&self) -> &str;

    /// Fixes the tensors for sectors of these shapes, by ordinal.
    ///
    /// # Errors
    /// When it cannot make sectors of such shapes.
    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic>;
}

/// Makes the logits of blocks of sectors, and takes their gradient back to the tensors. No state of
/// its own: several threads call it at once.
pub trait Generator<T: Real>: Send + Sync {
    /// Whether the logits of a sector are its row of the own tensor, as they lie.
    fn is_direct(&self) -> bool {
        false
    }

    /// The same generator on tiles, if it works on such: then nothing is turned between it and the softmax.
    fn on_tiles(&self) -> Option<&dyn TileGenerator<T>> {
        None
    }

    /// Numbers of scratch that calls on blocks of `sectors` sectors need.
    fn scratch(&self, sectors: usize) -> usize;

    /// Writes the block's logits to `out`, `[sectors][rows][cols]`. `own` is the whole own tensor,
    /// `shared` the shared tensors one after the other.
    fn logits(&self, own: &[T], shared: &[T], block: Block<'_>, out: &mut [T], scratch: &mut [T]);

    /// Takes `d_logits`, the gradient by the block's logits, back: writes that by the block's own
    /// rows, in the block's order and packed, to `d_own`, and adds that by the shared tensors to
    /// `d_shared`.
    #[allow(clippy::too_many_arguments)]
    fn backward(
        &self,
        own: &[T],
        shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        d_shared: &mut [T],
        scratch: &mut [T],
    );
}

/// A [`Generator`] of which each call works on tiles `[entries of a sector][LANES]`, a sector in each lane:
/// the block's sectors in their order, [`LANES`](crate::simd::LANES) a tile. The last tile may have lanes
/// without a sector, of which logits are any finite numbers, and gradients zero. Its numbers are those of
/// the generator, and so is the scratch that it needs.
pub trait TileGenerator<T: Real>: Send + Sync {
    /// As [`Generator::logits`], to tiles.
    fn tiles(&self, own: &[T], shared: &[T], block: Block<'_>, out: &mut [T], scratch: &mut [T]);

    /// As [`Generator::backward`], from tiles.
    #[allow(clippy::too_many_arguments)]
    fn backward_tiles(
        &self,
        own: &[T],
        shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        d_shared: &mut [T],
        scratch: &mut [T],
    );
}
