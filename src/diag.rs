//! Diagnostics: what is wrong, where, and what would mend it.
//!
//! This module holds data only. A stage that finds faults collects them all in [`Diagnostics`];
//! the command line draws them with excerpts of the source, and `--json` lists them.

use std::fmt;

/// A range of bytes in a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start: start as u32, end: end as u32 }
    }
}

/// A text with the name to show for it, usually a file and its path as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name shown in messages.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source { name: name.into(), text: text.into() }
    }

    /// Line and column of byte `offset`, both counted from 1; a column is a Unicode character.
    /// An offset past the end is the end.
    pub fn line_column(&self, offset: u32) -> (usize, usize) {
        let mut end = (offset as usize).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The input is used all the same.
    Warning,
    /// The input is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

macro_rules! codes {
    ($($name:ident $text:literal)*) => {
        /// A stable code of a diagnostic. Its first letter is the severity; each error code has a
        /// fixture among the tests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each code's meaning is the text beside it")]
        pub enum Code { $(#[doc = $text] $name,)* }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// What the code stands for, in one phrase.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Whether it is about a circuit, and not about the text of one, or anything else.
            pub fn is_of_circuit(self) -> bool {
                matches!(&self.name()[1..3], "02" | "03")
            }

            /// The code as printed, `E0201`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }
        }
    };
}

codes! {
    E0001 "a file cannot be read or written"
    E0002 "a file is not UTF-8 text"
    E0101 "the text is not RON"
    E0102 "unknown field or variant"
    E0103 "missing field"
    E0104 "a value of the wrong type"
    E0105 "a number out of range"
    E0106 "a field given twice"
    E0111 "an input that no node defines"
    E0112 "a node defined twice"
    E0113 "nodes that depend on themselves"
    W0114 "a node the root does not reach"
    E0115 "unknown variable"
    E0116 "a variable defined twice"
    E0117 "a structure that does not suit the variables"
    E0118 "a structure that lacks the data it is learned from"
    E0201 "a sum whose inputs differ in scope"
    E0202 "a product whose inputs share a variable"
    E0203 "inputs of unequal width"
    E0204 "a root that misses variables"
    E0205 "a root of more than one unit"
    E0206 "a node without inputs"
    E0301 "a leaf that does not suit its variable"
    E0302 "weights that are no distribution"
    E0303 "weights of the wrong shape"
    E0304 "leaf parameters out of their domain"
    W0305 "a frozen number too small for single precision"
    E0401 "slices that do not divide a sum layer"
    E0402 "unknown parameterizer"
    E0403 "arguments a parameterizer does not take"
    E0404 "unknown tensor"
    E0405 "parameters that an optimiser cannot learn"
    E0501 "a row of the wrong number of columns"
    E0502 "a value that does not suit its variable"
    E0503 "a data file without rows"
    E0504 "a data file of an unknown or damaged format"
    E0601 "a damaged model file"
    E0602 "a model of another circuit"
    E0603 "a model file of another version"
    E0701 "this machine lacks something"
    E0702 "a limit that cannot be kept"
    E0703 "training met a number that is not finite"
    E0704 "a query this circuit does not answer"
    E0705 "a device without room for the plan"
    E0801 "a circuit file that does not follow its format"
    E0802 "an id that a circuit file does not define, or defines twice"
    E0803 "nodes of a circuit file that do not fit together"
    E0804 "a formula that nothing satisfies"
}

impl Code {
    /// The severity the code carries.
    pub fn severity(self) -> Severity {
        match self.name().as_bytes()[0] {
            b'W' => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a diagnostic points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere in particular.
    #[default]
    None,
    /// Bytes of the circuit's text.
    Span(Span),
    /// A file as a whole, or one of its rows and columns, counted from 1.
    File {
        /// Path as the user wrote it.
        path: String,
        /// Row, if one is meant.
        row: Option<usize>,
        /// Column, if one is meant.
        column: Option<usize>,
    },
}

/// One fault or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where.
    pub place: Place,
    /// The node it is about, by the name the user gave it.
    pub node: Option<String>,
    /// Further places in the same text, each with a phrase.
    pub labels: Vec<(Span, String)>,
    /// Facts that explain it (scopes, the variables that differ).
    pub notes: Vec<String>,
    /// What would mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            message: message.into(),
            place: Place::None,
            node: None,
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Points at bytes of the circuit's text.
    pub fn at(mut self, span: Span) -> Self {
        self.place = Place::Span(span);
        self
    }

    /// Points at bytes of the circuit's text, if they are known.
    pub fn at_option(self, span: Option<Span>) -> Self {
        match span {
            Some(span) => self.at(span),
            None => self,
        }
    }

    /// Points at a file as a whole.
    pub fn in_file(mut self, path: impl Into<String>) -> Self {
        self.place = Place::File { path: path.into(), row: None, column: None };
        self
    }

    /// Points at a row, and maybe a column, of a file; both counted from 1.
    pub fn in_row(mut self, path: impl Into<String>, row: usize, column: Option<usize>) -> Self {
        self.place = Place::File { path: path.into(), row: Some(row), column };
        self
    }

    /// Names the node it is about.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Points at a further place.
    pub fn label(mut self, span: Option<Span>, text: impl Into<String>) -> Self {
        if let Some(span) = span {
            self.labels.push((span, text.into()));
        }
        self
    }

    /// Adds a fact.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says what would mend it.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// The severity of its code.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Diagnostic {
    /// One line, without an excerpt: `error[E0202]: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Place::File { path, row, column } = &self.place {
            write!(f, "{path}:")?;
            for number in [row, column].into_iter().flatten() {
                write!(f, "{number}:")?;
            }
            write!(f, " ")?;
        }
        write!(f, "{}[{}]: {}", self.severity(), self.code, self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// All that one run found, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Diagnostics) {
        self.list.extend(other.list);
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity() == Severity::Error)
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The diagnostics.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// What was made, if there is no error, nor was one before it; otherwise all of them.
    ///
    /// # Errors
    /// All of these, and that of what was made.
    pub fn unless_errors<T>(mut self, made: Result<T, Diagnostic>) -> Result<T, Diagnostics> {
        match made {
            Ok(made) if !self.has_errors() => return Ok(made),
            Ok(_) => {}
            Err(fault) => self.push(fault),
        }
        Err(self)
    }

    /// Orders them by place: those without one first, then by span, then by file, row and column.
    /// Of one place they keep the order in which they were found.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| match &diagnostic.place {
            Place::None => (0, 0, None, None, None),
            Place::Span(span) => (1, span.start, None, None, None),
            Place::File { path, row, column } => (2, 0, Some(path.clone()), *row, *column),
        });
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics { list: vec![diagnostic] }
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(iter: I) -> Self {
        Diagnostics { list: iter.into_iter().collect() }
    }
}

impl fmt::Display for Diagnostics {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A number with commas between thousands, `65,536`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The candidate nearest to a mistyped `word`, if one is near enough to be meant: at most a third
/// of the word's length in edits (insertions, deletions, replacements, swaps of neighbours).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, ignoring case.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let source = Source::new("x", "ab\nçd\n");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(3), (2, 1));
        assert_eq!(source.line_column(5), (2, 2));
        assert_eq!(source.line_column(99), (3, 1));
    }

    #[test]
    fn what_was_made_is_had_only_without_errors_before_and_after() {
        let error = || Diagnostic::new(Code::E0105, "too many");
        let warning = || Diagnostics::from(Diagnostic::new(Code::W0114, "unused"));
        assert_eq!(warning().unless_errors(Ok(1)), Ok(1));
        let all = |faults: Diagnostics, made| faults.unless_errors::<u8>(made).unwrap_err().len();
        assert_eq!(all(warning(), Err(error())), 2);
        assert_eq!(all(error().into(), Ok(1)), 1);
        assert_eq!(all(error().into(), Err(error())), 2);
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("strucutre", ["structure", "leaves"]), Some("structure"));
        assert_eq!(nearest("Hypr", ["Hyper", "Direct"]), Some("Hyper"));
        assert_eq!(nearest("zebra", ["structure", "leaves"]), None);
    }
}
