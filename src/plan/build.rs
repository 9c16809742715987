//! From a circuit to a plan.
//!
//! Each part is emitted by itself; parts whose programs come out equal share one. Then every value
//! gets its place. Time is linear in the circuit, up to a logarithm.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::arena::{Tenant, allocate};
use super::blocks::{groups, groups_of_segments, making};
use super::bounded::renumber_imports;
use super::emit::{Emitted, emit};
use super::parts::{Component, components};
use super::sharing::shared;
use super::sparse::{self, Blocks};
use super::{LANES, NOWHERE, Op, Part, Plan, Program, Purpose, Schedule, Value, cost};
use crate::circuit::{ValidCircuit, WeightSource};
use crate::ids::NodeId;
use crate::sector::Parameters;

/// What a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Likelihoods alone, or gradients or conditionals too.
    pub purpose: Purpose,
    /// The order of steps.
    pub schedule: Schedule,
    /// Rows at a time, at least 1.
    pub batch: u32,
    /// Where values are shared between rows that agree on what they depend on. A depth-first
    /// schedule keeps too few values at a time for that, and shares none.
    pub sharing: Sharing,
}

/// Where values are shared between rows that agree on what they depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// Nowhere: every row is evaluated in full.
    Off,
    /// Where that is expected to take less time.
    #[default]
    WherePays,
    /// Wherever it can be, even where it is expected to take longer.
    Wherever,
}

/// Tasks that a backward pass should have at least, so that many threads find work.
const TASKS: usize = 16;

/// Plans a circuit. `parameters` says how its weights are made; weights that the circuit does not use
/// any more are not made.
pub fn plan(circuit: &ValidCircuit, parameters: &Parameters, options: &Options) -> Plan {
    let blocks = sparse::find(circuit);
    let mut components = if blocks.is_empty() { components(circuit) } else { Vec::new() };
    let root = vec![circuit.root()];
    let nodes = if components.is_empty() { circuit.order().to_vec() } else { root.clone() };
    components.push(Component { outputs: root, nodes });
    planned(circuit, parameters, options, &blocks, &components, Cut::Parts)
}

/// What the components of a circuit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Parts that share nothing, and the head.
    Parts,
    /// Segments that import others before them, the last of which is the head.
    Segments,
}

/// Plans components, of which the last is the head.
pub(super) fn planned(
    circuit: &ValidCircuit,
    parameters: &Parameters,
    options: &Options,
    blocks: &Blocks,
    components: &[Component],
    cut: Cut,
) -> Plan {
    let mut planner = Planner {
        circuit,
        blocks,
        options,
        cut,
        programs: Vec::new(),
        number: HashMap::new(),
        parts: Vec::new(),
        coefficients: 0,
    };
    let nothing = HashMap::new();
    let mut imports = HashMap::new();
    for (part, Component { outputs, nodes }) in components.iter().enumerate() {
        // Parts may read a leaf that another hands to the head; they make it themselves.
        let is_head = part + 1 == components.len();
        let known = if is_head || cut == Cut::Segments { &imports } else { &nothing };
        planner.part(outputs, nodes, known);
        for (output, &node) in outputs.iter().enumerate() {
            imports.insert(node, (part as u32, output as u32));
        }
    }
    let Planner { programs, parts, coefficients, .. } = planner;
    let tiles = (options.batch as usize).div_ceil(LANES);
    let below_head = (parts.len() - 1).max(1);
    let groups = match cut {
        Cut::Parts => groups(parameters, &parts),
        Cut::Segments => groups_of_segments(parameters, &parts),
    };
    let shards = match cut {
        Cut::Parts => TASKS.div_ceil(below_head).min(tiles).max(1),
        Cut::Segments => 1,
    };
    let sectors = groups.iter().flat_map(|group| &group.blocks).map(|block| block.sectors.len());
    let shares = options.sharing != Sharing::Off
        && options.schedule == Schedule::Wide
        && options.purpose != Purpose::Query;
    let mut plan = Plan {
        purpose: options.purpose,
        schedule: options.schedule,
        batch: options.batch,
        shards: shards as u32,
        sectors: sectors.sum::<usize>() as u32,
        policy: options.sharing,
        sharing: Vec::new(),
        keeps: false,
        bounded: None,
        programs,
        parts,
        making: making(parameters, &groups),
        groups,
        coefficients,
        variables: circuit.variables().len() as u32,
    };
    let rows = plan.shard_rows();
    let of = |program| shares.then(|| shared(program, rows)).flatten();
    let sharing: Vec<_> = plan.programs.iter().map(of).collect();
    plan.sharing = sharing;
    plan.keeps = plan.may_keep();
    plan
}

struct Planner<'a> {
    circuit: &'a ValidCircuit,
    blocks: &'a Blocks,
    options: &'a Options,
    cut: Cut,
    programs: Vec<Program>,
    number: HashMap<Program, u32>,
    parts: Vec<Part>,
    coefficients: usize,
}

impl Planner<'_> {
    fn part(
        &mut self,
        outputs: &[NodeId],
        nodes: &[NodeId],
        imports: &HashMap<NodeId, (u32, u32)>,
    ) {
        let schedule = self.options.schedule;
        let purpose = self.options.purpose;
        let order = (schedule, purpose);
        let emitted = emit(self.circuit, self.blocks, outputs, nodes, imports, order);
        let Emitted { mut program, columns, mut coefficients } = emitted;
        place(&mut program, purpose);
        let imports = match self.cut {
            Cut::Parts => (0..program_imports(&program)).collect(),
            Cut::Segments => renumber_imports(&mut program),
        };
        let first_coefficient = self.coefficients;
        coefficients.iter_mut().for_each(|entry| entry.at += first_coefficient);
        self.coefficients += program.coefficients as usize;
        let has_zeros = coefficients.iter().any(|entry| match entry.source {
            super::Source::Weights(id) => match &self.circuit.weights()[id].source {
                WeightSource::Given(values) | WeightSource::Frozen(values) => values.contains(&0.0),
                _ => false,
            },
            super::Source::Dist(_) => false,
        });
        let program = match self.number.get(&program) {
            Some(&number) => number,
            None => {
                let number = self.programs.len() as u32;
                self.programs.push(program.clone());
                self.number.insert(program, number);
                number
            }
        };
        let part = Part { program, columns, imports, first_coefficient, coefficients, has_zeros };
        self.parts.push(part);
    }
}

/// One more than the last part that a program imports.
fn program_imports(program: &Program) -> u32 {
    let imports = program.steps.iter().filter_map(|step| match step.op {
        Op::Import { part, .. } => Some(part + 1),
        _ => None,
    });
    imports.max().unwrap_or(0)
}

/// Gives every value its place, and the program its sizes.
fn place(program: &mut Program, purpose: Purpose) {
    let readers = Readers::of(program);
    for value in 0..program.values.len() {
        program.values[value].rows = if readers.is_inline(program, value) { NOWHERE } else { 0 };
    }
    mark_first_gradients(program);
    let lives = Lives { steps: program.steps.len() as u32, purpose, readers: &readers };
    let stored = |value: &Value| !value.is_inline();
    let values: Vec<Tenant> = (program.values.iter().enumerate())
        .map(|(id, value)| Tenant {
            life: lives.value(id, value),
            size: if stored(value) { value.units } else { 0 },
        })
        .collect();
    let exponents: Vec<Tenant> = (program.values.iter().enumerate())
        .map(|(id, value)| Tenant {
            life: lives.exponent(program, id, value),
            size: u32::from(stored(value) && has_exponent(program, value)),
        })
        .collect();
    let gradients: Vec<Tenant> = (program.values.iter().enumerate())
        .map(|(id, value)| Tenant {
            life: lives.gradient(id, value),
            size: if stored(value) && value.learns { value.units } else { 0 },
        })
        .collect();
    program.live_regions = live_regions(program, &readers);
    let (rows, exponent_rows, gradient_rows);
    (rows, program.rows) = allocate(&values);
    (exponent_rows, program.exponents) = allocate(&exponents);
    (gradient_rows, program.gradient_rows) = match purpose.goes_back() {
        true => allocate(&gradients),
        false => (Vec::new(), 0),
    };
    for id in 0..program.values.len() {
        let value = &mut program.values[id];
        if values[id].size > 0 {
            value.rows = rows[id];
        }
        if exponents[id].size > 0 {
            value.exponent = exponent_rows[id];
        }
        if purpose.goes_back() && gradients[id].size > 0 {
            value.gradient = gradient_rows[id];
        }
    }
    place_terms(program);
    program.scratch_rows = cost::scratch_rows(program);
    program.multiply_adds = cost::multiply_adds(program);
    program.chain = cost::chain(program);
}

/// Brings the terms of sparse sums from numbers of units, all values' units counted on, to lane rows.
fn place_terms(program: &mut Program) {
    let mut total = 0;
    let first = |value: &Value| {
        total += value.units;
        total - value.units
    };
    let first: Vec<u32> = program.values.iter().map(first).collect();
    let row = |unit: u32| {
        let value = first.partition_point(|&first| first <= unit) - 1;
        program.values[value].rows + (unit - first[value])
    };
    for term in &mut program.terms {
        term.left = row(term.left);
        if term.right != NOWHERE {
            term.right = row(term.right);
        }
    }
}

/// Whether a value can have exponents other than zero.
fn has_exponent(program: &Program, value: &Value) -> bool {
    !matches!(
        program.steps[value.step as usize].op,
        Op::Lookup { .. }
            | Op::Gaussian { .. }
            | Op::LogLookup { .. }
            | Op::Poisson { .. }
            | Op::AddLogs
            | Op::One
    )
}

/// The steps that read each value.
struct Readers {
    first: Vec<u32>,
    last: Vec<u32>,
    /// Whether every reader makes an inline input for itself.
    simple: Vec<bool>,
    /// Whether a reader brings several inputs to one exponent.
    aligned: Vec<bool>,
    /// Whether a sparse sum reads it.
    sparse: Vec<bool>,
    is_output: Vec<bool>,
}

impl Readers {
    fn of(program: &Program) -> Self {
        let count = program.values.len();
        let mut readers = Readers {
            first: vec![NOWHERE; count],
            last: vec![NOWHERE; count],
            simple: vec![true; count],
            aligned: vec![false; count],
            sparse: vec![false; count],
            is_output: vec![false; count],
        };
        for (index, step) in program.steps.iter().enumerate() {
            let inputs = program.inputs(step);
            let several = inputs.len() > 1 && matches!(step.op, Op::Sum { .. });
            let aligns = several || matches!(step.op, Op::Mix { .. });
            let is_sparse = matches!(step.op, Op::Sparse { .. });
            let stored = is_sparse || matches!(step.op, Op::AddLogs | Op::Exponentiate);
            for input in inputs {
                let value = input.value as usize;
                if readers.first[value] == NOWHERE {
                    readers.first[value] = index as u32;
                }
                readers.last[value] = index as u32;
                readers.simple[value] &= !aligns && !stored;
                readers.aligned[value] |= aligns;
                readers.sparse[value] |= is_sparse;
            }
        }
        program.outputs.iter().for_each(|&output| readers.is_output[output as usize] = true);
        readers
    }

    fn is_inline(&self, program: &Program, value: usize) -> bool {
        let op = program.steps[program.values[value].step as usize].op;
        matches!(op, Op::Lookup { states, .. } if states as usize <= cost::INDICATORS)
            && self.simple[value]
            && !self.is_output[value]
    }
}

/// When things live. Step s runs forward at time s and backward at time 2·steps − s.
struct Lives<'a> {
    steps: u32,
    purpose: Purpose,
    readers: &'a Readers,
}

impl Lives<'_> {
    fn back(&self, step: u32) -> u32 {
        2 * self.steps - step
    }

    fn last_reader(&self, id: usize, value: &Value) -> u32 {
        match (self.readers.is_output[id], self.readers.last[id]) {
            (true, _) => self.steps,
            (false, NOWHERE) => value.step + 1,
            (false, last) => last,
        }
    }

    fn value(&self, id: usize, value: &Value) -> std::ops::Range<u32> {
        let end = match self.purpose.goes_back() {
            false => self.last_reader(id, value),
            true => self.back(value.step) + 1,
        };
        value.step..end.max(value.step + 1)
    }

    fn exponent(&self, program: &Program, id: usize, value: &Value) -> std::ops::Range<u32> {
        // Going back, a sparse sum finds from its own exponents and its inputs' what it was divided by.
        let queried = self.purpose == Purpose::Query;
        let is_sparse = matches!(program.steps[value.step as usize].op, Op::Sparse { .. });
        let aligned = self.purpose.goes_back() && self.readers.aligned[id];
        let end = if queried && is_sparse {
            self.back(value.step) + 1
        } else if aligned || queried && self.readers.sparse[id] {
            self.back(self.readers.first[id]) + 1
        } else {
            self.last_reader(id, value)
        };
        value.step..end.max(value.step + 1)
    }

    fn gradient(&self, id: usize, value: &Value) -> std::ops::Range<u32> {
        let begin = match (self.readers.is_output[id], self.readers.last[id]) {
            (true, _) | (false, NOWHERE) => self.steps,
            (false, last) => self.back(last),
        };
        begin..self.back(value.step)
    }
}

/// Marks, for each value, the input through which a gradient reaches it first on the way back.
fn mark_first_gradients(program: &mut Program) {
    let mut reached = vec![false; program.values.len()];
    // The head's gradients are there before the first step back.
    program.outputs.iter().for_each(|&output| reached[output as usize] = true);
    for step in program.steps.iter().rev() {
        for input in step.inputs.0..step.inputs.1 {
            let input = &mut program.inputs[input as usize];
            input.first = !std::mem::replace(&mut reached[input.value as usize], true);
        }
    }
}

fn live_regions(program: &Program, readers: &Readers) -> u32 {
    let mut alive = 0u32;
    let mut most = 0;
    for (index, step) in program.steps.iter().enumerate() {
        if program.values[step.output as usize].is_inline() {
            continue;
        }
        let mut inputs: Vec<u32> = program.inputs(step).iter().map(|input| input.value).collect();
        let inline = inputs.iter().filter(|&&v| program.values[v as usize].is_inline()).count();
        most = most.max(alive + inline as u32);
        inputs.sort_unstable();
        inputs.dedup();
        let ends = |&&value: &&u32| {
            let id = value as usize;
            readers.last[id] == index as u32
                && !readers.is_output[id]
                && !program.values[id].is_inline()
        };
        alive -= inputs.iter().filter(ends).count() as u32;
        alive += 1;
        most = most.max(alive);
    }
    most
}
