//! Arithmetic that holds for f32 and f64.
