//! What every format comes down to: nodes with inputs, in the file's own names and places.
//!
//! Values need not be normalised: each format says of its sums whether they must be.

use std::collections::HashMap;

use super::lines::{Field, Line};
use crate::diag::{Code, Diagnostic, Span};
use crate::ids::VarId;

/// The most variables a file may speak of.
pub(super) const MOST_VARIABLES: u32 = 1 << 20;

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// Always true: one.
    True,
    /// Never true: zero.
    False,
    /// One where the variable is in this state, else zero.
    Indicator {
        /// The variable.
        var: VarId,
        /// Its state.
        state: u32,
    },
    /// Always one, and over a variable of a formula: what either of its literals makes true.
    Free {
        /// The variable.
        var: VarId,
    },
    /// A probability a state of the variable.
    Categorical {
        /// The variable.
        var: VarId,
        /// The probabilities, summing to one.
        p: Vec<f64>,
    },
    /// A normal density.
    Gaussian {
        /// The variable.
        var: VarId,
        /// Its mean.
        mean: f64,
        /// Its variance, above zero.
        variance: f64,
    },
    /// The product of the inputs.
    Product,
    /// The weighted sum of the inputs.
    Sum,
}

/// A node as its file gives it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// What it is.
    pub(super) what: What,
    /// What the file calls it, if anything.
    pub(super) name: Option<u64>,
    /// Where it stands.
    pub(super) span: Span,
    /// Its inputs, a range of [`Nodes::inputs`].
    inputs: (u32, u32),
}

/// The nodes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    items: Vec<Item>,
    /// Inputs of all nodes, and the logarithm of the weight of each; zero in products.
    inputs: Vec<(u32, f64)>,
}

impl Nodes {
    /// Adds a node.
    pub(super) fn push(
        &mut self,
        what: What,
        name: Option<u64>,
        span: Span,
        inputs: impl IntoIterator<Item = (u32, f64)>,
    ) -> u32 {
        let first = self.inputs.len() as u32;
        self.inputs.extend(inputs);
        self.items.push(Item { what, name, span, inputs: (first, self.inputs.len() as u32) });
        self.items.len() as u32 - 1
    }

    /// Adds a node without inputs.
    pub(super) fn leaf(&mut self, what: What, name: Option<u64>, span: Span) -> u32 {
        self.push(what, name, span, [])
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// A node.
    pub(super) fn get(&self, node: u32) -> &Item {
        &self.items[node as usize]
    }

    /// A node's inputs with the logarithms of their weights.
    pub(super) fn inputs(&self, node: u32) -> &[(u32, f64)] {
        let (first, end) = self.items[node as usize].inputs;
        &self.inputs[first as usize..end as usize]
    }

    /// The nodes that `root` reaches, inputs first, by way of the inputs that are wanted, given the
    /// logarithm of their weight.
    ///
    /// # Errors
    /// E0113 at a node that depends on itself.
    pub(super) fn order(
        &self,
        root: u32,
        wanted: impl Fn(f64, u32) -> bool,
    ) -> Result<Vec<u32>, Diagnostic> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut state = vec![State::New; self.items.len()];
        let mut order = Vec::with_capacity(self.items.len());
        let mut stack = vec![(root, false)];
        while let Some((node, finished)) = stack.pop() {
            if finished {
                state[node as usize] = State::Done;
                order.push(node);
                continue;
            }
            if state[node as usize] != State::New {
                continue;
            }
            state[node as usize] = State::Open;
            stack.push((node, true));
            for &(input, weight) in self.inputs(node).iter().rev() {
                if !wanted(weight, input) {
                    continue;
                }
                match state[input as usize] {
                    State::New => stack.push((input, false)),
                    State::Done => {}
                    State::Open => {
                        let item = self.get(input);
                        let name = item.name.map_or("a node".into(), |name| format!("node {name}"));
                        let message = format!("{name} depends on itself");
                        return Err(Diagnostic::new(Code::E0113, message).at(item.span));
                    }
                }
            }
        }
        Ok(order)
    }
}

/// The ids that a file gives its nodes.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<u64, u32>,
}

impl Names {
    /// Enters a node under its id.
    ///
    /// # Errors
    /// E0802 if the id is taken.
    pub(super) fn define(
        &mut self,
        line: &Line<'_>,
        field: Field<'_>,
        id: u64,
        node: u32,
    ) -> Result<(), Diagnostic> {
        match self.known.insert(id, node) {
            None => Ok(()),
            Some(_) => {
                let message = format!("the id {id} is defined twice");
                Err(line.fault_at(field, Code::E0802, message).help("give each node its own id"))
            }
        }
    }

    /// Reads an id and finds its node.
    ///
    /// # Errors
    /// E0801 if it is no number; E0802 if nothing before this line has that id.
    pub(super) fn read(&self, line: &mut Line<'_>, what: &str) -> Result<u32, Diagnostic> {
        let field = line.expect(what)?;
        let id: u64 = line.parse(field, what)?;
        self.known.get(&id).copied().ok_or_else(|| {
            line.fault_at(field, Code::E0802, format!("no line before this one defines {id}"))
                .help("nodes stand after the nodes that they use")
        })
    }

    /// The node of an id.
    pub(super) fn get(&self, id: u64) -> Option<u32> {
        self.known.get(&id).copied()
    }
}

/// Reads a variable, counted from 1 in the file.
///
/// # Errors
/// E0801 if it is none.
pub(super) fn variable(line: &mut Line<'_>) -> Result<VarId, Diagnostic> {
    let field = line.expect("a variable")?;
    let number: u32 = line.parse(field, "a variable")?;
    if (1..=MOST_VARIABLES).contains(&number) {
        return Ok(VarId(number - 1));
    }
    let message = format!("variables are numbered from 1 to {MOST_VARIABLES}, not {number}");
    Err(line.fault_at(field, Code::E0801, message))
}

/// A literal: a variable counted from 1 in the file, negated if it is 0 that makes it true.
///
/// # Errors
/// E0801 if it is none.
pub(super) fn literal(line: &Line<'_>, field: Field<'_>) -> Result<What, Diagnostic> {
    let number: i64 = line.parse(field, "a literal")?;
    let var = number.unsigned_abs();
    if (1..=u64::from(MOST_VARIABLES)).contains(&var) {
        return Ok(What::Indicator { var: VarId(var as u32 - 1), state: u32::from(number > 0) });
    }
    let message = format!("{number} is no literal of variables from 1 to {MOST_VARIABLES}");
    Err(line.fault_at(field, Code::E0801, message))
}
