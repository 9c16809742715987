//! RON text as a tree in which everything has its place.
//!
//! What is RON and what is not is decided by the `ron` crate: [`parse`] runs it over the whole text
//! first, and a text it refuses is refused with its message. But a derived parse stops at the first
//! unknown field and knows no places, so a text that passed is then cut, in one linear walk, into
//! [`Tree`]s that borrow from it. The walk may rely on the text being well formed; where it still
//! meets something it does not know (ranges, say) it reports that place as the `ron` crate would.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ron::error::{Position, SpannedError};
use serde::de::IgnoredAny;

use crate::diag::{Code, Diagnostic, Source, Span};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree<'a> {
    /// Its first to its last byte, without the space around it.
    pub span: Span,
    /// What it is.
    pub shape: Shape<'a>,
}

/// What a value is, as far as the text says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape<'a> {
    /// A number as written.
    Number(&'a str),
    /// A text, escapes resolved.
    Text(Cow<'a, str>),
    /// `true` or `false`.
    Flag(bool),
    /// `[a, b]`
    List(Vec<Tree<'a>>),
    /// `{a: b}`
    Map(Vec<(Tree<'a>, Tree<'a>)>),
    /// `Name`
    Word(&'a str),
    /// `Name(a: b)` or `(a: b)`
    Fields(Option<&'a str>, Vec<Field<'a>>),
    /// `Name(a, b)` or `(a, b)`
    Items(Option<&'a str>, Vec<Tree<'a>>),
    /// A character or a byte string, which no circuit uses.
    Other,
}

/// A named field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where the name stands.
    pub place: Span,
    /// Its value.
    pub value: Tree<'a>,
}

impl Tree<'_> {
    /// What it is, for a message: `a list`.
    pub fn describe(&self) -> String {
        match &self.shape {
            Shape::Number(text) => (*text).into(),
            Shape::Text(_) => "a text".into(),
            Shape::Flag(flag) => flag.to_string(),
            Shape::List(_) => "a list".into(),
            Shape::Map(_) => "a map".into(),
            Shape::Word(name) => format!("`{name}`"),
            Shape::Fields(Some(name), _) | Shape::Items(Some(name), _) => format!("`{name}(…)`"),
            Shape::Fields(None, _) => "a group of fields".into(),
            Shape::Items(None, _) => "a tuple".into(),
            Shape::Other => "a character or bytes".into(),
        }
    }
}

/// The tree of a text.
///
/// # Errors
/// E0101, at the place where the text stops being RON. Nothing after it can be trusted, so it is one
/// diagnostic.
pub(super) fn parse(source: &Source) -> Result<Tree<'_>, Box<Diagnostic>> {
    let text = source.text.as_str();
    if let Err(error) = options().from_str::<IgnoredAny>(text) {
        return Err(Box::new(not_ron(text, &error)));
    }
    let mut walk = Walk { text, at: 0 };
    walk.attributes();
    walk.value(0).ok_or_else(|| {
        let place = Span::new(walk.at.min(text.len()), (walk.at + 1).min(text.len()));
        Box::new(Diagnostic::new(Code::E0101, "this has no meaning in a circuit").at(place))
    })
}

/// The options every parse of a part of the text uses.
pub(super) fn options() -> ron::Options {
    ron::Options::default()
}

fn not_ron(text: &str, error: &SpannedError) -> Diagnostic {
    // The span of the error ends behind all that was read; what comes there was not expected.
    // Nothing is to be seen behind the last line that has something.
    let at = offset(text, error.span.end).min(text.trim_end().len());
    let len = text[at..].chars().next().map_or(0, char::len_utf8);
    let message = match &error.code {
        ron::Error::ExceededRecursionLimit => "values are nested too deeply".into(),
        ron::Error::Eof => "the text ends before the value does".into(),
        other => lower_first(&other.to_string()),
    };
    let fault = Diagnostic::new(Code::E0101, message).at(Span::new(at, at + len));
    match Walk::unclosed(text) {
        Some(open) if at >= text.trim_end().len() => {
            let bracket = &text[open..open + 1];
            fault.label(Some(Span::new(open, open + 1)), format!("this `{bracket}` is not closed"))
        }
        _ => fault,
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().to_string() + chars.as_str())
}

/// The byte of a line and column of the `ron` crate.
fn offset(text: &str, position: Position) -> usize {
    let line_start = match position.line.checked_sub(2) {
        None => 0,
        Some(nth) => text.match_indices('\n').nth(nth).map_or(text.len(), |(at, _)| at + 1),
    };
    let mut chars = text[line_start..].char_indices();
    chars.nth(position.col.saturating_sub(1)).map_or(text.len(), |(at, _)| line_start + at)
}

/// Deeper than the `ron` crate lets any text through.
const DEEPEST: usize = 256;

/// A walk over a text, `at` the next byte. Its methods return `None` where they do not know what
/// they see.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips space and comments. A comment without an end is the rest of the text.
    fn space(&mut self) {
        loop {
            let rest = self.rest();
            let text = rest.trim_start_matches(|c: char| {
                c.is_whitespace() || matches!(c, '\u{200E}' | '\u{200F}')
            });
            self.at += rest.len() - text.len();
            if text.starts_with("//") {
                self.at += text.find('\n').unwrap_or(text.len());
            } else if text.starts_with("/*") {
                self.at += block_comment(text);
            } else {
                return;
            }
        }
    }

    /// Skips `#![…]` before the value.
    fn attributes(&mut self) {
        self.space();
        while self.rest().starts_with("#!") {
            self.at += self.rest().find(']').map_or(self.rest().len(), |end| end + 1);
            self.space();
        }
    }

    /// The length of the identifier that begins here; 0 if none does.
    fn word_len(&self) -> usize {
        let rest = self.rest();
        let begins = |c: char| c == '_' || c.is_alphabetic();
        if !rest.starts_with(begins) {
            return 0;
        }
        rest.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(rest.len())
    }

    fn word(&mut self) -> Option<&'a str> {
        if self.rest().starts_with("r#") {
            self.at += 2;
        }
        let len = self.word_len();
        let word = &self.rest()[..len];
        self.at += len;
        (len > 0).then_some(word)
    }

    fn value(&mut self, depth: usize) -> Option<Tree<'a>> {
        self.space();
        if depth > DEEPEST {
            return None;
        }
        let start = self.at;
        let shape = match self.peek()? {
            b'[' => Shape::List(self.list(b'[', b']', depth)?),
            b'{' => Shape::Map(self.map(depth)?),
            b'(' => self.parentheses(None, depth)?,
            b'\'' => self.character()?,
            b'0'..=b'9' | b'+' | b'-' | b'.' => self.number(),
            _ => match self.text_literal()? {
                Some(shape) => shape,
                None => match self.named(depth)? {
                    Ok(shape) => shape,
                    Err(inner) => return Some(inner),
                },
            },
        };
        Some(Tree { span: Span::new(start, self.at), shape })
    }

    /// A value that begins with a name. `Some(x)` is x itself.
    fn named(&mut self, depth: usize) -> Option<Result<Shape<'a>, Tree<'a>>> {
        let word = self.word()?;
        let number = ["inf", "NaN"].iter().any(|n| word.strip_prefix(n).is_some_and(is_suffix));
        if number {
            return Some(Ok(Shape::Number(word)));
        }
        if let "true" | "false" = word {
            return Some(Ok(Shape::Flag(word == "true")));
        }
        let end = self.at;
        self.space();
        if self.peek() != Some(b'(') {
            self.at = end;
            return Some(Ok(Shape::Word(word)));
        }
        match (word, self.parentheses(Some(word), depth)?) {
            ("Some", Shape::Items(_, mut items)) if items.len() == 1 => items.pop().map(Err),
            (_, shape) => Some(Ok(shape)),
        }
    }

    fn parentheses(&mut self, name: Option<&'a str>, depth: usize) -> Option<Shape<'a>> {
        let open = self.at;
        self.at += 1;
        self.space();
        let is_field = self.word().is_some() && {
            self.space();
            self.peek() == Some(b':')
        };
        self.at = open;
        Some(match is_field {
            true => Shape::Fields(name, self.fields(depth)?),
            false => Shape::Items(name, self.list(b'(', b')', depth)?),
        })
    }

    fn fields(&mut self, depth: usize) -> Option<Vec<Field<'a>>> {
        self.separated(b'(', b')', |walk| {
            let start = walk.at;
            let name = walk.word()?;
            let place = Span::new(start, walk.at);
            walk.colon()?;
            Some(Field { name, place, value: walk.value(depth + 1)? })
        })
    }

    fn map(&mut self, depth: usize) -> Option<Vec<(Tree<'a>, Tree<'a>)>> {
        self.separated(b'{', b'}', |walk| {
            let key = walk.value(depth + 1)?;
            walk.colon()?;
            Some((key, walk.value(depth + 1)?))
        })
    }

    fn list(&mut self, open: u8, close: u8, depth: usize) -> Option<Vec<Tree<'a>>> {
        self.separated(open, close, |walk| walk.value(depth + 1))
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.eat(b':').then_some(())
    }

    fn separated<T>(
        &mut self,
        open: u8,
        close: u8,
        mut entry: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut entries = Vec::new();
        self.eat(open).then_some(())?;
        loop {
            self.space();
            if self.eat(close) {
                return Some(entries);
            }
            entries.push(entry(self)?);
            self.space();
            if !self.eat(b',') {
                return self.eat(close).then_some(entries);
            }
        }
    }

    fn number(&mut self) -> Shape<'a> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let part = |at: usize| {
            let sign = matches!(bytes[at], b'+' | b'-')
                && (at == 0 || matches!(bytes[at - 1], b'e' | b'E'));
            sign || bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'.' | b'_')
        };
        let len = (0..bytes.len()).find(|&at| !part(at)).unwrap_or(bytes.len());
        self.at += len;
        Shape::Number(&rest[..len])
    }

    fn character(&mut self) -> Option<Shape<'a>> {
        let rest = self.rest();
        let body = if rest[1..].starts_with('\\') { 3 } else { 2 };
        self.at += body + rest.get(body..)?.find('\'')? + 1;
        Some(Shape::Other)
    }

    /// A text or bytes in quotes, raw or not; `Some(None)` if something else begins here.
    fn text_literal(&mut self) -> Option<Option<Shape<'a>>> {
        let rest = self.rest();
        let (bytes, prefix) = match rest.strip_prefix('b') {
            Some(after) => (true, after),
            None => (false, rest),
        };
        if bytes && prefix.starts_with('\'') {
            self.at += 1;
            return self.character().map(Some);
        }
        let Some(len) = quoted(prefix) else { return Some(None) };
        let literal = &prefix[..len];
        self.at += rest.len() - prefix.len() + len;
        if bytes {
            return Some(Some(Shape::Other));
        }
        let plain = literal.starts_with('"') && !literal.contains('\\');
        let text = match plain {
            true => Cow::Borrowed(&literal[1..len - 1]),
            false => Cow::Owned(options().from_str::<String>(literal).ok()?),
        };
        Some(Some(Shape::Text(text)))
    }

    /// The innermost bracket that the text opens and does not close.
    fn unclosed(text: &'a str) -> Option<usize> {
        let mut walk = Walk { text, at: 0 };
        let mut open = Vec::new();
        loop {
            walk.space();
            match walk.peek() {
                None => return open.pop(),
                Some(b'(' | b'[' | b'{') => open.push(walk.at),
                Some(b')' | b']' | b'}') => drop(open.pop()),
                Some(first @ (b'r' | b'"')) => match quoted(walk.rest()) {
                    Some(len) => walk.at += len - 1,
                    None if first == b'"' => return Some(walk.at),
                    None => {}
                },
                Some(_) => {}
            }
            walk.at += walk.rest().chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// The rest of a number's name: `inf`, `inff32`, `inff64`.
fn is_suffix(rest: &str) -> bool {
    matches!(rest, "" | "f32" | "f64")
}

/// The length of the block comment, nested ones included, that `text` begins with.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the literal `"…"`, `r"…"` or `r#"…"#` that `text` begins with.
fn quoted(text: &str) -> Option<usize> {
    if let Some(raw) = text.strip_prefix('r') {
        let body = raw.trim_start_matches('#');
        let hashes = raw.len() - body.len();
        let inner = body.strip_prefix('"')?;
        let end = format!("\"{}", &raw[..hashes]);
        return Some(1 + hashes + 1 + inner.find(&end)? + end.len());
    }
    let inner = text.strip_prefix('"')?.as_bytes();
    let mut at = 0;
    loop {
        match inner.get(at)? {
            b'"' => return Some(at + 2),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
