//! What a rewriting did, as `pcc compile --emit rewrites` prints it.
//!
//! The text is stable: rules in the order of the law book, no times, no addresses.

use std::fmt;

use super::cost::Cost;
use crate::circuit::ValidCircuit;

/// Why saturation stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// No rule could apply anywhere; no e-graph was made.
    #[default]
    NothingToDo,
    /// No rule made anything new.
    Saturated,
    /// The limit on rounds was met.
    Iterations,
    /// The limit on terms was met.
    Terms,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::NothingToDo => "nothing to do",
            Stop::Saturated => "saturated",
            Stop::Iterations => "limit on iterations",
            Stop::Terms => "limit on terms",
        })
    }
}

/// A circuit's size, price and text.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Nodes that the root reaches.
    pub nodes: usize,
    /// Edges between them.
    pub edges: usize,
    /// Work of a forward pass.
    pub cost: Cost,
    /// Kronecker products that the sum over them forms on the way.
    pub einsums: usize,
    /// The circuit, a node a line; a long one is cut.
    pub expression: String,
}

impl Side {
    /// Lines of an expression at most.
    const MOST_LINES: usize = 60;

    pub(super) fn text(circuit: &ValidCircuit) -> String {
        /// Takes the first lines only, so that a large circuit is not formatted in vain.
        struct Head {
            text: String,
            lines: usize,
        }
        impl fmt::Write for Head {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                self.text.push_str(s);
                self.lines += s.matches('\n').count();
                if self.lines >= Side::MOST_LINES { Err(fmt::Error) } else { Ok(()) }
            }
        }
        let mut head = Head { text: String::new(), lines: 0 };
        // The error is the sign that there is more.
        if fmt::write(&mut head, format_args!("{circuit}")).is_err() {
            head.text.push_str("…\n");
        }
        head.text
    }
}

/// What a rewriting did.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The circuit as it was given.
    pub before: Side,
    /// The circuit after partial evaluation and algebra.
    pub after: Side,
    /// Whether it is the same circuit.
    pub unchanged: bool,
    /// The rules that made two classes one, in the order of the law book, with how often they did,
    /// an island of the same form counting each time.
    pub fired: Vec<(&'static str, usize)>,
    /// Parts of the circuit that were rewritten, over all rounds.
    pub islands: usize,
    /// E-graphs made for them: one for each form.
    pub graphs: usize,
    /// Rounds until nothing changed.
    pub rounds: usize,
    /// Why saturation stopped; the least favourable of all e-graphs.
    pub stop: Stop,
    /// Whether every extraction is the cheapest for certain.
    pub exact: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        side(f, "before", &self.before)?;
        if self.unchanged {
            writeln!(f, "after: same as before")?;
        } else {
            side(f, "after", &self.after)?;
        }
        writeln!(
            f,
            "rounds={} islands={} e-graphs={} stop={} extraction={}",
            self.rounds,
            self.islands,
            self.graphs,
            self.stop,
            if self.exact { "exact" } else { "bounded" }
        )?;
        for (rule, count) in &self.fired {
            writeln!(f, "fired {rule} × {count}")?;
        }
        Ok(())
    }
}

fn side(f: &mut fmt::Formatter<'_>, name: &str, side: &Side) -> fmt::Result {
    writeln!(f, "{name}: nodes={} edges={} einsums={}", side.nodes, side.edges, side.einsums)?;
    writeln!(f, "  {}", side.cost)?;
    for line in side.expression.lines() {
        writeln!(f, "  {line}")?;
    }
    Ok(())
}
