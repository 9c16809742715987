//! Sampling, with and without evidence.
