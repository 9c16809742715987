//! A model: a compiled circuit with its parameters.
//!
//! A model's file holds the text of its circuit and the values of its tensors, nothing compiled. To read
//! one is to compile the text, as for training, and to put the values in their places:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use pcc::compile::{Options, compile};
//! use pcc::model::{Model, file};
//! use pcc::param::registry::Registry;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let path = Path::new("m");
//! let stored = file::load(path)?;
//! let loaded = pcc::load(&stored.source, false)?;
//! let maker = pcc::parameterizer(&loaded.spec, &Registry::new())?;
//! let options = Options { sectors: loaded.spec.sectors.value, ..Options::default() };
//! let compiled = compile(loaded.circuit.into_circuit(), &loaded.map, &*maker, &options)?;
//! let model = Model::from_file(path, &stored, compiled)?;
//! # Ok(())
//! # }
//! ```

pub mod archive;
mod complete;
mod conditional;
mod draw;
pub mod evaluate;
pub mod file;

use std::path::Path;
use std::sync::Arc;

pub use self::evaluate::{Evaluation, evaluate};
pub use self::file::{ModelFile, Training};
use crate::circuit::Values;
use crate::compile::Compiled;
use crate::data::Dataset;
use crate::diag::{Diagnostic, Source};
use crate::engine::Executable;

use self::evaluate::NotALikelihood;

/// A compiled circuit with parameters.
pub struct Model {
    /// The circuit's text, under the name that messages show.
    pub source: Source,
    /// The circuit, compiled.
    pub compiled: Arc<Compiled>,
    /// The parameters, laid out as `compiled.parameters` says.
    pub flat: Vec<f32>,
}

impl Model {
    /// The model of a file, whose circuit the caller has compiled.
    ///
    /// # Errors
    /// E0602, about the file `path`, when its tensors are not those of the circuit.
    pub fn from_file(
        path: &Path,
        file: &ModelFile,
        compiled: impl Into<Arc<Compiled>>,
    ) -> Result<Self, Diagnostic> {
        let compiled = compiled.into();
        let flat = file.flat(compiled.parameters.tensors(), path)?;
        Ok(Model { source: file.source.clone(), compiled, flat })
    }

    /// The contents of its file.
    pub fn to_file(&self, training: Option<Training>) -> ModelFile {
        let tensors = self.compiled.parameters.tensors();
        ModelFile::new(self.source.clone(), tensors, &self.flat, training)
    }

    /// Evaluates all rows of `data` with an engine made for this circuit.
    ///
    /// # Errors
    /// The first row whose log-likelihood is NaN or +∞.
    pub fn evaluate(
        &self,
        executable: &mut dyn Executable,
        data: &Dataset,
    ) -> Result<Evaluation, NotALikelihood> {
        executable.load(&self.flat);
        evaluate(executable, data)
    }

    /// The numbers of the circuit as written, in double precision: what walks over it need.
    pub fn values(&self) -> Values<f64> {
        let flat: Vec<f64> = self.flat.iter().map(|&value| f64::from(value)).collect();
        self.compiled.parameters.values(&self.compiled.written, &flat)
    }
}
