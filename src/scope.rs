//! Scopes: sets of variables, interned.
