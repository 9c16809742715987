//! Building circuits from descriptions.

use super::*;
use crate::circuit::{Determinism, Op};
use crate::ids::Id;

fn loaded(text: &str) -> Loaded {
    load(&Source::new("t.ron", text), false).unwrap_or_else(|faults| panic!("{faults}"))
}

fn rat(n: usize, fields: &str) -> ValidCircuit {
    loaded(&format!("(variables: Binary({n}), structure: RatSpn({fields}))")).circuit
}

fn graph(variables: &str, nodes: &str) -> String {
    format!("(variables: Named([{variables}]), structure: Graph(nodes: {{{nodes}}}, root: \"s\"))")
}

const AB: &str = r#"(name: "a", kind: Binary), (name: "b", kind: Categorical(3))"#;

/// A sum over products of the frozen leaves [a = i] and a leaf of b.
fn choice_by_a(first: &str, second: &str, weights: &str) -> String {
    let nodes = format!(
        r#""a0": Leaf(var: "a", dist: Bernoulli(p: {first}, frozen: true)),
           "a1": Leaf(var: "a", dist: Bernoulli(p: {second}, frozen: true)),
           "b": Leaf(var: "b", dist: Categorical()),
           "p0": Product(["a0", "b"]), "p1": Product(["a1", "b"]),
           "s": Sum(inputs: ["p0", "p1"]{weights})"#
    );
    graph(AB, &nodes)
}

#[test]
fn a_rat_spn_has_the_sectors_and_weights_of_the_paper() {
    let circuit = rat(16, "units: 5, replicas: 50, seed: 0");
    let weights = circuit.weights();
    assert_eq!(weights.len(), 50 * 31 + 1);
    assert_eq!(weights.values().map(|w| w.len()).sum::<usize>(), 25_800);
    // Leaf sectors of a replica first, then eight, four, two of k × k, and its root.
    let shapes: Vec<(u32, u32)> =
        weights.values().skip(31).take(31).map(|w| (w.rows, w.cols)).collect();
    assert_eq!(shapes[..16], [(5, 2); 16]);
    assert_eq!(shapes[16..30], [(5, 5); 14]);
    assert_eq!(shapes[30], (1, 5));
}

#[test]
fn an_odd_level_ends_in_a_product_of_three() {
    let circuit = rat(69, "units: 3, replicas: 1");
    let is_product = |&node: &NodeId| circuit.op(node) == Op::Product;
    let mut widths: Vec<usize> =
        circuit.nodes().filter(is_product).map(|node| circuit.inputs(node).count()).collect();
    // Levels of 69, 34, 17, 8, 4, 2 regions: the first and the third are odd.
    assert_eq!(widths.len(), 34 + 17 + 8 + 4 + 2 + 1);
    widths.retain(|&inputs| inputs != 2);
    assert_eq!(widths, [3, 3]);
}

#[test]
fn one_variable_has_a_root_over_its_leaf() {
    let circuit = rat(1, "units: 5, replicas: 1");
    let shapes: Vec<_> = circuit.weights().values().map(|w| (w.rows, w.cols)).collect();
    assert_eq!(shapes, [(1, 2), (1, 1)]);
    let learnable = loaded("(variables: Real(1), structure: RatSpn(units: 5, replicas: 2))");
    let shapes: Vec<_> = learnable.circuit.weights().values().map(|w| (w.rows, w.cols)).collect();
    assert_eq!(shapes, [(1, 5), (1, 5), (1, 2)]);
}

#[test]
fn a_replica_depends_on_the_seed_and_its_number_alone() {
    let leaves = |circuit: &ValidCircuit, replica: usize| -> Vec<VarId> {
        // The leaves come first, then the replicas: 16 leaf sums and 15 products with their sums.
        let first = 16 + replica * 46;
        (first..first + 16)
            .map(|sum| {
                let leaf = circuit.inputs(NodeId::from_index(sum)).next().unwrap();
                let Op::Leaf { var, .. } = circuit.op(leaf) else { panic!("{leaf} is no leaf") };
                var
            })
            .collect()
    };
    let few = rat(16, "units: 2, replicas: 2, seed: 7");
    let many = rat(16, "units: 2, replicas: 4, seed: 7");
    let other = rat(16, "units: 2, replicas: 2, seed: 8");
    assert_eq!(leaves(&few, 1), leaves(&many, 1));
    assert_ne!(leaves(&few, 0), leaves(&few, 1));
    assert_ne!(leaves(&few, 0), leaves(&other, 0));
}

#[test]
fn given_permutations_are_taken_and_leaves_follow_the_kind_of_variable() {
    let text = r#"(
        variables: Named([(name: "a", kind: Binary), (name: "h", kind: Real)]),
        structure: RatSpn(units: 3, replicas: 1, permutations: [[1, 0]]),
    )"#;
    let circuit = loaded(text).circuit;
    let text = circuit.to_string();
    let expected = "\
circuit variables=2 nodes=6 edges=5 root=n5
n1 leaf h Gaussian d1 units=3 scope=1
n0 leaf a Indicators d0 units=2 scope=1
n2 sum w0(n0) units=3 scope=1
n3 product(n1, n2) units=3 scope=2
n4 sum w1(n3) units=1 scope=2
n5 mixing w2(n4) units=1 scope=2
";
    assert_eq!(text, expected);
}

#[test]
fn nodes_may_be_used_before_the_text_defines_them() {
    let nodes = r#""s": Sum(inputs: ["k"]), "k": Kronecker(["a", "b"]),
        "a": Leaf(var: "a", dist: Bernoulli(p: [0.1, 0.2]), units: 2),
        "b": Leaf(var: "b", dist: Indicators)"#;
    let circuit = loaded(&graph(AB, nodes)).circuit;
    assert_eq!(circuit.units(NodeId(1)), 6);
    assert_eq!(circuit.weights().values().next().map(|w| (w.rows, w.cols)), Some((1, 6)));
}

#[test]
fn determinism_is_proven_where_supports_are_disjoint_and_only_there() {
    let of = |text: &str| loaded(text).circuit.properties().deterministic;
    assert_eq!(of(&choice_by_a("0.0", "1.0", "")), Determinism::Proven);
    assert_eq!(of(&choice_by_a("0.0", "0.5", "")), Determinism::Unknown);
    let half = ", weights: [1.0, 0.0]";
    assert_eq!(of(&choice_by_a("0.0", "0.5", half)), Determinism::Unknown);
    let frozen = ", weights: [1.0, 0.0], frozen: true";
    assert_eq!(of(&choice_by_a("0.0", "0.5", frozen)), Determinism::Proven);
    assert_eq!(rat(8, "units: 1, replicas: 1").properties().deterministic, Determinism::Proven);
    assert_eq!(rat(8, "units: 2, replicas: 1").properties().deterministic, Determinism::Unknown);
    assert_eq!(rat(8, "units: 1, replicas: 2").properties().deterministic, Determinism::Unknown);
}

#[test]
fn one_tree_is_structured_and_prints_its_vtree() {
    let text = "(variables: Binary(4), structure: RatSpn(units: 2, replicas: 1,
        permutations: [[2, 0, 3, 1]]))";
    let circuit = loaded(text).circuit;
    let vtree = circuit.vtree().map(|vtree| vtree.to_string());
    let expected = "x0 x1 x2 x3\n  x0 x2\n    x0\n    x2\n  x1 x3\n    x1\n    x3\n";
    assert_eq!(vtree.as_deref(), Some(expected));
    assert!(rat(16, "units: 2, replicas: 3").vtree().is_none());
}

#[test]
fn smoothing_multiplies_uniform_leaves_into_what_lacks_them() {
    let nodes = r#""a": Leaf(var: "a", dist: Bernoulli(), units: 2),
        "b": Leaf(var: "b", dist: Categorical(), units: 2),
        "p": Product(["a", "b"]), "s": Sum(inputs: ["p", "a"])"#;
    let source = Source::new("t.ron", graph(AB, nodes));
    assert!(load(&source, false).is_err());
    let loaded = load(&source, true).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.smoothed, [(NodeId(3), vec![VarId(1)])]);
    let added = &loaded.circuit.dists()[Id::from_index(2)];
    assert!(added.frozen);
    assert_eq!(added.given, Some(vec![1.0 / 3.0; 6]));
}

#[test]
fn a_missing_real_variable_is_left_for_validation() {
    let variables = r#"(name: "a", kind: Binary), (name: "h", kind: Real)"#;
    let nodes = r#""a": Leaf(var: "a", dist: Bernoulli()), "h": Leaf(var: "h", dist: Gaussian()),
        "p": Product(["a", "h"]), "s": Sum(inputs: ["p", "a"])"#;
    let faults = load(&Source::new("t.ron", graph(variables, nodes)), true).unwrap_err();
    let codes: Vec<Code> = faults.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [Code::E0201]);
}

#[test]
fn large_circuits_are_built() {
    let circuit = rat(200_000, "units: 2, replicas: 1");
    let halves = std::iter::successors(Some(200_000), |&n| (n > 1).then_some(n / 2));
    let pairs: usize = halves.skip(1).sum();
    assert_eq!(circuit.node_count(), 2 * 200_000 + 2 * pairs + 1);
    let mut nodes = String::new();
    for var in 0..50_000 {
        nodes += &format!("\"l{var}\": Leaf(var: \"x{var}\", dist: Indicators),\n");
        nodes += &format!("\"s{var}\": Sum(inputs: [\"l{var}\"]),\n");
    }
    let inputs: Vec<String> = (0..50_000).map(|var| format!("\"s{var}\"")).collect();
    nodes += &format!("\"s\": Product([{}])", inputs.join(", "));
    let text =
        format!("(variables: Binary(50000), structure: Graph(nodes: {{{nodes}}}, root: \"s\"))");
    assert_eq!(loaded(&text).circuit.node_count(), 100_001);
}
