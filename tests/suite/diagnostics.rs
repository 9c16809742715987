//! Every diagnostic that a description can cause, as a person sees it.
//!
//! Each file of `tests/invalid` has one fault, named by its code, but for `many.ron`, which has one
//! of nearly every kind. The whole drawing is the snapshot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pcc::cli::draw::{draw, to_json};
use pcc::diag::{Code, Diagnostics, Source};
use pcc::sector::partition;
use pcc::structure::load;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ron"));
    files.sort();
    files
}

fn source(path: &Path) -> Source {
    let name = path.file_name().unwrap().to_string_lossy();
    Source::new(name, fs::read_to_string(path).unwrap())
}

/// All that the stages from text to sectors find, warnings too.
fn found(source: &Source) -> Diagnostics {
    match load(source, false) {
        Err(faults) => faults,
        Ok(loaded) => {
            let kind = loaded.spec.sectors.value;
            let mut found = loaded.warnings;
            if let Err(faults) = partition(&loaded.circuit, &loaded.map, kind) {
                found.extend(faults);
            }
            found
        }
    }
}

#[test]
fn every_invalid_description_is_drawn_as_recorded() {
    for path in files("tests/invalid") {
        let source = source(&path);
        let drawn = draw(&found(&source), Some(&source), false);
        let name = path.file_stem().unwrap().to_string_lossy();
        insta::with_settings!({
            snapshot_path => "../snapshots/diagnostics",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name.as_ref(), drawn);
        });
    }
}

#[test]
fn a_file_of_one_fault_causes_that_fault_alone() {
    for path in files("tests/invalid").iter().filter(|path| !path.ends_with("many.ron")) {
        let name = path.file_stem().unwrap().to_string_lossy();
        let found = found(&source(path));
        let codes: Vec<&str> = found.iter().map(|fault| fault.code.name()).collect();
        assert_eq!(codes, [&name[..5]], "{name}");
    }
}

#[test]
fn every_code_that_a_description_can_cause_has_a_file() {
    // A description names a parameterizer and tensors, but only a model knows which there are.
    let elsewhere = [Code::E0402, Code::E0403, Code::E0404, Code::E0405];
    let wanted: BTreeSet<&str> = Code::ALL
        .iter()
        .filter(|code| ("01".."05").contains(&&code.name()[1..3]) && !elsewhere.contains(code))
        .map(|code| code.name())
        .collect();
    let files = files("tests/invalid");
    let names: Vec<_> =
        files.iter().map(|path| path.file_stem().unwrap().to_string_lossy()).collect();
    let have: BTreeSet<&str> =
        names.iter().filter(|name| *name != "many").map(|name| &name[..5]).collect();
    assert_eq!(have, wanted);
}

#[test]
fn every_circuit_of_the_collection_is_valid_and_says_what_it_shows() {
    for path in files("circuits") {
        let source = source(&path);
        let found = found(&source);
        assert!(found.is_empty(), "{}", draw(&found, Some(&source), false));
        assert!(source.text.starts_with("// "), "{} has no comment", source.name);
    }
}

#[test]
fn every_beginning_of_a_valid_description_is_refused_with_a_place() {
    for path in files("circuits") {
        let whole = source(&path);
        let end = whole.text.trim_end().len();
        for cut in (0..end).filter(|&cut| whole.text.is_char_boundary(cut)) {
            let part = Source::new("part.ron", &whole.text[..cut]);
            let faults = load(&part, false).map(|_| ()).unwrap_err();
            assert!(faults.has_errors(), "{} to byte {cut}", whole.name);
            draw(&faults, Some(&part), false);
        }
    }
}

#[test]
fn json_rows_have_place_and_node() {
    let source = source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid/E0201.ron"));
    let rows = to_json(&found(&source), Some(&source));
    let row = &rows[0];
    assert_eq!(row["code"], "E0201");
    assert_eq!(row["severity"], "error");
    assert_eq!(row["node"], "s");
    assert_eq!((row["line"].as_u64(), row["column"].as_u64()), (Some(8), Some(13)));
    assert!(row["message"].as_str().unwrap().contains("`a` lacks `b`"), "{row}");
}
