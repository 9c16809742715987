//! Building circuits from descriptions.

use super::*;

fn loaded(text: &str) -> Loaded {
    load(&Source::new("t.ron", text), false).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn a_rat_spn_has_the_sectors_and_weights_of_the_paper() {
    let text = "(variables: Binary(16), structure: RatSpn(units: 5, replicas: 50, seed: 0))";
    let circuit = loaded(text).circuit;
    let weights = circuit.weights();
    assert_eq!(weights.len(), 50 * 31 + 1);
    assert_eq!(weights.values().map(|w| w.len()).sum::<usize>(), 25_800);
}
