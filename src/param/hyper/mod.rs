//! The hyper parameterizer: a small neural network makes the weights (Shih et al. 2021).
//!
//! Each sector learns an embedding of a few numbers; one network, shared by all sectors, maps it to
//! the sector's logits: linear layers with ReLU between. Its output has an entry for each place of
//! the largest rows × the largest cols of its sectors, row-major; a smaller sector takes the
//! upper-left corner, and the rest is not even computed for it.

mod network;

use self::network::Network;
use super::{Bound, DeviceSource, Init, OwnTensor, Parameterizer, Shape, TensorSpec};
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
            device: Some(device_source(&widths, largest.cols)),
        })
    }
}

/// The widths of the layers, from the embedding on, and the columns of the output.
fn device_source(widths: &[usize], cols: u32) -> DeviceSource {
    let mut constants: Vec<(String, u64)> =
        widths.iter().map(|&width| ("width".into(), width as u64)).collect();
    constants.push(("columns".into(), cols.into()));
    DeviceSource { family: "hyper".into(), constants }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Block;

    fn hyper(embedding: usize, hidden: &[usize]) -> Hyper {
        Hyper { embedding, hidden: hidden.to_vec() }
    }

    #[test]
    fn tensors_are_those_of_the_largest_rows_and_columns() -> Result<(), Diagnostic> {
        let shapes = [Shape { rows: 5, cols: 2 }, Shape { rows: 1, cols: 5 }];
        let bound = hyper(5, &[20, 10]).bind(&shapes)?;
        let found: Vec<(&str, &[usize])> =
            bound.shared.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice())).collect();
        let expected: [(&str, &[usize]); 6] = [
            ("network.0.weight", &[20, 5]),
            ("network.0.bias", &[20]),
            ("network.1.weight", &[10, 20]),
            ("network.1.bias", &[10]),
            ("network.2.weight", &[25, 10]),
            ("network.2.bias", &[25]),
        ];
        assert_eq!(found, expected);
        assert_eq!(bound.shared[2].init, Init::Uniform(-1.0 / 20f64.sqrt(), 1.0 / 20f64.sqrt()));
        assert_eq!(bound.own.map(|own| own.spec.shape), Some(vec![2, 5]));
        Ok(())
    }

    #[test]
    fn a_smaller_sector_takes_the_upper_left_corner() -> Result<(), Diagnostic> {
        let small = Shape { rows: 2, cols: 1 };
        let bound = hyper(1, &[]).bind(&[Shape { rows: 2, cols: 3 }, small])?;
        let shared: Vec<f64> = [[0.0; 6], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]].concat();
        let mut scratch = vec![0.0; bound.double.scratch(1)];
        let mut logits = [f64::NAN; 2];
        let block = Block { shape: small, sectors: &[1] };
        bound.double.logits(&[1.0, 1.0], &shared, block, &mut logits, &mut scratch);
        assert_eq!(logits, [0.0, 3.0]);
        Ok(())
    }

    #[test]
    fn no_sectors_need_no_tensors_and_empty_layers_are_refused() {
        let bound = hyper(5, &[20]).bind(&[]);
        assert!(bound.is_ok_and(|bound| bound.own.is_none() && bound.shared.is_empty()));
        for empty in [hyper(0, &[]), hyper(5, &[3, 0])] {
            let fault = empty.bind(&[]).err().map(|fault| fault.code);
            assert_eq!(fault, Some(Code::E0403));
        }
    }
}
