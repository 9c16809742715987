//! The text of a placed figure.

use std::fmt::Write as _;

use super::layout::{LINE, PADDING, Placed, RADIUS, Rect, STRIP};
use super::{Block, Figure, Kind, Link, Paint};

/// Around everything.
const MARGIN: f64 = 16.0;
/// The least width, so that notes have room.
const LEAST_WIDTH: f64 = 560.0;
/// Colours that people tell apart, light enough for text upon them; neighbours differ most.
const PALETTE: [&str; 12] = [
    "#7fb3e6", "#f5b267", "#8fcf8f", "#e98b8b", "#b9a3e0", "#d9b38c", "#ef9fcb", "#c9cc6a",
    "#7ed0d0", "#f2d675", "#a3b8a0", "#d48fe0",
];
/// The colour of fixed weights.
const FIXED: &str = "#cfcfcf";

/// The whole file.
pub(super) fn text(title: &str, figure: &Figure, placed: &Placed) -> String {
    let above = MARGIN + 22.0 + LINE * figure.notes.len() as f64 + 12.0;
    let legend = if figure.legend.is_empty() { 0.0 } else { 14.0 };
    let below = legend + LINE * figure.legend.len() as f64 + MARGIN;
    let width = (placed.width.max(LEAST_WIDTH) + 2.0 * MARGIN).ceil();
    let height = (above + placed.height + below).ceil();
    // A narrow figure stands in the middle.
    let left = ((width - placed.width) / 2.0).round();
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">"
    );
    let title = escaped(title);
    let _ = writeln!(text, "<title>{title}</title>");
    let _ = writeln!(text, "<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>");
    let _ = writeln!(
        text,
        "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"15\" font-weight=\"bold\">{title}</text>",
        MARGIN + 12.0
    );
    for (at, note) in figure.notes.iter().enumerate() {
        let y = MARGIN + 32.0 + LINE * at as f64;
        let _ = writeln!(
            text,
            "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"#555555\">{}</text>",
            escaped(note)
        );
    }
    let _ = writeln!(text, "<g transform=\"translate({left} {above})\">");
    for (link, way) in figure.links.iter().zip(&placed.ways) {
        write_way(&mut text, link, way);
    }
    for (block, rect) in figure.blocks.iter().zip(&placed.boxes) {
        write_block(&mut text, block, *rect);
    }
    // Above all else, so that no line goes through them.
    write_labels(&mut text, &figure.links, &placed.ways);
    text.push_str("</g>\n");
    for (at, (paint, words)) in figure.legend.iter().enumerate() {
        let y = above + placed.height + legend + LINE * at as f64;
        let colour = colour(*paint);
        let _ = writeln!(
            text,
            "<rect x=\"{MARGIN}\" y=\"{}\" width=\"18\" height=\"9\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            number(y),
            MARGIN + 24.0,
            number(y + 9.0),
            escaped(words)
        );
    }
    text.push_str("</svg>\n");
    text
}

/// A smooth line, upright where it begins, bends and ends.
fn write_way(text: &mut String, link: &Link, way: &[(f64, f64)]) {
    let mut path = format!("M{} {}", number(way[0].0), number(way[0].1));
    for pair in way.windows(2) {
        let [(x, y), (to_x, to_y)] = [pair[0], pair[1]];
        let middle = number((y + to_y) / 2.0);
        let (x, to_x, to_y) = (number(x), number(to_x), number(to_y));
        let _ = write!(path, " C{x} {middle} {to_x} {middle} {to_x} {to_y}");
    }
    let thickness = number(1.0 + 0.5 * (link.width.max(1) as f64).log2().min(12.0));
    let _ = writeln!(
        text,
        "<path d=\"{path}\" fill=\"none\" stroke=\"#8a8a8a\" stroke-width=\"{thickness}\"/>"
    );
}

/// Where a label may stand on its line: how far it is from the last bend to the end.
const STANDS: [f64; 5] = [0.62, 0.4, 0.76, 0.5, 0.28];

/// The words on links, each where it hides no other if it can.
fn write_labels(text: &mut String, links: &[Link], ways: &[Vec<(f64, f64)>]) {
    let mut taken: Vec<Rect> = Vec::new();
    for (link, way) in links.iter().zip(ways).filter(|(link, _)| !link.label.is_empty()) {
        let width = 6.0 * link.label.chars().count() as f64 + 4.0;
        let stand = |&part: &f64| {
            let (x, y) = on_curve(way[way.len() - 2], way[way.len() - 1], part);
            Rect { x, y: y - 6.0, width, height: 12.0 }
        };
        let free = |rect: &Rect| !taken.iter().any(|other| overlap(rect, other));
        let places: Vec<Rect> = STANDS.iter().map(stand).collect();
        let place = places.iter().copied().find(free).unwrap_or(places[0]);
        taken.push(place);
        let _ = writeln!(
            text,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"12\" fill=\"white\" \
             fill-opacity=\"0.85\"/>\
             <text x=\"{}\" y=\"{}\" font-size=\"10\" text-anchor=\"middle\">{}</text>",
            number(place.x - width / 2.0),
            number(place.y),
            number(width),
            number(place.x),
            number(place.y + 10.0),
            escaped(&link.label)
        );
    }
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    (a.x - b.x).abs() < (a.width + b.width) / 2.0 && (a.y - b.y).abs() < a.height.max(b.height)
}

/// A point of the line that [`write_way`] draws between two points, at a part of the way.
fn on_curve((x, y): (f64, f64), (to_x, to_y): (f64, f64), part: f64) -> (f64, f64) {
    let (before, after) = (1.0 - part, part);
    // Bernstein's polynomials; the inner points are above and below each other's ends.
    let [first, second] = [3.0 * before * before * after, 3.0 * before * after * after];
    let [start, end] = [before.powi(3), after.powi(3)];
    let middle = (y + to_y) / 2.0;
    (
        (start + first) * x + (second + end) * to_x,
        start * y + (first + second) * middle + end * to_y,
    )
}

fn write_block(text: &mut String, block: &Block, rect: Rect) {
    if let Kind::Product(sign) = block.kind {
        return write_product(text, sign, &block.lines, rect);
    }
    let (round, fill) = match block.kind {
        Kind::Leaf => (3, "#f3f0e6"),
        Kind::Level => (3, "#f5f5f5"),
        Kind::Sum | Kind::Product(_) => (6, "#ffffff"),
    };
    let _ = writeln!(
        text,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{round}\" fill=\"{fill}\" \
         stroke=\"#444444\"/>",
        number(rect.x - rect.width / 2.0),
        number(rect.y),
        number(rect.width),
        number(rect.height)
    );
    write_cells(text, &block.cells, rect);
    for (at, line) in block.lines.iter().enumerate() {
        let weight = if at == 0 { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\"{weight}>{}</text>",
            number(rect.x),
            number(rect.y + PADDING / 2.0 + LINE * (at as f64 + 0.75)),
            escaped(line)
        );
    }
}

/// The strip of sectors at the foot of a box.
fn write_cells(text: &mut String, cells: &[Paint], rect: Rect) {
    let inner = rect.width - 2.0 * PADDING;
    let each = inner / cells.len().max(1) as f64;
    // Cells are parted where there is room.
    let gap = if each > 4.0 && cells.len() > 1 { 1.0 } else { 0.0 };
    for (at, &cell) in cells.iter().enumerate() {
        let _ = writeln!(
            text,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
            number(rect.x - inner / 2.0 + each * at as f64),
            number(rect.y + rect.height - STRIP - 3.0),
            number(each - gap),
            number(STRIP),
            colour(cell)
        );
    }
}

fn write_product(text: &mut String, sign: &str, lines: &[String], rect: Rect) {
    let middle = rect.y + rect.height / 2.0;
    let (x, y) = (number(rect.x), number(middle));
    let _ = writeln!(
        text,
        "<circle cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\" fill=\"#ffffff\" stroke=\"#444444\"/>\
         <text x=\"{x}\" y=\"{}\" font-size=\"15\" text-anchor=\"middle\">{sign}</text>",
        number(middle + 5.0)
    );
    for line in lines {
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" font-size=\"10\" fill=\"#555555\">{}</text>",
            number(rect.x + RADIUS + 5.0),
            number(middle + 4.0),
            escaped(line)
        );
    }
}

fn colour(paint: Paint) -> &'static str {
    match paint {
        Paint::Colour(number) => PALETTE[number % PALETTE.len()],
        Paint::Fixed => FIXED,
    }
}

/// A length to a tenth of a pixel.
fn number(length: f64) -> String {
    let tenths = (length * 10.0).round() / 10.0;
    // No minus before a zero.
    (tenths + 0.0).to_string()
}

/// Text between tags.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            // XML has no place for other control characters.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_would_hide_each_other_are_moved() {
        let link = |label: &str| Link { from: 0, to: 1, label: label.into(), width: 1 };
        let mut text = String::new();
        let way = vec![(0.0, 0.0), (0.0, 46.0)];
        write_labels(
            &mut text,
            &[link("a"), link("b"), link("")],
            &[way.clone(), way.clone(), way],
        );
        let tops: Vec<&str> = text
            .split(" y=\"")
            .skip(1)
            .step_by(2)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(tops.len(), 2, "{text}");
        assert_ne!(tops[0], tops[1], "{text}");
    }

    #[test]
    fn text_is_made_safe_and_numbers_short() {
        assert_eq!(escaped("a<b & c\u{1}>"), "a&lt;b &amp; c &gt;");
        assert_eq!([1.0, -0.01, 2.26].map(number), ["1", "0", "2.3"]);
    }
}
