//! Reading descriptions.

use super::*;
use crate::diag::{Code, Source};

const EXAMPLE: &str = r#"(
    name: "nltcs-hyperspn",
    variables: Binary(16),
    structure: RatSpn(units: 5, replicas: 50, seed: 0),
    leaves: Indicators,
    parameterizer: Hyper(embedding: 5, hidden: [20, 20]),
)"#;

fn codes(text: &str) -> Vec<Code> {
    read(&Source::new("t.ron", text)).1.iter().map(|fault| fault.code).collect()
}

#[test]
fn the_example_of_the_language_is_read() {
    let (spec, faults) = read(&Source::new("t.ron", EXAMPLE));
    assert!(faults.is_empty(), "{faults}");
    let spec = spec.unwrap();
    assert_eq!(spec.name, "nltcs-hyperspn");
    assert_eq!(spec.variables.value, Variables::binary(16));
    let StructureSpec::RatSpn(rat) = spec.structure.unwrap().value else { panic!() };
    assert_eq!(rat, RatSpn { units: 5, replicas: 50, seed: 0, permutations: None });
    let hyper = ParameterizerSpec::Hyper { embedding: 5, hidden: vec![20, 20] };
    assert_eq!(spec.parameterizer.value, hyper);
}
