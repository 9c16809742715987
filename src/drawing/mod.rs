//! A circuit as a drawing that a person can read: `pcc compile … --emit svg`.
//!
//! Regions are boxes with their scope and number of units, products small circles; edges run down
//! from a node to its inputs and say how wide these are. Sectors are in colour: one colour, one
//! sector, so that tied layers are seen to be.
//!
//! ```text
//! ValidCircuit + SectorTable ─ whole | alike | levels ─▶ Figure ─ layout ─▶ Placed ─ svg ─▶ text
//! ```
//!
//! A circuit of few nodes is drawn node by node (`whole`). Of a larger one, equal subcircuits are
//! drawn once, with how many there are (`alike`). If that is still too much to look at, the figure
//! says what each level holds (`levels`), neighbouring levels together where there are many. So a
//! figure has a bounded number of blocks, whatever the circuit.
//!
//! The same circuit makes the same text, byte for byte.
//!
//! What rows of data agree on is a picture of another kind: [`agreement_svg`].

mod agreement;
mod alike;
mod layout;
mod levels;
mod svg;
mod whole;
mod words;

pub use self::agreement::{Agreement, OfSize, agreement_svg};
use crate::circuit::{SourceMap, ValidCircuit};
use crate::ids::{SectorId, WeightsId};
use crate::sector::{Maker, SectorTable};

/// Nodes that are drawn one by one at most.
const MOST: usize = 60;
/// Cells of a block's strip of sectors at most.
const MOST_CELLS: usize = 24;

/// What is drawn.
#[derive(Debug, Default)]
struct Figure {
    /// Blocks that others lead to come after those.
    blocks: Vec<Block>,
    links: Vec<Link>,
    /// How to read it, a line each.
    notes: Vec<String>,
    /// The sectors' colours, where their number is small enough to name them.
    legend: Vec<(Paint, String)>,
}

/// What stands at one place of a figure.
#[derive(Debug)]
struct Block {
    kind: Kind,
    /// Its text; of a product the words beside its sign.
    lines: Vec<String>,
    /// The colours of its sectors.
    cells: Vec<Paint>,
}

/// The look of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A leaf.
    Leaf,
    /// A sum or mixing layer, or several of them.
    Sum,
    /// A product, with its sign.
    Product(&'static str),
    /// Several kinds of nodes.
    Level,
}

/// A line down from one block to another.
#[derive(Clone, Debug)]
struct Link {
    from: usize,
    to: usize,
    label: String,
    /// Units that go this way, the measure of its thickness.
    width: u64,
}

/// A colour of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paint {
    /// One of the palette, which is gone through again and again.
    Colour(usize),
    /// That of weights which nothing changes.
    Fixed,
}

/// The circuit as the text of an SVG file.
///
/// `table` has the sectors of the circuit as it is written; layers that it does not know, which
/// rewriting has made, are drawn as fixed. `map` names the nodes.
pub fn svg(circuit: &ValidCircuit, map: &SourceMap, table: &SectorTable, title: &str) -> String {
    let mut figure = if circuit.order().len() <= MOST {
        whole::figure(circuit, map, table)
    } else {
        match alike::figure(circuit, table) {
            Some(figure) => figure,
            None => levels::figure(circuit),
        }
    };
    figure.notes.insert(0, words::size(circuit));
    svg::text(title, &figure, &layout::place(&figure))
}

/// The colours of a layer's sectors, of which `number` says the number of each that is not fixed.
fn cells(
    table: &SectorTable,
    weights: WeightsId,
    number: impl Fn(SectorId) -> Option<usize>,
) -> Vec<Paint> {
    if weights.0 as usize >= table.layers() {
        return vec![Paint::Fixed];
    }
    let paint = |sector| match table.sectors()[sector].maker {
        Maker::Frozen => Paint::Fixed,
        _ => number(sector).map_or(Paint::Fixed, Paint::Colour),
    };
    table.of_weights(weights).take(MOST_CELLS).map(paint).collect()
}
