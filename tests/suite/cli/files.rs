//! Files that a command names twice, and what `check` says of what cannot learn.

use super::{CIRCUIT, Folder};

#[test]
fn no_file_of_the_users_is_written_over() {
    let folder = Folder::with_circuit();
    folder.pcc("train c.ron --train train.data -o m --steps 2").ok();
    folder.write("one.data", "0,1,0,1,0,1\n");
    let before: Vec<(String, Vec<u8>)> =
        folder.files().into_iter().map(|name| (name.clone(), folder.read(&name))).collect();
    let lines = [
        "train c.ron --train train.data -o train.data --steps 2",
        "train c.ron --train train.data -o ./../X/train.data --steps 2",
        "train c.ron --train train.data -o c.ron --steps 2",
        "train c.ron --train train.data --valid test.data -o test.data --steps 2",
        "train c.ron --train train.data -o m2 --log m2 --steps 2",
        "train c.ron --train train.data -o m2 --plot ./m2 --steps 2",
        "train c.ron --train train.data -o m2 --log train.data --steps 2",
        "eval m --data test.data --per-row test.data",
        "eval m --data test.data --per-row m",
        "query m map --data test.data -o test.data",
        "sample m -n 1 -o m",
        "sample m -n 1 --given one.data -o one.data",
        "compile c.ron -o c.ron --emit plan",
    ];
    let own = folder.0.path().file_name().unwrap().to_str().unwrap();
    for line in lines {
        let done = folder.pcc(&line.replace("/X/", &format!("/{own}/")));
        assert_eq!(done.code, 2, "{line}: {}", done.stderr);
        assert!(done.stderr.contains(" would write over "), "{line}: {}", done.stderr);
        for (name, contents) in &before {
            assert!(folder.read(name) == *contents, "{line}: {name} is another");
        }
        assert_eq!(folder.files().len(), before.len(), "{line}");
    }
    // What is no file, or read twice, is nobody's.
    folder.pcc("train c.ron --train train.data --valid train.data -o m --steps 2").ok();
    folder.pcc("eval m --data test.data --per-row -").ok();
    #[cfg(unix)]
    folder.pcc("train c.ron --train train.data -o m --log /dev/null --plot /dev/null").ok();
}

#[test]
fn a_circuit_that_cannot_learn_as_it_says_is_faulty() {
    let folder = Folder::with_circuit();
    let with = |field: &str| {
        CIRCUIT.replace("    parameterizer", &format!("    {field}\n    parameterizer"))
    };
    let custom = CIRCUIT.replace("Hyper(embedding: 3, hidden: [5])", "Custom(name: \"foo\")");
    let cases = [
        (with("sectors: Slices(2),"), "E0401"),
        (with("groups: {\"nope\": (lr: 0.1)},"), "E0404"),
        (custom, "E0402"),
    ];
    for (text, code) in cases {
        folder.write("d.ron", text);
        for verb in ["check", "compile"] {
            let done = folder.pcc(&format!("{verb} d.ron --json"));
            assert_eq!(done.code, 1, "{verb}: {}", done.stderr);
            assert_eq!(done.json()["faults"][0]["code"], code, "{verb}");
        }
        let checked = folder.pcc("check d.ron --json").json();
        assert_eq!(checked["smooth"], true, "{checked}");
        assert!(checked["structured_decomposable"].is_boolean(), "{checked}");
    }
}

#[test]
fn of_what_cannot_be_read_nothing_is_proven() {
    let folder = Folder::new();
    folder.write("open.ron", "(variables: Binary(2), structure\n\n\n");
    let done = folder.pcc("check open.ron --json");
    let checked = done.json();
    for property in ["smooth", "decomposable", "structured_decomposable"] {
        assert!(checked[property].is_null(), "{property}: {checked}");
    }
    let fault = &checked["faults"][0];
    let place = format!("open.ron:{}:{}", fault["line"], fault["column"]);
    let drawn = folder.pcc("check open.ron").stderr;
    assert!(drawn.contains(&place), "not {place}: {drawn}");
}

#[test]
fn a_circuit_that_is_spelled_out_learns_as_it_did() {
    let folder = Folder::with_circuit();
    folder.write(
        "g.ron",
        CIRCUIT.replace(
            "    parameterizer",
            "    sectors: Slices(1),\n    groups: {\"network\": (lr: 1e-3)},\n    parameterizer",
        ),
    );
    for circuit in ["c.ron", "g.ron"] {
        let learnable = |name: &str| {
            let done = folder.pcc(&format!("compile {name} --json")).ok();
            ["learnable_parameters", "sectors", "weights"].map(|key| done.json()[key].clone())
        };
        let spelled = folder.pcc(&format!("compile {circuit} --emit ron")).ok().stdout;
        folder.write("spelled.ron", spelled);
        assert_eq!(learnable("spelled.ron"), learnable(circuit), "{circuit}");
    }
    assert!(String::from_utf8(folder.read("spelled.ron")).unwrap().contains("lr: 1e-3"));
}
