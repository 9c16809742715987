//! Draws diagnostics for people, with excerpts of the source, and lists them for `--json`.

use annotate_snippets::{AnnotationKind, Group, Level, Message, Origin, Renderer, Snippet, Title};

use crate::diag::{Diagnostic, Diagnostics, Place, Severity, Source, Span};

/// Diagnostics drawn in full; of more only their number is told.
const MOST: usize = 100;
/// Columns of the drawing; longer source lines are cut around what is marked.
const WIDTH: usize = 120;

/// All diagnostics as text, each with the lines of `source` that it points at. `color` adds the
/// escape codes of a terminal.
pub fn draw(diagnostics: &Diagnostics, source: Option<&Source>, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(MOST) {
        text += &renderer.render(&[group(diagnostic, source)]);
        text += "\n\n";
    }
    if diagnostics.len() > MOST {
        text += &format!("… and {} more\n\n", diagnostics.len() - MOST);
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// The diagnostics as JSON rows. Line and column are counted from 1, and null where there is none.
pub fn to_json(diagnostics: &Diagnostics, source: Option<&Source>) -> serde_json::Value {
    let rows = diagnostics.iter().map(|diagnostic| {
        let (line, column) = line_column(diagnostic, source);
        let at = |span: Span| source.map(|source| source.line_column(span.start));
        let labels = diagnostic.labels.iter().map(|(span, text)| {
            let place = at(*span);
            serde_json::json!({
                "line": place.map(|place| place.0),
                "column": place.map(|place| place.1),
                "message": text,
            })
        });
        serde_json::json!({
            "code": diagnostic.code.name(),
            "severity": diagnostic.severity().to_string(),
            "message": diagnostic.message,
            "line": line,
            "column": column,
            "node": diagnostic.node,
            "labels": labels.collect::<Vec<_>>(),
            "notes": diagnostic.notes,
            "help": diagnostic.help,
        })
    });
    serde_json::Value::Array(rows.collect())
}

fn line_column(diagnostic: &Diagnostic, source: Option<&Source>) -> (Option<usize>, Option<usize>) {
    match (&diagnostic.place, source) {
        (Place::Span(span), Some(source)) => {
            let (line, column) = source.line_column(span.start);
            (Some(line), Some(column))
        }
        (Place::File { row, column, .. }, _) => (*row, *column),
        _ => (None, None),
    }
}

fn group<'a>(diagnostic: &'a Diagnostic, source: Option<&'a Source>) -> Group<'a> {
    let title = title(diagnostic);
    let notes = diagnostic.notes.iter().map(|note| Level::NOTE.message(note.as_str()));
    let help = diagnostic.help.iter().map(|help| Level::HELP.message(help.as_str()));
    let messages: Vec<Message<'a>> = notes.chain(help).collect();
    match (&diagnostic.place, source) {
        (Place::Span(span), Some(source)) => {
            title.element(excerpt(diagnostic, *span, source)).elements(messages)
        }
        (Place::File { path, row, column }, _) => {
            let mut origin = Origin::path(path.as_str());
            if let Some(row) = row {
                origin = origin.line(*row);
            }
            if let Some(column) = column {
                origin = origin.char_column(*column);
            }
            title.element(origin).elements(messages)
        }
        _ => Group::with_title(title).elements(messages),
    }
}

fn title(diagnostic: &Diagnostic) -> Title<'_> {
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.name())
}

/// The lines from the first to the last mark. Only they are handed to the renderer, which reads all
/// the text it is given for every diagnostic.
fn excerpt<'a>(
    diagnostic: &'a Diagnostic,
    primary: Span,
    source: &'a Source,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = source.text.as_str();
    let spans = || std::iter::once(primary).chain(diagnostic.labels.iter().map(|label| label.0));
    let first = spans().map(|span| span.start as usize).min().unwrap_or(0).min(text.len());
    let last = spans().map(|span| span.end as usize).max().unwrap_or(0).min(text.len());
    let start = text.as_bytes()[..first].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let end = text.as_bytes()[last..].iter().position(|&b| b == b'\n');
    let end = end.map_or(text.len(), |at| last + at);
    let within = |span: Span| {
        let at = |offset: u32| (offset as usize).clamp(start, end) - start;
        at(span.start)..at(span.end)
    };
    let line = text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count() + 1;
    let marks = diagnostic
        .labels
        .iter()
        .map(|(span, label)| AnnotationKind::Context.span(within(*span)).label(label.as_str()));
    Snippet::source(&text[start..end])
        .path(source.name.as_str())
        .line_start(line)
        .annotation(AnnotationKind::Primary.span(within(primary)))
        .annotations(marks)
}
