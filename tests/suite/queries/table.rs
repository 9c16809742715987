//! `docs/queries.md`: what every structure answers with every leaf, on every engine, found out by asking.
//!
//! After a change that is meant: `PCC_BLESS=1 cargo test --release --test suite queries::table`.

use std::path::Path;
use std::sync::Arc;

use pcc::circuit::{Determinism, Values};
use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::diag::{Code, Diagnostic};
use pcc::engine::cpu::CpuExecutable;
use pcc::engine::{Executable, cuda, reference};
use pcc::ids::VarId;
use pcc::plan::{Options, Plan, Purpose, Schedule, Sharing, check, plan};
use pcc::query::{
    Answer, Conditional, Divergence, Entropy, MutualInformation, Posterior, conditionals, map,
    moments,
};
use pcc::sample::Sampler;

use crate::support::case::spread;
use crate::support::describe::compiled;

/// Variables of each circuit: too many to list the states of all.
const VARIABLES: usize = 18;

/// Leaves, and the kind of variable they suit.
const LEAVES: [(&str, &str); 6] = [
    ("Indicators", "Categorical(3)"),
    ("Bernoulli()", "Binary"),
    ("Categorical()", "Categorical(3)"),
    ("Binomial()", "Categorical(4)"),
    ("Gaussian()", "Real"),
    ("Poisson()", "Real"),
];

/// Structures made by a rule.
const STRUCTURES: [&str; 8] = [
    "RatSpn(units: 3, replicas: 2)",
    "Einet(units: 3, replicas: 2)",
    "PoonDomingos(shape: (3, 6), pieces: 3, units: 3)",
    "QuadTree(shape: (3, 6), units: 3)",
    "Hmm(units: 3)",
    "Hclt(units: 3)",
    "Vtree(units: 3)",
    "Vtree(units: 1)",
];

/// A description of a structure with these leaves.
fn description(structure: &str, leaf: &str, kind: &str) -> String {
    let structure = match structure.split_once('(') {
        Some(("Hclt", _)) => {
            let edges: Vec<String> =
                (1..VARIABLES).map(|at| format!("({}, {at})", (at - 1) / 2)).collect();
            structure.replace(')', &format!(", tree: [{}])", edges.join(", ")))
        }
        Some(("Vtree", _)) => structure.replace(')', &format!(", text: {:?})", vtree())),
        _ => structure.to_owned(),
    };
    let variable = |at| format!("(name: \"v{at}\", kind: {kind})");
    let variables: Vec<String> = (0..VARIABLES).map(variable).collect();
    let leaves = match kind {
        "Binary" => format!("PerKind(binary: {leaf})"),
        "Real" => format!("PerKind(real: {leaf})"),
        _ => format!("PerKind(categorical: {leaf})"),
    };
    format!(
        "(variables: Named([{}]), structure: {structure}, leaves: {leaves})",
        variables.join(", ")
    )
}

/// A vtree that splits off one variable after the other.
fn vtree() -> String {
    let mut text = format!("vtree {}\n", 2 * VARIABLES - 1);
    (0..VARIABLES).for_each(|at| text += &format!("L {at} {}\n", at + 1));
    let mut right = VARIABLES - 1;
    for at in (0..VARIABLES - 1).rev() {
        let id = 2 * VARIABLES - 2 - at;
        text += &format!("I {id} {at} {right}\n");
        right = id;
    }
    text
}

/// A circuit written out: a mixture of two products, or a choice between them by a binary variable.
fn graph(by_choice: bool, leaf: &str, kind: &str) -> String {
    let mut variables = Vec::new();
    let mut nodes = Vec::new();
    let mut products = [Vec::new(), Vec::new()];
    if by_choice {
        variables.push("(name: \"choice\", kind: Binary)".to_owned());
        for (state, product) in products.iter_mut().enumerate() {
            let dist = format!("Bernoulli(p: {state}.0, frozen: true)");
            nodes.push(format!("\"choice {state}\": Leaf(var: \"choice\", dist: {dist})"));
            product.push(format!("\"choice {state}\""));
        }
    }
    let units = match kind {
        "Categorical(3)" if leaf == "Indicators" => 3,
        _ => 1,
    };
    for at in 0..VARIABLES {
        variables.push(format!("(name: \"v{at}\", kind: {kind})"));
        for (number, product) in products.iter_mut().enumerate() {
            let name = format!("v{at} {number}");
            nodes.push(format!(
                "\"leaf {name}\": Leaf(var: \"v{at}\", dist: {leaf}, units: {units})"
            ));
            nodes.push(format!("\"{name}\": Sum(inputs: [\"leaf {name}\"])"));
            product.push(format!("\"{name}\""));
        }
    }
    for (number, product) in products.iter().enumerate() {
        nodes.push(format!("\"product {number}\": Product([{}])", product.join(", ")));
    }
    nodes.push("\"root\": Sum(inputs: [\"product 0\", \"product 1\"])".to_owned());
    format!(
        "(variables: Named([{}]), structure: Graph(nodes: {{ {} }}, root: \"root\"))",
        variables.join(", "),
        nodes.join(", ")
    )
}

/// A word of the table for an answer that is exact if there is one.
fn exact_or_refused<T>(answer: Result<T, Diagnostic>) -> &'static str {
    if answer.is_ok() { "exact" } else { "refused" }
}

/// The columns.
const COLUMNS: [&str; 10] = [
    "reference",
    "cpu",
    "cuda",
    "conditional",
    "sampling",
    "moments",
    "MAP",
    "entropy",
    "information",
    "E ln q, KL",
];

/// What one circuit answers, a word a column.
fn answers(compiled: &Arc<Compiled>) -> [&'static str; COLUMNS.len()] {
    let circuit = &compiled.written;
    let flat = spread(circuit, &compiled.parameters, 1);
    let single: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
    let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
    let values: Values<f64> = compiled.parameters.values(circuit, &flat);
    let all: Vec<VarId> = circuit.variables().ids().collect();
    let row: Vec<Option<f32>> = all.iter().map(|var| (var.0 % 2 == 0).then_some(1.0)).collect();
    let posterior = Posterior::new(circuit, &values, &row).expect("the row is possible");
    let log_p = reference::log_likelihood(circuit, &values, &row);
    let made = |purpose, sharing| -> Plan {
        let schedule = Schedule::Wide;
        let options = Options { purpose, schedule, batch: 64, sharing };
        plan(&compiled.circuit, &compiled.parameters, &options)
    };
    let for_device = made(Purpose::Evaluate, Sharing::Off);
    let device = check(&for_device)
        .map(|()| cuda::Specialisation::of(&for_device, &compiled.parameters, cuda::Precision::F32))
        .map_err(|fault| Diagnostic::new(Code::E0702, fault.to_string()));
    let data = Dataset::from_rows(circuit.variables(), [row.clone()]).unwrap();
    let on_cpu =
        |purpose| CpuExecutable::new(Arc::clone(compiled), made(purpose, Sharing::WherePays), 1);
    let by_cpu = on_cpu(Purpose::Evaluate).map(|mut engine| {
        engine.load(&single);
        let mut found = [f64::NAN];
        engine.log_likelihood(&data, &[0], &mut found);
        assert!((found[0] - log_p).abs() <= 1e-5 * log_p.abs().max(1.0), "{found:?} {log_p}");
    });
    let are_finite = conditionals(&posterior).iter().all(|conditional| match conditional {
        Conditional::States(p) => (p.iter().sum::<f64>() - 1.0).abs() < 1e-11,
        Conditional::Real { mean, variance } => mean.is_finite() && *variance >= 0.0,
    });
    let of_engine = on_cpu(Purpose::Query).ok().and_then(|mut engine| {
        engine.load(&single);
        engine.conditionals(&data, &[0])
    });
    // Both the walk and the engine answer.
    let are_finite = are_finite
        && of_engine.is_some_and(|(found, _)| found.row(0).iter().all(|number| number.is_finite()));
    let covariance = moments(&posterior, &all).covariance;
    let best = map(circuit, &values, &row).expect("the row is possible");
    let yes = |holds| if holds { "exact" } else { "refused" };
    [
        yes(log_p.is_finite()),
        exact_or_refused(by_cpu),
        exact_or_refused(device),
        yes(are_finite),
        yes(Sampler::new(circuit, &values, &row).is_some()),
        yes(covariance.iter().all(|entry| entry.is_finite())),
        match best.answer {
            Answer::Exact => "exact",
            Answer::Bound => "bound",
            Answer::Refused => "refused",
        },
        exact_or_refused(Entropy::new(circuit, &all)),
        exact_or_refused(MutualInformation::new(circuit, &all[1..2], &all[2..3])),
        exact_or_refused(Divergence::new(circuit, circuit)),
    ]
}

const HEAD: &str = "\
# What each structure answers

Made by `tests/suite/queries/table.rs`, which builds each of these circuits over 18 variables and asks it; do not
edit. After a change that is meant: `PCC_BLESS=1 cargo test --release --test suite queries::table`.

*reference*, *cpu*, *cuda*: log-likelihoods and marginals, and with them ln p(A | B), by each engine to its precision.
*conditional*: the distribution of every variable, *sampling* given evidence, and *MAP* (a *bound* is max-product's assignment,
its probability evaluated by the circuit: a lower bound), by the CPU engine to its precision; with `--memory` or `--engine cuda`
by walking the circuit as written in double precision on the host, but that a device draws and completes, and says
the conditionals of circuits without densities or counts. All other queries do that, whichever engine is chosen:
*moments* with covariances, *entropy* of all variables, mutual *information* of two, expected log-likelihood and divergence
from a circuit of the same kind (*E ln q, KL*).

Of discrete variables with at most 65,536 joint states together, entropy and mutual information are exact for every
circuit; these have more. Structures made by a rule with one unit, `Vtree(units: 1)` here, are products, and
deterministic; so are imported circuits of formats that guarantee it. `Graph, a choice` is a sum of two products that a
binary variable chooses between; `Graph, a mixture` is the same sum without it.

";

#[test]
fn the_table_in_the_documentation_is_what_the_code_answers() {
    let mut text = format!("{HEAD}| structure | leaf | {} |\n", COLUMNS.join(" | "));
    text += &format!("|{}\n", "---|".repeat(COLUMNS.len() + 2));
    let mut add = |structure: &str, leaf: &str, description: &str| {
        let compiled = compiled(description);
        let answers = answers(&compiled);
        let deterministic = compiled.written.properties().deterministic != Determinism::Unknown;
        assert_eq!(answers[6] == "exact", deterministic, "{description}");
        text += &format!("| {structure} | `{leaf}` | {} |\n", answers.join(" | "));
    };
    for structure in STRUCTURES {
        for (leaf, kind) in LEAVES {
            add(&format!("`{structure}`"), leaf, &description(structure, leaf, kind));
        }
    }
    for (name, by_choice) in [("`Graph`, a choice", true), ("`Graph`, a mixture", false)] {
        for (leaf, kind) in LEAVES {
            add(name, leaf, &graph(by_choice, leaf, kind));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/queries.md");
    if std::env::var_os("PCC_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(recorded.lines()).find(|(made, recorded)| made != recorded);
    assert!(
        text == recorded,
        "docs/queries.md is not what the code answers, first at {differs:?}; if that is meant, run with PCC_BLESS=1"
    );
}
