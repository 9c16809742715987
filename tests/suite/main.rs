//! The test suite: one binary, one module a concern.

mod agreement;
mod architecture;
mod bounded;
mod cli;
mod conditionals;
mod cuda;
mod diagnostics;
mod drawing;
mod em;
mod exact;
mod import;
mod max_product;
mod model_files;
mod numbers;
mod plans;
mod queries;
mod reference_models;
mod rewrite_rules;
mod sampling;
mod sharing;
mod snapshots;
mod steps;
mod structures;
mod support;
mod training;
mod worlds;
