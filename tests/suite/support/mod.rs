//! What several tests need: random circuits, and the worlds to sum them over, a second way to
//! evaluate them.

pub mod case;
pub mod enumerate;
pub mod literal;
pub mod random_circuits;
