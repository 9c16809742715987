//! `--memory`: what does not fit is made again, and nothing but time depends on it.

use super::Folder;

/// A circuit that is large enough to be cut, and rows for it.
fn wide() -> Folder {
    let folder = Folder::new();
    let circuit = "(variables: Binary(400), structure: RatSpn(units: 3, replicas: 1), \
                   parameterizer: Hyper(embedding: 3, hidden: [5]))";
    folder.write("wide.ron", circuit);
    let row = |row: usize| {
        let bits = (0..400).map(|var| ((row * 131 + var * 7) >> 3 & 1).to_string());
        bits.collect::<Vec<_>>().join(",")
    };
    folder.write("rows.data", (0..90).map(row).collect::<Vec<_>>().join("\n"));
    folder
}

const TRAIN: &str =
    "train wide.ron --train rows.data --valid rows.data --steps 12 --batch 70 --eval-every 5 -o";

#[test]
fn training_and_evaluation_within_little_memory_find_the_same() {
    let folder = wide();
    folder.pcc(&format!("{TRAIN} free")).ok();
    folder.pcc(&format!("{TRAIN} bounded --memory 200KiB --threads 2")).ok();
    folder.pcc(&format!("{TRAIN} again --memory 200KiB --threads 1")).ok();
    assert!(folder.read("bounded") == folder.read("again"), "threads change the model");
    let log_p = |line: &str| {
        let done = folder.pcc(&format!("eval {line} --data rows.data --json")).ok();
        done.json()["mean_ll"].as_f64().unwrap()
    };
    let free = log_p("free");
    for line in ["free --memory 170KiB", "bounded", "bounded --memory 110KiB"] {
        let found = log_p(line);
        assert!((found - free).abs() < 1e-3, "{line}: {found} and {free}");
    }
}

#[test]
fn the_plan_within_a_limit_is_shown() {
    let folder = wide();
    let plan = |flags: &str| {
        folder.pcc(&format!("compile wide.ron --batch 70 --emit plan {flags}")).ok().stdout
    };
    assert!(!plan("").contains("bounded:"));
    let bounded = plan("--memory 120KiB");
    assert!(bounded.contains("bounded: segments="), "{bounded}");
    let refused = folder.pcc("compile wide.ron --emit plan --memory 10KiB");
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("E0702"), "{}", refused.stderr);
}
