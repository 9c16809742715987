//! Rewriting by equality saturation.
