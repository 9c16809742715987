//! Expectation-maximisation from the command line.

use super::{CIRCUIT, Folder};

/// A folder with a circuit whose weights are parameters themselves.
fn direct() -> Folder {
    let folder = Folder::with_circuit();
    folder.write("c.ron", CIRCUIT.replace("Hyper(embedding: 3, hidden: [5])", "Direct"));
    folder
}

#[test]
fn em_learns_and_its_model_explains_as_much_when_it_is_read_back() {
    let folder = direct();
    let line = "train c.ron --train train.data --test test.data -o m --optimizer em --json";
    let before = folder.pcc(&format!("{line} --steps 0")).ok().json();
    let after =
        folder.pcc(&format!("{line} --steps 30 --batch 120 --pseudo-count 0.5")).ok().json();
    let value = |report: &serde_json::Value| report["test_ll"].as_f64().unwrap();
    assert!(value(&after) > value(&before) + 0.5, "{before} {after}");
    let again = folder.pcc("eval m --data test.data --json").ok().json();
    assert!((value(&after) - again["mean_ll"].as_f64().unwrap()).abs() < 1e-9);
}

#[cfg(unix)]
#[test]
fn a_killed_run_of_em_resumes_to_the_same_model() {
    use super::resume::{begun, line};
    let straight = direct();
    straight.pcc(&line("--optimizer em")).ok();
    let folder = direct();
    let mut child = begun(&folder, "--optimizer em");
    child.kill().unwrap();
    child.wait().unwrap();
    folder.pcc(&line("--optimizer em --resume --threads 1")).ok();
    assert!(folder.read("m") == straight.read("m"), "the models differ");
}

#[test]
fn what_em_cannot_learn_is_refused_where_it_stands() {
    let folder = direct();
    folder.write("hyper.ron", CIRCUIT);
    folder.write(
        "decay.ron",
        CIRCUIT.replace("Hyper(embedding: 3, hidden: [5])", "WeightDecay(lambda: 1e-3)"),
    );
    let lines = [
        "hyper.ron --optimizer em",
        "decay.ron --optimizer em",
        "c.ron --optimizer em --lr 1.5",
        "c.ron --pseudo-count 1",
    ];
    let mut told = String::new();
    for line in lines {
        let done = folder.pcc(&format!("train {line} --train train.data -o m"));
        assert_eq!(done.code, 1, "{line}: {}", done.stderr);
        told += &format!("pcc train {line}\n{}\n", done.stderr.trim_end());
    }
    assert!(!super::exists(&folder.path("m")));
    insta::assert_snapshot!("em_refusals", told);
}
