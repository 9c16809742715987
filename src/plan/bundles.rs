//! Tables that are evaluated side by side.
//!
//! Tables are many and small: four binary columns have sixteen sub-assignments, and a circuit of a
//! thousand columns has hundreds of such regions in each part. What a step costs by itself, whatever its
//! entries, would be most of what they take. So tables that are made alike, of look-ups and of sums over
//! products all the way down, are joined to *bundles*: an engine evaluates one in each lane of a vector,
//! entry by entry, and nothing is found, since which entries a table's entry reads is known beforehand.

use std::collections::BTreeMap;

use super::layout::{Form, Kind, NARROW, Placed, Read, Through, Value};

/// Values that one table of a bundle is made of, at the most: eight columns of two states are fifteen; only
/// columns of one state may be more, and what a bundle works in is to stay in a core's first cache.
const MOST_NODES: usize = 64;

/// Tables of one form.
pub(crate) struct Bundle {
    /// What each table is made of, after what it reads; the last is the table itself.
    pub(crate) nodes: Vec<Node>,
    /// The tables, [`NARROW`] at the most.
    pub(crate) tables: Vec<Value>,
}

/// One value of each table of a bundle.
pub(crate) struct Node {
    pub(crate) op: NodeOp,
    pub(crate) entries: usize,
    pub(crate) units: usize,
    pub(crate) learns: bool,
    /// Where the coefficients of each table's own begin.
    pub(crate) coefficients: Vec<usize>,
    /// Entries, and units of entries, of the nodes before.
    pub(crate) first_entry: usize,
    pub(crate) first_unit: usize,
}

/// How a node is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeOp {
    /// The columns of a table [units, states], and ones for the entries after these.
    Lookup { states: usize },
    /// A sum over the product of two nodes, of so many units.
    ProductSum { width: usize, inputs: [Input; 2] },
}

/// A node that another reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// Its number.
    pub(crate) node: usize,
    /// The projection that says which of its entries is read.
    pub(crate) projection: usize,
}

impl Node {
    /// Numbers of its coefficients.
    pub(crate) fn width(&self) -> usize {
        match self.op {
            NodeOp::Lookup { states } => states,
            NodeOp::ProductSum { width, .. } => width,
        }
    }
}

impl Bundle {
    /// Entries of all nodes, and units of entries.
    pub(crate) fn len(&self) -> (usize, usize) {
        let last = self.nodes.last();
        last.map_or((0, 0), |last| {
            (last.first_entry + last.entries, last.first_unit + last.entries * last.units)
        })
    }

    /// Cycles that it is expected to take, as [`Layout::cycles`](super::layout::Layout::cycles) counts; a lane
    /// without a table takes as long as another.
    pub(super) fn cycles(&self, train: bool) -> f64 {
        let of_node = |node: &Node| {
            let work = (node.width() * node.units) as f64;
            let entry = match (node.op, train) {
                (NodeOp::Lookup { .. }, _) => node.units as f64,
                (NodeOp::ProductSum { .. }, true) => 12.0 + 0.4 * work,
                (NodeOp::ProductSum { .. }, false) => 5.0 + 0.12 * work,
            };
            NARROW as f64 * node.entries as f64 * entry
        };
        self.nodes.iter().map(of_node).sum()
    }

    /// Bytes of its lists.
    pub(super) fn bytes(&self) -> usize {
        let of_node = |node: &Node| size_of::<Node>() + size_of_val(&node.coefficients[..]);
        size_of_val(&self.tables[..]) + self.nodes.iter().map(of_node).sum::<usize>()
    }

    /// Numbers of a table's coefficients, and products of units of entries, of one node at the most.
    pub(crate) fn most(&self) -> (usize, usize) {
        let numbers = self.nodes.iter().map(|node| node.width() * node.units).max();
        let products = self.nodes.iter().map(|node| node.entries * node.width()).max();
        (numbers.unwrap_or(0), products.unwrap_or(0))
    }

    /// Numbers that it is evaluated in, forward and back: see `engine::cpu`.
    pub(super) fn room(&self) -> usize {
        let ((entries, units), (numbers, products)) = (self.len(), self.most());
        NARROW * (entries + 2 * units + 2 * numbers + products)
    }
}

/// The bundles of a program's steps, and whether each step is in one. `outputs` are its outputs.
pub(super) fn bundles(
    steps: &[Placed],
    outputs: &[u32],
    kinds: &[Kind],
    maps: &[Vec<u32>],
) -> (Vec<Bundle>, Vec<bool>) {
    let forms = Forms::of(steps, outputs, kinds, maps);
    let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let each = steps.iter().zip(&forms.of).zip(&forms.is_inner).enumerate();
    for (number, ((step, form), is_inner)) in each {
        let is_sum = matches!(step.form, Form::ProductSum { .. });
        if let (Some(form), true, false) = (form, is_sum, is_inner) {
            alike.entry(form.number).or_default().push(number);
        }
    }
    let mut bundled = vec![false; steps.len()];
    let mut bundles = Vec::new();
    for tables in alike.values().flat_map(|tables| tables.chunks(NARROW)) {
        let orders: Vec<Vec<usize>> = tables.iter().map(|&table| order(steps, table)).collect();
        orders.iter().flatten().for_each(|&step| bundled[step] = true);
        bundles.push(bundle(steps, kinds, &orders));
    }
    (bundles, bundled)
}

/// What a table is made like.
#[derive(Clone, Copy)]
struct OfForm {
    /// The same for tables that are alike.
    number: usize,
    /// Values that it is made of.
    nodes: usize,
}

/// A table, up to the numbers in it and its place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Likeness<'a> {
    Lookup { states: usize, units: usize, entries: u32, learns: bool },
    ProductSum { width: usize, units: usize, learns: bool, inputs: [(usize, &'a [u32]); 2] },
}

/// The forms of the steps that may be in a bundle.
struct Forms {
    of: Vec<Option<OfForm>>,
    /// Whether such a step is read by another one of these, and by it alone.
    is_inner: Vec<bool>,
}

impl Forms {
    fn of(steps: &[Placed], outputs: &[u32], kinds: &[Kind], maps: &[Vec<u32>]) -> Self {
        let mut readers = vec![0u32; steps.len()];
        outputs.iter().for_each(|&output| readers[output as usize] += 1);
        for step in steps {
            inputs(step).iter().for_each(|read| readers[read.value.id] += 1);
        }
        let mut known: BTreeMap<Likeness<'_>, usize> = BTreeMap::new();
        let mut forms =
            Forms { of: Vec::with_capacity(steps.len()), is_inner: vec![false; steps.len()] };
        for step in steps {
            let likeness = forms.likeness(step, kinds, maps, &readers);
            let form = likeness.map(|(likeness, nodes)| {
                let next = known.len();
                OfForm { number: *known.entry(likeness).or_insert(next), nodes }
            });
            if form.is_some() {
                inputs(step).iter().for_each(|read| forms.is_inner[read.value.id] = true);
            }
            forms.of.push(form);
        }
        forms
    }

    /// What a step is like, and the values that it is made of; `None` where it is no table, or one that
    /// is made otherwise.
    fn likeness<'a>(
        &self,
        step: &Placed,
        kinds: &[Kind],
        maps: &'a [Vec<u32>],
        readers: &[u32],
    ) -> Option<(Likeness<'a>, usize)> {
        let Kind::Table(entries) = kinds[step.output.space] else { return None };
        let Value { units, learns, .. } = step.output;
        match step.form {
            Form::Lookup { states, .. } => {
                Some((Likeness::Lookup { states, units, entries, learns }, 1))
            }
            Form::ProductSum { narrow: true, .. } => {
                let of_input = |read: &Read| {
                    let form = self.of[read.value.id].filter(|_| readers[read.value.id] == 1)?;
                    match read.through {
                        Through::Map(projection) => Some((form, &maps[projection][..])),
                        Through::Same | Through::Found(_) => None,
                    }
                };
                let [(a, of_a), (b, of_b)] =
                    [of_input(&step.inputs[0])?, of_input(&step.inputs[1])?];
                let inputs = [(a.number, of_a), (b.number, of_b)];
                let nodes = 1 + a.nodes + b.nodes;
                let width = step.width;
                (nodes <= MOST_NODES)
                    .then_some((Likeness::ProductSum { width, units, learns, inputs }, nodes))
            }
            _ => None,
        }
    }
}

/// The inputs of a step.
fn inputs(step: &Placed) -> &[Read] {
    &step.inputs[..step.form.inputs()]
}

/// The steps that a table is made of, each after what it reads.
fn order(steps: &[Placed], table: usize) -> Vec<usize> {
    let mut order = Vec::new();
    let mut rest = vec![table];
    while let Some(step) = rest.pop() {
        order.push(step);
        rest.extend(inputs(&steps[step]).iter().map(|read| read.value.id));
    }
    order.reverse();
    order
}

/// The bundle of some tables alike, given what each is made of, in one order.
fn bundle(steps: &[Placed], kinds: &[Kind], orders: &[Vec<usize>]) -> Bundle {
    let first = &orders[0];
    let mut nodes: Vec<Node> = Vec::with_capacity(first.len());
    for (number, &step) in first.iter().enumerate() {
        let Placed { form, output, width, .. } = steps[step];
        let input = |at: usize| {
            let read = &steps[step].inputs[at];
            let is_read = |&other: &usize| other == read.value.id;
            let node = first.iter().position(is_read).unwrap_or_default();
            let projection = match read.through {
                Through::Map(projection) => projection,
                Through::Same | Through::Found(_) => 0,
            };
            Input { node, projection }
        };
        let op = match form {
            Form::Lookup { states, .. } => NodeOp::Lookup { states },
            _ => NodeOp::ProductSum { width, inputs: [input(0), input(1)] },
        };
        let entries = match kinds[output.space] {
            Kind::Table(entries) => entries as usize,
            Kind::Listed | Kind::Each => 0,
        };
        let coefficients = orders.iter().map(|order| steps[order[number]].form.coefficients());
        let (first_entry, first_unit) = nodes.last().map_or((0, 0), |last| {
            (last.first_entry + last.entries, last.first_unit + last.entries * last.units)
        });
        nodes.push(Node {
            op,
            entries,
            units: output.units,
            learns: output.learns,
            coefficients: coefficients.collect(),
            first_entry,
            first_unit,
        });
    }
    let top = |order: &Vec<usize>| order.last().map(|&step| steps[step].output);
    Bundle { nodes, tables: orders.iter().filter_map(top).collect() }
}
