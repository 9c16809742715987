//! Drawings of circuits: what they show, in a bounded number of blocks, and that they are always the
//! same text.

use pcc::circuit::SourceMap;
use pcc::drawing::svg;

use crate::support::describe::{collected, compiled, rat_spn};

/// The drawing of a description, as it is written.
fn drawn(description: &str) -> String {
    let compiled = compiled(description);
    let table = compiled.parameters.table();
    svg(&compiled.written, &SourceMap::default(), table, "a <title>")
}

/// What a drawing says, a text a line.
fn words(svg: &str) -> Vec<&str> {
    let texts = svg.split("<text ").skip(1);
    texts.map(|rest| rest.split_once('>').unwrap().1.split_once("</text>").unwrap().0).collect()
}

fn assert_as_recorded(name: &str, description: &str) {
    let first = drawn(description);
    assert_eq!(first, drawn(description), "{name}: two drawings of one circuit");
    insta::with_settings!({
        snapshot_path => "../snapshots/drawings",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, first);
    });
}

#[test]
fn a_small_circuit_is_drawn_node_by_node_as_recorded() {
    assert_as_recorded("sprinkler", &collected("sprinkler.ron"));
}

#[test]
fn replicas_are_drawn_once_as_recorded() {
    assert_as_recorded("nltcs-hyperspn", &collected("nltcs-hyperspn.ron"));
}

#[test]
fn sectors_and_shared_regions_are_drawn_as_recorded() {
    assert_as_recorded("svhn-hyperspn", &collected("svhn-hyperspn.ron"));
}

#[test]
fn a_circuit_of_many_different_parts_is_drawn_by_its_levels_as_recorded() {
    assert_as_recorded("phrases-hmm", &collected("phrases-hmm.ron"));
}

#[test]
fn a_tied_sector_has_one_colour_and_others_have_others() {
    let hmm = |tied| {
        format!(
            "(name: \"h\", variables: Categorical(n: 4, states: 3), \
             structure: Hmm(units: 2, tied: {tied}), leaves: Categorical())"
        )
    };
    let colours = |svg: &str| {
        let fills = svg.split("height=\"9\" fill=\"").skip(1);
        let mut fills: Vec<String> = fills.map(|rest| rest[..7].to_string()).collect();
        fills.sort();
        fills.dedup();
        fills.len()
    };
    // Three transitions and the root.
    assert_eq!(colours(&drawn(&hmm(false))), 4);
    assert_eq!(colours(&drawn(&hmm(true))), 2);
}

#[test]
fn numbers_of_equal_parts_add_up_to_the_nodes() {
    let compiled = compiled(&rat_spn(32, 3, 7, "leaves: Indicators"));
    let svg = svg(&compiled.written, &SourceMap::default(), compiled.parameters.table(), "r");
    let count = |words: &str| -> Option<usize> {
        let (number, what) = words.split_once(' ')?;
        let counted = ["sums", "leaves", "of"].iter().any(|start| what.starts_with(start));
        counted.then(|| number.replace(',', "").parse().ok()).flatten()
    };
    // All but the mixing layer are more than one.
    let nodes: usize = words(&svg).into_iter().filter_map(count).sum();
    assert_eq!(nodes + 1, compiled.written.order().len());
}

#[test]
fn a_drawing_has_few_blocks_however_large_the_circuit() {
    let tree: Vec<String> = (1..3000).map(|to| format!("({}, {to})", (to - 1) * 7 / 8)).collect();
    let hclt = format!(
        "(name: \"h\", variables: Binary(3000), \
         structure: Hclt(units: 2, tree: [{}]), leaves: Indicators)",
        tree.join(", ")
    );
    for description in [hclt, rat_spn(3000, 2, 3, "leaves: Indicators")] {
        let text = drawn(&description);
        let blocks = text.matches(" rx=").count() + text.matches("<circle").count();
        assert!((4..=60).contains(&blocks), "{blocks} blocks");
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert!(text.contains("<title>a &lt;title&gt;</title>") && !text.contains("NaN"));
    }
}
