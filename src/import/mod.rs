//! Circuits that others have learned or compiled, from the formats they exchange.
//!
//! | extension | what | read by |
//! |---|---|---|
//! | `psdd` | probabilistic sentential decision diagrams, with a `.vtree` or without | `import::psdd` |
//! | `sdd` | sentential decision diagrams, with a `.vtree` or without | `import::sdd` |
//! | `nnf` | d-DNNFs of c2d and d4 | `import::nnf` |
//! | `spn` | sum-product networks as text | `import::spn` |
//! | `bin` | sum-product networks of SPFlow as SPNC stores them | `import::spnc` |
//!
//! ```text
//! text ─ a format ─▶ Nodes ─ build ─▶ Circuit, every number frozen
//! ```
//! The circuit is then like any other: it is validated, rewritten, planned and run. Its variables are
//! columns of data: variable 1 of a format that counts from 1 is `x0`.
//!
//! A formula (`nnf`, `sdd`) becomes the uniform distribution over its models; with weights of literals
//! the distribution in proportion to a model's weight. How many models there are, or what they weigh,
//! is returned beside the circuit as [`Models`].
//!
//! Files come from strangers. What is read is bounded by the file's length, whatever it promises; every
//! fault has its place; nothing here recurses.

mod build;
mod count;
mod lift;
mod lines;
mod nnf;
mod nodes;
mod psdd;
mod sdd;
mod spn;
mod spnc;
mod vtree;
mod weights;

use std::path::{Path, PathBuf};

pub use self::count::Count;
use self::lines::Text;
use self::nodes::{Nodes, What};
pub use self::vtree::{Vnode, VtreeFile};
use self::weights::Weights;
use crate::circuit::{Circuit, SourceMap};
use crate::diag::{Code, Diagnostic, Diagnostics, Source};
use crate::ids::VarId;
use crate::variables::{VarKind, Variables};

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A probabilistic sentential decision diagram.
    Psdd,
    /// A sentential decision diagram.
    Sdd,
    /// A decomposable negation normal form.
    Nnf,
    /// A sum-product network as text.
    Spn,
    /// A sum-product network as SPNC stores it.
    Spnc,
}

impl Format {
    /// The format of a path's extension.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "psdd" => Some(Format::Psdd),
            "sdd" => Some(Format::Sdd),
            "nnf" => Some(Format::Nnf),
            "spn" => Some(Format::Spn),
            "bin" => Some(Format::Spnc),
            _ => None,
        }
    }

    /// Whether it guarantees determinism.
    pub fn is_deterministic(self) -> bool {
        matches!(self, Format::Psdd | Format::Sdd | Format::Nnf)
    }

    /// Whether it holds a formula, of which models are counted.
    pub fn is_formula(self) -> bool {
        matches!(self, Format::Sdd | Format::Nnf)
    }
}

/// The files that belong to a circuit's file.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    /// The vtree of a PSDD or an SDD.
    pub vtree: Option<Source>,
    /// The weights of literals.
    pub weights: Option<Source>,
    /// What a description calls the variables. Of a formula there may be more than the file names.
    pub variables: Option<Variables>,
}

impl Companions {
    /// The files that stand beside `path`: for `nltcs.clt.psdd`, `nltcs.clt.vtree` or else
    /// `nltcs.vtree`, in the same folder or else in a folder `vtree` beside that; for `x.nnf`,
    /// `x.weights` or `x.nnf.weights`.
    ///
    /// # Errors
    /// E0001 or E0002 if one of them is there and cannot be read.
    pub fn beside(path: &Path) -> Result<Self, Diagnostic> {
        let open = |candidates: Vec<PathBuf>| {
            let there = candidates.into_iter().find(|candidate| candidate.is_file());
            there.map(|path| open(&path)).transpose()
        };
        match Format::of(path) {
            Some(Format::Psdd) => {
                Ok(Companions { vtree: open(vtree_candidates(path))?, ..Companions::default() })
            }
            Some(Format::Sdd) => Ok(Companions {
                vtree: open(vtree_candidates(path))?,
                weights: open(weight_candidates(path))?,
                variables: None,
            }),
            Some(Format::Nnf) => {
                Ok(Companions { weights: open(weight_candidates(path))?, ..Companions::default() })
            }
            Some(Format::Spn | Format::Spnc) | None => Ok(Companions::default()),
        }
    }
}

fn vtree_candidates(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let folders = [folder.to_path_buf(), folder.join("..").join("vtree")];
    let mut candidates = Vec::new();
    let mut stem = path.with_extension("");
    while let Some(name) = stem.file_name().map(|name| name.to_owned()) {
        for folder in &folders {
            let mut file = name.clone();
            file.push(".vtree");
            candidates.push(folder.join(file));
        }
        if stem.extension().is_none() {
            break;
        }
        stem.set_extension("");
    }
    candidates
}

fn weight_candidates(path: &Path) -> Vec<PathBuf> {
    let mut longer = path.as_os_str().to_owned();
    longer.push(".weights");
    vec![path.with_extension("weights"), longer.into()]
}

/// Reads a file as a text. Of a binary format each byte is the character of its number, so that such
/// a file can be kept wherever a circuit's text is.
///
/// # Errors
/// E0001 if it cannot be read, E0002 if it should be text and is not.
pub fn open(path: &Path) -> Result<Source, Diagnostic> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        Diagnostic::new(Code::E0001, format!("the file cannot be read: {error}")).in_file(&name)
    })?;
    if Format::of(path) == Some(Format::Spnc) {
        return Ok(Source { name, text: bytes.into_iter().map(char::from).collect() });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("the file is not UTF-8 text: byte {} is out of place", at + 1);
        Diagnostic::new(Code::E0002, message).in_file(&name)
    })?;
    Ok(Source { name, text })
}

/// The bytes of a binary file that [`open`] has read; of a character that is no byte, zero.
fn bytes(source: &Source) -> Vec<u8> {
    source.text.chars().map(|letter| u8::try_from(letter).unwrap_or(0)).collect()
}

/// How many models a formula has.
#[derive(Clone, Debug, PartialEq)]
pub struct Models {
    /// ln of the sum of the models' weights; without weights, of their number. −∞ if there is none.
    pub log_weight: f64,
    /// Their number, exactly; `None` with weights, or if there are too many to count digit by digit.
    pub count: Option<Count>,
}

/// A circuit that was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The circuit, not yet validated. `None` for a formula that nothing satisfies: there is no
    /// distribution over no models.
    pub circuit: Option<Circuit>,
    /// Names and places of its nodes.
    pub map: SourceMap,
    /// Whether the format guarantees determinism.
    pub deterministic: bool,
    /// Of a formula, its models.
    pub models: Option<Models>,
}

/// What a file says.
struct Parsed {
    nodes: Nodes,
    root: u32,
    variables: Variables,
    /// Whether the values of each node sum to one over all assignments.
    normalised: bool,
    deterministic: bool,
    /// The weights of literals; `None` of what is no formula.
    weights: Option<Weights>,
}

/// Reads a circuit.
///
/// # Errors
/// E0801 to E0803 for lines, ids and vtrees; E0105, E0113, E0206 and E0301 to E0304 as for other
/// circuits.
pub fn read(
    format: Format,
    source: &Source,
    companions: &Companions,
) -> Result<Imported, Diagnostics> {
    if source.text.len() > u32::MAX as usize {
        let message = "the file is larger than 4 GiB";
        return Err(Diagnostic::new(Code::E0105, message).in_file(&source.name).into());
    }
    let mut parsed = parse(format, source, companions)?;
    if let Some(variables) = &companions.variables {
        parsed.variables = agreed(&parsed, variables)?;
    }
    let mut imported = finish(&parsed)?;
    imported.map.source = Some(source.clone());
    Ok(imported)
}

/// The variables of a description, if the file's are theirs.
///
/// # Errors
/// E0117, without a place.
fn agreed(parsed: &Parsed, described: &Variables) -> Result<Variables, Diagnostic> {
    let own = &parsed.variables;
    let enough = match parsed.weights {
        Some(_) => own.len() <= described.len(),
        None => own.len() == described.len(),
    };
    if !enough {
        let (own, described) = (own.len(), described.len());
        let message = format!("the file has {own} variables, and the description {described}");
        return Err(Diagnostic::new(Code::E0117, message).help("describe as many"));
    }
    match described.ids().take(own.len()).find(|&var| own.kind(var) != described.kind(var)) {
        None => Ok(described.clone()),
        Some(var) => {
            let (name, is) = (described.name(var), described.kind(var));
            let message = format!("`{name}` is {is}, and {} in the file", own.kind(var));
            Err(Diagnostic::new(Code::E0117, message).help("describe it as the file has it"))
        }
    }
}

fn parse(format: Format, source: &Source, companions: &Companions) -> Result<Parsed, Diagnostic> {
    let text = Text::main(source);
    let vtree = companions.vtree.as_ref().map(VtreeFile::read);
    let weights = companions.weights.as_ref().map(|file| Weights::read(Text::companion(file)));
    let weights = weights.transpose()?.unwrap_or_default();
    match format {
        Format::Psdd => psdd::read(text, vtree.transpose()?.as_ref()),
        Format::Sdd => sdd::read(text, vtree.transpose()?.as_ref(), weights),
        Format::Nnf => nnf::read(text, weights),
        Format::Spn => spn::read(text),
        Format::Spnc => spnc::read(&bytes(source)).map_err(|fault| fault.in_file(&source.name)),
    }
}

fn finish(parsed: &Parsed) -> Result<Imported, Diagnostic> {
    let built = build::build(parsed)?;
    Ok(Imported {
        circuit: built.circuit,
        map: built.map,
        deterministic: parsed.deterministic,
        models: built.models,
    })
}

/// The variables that the leaves speak of, each of the kind that its leaves give it.
///
/// # Errors
/// E0301 if leaves make one variable both real and categorical.
fn kinds(nodes: &Nodes) -> Result<Variables, Diagnostic> {
    let mut kinds: Vec<Option<VarKind>> = Vec::new();
    for node in 0..nodes.len() as u32 {
        let item = nodes.get(node);
        let (VarId(var), kind) = match &item.what {
            &What::Indicator { var, state } => {
                (var, VarKind::Categorical { states: (state + 1).max(2) })
            }
            What::Categorical { var, p } => {
                (*var, VarKind::Categorical { states: (p.len() as u32).max(2) })
            }
            What::Free { var } => (*var, VarKind::BINARY),
            What::Gaussian { var, .. } => (*var, VarKind::Real),
            What::True | What::False | What::Product | What::Sum => continue,
        };
        if kinds.len() <= var as usize {
            kinds.resize(var as usize + 1, None);
        }
        let known = &mut kinds[var as usize];
        *known = match (*known, kind) {
            (None, kind) => Some(kind),
            (Some(VarKind::Real), VarKind::Real) => Some(kind),
            (Some(VarKind::Categorical { states: a }), VarKind::Categorical { states: b }) => {
                Some(VarKind::Categorical { states: a.max(b) })
            }
            _ => {
                let message = format!("the leaves of x{var} make it both real and categorical");
                return Err(Diagnostic::new(Code::E0301, message).at(item.span));
            }
        };
    }
    // A variable that no leaf names is left for validation to report.
    let kinds: Vec<VarKind> =
        kinds.into_iter().map(|kind| kind.unwrap_or(VarKind::BINARY)).collect();
    match kinds.iter().all(|&kind| kind == VarKind::BINARY) {
        true => Ok(Variables::binary(kinds.len())),
        false => Ok(Variables::named(
            kinds.into_iter().enumerate().map(|(var, kind)| (format!("x{var}"), kind)),
        )),
    }
}
