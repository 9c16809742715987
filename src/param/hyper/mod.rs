//! The hyper parameterizer: a small neural network makes the weights (Shih et al. 2021).
//!
//! Each sector learns an embedding of a few numbers; one network, shared by all sectors, maps it to
//! the sector's logits: linear layers with ReLU between. Its output has an entry for each place of
//! the largest rows × the largest cols of its sectors, row-major; a smaller sector takes the
//! upper-left corner, and the rest is not even computed for it.

mod network;

use self::network::Network;
use super::{Bound, Init, OwnTensor, Parameterizer, Shape, TensorSpec};
use crate::diag::{Code, Diagnostic};

/// A network over embeddings of sectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyper {
    /// Numbers in the embedding of a sector.
    pub embedding: usize,
    /// Units of each hidden layer; none: one linear layer.
    pub hidden: Vec<usize>,
}

impl Parameterizer for Hyper {
    fn name(&self) -> &str {
        "Hyper"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        if self.embedding == 0 {
            return Err(Diagnostic::new(
                Code::E0403,
                "Hyper needs an embedding of at least one number",
            ));
        }
        if self.hidden.contains(&0) {
            return Err(Diagnostic::new(
                Code::E0403,
                "Hyper needs hidden layers of at least one unit",
            ));
        }
        let largest = Shape {
            rows: shapes.iter().map(|shape| shape.rows).max().unwrap_or(0),
            cols: shapes.iter().map(|shape| shape.cols).max().unwrap_or(0),
        };
        let mut widths = vec![self.embedding];
        widths.extend(&self.hidden);
        widths.push(largest.len());
        let rows = vec![shapes.len(), self.embedding];
        let spec = TensorSpec::new("embedding", rows, Init::Uniform(0.0, 1.0));
        let own = OwnTensor::uniform(spec, shapes.len(), self.embedding);
        let empty = shapes.is_empty();
        let network = Network::new(&widths, largest.cols as usize);
        Ok(Bound {
            own: (!empty).then_some(own),
            shared: if empty { Vec::new() } else { network_tensors(&widths) },
            decay: 0.0,
            single: Box::new(network.clone()),
            double: Box::new(network),
            device: None,
        })
    }
}

/// Weight and bias of each layer, uniform within ±1/√(number of inputs) at first.
fn network_tensors(widths: &[usize]) -> Vec<TensorSpec> {
    let mut specs = Vec::new();
    for (layer, pair) in widths.windows(2).enumerate() {
        let bound = (pair[0] as f64).sqrt().recip();
        let init = Init::Uniform(-bound, bound);
        let (weight, bias) = (format!("network.{layer}.weight"), format!("network.{layer}.bias"));
        specs.push(TensorSpec::new(weight, vec![pair[1], pair[0]], init.clone()));
        specs.push(TensorSpec::new(bias, vec![pair[1]], init));
    }
    specs
}
