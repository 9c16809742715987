//! A parameterizer and a structure of one's own: compiled, trained and evaluated on made data.
//!
//! Run with `cargo run --release --example custom`.
//!
//! The parameterizer is a *rank-one* one. A sector of R rows and C columns has C logits that all its
//! rows share, each row turned up or down by a factor of its own: logit\[r\]\[c\] = u\[r\] · v\[c\], which is
//! R + C numbers in place of R · C. The structure is a chain: variable i, together with the hidden
//! state before it, leads to the variables after it.

use std::process::ExitCode;

use pcc::circuit::{Circuit, WeightSource};
use pcc::diag::Diagnostic;
use pcc::ids::{Id, NodeId, VarId};
use pcc::leaf::Dist;
use pcc::param::{Block, Bound, Generator, Init, OwnTensor, Parameterizer, Shape, TensorSpec};
use pcc::real::Real;
use pcc::variables::Variables;

/// Mixture weights from two vectors a sector.
#[derive(Debug)]
struct RankOne;

impl Parameterizer for RankOne {
    fn name(&self) -> &str {
        "RankOne"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        let mut offsets = vec![0];
        let mut total = 0;
        for shape in shapes {
            total += (shape.rows + shape.cols) as usize;
            offsets.push(total);
        }
        let spec = TensorSpec::new("factors", vec![total], Init::Normal(1.0));
        let factors = Factors { offsets: offsets.clone() };
        Ok(Bound {
            own: Some(OwnTensor { spec, offsets }),
            shared: Vec::new(),
            decay: 0.0,
            single: Box::new(factors.clone()),
            double: Box::new(factors),
            device: None,
        })
    }
}

/// Where the factors of each sector begin: first u, [rows], then v, [cols].
#[derive(Clone)]
struct Factors {
    offsets: Vec<usize>,
}

impl Factors {
    /// u and v of a sector.
    fn of<'a, T>(&self, own: &'a [T], sector: u32, shape: Shape) -> (&'a [T], &'a [T]) {
        let at = self.offsets[sector as usize];
        own[at..at + (shape.rows + shape.cols) as usize].split_at(shape.rows as usize)
    }
}

impl<T: Real> Generator<T> for Factors {
    fn scratch(&self, _sectors: usize) -> usize {
        0
    }

    fn logits(&self, own: &[T], _: &[T], block: Block<'_>, out: &mut [T], _: &mut [T]) {
        for (out, &sector) in out.chunks_exact_mut(block.shape.len()).zip(block.sectors) {
            let (u, v) = self.of(own, sector, block.shape);
            for (out, &u) in out.chunks_exact_mut(v.len()).zip(u) {
                out.iter_mut().zip(v).for_each(|(out, &v)| *out = u * v);
            }
        }
    }

    fn backward(
        &self,
        own: &[T],
        _shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        _d_shared: &mut [T],
        _scratch: &mut [T],
    ) {
        let Shape { rows, cols } = block.shape;
        let d_own = d_own.chunks_exact_mut((rows + cols) as usize);
        let d_logits = d_logits.chunks_exact(block.shape.len());
        for ((d_own, d_logits), &sector) in d_own.zip(d_logits).zip(block.sectors) {
            let (u, v) = self.of(own, sector, block.shape);
            let (d_u, d_v) = d_own.split_at_mut(rows as usize);
            d_v.fill(T::zero());
            for ((d_u, &u), d_logits) in d_u.iter_mut().zip(u).zip(d_logits.chunks_exact(v.len())) {
                *d_u = d_logits.iter().zip(v).fold(T::zero(), |sum, (&d, &v)| sum + d * v);
                d_v.iter_mut().zip(d_logits).for_each(|(d_v, &d)| *d_v = *d_v + u * d);
            }
        }
    }
}

/// A chain of `length` binary variables with `states` hidden states before each.
fn chain(length: usize, states: u32) -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(length));
    let emission = |circuit: &mut Circuit, index: usize| -> NodeId {
        let dist = circuit.add_dist(Dist::indicators(2));
        let leaf = circuit.leaf(VarId::from_index(index), dist);
        circuit.sum(states, &[leaf], WeightSource::Parameterizer)
    };
    let mut rest = emission(&mut circuit, length - 1);
    for index in (0..length - 1).rev() {
        let here = emission(&mut circuit, index);
        let transition = circuit.sum(states, &[rest], WeightSource::Parameterizer);
        rest = circuit.product(&[here, transition]);
    }
    let root = circuit.sum(1, &[rest], WeightSource::Direct);
    circuit.set_root(root);
    circuit
}
