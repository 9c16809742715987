//! Distributions of leaves.

use super::reader::{Fields, Reader, Variant};
use super::tree::{Shape, Tree};
use super::{DistSpec, FamilySpec, LeavesSpec, Spanned};
use crate::diag::{Code, Diagnostic};

const FAMILIES: &[&str] =
    &["Indicators", "Bernoulli", "Categorical", "Gaussian", "Binomial", "Poisson"];

/// The field `leaves`.
pub(super) fn leaves(reader: &mut Reader, tree: &Tree<'_>) -> LeavesSpec {
    if !matches!(tree.shape, Shape::Fields(Some("PerKind"), _) | Shape::Items(Some("PerKind"), _)) {
        return dist(reader, tree).map(LeavesSpec::all).unwrap_or_default();
    }
    let mut leaves = LeavesSpec::default();
    let Some(fields) = reader.fields(tree, "`PerKind`", &["binary", "categorical", "real"]) else {
        return leaves;
    };
    for (name, place) in [
        ("binary", &mut leaves.binary),
        ("categorical", &mut leaves.categorical),
        ("real", &mut leaves.real),
    ] {
        if let Some(found) = fields.get(name).and_then(|tree| dist(reader, tree)) {
            *place = found;
        }
    }
    leaves
}

/// One distribution.
pub(super) fn dist(reader: &mut Reader, tree: &Tree<'_>) -> Option<Spanned<DistSpec>> {
    let variant = reader.variant(tree, "distribution", FAMILIES)?;
    if !matches!(variant.name, "Indicators") && matches!(tree.shape, Shape::Word(_)) {
        let name = variant.name;
        let fault = Diagnostic::new(
            Code::E0104,
            format!("the distribution `{name}` is written with its parentheses"),
        );
        reader.report(fault.at(tree.span).help(format!("write `{name}()`")));
        return None;
    }
    let dist = match variant.name {
        "Indicators" => {
            reader.alone(&variant);
            DistSpec::learnable(FamilySpec::Indicators)
        }
        "Bernoulli" => bernoulli(reader, &variant)?,
        "Categorical" => categorical(reader, &variant)?,
        "Gaussian" => gaussian(reader, &variant)?,
        "Binomial" => binomial(reader, &variant)?,
        _ => poisson(reader, &variant)?,
    };
    Some(Spanned::new(dist, tree.span))
}

fn bernoulli(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<DistSpec> {
    let fields = reader.fields_of(variant, &["p", "frozen"])?;
    of_one_number(reader, variant, &fields, FamilySpec::Bernoulli, "p")
}

fn binomial(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<DistSpec> {
    let fields = reader.fields_of(variant, &["n", "p", "frozen"])?;
    let trials = match fields.get("n") {
        Some(tree) => reader.whole(tree, "n", 0..=u32::MAX - 1).map(Some),
        None => Some(None),
    };
    of_one_number(reader, variant, &fields, FamilySpec::Binomial { trials: trials? }, "p")
}

fn poisson(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<DistSpec> {
    let fields = reader.fields_of(variant, &["rate", "frozen"])?;
    of_one_number(reader, variant, &fields, FamilySpec::Poisson, "rate")
}

/// A distribution with one parameter a unit.
fn of_one_number(
    reader: &mut Reader,
    variant: &Variant<'_, '_>,
    fields: &Fields<'_, '_>,
    family: FamilySpec,
    parameter: &str,
) -> Option<DistSpec> {
    let given = match fields.get(parameter) {
        Some(tree) => {
            let numbers = a_number_a_unit(reader, tree, parameter)?;
            Some(numbers.into_iter().map(|number| vec![number]).collect())
        }
        None => None,
    };
    let frozen = frozen(reader, variant, fields.get("frozen"), given.is_some(), parameter)?;
    Some(DistSpec { family, given, frozen })
}

fn categorical(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<DistSpec> {
    let fields = reader.fields_of(variant, &["p", "frozen"])?;
    let given = match fields.get("p") {
        Some(tree) => Some(matrix(reader, tree, "p")?),
        None => None,
    };
    let frozen = frozen(reader, variant, fields.get("frozen"), given.is_some(), "p")?;
    Some(DistSpec { family: FamilySpec::Categorical, given, frozen })
}

fn gaussian(reader: &mut Reader, variant: &Variant<'_, '_>) -> Option<DistSpec> {
    let fields = reader.fields_of(variant, &["mean", "var", "min_var", "max_var", "frozen"])?;
    let family = variance_bounds(reader, fields.get("min_var"), fields.get("max_var"));
    let mean = fields.get("mean").map(|tree| a_number_a_unit(reader, tree, "mean"));
    let var = fields.get("var").map(|tree| a_number_a_unit(reader, tree, "var"));
    let given = match (mean, var) {
        (None, None) => None,
        (Some(mean), Some(var)) => Some(paired(reader, variant, mean?, var?)?),
        (mean, _) => {
            let (has, lacks) = if mean.is_some() { ("mean", "var") } else { ("var", "mean") };
            let message = format!("a Gaussian with a given `{has}` lacks its `{lacks}`");
            let fault = Diagnostic::new(Code::E0103, message).at(variant.tree.span);
            reader.report(fault.help("give both, or neither to learn them"));
            return None;
        }
    };
    let frozen = frozen(reader, variant, fields.get("frozen"), given.is_some(), "mean` and `var")?;
    Some(DistSpec { family: family?, given, frozen })
}

fn variance_bounds(
    reader: &mut Reader,
    min: Option<&Tree<'_>>,
    max: Option<&Tree<'_>>,
) -> Option<FamilySpec> {
    let finite = |number: f64| number > 0.0 && number.is_finite();
    let min_var = match min {
        Some(tree) => reader.number(tree, "min_var", "finite and above 0", finite)?,
        None => 1e-6,
    };
    let max_var = match max {
        Some(tree) => {
            let range = format!("above min_var, which is {min_var:e}");
            reader.number(tree, "max_var", &range, |max| max > min_var)?
        }
        None => f64::INFINITY,
    };
    Some(FamilySpec::Gaussian { min_var, max_var })
}

/// `[mean, variance]` of each unit; one of either kind is meant for all units.
fn paired(
    reader: &mut Reader,
    variant: &Variant<'_, '_>,
    mean: Vec<f64>,
    var: Vec<f64>,
) -> Option<Vec<Vec<f64>>> {
    let units = mean.len().max(var.len());
    if [mean.len(), var.len()].iter().any(|&len| len != units && len != 1) {
        let message = format!("{} means and {} variances are given", mean.len(), var.len());
        reader.fault(Code::E0304, variant.tree.span, message);
        return None;
    }
    let of = |values: &[f64], unit: usize| values[if values.len() == 1 { 0 } else { unit }];
    Some((0..units).map(|unit| vec![of(&mean, unit), of(&var, unit)]).collect())
}

/// Whether given parameters stay as they are. There must be some, then.
fn frozen(
    reader: &mut Reader,
    variant: &Variant<'_, '_>,
    tree: Option<&Tree<'_>>,
    given: bool,
    parameters: &str,
) -> Option<bool> {
    let Some(tree) = tree else { return Some(false) };
    let frozen = reader.flag(tree, "frozen")?;
    if frozen && !given {
        let message = format!("a frozen {} lacks its `{parameters}`", variant.name);
        let fault = Diagnostic::new(Code::E0103, message).at(variant.tree.span);
        reader.report(fault.help(format!("give `{parameters}`, or leave `frozen` out")));
        return None;
    }
    Some(frozen)
}

/// One number for every unit, or a list with a number a unit.
fn a_number_a_unit(reader: &mut Reader, tree: &Tree<'_>, what: &str) -> Option<Vec<f64>> {
    match &tree.shape {
        Shape::List(items) if items.is_empty() => {
            reader.fault(Code::E0304, tree.span, format!("{what} is an empty list"));
            None
        }
        Shape::List(_) => reader.each(tree, what, |reader, item| reader.any_number(item, what)),
        Shape::Number(_) => reader.any_number(tree, what).map(|number| vec![number]),
        _ => {
            reader.wrong_type(tree, what, "a number, or a list with a number a unit");
            None
        }
    }
}

/// A list of numbers, which is one row, or a list of rows.
pub(super) fn matrix(reader: &mut Reader, tree: &Tree<'_>, what: &str) -> Option<Vec<Vec<f64>>> {
    let items = reader.list(tree, what)?;
    if items.first().is_some_and(|item| matches!(item.shape, Shape::List(_))) {
        reader.each(tree, what, |reader, row| row_of(reader, row, what))
    } else {
        row_of(reader, tree, what).map(|row| vec![row])
    }
}

fn row_of(reader: &mut Reader, tree: &Tree<'_>, what: &str) -> Option<Vec<f64>> {
    reader.each(tree, what, |reader, item| reader.any_number(item, what))
}
