//! The files that lie beside a circuit's, and the circuits that others have published.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use pcc::data;
use pcc::import::{Companions, Format, open};
use pcc::structure::load;
use pcc::{Dataset, Model};

use super::engine;

/// A file written below a folder.
fn write(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, name).unwrap();
    path
}

#[test]
fn a_vtree_is_found_beside_its_circuit_or_in_the_folder_of_vtrees_beside_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let found = |circuit: &str| {
        let companions = Companions::beside(&path(circuit)).unwrap();
        companions.vtree.map(|vtree| vtree.text)
    };
    write(folder.path(), "psdd/a.10.psdd");
    assert_eq!(found("psdd/a.10.psdd"), None);
    write(folder.path(), "vtree/a.vtree");
    assert_eq!(found("psdd/a.10.psdd").unwrap(), "vtree/a.vtree");
    write(folder.path(), "psdd/a.vtree");
    assert_eq!(found("psdd/a.10.psdd").unwrap(), "psdd/a.vtree");
    write(folder.path(), "vtree/a.10.vtree");
    assert_eq!(found("psdd/a.10.psdd").unwrap(), "vtree/a.10.vtree");
    assert_eq!(found("psdd/b.psdd"), None);
    assert_eq!(found("psdd/a.10.spn"), None);
}

#[test]
fn weights_are_found_beside_a_formula_and_no_other_circuit() {
    let folder = tempfile::tempdir().unwrap();
    let found = |circuit: &str| {
        let companions = Companions::beside(&folder.path().join(circuit)).unwrap();
        companions.weights.map(|weights| weights.text)
    };
    write(folder.path(), "a.nnf.weights");
    assert_eq!(found("a.nnf").unwrap(), "a.nnf.weights");
    write(folder.path(), "a.weights");
    assert_eq!(found("a.nnf").unwrap(), "a.weights");
    assert_eq!(found("a.sdd").unwrap(), "a.weights");
    assert_eq!(found("a.psdd"), None);
}

/// A published circuit as a model.
fn model(path: &Path) -> Model {
    let source = open(path).unwrap();
    let loaded = load(&source, false).unwrap_or_else(|faults| panic!("{path:?}: {faults}"));
    let map = loaded.map;
    let imported = pcc::import::Imported {
        circuit: Some(loaded.circuit.into_circuit()),
        map,
        deterministic: false,
        models: None,
    };
    let compiled = super::compiled(&imported, true);
    let flat = compiled.parameters.initial(&compiled.written, 0, None);
    Model { source, compiled, flat }
}

fn log_p(model: &Model, data: &Dataset) -> Vec<f64> {
    model.evaluate(&mut engine(&model.compiled), data).unwrap().log_p
}

fn mean(log_p: &[f64]) -> f64 {
    log_p.iter().sum::<f64>() / log_p.len() as f64
}

#[test]
fn published_circuits_have_the_published_likelihoods_and_numbers_of_models() {
    let Some(folder) = std::env::var_os("PCC_CIRCUITS_DIR").map(PathBuf::from) else {
        // Past the harness, which shows the output of failed tests only.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED published circuits: PCC_CIRCUITS_DIR is not set");
        return;
    };
    let circuits = folder.join("circuits");
    let mut read = 0;
    for kind in ["psdd", "sdd", "nnf", "spn", "spflow/nltcs"] {
        let mut paths: Vec<PathBuf> = fs::read_dir(circuits.join(kind))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| Format::of(path).is_some())
            .collect();
        paths.sort();
        for path in paths {
            let companions = Companions::beside(&path).unwrap();
            let format = Format::of(&path).unwrap();
            let imported = pcc::import::read(format, &open(&path).unwrap(), &companions);
            let imported = imported.unwrap_or_else(|faults| panic!("{path:?}: {faults}"));
            let name = path.file_name().unwrap().to_string_lossy();
            if let Some(count) = imported.models.and_then(|models| models.count) {
                let known = [("X264_c2d.nnf", "1152"), ("small_ex_c2d.nnf", "4")];
                let known = known.iter().find(|(file, _)| *file == name);
                assert!(known.is_none_or(|(_, known)| count.to_string() == *known), "{path:?}");
            }
            read += 1;
        }
    }
    assert!(read >= 30, "only {read} circuits");
    let sets = |name: &str| folder.join(format!("debd/{name}/{name}.test.data"));
    for (file, set, known) in [
        ("psdd/nltcs.psdd", "nltcs", "-6.0448"),
        ("psdd/nltcs.clt.psdd", "nltcs", "-6.7590"),
        ("psdd/msnbc.psdd", "msnbc", "-6.0519"),
        ("psdd/plants.psdd", "plants", "-13.3542"),
        ("psdd/baudio.psdd", "baudio", "-41.5941"),
        ("psdd/msweb.psdd", "msweb", "-10.1360"),
        ("psdd/ad.psdd", "ad", "-16.7692"),
        ("spn/nltcs.spn", "nltcs", "-6.0786"),
        ("spn/nltcs.pyspnformat.spn", "nltcs", "-6.0786"),
    ] {
        let model = model(&circuits.join(file));
        let data = data::read(&sets(set), model.compiled.written.variables()).unwrap();
        assert_eq!(format!("{:.4}", mean(&log_p(&model, &data))), known, "{file}");
    }
    let model = model(&circuits.join("spflow/nltcs/nltcs_100_200_2_10_8_8_1_True.bin"));
    let input = circuits.join("spflow/nltcs/input.csv");
    let data = data::read(&input, model.compiled.written.variables()).unwrap();
    let output = circuits.join("spflow/nltcs/nltcs_100_200_2_10_8_8_1_True_output.csv");
    let output = fs::read_to_string(output).unwrap();
    let log_p = log_p(&model, &data);
    assert_eq!(output.lines().count(), log_p.len());
    for (row, (line, log_p)) in output.lines().zip(log_p).enumerate() {
        let known: f64 = line.parse().unwrap();
        assert!((log_p - known).abs() < 1e-4, "row {row}: {log_p}, not {known}");
    }
}
