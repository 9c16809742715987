//! Chow–Liu trees against brute force, and descriptions that are completed by data.

use std::path::PathBuf;

use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::ids::VarId;
use pcc::structure::{chow_liu, load, resolve};
use pcc::variables::{VarKind, Variables};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random rows in which variables depend on those before them, some values missing. Variable i has
/// `states[i % states.len()]` states.
fn random_data(seed: u64, n: usize, states: &[u32], missing: f64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let states = |var: usize| states[var % states.len()];
    let kinds = (0..n).map(|var| (format!("v{var}"), VarKind::Categorical { states: states(var) }));
    let variables = Variables::named(kinds);
    let most = if states(0) > 100 { 3000 } else { 300 };
    let rows: Vec<Vec<Option<f32>>> = (0..rng.random_range(1..most))
        .map(|_| {
            let mut row: Vec<u32> = Vec::new();
            for var in 0..n {
                let follows = rng.random_bool(0.6) && var > 0;
                row.push(match follows {
                    true => row[(var * 7 + 3) % var] % states(var),
                    false => rng.random_range(0..states(var)),
                });
            }
            row.iter().map(|&x| (!rng.random_bool(missing)).then_some(x as f32)).collect()
        })
        .collect();
    Dataset::from_rows(&variables, rows).unwrap()
}

/// The mutual information of two variables, by its definition; zero where no row has both.
fn information(data: &Dataset, a: usize, b: usize) -> f64 {
    let value = |row, var: usize| data.value(row, VarId(var as u32)).map(|value| value as usize);
    let mut counts = vec![[0.0f64; 3]; 300 * 300];
    let mut total = 0.0f64;
    for row in 0..data.rows() {
        if let (Some(x), Some(y)) = (value(row, a), value(row, b)) {
            counts[x * 300 + y][0] += 1.0;
            counts[x][1] += 1.0;
            counts[y][2] += 1.0;
            total += 1.0;
        }
    }
    let of_pair = |pair: usize| {
        let [both, of_x, of_y] = [counts[pair][0], counts[pair / 300][1], counts[pair % 300][2]];
        if both > 0.0 {
            both / total * (both / total / (of_x / total * of_y / total)).ln()
        } else {
            0.0
        }
    };
    (0..300 * 300).map(of_pair).sum()
}

/// The edges of the tree of a Prüfer sequence.
fn tree_of(sequence: &[usize]) -> Vec<(usize, usize)> {
    let n = sequence.len() + 2;
    let mut degree = vec![1; n];
    sequence.iter().for_each(|&node| degree[node] += 1);
    let mut edges = Vec::new();
    for &node in sequence {
        let leaf = (0..n).find(|&leaf| degree[leaf] == 1).unwrap();
        edges.push((leaf, node));
        degree[leaf] -= 1;
        degree[node] -= 1;
    }
    let rest: Vec<usize> = (0..n).filter(|&node| degree[node] == 1).collect();
    edges.push((rest[0], rest[1]));
    edges
}

#[test]
fn a_chow_liu_tree_is_the_best_of_all_trees() {
    for seed in 0..120 {
        let n = 2 + seed as usize % 5;
        let states: [&[u32]; 5] = [&[2], &[3, 1], &[20], &[300, 300, 2], &[2, 40]];
        let states = states[seed as usize / 5 % 5];
        let missing = [0.0, 0.2][seed as usize / 25 % 2];
        let data = random_data(seed, n, states, missing);
        let mut weights = vec![0.0; n * n];
        for a in 0..n {
            for b in 0..n {
                weights[a * n + b] = information(&data, a, b);
            }
        }
        let total = |edges: &[(usize, usize)]| -> f64 {
            edges.iter().map(|&(a, b)| weights[a * n + b]).sum()
        };
        let best = (0..n.pow(n as u32 - 2))
            .map(|code| {
                let digits: Vec<usize> =
                    (0..n as u32 - 2).map(|place| code / n.pow(place) % n).collect();
                total(&tree_of(&digits))
            })
            .fold(0.0, f64::max);
        let found: Vec<(usize, usize)> =
            chow_liu::tree(&data).iter().map(|(a, b)| (a.0 as usize, b.0 as usize)).collect();
        assert_eq!(found.len(), n - 1);
        let sum = total(&found);
        assert!(
            (sum - best).abs() <= 1e-9 * best.max(1.0),
            "seed {seed}: {found:?} has {sum}, not {best}"
        );
    }
}

#[test]
fn real_variables_are_joined_to_what_they_follow_however_they_are_scaled() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let kinds = [VarKind::Real, VarKind::BINARY, VarKind::Real, VarKind::Real];
    let named = kinds.iter().enumerate().map(|(at, &kind)| (format!("v{at}"), kind));
    let rows: Vec<Vec<Option<f32>>> = (0..5000)
        .map(|_| {
            let x: f32 = rng.random_range(-1.0..1.0);
            let mut noise = || rng.random_range(-0.5f32..0.5);
            let y = (x + noise()) * 1e6;
            // v0 is x; v3 follows it, v1 follows v3, and v2 follows v1.
            let bit = f32::from(u8::from(y > 0.0));
            vec![Some(x), Some(bit), Some(10.0 * bit + noise()), Some(y)]
        })
        .collect();
    let data = Dataset::from_rows(&Variables::named(named), rows).unwrap();
    let mut edges: Vec<(u32, u32)> =
        chow_liu::tree(&data).iter().map(|(a, b)| (a.0.min(b.0), a.0.max(b.0))).collect();
    edges.sort_unstable();
    assert_eq!(edges, [(0, 3), (1, 2), (1, 3)]);
}

#[test]
fn a_chow_liu_tree_does_not_depend_on_the_number_of_threads() {
    let data = random_data(7, 30, &[4, 30], 0.1);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| chow_liu::tree(&data))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn a_description_is_completed_by_the_tree_of_the_data_and_is_the_same_circuit_ever_after() {
    let text = "( // kept\n    variables: Binary(4), structure: Hclt(units: 2), name: \"h\",\n)";
    let source = Source::new("h.ron", text);
    assert!(load(&source, false).unwrap_err().has_errors());
    let data = random_data(1, 4, &[2], 0.0);
    let whole = resolve(&source, |_| Ok(Some(data.clone()))).unwrap();
    insta::assert_snapshot!(whole.text, @r#"
    ( // kept
        variables: Binary(4), structure: Hclt(units: 2, tree: [(0, 3), (0, 1), (1, 2)]), name: "h",
    )
    "#);
    let circuit = load(&whole, false).unwrap().circuit;
    assert_eq!(circuit.weights().len(), 4 + 3 + 1);
    // Nothing is asked for, or changed, a second time.
    let again = resolve(&whole, |_| panic!("data are not needed")).unwrap();
    assert_eq!(again.text, whole.text);
    // Without data the text stays as it is.
    assert_eq!(resolve(&source, |_| Ok(None)).unwrap().text, text);
}

#[test]
fn a_vtree_in_a_file_beside_the_description_is_read_and_written_into_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.vtree"), "c \"x\"\nvtree 3\nL 0 2\nL 1 1\nI 2 0 1\n")
        .unwrap();
    let name: PathBuf = folder.path().join("c.ron");
    let text = r#"(variables: Binary(2), structure: Vtree(file: "a.vtree", units: 2))"#;
    let source = Source::new(name.display().to_string(), text);
    let circuit = load(&source, false).unwrap().circuit.to_string();
    let whole = resolve(&source, |_| panic!("a vtree takes no data")).unwrap();
    drop(folder);
    assert_eq!(load(&whole, false).unwrap().circuit.to_string(), circuit);
    let gone = load(&source, false).unwrap_err();
    assert!(gone.iter().any(|fault| fault.code.name() == "E0001"), "{gone}");
}
