//! The answer for one row, for programs and for people.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::engine::Conditionals;
use crate::ids::VarId;
use crate::query::{Answer, Completion, Moments};
use crate::variables::{VarKind, Variables};

/// What one row was answered. As JSON: its fields, `impossible` and `exact`.
#[derive(Clone, Debug, Serialize)]
pub struct Reply {
    /// Whether the evidence has probability zero, so that nothing is asked about.
    impossible: bool,
    exact: bool,
    #[serde(flatten)]
    fields: Map<String, Value>,
    #[serde(skip)]
    cells: Vec<f64>,
}

impl Reply {
    fn new(exact: bool, fields: Value, cells: Vec<f64>) -> Self {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Reply { impossible: false, exact, fields, cells }
    }

    /// Evidence of probability zero: for certain, and with nothing more to say.
    pub fn impossible() -> Self {
        Reply { impossible: true, ..Reply::new(true, Value::Null, Vec::new()) }
    }

    /// One exact number.
    pub fn number(name: &str, number: f64) -> Self {
        Reply::new(true, json!({ name: number }), vec![number])
    }

    /// One exact number that may be infinite, and null then, for JSON knows no infinity.
    pub fn infinite(name: &str, number: f64) -> Self {
        let fields = json!({ name: number, "finite": number.is_finite() });
        Reply::new(true, fields, vec![number])
    }

    /// Every variable's distribution given one of the rows: probabilities of states, or mean and variance.
    /// With `fields` it has them for JSON too.
    pub fn conditionals(
        variables: &Variables,
        found: &Conditionals,
        row: usize,
        fields: bool,
    ) -> Self {
        if found.log_p(row) == f64::NEG_INFINITY {
            return Reply::impossible();
        }
        let field = |var: VarId| {
            let numbers = found.of(row, var);
            let told = match variables.kind(var) {
                VarKind::Categorical { .. } => json!(numbers),
                VarKind::Real => json!({ "mean": numbers[0], "variance": numbers[1] }),
            };
            (variables.name(var).into_owned(), told)
        };
        let told = variables.ids().filter(|_| fields).map(field).collect::<Map<String, Value>>();
        Reply::new(true, json!({ "conditionals": told }), found.row(row).to_vec())
    }

    /// A full assignment and its log-probability.
    pub fn map(best: &Completion) -> Self {
        let row: Vec<f64> = best.row.iter().map(|&value| shortest(value)).collect();
        let fields = json!({ "assignment": row, "log_p": best.log_p });
        let cells = row.iter().copied().chain([best.log_p]).collect();
        Reply::new(best.answer == Answer::Exact, fields, cells)
    }

    /// Means, variances and covariances.
    pub fn moments(of: &Moments) -> Self {
        let n = of.variables.len();
        let variance: Vec<f64> = (0..n).map(|at| of.covariance(at, at)).collect();
        let rows: Vec<&[f64]> = of.covariance.chunks(n.max(1)).collect();
        let fields = json!({ "mean": of.mean, "variance": variance, "covariance": rows });
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| of.covariance(i, j)));
        let cells = of.mean.iter().copied().chain(variance.iter().copied()).chain(pairs).collect();
        Reply::new(true, fields, cells)
    }

    /// Whether the evidence has probability zero.
    pub fn is_impossible(&self) -> bool {
        self.impossible
    }

    /// Whether it is a lower bound.
    pub fn is_bound(&self) -> bool {
        !self.exact
    }
}

/// The number that the shortest text of a single-precision one reads as.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

/// The columns of [`Reply::conditionals`].
pub fn conditional_names(variables: &Variables) -> Vec<String> {
    let names = variables.ids().flat_map(|var| {
        let name = variables.name(var);
        match variables.kind(var) {
            VarKind::Categorical { states } => {
                (0..states).map(|state| format!("p({name}={state})")).collect()
            }
            VarKind::Real => vec![format!("mean({name})"), format!("variance({name})")],
        }
    });
    names.collect()
}

/// The columns of [`Reply::moments`]: covariances of each two variables once.
pub fn moment_names(variables: &Variables, of: &[VarId]) -> Vec<String> {
    let name = |&var: &VarId| variables.name(var);
    let means = of.iter().map(|var| format!("mean({})", name(var)));
    let variances = of.iter().map(|var| format!("variance({})", name(var)));
    let pairs = of.iter().enumerate().flat_map(|(at, i)| {
        of[at + 1..].iter().map(move |j| format!("covariance({} {})", name(i), name(j)))
    });
    means.chain(variances).chain(pairs).collect()
}

/// A text as a field of comma-separated values: in quotes where it holds what would end it.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}

/// A line of names, then one a row: its numbers, empty where the evidence is impossible, and what the
/// answer is.
pub fn csv(columns: &[String], replies: &[Reply]) -> String {
    let names: String = columns.iter().map(|name| field(name) + ",").collect();
    let mut text = format!("{names}answer\n");
    for reply in replies {
        for at in 0..columns.len() {
            if let Some(cell) = reply.cells.get(at) {
                text.push_str(&cell.to_string());
            }
            text.push(',');
        }
        text.push_str(match (reply.impossible, reply.exact) {
            (true, _) => "impossible",
            (false, true) => "exact",
            (false, false) => "lower bound",
        });
        text.push('\n');
    }
    text
}
