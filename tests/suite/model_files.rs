//! Model files: what is read is what was written, or one diagnostic.

use std::path::Path;

use pcc::diag::{Code, Source};
use pcc::model::ModelFile;
use pcc::model::Training;
use pcc::model::file::{load, save};
use pcc::param::{Init, TensorSet, TensorSpec};

use crate::support::files::replace;

fn tensors(specs: &[(&str, &[usize])]) -> TensorSet {
    let mut set = TensorSet::new();
    for (name, shape) in specs {
        set.push(TensorSpec::new(*name, shape.to_vec(), Init::Uniform(0.0, 1.0)));
    }
    set
}

const SPECS: &[(&str, &[usize])] = &[("hyper.b", &[2, 3]), ("hyper.a", &[4]), ("none", &[0, 2])];

fn model() -> ModelFile {
    let flat = [1.0, -2.5, 1e-40, f32::MAX, -0.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    let training = Training {
        data: "abc".into(),
        seed: 7,
        steps: 100,
        selected_step: 40,
        train_ll: Some(-1.0 / 3.0),
        valid_ll: None,
        test_ll: None,
    };
    let source = Source::new("a.ron", "Circuit(\n  name: \"ü\",\n)");
    ModelFile::new(source, &tensors(SPECS), &flat, Some(training))
}

/// Calls `f` with the bytes of a model file and a way to read others in their place.
fn with_file(f: impl FnOnce(Vec<u8>, &dyn Fn(&[u8]) -> Result<ModelFile, Code>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcc");
    save(&path, &model()).unwrap();
    let read = |bytes: &[u8]| {
        replace(&path, bytes);
        load(&path).map_err(|fault| {
            let shown = fault.to_string();
            assert!(shown.starts_with(&path.display().to_string()), "{shown}");
            fault.code
        })
    };
    f(std::fs::read(&path).unwrap(), &read);
}

#[test]
fn a_model_file_holds_what_was_saved_and_the_same_model_makes_the_same_bytes() {
    with_file(|bytes, read| {
        let found = read(&bytes).unwrap();
        let mut expected = model();
        expected.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found, expected);
        let flat = found.flat(&tensors(SPECS), Path::new("a.pcc")).unwrap();
        assert_eq!(flat[2].to_bits(), 1e-40f32.to_bits());
        assert!(flat[4].is_sign_negative());
        for _ in 0..20 {
            with_file(|again, _| assert_eq!(again, bytes));
        }
    });
}

#[test]
fn any_byte_changed_is_found() {
    with_file(|bytes, read| {
        for at in 0..bytes.len() {
            for change in [1 << (at % 8), 0x20, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                assert_eq!(read(&damaged), Err(Code::E0601), "byte {at}, change {change:#x}");
            }
        }
    });
}

#[test]
fn a_file_cut_or_continued_anywhere_is_found() {
    with_file(|bytes, read| {
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Err(Code::E0601), "cut to {len}");
        }
        for more in [&b" "[..], &[0], &bytes] {
            assert_eq!(read(&[&bytes, more].concat()), Err(Code::E0601));
        }
    });
}

#[test]
fn a_file_of_something_else_is_no_model() {
    with_file(|bytes, read| {
        let header = br#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}"#;
        let plain = [&(header.len() as u64).to_le_bytes(), &header[..], &[0; 4]].concat();
        let mut huge = bytes.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        for other in [&b"Circuit()"[..], &[0; 4000], &plain, &huge] {
            assert_eq!(read(other), Err(Code::E0601));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("absent")] {
        assert_eq!(load(path).unwrap_err().code, Code::E0001);
    }
}

/// The file with some of its text replaced and the hash made anew, as a program of another version
/// would have written it.
fn resealed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let find = |part: &[u8]| bytes.windows(part.len()).position(|window| window == part).unwrap();
    let mut changed = bytes.to_vec();
    let at = find(from.as_bytes());
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    let seal = find(br#"\"blake3\":\""#) + 13;
    changed[seal..seal + 64].fill(b'0');
    let digest = blake3::hash(&changed).to_hex();
    changed[seal..seal + 64].copy_from_slice(digest.as_bytes());
    changed
}

#[test]
fn a_sound_file_of_another_version_or_of_nonsense_is_named_as_that() {
    with_file(|bytes, read| {
        let outcomes = [
            (r#"\"version\":1"#, r#"\"version\":2"#, Code::E0603),
            (r#"\"format\":\"model\""#, r#"\"format\":\"other\""#, Code::E0601),
            (r#"\"circuit\":"#, r#"\"cirkuit\":"#, Code::E0601),
            (r#""shape":[2,3]"#, r#""shape":[9,9]"#, Code::E0601),
            (r#""dtype":"F32""#, r#""dtype":"I32""#, Code::E0601),
        ];
        assert!(read(&resealed(&bytes, "abc", "abd")).is_ok());
        for (from, to, code) in outcomes {
            assert_eq!(read(&resealed(&bytes, from, to)), Err(code), "{to}");
        }
    });
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcc");
    let mut model = model();
    model.tensors[1].values[2] = f32::NAN;
    save(&path, &model).unwrap();
    assert_eq!(load(&path).unwrap_err().code, Code::E0601);
}

#[test]
fn a_model_of_another_circuit_is_refused() {
    let other = |specs: &[(&str, &[usize])]| {
        let fault = model().flat(&tensors(specs), Path::new("a.pcc")).unwrap_err();
        fault.to_string()
    };
    let found = [
        other(&[SPECS[0], SPECS[1]]),
        other(&[SPECS[0], SPECS[1], SPECS[2], ("more", &[1])]),
        other(&[SPECS[0], ("hyper.a", &[5]), SPECS[2]]),
    ];
    insta::assert_snapshot!(found.join("\n"), @"
    a.pcc: error[E0602]: the model has a tensor `none`, the circuit none
    a.pcc: error[E0602]: the model has no tensor `more`
    a.pcc: error[E0602]: tensor `hyper.a` of the model is [4]; the circuit's is [5]
    ");
}

#[test]
fn a_model_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent").join("a.pcc");
    assert_eq!(save(&path, &model()).unwrap_err().code, Code::E0001);
}
