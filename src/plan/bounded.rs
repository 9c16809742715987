//! Plans that keep little at a time: segments instead of whole parts.
//!
//! The parts of a *bounded* plan are the segments of [`super::segments`], each after those it imports,
//! and the head the last. Groups of segments that import nothing are independent of each other, and so
//! many of them make up a *wave*, which several workers share. What a worker makes for a group, its
//! weights, its rows and its values, is forgotten after it; what lasts from wave to wave is what
//! segments hand on, and that has places in one arena. To evaluate, a place is free again once it was
//! read, so that of a balanced tree over n variables O(log n) values are alive at once: the bound of
//! Shih et al. 2021, Corollary 1. To train, all of them are kept, n/s values for segments of s
//! variables; weights and values within a segment are made again on the way back.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::arena::{Tenant, allocate};
use super::build::{Cut, plan, planned};
use super::cost::WORD;
use super::segments::segments;
use super::{Group, LANES, Options, Part, Plan, Program, Purpose, Schedule, Sharing, sparse};
use crate::circuit::{ValidCircuit, Weights};
use crate::sector::Parameters;

/// How the segments of a bounded plan follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounded {
    /// Runs of groups, the first and the first after them; the last is the head by itself.
    pub waves: Vec<(u32, u32)>,
    /// Where what each segment hands on lies in the arena: its first lane row, those of one wave side by
    /// side. The head hands nothing on.
    pub places: Vec<Place>,
    /// Lane rows of the arena, for each tile.
    pub rows: u32,
    /// Rows of exponents, and of bounds, for each tile.
    pub exponents: u32,
    /// Numbers of the parameters, of which an engine keeps a copy for evaluations.
    pub parameters: usize,
}

/// Where the output of a segment lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The first lane row of its units.
    pub rows: u32,
    /// Its row of exponents, and of bounds.
    pub exponent: u32,
}

/// Groups that a wave has at most: enough to keep many threads busy, few enough that a gradient by the
/// shared tensors for each takes little.
const WAVE: usize = 32;

/// Nodes of the smallest segments: of a RAT-SPN those over 64 variables, 63 of whose regions are
/// products. Segments above them have then no more inputs than that.
const SMALLEST: usize = 100;
/// From one size of segments to the next: two levels of a binary tree.
const STEP: usize = 4;

/// A plan that takes no more than `limit` bytes with one worker ([`super::Memory::limited`]): that of the
/// options' schedule, else a depth-first one, else a bounded one; each without steps of learning on the engine, if
/// there is no room for what these take. Which one it is does not depend on the number of threads.
///
/// # Errors
/// The bytes of the least of them.
pub fn within(
    circuit: &ValidCircuit,
    parameters: &Parameters,
    options: &Options,
    limit: usize,
) -> Result<Plan, usize> {
    let whole = |schedule| plan(circuit, parameters, &Options { schedule, ..*options });
    let least_whole = least_whole(circuit, options);
    let schedules = [options.schedule, Schedule::Deep].into_iter();
    let schedules = schedules.take_while(|_| least_whole <= limit);
    let by_segments = std::iter::once_with(|| bounded(circuit, parameters, options)).flatten();
    let mut least = None;
    for mut plan in schedules.map(whole).chain(by_segments) {
        if plan.memory().limited(1) > limit {
            plan.leave_steps();
        }
        let bytes = plan.memory().limited(1);
        if bytes <= limit {
            return Ok(plan);
        }
        least = least.map_or(Some(bytes), |least: usize| Some(least.min(bytes)));
    }
    // Segments may take more than the depth-first plan, and a circuit that cannot be cut has none.
    if let Some(least) = least.filter(|&least| least <= least_whole) {
        return Err(least);
    }
    let mut deep = whole(Schedule::Deep);
    deep.leave_steps();
    let deep = deep.memory().limited(1);
    Err(least.map_or(deep, |least| least.min(deep)))
}

/// What a plan of whole parts keeps in any case: all weights, to train their gradients too, and the rows.
/// Where that is too much, the plan need not be made.
fn least_whole(circuit: &ValidCircuit, options: &Options) -> usize {
    let weights: usize = circuit.weights().values().map(Weights::len).sum();
    let copies = if options.purpose == Purpose::Train { 2 } else { 1 };
    let rows = (options.batch as usize).next_multiple_of(LANES);
    (copies * weights + circuit.variables().len() * rows) * WORD
}

/// The plan that takes least memory among those that keep segments one by one. Which one that is does not
/// depend on the number of threads. `None` for a circuit that cannot be cut, one of sparse sums, and for
/// queries, whose way back goes through whole parts.
pub fn bounded(circuit: &ValidCircuit, parameters: &Parameters, options: &Options) -> Option<Plan> {
    let size = match options.purpose {
        Purpose::Query => return None,
        Purpose::Evaluate => SMALLEST,
        Purpose::Train => best_size(circuit, options.batch),
    };
    bounded_by(circuit, parameters, options, size)
}

/// The plan of segments of at least `size` nodes each. `None` for a circuit that cannot be cut, one of
/// sparse sums, and for queries.
pub fn bounded_by(
    circuit: &ValidCircuit,
    parameters: &Parameters,
    options: &Options,
    size: usize,
) -> Option<Plan> {
    let blocks = sparse::find(circuit);
    if !blocks.is_empty() || options.purpose == Purpose::Query {
        return None;
    }
    let options = Options { schedule: Schedule::Deep, sharing: Sharing::Off, ..*options };
    let segments = segments(circuit, size);
    let mut plan = planned(circuit, parameters, &options, &blocks, &segments, Cut::Segments);
    plan.bounded = Some(Bounded::of(&plan, parameters.learnable()));
    Some(plan)
}

/// The size of segments for which what they hand on and what one of them needs take least together, on
/// the way back.
fn best_size(circuit: &ValidCircuit, batch: u32) -> usize {
    let rows = (batch as usize).next_multiple_of(LANES);
    let bytes = |size: usize| {
        let segments = segments(circuit, size);
        let units =
            |nodes: &[_]| -> usize { nodes.iter().map(|&node| circuit.units(node) as usize).sum() };
        let handed: usize = segments.iter().map(|segment| units(&segment.outputs)).sum();
        let weights = |nodes: &[_]| -> usize {
            let ids = nodes.iter().filter_map(|&node| circuit.op(node).weights());
            ids.map(|id| circuit.weights()[id].len()).sum()
        };
        let own = |nodes: &[_]| units(nodes) * LANES + weights(nodes);
        let largest = segments.iter().map(|segment| own(&segment.nodes)).max();
        2 * (handed * rows + largest.unwrap_or(0))
    };
    let sizes = std::iter::successors(Some(SMALLEST), |&size| Some(size * STEP));
    let sizes = sizes.take_while(|&size| size < STEP * circuit.order().len());
    sizes.min_by_key(|&size| bytes(size)).unwrap_or(SMALLEST)
}

impl Bounded {
    fn of(plan: &Plan, parameters: usize) -> Self {
        let waves = waves(plan);
        let reader = readers(plan);
        let parts = |&wave: &(u32, u32)| parts_of(&plan.groups, wave);
        let last = waves.len() as u32;
        let mut wave_of = vec![0; plan.parts.len()];
        for (number, wave) in waves.iter().enumerate() {
            wave_of[parts(wave)].fill(number as u32);
        }
        let tenant = |(number, wave): (usize, &(u32, u32)), of_part: &dyn Fn(usize) -> u32| {
            let read = parts(wave).map(|part| wave_of[reader[part] as usize]).max();
            let end = if plan.purpose == Purpose::Train { last } else { read.unwrap_or(0) + 1 };
            Tenant { life: number as u32..end, size: parts(wave).map(of_part).sum() }
        };
        let handed = |part: usize| if part + 1 < plan.parts.len() { 1 } else { 0 };
        let units = |part: usize| handed(part) * plan.output_units(&plan.parts[part]);
        let tenants = |of_part: &dyn Fn(usize) -> u32| -> Vec<Tenant> {
            waves.iter().enumerate().map(|wave| tenant(wave, of_part)).collect()
        };
        let (rows, all_rows) = allocate(&tenants(&units));
        let (exponents, all_exponents) = allocate(&tenants(&handed));
        let mut places = vec![Place::default(); plan.parts.len()];
        for (wave, (&row, &exponent)) in waves.iter().zip(rows.iter().zip(&exponents)) {
            let mut next = Place { rows: row, exponent };
            for part in parts(wave) {
                places[part] = next;
                next.rows += units(part);
                next.exponent += handed(part);
            }
        }
        Bounded { waves, places, rows: all_rows, exponents: all_exponents, parameters }
    }
}

/// The parts of a run of groups.
fn parts_of(groups: &[Group], (first, end): (u32, u32)) -> Range<usize> {
    groups[first as usize].parts.0 as usize..groups[end as usize - 1].parts.1 as usize
}

/// Runs of groups none of whose parts imports anything; other groups by themselves.
fn waves(plan: &Plan) -> Vec<(u32, u32)> {
    let imports = |group: &Group| {
        let parts = &plan.parts[group.parts.0 as usize..group.parts.1 as usize];
        parts.iter().any(|part| !part.imports.is_empty())
    };
    let mut waves: Vec<(u32, u32)> = Vec::new();
    let mut open = false;
    for (number, group) in plan.groups.iter().enumerate() {
        let alone = imports(group) || number + 1 == plan.groups.len();
        let end = number as u32 + 1;
        match waves.last_mut() {
            Some(wave) if open && !alone && ((wave.1 - wave.0) as usize) < WAVE => wave.1 = end,
            _ => waves.push((number as u32, end)),
        }
        open = !alone;
    }
    waves
}

/// The part that reads what each hands on; the head, which hands nothing on, has itself.
fn readers(plan: &Plan) -> Vec<u32> {
    let mut reader: Vec<u32> = (0..plan.parts.len() as u32).collect();
    for (number, part) in plan.parts.iter().enumerate() {
        part.imports.iter().for_each(|&from| reader[from as usize] = number as u32);
    }
    reader
}

/// Bytes of a bounded plan, by what holds them.
pub(super) struct Bytes {
    /// What one worker has besides arenas of values: weights, their gradients, rows, columns.
    pub(super) worker: usize,
    /// What segments hand on, and get back.
    pub(super) outputs: usize,
    /// Gradients by shared tensors, one for each group of a wave.
    pub(super) shared: usize,
}

impl Plan {
    /// Units that a part hands on.
    pub fn output_units(&self, part: &Part) -> u32 {
        let program = self.program(part);
        program.outputs.iter().map(|&output| program.values[output as usize].units).sum()
    }

    /// The parts of a wave.
    pub fn parts_of_wave(&self, wave: (u32, u32)) -> Range<usize> {
        parts_of(&self.groups, wave)
    }

    /// The most groups of a wave.
    pub fn widest_wave(&self) -> usize {
        let waves = self.bounded.iter().flat_map(|bounded| &bounded.waves);
        waves.map(|&(first, end)| (end - first) as usize).max().unwrap_or(0)
    }

    /// Numbers of coefficients that a worker of a bounded plan has room for: those of the largest first
    /// part of any group, of the largest second one, and so on.
    pub fn slots(&self) -> Vec<usize> {
        let mut slots: Vec<usize> = Vec::new();
        for group in &self.groups {
            let parts = &self.parts[group.parts.0 as usize..group.parts.1 as usize];
            slots.resize(slots.len().max(parts.len()), 0);
            for (slot, part) in slots.iter_mut().zip(parts) {
                *slot = (*slot).max(self.program(part).coefficients as usize);
            }
        }
        slots
    }

    /// The most columns of a part.
    pub fn most_columns(&self) -> usize {
        self.parts.iter().map(|part| part.columns.len()).max().unwrap_or(0)
    }

    /// Bytes of a bounded plan.
    pub(super) fn bounded_bytes(&self, bounded: &Bounded) -> Bytes {
        let train = self.purpose == Purpose::Train;
        let both = if train { 2 } else { 1 };
        let coefficients = both * self.slots().iter().sum::<usize>() * WORD;
        let columns = self.most_columns() * (LANES * WORD + size_of::<super::Column>());
        let rows = both * bounded.rows as usize + 2 * bounded.exponents as usize;
        let shared = if train { self.making.shared * self.widest_wave() * WORD } else { 0 };
        Bytes {
            worker: coefficients + columns,
            outputs: rows * LANES * WORD * self.tiles(),
            shared,
        }
    }
}

/// The programs of parts are told by number of import, not by part, so that those of one form agree.
pub(super) fn renumber_imports(program: &mut Program) -> Vec<u32> {
    let mut imports: Vec<u32> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for step in &mut program.steps {
        if let super::Op::Import { part, .. } = &mut step.op {
            let slot = *known.entry(*part).or_insert_with(|| {
                imports.push(*part);
                imports.len() as u32 - 1
            });
            *part = slot;
        }
    }
    imports
}
