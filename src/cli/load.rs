//! From a path of the command line to a circuit, compiled or not, or a model.

use std::path::Path;
use std::sync::Arc;

use super::args::Run;
use super::failure::Failure;
use crate::circuit::{Determinism, SourceMap, ValidCircuit, WeightSource};
use crate::compile::{Compiled, Options, compile};
use crate::data::{self, Dataset};
use crate::diag::{Code, Diagnostic, Diagnostics, Source, nearest};
use crate::ids::VarId;
use crate::import::{self, Format, Models};
use crate::model::{Model, Training, archive, file};
use crate::param::TensorSet;
use crate::param::registry::Registry;
use crate::rewrite::Request;
use crate::sector::{bind, partition};
use crate::spec::{Spanned, Spec, StructureSpec};
use crate::structure::{self, Loaded};
use crate::variables::Variables;

/// Nodes of a circuit that is rewritten though memory is short: rewriting takes about as much as the
/// circuit does.
const MOST_REWRITTEN: usize = 1 << 20;

/// A circuit that is ready to be planned.
pub struct Ready {
    /// Its text.
    pub source: Source,
    /// Its description.
    pub spec: Spec,
    /// Names and places of its nodes.
    pub map: SourceMap,
    /// The circuit, compiled; an engine keeps a share of it.
    pub compiled: Arc<Compiled>,
    /// Of a formula in another format, its models.
    pub models: Option<Models>,
}

/// The text of a circuit.
///
/// # Errors
/// E0001 if the file cannot be read, E0002 if it is not text, or is a model.
pub fn source(path: &Path) -> Result<Source, Failure> {
    if archive::is_archive(path) {
        let message = "this is a model that was learned, and no text of a circuit";
        return Err(Diagnostic::new(Code::E0002, message)
            .in_file(path.display().to_string())
            .help("`pcc eval`, `query`, `sample` and `inspect` take it")
            .into());
    }
    Ok(import::open(path)?)
}

/// The circuit that a text describes, validated.
///
/// # Errors
/// Every fault of the text.
pub fn circuit(source: &Source) -> Result<Loaded, Failure> {
    structure::load(source, false).map_err(|faults| Failure::new(faults).with_source(source))
}

/// Whether a circuit can learn as its description says: its sectors can be cut, its parameterizer be had, and
/// all tensors be found whose options it gives.
///
/// # Errors
/// All that is wrong with these.
pub fn learns(spec: &Spec, circuit: &ValidCircuit, map: &SourceMap) -> Result<(), Diagnostics> {
    let parameterizer = structure::parameterizer(spec, &Registry::new())?;
    let table = partition(circuit, map, spec.sectors.value)?;
    check_groups(spec, bind(circuit, table, parameterizer.as_ref())?.tensors())
}

/// Compiles a circuit for a query, or for all of them if nothing is requested.
///
/// # Errors
/// What the parameterizer, the sectors or the request is faulted for, and E0404 for options of tensors
/// that there are not.
pub fn compiled(
    source: Source,
    loaded: Loaded,
    request: Request,
    run: &Run,
) -> Result<Ready, Failure> {
    let Loaded { spec, circuit, map, models, warnings, .. } = loaded;
    let properties = circuit.properties();
    let declared_deterministic = properties.deterministic == Determinism::Declared;
    // The algebra would flatten the products of a vtree, by whose splits a plan groups them.
    let described = spec.structure.as_ref().map(|structure| &structure.value);
    let is_foreign = Format::of(Path::new(&source.name)).is_some()
        || matches!(described, Some(StructureSpec::Import(_)));
    let is_diagram = is_foreign && properties.structured_decomposable;
    let made = structure::parameterizer(&spec, &Registry::new());
    let is_large = run.memory.is_some() && circuit.node_count() > MOST_REWRITTEN;
    let options = Options {
        sectors: spec.sectors.value,
        no_rewrite: run.no_rewrite || is_diagram || is_large,
        request,
        declared_deterministic,
    };
    let compiled = made.map_err(Into::into).and_then(|parameterizer| {
        compile(circuit.into_circuit(), &map, parameterizer.as_ref(), &options)
    });
    let checked = compiled.and_then(|compiled| {
        check_groups(&spec, compiled.parameters.tensors())?;
        Ok(compiled)
    });
    match checked {
        Ok(compiled) => {
            let compiled = Arc::new(Compiled { warnings, ..compiled });
            Ok(Ready { source, spec, map, compiled, models })
        }
        Err(faults) => Err(Failure::new(faults).with_source(&source)),
    }
}

/// Checks that the tensors exist whose options a description gives.
///
/// # Errors
/// E0404 for each name that no tensor and no group of tensors has.
fn check_groups(spec: &Spec, tensors: &TensorSet) -> Result<(), Diagnostics> {
    let check = |(name, _): &(Spanned<String>, _)| {
        tensors.check_name(&name.value).err().map(|fault| fault.at(name.span))
    };
    let faults: Diagnostics = spec.groups.iter().filter_map(check).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The text of a circuit with everything in it that it takes from elsewhere, so that a model can keep
/// it: other files, and what its structure learns from the rows of `data`.
///
/// # Errors
/// What is wrong with one of the files. Faults of the text itself are left for [`circuit`].
pub fn whole(path: &Path, data: Option<&Path>) -> Result<Source, Failure> {
    let source = source(path)?;
    let rows = |variables: &_| data.map(|path| data::read(path, variables)).transpose();
    structure::resolve(&source, rows).map_err(|fault| Failure::from(fault).with_source(&source))
}

/// Compiles the circuit of a file; `data` are the training data, if there are any.
///
/// # Errors
/// Every fault of the files, and what [`compiled`] reports.
pub fn ready(path: &Path, data: Option<&Path>, run: &Run) -> Result<Ready, Failure> {
    let source = whole(path, data)?;
    let loaded = circuit(&source)?;
    compiled(source, loaded, Request::default(), run)
}

/// Whether a path names a circuit, and not a model.
pub fn is_circuit(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ron") || Format::of(path).is_some()
}

/// A model, with how it was trained; or a circuit in which all parameters are given.
///
/// # Errors
/// What is wrong with the file; E0704 for a circuit with parameters that nothing gives.
pub fn model(path: &Path, run: &Run) -> Result<(Model, Option<Training>), Failure> {
    if is_circuit(path) {
        return Ok((given(ready(path, None, run)?)?, None));
    }
    let stored = file::load(path)?;
    let loaded = circuit(&stored.source)?;
    let ready = compiled(stored.source.clone(), loaded, Request::default(), run)?;
    let model = Model::from_file(path, &stored, ready.compiled)?;
    Ok((model, stored.training))
}

/// The model of a circuit in which all parameters are given.
fn given(ready: Ready) -> Result<Model, Failure> {
    let Ready { source, map, compiled, .. } = ready;
    let circuit = &compiled.written;
    let learned = circuit.order().iter().find(|&&node| {
        let op = circuit.op(node);
        let weights = op.weights().map(|weights| &circuit.weights()[weights].source);
        let drawn = matches!(weights, Some(WeightSource::Parameterizer | WeightSource::Direct));
        let leaf = matches!(op, crate::circuit::Op::Leaf { dist, .. }
            if circuit.dists()[dist].given.is_none() && circuit.dists()[dist].learnable_len() > 0);
        drawn || leaf
    });
    if let Some(&node) = learned {
        let name = map.name(node);
        let message = format!("the circuit does not give the parameters of `{name}`");
        let fault = Diagnostic::new(Code::E0704, message)
            .at_option(map.span(node))
            .node(name)
            .help("train it first, with `pcc train`, and use the model");
        return Err(Failure::from(fault).with_source(&source));
    }
    // Nothing is drawn, so the seed makes no difference.
    let flat = compiled.parameters.initial(circuit, 0, None);
    Ok(Model { source, compiled, flat })
}

/// The rows of a data file.
///
/// # Errors
/// What is wrong with the file.
pub fn data(path: &Path, compiled: &Compiled) -> Result<Dataset, Failure> {
    Ok(data::read(path, compiled.written.variables())?)
}

/// The variable of a name.
///
/// # Errors
/// E0115, with the nearest name there is.
pub fn variable(name: &str, variables: &Variables) -> Result<VarId, Diagnostic> {
    variables.find(name).ok_or_else(|| {
        let fault = Diagnostic::new(Code::E0115, format!("the circuit has no variable `{name}`"));
        let names: Vec<_> = variables.ids().map(|var| variables.name(var)).collect();
        match nearest(name, names.iter().map(AsRef::as_ref)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.note(format!("it has {} variables", variables.len())),
        }
    })
}
