//! The vectorised CPU engine.
