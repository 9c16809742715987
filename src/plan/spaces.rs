//! Which values of a program depend on the same columns: what sharing is made of.
//!
//! A value of discrete columns depends on a row through its *sub-assignment* alone, the row's states on
//! the value's scope; rows that agree there have the same value. A [`Space`] stands for the
//! sub-assignments of one scope, and a [`Projection`] for what they are on a part of it. An engine
//! evaluates a value once for each entry of its space that a batch needs, and finds the entries that
//! the value's inputs need by projections.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{NOWHERE, Op, Program, Step};

/// Columns of the widest scope whose sub-assignments may be told by their number: a table.
const MOST_COLUMNS: usize = 8;

/// The sub-assignments of one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// How many columns the scope has.
    pub width: u32,
    /// The columns, ascending, if there are few of them; else none.
    pub columns: Vec<u32>,
}

/// From a space to one of fewer columns, all among its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Projection {
    /// Whose entries are projected.
    pub from: u32,
    /// What they become.
    pub to: u32,
}

/// The spaces of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spaces {
    /// The spaces, of few columns first.
    pub spaces: Vec<Space>,
    /// That of each value.
    pub of_value: Vec<u32>,
    /// The projections, by the space they come from.
    pub projections: Vec<Projection>,
    /// For each of [`Program::inputs`], the projection from the space of the step's output;
    /// [`NOWHERE`] if the spaces are the same.
    pub through: Vec<u32>,
    /// The two projections whose results together tell an entry of a space; [`NOWHERE`] for a space of
    /// a single column or none.
    pub halves: Vec<[u32; 2]>,
    /// Number of states of each column.
    pub states: Vec<u32>,
}

/// A scope while spaces are found: 128 bits that stand for a set of columns, the sum of a number for
/// each. Two sets among a million would be confused with a probability below 2^−88.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Scope {
    sum: u128,
    width: u32,
}

impl Scope {
    const EMPTY: Scope = Scope { sum: 0, width: 0 };

    fn of(column: u32) -> Self {
        let half = |seed: u64| u128::from(mixed(seed.wrapping_add(u64::from(column))));
        Scope { sum: half(0x9e37_79b9_7f4a_7c15) << 64 | half(0xd1b5_4a32_d192_ed03), width: 1 }
    }

    /// Of two scopes that share no column.
    fn and(self, other: Scope) -> Self {
        Scope { sum: self.sum.wrapping_add(other.sum), width: self.width + other.width }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The spaces of a program, if all of it is tables, products and sums over one input: what an engine
/// can evaluate entry by entry. `None` for another.
pub(super) fn spaces(program: &Program) -> Option<Spaces> {
    program.chain?;
    let mut found = Finder::default();
    for step in &program.steps {
        let inputs = program.inputs(step);
        let below = |index: usize| found.scopes[inputs[index].value as usize];
        let scope = match step.op {
            Op::Lookup { column, states, .. } => {
                found.see(column, states);
                Scope::of(column)
            }
            Op::One => Scope::EMPTY,
            Op::Product | Op::Kronecker | Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
                below(0).and(below(1))
            }
            Op::Sum { .. } if inputs.len() == 1 => below(0),
            _ => return None,
        };
        found.scopes.push(scope);
        let space = found.space(scope, step.op, inputs.iter().map(|input| input.value as usize));
        found.of_value.push(space);
    }
    // Emitted in order: a step's output is the value of its own number.
    let in_order = program.steps.iter().enumerate().all(|(at, step)| step.output as usize == at);
    in_order.then(|| found.finish(program))
}

/// The first step that cannot be run entry by entry.
pub(super) fn unshared_step(program: &Program) -> Option<&Step> {
    program.steps.iter().find(|step| match step.op {
        Op::Lookup { .. } | Op::One | Op::Product | Op::Kronecker => false,
        Op::ProductSum { .. } | Op::KroneckerSum { .. } => false,
        Op::Sum { .. } => program.inputs(step).len() != 1,
        _ => true,
    })
}

#[derive(Default)]
struct Finder {
    scopes: Vec<Scope>,
    of_value: Vec<u32>,
    spaces: Vec<Space>,
    number: HashMap<Scope, u32>,
    /// For each space, the spaces of the two inputs of the value that it was made for.
    halves: Vec<Option<[u32; 2]>>,
    states: Vec<u32>,
}

impl Finder {
    fn see(&mut self, column: u32, states: u32) {
        let column = column as usize;
        if self.states.len() <= column {
            self.states.resize(column + 1, 1);
        }
        self.states[column] = self.states[column].max(states);
    }

    fn space(&mut self, scope: Scope, op: Op, inputs: impl Iterator<Item = usize>) -> u32 {
        if let Some(&number) = self.number.get(&scope) {
            return number;
        }
        let below: Vec<u32> = inputs.map(|value| self.of_value[value]).collect();
        let columns = match op {
            Op::Lookup { column, .. } => vec![column],
            _ if scope.width as usize <= MOST_COLUMNS => {
                let own = |&space: &u32| self.spaces[space as usize].columns.iter().copied();
                let mut columns: Vec<u32> = below.iter().flat_map(own).collect();
                columns.sort_unstable();
                columns
            }
            _ => Vec::new(),
        };
        let number = self.spaces.len() as u32;
        self.spaces.push(Space { width: scope.width, columns });
        self.halves.push(below.try_into().ok());
        self.number.insert(scope, number);
        number
    }

    /// Puts spaces in order, and adds the projections that the steps need.
    fn finish(self, program: &Program) -> Spaces {
        let Finder { of_value, spaces, halves, states, .. } = self;
        let mut order: Vec<u32> = (0..spaces.len() as u32).collect();
        order.sort_by_key(|&space| spaces[space as usize].width);
        let mut place = vec![0; spaces.len()];
        order.iter().enumerate().for_each(|(at, &space)| place[space as usize] = at as u32);
        let of_value: Vec<u32> = of_value.iter().map(|&space| place[space as usize]).collect();
        let mut pairs: Vec<Projection> = Vec::new();
        for step in &program.steps {
            let from = of_value[step.output as usize];
            for input in program.inputs(step) {
                let to = of_value[input.value as usize];
                if from != to {
                    pairs.push(Projection { from, to });
                }
            }
        }
        pairs.sort_unstable_by_key(|pair| (pair.from, pair.to));
        pairs.dedup();
        let number: HashMap<Projection, u32> =
            pairs.iter().enumerate().map(|(at, &pair)| (pair, at as u32)).collect();
        let through = |from: u32, to: u32| number.get(&Projection { from, to }).copied();
        let mut of_input = vec![NOWHERE; program.inputs.len()];
        for step in &program.steps {
            let from = of_value[step.output as usize];
            for at in step.inputs.0..step.inputs.1 {
                let to = of_value[program.inputs[at as usize].value as usize];
                of_input[at as usize] = through(from, to).unwrap_or(NOWHERE);
            }
        }
        let halves_of = |&space: &u32| match halves[space as usize] {
            Some(halves) => halves.map(|half| {
                through(place[space as usize], place[half as usize]).unwrap_or(NOWHERE)
            }),
            None => [NOWHERE; 2],
        };
        let halves = order.iter().map(halves_of).collect();
        let spaces = order.iter().map(|&space| spaces[space as usize].clone()).collect();
        Spaces { spaces, of_value, projections: pairs, through: of_input, halves, states }
    }
}

impl Spaces {
    /// Sub-assignments of a space, if it is one of few columns; with `missing`, each column may lack a
    /// value.
    pub fn domain(&self, space: usize, missing: bool) -> Option<u64> {
        let Space { width, columns } = &self.spaces[space];
        let states = |&column: &u32| u64::from(self.states[column as usize] + u32::from(missing));
        (columns.len() == *width as usize)
            .then(|| columns.iter().map(states).fold(1, u64::saturating_mul))
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        let columns: usize = self.spaces.iter().map(|space| space.columns.len()).sum();
        self.spaces.len() * (size_of::<Space>() + size_of::<[u32; 2]>())
            + self.projections.len() * size_of::<Projection>()
            + size_of::<u32>()
                * (columns + self.of_value.len() + self.through.len() + self.states.len())
    }

    /// The projections from a space, as a range of [`Spaces::projections`].
    pub fn from_space(&self, space: usize) -> std::ops::Range<usize> {
        let first = |space: usize| {
            self.projections.partition_point(|projection| (projection.from as usize) < space)
        };
        first(space)..first(space + 1)
    }

    /// Where the projections from a space begin, of which the last is before `end`.
    pub(crate) fn first_before(&self, space: usize, end: usize) -> usize {
        let others = self.projections[..end].iter();
        others.rev().position(|pair| pair.from as usize != space).map_or(0, |own| end - own)
    }
}
