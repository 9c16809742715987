//! Checkpoints: all that a run knows, so that it can go on as if it had never stopped.
//!
//! The file is a sealed archive ([`archive`]). It also says what the run was: circuit, data, recipe
//! and arithmetic. A run of anything else is refused, since it would end where no run ever did.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Recipe, Record, Splits};
use crate::diag::{Code, Diagnostic};
use crate::model::archive::{self, Format, NamedTensor, TensorRef};
use crate::model::evaluate::Totals;

/// What checkpoints are.
const FORMAT: Format = Format { name: "checkpoint", version: 1 };

/// What a run is, as named texts: those of two runs are equal if they end with the same parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity(Vec<(String, String)>);

impl Identity {
    /// The identity of a run.
    pub fn new(circuit: &str, data: &Splits<'_>, recipe: &Recipe, arithmetic: &str) -> Self {
        let print = |data: Option<&crate::data::Dataset>| {
            data.map_or_else(|| "none".into(), |data| data.fingerprint())
        };
        let mut texts = vec![
            ("circuit".to_string(), circuit.to_string()),
            ("training data".into(), print(Some(data.train))),
            ("validation data".into(), print(data.valid)),
            ("arithmetic".into(), arithmetic.into()),
        ];
        if let Ok(serde_json::Value::Object(options)) = serde_json::to_value(recipe) {
            texts.extend(options.into_iter().map(|(name, value)| (name, value.to_string())));
        }
        Identity(texts)
    }

    /// The first text in which two identities differ: its name, and what each of them says.
    fn difference<'a>(&'a self, other: &'a Identity) -> Option<(&'a str, &'a str, &'a str)> {
        let find = |name: &str| other.0.iter().find(|(known, _)| known == name);
        self.0.iter().find_map(|(name, mine)| {
            let theirs = find(name).map_or("", |(_, text)| text);
            (mine != theirs).then_some((name.as_str(), mine.as_str(), theirs))
        })
    }
}

/// The best parameters so far, by the validation data.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The step after which they were so.
    pub step: u64,
    /// Their log-likelihoods of the validation data.
    pub totals: Totals,
    /// They themselves.
    pub parameters: Vec<f32>,
}

/// All that a run knows.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Time spent on them.
    pub seconds: f64,
    /// The parameters.
    pub parameters: Vec<f32>,
    /// First and second moments of the optimiser.
    pub moments: [Vec<f32>; 2],
    /// The best parameters so far; `None` before the first evaluation, and without validation data.
    pub best: Option<Best>,
    /// All evaluations.
    pub history: Vec<Record>,
    /// The batches since the last evaluation.
    pub window: Totals,
}

/// What the file says beside the tensors.
#[derive(Serialize, Deserialize)]
struct About {
    run: Identity,
    step: u64,
    seconds: f64,
    best: Option<(u64, Totals)>,
    history: Vec<Record>,
    window: Totals,
}

/// Writes a checkpoint, whole or not at all. The moments are given apart: the optimiser has them.
///
/// # Errors
/// E0001 when it cannot be written; an earlier checkpoint is then as it was.
pub fn save(
    path: &Path,
    run: &Identity,
    state: &State,
    moments: [&[f32]; 2],
) -> Result<(), Diagnostic> {
    let about = About {
        run: run.clone(),
        step: state.step,
        seconds: state.seconds,
        best: state.best.as_ref().map(|best| (best.step, best.totals)),
        history: state.history.clone(),
        window: state.window,
    };
    let best = state.best.as_ref().map(|best| ("best", best.parameters.as_slice()));
    let buffers = [
        Some(("parameters", state.parameters.as_slice())),
        Some(("first", moments[0])),
        Some(("second", moments[1])),
        best,
    ];
    let buffers: Vec<_> = buffers
        .into_iter()
        .flatten()
        .map(|(name, values)| (name, [values.len()], values))
        .collect();
    let tensors: Vec<TensorRef<'_>> =
        buffers.iter().map(|(name, shape, values)| TensorRef { name, shape, values }).collect();
    archive::write(path, FORMAT, &about, &tensors)
}

/// Reads the checkpoint of a run of `parameters` parameters, whose optimiser has so many first and
/// second moments. `None` if there is no such file.
///
/// # Errors
/// E0001 when it cannot be read, E0601 when it is damaged anywhere, E0602 when it is of another run,
/// E0603 when it is of another version.
pub fn load(
    path: &Path,
    run: &Identity,
    parameters: usize,
    moments: [usize; 2],
) -> Result<Option<State>, Diagnostic> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let (about, mut tensors): (About, _) = archive::read(path, FORMAT)?;
    if let Some((name, mine, theirs)) = run.difference(&about.run) {
        let message = format!("the checkpoint is of another run: they differ in `{name}`");
        return Err(Diagnostic::new(Code::E0602, message)
            .in_file(path.display().to_string())
            .note(format!("the checkpoint has {theirs}, this run {mine}"))
            .help("go on with the same choices, or begin anew without resuming"));
    }
    let mut take = |name: &str, len: usize| take(&mut tensors, name, len, path);
    let state = State {
        step: about.step,
        seconds: about.seconds,
        parameters: take("parameters", parameters)?,
        moments: [take("first", moments[0])?, take("second", moments[1])?],
        best: match about.best {
            Some((step, totals)) => {
                Some(Best { step, totals, parameters: take("best", parameters)? })
            }
            None => None,
        },
        history: about.history,
        window: about.window,
    };
    Ok(Some(state))
}

/// Takes the values of the tensor `name`, of which there must be `len`.
fn take(
    tensors: &mut [NamedTensor],
    name: &str,
    len: usize,
    path: &Path,
) -> Result<Vec<f32>, Diagnostic> {
    let found = tensors.iter_mut().find(|tensor| tensor.name == name);
    match found {
        Some(tensor) if tensor.values.len() == len => Ok(std::mem::take(&mut tensor.values)),
        _ => {
            let message = format!("the checkpoint has no tensor `{name}` of {len} numbers");
            Err(Diagnostic::new(Code::E0602, message).in_file(path.display().to_string()))
        }
    }
}
