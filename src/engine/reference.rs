//! The oracle: a circuit's log-likelihood and gradient, in f64, in the log domain, node by node.
//!
//! It judges everything else, so it is written to be obviously right and sees no rewrite, sector,
//! plan or parameterizer: a [`ValidCircuit`], its [`Values`] and one row go in. Time is linear in the
//! weights (and the pairs of Kronecker products); nothing is kept between rows.
//!
//! *Forward*: the logarithm of every unit's value, −∞ for zero. *Backward*: with g the derivative of
//! log p by a unit's linear value, log g is passed from a node to its inputs. Every g is
//! non-negative, and it may be far beyond the range of f64, which is why it stays a logarithm until
//! it meets the value of an input: d log p / d w = exp(log g + log input). A unit of value zero has a
//! g too, and it counts: a weight of zero over a likely input has a gradient.
//!
//! *Max-product* is the same walk with the greatest term in place of the sum of terms.

use crate::circuit::{Circuit, Op, ValidCircuit, Values};
use crate::ids::{DistId, Id, IdVec, NodeId, WeightsId};
use crate::leaf::counts::poisson_mode;
use crate::leaf::gaussian::Bounds;
use crate::leaf::{Dist, Family};
use crate::real::log_sum_exp;

/// One logarithm a unit of every node, node after node.
#[derive(Clone, Debug, PartialEq)]
struct Units {
    offsets: IdVec<NodeId, usize>,
    logs: Vec<f64>,
}

impl Units {
    /// The logarithm of zero everywhere.
    fn new(circuit: &Circuit) -> Self {
        let mut len = 0;
        let place = |node| {
            len += circuit.units(node) as usize;
            len - circuit.units(node) as usize
        };
        let offsets = circuit.nodes().map(place).collect();
        Units { offsets, logs: vec![f64::NEG_INFINITY; len] }
    }

    fn unit(&self, node: NodeId, unit: usize) -> f64 {
        self.logs[self.offsets[node] + unit]
    }

    fn unit_mut(&mut self, node: NodeId, unit: usize) -> &mut f64 {
        &mut self.logs[self.offsets[node] + unit]
    }
}

/// The log values of all nodes for one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    units: Units,
    root: NodeId,
}

impl Forward {
    /// The circuit's value: ln p of the observed entries, in nats; −∞ where they are impossible.
    pub fn log_likelihood(&self) -> f64 {
        self.log_value(self.root, 0)
    }

    /// The log value of one unit of a node; −∞ too for nodes that the root does not reach.
    pub fn log_value(&self, node: NodeId, unit: usize) -> f64 {
        self.units.unit(node, unit)
    }
}

/// ln p of one row, in nats, its missing entries (`None`) summed out; −∞ for an impossible row.
pub fn log_likelihood(circuit: &ValidCircuit, values: &Values<f64>, row: &[Option<f32>]) -> f64 {
    forward(circuit, values, row).log_likelihood()
}

/// The log values of all nodes. `row` has an entry a variable; a missing one is summed out.
pub fn forward(circuit: &ValidCircuit, values: &Values<f64>, row: &[Option<f32>]) -> Forward {
    evaluate(circuit, values, row, Reduce::Sum)
}

/// The log values of all nodes where a sum is its greatest term and a missing entry takes its best
/// value in each leaf. At the root: ln of the greatest share that one induced tree has in p, a lower
/// bound on the greatest p of any completion, and equal to it where the circuit is deterministic.
pub fn max_product(circuit: &ValidCircuit, values: &Values<f64>, row: &[Option<f32>]) -> Forward {
    evaluate(circuit, values, row, Reduce::Max)
}

/// What a sum does with its terms, and a leaf with a missing value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reduce {
    Sum,
    Max,
}

fn evaluate(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    row: &[Option<f32>],
    reduce: Reduce,
) -> Forward {
    let mut units = Units::new(circuit);
    for &node in circuit.order() {
        for unit in 0..circuit.units(node) as usize {
            let log = match circuit.op(node) {
                Op::Leaf { var, dist } => {
                    let value = row[var.index()];
                    leaf(circuit, values, dist, unit, value, reduce)
                }
                Op::Given { dist, value } => leaf(circuit, values, dist, unit, Some(value), reduce),
                Op::One => 0.0,
                Op::Product | Op::Kronecker => {
                    factors(circuit, node, unit).map(|(input, unit)| units.unit(input, unit)).sum()
                }
                Op::Sum { weights } | Op::Mixing { weights } => {
                    let terms =
                        terms(circuit, node, unit).zip(weights_of(circuit, values, weights, unit));
                    let logs = terms.map(|((input, unit), w)| w.ln() + units.unit(input, unit));
                    match reduce {
                        Reduce::Sum => log_sum_exp(logs),
                        Reduce::Max => logs.fold(f64::NEG_INFINITY, f64::max),
                    }
                }
            };
            *units.unit_mut(node, unit) = log;
        }
    }
    Forward { units, root: circuit.root() }
}

fn leaf(
    circuit: &Circuit,
    values: &Values<f64>,
    dist: DistId,
    unit: usize,
    value: Option<f32>,
    reduce: Reduce,
) -> f64 {
    let value = match reduce {
        Reduce::Sum => value,
        Reduce::Max => value.or_else(|| Some(mode(circuit, values, dist, unit))),
    };
    circuit.dists()[dist].log_value(unit, raw(circuit, values, dist, unit), value)
}

/// The likeliest value of a leaf's unit, the least one of several.
fn mode(circuit: &Circuit, values: &Values<f64>, dist: DistId, unit: usize) -> f32 {
    let array = &circuit.dists()[dist];
    let raw = raw(circuit, values, dist, unit);
    match array.family {
        Family::Gaussian { min_var, max_var } => {
            Bounds { min_var, max_var }.density(raw).mean as f32
        }
        Family::Poisson => poisson_mode(raw[0]) as f32,
        Family::Indicators { .. }
        | Family::Bernoulli
        | Family::Categorical { .. }
        | Family::Binomial { .. } => {
            let states = (0..array.family.states().unwrap_or(0)).map(|state| state as f32);
            let logs = states.map(|state| (state, array.log_value(unit, raw, Some(state))));
            greatest(logs).unwrap_or_default()
        }
    }
}

/// The first of the items with the greatest number, none if all are −∞.
fn greatest<T>(items: impl Iterator<Item = (T, f64)>) -> Option<T> {
    let none = (None, f64::NEG_INFINITY);
    items.fold(none, |best, (item, log)| if log > best.1 { (Some(item), log) } else { best }).0
}

/// The observed entries of a row, and for each missing one its value in the induced tree that
/// [`max_product`] found: the most probable completion where the circuit is deterministic, a likely
/// one elsewhere. `None` if the observed entries are impossible. A variable that the circuit does not
/// depend on, and that is not observed, is NaN.
pub fn complete(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    row: &[Option<f32>],
) -> Option<Vec<f32>> {
    let best = max_product(circuit, values, row);
    if best.log_likelihood() == f64::NEG_INFINITY {
        return None;
    }
    let mut out: Vec<f32> = row.iter().map(|value| value.unwrap_or(f32::NAN)).collect();
    let mut open = vec![(circuit.root(), 0)];
    while let Some((node, unit)) = open.pop() {
        match circuit.op(node) {
            Op::Leaf { var, dist } if row[var.index()].is_none() => {
                out[var.index()] = mode(circuit, values, dist, unit);
            }
            Op::Leaf { .. } | Op::Given { .. } | Op::One => {}
            Op::Product | Op::Kronecker => open.extend(factors(circuit, node, unit)),
            Op::Sum { weights } | Op::Mixing { weights } => {
                let weights = weights_of(circuit, values, weights, unit);
                let terms = terms(circuit, node, unit).zip(weights);
                open.extend(greatest(terms.map(|((input, unit), w)| {
                    ((input, unit), w.ln() + best.log_value(input, unit))
                })));
            }
        }
    }
    Some(out)
}

/// Adds d(scale · log p) / d(weights and raw leaf parameters) of one row to `d_values`, given the
/// row's forward pass.
///
/// A row of probability zero adds nothing. Entries are linear-domain derivatives and saturate at the
/// largest finite number (a zero weight over an input that is all that could explain the row), so
/// that no infinity can turn into NaN further on.
pub fn backward(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    forward: &Forward,
    row: &[Option<f32>],
    scale: f64,
    d_values: &mut Values<f64>,
) {
    walk_back(circuit, values, forward, row, &mut Derivatives { circuit, values, scale, d_values });
}

/// What the rows of a data set are expected to have counted, as far as a circuit knows: without where
/// its parameters lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The expected count of each input of each sum, [rows, cols] a layer.
    pub weights: IdVec<WeightsId, Vec<f64>>,
    /// The expected statistics of each distribution, [units, statistics_len].
    pub leaves: IdVec<DistId, Vec<f64>>,
}

impl Expected {
    /// Counts of nothing.
    pub fn zeros(circuit: &Circuit) -> Self {
        let weights = circuit.weights().values().map(|weights| vec![0.0; weights.len()]);
        let len = |dist: &Dist| dist.units as usize * dist.family.statistics_len();
        let leaves = circuit.dists().values().map(|dist| vec![0.0; len(dist)]);
        Expected { weights: weights.collect(), leaves: leaves.collect() }
    }
}

/// Adds what one row is expected to have counted, given its forward pass: the share of ln p that runs
/// through each input of each sum, and how responsible each leaf's unit is. A row of probability zero
/// adds nothing.
pub fn expect(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    forward: &Forward,
    row: &[Option<f32>],
    expected: &mut Expected,
) {
    walk_back(circuit, values, forward, row, &mut Counting { circuit, values, expected });
}

/// Goes from the root to the leaves with g, and tells `sink` what it meets.
fn walk_back(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    forward: &Forward,
    row: &[Option<f32>],
    sink: &mut dyn Sink,
) {
    let log_p = forward.log_likelihood();
    if log_p == f64::NEG_INFINITY {
        return;
    }
    let mut log_g = Units::new(circuit);
    *log_g.unit_mut(circuit.root(), 0) = -log_p;
    let mut pass = Backward { circuit, values, forward, row, sink, log_g };
    for &node in circuit.order().iter().rev() {
        for unit in 0..circuit.units(node) as usize {
            if pass.log_g.unit(node, unit) > f64::NEG_INFINITY {
                pass.unit(node, unit);
            }
        }
    }
}

/// What is made of a backward pass.
trait Sink {
    /// A sum's unit weighs an input, of column `col`, by `w`; `log_d` is the logarithm of the
    /// derivative by w.
    fn weight(&mut self, weights: WeightsId, unit: usize, col: usize, w: f64, log_d: f64);

    /// A leaf's unit with the value that it observes; `flow` is the derivative by its log value.
    fn leaf(&mut self, dist: DistId, unit: usize, value: f32, flow: f64);
}

/// Adds up derivatives.
struct Derivatives<'a> {
    circuit: &'a Circuit,
    values: &'a Values<f64>,
    scale: f64,
    d_values: &'a mut Values<f64>,
}

impl Sink for Derivatives<'_> {
    fn weight(&mut self, weights: WeightsId, unit: usize, col: usize, _w: f64, log_d: f64) {
        let cols = self.circuit.weights()[weights].cols as usize;
        let d = &mut self.d_values.weights_mut(weights)[unit * cols + col];
        let by_weight = log_d.exp().min(f64::MAX);
        *d = (*d + self.scale * by_weight).clamp(f64::MIN, f64::MAX);
    }

    fn leaf(&mut self, dist: DistId, unit: usize, value: f32, flow: f64) {
        let array = &self.circuit.dists()[dist];
        let len = array.family.raw_len();
        let d_raw = &mut self.d_values.leaf_mut(dist)[unit * len..][..len];
        let raw = raw(self.circuit, self.values, dist, unit);
        array.log_value_backward(raw, value, self.scale * flow, d_raw);
    }
}

/// Adds up expected counts.
struct Counting<'a> {
    circuit: &'a Circuit,
    values: &'a Values<f64>,
    expected: &'a mut Expected,
}

impl Sink for Counting<'_> {
    fn weight(&mut self, weights: WeightsId, unit: usize, col: usize, w: f64, log_d: f64) {
        let cols = self.circuit.weights()[weights].cols as usize;
        self.expected.weights[weights][unit * cols + col] += (w.ln() + log_d).exp();
    }

    fn leaf(&mut self, dist: DistId, unit: usize, value: f32, flow: f64) {
        let family = self.circuit.dists()[dist].family;
        let len = family.statistics_len();
        let statistics = &mut self.expected.leaves[dist][unit * len..][..len];
        let raw = raw(self.circuit, self.values, dist, unit);
        family.add_statistics(raw, value, flow, statistics);
    }
}

/// The backward pass of one row.
struct Backward<'a> {
    circuit: &'a Circuit,
    values: &'a Values<f64>,
    forward: &'a Forward,
    row: &'a [Option<f32>],
    sink: &'a mut dyn Sink,
    /// ln g of every unit, of which those above the current node are complete.
    log_g: Units,
}

impl Backward<'_> {
    /// Passes g of one unit on to what the unit is made of.
    fn unit(&mut self, node: NodeId, unit: usize) {
        match self.circuit.op(node) {
            Op::Leaf { var, dist } => self.leaf(node, unit, dist, self.row[var.index()]),
            Op::Given { dist, value } => self.leaf(node, unit, dist, Some(value)),
            Op::One => {}
            Op::Product | Op::Kronecker => self.product(node, unit),
            Op::Sum { weights } | Op::Mixing { weights } => self.sum(node, unit, weights),
        }
    }

    fn leaf(&mut self, node: NodeId, unit: usize, dist: DistId, value: Option<f32>) {
        // The derivative by the log value: zero where the value is.
        let flow = (self.log_g.unit(node, unit) + self.forward.log_value(node, unit)).exp();
        if let Some(value) = value.filter(|_| flow > 0.0) {
            self.sink.leaf(dist, unit, value, flow);
        }
    }

    /// To each factor goes g times all the others. The others are multiplied up from both ends and
    /// not divided out, because a factor may be zero.
    fn product(&mut self, node: NodeId, unit: usize) {
        let factors: Vec<_> = factors(self.circuit, node, unit).collect();
        let mut after = vec![0.0; factors.len() + 1];
        for (at, &(input, unit)) in factors.iter().enumerate().rev() {
            after[at] = after[at + 1] + self.forward.log_value(input, unit);
        }
        let mut before = self.log_g.unit(node, unit);
        for (&(input, unit), after) in factors.iter().zip(&after[1..]) {
            add_log(self.log_g.unit_mut(input, unit), before + after);
            before += self.forward.log_value(input, unit);
        }
    }

    fn sum(&mut self, node: NodeId, unit: usize, weights: WeightsId) {
        let g = self.log_g.unit(node, unit);
        let row = weights_of(self.circuit, self.values, weights, unit);
        for (col, ((input, of_input), &w)) in terms(self.circuit, node, unit).zip(row).enumerate() {
            self.sink.weight(weights, unit, col, w, g + self.forward.log_value(input, of_input));
            add_log(self.log_g.unit_mut(input, of_input), g + w.ln());
        }
    }
}

/// The raw parameters of one unit of a distribution.
pub(crate) fn raw<'a>(
    circuit: &Circuit,
    values: &'a Values<f64>,
    dist: DistId,
    unit: usize,
) -> &'a [f64] {
    let len = circuit.dists()[dist].family.raw_len();
    &values.leaf(dist)[unit * len..][..len]
}

/// The weights of one unit of a sum or mixing layer, by column.
pub(crate) fn weights_of<'a>(
    circuit: &Circuit,
    values: &'a Values<f64>,
    weights: WeightsId,
    unit: usize,
) -> &'a [f64] {
    let cols = circuit.weights()[weights].cols as usize;
    &values.weights(weights)[unit * cols..][..cols]
}

/// The inputs, and which unit of each, that one unit of a product multiplies.
pub(crate) fn factors(
    circuit: &Circuit,
    node: NodeId,
    unit: usize,
) -> impl Iterator<Item = (NodeId, usize)> + '_ {
    let kronecker = circuit.op(node) == Op::Kronecker;
    let mut rest = unit;
    circuit.inputs(node).map(move |input| {
        let units = circuit.units(input) as usize;
        if !kronecker {
            return (input, unit);
        }
        // The first input's unit varies fastest.
        let digit = rest % units;
        rest /= units;
        (input, digit)
    })
}

/// The inputs, and which unit of each, that one unit of a sum or mixing layer weighs: by column.
pub(crate) fn terms(
    circuit: &Circuit,
    node: NodeId,
    unit: usize,
) -> impl Iterator<Item = (NodeId, usize)> + Clone + '_ {
    let mixing = matches!(circuit.op(node), Op::Mixing { .. });
    let inputs: Vec<NodeId> = circuit.inputs(node).collect();
    inputs.into_iter().flat_map(move |input| {
        let units = if mixing { unit..unit + 1 } else { 0..circuit.units(input) as usize };
        units.map(move |unit| (input, unit))
    })
}

/// Adds two numbers given by their logarithms.
fn add_log(sum: &mut f64, term: f64) {
    *sum = log_sum_exp([*sum, term].into_iter());
}
