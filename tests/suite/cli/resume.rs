//! Training that is killed or interrupted goes on as if it had never stopped.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Folder, exists};

/// Steps that take long enough to be stopped in their midst.
const STEPS: u32 = 6_000;

pub(super) fn line(more: &str) -> String {
    format!(
        "train c.ron --train train.data --valid test.data -o m --steps {STEPS} --eval-every 500 \
         --batch 100 {more}"
    )
}

/// Starts training, and returns once a checkpoint is there and some more steps have been done.
pub(super) fn begun(folder: &Folder, more: &str) -> Child {
    let mut command = folder.command(line(&format!("--threads 2 {more}")).split_whitespace());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !exists(&folder.path("m.checkpoint")) {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint was written");
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(child.try_wait().unwrap(), None, "it ended before it could be stopped");
    child
}

/// The model of a run that was not stopped.
fn straight() -> Vec<u8> {
    let folder = Folder::with_circuit();
    folder.pcc(&line("")).ok();
    folder.read("m")
}

#[test]
fn a_killed_run_resumes_to_the_same_model_with_other_threads() {
    let folder = Folder::with_circuit();
    let mut child = begun(&folder, "");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!exists(&folder.path("m")), "a model of half a run");

    // Another circuit is not what was begun.
    folder.write("other.ron", super::CIRCUIT.replace("units: 3", "units: 2"));
    let other = folder.pcc(&line("--resume --json").replace("c.ron", "other.ron"));
    assert_eq!((other.code, &other.json()["faults"][0]["code"]), (1, &"E0602".into()));

    folder.pcc(&line("--resume --threads 1")).ok();
    assert!(folder.read("m") == straight(), "the models differ");
    assert!(!exists(&folder.path("m.checkpoint")));
}

#[test]
fn an_interrupted_run_ends_with_130_and_a_checkpoint_to_go_on_from() {
    let folder = Folder::with_circuit();
    let mut child = begun(&folder, "");
    // The shell's own `kill`: a small machine has no program of that name.
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(exists(&folder.path("m.checkpoint")) && !exists(&folder.path("m")));
    folder.pcc(&line("--resume")).ok();
    assert!(folder.read("m") == straight(), "the models differ");
}

#[test]
fn resuming_where_nothing_was_begun_begins() {
    let folder = Folder::with_circuit();
    let short = "train c.ron --train train.data -o m --steps 5";
    folder.pcc(&format!("{short} --resume")).ok();
    let resumed = folder.read("m");
    folder.pcc(short).ok();
    assert!(folder.read("m") == resumed, "the models differ");
}
