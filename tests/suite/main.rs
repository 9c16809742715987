//! The test suite: one binary, one module a concern.

mod exact;

mod support;
