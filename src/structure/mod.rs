//! From a specification to a circuit.
