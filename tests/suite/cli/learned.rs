//! Structures that take more than their description: training data, or a file beside it.

use super::{Folder, rows};

const HCLT: &str = "(variables: Binary(6), structure: Hclt(units: 3))\n";

#[test]
fn a_tree_is_learned_in_training_and_kept_by_the_model() {
    let folder = Folder::with_circuit();
    folder.write("h.ron", HCLT);
    let train = "train h.ron --train train.data --steps 20 -o m.pcc --json";
    let learned = folder.pcc(train).ok().json();
    // Six emissions of 3 × 2, five transitions of 3 × 3, and the root.
    assert_eq!(learned["weights"], 6 * 6 + 5 * 9 + 3);
    let on = |data: &str| folder.pcc(&format!("eval m.pcc --data {data} --json")).ok().json();
    let (ours, theirs) = (on("train.data")["mean_ll"].as_f64(), learned["train_ll"].as_f64());
    assert!((ours.unwrap() - theirs.unwrap()).abs() < 1e-5, "{ours:?} {theirs:?}");
    // The model needs neither the data nor the description again.
    std::fs::remove_file(folder.path("train.data")).unwrap();
    std::fs::remove_file(folder.path("h.ron")).unwrap();
    on("test.data");
    folder.pcc("sample m.pcc -n 3 -o s.csv").ok();
    folder.pcc("inspect m.pcc").ok();
}

#[test]
fn without_data_there_is_one_clear_message_and_with_them_a_plan() {
    let folder = Folder::with_circuit();
    folder.write("h.ron", HCLT);
    for line in ["check h.ron --json", "compile h.ron --json", "inspect h.ron --json"] {
        let done = folder.pcc(line);
        assert_eq!(done.code, 1, "{line}: {}", done.stderr);
        let said = done.stderr.matches("E0118").count() + done.stdout.matches("E0118").count();
        assert!(said >= 1, "{line}: {} {}", done.stdout, done.stderr);
    }
    let plan = folder.pcc("compile h.ron --data train.data --json").ok().json();
    assert_eq!(plan["weights"], 6 * 6 + 5 * 9 + 3);
    let wrong = folder.pcc("compile h.ron --data absent.data");
    assert!(wrong.code == 1 && wrong.stderr.contains("E0001"), "{}", wrong.stderr);
    folder.write("narrow.data", "0,1\n");
    let wrong = folder.pcc("train h.ron --train narrow.data -o m.pcc");
    assert!(wrong.code == 1 && wrong.stderr.contains("E0501"), "{}", wrong.stderr);
}

#[test]
fn a_vtree_lies_beside_its_description_and_in_the_model() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("sub")).unwrap();
    let vtree = "vtree 11\nL 0 1\nL 1 2\nL 2 3\nL 3 4\nL 4 5\nL 5 6\n\
                 I 6 0 1\nI 7 2 3\nI 8 4 5\nI 9 6 7\nI 10 9 8\n";
    folder.write("sub/six.vtree", vtree);
    let text = "(variables: Binary(6), structure: Vtree(file: \"six.vtree\", units: 2))\n";
    folder.write("sub/v.ron", text);
    folder.write("train.data", rows(50));
    folder.pcc("check sub/v.ron").ok();
    folder.pcc("train sub/v.ron --train train.data --steps 5 -o m.pcc").ok();
    std::fs::remove_dir_all(folder.path("sub")).unwrap();
    folder.pcc("eval m.pcc --data train.data").ok();
    folder.write("v.ron", text);
    let gone = folder.pcc("check v.ron --json");
    assert!(gone.code == 1 && gone.json()["faults"][0]["code"] == "E0001", "{}", gone.stdout);
    folder.write("six.vtree", vtree.replace("I 10 9 8", "I 10 9 9"));
    let wrong = folder.pcc("check v.ron");
    assert!(wrong.code == 1 && wrong.stderr.contains("six.vtree:12"), "{}", wrong.stderr);
}
