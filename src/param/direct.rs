//! The direct parameterizer, and weight decay: every weight has a logit of its own.

use super::{
    Block, Bound, DeviceSource, Generator, Init, OwnTensor, Parameterizer, Shape, TensorSpec,
};
use crate::diag::Diagnostic;
use crate::real::Real;

/// One learnable logit a weight, uniform on [0, 1) at first (Shih et al. 2021, the authors' code).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Direct;

/// [`Direct`], with L2 added to the gradient of every learnable tensor of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDecay {
    /// The factor of L2: the gradient gains lambda · θ.
    pub lambda: f64,
}

impl Parameterizer for Direct {
    fn name(&self) -> &str {
        "Direct"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        let mut offsets = Vec::with_capacity(shapes.len() + 1);
        let mut total = 0;
        for shape in shapes {
            offsets.push(total);
            total += shape.len();
        }
        offsets.push(total);
        let spec = TensorSpec::new("logits", vec![total], Init::Uniform(0.0, 1.0));
        let rows = Rows { offsets: offsets.clone() };
        Ok(Bound {
            own: Some(OwnTensor { spec, offsets }),
            shared: Vec::new(),
            decay: 0.0,
            single: Box::new(rows.clone()),
            double: Box::new(rows),
            device: Some(DeviceSource { family: "direct".into(), constants: Vec::new() }),
        })
    }
}

impl Parameterizer for WeightDecay {
    fn name(&self) -> &str {
        "WeightDecay"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        Ok(Bound { decay: self.lambda, ..Direct.bind(shapes)? })
    }
}

/// The rows of the own tensor are the logits.
#[derive(Clone)]
struct Rows {
    offsets: Vec<usize>,
}

impl<T: Real> Generator<T> for Rows {
    fn is_direct(&self) -> bool {
        true
    }

    fn scratch(&self, _sectors: usize) -> usize {
        0
    }

    fn logits(&self, own: &[T], _shared: &[T], block: Block<'_>, out: &mut [T], _: &mut [T]) {
        for (out, &sector) in out.chunks_exact_mut(block.shape.len()).zip(block.sectors) {
            let start = self.offsets[sector as usize];
            out.copy_from_slice(&own[start..start + out.len()]);
        }
    }

    fn backward(
        &self,
        _own: &[T],
        _shared: &[T],
        _block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        _d_shared: &mut [T],
        _scratch: &mut [T],
    ) {
        d_own.copy_from_slice(d_logits);
    }
}
