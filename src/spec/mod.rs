//! The RON language.
