//! The plan: what to run, in order, with every size fixed.
