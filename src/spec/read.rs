//! The description as a whole: its top-level fields, variables, structure and parameterizer.

use super::graph::graph;
use super::leaves::leaves;
use super::reader::{Reader, Variant};
use super::structures;
use super::tree::{Shape, Tree, options, parse};
use super::{GroupOptions, Import, LeavesSpec, ParameterizerSpec, Spanned, Spec, StructureSpec};
use crate::diag::{Code, Diagnostic, Diagnostics, Source, Span, grouped};
use crate::sector::SectorKind;
use crate::variables::{VarKind, Variables};

/// Variables of a circuit at most.
const MOST_VARIABLES: u32 = 1 << 26;
/// States of a variable at most.
const MOST_STATES: u32 = 65_536;
/// Hidden layers, and numbers in each of them or in an embedding, at most.
const MOST_HIDDEN: u32 = 65_536;

const FIELDS: &[&str] =
    &["name", "variables", "structure", "leaves", "parameterizer", "sectors", "groups"];
/// Those that say how it is to learn.
const LEARNING: &[&str] = &["parameterizer", "sectors", "groups"];

/// Reads a description. Returns what was understood together with every fault; the description is
/// fit for use only if there is no error among them. `None`: the text is not RON, or nothing can be
/// said without its variables.
pub fn read(source: &Source) -> (Option<Spec>, Diagnostics) {
    let tree = match parse(source) {
        Ok(tree) => tree,
        Err(fault) => return (None, Diagnostics::from(*fault)),
    };
    let mut reader = Reader::default();
    let spec = spec(&mut reader, source, &tree);
    (spec, reader.faults)
}

/// How the circuit that a description lays out is to learn, word by word: the fields that say so, each with
/// the text of its value. None of a text that is no description.
pub fn learning(source: &Source) -> Vec<(&str, &str)> {
    let Ok(Tree { shape: Shape::Fields(_, fields), .. }) = parse(source) else { return Vec::new() };
    let learning = fields.iter().filter(|field| LEARNING.contains(&field.name));
    let text = |span: Span| &source.text[span.start as usize..span.end as usize];
    learning.map(|field| (field.name, text(field.value.span))).collect()
}

fn spec(reader: &mut Reader, source: &Source, tree: &Tree<'_>) -> Option<Spec> {
    let fields = reader.fields(tree, "the circuit", FIELDS)?;
    let name = fields.get("name").and_then(|tree| reader.text(tree, "name"));
    let variables_tree = reader.required(&fields, "variables");
    let variables = variables_tree.and_then(|tree| {
        let variables = variables(reader, tree)?;
        Some(Spanned::new(variables, tree.span))
    });
    let structure_tree = reader.required(&fields, "structure");
    let structure = structure_tree.and_then(|tree| {
        let structure = structure(reader, tree)?;
        Some(Spanned::new(structure, tree.span))
    });
    let leaves = match fields.get("leaves") {
        Some(tree) => leaves(reader, tree),
        None => LeavesSpec::default(),
    };
    let parameterizer =
        spanned(fields.get("parameterizer"), |tree| parameterizer(reader, source, tree));
    let sectors = spanned(fields.get("sectors"), |tree| sectors(reader, tree));
    let groups = fields.get("groups").and_then(|tree| groups(reader, tree)).unwrap_or_default();
    Some(Spec {
        name: name.map_or_else(|| stem(&source.name), |name| name.value),
        variables: variables?,
        structure,
        leaves,
        parameterizer,
        sectors,
        groups,
    })
}

fn spanned<'t, 'a, T: Default>(
    tree: Option<&'t Tree<'a>>,
    read: impl FnOnce(&'t Tree<'a>) -> Option<T>,
) -> Spanned<T> {
    let span = tree.map_or(Span::default(), |tree| tree.span);
    Spanned::new(tree.and_then(read).unwrap_or_default(), span)
}

fn stem(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    file.strip_suffix(".ron").unwrap_or(file).into()
}

fn variables(reader: &mut Reader, tree: &Tree<'_>) -> Option<Variables> {
    let variant =
        reader.variant(tree, "kind of variables", &["Binary", "Categorical", "Real", "Named"])?;
    match variant.name {
        "Binary" => count(reader, &variant).map(Variables::binary),
        "Real" => count(reader, &variant).map(|n| Variables::uniform(VarKind::Real, n)),
        "Categorical" => {
            let fields = reader.fields_of(&variant, &["n", "states"])?;
            let n = reader.required(&fields, "n");
            let n = n.and_then(|tree| reader.whole(tree, "n", 1..=MOST_VARIABLES));
            let states = reader.required(&fields, "states");
            let states = states.and_then(|tree| reader.whole(tree, "states", 1..=MOST_STATES));
            Some(Variables::uniform(VarKind::Categorical { states: states? }, n? as usize))
        }
        _ => named(reader, &variant),
    }
}

fn count(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<usize> {
    let tree = reader.only(variant, "n")?;
    let what = format!("the number of {} variables", variant.name.to_lowercase());
    reader.whole(tree, &what, 1..=MOST_VARIABLES).map(|n| n as usize)
}

/// `Named([(name: "age", kind: Categorical(5)), …])`.
fn named(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Variables> {
    let tree = reader.only(variant, "variables")?;
    let named = reader.each(tree, "the list of variables", named_variable)?;
    if named.is_empty() {
        reader.fault(Code::E0105, tree.span, "the circuit has no variables");
        return None;
    }
    let mut first = std::collections::HashMap::with_capacity(named.len());
    let mut distinct = Vec::with_capacity(named.len());
    for (name, kind) in named {
        match first.get(&name.value) {
            None => {
                first.insert(name.value.clone(), name.span);
                distinct.push((name.value, kind));
            }
            Some(&place) => {
                let message = format!("variable `{}` is defined twice", name.value);
                let fault = Diagnostic::new(Code::E0116, message).at(name.span);
                let fault = fault.label(Some(place), "first here");
                reader.report(fault.help("rename one of them"));
            }
        }
    }
    Some(Variables::named(distinct))
}

fn named_variable(reader: &mut Reader, tree: &Tree<'_>) -> Option<(Spanned<String>, VarKind)> {
    let fields = reader.fields(tree, "a variable", &["name", "kind"])?;
    let name = reader.required(&fields, "name").and_then(|tree| reader.text(tree, "name"));
    let kind = reader.required(&fields, "kind").and_then(|tree| kind(reader, tree));
    Some((name?, kind?))
}

fn kind(reader: &mut Reader, tree: &Tree<'_>) -> Option<VarKind> {
    let variant = reader.variant(tree, "kind of variable", &["Binary", "Categorical", "Real"])?;
    if variant.name == "Categorical" {
        let tree = reader.only(&variant, "states")?;
        let states = reader.whole(tree, "the number of states", 1..=MOST_STATES)?;
        return Some(VarKind::Categorical { states });
    }
    reader.alone(&variant);
    Some(if variant.name == "Binary" { VarKind::BINARY } else { VarKind::Real })
}

/// The structures of the language.
const STRUCTURES: &[&str] =
    &["RatSpn", "Einet", "PoonDomingos", "QuadTree", "Hmm", "Hclt", "Vtree", "Graph", "Import"];

fn structure(reader: &mut Reader, tree: &Tree<'_>) -> Option<StructureSpec> {
    let variant = reader.variant(tree, "structure", STRUCTURES)?;
    match variant.name {
        "RatSpn" => structures::rat_spn(reader, &variant).map(StructureSpec::RatSpn),
        "Einet" => structures::einet(reader, &variant).map(StructureSpec::Einet),
        "PoonDomingos" => {
            structures::poon_domingos(reader, &variant).map(StructureSpec::PoonDomingos)
        }
        "QuadTree" => structures::quad_tree(reader, &variant).map(StructureSpec::QuadTree),
        "Hmm" => structures::hmm(reader, &variant).map(StructureSpec::Hmm),
        "Hclt" => structures::hclt(reader, &variant).map(StructureSpec::Hclt),
        "Vtree" => structures::vtree(reader, &variant).map(StructureSpec::Vtree),
        "Graph" => graph(reader, &variant).map(StructureSpec::Graph),
        _ => import(reader, &variant).map(StructureSpec::Import),
    }
}

fn import(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Import> {
    let fields = reader.fields_of(variant, &["file", "vtree", "weights"])?;
    let file = reader.required(&fields, "file").and_then(|tree| reader.text(tree, "file"));
    let mut optional = |name: &str| match fields.get(name) {
        Some(tree) => reader.text(tree, name).map(Some),
        None => Some(None),
    };
    let (vtree, weights) = (optional("vtree"), optional("weights"));
    Some(Import { file: file?, vtree: vtree?, weights: weights? })
}

fn parameterizer(
    reader: &mut Reader,
    source: &Source,
    tree: &Tree<'_>,
) -> Option<ParameterizerSpec> {
    let known = &["Direct", "WeightDecay", "Hyper", "Custom"];
    let variant = reader.variant(tree, "parameterizer", known)?;
    match variant.name {
        "Direct" => {
            reader.alone(&variant);
            Some(ParameterizerSpec::Direct)
        }
        "WeightDecay" => {
            let fields = reader.fields_of(&variant, &["lambda"])?;
            let lambda = reader.required(&fields, "lambda")?;
            Some(ParameterizerSpec::WeightDecay { lambda: decay(reader, lambda, "lambda")? })
        }
        "Hyper" => hyper(reader, &variant),
        _ => custom(reader, source, &variant),
    }
}

/// L2 regularisation.
fn decay(reader: &mut Reader, tree: &Tree<'_>, what: &str) -> Option<f64> {
    let fits = |number: f64| number >= 0.0 && number.is_finite();
    reader.number(tree, what, "finite and at least 0", fits)
}

fn hyper(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<ParameterizerSpec> {
    let fields = reader.fields_of(variant, &["embedding", "hidden"])?;
    let embedding = reader.required(&fields, "embedding");
    let embedding = embedding.and_then(|tree| reader.whole(tree, "embedding", 1..=MOST_HIDDEN));
    let tree = reader.required(&fields, "hidden")?;
    let hidden = reader.each(tree, "hidden", |reader, width| {
        reader.whole(width, "the width of a hidden layer", 1..=MOST_HIDDEN)
    })?;
    if hidden.is_empty() || hidden.len() > MOST_HIDDEN as usize {
        let message = format!("the network has {} hidden layers", grouped(hidden.len() as u64));
        let fault = Diagnostic::new(Code::E0105, message).at(tree.span);
        reader.report(fault.help("name the width of at least one: `hidden: [20, 20]`"));
        return None;
    }
    Some(ParameterizerSpec::Hyper { embedding: embedding?, hidden })
}

fn custom(
    reader: &mut Reader,
    source: &Source,
    variant: &Variant<'_, '_>,
) -> Option<ParameterizerSpec> {
    let fields = reader.fields_of(variant, &["name", "args"])?;
    let name = reader.required(&fields, "name").and_then(|tree| reader.text(tree, "name"));
    let args = match fields.get("args") {
        Some(tree) => {
            let text = &source.text[tree.span.start as usize..tree.span.end as usize];
            match options().from_str(text) {
                Ok(value) => Some(value),
                Err(error) => {
                    let message = format!("args cannot be passed on: {}", error.code);
                    reader.fault(Code::E0104, tree.span, message);
                    None
                }
            }
        }
        None => Some(ron::Value::Unit),
    };
    Some(ParameterizerSpec::Custom { name: name?.value, args: args? })
}

fn sectors(reader: &mut Reader, tree: &Tree<'_>) -> Option<SectorKind> {
    let variant = reader.variant(tree, "way to cut sectors", &["PerLayer", "Slices"])?;
    if variant.name == "PerLayer" {
        reader.alone(&variant);
        return Some(SectorKind::PerLayer);
    }
    let tree = reader.only(&variant, "length")?;
    reader.whole(tree, "the length of a slice", 1..=u32::MAX).map(SectorKind::Slices)
}

/// `{"network": (lr: 3e-4, decay: 0.0)}`.
fn groups(reader: &mut Reader, tree: &Tree<'_>) -> Option<Vec<(Spanned<String>, GroupOptions)>> {
    let again = |name: &str| (Code::E0106, format!("groups has the tensor `{name}` twice"));
    let entries = reader.map(tree, "groups", "a tensor's name", again)?;
    let options = |reader: &mut Reader, tree: &Tree<'_>| {
        if matches!(tree.shape, Shape::Word(_)) {
            reader.wrong_type(tree, "a group", "written with named fields (`lr`, `decay`)");
            return None;
        }
        let fields = reader.fields(tree, "a group", &["lr", "decay"])?;
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let lr = fields.get("lr").map(|t| reader.number(t, "lr", "finite and above 0", positive));
        let decay = fields.get("decay").map(|tree| decay(reader, tree, "decay"));
        Some(GroupOptions { lr: lr.flatten(), decay: decay.flatten() })
    };
    Some(
        entries
            .into_iter()
            .filter_map(|(name, tree)| Some((name, options(reader, tree)?)))
            .collect(),
    )
}
