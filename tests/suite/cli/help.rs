//! Help texts, usage errors, and what this build does not have.

use super::Folder;

const VERBS: [&str; 9] =
    ["check", "compile", "train", "eval", "query", "sample", "inspect", "reproduce", "bench"];

#[test]
fn help_says_what_each_verb_and_flag_does() {
    let folder = Folder::new();
    insta::assert_snapshot!("help", folder.pcc("--help").ok().stdout);
    for verb in VERBS {
        let help = folder.pcc(&format!("{verb} -h")).ok().stdout;
        insta::assert_snapshot!(format!("help_{verb}"), help);
    }
}

#[test]
fn usage_errors_end_with_two_and_say_what_was_meant() {
    let folder = Folder::new();
    let lines = [
        "",
        "chek c.ron",
        "check",
        "check c.ron --smoth",
        "train c.ron --train t.data",
        "train c.ron --train t.data -o m --steps 3 --epochs 2",
        "train c.ron --train t.data -o m --batch 0",
        "train c.ron --train t.data -o m --lr -1",
        "train c.ron --train t.data -o m --optimizer adm",
        "train c.ron --train t.data -o m --memory lots",
        "compile c.ron --emit paln",
        "compile c.ron --evidence x1",
        "compile c.ron --target gpu",
        "sample m -n 0 -o s",
        "sample m -n 3 -o - --json",
        "reproduce nothing",
    ];
    let mut told = String::new();
    for line in lines {
        let done = folder.pcc(line);
        assert_eq!(done.code, 2, "{line}: {}", done.stderr);
        let first: Vec<&str> = done.stderr.lines().take_while(|line| !line.is_empty()).collect();
        told += &format!("pcc {line}\n    {}\n", first.join("\n    "));
    }
    insta::assert_snapshot!("usage_errors", told);
}

#[test]
fn a_usage_error_is_a_json_object_too() {
    let done = Folder::new().pcc("check --json");
    assert_eq!(done.code, 2);
    assert!(done.json()["error"].as_str().is_some_and(|error| error.contains("CIRCUIT.ron")));
}

#[test]
fn what_needs_a_device_ends_with_three_and_one_sentence() {
    if pcc::engine::cuda::probe().is_ok() {
        return;
    }
    let folder = Folder::with_circuit();
    let lines = [
        "compile c.ron --engine cuda",
        "compile c.ron --target cuda",
        "train c.ron --train train.data -o m --engine cuda",
        "eval m --data test.data --engine cuda",
        "sample m -n 1 -o s --engine cuda",
        "bench c.ron --engine cuda",
        "reproduce toy --engine cuda",
    ];
    for line in lines {
        let done = folder.pcc(&format!("{line} --json"));
        assert_eq!(done.code, 3, "{line}: {}", done.stderr);
        assert_eq!(done.json()["faults"][0]["code"], "E0701", "{line}");
    }
    assert_eq!(folder.files(), ["c.ron", "test.data", "train.data"]);
}

#[test]
fn what_this_build_does_not_do_it_says() {
    let folder = Folder::with_circuit();
    let lines = ["reproduce table1"];
    for line in lines {
        let done = folder.pcc(&format!("{line} --json"));
        assert_eq!(done.code, 1, "{line}: {}", done.stderr);
        assert_eq!(done.json()["faults"][0]["code"], "E0704", "{line}");
    }
}
