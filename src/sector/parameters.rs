//! Everything a model learns: the parameterizer's tensors, direct logits and leaf parameters, in one
//! flat buffer, and the way from that buffer to the numbers of the circuit and back.
//!
//! The two functions here, [`Parameters::values`] and [`Parameters::gradient`], define what an engine
//! computes; they are generic and plain, and the oracle runs on them in f64. Engines make the same
//! weights block by block, as their plan has it.

use std::ops::Range;

use super::{Maker, SectorTable};
use crate::circuit::{ValidCircuit, Values, WeightSource};
use crate::diag::{Diagnostic, Diagnostics};
use crate::ids::{DistId, Id, IdVec, SectorId};
use crate::leaf::discrete::ZERO_LOGIT;
use crate::leaf::{Dist, Family};
use crate::param::direct::Direct;
use crate::param::normalise::{softmax, softmax_backward};
use crate::param::{Block, Bound, Generator, Init, Parameterizer, Shape, TensorSet, TensorSpec};
use crate::real::Real;

/// The choice between the two precisions of a [`Bound`] parameterizer.
pub trait Precision: Real {
    /// The generator of this precision.
    fn generator(bound: &Bound) -> &dyn Generator<Self>;
}

impl Precision for f32 {
    fn generator(bound: &Bound) -> &dyn Generator<f32> {
        bound.single.as_ref()
    }
}

impl Precision for f64 {
    fn generator(bound: &Bound) -> &dyn Generator<f64> {
        bound.double.as_ref()
    }
}

/// One maker of logits: its generator, its sectors, and where its tensors lie in the flat buffer.
pub struct MakerBinding {
    /// Which maker.
    pub maker: Maker,
    /// The bound parameterizer.
    pub bound: Bound,
    /// The own tensor; empty if there is none.
    pub own: Range<usize>,
    /// The shared tensors, one after the other; empty if there are none.
    pub shared: Range<usize>,
    /// The sectors it makes, by ordinal.
    pub sectors: Vec<SectorId>,
}

impl MakerBinding {
    /// Whether each logit is a parameter of its own, so that normalisation groups can be learned
    /// apart. The own tensor then has them in the order of the sectors.
    pub fn is_direct(&self) -> bool {
        self.bound.single.is_direct() && self.shared.is_empty()
    }

    /// Where the own row of the sector of this ordinal lies in the flat buffer.
    pub fn own_row(&self, ordinal: u32) -> Range<usize> {
        match &self.bound.own {
            Some(own) => {
                let at = ordinal as usize;
                self.own.start + own.offsets[at]..self.own.start + own.offsets[at + 1]
            }
            None => 0..0,
        }
    }
}

/// What a model learns, and how that becomes the numbers of its circuit.
pub struct Parameters {
    table: SectorTable,
    tensors: TensorSet,
    makers: Vec<MakerBinding>,
    leaves: IdVec<DistId, Range<usize>>,
    families: IdVec<DistId, Family>,
    decay: f64,
}

/// Binds the parameterizer to its sectors and lays out all tensors: the parameterizer's, then the
/// direct logits, then a tensor a family of leaves.
///
/// # Errors
/// What the parameterizer says of shapes that it cannot make.
pub fn bind(
    circuit: &ValidCircuit,
    table: SectorTable,
    parameterizer: &dyn Parameterizer,
) -> Result<Parameters, Diagnostics> {
    let mut tensors = TensorSet::new();
    let mut makers = Vec::new();
    let bound = parameterizer.bind(&table.shapes_of(Maker::Parameterizer))?;
    let decay = bound.decay;
    makers.extend(place(&mut tensors, &table, Maker::Parameterizer, bound));
    let direct = direct_bound(circuit, &table)?;
    makers.extend(place(&mut tensors, &table, Maker::Direct, direct));
    let leaves = place_leaves(&mut tensors, circuit.dists());
    let families = circuit.dists().values().map(|dist| dist.family).collect();
    Ok(Parameters { table, tensors, makers, leaves, families, decay })
}

/// The direct logits: drawn, or the logarithms of the weights that the author gave.
fn direct_bound(circuit: &ValidCircuit, table: &SectorTable) -> Result<Bound, Diagnostic> {
    let mut bound = Direct.bind(&table.shapes_of(Maker::Direct))?;
    if let Some(own) = &mut bound.own {
        own.spec.name = "direct".into();
        if circuit.weights().values().any(|w| matches!(w.source, WeightSource::Given(_))) {
            own.spec.init = Init::Mixed(given_logits(circuit, table, own.spec.len()));
        }
    }
    Ok(bound)
}

/// The logit of each given weight, `None` where it is to be drawn, by place in the direct tensor.
fn given_logits(circuit: &ValidCircuit, table: &SectorTable, len: usize) -> Vec<Option<f64>> {
    let mut logits = Vec::with_capacity(len);
    for sector in table.sectors().values().filter(|sector| sector.maker == Maker::Direct) {
        match &circuit.weights()[sector.weights].source {
            WeightSource::Given(values) => logits
                .extend(values.iter().map(|&w| Some(if w > 0.0 { w.ln() } else { ZERO_LOGIT }))),
            _ => logits.extend(std::iter::repeat_n(None, sector.shape.len())),
        }
    }
    logits
}

/// Appends a maker's tensors. `None` if it has no sectors.
fn place(
    tensors: &mut TensorSet,
    table: &SectorTable,
    maker: Maker,
    bound: Bound,
) -> Option<MakerBinding> {
    let ids = table.sectors().iter().filter(|(_, sector)| sector.maker == maker);
    let sectors: Vec<SectorId> = ids.map(|(id, _)| id).collect();
    if sectors.is_empty() {
        return None;
    }
    let own = match &bound.own {
        Some(own) => {
            let id = tensors.push(own.spec.clone());
            tensors.range(id)
        }
        None => 0..0,
    };
    let start = tensors.len();
    for spec in &bound.shared {
        tensors.push(spec.clone());
    }
    let shared = start..tensors.len();
    Some(MakerBinding { maker, bound, own, shared, sectors })
}

/// Appends a tensor a family, [units, raw_len], and says where each learnable distribution lies.
fn place_leaves(
    tensors: &mut TensorSet,
    dists: &IdVec<DistId, Dist>,
) -> IdVec<DistId, Range<usize>> {
    let mut families: Vec<(Family, Vec<DistId>)> = Vec::new();
    for (id, dist) in dists.iter().filter(|(_, dist)| dist.learnable_len() > 0) {
        match families.iter_mut().find(|(family, _)| *family == dist.family) {
            Some((_, members)) => members.push(id),
            None => families.push((dist.family, vec![id])),
        }
    }
    let mut places = IdVec::filled(0..0, dists.len());
    for (family, members) in families {
        let units: usize = members.iter().map(|&id| dists[id].units as usize).sum();
        let shape = vec![units, family.raw_len()];
        let init = Init::Leaves(members.clone());
        let tensor = tensors.push(TensorSpec::new(family.tensor_name(), shape, init));
        let mut at = tensors.range(tensor).start;
        for id in members {
            let len = dists[id].learnable_len();
            places[id] = at..at + len;
            at += len;
        }
    }
    places
}

impl Parameters {
    /// The sectors.
    pub fn table(&self) -> &SectorTable {
        &self.table
    }

    /// The tensors, and where they lie in the flat buffer.
    pub fn tensors(&self) -> &TensorSet {
        &self.tensors
    }

    /// The makers of logits that have sectors.
    pub fn makers(&self) -> &[MakerBinding] {
        &self.makers
    }

    /// The maker of this kind, if it has sectors.
    pub fn maker(&self, maker: Maker) -> Option<&MakerBinding> {
        self.makers.iter().find(|binding| binding.maker == maker)
    }

    /// Where the raw parameters of a learnable distribution lie; empty for a frozen one.
    pub fn leaf(&self, dist: DistId) -> Range<usize> {
        self.leaves[dist].clone()
    }

    /// The family of each distribution.
    pub fn families(&self) -> &IdVec<DistId, Family> {
        &self.families
    }

    /// L2 on every tensor that does not say otherwise.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// Learnable numbers.
    pub fn learnable(&self) -> usize {
        self.tensors.len()
    }

    /// The flat buffer at the beginning of learning. `moments` gives mean and standard deviation of
    /// each variable in the training data, where there are any, for leaves to begin from.
    pub fn initial<T: Real>(
        &self,
        circuit: &ValidCircuit,
        seed: u64,
        moments: Option<&[(f64, f64)]>,
    ) -> Vec<T> {
        let mut of_leaf: IdVec<DistId, Option<(f64, f64)>> =
            IdVec::filled(None, circuit.dists().len());
        if let Some(moments) = moments {
            for node in circuit.nodes() {
                if let crate::circuit::Op::Leaf { var, dist } = circuit.op(node) {
                    of_leaf[dist] = Some(moments[var.index()]);
                }
            }
        }
        let mut values = Vec::with_capacity(self.tensors.len());
        for (id, _) in self.tensors.iter() {
            self.tensors.initialise(id, seed, circuit.dists(), &of_leaf, &mut values);
        }
        values
    }

    /// The numbers of the circuit under these parameters: weights normalised and linear.
    pub fn values<T: Precision>(&self, circuit: &ValidCircuit, flat: &[T]) -> Values<T> {
        let mut values = Values::zeros(circuit);
        for (id, weights) in circuit.weights().iter() {
            if let WeightSource::Frozen(given) = &weights.source {
                write_rows(values.weights_mut(id), given, weights.cols as usize);
            }
        }
        for maker in &self.makers {
            self.each_group(maker, |shape, ordinals, sectors| {
                let logits = self.logits(maker, flat, shape, ordinals);
                let layer = self.table.sectors()[sectors[0]].weights;
                let out = values.weights_mut(layer);
                out[self.table.sectors()[sectors[0]].first..][..logits.len()]
                    .copy_from_slice(&logits);
            });
        }
        for (id, dist) in circuit.dists().iter() {
            let out = values.leaf_mut(id);
            match dist.given_raw() {
                Some(raw) if dist.frozen => {
                    out.iter_mut().zip(raw).for_each(|(out, raw)| *out = T::of(raw));
                }
                _ => out.copy_from_slice(&flat[self.leaf(id)]),
            }
        }
        values
    }

    /// The gradient by the flat buffer, given that by the circuit's numbers.
    pub fn gradient<T: Precision>(
        &self,
        circuit: &ValidCircuit,
        flat: &[T],
        values: &Values<T>,
        d_values: &Values<T>,
    ) -> Vec<T> {
        let mut gradient = vec![T::zero(); flat.len()];
        for maker in &self.makers {
            self.each_group(maker, |shape, ordinals, sectors| {
                let first = self.table.sectors()[sectors[0]];
                let range = first.first..first.first + shape.len() * sectors.len();
                let weights = &values.weights(first.weights)[range.clone()];
                let mut d_logits = d_values.weights(first.weights)[range].to_vec();
                softmax_backward(weights, &mut d_logits, (shape.cols * first.span) as usize);
                self.backward(maker, flat, shape, ordinals, &d_logits, &mut gradient);
            });
        }
        for (id, _) in circuit.dists().iter() {
            let range = self.leaf(id);
            if !range.is_empty() {
                gradient[range].copy_from_slice(d_values.leaf(id));
            }
        }
        gradient
    }

    /// Calls `f` with each whole normalisation group, or each whole layer, of a maker: the shape of
    /// its sectors, their ordinals and their ids.
    fn each_group(&self, maker: &MakerBinding, mut f: impl FnMut(Shape, &[u32], &[SectorId])) {
        let mut at = 0;
        while at < maker.sectors.len() {
            let sector = self.table.sectors()[maker.sectors[at]];
            let end = at + sector.span as usize;
            let ordinals: Vec<u32> = (at as u32..end as u32).collect();
            f(sector.shape, &ordinals, &maker.sectors[at..end]);
            at = end;
        }
    }

    /// The softmax of the logits of one group.
    fn logits<T: Precision>(
        &self,
        maker: &MakerBinding,
        flat: &[T],
        shape: Shape,
        ordinals: &[u32],
    ) -> Vec<T> {
        let generator = T::generator(&maker.bound);
        let block = Block { shape, sectors: ordinals };
        let mut out = vec![T::zero(); block.len()];
        let mut scratch = vec![T::zero(); generator.scratch(ordinals.len())];
        let (own, shared) = (&flat[maker.own.clone()], &flat[maker.shared.clone()]);
        generator.logits(own, shared, block, &mut out, &mut scratch);
        let span = ordinals.len().max(1);
        softmax(&mut out, shape.cols as usize * span);
        out
    }

    fn backward<T: Precision>(
        &self,
        maker: &MakerBinding,
        flat: &[T],
        shape: Shape,
        ordinals: &[u32],
        d_logits: &[T],
        gradient: &mut [T],
    ) {
        let generator = T::generator(&maker.bound);
        let block = Block { shape, sectors: ordinals };
        let mut scratch = vec![T::zero(); generator.scratch(ordinals.len())];
        let rows: Vec<Range<usize>> = ordinals.iter().map(|&s| maker.own_row(s)).collect();
        let mut d_own = vec![T::zero(); rows.iter().map(Range::len).sum()];
        let (own, shared) = (&flat[maker.own.clone()], &flat[maker.shared.clone()]);
        let d_shared = &mut gradient[maker.shared.clone()];
        generator.backward(own, shared, block, d_logits, &mut d_own, d_shared, &mut scratch);
        let mut packed = d_own.as_slice();
        for row in rows {
            let (head, rest) = packed.split_at(row.len());
            gradient[row].copy_from_slice(head);
            packed = rest;
        }
    }
}

/// Writes given rows, each scaled to sum to one.
fn write_rows<T: Real>(out: &mut [T], given: &[f64], cols: usize) {
    for (out, given) in out.chunks_exact_mut(cols).zip(given.chunks_exact(cols)) {
        let sum: f64 = given.iter().sum();
        out.iter_mut().zip(given).for_each(|(out, &w)| *out = T::of(w / sum));
    }
}
