//! From a circuit to a model, and what a model gives, with the model file alone.

use super::{Folder, exists, keys};

/// Trains `m` in a folder of its own, then takes everything but the model away.
fn trained() -> Folder {
    let folder = Folder::with_circuit();
    let line = "train c.ron --train train.data --valid test.data --test test.data -o m --steps 60 \
                --eval-every 20 --batch 40 --log log.jsonl --plot curves.svg";
    folder.pcc(line).ok();
    for name in ["c.ron", "train.data"] {
        std::fs::remove_file(folder.path(name)).unwrap();
    }
    folder
}

#[test]
fn training_reports_what_programs_read_and_keeps_no_checkpoint() {
    let folder = Folder::with_circuit();
    let line = "train c.ron --train train.data --valid test.data --test test.data -o m --steps 20 \
                --json";
    let json = folder.pcc(line).ok().json();
    assert_eq!(
        keys(&json),
        [
            "learnable_parameters",
            "seconds",
            "selected_step",
            "steps",
            "test_ll",
            "train_ll",
            "valid_ll",
            "weights"
        ]
    );
    assert_eq!(json["steps"], 20);
    // No validation, no test: their values are null, and the last step counts.
    let json = folder.pcc("train c.ron --train train.data -o m --epochs 2 --json").ok().json();
    assert!(json["valid_ll"].is_null() && json["test_ll"].is_null(), "{json}");
    assert_eq!([&json["steps"], &json["selected_step"]], [2, 2]);
    assert_eq!(folder.files(), ["c.ron", "m", "test.data", "train.data"]);
}

#[test]
fn a_model_file_is_all_that_evaluation_sampling_and_inspection_need() {
    let folder = trained();
    let eval = folder.pcc("eval m --data test.data --per-row ll.txt --json").ok().json();
    assert_eq!(
        keys(&eval),
        ["bits_per_dim", "impossible_rows", "mean_ll", "rows", "rows_in_logs", "std_error"]
    );
    let log_p = String::from_utf8(folder.read("ll.txt")).unwrap();
    let log_p: Vec<f64> = log_p.lines().map(|line| line.parse().unwrap()).collect();
    let mean = log_p.iter().sum::<f64>() / log_p.len() as f64;
    assert!((eval["mean_ll"].as_f64().unwrap() - mean).abs() < 1e-12);
    assert_eq!(eval["rows"], log_p.len());

    let inspect = folder.pcc("inspect m --json").ok().json();
    assert_eq!(inspect["training"]["steps"], 60);
    let test_ll = inspect["training"]["test_ll"].as_f64().unwrap();
    assert!((test_ll - mean).abs() < 1e-12, "{test_ll} {mean}");

    folder.pcc("sample m -n 500 -o s.csv").ok();
    let samples = folder.pcc("eval m --data s.csv --json").ok().json();
    assert_eq!([&samples["rows"], &samples["impossible_rows"]], [500, 0]);
}

#[test]
fn training_learns_something() {
    let folder = Folder::with_circuit();
    let ll = |steps| {
        let line = format!("train c.ron --train train.data -o m --steps {steps} --json");
        folder.pcc(&line).ok().json()["train_ll"].as_f64().unwrap()
    };
    let (before, after) = (ll(0), ll(200));
    assert!(after > before + 0.5, "{before} {after}");
}

#[test]
fn the_log_has_a_line_an_evaluation_and_the_plot_is_a_picture() {
    let folder = trained();
    let log = String::from_utf8(folder.read("log.jsonl")).unwrap();
    let steps: Vec<u64> = log
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(steps.last(), Some(&60));
    assert!(steps.is_sorted() && [20, 40].iter().all(|step| steps.contains(step)), "{steps:?}");
    let plot = String::from_utf8(folder.read("curves.svg")).unwrap();
    assert!(plot.contains("<svg") && plot.trim_end().ends_with("</svg>"));
}

#[test]
fn a_row_of_missing_values_has_probability_one() {
    let folder = trained();
    folder.write("missing.data", ",,,,,\n?,?,?,?,?,?\n");
    let json = folder.pcc("eval m --data missing.data --json").ok().json();
    assert_eq!(json["rows"], 2);
    assert!(json["mean_ll"].as_f64().unwrap().abs() < 1e-6, "{json}");
}

#[test]
fn samples_keep_their_evidence_and_depend_on_the_seed_alone() {
    let folder = trained();
    folder.write("given.data", "1,,,,,0\n,,0,,,\n");
    let sample = |more: &str| {
        folder.pcc(&format!("sample m -n 20 --given given.data -o - {more}")).ok().stdout
    };
    let rows = sample("--seed 5");
    let lines: Vec<&str> = rows.lines().collect();
    assert_eq!(lines.len(), 40);
    assert!(lines[..20].iter().all(|row| row.starts_with("1,") && row.ends_with(",0")), "{rows}");
    assert!(lines[20..].iter().all(|row| row.split(',').nth(2) == Some("0")), "{rows}");
    assert_eq!(sample("--seed 5 --threads 1"), rows);
    assert_ne!(sample("--seed 6"), rows);
}

#[test]
fn a_circuit_that_gives_all_its_parameters_stands_for_a_model() {
    let folder = Folder::new();
    folder.write(
        "given.ron",
        r#"(
            variables: Named([(name: "a", kind: Binary), (name: "b", kind: Categorical(2))]),
            structure: Graph(
                nodes: {
                    "a": Leaf(var: "a", dist: Bernoulli(p: 0.25)),
                    "b": Leaf(var: "b", dist: Categorical(p: [0.5, 0.5])),
                    "p": Product(["a", "b"]),
                    "r": Sum(inputs: ["p"], weights: [1.0]),
                },
                root: "r",
            ),
        )"#,
    );
    folder.write("rows.data", "1,0\n1,\n");
    let rows = folder.pcc("eval given.ron --data rows.data --per-row -").ok().stdout;
    let p: Vec<f64> = rows.lines().map(|line| line.parse::<f64>().unwrap().exp()).collect();
    assert!((p[0] - 0.125).abs() < 1e-6 && (p[1] - 0.25).abs() < 1e-6, "{p:?}");
    folder.pcc("sample given.ron -n 4 -o s.csv").ok();
    assert!(exists(&folder.path("s.csv")));
}

#[test]
fn check_and_compile_report_what_programs_read() {
    let folder = Folder::with_circuit();
    let check = folder.pcc("check c.ron --json").ok().json();
    for key in [
        "smooth",
        "decomposable",
        "structured_decomposable",
        "deterministic",
        "nodes",
        "edges",
        "faults",
    ] {
        assert!(!check[key].is_null(), "{key} in {check}");
    }
    let compile = folder.pcc("compile c.ron --json --emit plan -o plan.json").ok().json();
    for key in
        ["stages", "peak_bytes", "multiply_adds", "sectors", "weights", "learnable_parameters"]
    {
        assert!(compile[key].as_u64().is_some_and(|number| number > 0), "{key} in {compile}");
    }
    assert!(compile["compile_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(compile["emit"].as_str().is_some_and(|text| text.starts_with("plan ")));
    let plan: Result<pcc::plan::Plan, _> = serde_json::from_slice(&folder.read("plan.json"));
    let text = plan.map(|plan| plan.to_string());
    assert_eq!(text.ok().as_deref(), compile["emit"].as_str());
}

#[test]
fn each_stage_is_printed_on_standard_output() {
    let folder = Folder::with_circuit();
    let starts =
        [("circuit", "circuit "), ("sectors", "sectors "), ("plan", "plan "), ("dot", "digraph ")];
    for (stage, start) in starts {
        let done = folder.pcc(&format!("compile c.ron --emit {stage}")).ok();
        assert!(done.stdout.starts_with(start), "{stage}: {}", done.stdout);
        assert!(done.stderr.contains("compiled in"), "{stage}: {}", done.stderr);
    }
    let rewrites = folder.pcc("compile c.ron --emit rewrites --marginalize x1,x2").ok();
    assert!(rewrites.stdout.contains("before"), "{}", rewrites.stdout);
}

#[test]
fn a_faulty_circuit_is_a_checked_one_with_exit_code_one() {
    let folder = Folder::new();
    folder.write(
        "bad.ron",
        r#"(
            variables: Named([(name: "a", kind: Binary), (name: "b", kind: Binary)]),
            structure: Graph(
                nodes: {
                    "a": Leaf(var: "a", dist: Bernoulli()),
                    "b": Leaf(var: "b", dist: Bernoulli()),
                    "p": Product(["a", "b"]),
                    "r": Sum(inputs: ["p", "a"]),
                },
                root: "r",
            ),
        )"#,
    );
    let done = folder.pcc("check bad.ron --json");
    let json = done.json();
    assert_eq!(done.code, 1);
    assert_eq!([&json["smooth"], &json["decomposable"]], [false, true]);
    assert_eq!(json["faults"][0]["code"], "E0201");
    assert_eq!(
        [&json["faults"][0]["line"], &json["faults"][0]["node"]],
        ["8", "r"]
            .map(|text| {
                text.parse::<u64>().map_or(serde_json::Value::from(text), serde_json::Value::from)
            })
            .each_ref()
    );
    let mended = folder.pcc("check bad.ron --smooth").ok();
    assert!(mended.stderr.contains("made smooth: `r`, by b"), "{}", mended.stderr);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = Folder::with_circuit();
    let mut command = folder.command(["compile", "c.ron", "--emit", "circuit"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_benchmark_reports_what_programs_read() {
    let json = Folder::with_circuit().pcc("bench c.ron --batch 100 --json").ok().json();
    for key in [
        "train_step_ms",
        "eval_ms",
        "samples_per_second",
        "eval_samples_per_second",
        "reference_samples_per_second",
        "peak_fraction",
    ] {
        assert!(json[key].as_f64().is_some_and(|number| number > 0.0), "{key} in {json}");
    }
    let off = json["log_p_error"].as_f64();
    assert!(off.is_some_and(|off| (0.0..1e-4).contains(&off)), "{json}");
}

#[test]
fn a_circuit_is_drawn_whole_or_with_variables_taken_from_it() {
    let folder = Folder::with_circuit();
    let drawing = folder.pcc("compile c.ron --emit svg").ok().stdout;
    assert!(drawing.starts_with("<svg") && drawing.contains("6 variables"), "{drawing}");
    assert_eq!(folder.pcc("compile c.ron --emit svg --json").ok().json()["emit"], drawing);
    let less = folder.pcc("compile c.ron --emit svg --evidence x1=0").ok().stdout;
    assert!(less.contains("given value") && !drawing.contains("given value"), "{less}");
}
