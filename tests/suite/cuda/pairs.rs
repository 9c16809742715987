//! Pairs below an einsum that are too small to keep: nothing but the bound of what is lost tells of them.

use pcc::data::Dataset;
use pcc::engine::cuda::source;
use pcc::plan::Schedule;

use super::{by_kernels, by_oracle, general, skipped};
use crate::agreement::assert_agree;
use crate::support::cpu_device::{self, Order};
use crate::support::describe::compiled_with;

/// The sum weighs one pair alone, which of two ones has 10⁻⁶⁰ where the likeliest pair has a quarter.
const TEXT: &str = r#"(variables: Binary(2), parameterizer: Direct, structure: Graph(root: "one", nodes: {
    "a": Leaf(var: "x0", dist: Bernoulli(p: [1e-30, 0.5]), units: 2),
    "b": Leaf(var: "x1", dist: Bernoulli(p: [1e-30, 0.5]), units: 2),
    "pairs": Kronecker(["a", "b"]),
    "one": Sum(inputs: ["pairs"], weights: [1.0, 0.0, 0.0, 0.0], frozen: true),
}))"#;

/// Compares all rows with the oracle. Returns how many went through the log domain.
fn compare(kernels: &cpu_device::Compiled) -> usize {
    let compiled = compiled_with(TEXT, true);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let rows = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]].map(|row| row.map(Some));
    let data = Dataset::from_rows(compiled.circuit.variables(), rows).unwrap();
    let expected = by_oracle(&compiled, &flat, &data);
    let (log_p, gradient, tally) =
        by_kernels(kernels, Order::Ascending, &compiled, &flat, &data, Schedule::Wide);
    assert_agree("lost pairs", &compiled, &expected, (&log_p, &gradient));
    tally.in_logs
}

#[test]
fn rows_whose_pairs_are_too_small_to_keep_are_told_by_the_host() {
    let specialisation = general(64, true);
    let Some(kernels) = cpu_device::Compiled::new(specialisation.clone()) else {
        return skipped("lost pairs", "there is no C++ compiler");
    };
    assert_eq!(compare(&kernels), 1, "that of two ones");
    let whole = source(&specialisation);
    let unbounded =
        whole.replace("bound += LOSS * (float)(possible", "bound += 0.0f * (float)(possible");
    assert_ne!(unbounded, whole);
    let kernels = cpu_device::Compiled::of_text(&unbounded, specialisation);
    assert!(std::panic::catch_unwind(|| compare(&kernels)).is_err(), "no bound was missed");
}
