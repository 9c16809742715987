//! Circuits of other formats wherever the command takes a circuit.

use super::{Done, Folder};

/// A PSDD over two variables.
pub const PSDD: &str = "psdd 7\nL 0 0 -1\nL 1 0 1\nT 2 1 2 -0.5\nL 3 1 2\n\
                    D 4 2 2 0 2 -0.2231435513142097 1 3 -1.6094379124341003\n";
/// A formula of six models over three variables.
pub const C2D: &str = "nnf 6 4 3\nL -1\nL 1\nL 2\nA 2 0 2\nA 1 1\nO 1 2 3 4\n";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("a.psdd", PSDD);
    folder.write("a.vtree", "vtree 3\nL 0 1\nL 1 2\nI 2 0 1\n");
    folder.write("b.nnf", C2D);
    folder.write("never.nnf", "nnf 1 0 2\nO 0 0\n");
    folder.write("two.data", "0,1\n1,1\n,1\n1,0\n");
    folder.write("three.data", "1,0,0\n0,1,1\n0,0,1\n");
    folder
}

fn number(done: &Done, key: &str) -> f64 {
    done.json()[key].as_f64().unwrap_or(f64::NAN)
}

#[test]
fn each_verb_takes_a_psdd_with_the_vtree_beside_it() {
    let folder = folder();
    let checked = folder.pcc("check a.psdd --json").ok();
    assert_eq!(checked.json()["deterministic"], "proven");
    assert_eq!(checked.json()["structured_decomposable"], true);
    assert!(number(&folder.pcc("compile a.psdd --json").ok(), "multiply_adds") > 0.0);
    let inspected = folder.pcc("inspect a.psdd --json").ok();
    assert_eq!(inspected.json()["variables"], 2);
    assert!(inspected.json()["model_count"].is_null());
    let lines = folder.pcc("eval a.psdd --data two.data --per-row -").ok().stdout;
    let log_p: Vec<f64> = lines.lines().map(|line| line.parse().unwrap()).collect();
    let truth = [0.8 * (-0.5f64).exp(), 0.2, 0.8 * (-0.5f64).exp() + 0.2, 0.0];
    assert_eq!(log_p.len(), truth.len());
    for (log_p, p) in log_p.iter().zip(truth) {
        assert!((log_p.exp() - p).abs() < 1e-6, "{log_p} for {p}");
    }
    folder.pcc("sample a.psdd -n 5 -o samples.data").ok();
    assert_eq!(String::from_utf8(folder.read("samples.data")).unwrap().lines().count(), 5);
}

#[test]
fn inspecting_a_formula_counts_its_models_and_evaluating_it_spreads_over_them() {
    let folder = folder();
    let inspected = folder.pcc("inspect b.nnf --json").ok();
    assert_eq!(inspected.json()["model_count"], 6);
    assert!((number(&inspected, "log_model_weight") - 6f64.ln()).abs() < 1e-12);
    let evaluated = folder.pcc("eval b.nnf --data three.data --json").ok();
    assert_eq!(evaluated.json()["impossible_rows"], 1);
    folder.write("b.weights", "1 0.5\n");
    let weighed = folder.pcc("inspect b.nnf --json").ok();
    assert!(weighed.json()["model_count"].is_null());
    assert!((number(&weighed, "log_model_weight") - 4f64.ln()).abs() < 1e-12);
}

#[test]
fn a_formula_without_models_has_a_count_and_no_distribution() {
    let folder = folder();
    let inspected = folder.pcc("inspect never.nnf --json").ok();
    assert_eq!(inspected.json()["model_count"], 0);
    for line in ["check never.nnf --json", "eval never.nnf --data two.data --json"] {
        let done = folder.pcc(line);
        assert_eq!(done.code, 1, "{line}");
        assert_eq!(done.json()["faults"][0]["code"], "E0804", "{line}");
    }
}

#[test]
fn a_formula_of_no_variables_answers_every_query() {
    let folder = Folder::new();
    folder.write("true.nnf", "t 1 0\n");
    for query in ["loglik", "conditional", "map", "moments", "entropy"] {
        let done = folder.pcc(&format!("query true.nnf {query}")).ok();
        let [names, answer] = [0, 1].map(|line| done.stdout.lines().nth(line).unwrap());
        let fields = |line: &str| line.split(',').count();
        assert_eq!(fields(names), fields(answer), "{query}: {}", done.stdout);
        assert!(answer.ends_with("exact"), "{query}: {}", done.stdout);
    }
}

#[test]
fn a_fault_in_a_file_or_beside_it_is_told_with_its_line() {
    let folder = folder();
    folder.write("a.psdd", PSDD.replace("L 3 1 2", "L 3 1 three"));
    let fault = folder.pcc("check a.psdd --json").json()["faults"][0].clone();
    assert_eq!(
        (&fault["code"], &fault["line"], &fault["column"]),
        (&"E0801".into(), &5.into(), &7.into())
    );
    folder.write("a.psdd", PSDD);
    folder.write("a.vtree", "vtree 3\nL 0 1\nL 1 1\nI 2 0 1\n");
    let done = folder.pcc("eval a.psdd --data two.data");
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("a.vtree:3:1"), "{}", done.stderr);
}

#[test]
fn a_wrong_vtree_is_told_alike_beside_a_psdd_and_in_a_description() {
    let folder = folder();
    let structure = "structure: Vtree(file: \"a.vtree\", units: 2)";
    folder.write("v.ron", format!("(variables: Binary(2), {structure})"));
    let cases = [
        ("vtree 3\nL 0 1\nL 1 1\nI 2 0 1\n", "E0803", Some(3)),
        ("vtree 3\nL 0 1\nL 1 2\nI 2 0 7\n", "E0802", Some(4)),
        ("vtree 3\nL 0 1\nL one 2\nI 2 0 1\n", "E0801", Some(3)),
        ("vtree 3\nL 0 1\nL 1 2\n", "E0803", Some(3)),
        ("c nothing\n", "E0801", Some(1)),
        ("vtree 3\nL 0 1\n\u{e9}", "E0801", Some(3)),
    ];
    for (text, code, line) in cases {
        folder.write("a.vtree", text);
        let fault = |circuit: &str| {
            let done = folder.pcc(&format!("check {circuit} --json"));
            assert_eq!(done.code, 1, "{text:?}");
            let fault = done.json()["faults"][0].clone();
            let place = format!("a.vtree:{}:{}\n", fault["line"], fault["column"]);
            assert!(done.stderr.contains(&place), "{text:?}: {}", done.stderr);
            fault
        };
        let beside = fault("a.psdd");
        assert_eq!(beside, fault("v.ron"), "{text:?}");
        assert_eq!((beside["code"].as_str(), beside["line"].as_u64()), (Some(code), line));
    }
}

#[test]
fn what_is_written_of_a_circuit_is_read_again_with_the_same_likelihood() {
    let folder = folder();
    let before = number(&folder.pcc("eval a.psdd --data two.data --json").ok(), "std_error");
    for (emit, name) in [("psdd", "again.psdd"), ("vtree", "again.vtree"), ("ron", "again.ron")] {
        folder.write(name, folder.pcc(&format!("compile a.psdd --emit {emit}")).ok().stdout);
    }
    for name in ["again.psdd", "again.ron"] {
        let again = folder.pcc(&format!("eval {name} --data two.data --json")).ok();
        assert_eq!(again.json()["impossible_rows"], 1);
        assert!(before.is_nan() && number(&again, "std_error").is_nan());
        let per_row = |file: &str| {
            folder.pcc(&format!("eval {file} --data two.data --per-row -")).ok().stdout
        };
        let pairs = per_row(name);
        for (a, b) in pairs.lines().zip(per_row("a.psdd").lines()) {
            let [a, b]: [f64; 2] = [a, b].map(|line| line.parse().unwrap());
            assert!(a == b || (a - b).abs() < 1e-6, "{name}: {a}, {b}");
        }
    }
    let refused = folder.pcc("compile b.nnf --emit psdd");
    assert!(refused.code == 0 || refused.stderr.contains("E0704"), "{}", refused.stderr);
}

/// A description that imports a file.
fn importing(variables: &str, rest: &str) -> String {
    format!("(variables: {variables}, structure: Import({rest}))")
}

#[test]
fn a_description_names_the_variables_of_a_file_its_vtree_and_its_weights() {
    let folder = folder();
    folder.write("other.vtree", "vtree 3\nL 0 1\nL 1 2\nI 2 0 1\n");
    folder.write("heavy", "1 0.5\n");
    let named = "Named([(name: \"rain\", kind: Binary), (name: \"wet\", kind: Binary)])";
    folder.write("p.ron", importing(named, "file: \"a.psdd\", vtree: \"other.vtree\""));
    let per_row =
        |file: &str| folder.pcc(&format!("eval {file} --data two.data --per-row -")).ok().stdout;
    assert_eq!(per_row("p.ron"), per_row("a.psdd"));
    folder.pcc("compile p.ron --evidence wet=1").ok();
    // A formula's description may have more variables than its file: they are free.
    folder.write("f.ron", importing("Binary(4)", "file: \"b.nnf\", weights: \"heavy\""));
    folder.write("four.data", "1,0,0,1\n");
    let evaluated = folder.pcc("eval f.ron --data four.data --json").ok();
    // Weights 0.5 for one half of the models, which are four, and 1 for the two others; one bit free.
    assert!((number(&evaluated, "mean_ll") - (0.5 / 4.0 / 2.0f64).ln()).abs() < 1e-6);
}

#[test]
fn each_fault_of_an_imported_file_is_told_in_the_file_or_where_it_is_named() {
    let folder = folder();
    folder.write("bad.psdd", PSDD.replace("L 3 1 2", "L 3 1 three"));
    let mut told = String::new();
    for (variables, rest) in [
        ("Binary(2)", "file: \"none.psdd\""),
        ("Binary(2)", "file: \"a.txt\""),
        ("Binary(2)", "file: \"bad.psdd\""),
        ("Binary(3)", "file: \"a.psdd\""),
        ("Categorical(n: 2, states: 3)", "file: \"a.psdd\""),
        ("Binary(2)", "file: \"a.psdd\", vtree: \"bad.psdd\""),
        ("Binary(2)", "file: \"never.nnf\""),
        ("Binary(2)", "vtree: \"a.vtree\""),
    ] {
        folder.write("c.ron", importing(variables, rest));
        let done = folder.pcc("check c.ron --json");
        assert_eq!(done.code, 1, "{rest}");
        let fault = &done.json()["faults"][0];
        let at = |key: &str| fault[key].as_u64().map_or(String::new(), |at| format!(":{at}"));
        let message = fault["message"].as_str().unwrap_or("?");
        let code = fault["code"].as_str().unwrap_or("?");
        told +=
            &format!("{variables}, {rest}\n    {code}{}{} {message}\n", at("line"), at("column"));
    }
    insta::assert_snapshot!("imported_faults", told);
}
