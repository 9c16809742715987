//! The model file: a circuit's text and its parameters, with where they came from.
//!
//! Everything a model is follows from the file alone: the text says the structure and the seeds of
//! what was drawn in it, the tensors hold what was learned. Nothing in it is ever executed. Two runs
//! that learned the same write the same bytes, so times are no part of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::archive::{self, Format, NamedTensor, TensorRef};
use crate::diag::{Code, Diagnostic, Source};
use crate::param::TensorSet;

/// What model files are.
const FORMAT: Format = Format { name: "model", version: 1 };

/// How a model was learned. Log-likelihoods are means over rows, in nats; `None` when there was no
/// such data, or a row was impossible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The fingerprint of the training data.
    pub data: String,
    /// The seed of initial parameters and batches.
    pub seed: u64,
    /// Steps done.
    pub steps: u64,
    /// The step after which the parameters were as they are here.
    pub selected_step: u64,
    /// Of the training data.
    pub train_ll: Option<f64>,
    /// Of the validation data.
    pub valid_ll: Option<f64>,
    /// Of the test data.
    pub test_ll: Option<f64>,
}

/// The contents of a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The circuit's RON text, under the name that messages show.
    pub source: Source,
    /// How it was learned; `None` if it was not.
    pub training: Option<Training>,
    /// The parameters.
    pub tensors: Vec<NamedTensor>,
}

/// What the file says beside the tensors.
#[derive(Serialize, Deserialize)]
struct About {
    name: String,
    circuit: String,
    training: Option<Training>,
}

impl ModelFile {
    /// The contents for parameters in a flat buffer, laid out as `tensors` says.
    ///
    /// # Panics
    /// When the buffer is not as long as the tensors together.
    pub fn new(
        source: Source,
        tensors: &TensorSet,
        flat: &[f32],
        training: Option<Training>,
    ) -> Self {
        assert_eq!(flat.len(), tensors.len(), "a number for each learnable parameter");
        let named = tensors.iter().map(|(id, spec)| NamedTensor {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            values: flat[tensors.range(id)].to_vec(),
        });
        ModelFile { source, training, tensors: named.collect() }
    }

    /// The flat buffer for a circuit whose parameters are laid out as `tensors` says.
    ///
    /// # Errors
    /// E0602, about the file `path`, when the tensors are not of these names and shapes.
    pub fn flat(&self, tensors: &TensorSet, path: &Path) -> Result<Vec<f32>, Diagnostic> {
        let other = |message: String| {
            Diagnostic::new(Code::E0602, message).in_file(path.display().to_string())
        };
        let mut flat = Vec::new();
        for (_, spec) in tensors.iter() {
            let found = self.tensors.iter().find(|tensor| tensor.name == spec.name);
            let Some(found) = found else {
                return Err(other(format!("the model has no tensor `{}`", spec.name)));
            };
            if found.shape != spec.shape {
                return Err(other(format!(
                    "tensor `{}` of the model is {:?}; the circuit's is {:?}",
                    spec.name, found.shape, spec.shape
                )));
            }
            flat.extend_from_slice(&found.values);
        }
        match self.tensors.iter().find(|tensor| tensors.find(&tensor.name).is_none()) {
            Some(tensor) => {
                Err(other(format!("the model has a tensor `{}`, the circuit none", tensor.name)))
            }
            None => Ok(flat),
        }
    }
}

/// Writes a model file, whole or not at all.
///
/// # Errors
/// E0001 when it cannot be written; an earlier file of that name is then as it was.
pub fn save(path: &Path, model: &ModelFile) -> Result<(), Diagnostic> {
    let about = About {
        name: model.source.name.clone(),
        circuit: model.source.text.clone(),
        training: model.training.clone(),
    };
    let tensors: Vec<TensorRef<'_>> = model
        .tensors
        .iter()
        .map(|NamedTensor { name, shape, values }| TensorRef { name, shape, values })
        .collect();
    archive::write(path, FORMAT, &about, &tensors)
}

/// Reads a model file and checks all of it.
///
/// # Errors
/// E0001 when it cannot be read, E0601 when it is no model file or is damaged anywhere, E0603 when it
/// is of another version.
pub fn load(path: &Path) -> Result<ModelFile, Diagnostic> {
    let (about, tensors): (About, _) = archive::read(path, FORMAT)?;
    for tensor in &tensors {
        if let Some(at) = tensor.values.iter().position(|value| !value.is_finite()) {
            let message = format!("entry {at} of tensor `{}` is not finite", tensor.name);
            return Err(Diagnostic::new(Code::E0601, message).in_file(path.display().to_string()));
        }
    }
    let source = Source::new(about.name, about.circuit);
    Ok(ModelFile { source, training: about.training, tensors })
}
