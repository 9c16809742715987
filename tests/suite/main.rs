//! The test suite: one binary, one module a concern.

mod exact;
mod reference_models;
mod sampling;
mod support;
