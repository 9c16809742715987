//! The README's section on queries: its commands are run, and answer what it says.

use std::process::{Command, Stdio};

use super::Folder;

/// How far the numbers printed may be from those answered: they are rounded, and those of a model that is trained
/// depend on the instruction set.
const TOLERANCE: f64 = 6e-3;

/// The commands of a section, each with the lines it answers.
fn commands(section: &str) -> Vec<(String, Vec<String>)> {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let after = text.split(&format!("## {section}\n")).nth(1).unwrap_or_default();
    let within = after.split("\n## ").next().unwrap_or_default();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in within.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => inside = line == "```console",
            Some(command) if inside => commands.push((command.to_owned(), Vec::new())),
            _ if inside => commands.last_mut().unwrap().1.push(line.to_owned()),
            _ => {}
        }
    }
    commands
}

/// Whether two lines of comma-separated values are equal but for the last digits of their numbers.
fn alike(found: &str, told: &str) -> bool {
    let cells = found.split(',').zip(told.split(','));
    let mut close = cells.map(|(found, told)| match (found.parse::<f64>(), told.parse::<f64>()) {
        (Ok(found), Ok(told)) => found == told || (found - told).abs() < TOLERANCE,
        _ => found == told,
    });
    found.split(',').count() == told.split(',').count() && close.all(|close| close)
}

#[test]
fn the_queries_of_the_readme_answer_what_it_says() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("circuits")).unwrap();
    folder.write("circuits/sprinkler.ron", crate::support::describe::collected("sprinkler.ron"));
    let commands = commands("Queries");
    assert!(commands.len() > 12, "{commands:?}");
    for (command, told) in commands {
        let mut shell = Command::new("sh");
        let script = format!("pcc() {{ \"$PCC\" \"$@\"; }}\n{command}");
        shell.args(["-c", &script]).env("PCC", env!("CARGO_BIN_EXE_pcc"));
        shell.current_dir(folder.path(".")).stdin(Stdio::null());
        let output = shell.output().unwrap();
        // What people are told on standard error is in the README only where nothing else is.
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let refused = output.status.code() == Some(1);
        let said =
            if refused { errors.lines().next().unwrap_or_default() } else { text.trim_end() };
        let lines: Vec<&str> = said.lines().collect();
        let same = lines.len() == told.len()
            && lines.iter().zip(&told).all(|(found, told)| alike(found, told));
        assert!(same, "{command}\nanswers\n{said}\nand not\n{}\n{errors}", told.join("\n"));
    }
}
