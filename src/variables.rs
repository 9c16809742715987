//! The variables a circuit speaks of: how many, what each is called and what it can be.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::ids::{Id, VarId};

/// What values a variable takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VarKind {
    /// One of `states` categories, written `0 … states − 1`; two states are a binary variable.
    Categorical {
        /// Number of categories, at least 1.
        states: u32,
    },
    /// A real number.
    Real,
}

impl VarKind {
    /// A binary variable.
    pub const BINARY: VarKind = VarKind::Categorical { states: 2 };
}

impl std::fmt::Display for VarKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VarKind::Categorical { states: 2 } => write!(f, "binary"),
            VarKind::Categorical { states } => write!(f, "categorical({states})"),
            VarKind::Real => write!(f, "real"),
        }
    }
}

/// The variables of a circuit, in the order of the data's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    kinds: Kinds,
    names: Option<Names>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kinds {
    Uniform(VarKind, u32),
    Each(Vec<VarKind>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    names: Vec<String>,
    by_name: HashMap<String, VarId>,
}

impl Variables {
    /// `count` variables of one kind, called `x0`, `x1`, ….
    pub fn uniform(kind: VarKind, count: usize) -> Self {
        Variables { kinds: Kinds::Uniform(kind, VarId::from_index(count).0), names: None }
    }

    /// `count` binary variables, called `x0`, `x1`, ….
    pub fn binary(count: usize) -> Self {
        Self::uniform(VarKind::BINARY, count)
    }

    /// Variables of given names and kinds. Names are taken to be distinct; of two equal ones
    /// [`Variables::find`] returns the first.
    pub fn named(variables: impl IntoIterator<Item = (String, VarKind)>) -> Self {
        let (names, kinds): (Vec<String>, Vec<VarKind>) = variables.into_iter().unzip();
        let mut by_name = HashMap::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            by_name.entry(name.clone()).or_insert(VarId::from_index(index));
        }
        Variables { kinds: Kinds::Each(kinds), names: Some(Names { names, by_name }) }
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        match &self.kinds {
            Kinds::Uniform(_, count) => *count as usize,
            Kinds::Each(kinds) => kinds.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of `var`.
    pub fn kind(&self, var: VarId) -> VarKind {
        match &self.kinds {
            Kinds::Uniform(kind, _) => *kind,
            Kinds::Each(kinds) => kinds[var.index()],
        }
    }

    /// The name of `var`: its own, or `x` and its number.
    pub fn name(&self, var: VarId) -> Cow<'_, str> {
        match &self.names {
            Some(names) => Cow::Borrowed(&names.names[var.index()]),
            None => Cow::Owned(var.to_string()),
        }
    }

    /// The variable called `name`.
    pub fn find(&self, name: &str) -> Option<VarId> {
        match &self.names {
            Some(names) => names.by_name.get(name).copied(),
            None => {
                let digits = name.strip_prefix('x')?;
                let canonical = digits == "0" || !digits.starts_with(['0', '+']);
                let index: u32 = digits.parse().ok().filter(|_| canonical)?;
                ((index as usize) < self.len()).then_some(VarId(index))
            }
        }
    }

    /// All variables, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = VarId> + use<> {
        (0..self.len()).map(VarId::from_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_variables_are_found_by_their_canonical_name_only() {
        let variables = Variables::binary(11);
        assert_eq!(variables.find("x10"), Some(VarId(10)));
        for wrong in ["x11", "x01", "x+1", "x", "y1", "x-1", ""] {
            assert_eq!(variables.find(wrong), None, "{wrong}");
        }
        assert_eq!(variables.name(VarId(3)), "x3");
    }

    #[test]
    fn named_variables_keep_their_order_and_kind() {
        let variables =
            Variables::named([("a".into(), VarKind::BINARY), ("h".into(), VarKind::Real)]);
        assert_eq!(variables.find("h"), Some(VarId(1)));
        assert_eq!(variables.kind(VarId(1)), VarKind::Real);
        assert_eq!(variables.find("x0"), None);
    }
}
