//! What an engine is, and the engines.

pub mod reference;
