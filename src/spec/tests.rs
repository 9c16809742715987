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

#[test]
fn every_fault_of_a_text_is_found_in_one_run() {
    let text = r#"(
        variables: Binary(0), variable: 3,
        structure: RatSpn(units: 2.5, replicas: -1, seed: "x"),
        parameterizer: Hyper(embedding: 1), sectors: Slices(),
        groups: {"a": (lr: 0.0, decay: inf), "b": (rate: 1)},
    )"#;
    use Code::{E0102, E0103, E0104, E0105};
    let expected = [E0102, E0105, E0104, E0105, E0104, E0103, E0104, E0105, E0105, E0102];
    assert_eq!(codes(text), expected);
}

#[test]
fn defaults_need_no_some_and_an_optional_field_may_be_none() {
    let text = "(variables: Real(2), structure: RatSpn(units: 1, replicas: Some(2), seed: None))";
    let (spec, faults) = read(&Source::new("folder/t.ron", text));
    assert!(faults.is_empty(), "{faults}");
    let spec = spec.unwrap();
    assert_eq!((spec.name.as_str(), spec.parameterizer.value), ("t", ParameterizerSpec::Direct));
    assert_eq!(spec.leaves.real.value, DistSpec::learnable(FamilySpec::GAUSSIAN));
}

#[test]
fn the_arguments_of_a_custom_parameterizer_are_passed_on() {
    let text = r#"(variables: Binary(1), structure: RatSpn(units: 1, replicas: 1),
        parameterizer: Custom(name: "mine", args: [1, "two"]))"#;
    let ParameterizerSpec::Custom { name, args } =
        read(&Source::new("t.ron", text)).0.unwrap().parameterizer.value
    else {
        panic!("not read as custom")
    };
    let expected: ron::Value = "[1, \"two\"]".parse().unwrap();
    assert_eq!((name.as_str(), args), ("mine", expected));
}
