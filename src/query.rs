//! The queries, and what each requires of a circuit.
