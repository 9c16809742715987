//! The probabilistic circuit compiler.

pub mod circuit;
pub mod cli;
pub mod compile;
pub mod data;
pub mod diag;
pub mod engine;
pub mod ids;
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
