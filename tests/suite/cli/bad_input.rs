//! Each way an input can be wrong: one message with its place, exit code 1, nothing half written.

use pcc::diag::{Place, Source};
use pcc::model::file;
use pcc::structure;

use super::{CIRCUIT, Done, Folder};

/// A command line that must be refused for one reason, and leave no file behind.
fn refused(folder: &Folder, line: &str) -> Done {
    let before = folder.files();
    let done = folder.pcc(&format!("{line} --json"));
    assert_eq!(done.code, 1, "{line}: {}", done.stderr);
    assert_eq!(folder.files(), before, "{line}");
    let json = done.json();
    let faults = json["faults"].as_array().map_or(0, Vec::len);
    assert_eq!(faults, 1, "{line}: {json}");
    assert!(!done.stderr.contains("panicked"), "{line}: {}", done.stderr);
    done
}

/// A line a case: what was wrong, and what was said of it.
fn told(case: &str, done: &Done) -> String {
    let fault = &done.json()["faults"][0];
    let at = |key: &str| fault[key].as_u64().map_or(String::new(), |number| format!(":{number}"));
    let [code, message] = ["code", "message"].map(|key| fault[key].as_str().unwrap_or("?"));
    format!("{case}\n    {code}{}{} {message}\n", at("line"), at("column"))
}

#[test]
fn wrong_data_are_one_message_with_row_and_column() {
    let folder = Folder::with_circuit();
    let cases: [(&str, &[u8]); 14] = [
        ("wrong column count", b"0,1,0,1,0,1\n0,1,0\n"),
        ("minus one", b"0,1,0,-1,0,1\n"),
        ("two where binary", b"0,1,0,1,0,2\n"),
        ("a fraction in a category", b"1.5,1,0,1,0,1\n"),
        ("a number too large", b"0,1,1e20,1,0,1\n"),
        ("not a number", b"0,1,0,NaN,0,1\n"),
        ("infinity", b"0,1,0,1,0,1\n0,1,0,inf,0,1\n"),
        ("minus infinity", b"0,-inf,0,1,0,1\n"),
        ("a word", b"0,1,0,1,yes,1\n"),
        ("an empty file", b""),
        ("an empty line", b"0,1,0,1,0,1\n\n0,1,0,1,0,1\n"),
        ("not UTF-8", b"0,1,0,1,0,\xff\n"),
        ("a truncated NumPy array", b"\x93NUMPY\x01\x00"),
        ("Parquet", b"PAR1"),
    ];
    let mut all = String::new();
    for (case, bytes) in cases {
        folder.write("bad.data", bytes);
        let done = refused(&folder, "train c.ron --train bad.data -o m --steps 2");
        all += &told(case, &done);
    }
    all += &told("a missing file", &refused(&folder, "train c.ron --train none -o m --steps 2"));
    all += &told("a folder", &refused(&folder, "train c.ron --train . -o m --steps 2"));
    insta::assert_snapshot!("bad_data", all);
}

#[test]
fn bad_data_are_refused_wherever_they_are_read() {
    let folder = Folder::with_circuit();
    folder.write("bad.data", "0,1,0,1,0,2\n");
    folder.pcc("train c.ron --train train.data -o m --steps 2").ok();
    let lines = [
        "train c.ron --train train.data --valid bad.data -o m2 --steps 2",
        "train c.ron --train train.data --test bad.data -o m2 --steps 2",
        "eval m --data bad.data",
        "sample m -n 1 --given bad.data -o s",
        "bench c.ron --data bad.data",
    ];
    for line in lines {
        let done = refused(&folder, line);
        assert_eq!(done.json()["faults"][0]["code"], "E0502", "{line}");
    }
}

#[test]
fn a_faulty_circuit_is_refused_by_every_verb_that_reads_one() {
    let folder = Folder::with_circuit();
    let cases = [
        ("unknown field", CIRCUIT.replace("parameterizer", "parametrizer")),
        ("no RON", "(variables: Binary(6),, )".to_string()),
        (
            "unregistered parameterizer",
            CIRCUIT.replace("Hyper(", "Custom(name: \"mine\", args: (").replace("[5])", "[5]))"),
        ),
        ("unknown tensor", CIRCUIT.replace("parameterizer", GROUPS)),
        ("empty", String::new()),
    ];
    let mut all = String::new();
    for (case, text) in cases {
        folder.write("bad.ron", text);
        for line in ["compile bad.ron", "inspect bad.ron", "bench bad.ron"] {
            refused(&folder, line);
        }
        let line = "train bad.ron --train train.data -o m --steps 2";
        all += &told(case, &refused(&folder, line));
    }
    folder.write("bad.ron", b"(variables: Binary(\xff))");
    all += &told("not UTF-8", &refused(&folder, "check bad.ron"));
    all += &told("missing", &refused(&folder, "check none.ron"));
    all += &told("unknown variable", &refused(&folder, "compile c.ron --marginalize x2,y4"));
    all += &told("unsuitable evidence", &refused(&folder, "compile c.ron --evidence x1=2"));
    all += &told(
        "too little memory",
        &refused(&folder, "train c.ron --train train.data -o m --memory 1KiB --threads 2"),
    );
    all += &told("parameters not given", &refused(&folder, "eval c.ron --data test.data"));
    insta::assert_snapshot!("bad_circuits", all);
}

/// Options of a tensor that no circuit has, before another field.
const GROUPS: &str = "groups: {\"hypre\": (lr: 0.1)},\n    parameterizer";

#[test]
fn a_model_whose_text_names_a_tensor_it_does_not_have_is_refused_wherever_it_is_loaded() {
    let folder = Folder::with_circuit();
    folder.pcc("train c.ron --train train.data -o m --steps 2").ok();
    let mut model = file::load(&folder.path("m")).unwrap();
    model.source.text = model.source.text.replace("parameterizer", GROUPS);
    file::save(&folder.path("m"), &model).unwrap();
    for line in ["eval m --data test.data", "sample m -n 1 -o s", "inspect m"] {
        let fault = refused(&folder, line).json()["faults"][0].clone();
        let place = [&fault["code"], &fault["line"], &fault["column"]];
        assert_eq!(place, [&"E0404".into(), &4.into(), &14.into()] as [&serde_json::Value; 3]);
    }
}

#[test]
fn a_circuit_cut_anywhere_is_one_message_with_a_place() {
    let text = CIRCUIT.trim_end();
    for end in 0..text.len() {
        let source = Source::new("cut.ron", &text[..end]);
        let faults = match structure::load(&source, false) {
            Ok(_) => panic!("accepted up to byte {end}"),
            Err(faults) => faults,
        };
        assert_eq!(faults.len(), 1, "up to byte {end}: {faults}");
        let placed = faults.iter().all(|fault| matches!(fault.place, Place::Span(_)));
        assert!(placed, "up to byte {end}: {faults}");
    }
}

#[test]
fn a_damaged_model_is_refused_whichever_byte_is_damaged() {
    let folder = Folder::with_circuit();
    folder.pcc("train c.ron --train train.data -o m --steps 2").ok();
    let model = folder.read("m");
    let places = [0, 7, 8, 9, 60, 200, model.len() / 2, model.len() - 1];
    for at in places {
        let mut damaged = model.clone();
        damaged[at] ^= 1;
        folder.write("damaged", damaged);
        for line in ["eval damaged --data test.data", "sample damaged -n 1 -o s", "inspect damaged"]
        {
            let done = refused(&folder, line);
            let code = &done.json()["faults"][0]["code"];
            assert!(code == "E0601" || code == "E0603", "byte {at}: {code}");
        }
    }
    for (name, bytes) in [("cut", &model[..model.len() - 1]), ("empty", &[]), ("circuit", b"(x")] {
        folder.write(name, bytes);
        let done = refused(&folder, &format!("eval {name} --data test.data"));
        assert_eq!(done.json()["faults"][0]["code"], "E0601", "{name}");
    }
}

#[test]
fn a_model_is_refused_data_of_another_circuit() {
    let folder = Folder::with_circuit();
    folder.pcc("train c.ron --train train.data -o m --steps 2").ok();
    folder.write("wide.data", "0,1,0,1,0,1,0\n");
    let done = refused(&folder, "eval m --data wide.data");
    assert_eq!(done.json()["faults"][0]["code"], "E0501");
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_the_work() {
    let folder = Folder::with_circuit();
    let lines = [
        "train c.ron --train train.data -o none/m --steps 1000000000",
        "train c.ron --train train.data -o . --steps 1000000000",
        "train c.ron --train train.data -o m --log none/l --steps 1000000000",
        "train c.ron --train train.data -o m --plot none/p.svg --steps 1000000000",
    ];
    for line in lines {
        let done = refused(&folder, line);
        assert_eq!(done.json()["faults"][0]["code"], "E0001", "{line}");
    }
}

#[test]
fn a_model_where_a_circuit_is_wanted_is_told_from_text_and_sent_where_it_belongs() {
    let folder = Folder::with_circuit();
    folder.pcc("train c.ron --train train.data -o m --steps 2").ok();
    for line in ["check m", "compile m", "train m --train train.data -o n", "bench m"] {
        let done = folder.pcc(&format!("{line} --json"));
        assert_eq!(done.code, 1, "{line}: {}", done.stderr);
        let fault = &done.json()["faults"][0];
        assert_eq!(fault["code"], "E0002", "{line}");
        assert!(fault["message"].as_str().is_some_and(|said| said.contains("a model")), "{fault}");
        assert!(done.stderr.contains("pcc eval"), "{line}: {}", done.stderr);
    }
}
