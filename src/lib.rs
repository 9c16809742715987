//! The probabilistic circuit compiler.
//!
//! A *probabilistic circuit* is a directed graph of leaves, sums and products that is a probability
//! distribution over its variables, and that answers marginals and conditionals exactly, in one pass.
//! This crate takes one from a text to a trained, evaluated and sampled model. Its weights may be
//! free numbers or come from a small shared network (a HyperSPN: Shih, Sadigh, Ermon, *HyperSPNs:
//! Compact and Expressive Probabilistic Circuits*, NeurIPS 2021).
//!
//! # Words
//!
//! - A *node* is vector-valued: it has some *units*, each a distribution over the node's *scope*, the
//!   variables below it. A *leaf* is over one variable; a *product* multiplies units of inputs of disjoint
//!   scopes; a *sum* mixes units of inputs of one scope by *weights*, of which each row sums to one.
//! - A *row* assigns a value to each variable, or none: what is missing is summed out. Its value at the
//!   root is its likelihood. All log-likelihoods are natural logarithms, in nats, −∞ for an impossible row;
//!   weights and probabilities are linear wherever the word `log` is not there.
//! - A *structure* is a rule that makes a circuit. `RatSpn` makes some *replicas*, each a random binary
//!   tree over all variables, whose roots are mixed.
//! - A *sector* is the block of weights of one sum that is made at one go. What makes it is a
//!   *parameterizer*: the logits themselves (`Direct`, `WeightDecay`), or a network with an embedding
//!   a sector (`Hyper`); a softmax makes weights of logits. Weights that nothing learns are *frozen*.
//! - A *plan* says what to run, in order; an *engine* runs it. The *oracle* is slow and obviously right.
//!
//! # Where to begin
//!
//! | to | see |
//! |---|---|
//! | read a circuit from a text or a file of another format | [`load`], [`structure::resolve`]; the language is [`spec`] |
//! | build one by hand | [`Circuit::new`], then [`circuit::validate`] |
//! | read rows from a file | [`data::read`] |
//! | learn | [`fit`], as below |
//! | write a model and read it back | [`Model::to_file`], [`Model::from_file`], [`model::file`] |
//! | evaluate | [`Model::evaluate`], or [`Executable::log_likelihood`] of any rows |
//! | draw rows, given some values or none | [`model::Model::draws`], or without an engine [`sample::sample_rows`] |
//! | know what a circuit answers exactly | [`query`] |
//! | make weights in a way of your own | [`Parameterizer`] and its [`param::laws`]; `examples/custom.rs` |
//! | run on a GPU | [`engine::cuda`] |
//!
//! Whatever can be wrong with an input is a [`Diagnostic`], or [`Diagnostics`] where all faults are found
//! at once: a code, a place, a sentence, what would mend it. A function that panics says when.
//!
//! # What a circuit becomes on its way
//!
//! ```text
//! RON text ─ spec ─▶ Spec ─ structure ─▶ Circuit ─ circuit::validate ─▶ ValidCircuit
//! ValidCircuit ─ sector ─▶ SectorTable ─ + Parameterizer ─▶ Parameters         what is learned
//! ValidCircuit ─ rewrite ─▶ ValidCircuit ─ + Parameters ─ plan ─▶ Plan         what is run, in which order
//! Plan ─ engine::cpu, engine::cuda ─▶ Executable ◀─ model, train               evaluations, gradients
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
//! use pcc::plan::{Purpose, Schedule, Sharing};
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
//! // From the text to a valid circuit (`false`: faulty sums are not made smooth), and on to what it
//! // learns and what is run. A parameterizer of your own would be in the registry.
//! let loaded = load(&Source::new("rain.ron", text), false)?;
//! let maker = parameterizer(&loaded.spec, &Registry::new())?;
//! let options = compile::Options { sectors: loaded.spec.sectors.value, ..Default::default() };
//! let circuit = loaded.circuit.into_circuit();
//! let compiled = Arc::new(compile::compile(circuit, &loaded.map, &*maker, &options)?);
//!
//! // From there to an engine of one thread, with gradients. A deep schedule forgets a value as soon as
//! // it has been used; a wide one goes level by level.
//! let (parameters, written) = (&compiled.parameters, &compiled.written);
//! let how = plan::Options { purpose: Purpose::Train, schedule: Schedule::Deep, batch: 64, sharing: Sharing::Off };
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
//! - [`drawing`]: a circuit as a picture.
//! - [`rewrite`]: a cheaper circuit of the same function.
//! - [`compile`]: the stages so far, in one function.
//! - [`plan`]: what to run, and its check. [`engine`]: the trait of what runs it; [`engine::cpu`],
//!   vectorised, and [`engine::cuda`], fused kernels.
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
//! - Only [`cli`] prints, reads the environment or ends the process. What is `unsafe` are the calls of the
//!   CUDA driver, in one file.
//!
//! `ARCHITECTURE.md` beside the manifest says why things are as they are, and what is absent on
//! purpose; `tests/suite/architecture.rs` holds the source to it.

// Nothing that a user gives may end in a panic.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

pub mod circuit;
pub mod cli;
pub mod compile;
pub mod data;
pub mod diag;
pub mod drawing;
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
