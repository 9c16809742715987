//! Pairs below an einsum that are too small to keep: nothing but bounds of what is lost tells of them.

use pcc::data::Dataset;
use pcc::engine::cuda::source;
use pcc::plan::Schedule;

use super::{by_kernels, by_oracle, general, skipped};
use crate::agreement::assert_agree;
use crate::support::cpu_device::{self, Order};
use crate::support::describe::compiled_with;

/// A sum that weighs one pair alone, which of six ones has 10⁻⁴² where the likeliest pair has 2⁻⁶; its other unit is
/// not asked. No coefficient is so small that its products are watched for that.
fn text() -> String {
    let leaf = |v: usize| {
        format!("\"l{v}\": Leaf(var: \"x{v}\", dist: Bernoulli(p: [1e-7, 0.5]), units: 2)")
    };
    let leaves: Vec<String> = (0..6).map(leaf).collect();
    let nodes = r#""a": Product(["l0", "l1", "l2"]), "b": Product(["l3", "l4", "l5"]),
        "pairs": Kronecker(["a", "b"]),
        "two": Sum(inputs: ["pairs"], units: 2, frozen: true,
            weights: [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
        "one": Sum(inputs: ["two"], weights: [1.0, 0.0], frozen: true)"#;
    let structure = format!("Graph(root: \"one\", nodes: {{ {}, {nodes} }})", leaves.join(", "));
    format!("(variables: Binary(6), parameterizer: Direct, structure: {structure})")
}

/// Compares all rows with the oracle. Returns how many went through the log domain.
fn compare(kernels: &cpu_device::Compiled) -> usize {
    let compiled = compiled_with(&text(), true);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let rows = [0.0, 1.0].map(|x| vec![Some(x); 6]);
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
    assert_eq!(compare(&kernels), 1, "that of six ones");
    let whole = source(&specialisation);
    // What is lost is bounded as it is lost, and again where terms may be too small for a zero among the weights.
    let unbounded = [
        ("bound += LOSS * (float)(possible", "bound += 0.0f * (float)(possible"),
        ("? (float)pairs.count() * TRACE : 0.0f", "? 0.0f : 0.0f"),
        ("? (float)width * TRACE : 0.0f", "? 0.0f : 0.0f"),
    ];
    let unbounded = unbounded.iter().fold(whole.clone(), |text, (written, instead)| {
        assert!(text.contains(written), "{written}");
        text.replace(written, instead)
    });
    let kernels = cpu_device::Compiled::of_text(&unbounded, specialisation);
    assert!(std::panic::catch_unwind(|| compare(&kernels)).is_err(), "no bound was missed");
}
