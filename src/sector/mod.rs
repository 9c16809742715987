//! Sectors: the blocks of weights that one call of the parameterizer makes.
//!
//! Sectors are cut before rewriting: the identity of a learnable number is fixed by the circuit as
//! written. A sector is a run of consecutive entries of one weight layer, row-major: the whole layer
//! ([`SectorKind::PerLayer`]), or a piece of one row ([`SectorKind::Slices`]), so that a row, which
//! is one normalisation group, is whole sectors.
//!
//! [`Parameters`] binds the parameterizer to the table and lays out everything a model learns.

mod display;
mod parameters;
mod partition;

pub use self::parameters::{MakerBinding, Parameters, Precision, bind};
pub use self::partition::partition;
use crate::ids::{IdVec, SectorId, WeightsId};
use crate::param::Shape;

/// How weight layers are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SectorKind {
    /// A sector is a weight layer.
    #[default]
    PerLayer,
    /// A sector is so many consecutive entries of one row.
    Slices(u32),
}

/// Who makes a sector's logits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Maker {
    /// The circuit's parameterizer.
    Parameterizer,
    /// Logits of its own.
    Direct,
    /// Nobody: the weights are fixed.
    Frozen,
}

/// One sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sector {
    /// The layer it belongs to.
    pub weights: WeightsId,
    /// Its first entry in that layer, row-major.
    pub first: usize,
    /// Its shape: that of the layer, or 1 × the length of a slice.
    pub shape: Shape,
    /// Consecutive sectors that make up one normalisation group; 1 unless sliced.
    pub span: u32,
    /// Who makes it.
    pub maker: Maker,
    /// Its position among the sectors of its maker.
    pub ordinal: u32,
}

/// The sectors of a circuit, in the order of their layers.
#[derive(Clone, Debug, PartialEq)]
pub struct SectorTable {
    /// How layers were cut.
    pub kind: SectorKind,
    sectors: IdVec<SectorId, Sector>,
    /// First sector of each layer, and one past the last layer's.
    first_of: Vec<u32>,
}

impl SectorTable {
    pub(self) fn new(
        kind: SectorKind,
        sectors: IdVec<SectorId, Sector>,
        first_of: Vec<u32>,
    ) -> Self {
        SectorTable { kind, sectors, first_of }
    }

    /// The sectors.
    pub fn sectors(&self) -> &IdVec<SectorId, Sector> {
        &self.sectors
    }

    /// The sectors of a layer, in the order of its entries.
    pub fn of_weights(&self, weights: WeightsId) -> impl Iterator<Item = SectorId> + use<> {
        let at = weights.0 as usize;
        (self.first_of[at]..self.first_of[at + 1]).map(SectorId)
    }

    /// Number of weight layers.
    pub fn layers(&self) -> usize {
        self.first_of.len() - 1
    }

    /// Shapes of the sectors of one maker, by ordinal.
    pub fn shapes_of(&self, maker: Maker) -> Vec<Shape> {
        let made = self.sectors.values().filter(|sector| sector.maker == maker);
        made.map(|sector| sector.shape).collect()
    }
}
