//! The distribution of one leaf: a description meets the kind of its variable.

use crate::diag::{Code, Diagnostic};
use crate::leaf::{Dist, Family};
use crate::spec::{DistSpec, FamilySpec, Spanned};
use crate::variables::VarKind;

/// How parameters are given.
const GIVEN: &str =
    "give the parameters of one unit, for all, or a list entry for each of its `units`";

/// The distributions of a leaf of `units` units; for indicators, one a state.
///
/// # Errors
/// E0301 if the description does not suit the kind of variable, or the units; E0304 if it gives
/// parameters for another number of units or states. Neither names the node.
pub(super) fn dist(
    spec: &Spanned<DistSpec>,
    kind: VarKind,
    variable: &str,
    units: u32,
) -> Result<Dist, Diagnostic> {
    let family = family(spec.value.family, kind).ok_or_else(|| unsuited(spec, kind, variable))?;
    if let Family::Indicators { states } = family {
        return Ok(Dist::indicators(states));
    }
    let given =
        match &spec.value.given {
            Some(rows) => Some(rows_for(rows, family, variable, units).map_err(|message| {
                Diagnostic::new(Code::E0304, message).at(spec.span).help(GIVEN)
            })?),
            None => None,
        };
    Ok(Dist { family, units, given, frozen: spec.value.frozen })
}

/// A distribution that suits the kind of variable, to stand for one that does not.
pub(super) fn stand_in(kind: VarKind, units: u32) -> Dist {
    match kind {
        VarKind::Categorical { states } => Dist::learnable(Family::Categorical { states }, units),
        VarKind::Real => Dist::learnable(Family::GAUSSIAN, units),
    }
}

fn family(spec: FamilySpec, kind: VarKind) -> Option<Family> {
    match (spec, kind) {
        (FamilySpec::Indicators, VarKind::Categorical { states }) => {
            Some(Family::Indicators { states })
        }
        (FamilySpec::Bernoulli, VarKind::BINARY) => Some(Family::Bernoulli),
        (FamilySpec::Categorical, VarKind::Categorical { states }) => {
            Some(Family::Categorical { states })
        }
        (FamilySpec::Gaussian { min_var, max_var }, VarKind::Real) => {
            Some(Family::Gaussian { min_var, max_var })
        }
        (FamilySpec::Binomial { trials }, VarKind::Categorical { states }) => {
            let fits = trials.is_none_or(|trials| trials + 1 == states);
            fits.then_some(Family::Binomial { trials: states - 1 })
        }
        (FamilySpec::Poisson, VarKind::Real) => Some(Family::Poisson),
        _ => None,
    }
}

fn unsuited(spec: &Spanned<DistSpec>, kind: VarKind, variable: &str) -> Diagnostic {
    let name = match spec.value.family {
        FamilySpec::Binomial { trials: Some(trials) } => format!("Binomial of {trials} trials"),
        family => family.name().into(),
    };
    let message = format!("{name} does not suit `{variable}`, which is {kind}");
    Diagnostic::new(Code::E0301, message).at(spec.span).help(match kind {
        VarKind::Real => "a real variable takes Gaussian(), or Poisson() where it counts",
        VarKind::BINARY => "a binary variable takes Indicators, Bernoulli() or Categorical()",
        VarKind::Categorical { .. } => {
            "a categorical variable takes Indicators, Categorical() or Binomial()"
        }
    })
}

/// The given parameters, [units, natural_len].
fn rows_for(
    rows: &[Vec<f64>],
    family: Family,
    variable: &str,
    units: u32,
) -> Result<Vec<f64>, String> {
    let len = family.natural_len();
    if let Some(row) = rows.iter().find(|row| row.len() != len) {
        return Err(format!("{} probabilities for the {len} states of `{variable}`", row.len()));
    }
    match rows {
        [row] => Ok(row.repeat(units as usize)),
        rows if rows.len() == units as usize => Ok(rows.concat()),
        rows => Err(format!("parameters of {} units for a leaf of {units}", rows.len())),
    }
}
