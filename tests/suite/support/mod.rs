//! What several tests need: random circuits with parameters, their worlds to sum over, and a second
//! way to evaluate them.

pub mod case;
pub mod chi_square;
pub mod cpu_device;
pub mod describe;
pub mod deterministic;
pub mod enumerate;
pub mod files;
pub mod literal;
pub mod oracle_engine;
pub mod random_circuits;
pub mod steps;
