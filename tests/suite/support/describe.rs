//! Compiled circuits from descriptions.

use std::path::Path;
use std::sync::Arc;

use pcc::compile::{Compiled, Options, compile};
use pcc::diag::Source;
use pcc::param::registry::Registry;
use pcc::spec::read;
use pcc::structure::{lower, parameterizer};

/// Compiles the text of a description.
///
/// # Panics
/// When it has a fault.
pub fn compiled(text: &str) -> Arc<Compiled> {
    compiled_with(text, false)
}

/// Compiles the text of a description without rewriting it, if that is wanted.
///
/// # Panics
/// When it has a fault.
pub fn compiled_with(text: &str, no_rewrite: bool) -> Arc<Compiled> {
    let source = Source::new("test.ron", text);
    let (spec, faults) = read(&source);
    assert!(!faults.has_errors(), "{faults:?}");
    let spec = spec.unwrap_or_else(|| panic!("{faults:?}"));
    let (circuit, map) = lower(&spec, &source).unwrap_or_else(|faults| panic!("{faults:?}"));
    let parameterizer = parameterizer(&spec, &Registry::default()).unwrap();
    let options = Options { sectors: spec.sectors.value, no_rewrite, ..Options::default() };
    let compiled = compile(circuit, &map, &*parameterizer, &options);
    Arc::new(compiled.unwrap_or_else(|faults| panic!("{faults:?}")))
}

/// The text of a file of the collection.
///
/// # Panics
/// When there is no such file.
pub fn collected(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("circuits").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The text of a random tree structure over `n` variables. `rest` is what else the description says.
pub fn rat_spn(n: usize, units: usize, replicas: usize, rest: &str) -> String {
    format!(
        "(name: \"rat\", variables: Binary({n}), \
         structure: RatSpn(units: {units}, replicas: {replicas}, seed: 0), {rest})"
    )
}
