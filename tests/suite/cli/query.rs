//! `pcc query`: what people and programs are answered, and what is refused.

use super::{Folder, keys};
use crate::support::describe::collected;

/// A folder with the sprinkler, whose every number is given, and rows of evidence.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("s.ron", collected("sprinkler.ron"));
    // Nothing known; wet grass; rain on dry grass under a running sprinkler; wet grass of neither.
    folder.write("given.data", ",,\n,,1\n1,1,0\n0,0,1\n");
    folder
}

const QUERIES: [&str; 9] = [
    "loglik",
    "conditional",
    "conditional --of rain",
    "map",
    "moments --of wet,rain",
    "entropy",
    "mutual-information --of rain --with wet",
    "expected-ll --other s.ron",
    "kl --other s.ron",
];

#[test]
fn every_query_answers_a_line_a_row() {
    let folder = folder();
    let mut all = String::new();
    for query in QUERIES {
        let line = format!("query s.ron {query} --data given.data");
        let done = folder.pcc(&line).ok();
        assert_eq!(done.stdout.lines().count(), 5, "{line}: {}", done.stdout);
        all += &format!("pcc {line}\n{}{}\n", rounded(&done.stdout), done.stderr);
    }
    insta::assert_snapshot!("query_answers", all);
}

/// The numbers of comma-separated values to six decimals, for further ones are the machine's.
fn rounded(text: &str) -> String {
    let cell = |cell: &str| match cell.parse::<f64>() {
        Ok(number) if number.is_finite() => {
            // The zero has no sign.
            let number = (number * 1e6).round() / 1e6 + 0.0;
            number.to_string()
        }
        _ => cell.to_owned(),
    };
    let line = |line: &str| line.split(',').map(cell).collect::<Vec<_>>().join(",") + "\n";
    text.lines().map(line).collect()
}

#[test]
fn programs_are_told_of_each_row_whether_it_is_exact_and_whether_it_is_possible() {
    let folder = folder();
    for query in QUERIES {
        let line = format!("query s.ron {query} --data given.data --json");
        let json = folder.pcc(&line).ok().json();
        assert_eq!(json["query"], query.split(' ').next().unwrap(), "{line}");
        assert_eq!(json["deterministic"], "proven", "{line}");
        let rows = json["rows"].as_array().unwrap();
        let flags: Vec<bool> = rows.iter().map(|row| row["impossible"] == true).collect();
        // Of the last row only `wet` is impossible, and of it nothing is asked that is given the rest.
        let given_the_rest = query == "conditional --of rain";
        assert_eq!(flags[..3], [false; 3], "{line}");
        assert!(flags[3] || given_the_rest, "{line}: {json}");
        assert!(rows.iter().all(|row| row["exact"] == true), "{line}: {json}");
    }
    let map = folder.pcc("query s.ron map --data given.data --json").ok().json();
    assert_eq!(keys(&map["rows"][0]), ["assignment", "exact", "impossible", "log_p"]);
    assert_eq!(map["variables"], serde_json::json!(["rain", "sprinkler", "wet"]));
    assert_eq!(map["rows"][1]["assignment"], serde_json::json!([0.0, 1.0, 1.0]));
    assert_eq!(keys(&map["rows"][3]), ["exact", "impossible"]);
    let conditional = folder.pcc("query s.ron conditional --data given.data --json").ok().json();
    let rain = conditional["rows"][1]["conditionals"]["rain"][1].as_f64().unwrap();
    // To the engine's precision.
    assert!((rain - (0.2 * (0.99 * 0.8 + 0.01 * 0.99)) / 0.44838).abs() < 1e-6, "{rain}");
}

#[test]
fn map_of_a_mixture_is_a_lower_bound_and_is_called_so() {
    let folder = Folder::with_circuit();
    folder.pcc("train c.ron --train train.data -o m --steps 5").ok();
    let json = folder.pcc("query m map --data test.data --json").ok().json();
    let rows = json["rows"].as_array().unwrap();
    assert!(rows.len() == 40 && rows.iter().all(|row| row["exact"] == false), "{json}");
    let done = folder.pcc("query m map").ok();
    assert!(done.stdout.lines().last().is_some_and(|line| line.ends_with(",lower bound")));
    assert!(done.stderr.contains("lower bounds"), "{}", done.stderr);
    // The log-likelihoods are the engine's, and those of `eval`.
    let rows = folder.pcc("query m loglik --data test.data").ok().stdout;
    let log_p: Vec<&str> = rows.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    let evaluated = folder.pcc("eval m --data test.data --per-row -").ok().stdout;
    assert_eq!(log_p, evaluated.lines().collect::<Vec<_>>());
}

#[test]
fn circuits_of_other_formats_are_asked_like_any_other() {
    let folder = Folder::new();
    // A formula of six models, each as likely as any other; and a PSDD of two variables.
    folder.write("b.nnf", super::foreign::C2D);
    folder.write("a.psdd", super::foreign::PSDD);
    folder.write("a.vtree", "vtree 3\nL 0 1\nL 1 2\nI 2 0 1\n");
    let number = |line: &str, key: &str| {
        let json = folder.pcc(&format!("query {line} --json")).ok().json();
        assert_eq!(json["rows"][0]["exact"], true, "{line}: {json}");
        json["rows"][0][key].as_f64().unwrap_or(f64::NAN)
    };
    let close =
        |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    close(number("b.nnf entropy", "entropy"), 6f64.ln());
    // The engine evaluates completions in single precision.
    let single = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    };
    single(number("b.nnf map", "log_p"), -6f64.ln());
    let p = [0.8 * (-0.5f64).exp(), 0.8 * (1.0 - (-0.5f64).exp()), 0.2];
    let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
    close(number("a.psdd entropy", "entropy"), entropy);
    single(number("a.psdd map", "log_p"), p[0].ln());
    close(number("a.psdd kl --other a.psdd", "kl"), 0.0);
    close(number("a.psdd expected-ll --other a.psdd", "expected_ll"), -entropy);
}

#[test]
fn answers_are_written_to_a_file_and_do_not_depend_on_the_threads() {
    let folder = folder();
    let line = "query s.ron moments --data given.data";
    let told = folder.pcc(line).ok().stdout;
    let quiet = folder.pcc(&format!("{line} -o answers.csv --threads 1")).ok();
    assert_eq!(quiet.stdout, "");
    assert_eq!(String::from_utf8(folder.read("answers.csv")).unwrap(), told);
    let json = folder.pcc("query s.ron map -o absent/answers.csv --json");
    assert_eq!((json.code, &json.json()["faults"][0]["code"]), (1, &"E0001".into()));
}

#[test]
fn queries_that_cannot_be_answered_say_why() {
    let folder = folder();
    folder.write("many.ron", mixture("Binary(17)"));
    folder.write("real.ron", mixture("Real(3)"));
    folder.write("none.data", "");
    folder.write("wide.data", "1,,,\n");
    folder.write("two.data", "1,2,\n");
    folder.write("rows.data", ",,,,,,,,,,,,,,,,\n".repeat(400_000));
    let lines = [
        "query s.ron entropy --of rain,wett",
        "query s.ron mutual-information --of rain --with rain",
        "query s.ron map --data wide.data",
        "query s.ron map --data two.data",
        "query s.ron map --data none.data",
        "query s.ron map --data absent.data",
        "query absent.ron map",
        "query many.ron entropy",
        "query real.ron entropy --of x0",
        "query real.ron kl --other real.ron",
        "query s.ron kl --other many.ron",
        "query many.ron moments --data rows.data",
    ];
    let mut all = String::new();
    for line in lines {
        let done = folder.pcc(&format!("{line} --json"));
        assert_eq!(done.code, 1, "{line}: {}", done.stderr);
        let fault = &done.json()["faults"][0];
        let [code, message] = ["code", "message"].map(|key| fault[key].as_str().unwrap_or("?"));
        let help = fault["help"].as_str().map_or(String::new(), |help| format!("\n    {help}"));
        all += &format!("pcc {line}\n    {code} {message}{help}\n");
    }
    insta::assert_snapshot!("query_refusals", all);
}

/// Two products, with every number given.
fn mixture(variables: &str) -> String {
    let count: usize =
        variables.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let dist = match variables.starts_with("Real") {
        true => "Gaussian(mean: [0.0, 1.0], var: [1.0, 2.0])",
        false => "Bernoulli(p: [0.2, 0.7])",
    };
    let leaf = |at| format!("\"{at}\": Leaf(var: \"x{at}\", dist: {dist}, units: 2)");
    let leaves: Vec<String> = (0..count).map(leaf).collect();
    let names: Vec<String> = (0..count).map(|at| format!("\"{at}\"")).collect();
    format!(
        "(variables: {variables}, structure: Graph(nodes: {{ {}, \"p\": Product([{}]), \
         \"r\": Sum(inputs: [\"p\"], weights: [0.5, 0.5]) }}, root: \"r\"))",
        leaves.join(", "),
        names.join(", ")
    )
}

#[test]
fn options_that_mean_nothing_or_lack_end_with_two() {
    let folder = folder();
    let lines = [
        "query s.ron",
        "query s.ron mpa",
        "query s.ron map --of rain",
        "query s.ron loglik --other s.ron",
        "query s.ron entropy --with rain",
        "query s.ron mutual-information --of rain",
        "query s.ron kl",
    ];
    let mut told = String::new();
    for line in lines {
        let done = folder.pcc(line);
        assert_eq!(done.code, 2, "{line}: {}", done.stderr);
        let first: Vec<&str> = done.stderr.lines().take_while(|line| !line.is_empty()).collect();
        told += &format!("pcc {line}\n    {}\n", first.join("\n    "));
    }
    insta::assert_snapshot!("query_usage", told);
}

#[test]
fn names_with_commas_are_given_as_they_are_told() {
    let folder = Folder::new();
    let text = collected("sprinkler.ron").replace("\"rain\"", r#""rain,snow""#);
    folder.write("s.ron", text);
    folder.write("given.data", ",,1\n");
    let quoted = r#""rain,snow""#;
    let line = format!("query s.ron moments --of {quoted},wet --data given.data");
    let told = folder.pcc(&line).ok().stdout;
    assert!(told.starts_with(r#""mean(rain,snow)",mean(wet),"#), "{told}");
    let line =
        format!("query s.ron mutual-information --of wet --with {quoted} --with sprinkler --json");
    assert!(folder.pcc(&line).ok().json()["rows"][0]["mutual_information"].is_f64());
    let line = format!("compile s.ron --marginalize {quoted} --evidence sprinkler=1");
    folder.pcc(&line).ok();
    let line = format!("compile s.ron --evidence {quoted}=1,wet=0");
    folder.pcc(&line).ok();
    let done = folder.pcc("query s.ron moments --of rain,snow");
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert_eq!(folder.pcc("query s.ron moments --of \"rain").code, 2);
}
