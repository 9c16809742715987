//! The circuits and sectors of one small description of each structure, as recorded.

use crate::support::describe::compiled_with;

fn assert_as_recorded(name: &str, description: &str) {
    let text = || {
        let compiled = compiled_with(description, true);
        format!("{description}\n\n{}\n{}", compiled.written, compiled.parameters)
    };
    assert_eq!(text(), text(), "{name}: two texts of one circuit");
    insta::with_settings!({
        snapshot_path => "../../snapshots/structures",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text());
    });
}

#[test]
fn a_small_circuit_of_each_structure_is_as_recorded() {
    for (name, variables, structure) in [
        ("einet", "Binary(5)", "Einet(units: 2, replicas: 2, depth: 2, seed: 1)"),
        ("hmm", "Binary(4)", "Hmm(units: 3)"),
        ("quad-tree", "Binary(6)", "QuadTree(shape: (3, 2), units: 2)"),
        (
            "poon-domingos",
            "Real(18)",
            "PoonDomingos(shape: (2, 3), pieces: 3, axes: [1], units: 2)",
        ),
        (
            "vtree",
            "Binary(3)",
            r#"Vtree(text: "vtree 5\nL 0 3\nL 1 1\nL 2 2\nI 3 0 1\nI 4 3 2", units: 2)"#,
        ),
        ("hclt", "Binary(5)", "Hclt(units: 2, tree: [(0, 1), (1, 2), (1, 3), (3, 4)])"),
    ] {
        assert_as_recorded(name, &format!("(variables: {variables}, structure: {structure})"));
    }
}
