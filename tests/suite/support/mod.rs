//! What several tests need: random circuits, and the worlds to sum them over.

pub mod enumerate;
pub mod random_circuits;
