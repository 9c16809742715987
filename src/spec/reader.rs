//! From trees to values: the checks that every part of the description shares.
//!
//! Each method returns what it understood and reports what it did not, so that a caller never stops
//! at the first fault.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::Spanned;
use super::tree::{Field, Shape, Tree, options};
use crate::diag::{Code, Diagnostic, Diagnostics, Span, grouped, nearest};

/// Collects faults while trees are read.
#[derive(Default)]
pub(super) struct Reader {
    /// All faults so far.
    pub faults: Diagnostics,
    /// The node that is being read, for the faults to name.
    pub node: Option<String>,
}

/// The fields of one record, each by its known name.
pub(super) struct Fields<'t, 'a> {
    owner: String,
    span: Span,
    known: &'static [&'static str],
    values: Vec<Option<&'t Tree<'a>>>,
}

/// A name with what is in its parentheses, or a name alone.
pub(super) struct Variant<'t, 'a> {
    /// The name.
    pub name: &'static str,
    /// The whole value.
    pub tree: &'t Tree<'a>,
}

impl Reader {
    /// Reports a fault at a place.
    pub fn fault(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::new(code, message).at(span));
    }

    /// Reports a fault, under the name of the node that is being read.
    pub fn report(&mut self, mut fault: Diagnostic) {
        if fault.node.is_none() {
            fault.node.clone_from(&self.node);
        }
        self.faults.push(fault);
    }

    /// Reports that `tree` is not what it should be.
    pub fn wrong_type(&mut self, tree: &Tree<'_>, what: &str, expected: &str) {
        let message = format!("{what} is {expected}, not {}", tree.describe());
        self.fault(Code::E0104, tree.span, message);
    }

    /// Reports a name that is not among the known ones, with the nearest of them.
    fn unknown(&mut self, word: &str, place: Span, message: String, known: &[&str]) {
        let fault = Diagnostic::new(Code::E0102, message).at(place);
        self.report(fault.help(suggestion(word, known)));
    }

    /// A whole number within a range.
    pub fn whole(
        &mut self,
        tree: &Tree<'_>,
        what: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (low, high) = (u64::from(*range.start()), u64::from(*range.end()));
        self.whole_u64(tree, what, low..=high).and_then(|whole| u32::try_from(whole).ok())
    }

    /// A whole number of up to 64 bits within a range.
    pub fn whole_u64(
        &mut self,
        tree: &Tree<'_>,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let Shape::Number(text) = tree.shape else {
            self.wrong_type(tree, what, "a whole number");
            return None;
        };
        let parsed = text.parse().or_else(|_| options().from_str::<u64>(text));
        match parsed {
            Ok(whole) if range.contains(&whole) => Some(whole),
            Err(_) if !is_whole(text) => {
                self.wrong_type(tree, what, "a whole number");
                None
            }
            _ => {
                self.out_of_range(tree, what, text, range_text(range));
                None
            }
        }
    }

    /// A number of any value, infinities and NaN included: for those who say more about it later.
    pub fn any_number(&mut self, tree: &Tree<'_>, what: &str) -> Option<f64> {
        let Shape::Number(text) = tree.shape else {
            self.wrong_type(tree, what, "a number");
            return None;
        };
        match text.parse::<f64>().or_else(|_| options().from_str::<f64>(text)) {
            Ok(number) => Some(number),
            Err(_) => {
                self.wrong_type(tree, what, "a number");
                None
            }
        }
    }

    /// A number that `holds`, which is what `range` says.
    pub fn number(
        &mut self,
        tree: &Tree<'_>,
        what: &str,
        range: &str,
        holds: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        let number = self.any_number(tree, what)?;
        if holds(number) {
            return Some(number);
        }
        if let Shape::Number(text) = tree.shape {
            self.out_of_range(tree, what, text, range);
        }
        None
    }

    fn out_of_range(&mut self, tree: &Tree<'_>, what: &str, text: &str, range: impl Display) {
        let fault = Diagnostic::new(Code::E0105, format!("{what} is {text}, out of range"));
        self.report(fault.at(tree.span).help(format!("{what} must be {range}")));
    }

    /// A text that is not empty.
    pub fn text(&mut self, tree: &Tree<'_>, what: &str) -> Option<Spanned<String>> {
        match &tree.shape {
            Shape::Text(text) if !text.is_empty() => {
                Some(Spanned::new(text.clone().into_owned(), tree.span))
            }
            Shape::Text(_) => {
                self.fault(Code::E0105, tree.span, format!("{what} is empty"));
                None
            }
            _ => {
                let mut fault = Diagnostic::new(
                    Code::E0104,
                    format!("{what} is a text in quotes, not {}", tree.describe()),
                );
                if let Shape::Word(word) = tree.shape {
                    fault = fault.help(format!("write `\"{word}\"`"));
                }
                self.report(fault.at(tree.span));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, tree: &Tree<'_>, what: &str) -> Option<bool> {
        match tree.shape {
            Shape::Flag(flag) => Some(flag),
            _ => {
                self.wrong_type(tree, what, "true or false");
                None
            }
        }
    }

    /// The entries of a list.
    pub fn list<'t, 'a>(&mut self, tree: &'t Tree<'a>, what: &str) -> Option<&'t [Tree<'a>]> {
        match &tree.shape {
            Shape::List(items) => Some(items),
            _ => {
                self.wrong_type(tree, what, "a list `[…]`");
                None
            }
        }
    }

    /// The entries of a list, all of them read; `None` if one of them is faulty.
    pub fn each<'t, 'a, T>(
        &mut self,
        tree: &'t Tree<'a>,
        what: &str,
        mut read: impl FnMut(&mut Self, &'t Tree<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(tree, what)?;
        let mut all = Some(Vec::with_capacity(items.len()));
        for item in items {
            match (read(self, item), &mut all) {
                (Some(value), Some(values)) => values.push(value),
                _ => all = None,
            }
        }
        all
    }

    /// The entries of a map whose keys are texts, without those whose key was met before. `again`
    /// reports such a key and the place of the first.
    pub fn map<'t, 'a>(
        &mut self,
        tree: &'t Tree<'a>,
        what: &str,
        key_is: &str,
        mut again: impl FnMut(&str) -> (Code, String),
    ) -> Option<Vec<(Spanned<String>, &'t Tree<'a>)>> {
        let Shape::Map(entries) = &tree.shape else {
            self.wrong_type(tree, what, "a map `{\"name\": …}`");
            return None;
        };
        let mut first = std::collections::HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Some(name) = self.text(key, key_is) else { continue };
            match first.get(&name.value) {
                Some(&place) => {
                    let (code, message) = again(&name.value);
                    let fault = Diagnostic::new(code, message).at(name.span).node(name.value);
                    let fault = fault.label(Some(place), "first here");
                    self.report(fault.help("keep one of them, or rename one"));
                }
                None => {
                    first.insert(name.value.clone(), name.span);
                    kept.push((name, value));
                }
            }
        }
        Some(kept)
    }

    /// The name a value begins with, if it is a known one.
    pub fn variant<'t, 'a>(
        &mut self,
        tree: &'t Tree<'a>,
        what: &str,
        known: &'static [&'static str],
    ) -> Option<Variant<'t, 'a>> {
        let (Shape::Word(word) | Shape::Fields(Some(word), _) | Shape::Items(Some(word), _)) =
            tree.shape
        else {
            self.wrong_type(tree, what, &format!("one of {}", one_of(known)));
            return None;
        };
        match known.iter().find(|&&name| name == word) {
            Some(name) => Some(Variant { name, tree }),
            None => {
                let start = tree.span.start as usize;
                let place = Span::new(start, start + word.len());
                self.unknown(word, place, format!("unknown {what} `{word}`"), known);
                None
            }
        }
    }

    /// A variant that stands alone, without parentheses.
    pub fn alone(&mut self, variant: &Variant<'_, '_>) {
        let name = variant.name;
        let empty = matches!(&variant.tree.shape, Shape::Items(_, items) if items.is_empty());
        if !matches!(variant.tree.shape, Shape::Word(_)) && !empty {
            let fault = Diagnostic::new(Code::E0104, format!("`{name}` takes no fields"));
            self.report(fault.at(variant.tree.span).help(format!("write `{name}` alone")));
        }
    }

    /// The one value in the parentheses of a variant, named `field` or not named.
    pub fn only<'t, 'a>(
        &mut self,
        variant: &Variant<'t, 'a>,
        field: &'static str,
    ) -> Option<&'t Tree<'a>> {
        let name = variant.name;
        match &variant.tree.shape {
            Shape::Items(_, items) if items.len() == 1 => return items.first(),
            Shape::Fields(_, fields) => {
                if let [Field { name, value, .. }] = fields.as_slice()
                    && *name == field
                {
                    return Some(value);
                }
            }
            _ => {}
        }
        let fault = Diagnostic::new(Code::E0104, format!("`{name}` takes one value"));
        self.report(fault.at(variant.tree.span).help(format!("write `{name}({field})`")));
        None
    }

    /// The fields in the parentheses of a variant.
    pub fn fields_of<'t, 'a>(
        &mut self,
        variant: &Variant<'t, 'a>,
        known: &'static [&'static str],
    ) -> Option<Fields<'t, 'a>> {
        self.fields(variant.tree, &format!("`{}`", variant.name), known)
    }

    /// The fields of a record: unknown and repeated ones are reported and left out.
    pub fn fields<'t, 'a>(
        &mut self,
        tree: &'t Tree<'a>,
        owner: &str,
        known: &'static [&'static str],
    ) -> Option<Fields<'t, 'a>> {
        let none: &[Field<'a>] = &[];
        let fields = match &tree.shape {
            Shape::Fields(_, fields) => fields.as_slice(),
            Shape::Items(_, items) if items.is_empty() => none,
            Shape::Word(_) => none,
            _ => {
                self.wrong_type(
                    tree,
                    owner,
                    &format!("written with named fields ({})", one_of(known)),
                );
                return None;
            }
        };
        let mut values: Vec<Option<&Field<'a>>> = vec![None; known.len()];
        for field in fields {
            let Some(at) = known.iter().position(|&name| name == field.name) else {
                let message = format!("unknown field `{}` of {owner}", field.name);
                self.unknown(field.name, field.place, message, known);
                continue;
            };
            match values[at] {
                None => values[at] = Some(field),
                Some(first) => {
                    let message = format!("{owner} has the field `{}` twice", field.name);
                    let fault = Diagnostic::new(Code::E0106, message).at(field.place);
                    let fault = fault.label(Some(first.place), "first here");
                    self.report(fault.help("keep one of them"));
                }
            }
        }
        let absent = |tree: &&Tree<'_>| tree.shape != Shape::Word("None");
        let values = values.iter().map(|f| f.map(|f| &f.value).filter(absent)).collect();
        Some(Fields { owner: owner.into(), span: tree.span, known, values })
    }

    /// A field that must be there.
    pub fn required<'t, 'a>(
        &mut self,
        fields: &Fields<'t, 'a>,
        name: &str,
    ) -> Option<&'t Tree<'a>> {
        let found = fields.get(name);
        if found.is_none() {
            let message = format!("{} lacks the field `{name}`", fields.owner);
            let fault = Diagnostic::new(Code::E0103, message).at(fields.span);
            self.report(fault.help(format!("add `{name}: …`")));
        }
        found
    }
}

impl<'t, 'a> Fields<'t, 'a> {
    /// The value of a field, if the text has it.
    pub fn get(&self, name: &str) -> Option<&'t Tree<'a>> {
        let at = self.known.iter().position(|&known| known == name)?;
        self.values[at]
    }
}

/// Whether digits are all there is to a number.
fn is_whole(text: &str) -> bool {
    text.trim_start_matches(['+', '-']).chars().all(|c| c.is_ascii_digit() || c == '_')
}

fn range_text(range: RangeInclusive<u64>) -> String {
    match range.into_inner() {
        (0, u64::MAX) => "at least 0 and below 2^64".into(),
        (low, high) => format!("between {} and {}", grouped(low), grouped(high)),
    }
}

/// Known names longer than this many are not listed.
const LISTED: usize = 12;

pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.len() <= LISTED => format!("known are {}", one_of(known)),
        None => format!("{} names are known, none like it", known.len()),
    }
}

fn one_of(known: &[&str]) -> String {
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
