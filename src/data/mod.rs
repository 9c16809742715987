//! Data sets: rows of values, some of them missing.
