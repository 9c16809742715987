//! The probabilistic circuit compiler.
//!
//! A *probabilistic circuit* is a directed graph of leaves, sums and products that is a probability
//! distribution over its variables, and that answers marginals and conditionals exactly, in one pass.
//! This crate takes one from a text to a trained, evaluated and sampled model. Its weights may be
//! free numbers or come from a small shared network (a HyperSPN: Shih, Sadigh, Ermon, *HyperSPNs:
//! Compact and Expressive Probabilistic Circuits*, NeurIPS 2021).
//!
//! # What a circuit becomes on its way
//!
//! ```text
//! RON text ─ spec ─▶ Spec ─ structure ─▶ Circuit ─ circuit::validate ─▶ ValidCircuit
//! ValidCircuit ─ sector ─▶ SectorTable ─ + Parameterizer ─▶ Parameters         what is learned
//! ValidCircuit ─ rewrite ─▶ ValidCircuit ─ + Parameters ─ plan ─▶ Plan         what is run, in which order
//! Plan ─ engine::cpu ─▶ Executable ◀─ model, train                             evaluations, gradients
//! ValidCircuit + Values ─ engine::reference ─▶ log p, gradient                 the oracle
//! ```
//!
//! Each arrow is one function between two named types. Everything that can be known before rows are
//! seen is known in the [`plan::Plan`]: the order of steps, the place of every number, the memory.
//!
//! # A whole way
//!
//! ```
//! use std::sync::Arc;
//!
//! use pcc::param::registry::Registry;
//! use pcc::plan::{Purpose, Schedule};
//! use pcc::train::{self, Recipe};
//! use pcc::{CpuExecutable, Dataset, Executable, Source, Splits};
//! use pcc::{compile, fit, load, parameterizer, plan};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = r#"(
//!     name: "rain",
//!     variables: Binary(4),
//!     structure: RatSpn(units: 3, replicas: 2, seed: 0),
//!     parameterizer: Hyper(embedding: 2, hidden: [4]),
//! )"#;
//!
//! // From the text to a valid circuit, and on to what it learns and what is run.
//! let loaded = load(&Source::new("rain.ron", text), false)?;
//! let maker = parameterizer(&loaded.spec, &Registry::new())?;
//! let options = compile::Options { sectors: loaded.spec.sectors.value, ..Default::default() };
//! let circuit = loaded.circuit.into_circuit();
//! let compiled = Arc::new(compile::compile(circuit, &loaded.map, &*maker, &options)?);
//!
//! // From there to an engine, with gradients.
//! let (parameters, written) = (&compiled.parameters, &compiled.written);
//! let how = plan::Options { purpose: Purpose::Train, schedule: Schedule::Deep, batch: 64, sharing: true };
//! let plan = plan::plan(&compiled.circuit, parameters, &how);
//! let mut engine = CpuExecutable::new(Arc::clone(&compiled), plan, 1)?;
//!
//! // Rows that are all equal bits or, at times, not.
//! let row = |i: u8| (0..4).map(|bit| Some(f32::from((i ^ u8::from(i % 7 == bit)) & 1))).collect();
//! let data = Dataset::from_rows(written.variables(), (0..64).map(row))?;
//!
//! let rows: Vec<u32> = (0..64).collect();
//! let mut log_p = vec![0.0; rows.len()];
//! let initial = parameters.initial(written, 0, Some(&data.moments()));
//! engine.load(&initial);
//! engine.log_likelihood(&data, &rows, &mut log_p);
//! let before = log_p.iter().sum::<f64>() / 64.0;
//!
//! let recipe = Recipe { steps: 50, batch: 64, rate: 0.05, ..Recipe::default() };
//! let splits = Splits { train: &data, valid: None, test: None };
//! let options = train::Options { recipe, ..train::Options::default() };
//! let outcome = fit(&mut engine, parameters, initial, &splits, &options, &mut ())?;
//! assert!(outcome.train.mean_ll > Some(before));
//!
//! // A missing value is summed out: a row of which nothing is known is certain.
//! let unknown = Dataset::from_rows(written.variables(), [vec![None; 4]])?;
//! engine.load(&outcome.parameters);
//! engine.log_likelihood(&unknown, &[0], &mut log_p[..1]);
//! assert!(log_p[0].abs() < 1e-5);
//! # Ok(())
//! # }
//! ```
//!
//! # The modules, in reading order
//!
//! Each may name those before it, and never one after it.
//!
//! - Words: [`ids`] typed ids and their vectors · [`diag`] what is wrong, and where · [`real`] f32 and
//!   f64 · [`variables`] · [`scope`] sets of variables · [`simd`] kernels on tiles of 64 lanes.
//! - Leaves and rows: [`leaf`] input distributions · [`data`] rows with missing values.
//! - [`circuit`]: the graph, and validation, without which no later stage takes it.
//! - [`engine::reference`]: the oracle, in f64 and in the log domain, node by node.
//!   [`query`] asks a valid circuit all else that it can be asked, and says what is exact.
//! - Weights: [`param`] how they are made, an open trait · [`sector`] which are made together, and the
//!   flat buffer of all that is learned.
//! - Texts: [`spec`] RON to a description · [`import`] other people's formats to a circuit,
//!   [`export`] back again · [`structure`] a description to a circuit.
//! - [`rewrite`]: a cheaper circuit of the same function.
//! - [`compile`]: the stages so far, in one function.
//! - [`plan`]: what to run, and its check. [`engine`]: the trait of what runs it; [`engine::cpu`].
//! - [`model`]: a circuit with parameters, and its file. [`mod@sample`] draws rows from it, [`train`]
//!   learns it. [`reproduce`]: the paper's experiments.
//! - [`cli`]: the command line.
//!
//! # Invariants
//!
//! - Only [`circuit::validate`] makes a [`ValidCircuit`], and rewriting hands in its result to it.
//! - What is learned is fixed by the circuit as written: no later stage renumbers, merges or splits a
//!   learnable number.
//! - A [`Plan`](plan::Plan) holds no pointer, path, engine or device, and may be run only once
//!   [`plan::check`] has passed it.
//! - The oracle sees no rewriting, sector or plan.
//! - Equal inputs give equal bits, whatever the number of threads.
//! - Only [`cli`] prints, reads the environment or ends the process; nothing is `unsafe`.
//!
//! `ARCHITECTURE.md` beside the manifest says why things are as they are, and what is absent on
//! purpose; `tests/suite/architecture.rs` holds the source to it.

pub mod circuit;
pub mod cli;
pub mod compile;
pub mod data;
pub mod diag;
pub mod engine;
pub mod export;
pub mod ids;
pub mod import;
pub mod leaf;
pub mod model;
pub mod param;
pub mod plan;
pub mod query;
pub mod real;
pub mod reproduce;
pub mod rewrite;
pub mod sample;
pub mod scope;
pub mod sector;
pub mod simd;
pub mod spec;
pub mod structure;
pub mod train;
pub mod variables;

pub use self::circuit::{Circuit, SourceMap, ValidCircuit};
pub use self::compile::Compiled;
pub use self::data::Dataset;
pub use self::diag::{Diagnostic, Diagnostics, Source};
pub use self::engine::Executable;
pub use self::engine::cpu::CpuExecutable;
pub use self::model::Model;
pub use self::param::Parameterizer;
pub use self::structure::{load, parameterizer};
pub use self::train::{Splits, fit};
pub use self::variables::Variables;
