//! Input distributions.
