//! A model: a compiled circuit with its parameters.
