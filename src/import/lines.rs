//! Line-based circuit files: lines cut into fields, each fault with its place.
//!
//! Nothing here trusts a number that promises how much follows: what a file declares allocates
//! nothing.

use crate::diag::{Code, Diagnostic, Source, Span};

/// Digits and letters of a field that a message repeats.
const SHOWN: usize = 40;

/// A text that is read line by line.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    source: &'a Source,
    /// Whether this text is not the one that diagnostics draw excerpts from.
    companion: bool,
}

impl<'a> Text<'a> {
    /// The circuit's own text.
    pub(super) fn main(source: &'a Source) -> Self {
        Text { source, companion: false }
    }

    /// A file beside it. Faults name the file, line and column.
    pub(super) fn companion(source: &'a Source) -> Self {
        Text { source, companion: true }
    }

    /// A fault at some bytes.
    pub(super) fn fault(self, code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        let fault = Diagnostic::new(code, message);
        if self.companion {
            let (line, column) = self.source.line_column(span.start);
            return fault.in_row(&self.source.name, line, Some(column));
        }
        fault.at(span)
    }

    /// A fault of the text as a whole: at its end, where what is missing would stand.
    pub(super) fn fault_at_end(self, code: Code, message: impl Into<String>) -> Diagnostic {
        let end = self.source.text.trim_end().len();
        self.fault(code, Span::new(end.saturating_sub(1), end), message)
    }

    /// The lines that hold something, comments left out. A line is a comment if its first field is
    /// `marker`, or begins with it where `marker` is no letter.
    pub(super) fn lines(self, marker: &'static str) -> impl Iterator<Item = Line<'a>> {
        let mut start = 0;
        let lines = self.source.text.split_inclusive('\n').map(move |text| {
            let line = Line { text: self, start, rest: text, at: start };
            start += text.len();
            line
        });
        lines.filter(move |line| {
            let first = line.rest.split_ascii_whitespace().next();
            let letter = marker.bytes().all(|byte| byte.is_ascii_alphabetic());
            first.is_some_and(|first| match letter {
                true => first != marker,
                false => !first.starts_with(marker),
            })
        })
    }
}

/// A field of a line.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    /// Its letters.
    pub(super) text: &'a str,
    /// Where it stands.
    pub(super) span: Span,
}

/// One line, of which fields are taken from the left.
#[derive(Clone)]
pub(super) struct Line<'a> {
    text: Text<'a>,
    start: usize,
    rest: &'a str,
    /// Where `rest` begins.
    at: usize,
}

impl<'a> Line<'a> {
    /// The line's own place, as far as it has been read.
    pub(super) fn span(&self) -> Span {
        let blank = self.text.source.text[self.start..].len()
            - self.text.source.text[self.start..].trim_ascii_start().len();
        Span::new(self.start + blank, self.at.max(self.start + blank + 1))
    }

    /// A fault of this line.
    pub(super) fn fault(&self, code: Code, message: impl Into<String>) -> Diagnostic {
        self.text.fault(code, self.span(), message)
    }

    /// A fault of one field.
    pub(super) fn fault_at(
        &self,
        field: Field<'_>,
        code: Code,
        message: impl Into<String>,
    ) -> Diagnostic {
        self.text.fault(code, field.span, message)
    }

    /// The next field, if there is one.
    pub(super) fn field(&mut self) -> Option<Field<'a>> {
        let trimmed = self.rest.trim_ascii_start();
        let start = self.at + self.rest.len() - trimmed.len();
        let len = trimmed.find(|c: char| c.is_ascii_whitespace()).unwrap_or(trimmed.len());
        if len == 0 {
            return None;
        }
        self.rest = &trimmed[len..];
        self.at = start + len;
        Some(Field { text: &trimmed[..len], span: Span::new(start, start + len) })
    }

    /// The next field.
    ///
    /// # Errors
    /// E0801 if the line ends before it.
    pub(super) fn expect(&mut self, what: &str) -> Result<Field<'a>, Diagnostic> {
        self.field().ok_or_else(|| {
            self.fault(Code::E0801, format!("the line ends where {what} should stand"))
        })
    }

    /// The next field as a number.
    ///
    /// # Errors
    /// E0801 if the line ends before it, or it is none that fits.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, Diagnostic> {
        let field = self.expect(what)?;
        self.parse(field, what)
    }

    /// A field as a number.
    ///
    /// # Errors
    /// E0801 if it is none that fits.
    pub(super) fn parse<T: std::str::FromStr>(
        &self,
        field: Field<'_>,
        what: &str,
    ) -> Result<T, Diagnostic> {
        field.text.parse().map_err(|_| {
            let text: String = field.text.chars().take(SHOWN).collect();
            self.fault_at(field, Code::E0801, format!("`{text}` is not {what}"))
        })
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// E0801 at what is left.
    pub(super) fn end(&mut self) -> Result<(), Diagnostic> {
        match self.field() {
            None => Ok(()),
            Some(field) => {
                Err(self.fault_at(field, Code::E0801, "the line goes on where it should end"))
            }
        }
    }
}
