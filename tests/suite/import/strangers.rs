//! Files from strangers: every truncation and every changed byte of a small file is told where it is
//! wrong, or is a circuit all the same; and no number in a file makes memory of itself.

use pcc::circuit::{Values, validate};
use pcc::cli::draw::draw;
use pcc::compile::{Options, compile};
use pcc::diag::{Diagnostics, Place, Severity, Source};
use pcc::engine::reference;
use pcc::import::{Companions, Imported};
use pcc::param::direct::Direct;

use super::diagrams;
use super::networks::{self, as_text, stored};
use super::{read, with_vtree};

const VTREE: &str = "vtree 5\nL 0 1\nL 1 2\nI 2 0 1\nL 3 3\nI 4 2 3\n";
const PSDD: &str = "c a\npsdd 9\nL 0 0 -1\nL 1 0 1\nT 2 1 2 -0.5\nL 3 1 2\nD 4 2 2 0 2 -0.1 1 3 -2.352\n\
                    T 5 3 3 -0.7 -0.6862\nD 6 4 1 4 5 0\n";
const SDD: &str =
    "sdd 7\nL 0 0 -1\nL 1 0 1\nL 2 1 2\nT 3\nD 4 2 2 0 2 1 3\nL 5 3 -3\nD 6 4 1 4 5\n";
const C2D: &str = "nnf 8 7 3\nL -1\nL 1\nL 2\nA 2 0 2\nO 1 2 3 1\nL -3\nA 2 4 5\nA 1 6\n";
const D4: &str = "o 1 0\na 2 0\nt 3 0\n1 2 -1 2 0\n1 3 1 -3 0\n2 3 3 0\n";
const SPN: &str = "# a\n+ 1 2 0.4 3 0.6\n* 2 4 5\n* 3 6 5\nindicator 4 1 2\ncategorical 5 2 0.3 0.7\n\
                   categorical 6 1 0.25 0.75\n";
const WEIGHTS: &str = "w 1 0.25\nc p weight -2 0.5 0\n3 2.5\n";

/// A file, and what lies beside it.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    companions: Companions,
}

fn samples() -> Vec<Sample> {
    let none = Companions::default;
    let sample =
        |name, text: &str, companions| Sample { name, bytes: text.as_bytes().to_vec(), companions };
    let weights = Companions { weights: Some(Source::new("w", WEIGHTS)), ..Companions::default() };
    vec![
        sample("a.psdd", PSDD, none()),
        sample("b.psdd", PSDD, with_vtree(VTREE)),
        sample("a.sdd", SDD, none()),
        sample("b.sdd", SDD, with_vtree(VTREE)),
        sample("c2d.nnf", C2D, none()),
        sample("d4.nnf", D4, none()),
        sample("w.nnf", D4, weights),
        sample("a.spn", SPN, none()),
        Sample {
            name: "a.bin",
            bytes: stored(&networks::Random::new(2, 5), 2),
            companions: none(),
        },
    ]
}

fn text_of(name: &str, bytes: &[u8]) -> Option<String> {
    match name.ends_with(".bin") {
        true => Some(as_text(bytes)),
        false => std::str::from_utf8(bytes).ok().map(str::to_string),
    }
}

/// Nothing but errors with places, or a circuit whose worlds sum to one.
fn is_harmless(what: &str, read: Result<Imported, Diagnostics>) -> bool {
    let faults = match read {
        Err(faults) => faults,
        Ok(Imported { circuit: None, models, .. }) => {
            assert_eq!(models.unwrap().log_weight, f64::NEG_INFINITY, "{what}");
            return true;
        }
        Ok(Imported { circuit: Some(circuit), map, .. }) => match validate(circuit, &map) {
            Err(faults) => faults,
            Ok((circuit, _)) => {
                let made = compile(circuit.into_circuit(), &map, &Direct, &Options::default());
                let compiled = made.unwrap_or_else(|faults| panic!("{what}: {faults}"));
                let written = &compiled.written;
                let flat: Vec<f64> = compiled.parameters.initial(written, 0, None);
                let values: Values<f64> = compiled.parameters.values(written, &flat);
                let nothing = vec![None; written.variables().len()];
                let mass = reference::log_likelihood(written, &values, &nothing);
                assert!(mass.abs() < 1e-9, "{what}: the worlds sum to e^{mass}");
                return true;
            }
        },
    };
    assert!(faults.has_errors(), "{what}");
    for fault in faults.iter().filter(|fault| fault.severity() == Severity::Error) {
        assert_ne!(fault.place, Place::None, "{what}: {fault}");
    }
    false
}

#[test]
fn every_truncation_is_told_where_it_ends_or_is_a_circuit_all_the_same() {
    for Sample { name, bytes, companions } in samples() {
        assert!(is_harmless(name, read(name, &text_of(name, &bytes).unwrap(), &companions)));
        let mut refused = 0;
        for len in 0..bytes.len() {
            let text = text_of(name, &bytes[..len]).unwrap();
            let what = format!("{name} cut off after {len} bytes");
            refused += usize::from(!is_harmless(&what, read(name, &text, &companions)));
        }
        assert!(refused > bytes.len() / 4, "{name}: {refused} of {} refused", bytes.len());
    }
}

#[test]
fn every_changed_byte_is_told_where_it_is_or_makes_another_circuit() {
    for Sample { name, bytes, companions } in samples() {
        // A stored network is long, and most of its bytes are parts of numbers.
        let stride = if name.ends_with(".bin") { 7 } else { 1 };
        for at in 0..bytes.len() {
            for byte in (0..=255u8).skip(at % stride).step_by(stride) {
                let mut changed = bytes.clone();
                changed[at] = byte;
                let Some(text) = text_of(name, &changed) else { continue };
                let what = format!("{name} with byte {at} as {byte}");
                is_harmless(&what, read(name, &text, &companions));
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_companion_is_told_in_that_file() {
    for at in 0..VTREE.len() {
        for byte in 0..128u8 {
            let mut changed = VTREE.as_bytes().to_vec();
            changed[at] = byte;
            let vtree = String::from_utf8(changed).unwrap();
            for (name, text) in [("a.psdd", PSDD), ("a.sdd", SDD)] {
                let what = format!("{name} beside a vtree with byte {at} as {byte}");
                is_harmless(&what, read(name, text, &with_vtree(&vtree)));
            }
        }
    }
    for at in 0..WEIGHTS.len() {
        for byte in 0..128u8 {
            let mut changed = WEIGHTS.as_bytes().to_vec();
            changed[at] = byte;
            let weights = Some(Source::new("w", String::from_utf8(changed).unwrap()));
            let what = format!("weights with byte {at} as {byte}");
            is_harmless(&what, read("a.nnf", D4, &Companions { weights, ..Companions::default() }));
        }
    }
}

#[test]
fn promises_of_a_million_million_nodes_make_no_memory() {
    for count in ["1000000000000", "18446744073709551615", "4294967295", "1e12"] {
        for (name, text) in [
            ("a.psdd", PSDD.replace("psdd 9", &format!("psdd {count}"))),
            ("a.psdd", PSDD.replace("D 4 2 2", &format!("D 4 2 {count}"))),
            ("a.psdd", PSDD.replace("L 0 0 -1", &format!("L {count} 0 -1"))),
            ("a.psdd", PSDD.replace("L 0 0 -1", &format!("L 0 0 -{count}"))),
            ("a.sdd", SDD.replace("sdd 7", &format!("sdd {count}"))),
            ("a.sdd", SDD.replace("D 4 2 2", &format!("D 4 2 {count}"))),
            ("a.nnf", C2D.replace("nnf 8 7 3", &format!("nnf {count} 7 3"))),
            ("a.nnf", C2D.replace("nnf 8 7 3", &format!("nnf 8 7 {count}"))),
            ("a.nnf", C2D.replace("A 2 0 2", &format!("A {count} 0 2"))),
            ("a.nnf", D4.replace("1 3 1 -3 0", &format!("1 3 1 -{count} 0"))),
            ("a.spn", SPN.replace("indicator 4 1 2", &format!("indicator 4 1 {count}"))),
            ("a.spn", SPN.replace("indicator 4 1 2", &format!("indicator 4 {count} 2"))),
        ] {
            is_harmless(&text, read(name, &text, &Companions::default()));
        }
    }
    // A list of 2^29 elements, in a message of a few words.
    let mut bytes = stored(&networks::Random::new(2, 5), 2);
    let table = 16;
    let tag = table + 8 * (u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize + 1);
    bytes[tag..tag + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(!is_harmless("a long list", read("a.bin", &as_text(&bytes), &Companions::default())));
}

#[test]
fn nodes_a_hundred_thousand_deep_need_no_stack() {
    let mut text = String::from("nnf 100002 0 2\nL 1\nA 1 0\n");
    (1..=100_000).for_each(|below| text += &format!("O 0 1 {below}\n"));
    assert!(is_harmless("deep", read("deep.nnf", &text, &Companions::default())));
}

#[test]
fn each_way_to_be_wrong_is_drawn_as_recorded() {
    let cases: [(&str, &str, String, Option<&str>); 24] = [
        ("no header", "a.psdd", "L 0 0 1\n".into(), None),
        ("a line cut off", "a.psdd", PSDD.replace(" 1 3 -2.352", " 1"), None),
        ("an unknown prime", "a.psdd", PSDD.replace("0 2 -0.1", "8 2 -0.1"), None),
        ("an id twice", "a.psdd", PSDD.replace("L 1 0 1", "L 0 0 1"), None),
        ("probabilities that miss one", "a.psdd", PSDD.replace("-0.1 ", "-0.2 "), None),
        ("a positive logarithm", "a.psdd", PSDD.replace("-0.1 ", "0.1 "), None),
        ("another vtree", "a.psdd", PSDD.into(), Some("vtree 3\nL 0 1\nL 1 2\nI 2 0 1\n")),
        ("a literal elsewhere", "a.psdd", PSDD.replace("L 3 1 2", "L 3 1 3"), Some(VTREE)),
        (
            "nodes that disagree",
            "a.psdd",
            PSDD.replace("D 6 4 1 4 5 0", "D 6 4 1 5 4 0\nD 7 4 1 4 5 0"),
            None,
        ),
        ("no whole vtree", "a.psdd", PSDD.replace("D 6 4 1 4 5 0\n", ""), Some(VTREE)),
        ("a vtree with a fault", "a.psdd", PSDD.into(), Some("vtree 2\nL 0 1\nI 1 0 7\n")),
        (
            "a vtree without a variable",
            "a.psdd",
            PSDD.into(),
            Some("vtree 3\nL 0 1\nL 1 3\nI 2 0 1\n"),
        ),
        ("fewer nodes than promised", "a.sdd", SDD.replace("sdd 7", "sdd 8"), None),
        (
            "an element across the vtree",
            "a.sdd",
            SDD.replace("D 6 4 1 4 5", "D 6 4 1 5 4"),
            Some(VTREE),
        ),
        ("an unknown input", "a.nnf", C2D.replace("A 2 0 2", "A 2 0 7"), None),
        ("inputs that agree", "a.nnf", C2D.replace("L -1", "L 1"), None),
        ("a factor twice", "a.nnf", C2D.replace("L -3", "L 2"), None),
        ("a variable beyond the promised", "a.nnf", C2D.replace("L -3", "L -4"), None),
        ("a line that does not close", "a.nnf", D4.replace("2 3 3 0", "2 3 3"), None),
        ("branches that agree", "a.nnf", D4.replace("1 3 1 -3 0", "1 3 -3 0"), None),
        ("a node below itself", "a.nnf", D4.replace("2 3 3 0", "2 1 3 0"), None),
        ("two roots", "a.spn", SPN.replace("* 3 6 5", "* 3 5"), None),
        ("weights that miss one", "a.spn", SPN.replace("3 0.6", "3 0.5"), None),
        ("a word that is no kind", "a.spn", SPN.replace("categorical 6", "poisson 6"), None),
    ];
    let mut told = String::new();
    for (what, name, text, vtree) in cases {
        let companions = vtree.map(with_vtree).unwrap_or_default();
        let faults = match read(name, &text, &companions) {
            Err(faults) => faults,
            Ok(imported) => match validate(imported.circuit.unwrap(), &imported.map) {
                Err(faults) => faults,
                Ok(_) => panic!("{what} is accepted"),
            },
        };
        let source = Source::new(name, &text);
        told += &format!("{what}\n{}\n", draw(&faults, Some(&source), false));
    }
    insta::assert_snapshot!("faults", told);
}

#[test]
fn a_psdd_whose_lines_are_cut_away_one_by_one_is_never_another_distribution() {
    let random = diagrams::Random::new(6, -3.0, 11);
    let (psdd, vtree) = (random.psdd(), random.vtree());
    let lines: Vec<&str> = psdd.lines().collect();
    for len in 0..lines.len() {
        let text = lines[..len].join("\n");
        assert!(read("cut.psdd", &text, &with_vtree(&vtree)).is_err(), "{len} lines");
    }
}
