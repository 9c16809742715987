//! What is true of each structure alone: shapes and counts by formula, and what it computes.

use std::collections::BTreeSet;

use pcc::circuit::{Op, ValidCircuit, Values};
use pcc::diag::Source;
use pcc::engine::reference;
use pcc::ids::{NodeId, VarId, WeightsId};
use pcc::structure::load;

use crate::structures::numbers;
use crate::support::describe::compiled_with;
use crate::support::enumerate::{observed, worlds};

fn circuit(variables: &str, structure: &str) -> ValidCircuit {
    let text = format!("(variables: {variables}, structure: {structure})");
    load(&Source::new("t.ron", text), false).unwrap_or_else(|faults| panic!("{faults}")).circuit
}

/// Shapes of all weight layers and how many have each, largest last.
fn shapes(circuit: &ValidCircuit) -> Vec<((u32, u32), usize)> {
    let mut shapes: Vec<(u32, u32)> =
        circuit.weights().values().map(|weights| (weights.rows, weights.cols)).collect();
    shapes.sort_unstable();
    shapes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// The scopes of all nodes for which `holds`.
fn scopes(circuit: &ValidCircuit, holds: impl Fn(NodeId) -> bool) -> BTreeSet<Vec<u32>> {
    let scope = |node| {
        let mut scope: Vec<u32> =
            circuit.scopes().variables(circuit.scope(node)).iter().map(|var| var.0).collect();
        scope.sort_unstable();
        scope
    };
    circuit.nodes().filter(|&node| holds(node)).map(scope).collect()
}

#[test]
fn an_einet_has_the_layers_of_its_trees() {
    let (k, replicas) = (4, 3);
    for (n, depth) in [(16, 2), (16, 4), (11, 3), (5, 0), (5, 9), (1, 2)] {
        let text = format!("Einet(units: {k}, replicas: {replicas}, depth: {depth}, seed: 3)");
        let circuit = circuit(&format!("Binary({n})"), &text);
        let bottom = n.min(1 << depth) as usize;
        let mut expected = vec![((1, replicas as u32), 1), ((k, 2), replicas * n as usize)];
        match bottom {
            1 => expected.push(((1, k), replicas)),
            _ => expected.push(((1, k * k), replicas)),
        }
        if bottom > 2 {
            expected.push(((k, k * k), replicas * (bottom - 2)));
        }
        expected.sort_unstable();
        assert_eq!(shapes(&circuit), expected, "{n} variables, depth {depth}");
    }
}

#[test]
fn a_replica_of_an_einet_depends_on_the_seed_and_its_number_alone() {
    let regions = |seed, replicas| {
        let text = format!("Einet(units: 2, replicas: {replicas}, depth: 1, seed: {seed})");
        let circuit = circuit("Binary(12)", &text);
        let halves = |node: NodeId| circuit.op(node) == Op::Product;
        scopes(&circuit, halves)
    };
    assert!(regions(1, 4).is_superset(&regions(1, 2)));
    assert!(regions(1, 2).is_superset(&regions(1, 1)) && regions(1, 2) != regions(1, 1));
    assert_ne!(regions(1, 1), regions(2, 1));
    assert!(regions(1, 3).iter().all(|half| half.len() == 6));
}

/// The weights of a sum layer, [rows, cols].
fn weights(circuit: &ValidCircuit, values: &Values<f64>, id: WeightsId) -> Vec<Vec<f64>> {
    let cols = circuit.weights()[id].cols as usize;
    values.weights(id).chunks_exact(cols).map(<[f64]>::to_vec).collect()
}

/// The forward algorithm over the hidden states, Rabiner 1989, equations 19 to 21: the first state's
/// distribution, and each step's emissions, and the transitions between steps.
fn forward_algorithm(
    first: &[f64],
    emissions: &[Vec<Vec<f64>>],
    transitions: &[Vec<Vec<f64>>],
    world: &[f32],
) -> f64 {
    let states = 0..first.len();
    let mut alpha: Vec<f64> =
        states.clone().map(|i| first[i] * emissions[0][i][world[0] as usize]).collect();
    for step in 1..world.len() {
        let reached = |j: usize| -> f64 {
            states.clone().map(|i| alpha[i] * transitions[step - 1][i][j]).sum()
        };
        alpha =
            states.clone().map(|j| reached(j) * emissions[step][j][world[step] as usize]).collect();
    }
    alpha.iter().sum()
}

#[test]
fn the_likelihood_of_an_hmm_is_that_of_the_forward_algorithm() {
    for seed in 0..100 {
        let (n, units, tied) = (1 + seed % 7, 1 + seed % 4, seed % 2 == 0);
        let states = 2 + seed / 4 % 2;
        let text = format!(
            "(variables: Categorical(n: {n}, states: {states}), \
             structure: Hmm(units: {units}, tied: {tied}))"
        );
        let compiled = compiled_with(&text, true);
        let circuit = &compiled.written;
        let (_, values) = numbers(&compiled, seed);
        // Down the chain: the first state over a region, a region its emission and what follows.
        let mut layer = circuit.root();
        let (mut emissions, mut chain) = (Vec::new(), Vec::new());
        for step in 0..n {
            chain.push(weights(circuit, &values, circuit.op(layer).weights().unwrap()));
            let region = circuit.inputs(layer).next().unwrap();
            let factors: Vec<NodeId> = match step + 1 == n {
                true => vec![region],
                false => circuit.inputs(region).collect(),
            };
            let emission = circuit.op(factors[0]).weights().unwrap();
            emissions.push(weights(circuit, &values, emission));
            layer = *factors.last().unwrap();
        }
        for world in worlds(circuit) {
            let expected = forward_algorithm(&chain[0][0], &emissions, &chain[1..], &world);
            let found = reference::log_likelihood(circuit, &values, &observed(&world));
            assert!((found - expected.ln()).abs() < 1e-12, "{text} {world:?}: {found} {expected}");
        }
    }
}

#[test]
fn an_untied_hmm_has_a_transition_and_an_emission_a_step() {
    let of = |tied| {
        shapes(&circuit("Categorical(n: 9, states: 3)", &format!("Hmm(units: 4, tied: {tied})")))
    };
    assert_eq!(of(false), [((1, 4), 1), ((4, 3), 9), ((4, 4), 8)]);
    assert_eq!(of(true), [((1, 4), 1), ((4, 3), 1), ((4, 4), 1)]);
    let learned = circuit("Real(9)", "Hmm(units: 4)");
    assert_eq!(learned.dists().len(), 1);
    assert_eq!(shapes(&learned), [((1, 4), 1), ((4, 4), 1)]);
}

#[test]
fn the_regions_of_a_poon_domingos_structure_are_all_rectangles_of_its_pieces() {
    let (height, width, channels) = (4, 6, 2);
    for (axes, rows, cols) in [("[0, 1]", 2, 3), ("[1]", 1, 3), ("[0]", 2, 1)] {
        let pieces = match axes {
            "[0, 1]" => "[2, 3]".to_string(),
            _ => rows.max(cols).to_string(),
        };
        let text = format!(
            "PoonDomingos(shape: ({height}, {width}), pieces: {pieces}, axes: {axes}, units: 3)"
        );
        let circuit = circuit(&format!("Real({})", height * width * channels), &text);
        let mut expected = BTreeSet::new();
        let (tall, wide) = (height / rows, width / cols);
        for (top, left) in (0..rows).flat_map(|top| (0..cols).map(move |left| (top, left))) {
            for (bottom, right) in (top + 1..=rows)
                .flat_map(|bottom| (left + 1..=cols).map(move |right| (bottom, right)))
            {
                let holds = |&var: &u32| {
                    let (row, col) = (var / channels / width, var / channels % width);
                    (top * tall..bottom * tall).contains(&row)
                        && (left * wide..right * wide).contains(&col)
                };
                expected.insert((0..height * width * channels).filter(holds).collect::<Vec<u32>>());
            }
        }
        let region = |node| {
            let parents: Vec<NodeId> = circuit.parents(node).collect();
            let read_by_product = parents.iter().any(|&parent| circuit.op(parent) == Op::Kronecker);
            node == circuit.root() || read_by_product
        };
        assert_eq!(scopes(&circuit, region), expected, "{text}");
        let count =
            |of: &dyn Fn(Op) -> bool| circuit.nodes().filter(|&n| of(circuit.op(n))).count();
        // A rectangle of a × b pieces is cut in (a − 1) + (b − 1) ways.
        let mut ways = 0;
        for (a, b) in (1..=rows).flat_map(|a| (1..=cols).map(move |b| (a, b))) {
            ways += (rows - a + 1) * (cols - b + 1) * (a + b - 2);
        }
        assert_eq!(count(&|op| op == Op::Kronecker), ways as usize, "{text}");
        assert_eq!(count(&|op| matches!(op, Op::Sum { .. })), ways as usize, "{text}");
    }
}

#[test]
fn the_structure_of_the_papers_images_has_its_sectors() {
    let circuit =
        circuit("Real(3072)", "PoonDomingos(shape: (32, 32), pieces: 4, axes: [1], units: 40)");
    // Ten runs of columns: four leaves, six others, of which the last has one unit.
    let expected = [((1, 3), 1), ((1, 1600), 3), ((40, 2), 2), ((40, 1600), 3 + 4)];
    assert_eq!(shapes(&circuit), expected);
    assert_eq!(circuit.dists().len(), 3072);
}

#[test]
fn a_quad_tree_halves_every_axis_until_each_place_stands_alone() {
    let regular = circuit("Binary(64)", "QuadTree(shape: (8, 8), units: 3)");
    assert_eq!(shapes(&regular), [((1, 3), 1), ((3, 2), 64), ((3, 3), 16 + 4)]);
    let inputs = |circuit: &ValidCircuit| -> BTreeSet<usize> {
        let products = circuit.nodes().filter(|&node| circuit.op(node) == Op::Product);
        products.map(|node| circuit.inputs(node).count()).collect()
    };
    assert_eq!(inputs(&regular), BTreeSet::from([4]));
    let quadrant = |top: u32, left: u32, size: u32| -> Vec<u32> {
        (top..top + size)
            .flat_map(|row| (left..left + size).map(move |col| row * 8 + col))
            .collect()
    };
    let found = scopes(&regular, |node| is_product(&regular, node));
    for size in [2, 4, 8] {
        for (top, left) in (0..8)
            .step_by(size as usize)
            .flat_map(|top| (0..8).step_by(size as usize).map(move |left| (top, left)))
        {
            assert!(found.contains(&quadrant(top, left, size)), "{size} at {top}, {left}");
        }
    }
    assert_eq!(found.len(), 16 + 4 + 1);
    // Of odd lengths, of lengths that differ, of one axis, of three.
    for (variables, shape, parts) in [
        (21, "(7, 3)", vec![2, 4]),
        (5, "[5]", vec![2]),
        (24, "(2, 3, 4)", vec![4, 8]),
        (6, "(6, 1)", vec![2]),
    ] {
        let text = format!("QuadTree(shape: {shape}, units: 2)");
        let circuit = circuit(&format!("Binary({variables})"), &text);
        let found: Vec<usize> = inputs(&circuit).into_iter().collect();
        assert!(parts.iter().all(|part| found.contains(part)), "{text}: {found:?}");
    }
}

fn is_product(circuit: &ValidCircuit, node: NodeId) -> bool {
    circuit.op(node) == Op::Product
}

#[test]
fn channels_of_a_place_are_one_region() {
    let circuit = circuit("Real(12)", "QuadTree(shape: (2, 2), units: 5)");
    let leaves = |node: NodeId| {
        circuit.op(node) == Op::Product
            && circuit.inputs(node).all(|input| matches!(circuit.op(input), Op::Leaf { .. }))
    };
    let expected = (0..4).map(|place| (3 * place..3 * place + 3).collect());
    assert_eq!(scopes(&circuit, leaves), expected.collect());
}

#[test]
fn a_vtree_circuit_is_structured_by_its_vtree() {
    // The fourth and the first variable, beside them the second, then the third.
    let text = "vtree 7\nL 10 4\nL 11 1\nI 12 10 11\nL 20 2\nI 22 12 20\nL 21 3\nI 30 22 21";
    let circuit = circuit("Binary(4)", &format!("Vtree(text: {text:?}, units: 3)"));
    let vtree = circuit.vtree().map(|vtree| vtree.to_string()).unwrap_or_default();
    let expected = "x0 x1 x2 x3\n  x0 x1 x3\n    x0 x3\n      x0\n      x3\n    x1\n  x2\n";
    assert_eq!(vtree, expected);
    assert_eq!(shapes(&circuit), [((1, 3), 1), ((3, 2), 4), ((3, 3), 2)]);
}

#[test]
fn every_variable_of_a_hidden_chow_liu_tree_has_a_hidden_one_and_it_hangs_from_its_centre() {
    // A path of nine variables, whose middle is the fifth.
    let edges: Vec<(u32, u32)> = (1..9).map(|at| (at - 1, at)).collect();
    let path = circuit("Binary(9)", &format!("Hclt(units: 4, tree: {edges:?})"));
    assert_eq!(shapes(&path), [((1, 4), 1), ((4, 2), 9), ((4, 4), 8)]);
    let depth = |circuit: &ValidCircuit| {
        let mut depth = vec![0; circuit.node_count()];
        for &node in circuit.order() {
            let below = circuit.inputs(node).map(|input| depth[input.0 as usize]).max();
            depth[node.0 as usize] = below.map_or(0, |below: usize| below + 1);
        }
        depth[circuit.root().0 as usize]
    };
    // Leaf, emission, then a transition and a product a step; the root.
    assert_eq!(depth(&path), 1 + 2 * 4 + 1);
    let edges: Vec<(u32, u32)> = (1..9).map(|at| (0, at)).collect();
    let star = circuit("Binary(9)", &format!("Hclt(units: 4, tree: {edges:?})"));
    assert_eq!(depth(&star), 1 + 2 + 1);
    let hub = star.nodes().find(|&node| star.op(node) == Op::Product).unwrap();
    assert_eq!(star.inputs(hub).count(), 9);
    let own = star.inputs(hub).next().and_then(|emission| star.inputs(emission).next()).unwrap();
    assert!(matches!(star.op(own), Op::Leaf { var: VarId(0), .. }));
}

#[test]
fn descriptions_that_make_no_circuit_are_refused_with_what_would_mend_them() {
    let said = |variables: &str, structure: &str| {
        let text = format!("(variables: {variables}, structure: {structure})");
        let faults = match load(&Source::new("t.ron", text), false) {
            Ok(_) => panic!("accepted: {structure}"),
            Err(faults) => faults,
        };
        let line = |fault: &pcc::diag::Diagnostic| {
            assert_ne!(fault.place, pcc::diag::Place::None, "{fault}");
            format!("{fault}; {}\n", fault.help.as_deref().unwrap_or("no help"))
        };
        faults.iter().map(line).collect::<String>()
    };
    let all = [
        said("Binary(4)", "Einet(units: 0, replicas: 1, depth: -1)"),
        said("Binary(4)", "Einet(unit: 2)"),
        said("Binary(4)", "Einet(units: 16777216, replicas: 1048576)"),
        said("Binary(4)", "PoonDomingos(shape: (2, 3), pieces: 2, units: 1)"),
        said("Binary(4)", "PoonDomingos(shape: (2, 2), pieces: 3, axes: [0, 0], units: 1)"),
        said("Binary(4)", "PoonDomingos(shape: (2, 2), pieces: [1, 3], axes: [], units: 1)"),
        said("Binary(4)", "PoonDomingos(shape: (2, 2), pieces: [1, 3], units: 1)"),
        said("Binary(4)", "PoonDomingos(shape: (2, 2), pieces: [2], units: 1)"),
        said("Binary(4)", "QuadTree(shape: (), units: 1)"),
        said("Binary(4)", "QuadTree(shape: 4, units: 1)"),
        said("Binary(4)", "QuadTree(shape: (5, 67108864, 67108864, 67108864), units: 1)"),
        said("Binary(4)", "Hmm(units: 2, tied: 1)"),
        said("Named([(name: \"a\", kind: Real), (name: \"b\", kind: Binary)])", "Hmm(units: 2)"),
        said("Binary(4)", "Hclt(units: 2)"),
        said("Binary(4)", "Hclt(units: 2, tree: [(0, 1), (1, 2), (2, 0)])"),
        said("Binary(4)", "Hclt(units: 2, tree: [(0, 1), (1, 4), (2, 3)])"),
        said("Binary(4)", "Hclt(units: 2, tree: [(0, 1), (3, 2)])"),
        said("Binary(4)", "Hclt(units: 2, tree: [(0, 1, 2), 3])"),
        said("Binary(2)", "Vtree(units: 2)"),
        said("Binary(2)", "Vtree(units: 2, file: \"absent.vtree\")"),
        said("Binary(2)", "Vtree(units: 2, file: \"a\", text: \"b\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\\nL 1 1\\nI 2 0 1\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\\nL 1 3\\nI 2 0 1\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\\nI 2 0 1\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\\nL 0 2\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\\nL 1 2\\nI 2 0 0\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\\nL 1 2\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree x\\nL 0 1\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"L 0 1\")"),
        said("Binary(2)", "Vtree(units: 2, text: \"vtree 3\\nL 0 1\")"),
    ];
    insta::with_settings!({
        snapshot_path => "../../snapshots/structures",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("refused", all.join("\n"));
    });
}
