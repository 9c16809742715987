//! The experiments of Shih, Sadigh, Ermon, *HyperSPNs: Compact and Expressive Probabilistic Circuits*,
//! NeurIPS 2021: the circuits, the recipes, and what the paper says of the outcome.
//!
//! Nothing here prints, reads files or knows an engine by name: the caller hands over the data and a
//! way to run a circuit.

pub mod toy;

use crate::compile::{Compiled, Options as CompileOptions, compile};
use crate::diag::{Diagnostics, Source};
use crate::engine::Executable;
use crate::param::registry::Registry;
use crate::structure;
use crate::train::{Observer, Options, Outcome, Recipe, Splits, TrainError, fit};

/// One way to learn a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Contestant {
    /// What tables call it.
    pub name: &'static str,
    /// Its circuit.
    pub circuit: Source,
    /// How it learns.
    pub recipe: Recipe,
}

/// What became of a contestant.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What tables call it.
    pub name: &'static str,
    /// Numbers that it learned.
    pub learnable: usize,
    /// Mixture weights of its circuit.
    pub weights: usize,
    /// What learning came to.
    pub outcome: Outcome,
}

impl Contestant {
    /// Compiles its circuit.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn compile(&self) -> Result<Compiled, Diagnostics> {
        let loaded = structure::load(&self.circuit, false)?;
        let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new())?;
        let options =
            CompileOptions { sectors: loaded.spec.sectors.value, ..CompileOptions::default() };
        compile(loaded.circuit.into_circuit(), &loaded.map, parameterizer.as_ref(), &options)
    }

    /// Learns, on an engine made for the circuit that [`Contestant::compile`] has compiled.
    ///
    /// # Errors
    /// Why learning stopped.
    pub fn learn(
        &self,
        compiled: &Compiled,
        executable: &mut dyn Executable,
        data: &Splits<'_>,
        options: &Options<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Entry, TrainError> {
        let parameters = &compiled.parameters;
        let initial = parameters.initial(&compiled.written, self.recipe.seed, None);
        let options = Options { recipe: self.recipe.clone(), ..options.clone() };
        let outcome = fit(executable, parameters, initial, data, &options, observer)?;
        let weights = compiled.written.weights().values().map(|weights| weights.len()).sum();
        Ok(Entry { name: self.name, learnable: parameters.learnable(), weights, outcome })
    }
}
