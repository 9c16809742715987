//! Writes the program of one part: nodes become steps, in the order of the schedule.
//!
//! What is fused on the way: a sum over indicators becomes a look-up in its own weights; a sum over a
//! product that nothing else reads forms the product itself; a product of densities adds logarithms.

use std::collections::HashMap;

use super::sparse::{Block, Blocks};
use super::{
    Coefficients, Column, Domain, Input, NOWHERE, Op, Program, Purpose, Schedule, Source, Step,
    Term, Value,
};
use crate::circuit::{self, ValidCircuit, WeightSource};
use crate::ids::{DistId, NodeId, WeightsId};
use crate::leaf::{Dist, Family};

/// A program before its values have places, and what the part adds to it.
pub(super) struct Emitted {
    pub(super) program: Program,
    pub(super) columns: Vec<Column>,
    /// With places relative to the part.
    pub(super) coefficients: Vec<Coefficients>,
}

/// What a node has become so far.
#[derive(Clone, Copy)]
enum Made {
    /// A value.
    Value(u32),
    /// The last two factors of a product that the sum above will form.
    Pair(u32, u32),
    /// The same of a Kronecker product.
    Kronecker(u32, u32),
}

pub(super) struct Emitter<'a> {
    circuit: &'a ValidCircuit,
    blocks: &'a Blocks,
    /// The value of each block, once it is made.
    block_values: Vec<u32>,
    /// The number of the first unit of each value, all values' units counted on.
    first_unit: Vec<u32>,
    imports: &'a HashMap<NodeId, (u32, u32)>,
    program: Program,
    made: HashMap<NodeId, Made>,
    /// Factors that each product has taken so far.
    taken: HashMap<NodeId, usize>,
    linear: HashMap<u32, u32>,
    columns: Vec<Column>,
    column_of: HashMap<(u32, Option<u32>), u32>,
    coefficients: Vec<Coefficients>,
    place_of: HashMap<Source, u32>,
    purpose: Purpose,
}

/// Emits the steps that make `outputs`. `imports` names the nodes that other parts make.
pub(super) fn emit(
    circuit: &ValidCircuit,
    blocks: &Blocks,
    outputs: &[NodeId],
    nodes: &[NodeId],
    imports: &HashMap<NodeId, (u32, u32)>,
    (schedule, purpose): (Schedule, Purpose),
) -> Emitted {
    let mut emitter = Emitter {
        circuit,
        blocks,
        block_values: vec![NOWHERE; blocks.blocks.len()],
        first_unit: Vec::new(),
        imports,
        program: Program::default(),
        made: HashMap::with_capacity(nodes.len()),
        taken: HashMap::new(),
        linear: HashMap::new(),
        columns: Vec::new(),
        column_of: HashMap::new(),
        coefficients: Vec::new(),
        place_of: HashMap::new(),
        purpose,
    };
    match schedule {
        // Blocks are wide by themselves.
        Schedule::Wide if blocks.is_empty() => emitter.wide(nodes),
        Schedule::Wide | Schedule::Deep => emitter.deep(outputs, nodes),
    }
    for &output in outputs {
        let value = emitter.linear_value(output);
        emitter.program.outputs.push(value);
    }
    let Emitter { program, columns, coefficients, .. } = emitter;
    Emitted { program, columns, coefficients }
}

impl Emitter<'_> {
    /// Post-order; of a node's inputs first the one whose evaluation needs most values at once.
    fn deep(&mut self, outputs: &[NodeId], nodes: &[NodeId]) {
        let need = self.needs(nodes);
        let need_of = |node: NodeId| need.get(&node).copied().unwrap_or(1);
        enum Task {
            Visit(NodeId),
            Take(NodeId, NodeId),
            Finish(NodeId),
            Block(u32),
        }
        let mut entered = vec![false; self.blocks.blocks.len()];
        let mut visited = std::collections::HashSet::with_capacity(nodes.len());
        let mut tasks: Vec<Task> = outputs.iter().rev().map(|&node| Task::Visit(node)).collect();
        while let Some(task) = tasks.pop() {
            match task {
                Task::Visit(node) if self.blocks.place(node).is_some() => {
                    let index = self.blocks.place(node).map_or(0, |(block, _)| block);
                    if !std::mem::replace(&mut entered[index as usize], true) {
                        let Block { left, right, .. } = &self.blocks.blocks[index as usize];
                        tasks.push(Task::Block(index));
                        tasks.extend(right.iter().chain(left).rev().map(|&n| Task::Visit(n)));
                    }
                }
                Task::Visit(node) => {
                    if !need.contains_key(&node) || !visited.insert(node) {
                        continue;
                    }
                    tasks.push(Task::Finish(node));
                    let mut inputs: Vec<NodeId> = self.circuit.inputs(node).collect();
                    inputs.sort_by_key(|&input| std::cmp::Reverse(need_of(input)));
                    for &input in inputs.iter().rev() {
                        tasks.push(Task::Take(node, input));
                        tasks.push(Task::Visit(input));
                    }
                }
                Task::Take(node, input) => self.take(node, input),
                Task::Finish(node) => self.finish(node),
                Task::Block(index) => self.block(index),
            }
        }
    }

    /// How many values are alive at once, at the most, when a node is evaluated by itself.
    fn needs(&self, nodes: &[NodeId]) -> HashMap<NodeId, u32> {
        let mut need: HashMap<NodeId, u32> = HashMap::with_capacity(nodes.len());
        let mut below = Vec::new();
        for &node in nodes {
            below.clear();
            below.extend(
                self.circuit.inputs(node).map(|input| need.get(&input).copied().unwrap_or(1)),
            );
            below.sort_unstable_by_key(|&need| std::cmp::Reverse(need));
            let accumulates = matches!(self.circuit.op(node), circuit::Op::Product);
            let waiting = |index: usize| if accumulates { index.min(1) } else { index } as u32;
            let most = below.iter().enumerate().map(|(index, need)| need + waiting(index)).max();
            need.insert(node, most.unwrap_or(1));
        }
        need
    }

    /// Level by level, a level being the longest way down to a leaf.
    fn wide(&mut self, nodes: &[NodeId]) {
        let mut level: HashMap<NodeId, u32> = HashMap::with_capacity(nodes.len());
        for &node in nodes {
            let below = self.circuit.inputs(node).filter_map(|input| level.get(&input)).max();
            let own = below.map_or(0, |below| below + 1);
            level.insert(node, own);
        }
        let mut order = nodes.to_vec();
        order.sort_by_cached_key(|node| level[node]);
        for node in order {
            let inputs: Vec<NodeId> = self.circuit.inputs(node).collect();
            for input in inputs {
                self.take(node, input);
            }
            self.finish(node);
        }
    }

    /// Multiplies one more factor into a product. Other nodes take their inputs when they finish.
    fn take(&mut self, node: NodeId, input: NodeId) {
        if self.circuit.op(node) != circuit::Op::Product {
            return;
        }
        let factor = self.value(input);
        let taken = self.taken.entry(node).or_insert(0);
        *taken += 1;
        let is_last = *taken == self.circuit.inputs(node).count();
        let made = match self.made.get(&node).copied() {
            None => Made::Value(factor),
            // Factors that wait for others are multiplied at once, so that one value waits, not two.
            Some(Made::Value(so_far)) if !is_last => Made::Value(self.multiply(so_far, factor)),
            Some(so_far) => Made::Pair(self.formed(so_far), factor),
        };
        self.made.insert(node, made);
    }

    fn finish(&mut self, node: NodeId) {
        let units = self.circuit.units(node);
        match self.circuit.op(node) {
            circuit::Op::Leaf { .. } | circuit::Op::Given { .. } | circuit::Op::One => {}
            circuit::Op::Product => self.settle(node),
            circuit::Op::Kronecker => {
                let inputs: Vec<NodeId> = self.circuit.inputs(node).collect();
                let mut made = Made::Value(self.linear_value(inputs[0]));
                for &input in &inputs[1..] {
                    let factor = self.linear_value(input);
                    made = Made::Kronecker(self.formed(made), factor);
                }
                self.made.insert(node, made);
                self.settle(node);
            }
            circuit::Op::Sum { weights } => self.sum(node, units, weights),
            circuit::Op::Mixing { weights } => {
                let inputs: Vec<NodeId> = self.circuit.inputs(node).collect();
                let values: Vec<u32> = inputs.iter().map(|&n| self.linear_value(n)).collect();
                let weights = self.weights(weights);
                // Of single units a mixing layer is a sum.
                let op = if units == 1 { Op::Sum { weights } } else { Op::Mix { weights } };
                let value = self.step(op, units, Domain::Linear, &values);
                self.made.insert(node, Made::Value(value));
            }
        }
    }

    fn sum(&mut self, node: NodeId, units: u32, weights: WeightsId) {
        let inputs: Vec<NodeId> = self.circuit.inputs(node).collect();
        let value = if let [input] = inputs[..]
            && let Some((column, states)) = self.indicators(input)
        {
            let table = self.weights(weights);
            self.step(Op::Lookup { column, table, states }, units, Domain::Linear, &[])
        } else if let [input] = inputs[..]
            && let Some(&product @ (Made::Pair(a, b) | Made::Kronecker(a, b))) =
                self.made.get(&input)
        {
            let weights = self.weights(weights);
            let op = match product {
                Made::Kronecker(..) => Op::KroneckerSum { weights },
                _ => Op::ProductSum { weights },
            };
            self.step(op, units, Domain::Linear, &[a, b])
        } else {
            let values: Vec<u32> = inputs.iter().map(|&n| self.linear_value(n)).collect();
            let op = Op::Sum { weights: self.weights(weights) };
            self.step(op, units, Domain::Linear, &values)
        };
        self.made.insert(node, Made::Value(value));
    }

    /// Makes all units of a block.
    fn block(&mut self, index: u32) {
        let blocks = self.blocks;
        let Block { units, left, right } = &blocks.blocks[index as usize];
        let mut unit_of = HashMap::with_capacity(left.len() + right.len());
        let mut inputs = Vec::new();
        let mut side = |emitter: &mut Self, nodes: &[NodeId]| {
            let begin = inputs.len();
            for &node in nodes {
                let (value, unit) = match blocks.place(node) {
                    Some((block, unit)) => (emitter.block_values[block as usize], unit),
                    None => (emitter.linear_value(node), 0),
                };
                unit_of.insert(node, emitter.first_unit[value as usize] + unit);
                if !inputs[begin..].contains(&value) {
                    inputs.push(value);
                }
            }
            inputs.len() as u32
        };
        let lefts = side(self, left);
        side(self, right);
        let lists = self.program.lists.len() as u32;
        for unit in units {
            let first = self.program.terms.len() as u32;
            for pair in unit {
                let weight = pair.weight.map_or(NOWHERE, |(id, col)| self.weights(id) + col);
                let (left, right) = (unit_of[&pair.left], unit_of[&pair.right]);
                self.program.terms.push(Term { left, right, weight });
            }
            self.program.lists.push((first, self.program.terms.len() as u32));
        }
        let op = Op::Sparse { lists, left: lefts };
        let value = self.step(op, units.len() as u32, Domain::Linear, &inputs);
        self.block_values[index as usize] = value;
    }

    /// One unit of a block, as a value of its own.
    fn select(&mut self, block: u32, unit: u32) -> u32 {
        let value = self.block_values[block as usize];
        if self.units(value) == 1 {
            return value;
        }
        let lists = self.program.lists.len() as u32;
        let first = self.program.terms.len() as u32;
        let left = self.first_unit[value as usize] + unit;
        self.program.terms.push(Term { left, right: NOWHERE, weight: NOWHERE });
        self.program.lists.push((first, first + 1));
        self.step(Op::Sparse { lists, left: 1 }, 1, Domain::Linear, &[value])
    }

    /// Whether the only reader of a product is a sum over nothing else, in this part, and the
    /// product is one of mantissas.
    fn is_absorbed(&self, node: NodeId, a: u32, b: u32) -> bool {
        let mut parents = self.circuit.parents(node);
        let (Some(parent), None) = (parents.next(), parents.next()) else { return false };
        matches!(self.circuit.op(parent), circuit::Op::Sum { .. })
            && self.circuit.inputs(parent).count() == 1
            && !self.imports.contains_key(&node)
            && self.domain(a) == Domain::Linear
            && self.domain(b) == Domain::Linear
    }

    /// Forms a product that the sum above will not form.
    fn settle(&mut self, node: NodeId) {
        if let Some(&product @ (Made::Pair(a, b) | Made::Kronecker(a, b))) = self.made.get(&node)
            && !self.is_absorbed(node, a, b)
        {
            let value = self.formed(product);
            self.made.insert(node, Made::Value(value));
        }
    }

    /// The value of what a node has become, formed where it was not.
    fn formed(&mut self, made: Made) -> u32 {
        match made {
            Made::Value(value) => value,
            Made::Pair(a, b) => self.multiply(a, b),
            Made::Kronecker(a, b) => {
                let units = self.units(a) * self.units(b);
                self.step(Op::Kronecker, units, Domain::Linear, &[a, b])
            }
        }
    }

    fn multiply(&mut self, a: u32, b: u32) -> u32 {
        let units = self.units(a);
        if self.domain(a) == Domain::Log && self.domain(b) == Domain::Log {
            return self.step(Op::AddLogs, units, Domain::Log, &[a, b]);
        }
        let (a, b) = (self.exponentiated(a), self.exponentiated(b));
        self.step(Op::Product, units, Domain::Linear, &[a, b])
    }

    /// The value of a node of this part, or a leaf, or a node that another part makes.
    fn value(&mut self, node: NodeId) -> u32 {
        if let Some(&made) = self.made.get(&node) {
            let value = self.formed(made);
            self.made.insert(node, Made::Value(value));
            return value;
        }
        let units = self.circuit.units(node);
        let value = if let Some((block, unit)) = self.blocks.place(node) {
            self.select(block, unit)
        } else if let Some(&(part, output)) = self.imports.get(&node) {
            self.step(Op::Import { part, output }, units, Domain::Linear, &[])
        } else {
            match self.circuit.op(node) {
                circuit::Op::Leaf { var, dist } => self.leaf(Column::Variable(var), dist),
                circuit::Op::Given { dist, value } => self.leaf(Column::Fixed(value), dist),
                // Only nodes without inputs are met before they are made.
                _ => self.step(Op::One, units, Domain::Linear, &[]),
            }
        };
        self.made.insert(node, Made::Value(value));
        value
    }

    fn leaf(&mut self, column: Column, dist: DistId) -> u32 {
        let column = self.column(column);
        let Dist { family, units, .. } = self.circuit.dists()[dist];
        let len = match family {
            Family::Gaussian { .. } => 3,
            Family::Poisson => 1,
            family => family.states().unwrap_or(0),
        };
        let table = self.place(Source::Dist(dist), units as usize * len);
        let states = len as u32;
        let (op, domain) = match family {
            Family::Gaussian { .. } => (Op::Gaussian { column, table }, Domain::Log),
            Family::Poisson => (Op::Poisson { column, table }, Domain::Log),
            // Among many trials most counts are less likely than f32 can say.
            Family::Binomial { .. } => (Op::LogLookup { column, table, states }, Domain::Log),
            _ => (Op::Lookup { column, table, states }, Domain::Linear),
        };
        self.step(op, units, domain, &[])
    }

    fn linear_value(&mut self, node: NodeId) -> u32 {
        let value = self.value(node);
        self.exponentiated(value)
    }

    fn exponentiated(&mut self, value: u32) -> u32 {
        if self.domain(value) == Domain::Linear {
            return value;
        }
        if let Some(&linear) = self.linear.get(&value) {
            return linear;
        }
        let units = self.units(value);
        let linear = self.step(Op::Exponentiate, units, Domain::Linear, &[value]);
        self.linear.insert(value, linear);
        linear
    }

    fn units(&self, value: u32) -> u32 {
        self.program.values[value as usize].units
    }

    fn domain(&self, value: u32) -> Domain {
        self.program.values[value as usize].domain
    }

    /// The local column and number of states of an indicator leaf.
    fn indicators(&mut self, node: NodeId) -> Option<(u32, u32)> {
        let (column, dist) = match self.circuit.op(node) {
            circuit::Op::Leaf { var, dist } => (Column::Variable(var), dist),
            circuit::Op::Given { dist, value } => (Column::Fixed(value), dist),
            _ => return None,
        };
        match self.circuit.dists()[dist].family {
            Family::Indicators { states } => Some((self.column(column), states)),
            _ => None,
        }
    }

    fn column(&mut self, column: Column) -> u32 {
        let key = match column {
            Column::Variable(var) => (var.0, None),
            Column::Fixed(value) => (0, Some(value.to_bits())),
        };
        *self.column_of.entry(key).or_insert_with(|| {
            self.columns.push(column);
            self.columns.len() as u32 - 1
        })
    }

    fn weights(&mut self, id: WeightsId) -> u32 {
        self.place(Source::Weights(id), self.circuit.weights()[id].len())
    }

    fn place(&mut self, source: Source, len: usize) -> u32 {
        let next = self.program.coefficients;
        *self.place_of.entry(source).or_insert_with(|| {
            self.coefficients.push(Coefficients { source, at: next as usize, len });
            self.program.coefficients += len as u32;
            next
        })
    }

    fn step(&mut self, op: Op, units: u32, domain: Domain, inputs: &[u32]) -> u32 {
        let program = &mut self.program;
        let first = program.inputs.len() as u32;
        let learns = self.circuit_learns(op) || {
            let values = &self.program.values;
            inputs.iter().any(|&input| values[input as usize].learns)
        };
        let program = &mut self.program;
        program.inputs.extend(inputs.iter().map(|&value| Input { value, first: false }));
        let output = program.values.len() as u32;
        let step = program.steps.len() as u32;
        let inputs = (first, program.inputs.len() as u32);
        program.steps.push(Step { op, output, inputs });
        let (rows, exponent, gradient) = (NOWHERE, NOWHERE, NOWHERE);
        self.first_unit.push(match (self.first_unit.last(), program.values.last()) {
            (Some(first), Some(last)) => first + last.units,
            _ => 0,
        });
        program.values.push(Value { units, domain, step, rows, exponent, gradient, learns });
        output
    }

    /// Whether a step has coefficients of its own that are learned, or stands for a part; for queries,
    /// whether it is a leaf of a variable instead.
    fn circuit_learns(&self, op: Op) -> bool {
        let (at, column) = match op {
            Op::Lookup { column, table, .. }
            | Op::Gaussian { column, table }
            | Op::LogLookup { column, table, .. }
            | Op::Poisson { column, table } => (table, Some(column)),
            Op::Import { .. } => return true,
            _ => match op.weights() {
                Some(weights) => (weights, None),
                None => return false,
            },
        };
        if self.purpose == Purpose::Query {
            let is_variable = |at: u32| matches!(self.columns[at as usize], Column::Variable(_));
            return column.is_some_and(is_variable);
        }
        let found = self.coefficients.binary_search_by_key(&(at as usize), |entry| entry.at);
        found.is_ok_and(|index| match self.coefficients[index].source {
            Source::Dist(dist) => self.circuit.dists()[dist].learnable_len() > 0,
            Source::Weights(weights) => {
                !matches!(self.circuit.weights()[weights].source, WeightSource::Frozen(_))
            }
        })
    }
}
