//! Parameterizers: where the mixture weights come from.
