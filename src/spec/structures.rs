//! The structures that are made by a rule: their fields.

use super::graph::MOST_UNITS;
use super::reader::{Fields, Reader, Variant};
use super::tree::{Shape, Tree};
use super::{
    Einet, GridShape, Hclt, Hmm, Permutation, PoonDomingos, QuadTree, RatSpn, Spanned, VtreeSpec,
    VtreeText,
};
use crate::diag::{Code, Diagnostic};

/// Replicas of a structure at most.
const MOST_REPLICAS: u32 = 1 << 20;
/// Length of an axis of a grid at most.
const MOST_LENGTH: u32 = 1 << 26;
/// Axes of a grid at most.
const MOST_AXES: usize = 8;

pub(super) fn rat_spn(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<RatSpn> {
    let fields = reader.fields_of(variant, &["units", "replicas", "seed", "permutations"])?;
    let units = units(reader, &fields);
    let replicas = replicas(reader, &fields);
    let seed = seed(reader, &fields);
    let permutations = match fields.get("permutations") {
        Some(tree) => {
            let lists = reader.each(tree, "permutations", permutation)?;
            Some(Spanned::new(lists, tree.span))
        }
        None => None,
    };
    Some(RatSpn { units: units?, replicas: replicas?, seed: seed?, permutations })
}

pub(super) fn einet(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Einet> {
    let fields = reader.fields_of(variant, &["units", "replicas", "depth", "seed"])?;
    let units = units(reader, &fields);
    let replicas = replicas(reader, &fields);
    let depth = match fields.get("depth") {
        Some(tree) => reader.whole(tree, "depth", 0..=u32::MAX).map(Some),
        None => Some(None),
    };
    let seed = seed(reader, &fields);
    Some(Einet { units: units?, replicas: replicas?, depth: depth?, seed: seed? })
}

pub(super) fn poon_domingos(
    reader: &mut Reader,
    variant: &Variant<'_, '_>,
) -> Option<PoonDomingos> {
    let fields = reader.fields_of(variant, &["shape", "pieces", "axes", "units"])?;
    let shape = reader.required(&fields, "shape").and_then(|tree| shape(reader, tree));
    let units = units(reader, &fields);
    let axes = match (fields.get("axes"), &shape) {
        (Some(tree), Some(shape)) => axes(reader, tree, shape.value.len()),
        (None, Some(shape)) => Some((0..shape.value.len() as u32).collect()),
        (_, None) => None,
    };
    let tree = reader.required(&fields, "pieces");
    let (shape, axes) = (shape?, axes?);
    let pieces = tree.and_then(|tree| pieces(reader, tree, &shape, &axes));
    Some(PoonDomingos { shape, pieces: pieces?, axes, units: units? })
}

pub(super) fn quad_tree(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<QuadTree> {
    let fields = reader.fields_of(variant, &["shape", "units"])?;
    let shape = reader.required(&fields, "shape").and_then(|tree| shape(reader, tree));
    let units = units(reader, &fields);
    Some(QuadTree { shape: shape?, units: units? })
}

pub(super) fn hmm(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Hmm> {
    let fields = reader.fields_of(variant, &["units", "tied"])?;
    let units = units(reader, &fields);
    let tied = match fields.get("tied") {
        Some(tree) => reader.flag(tree, "tied"),
        None => Some(true),
    };
    Some(Hmm { units: units?, tied: tied? })
}

pub(super) fn hclt(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<Hclt> {
    let fields = reader.fields_of(variant, &["units", "tree"])?;
    let units = units(reader, &fields);
    let tree = match fields.get("tree") {
        Some(tree) => {
            let edges = reader.each(tree, "the tree", edge);
            edges.map(|edges| Some(Spanned::new(edges, tree.span)))
        }
        None => Some(None),
    };
    Some(Hclt { units: units?, tree: tree? })
}

pub(super) fn vtree(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<VtreeSpec> {
    let fields = reader.fields_of(variant, &["file", "text", "units"])?;
    let units = units(reader, &fields);
    let vtree = match (fields.get("file"), fields.get("text")) {
        (None, Some(tree)) => reader.text(tree, "text").map(VtreeText::Here),
        (Some(_), Some(tree)) => {
            let message = "`Vtree` has both a `file` and its `text`";
            let fault = Diagnostic::new(Code::E0106, message).at(tree.span);
            reader.report(fault.help("keep one of them"));
            None
        }
        _ => {
            let tree = reader.required(&fields, "file");
            tree.and_then(|tree| reader.text(tree, "file")).map(VtreeText::File)
        }
    };
    Some(VtreeSpec { vtree: vtree?, units: units? })
}

fn units(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<u32> {
    let tree = reader.required(fields, "units")?;
    reader.whole(tree, "units", 1..=MOST_UNITS)
}

fn replicas(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<u32> {
    let tree = reader.required(fields, "replicas")?;
    reader.whole(tree, "replicas", 1..=MOST_REPLICAS)
}

fn seed(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<u64> {
    match fields.get("seed") {
        Some(tree) => reader.whole_u64(tree, "seed", 0..=u64::MAX),
        None => Some(0),
    }
}

fn permutation(reader: &mut Reader, tree: &Tree<'_>) -> Option<Permutation> {
    let order = reader.each(tree, "a permutation", |reader, tree| {
        let var = reader.whole(tree, "a variable's number", 0..=u32::MAX)?;
        Some(Spanned::new(var, tree.span))
    })?;
    Some(Spanned::new(order, tree.span))
}

/// The lengths of a grid's axes: `(28, 28)`.
fn shape(reader: &mut Reader, tree: &Tree<'_>) -> Option<GridShape> {
    let (Shape::Items(None, items) | Shape::List(items)) = &tree.shape else {
        reader.wrong_type(tree, "shape", "a length for each axis, such as `(28, 28)`");
        return None;
    };
    if items.is_empty() || items.len() > MOST_AXES {
        let message = format!("the grid has {} axes", items.len());
        let fault = Diagnostic::new(Code::E0105, message).at(tree.span);
        reader.report(fault.help(format!("a grid has between 1 and {MOST_AXES} axes")));
        return None;
    }
    let lengths: Vec<Option<u32>> = items
        .iter()
        .map(|item| reader.whole(item, "the length of an axis", 1..=MOST_LENGTH))
        .collect();
    let lengths: Option<Vec<u32>> = lengths.into_iter().collect();
    Some(Spanned::new(lengths?, tree.span))
}

/// The numbers of the axes that are cut, ascending.
fn axes(reader: &mut Reader, tree: &Tree<'_>, count: usize) -> Option<Vec<u32>> {
    let mut axes: Vec<u32> = reader
        .each(tree, "axes", |reader, item| reader.whole(item, "an axis", 0..=count as u32 - 1))?;
    axes.sort_unstable();
    let again = axes.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    if axes.is_empty() || again.is_some() {
        let message = match again {
            Some(axis) => format!("axes has the axis {axis} twice"),
            None => "axes is an empty list".into(),
        };
        let fault = Diagnostic::new(Code::E0105, message).at(tree.span);
        reader.report(fault.help("name each axis that is cut once, or leave `axes` out for all"));
        return None;
    }
    Some(axes)
}

/// The pieces of each axis that is cut: one number for all, or a number for each.
fn pieces(
    reader: &mut Reader,
    tree: &Tree<'_>,
    shape: &GridShape,
    axes: &[u32],
) -> Option<Vec<u32>> {
    let length = |axis: &u32| shape.value[*axis as usize];
    if !matches!(tree.shape, Shape::List(_)) {
        let shortest = axes.iter().map(length).min()?;
        let pieces = reader.whole(tree, "pieces", 1..=shortest)?;
        return Some(vec![pieces; axes.len()]);
    }
    let mut lengths = axes.iter().map(length);
    let pieces = reader.each(tree, "pieces", |reader, item| {
        reader.whole(item, "pieces", 1..=lengths.next().unwrap_or(MOST_LENGTH))
    })?;
    if pieces.len() != axes.len() {
        let message = format!("{} numbers of pieces for {} axes", pieces.len(), axes.len());
        let fault = Diagnostic::new(Code::E0105, message).at(tree.span);
        reader.report(fault.help("give one number for all axes, or a number for each"));
        return None;
    }
    Some(pieces)
}

/// An edge between two variables: `(0, 1)`.
fn edge(reader: &mut Reader, tree: &Tree<'_>) -> Option<Spanned<(u32, u32)>> {
    let (Shape::Items(None, items) | Shape::List(items)) = &tree.shape else {
        reader.wrong_type(tree, "an edge", "a pair of variables' numbers, such as `(0, 1)`");
        return None;
    };
    let [a, b] = items.as_slice() else {
        reader.wrong_type(tree, "an edge", "a pair of variables' numbers, such as `(0, 1)`");
        return None;
    };
    let mut number = |tree| reader.whole(tree, "a variable's number", 0..=u32::MAX);
    let (a, b) = (number(a), number(b));
    Some(Spanned::new((a?, b?), tree.span))
}
