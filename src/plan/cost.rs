//! What a plan costs: operations, bytes, and what its numbers might lose.

use serde::{Deserialize, Serialize};

use super::{LANES, Op, Plan, Program, Purpose, Step};
use crate::simd::PARTIAL;

/// Lane rows of the widest thing that a step forms on the way: its concatenated or multiplied inputs,
/// or the indicators of a look-up.
pub(super) fn scratch_rows(program: &Program) -> u32 {
    let widths = program.steps.iter().map(|step| {
        let own = program.values[step.output as usize].units;
        let formed = match step.op {
            Op::Sum { .. } | Op::Mix { .. } | Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
                program.formed(step)
            }
            Op::Lookup { states, .. } => states.min(INDICATORS as u32),
            _ => own,
        };
        formed.max(own)
    });
    widths.max().unwrap_or(0)
}

/// Multiply-adds a row of a forward pass.
pub(super) fn multiply_adds(program: &Program) -> u64 {
    program.steps.iter().map(|step| multiply_adds_of(program, step)).sum()
}

/// Those of one step.
pub(super) fn multiply_adds_of(program: &Program, step: &Step) -> u64 {
    let own = u64::from(program.values[step.output as usize].units);
    let inputs = program.inputs(step);
    let widths = inputs.iter().map(|input| u64::from(program.values[input.value as usize].units));
    match step.op {
        Op::Lookup { .. } | Op::LogLookup { .. } | Op::One | Op::Import { .. } => 0,
        Op::Gaussian { .. } => 3 * own,
        Op::Poisson { .. } => 2 * own,
        Op::Product | Op::Kronecker | Op::AddLogs | Op::Exponentiate => own,
        Op::Sum { .. } => own * widths.sum::<u64>(),
        Op::Mix { .. } => own * inputs.len() as u64,
        Op::Sparse { .. } => {
            program.lists(step).iter().map(|&(first, end)| u64::from(end - first)).sum()
        }
        Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
            let width = u64::from(program.formed(step));
            own * width + width
        }
    }
}

/// The most coefficients that are multiplied with each other before a product is brought back to
/// [1, 2), two more counted for each product itself. If every non-zero coefficient is at least 2^−f
/// and no weight is zero, then no product has a unit that is non-zero and smaller than
/// 2^−(f + 2)·chain beside its largest. `None` where inputs of different exponents meet, or densities.
pub(super) fn chain(program: &Program) -> Option<u32> {
    let mut chains: Vec<Option<u32>> = vec![None; program.values.len()];
    let mut normalised = vec![false; program.values.len()];
    let mut most = 1;
    for step in &program.steps {
        let inputs = program.inputs(step);
        let below = |index: usize| chains[inputs[index].value as usize];
        let chain = match step.op {
            Op::Lookup { .. } => 1,
            Op::One => 0,
            Op::Product | Op::Kronecker => below(0)?.checked_add(below(1)?)?,
            Op::ProductSum { .. } | Op::KroneckerSum { .. } => {
                most = most.max(below(0)?.checked_add(below(1)?)?);
                1
            }
            Op::Sum { .. } if inputs.len() == 1 && normalised[inputs[0].value as usize] => 1,
            Op::Sum { .. } if inputs.len() == 1 => below(0)?.checked_add(1)?,
            _ => return None,
        };
        most = most.max(chain);
        chains[step.output as usize] = Some(chain);
        normalised[step.output as usize] = matches!(step.op, Op::Product | Op::Kronecker);
    }
    Some(most)
}

/// Bytes of a run, by what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Activations of one worker: arenas of values, exponents, bounds and gradients, and scratch.
    pub worker: usize,
    /// The rows of a batch.
    pub data: usize,
    /// What parts hand to the head, and get back from it, for a batch.
    pub outputs: usize,
    /// What a worker makes weights in.
    pub making: usize,
    /// Coefficients; of a bounded plan a worker has those of its own.
    pub coefficients: usize,
    /// Gradients by coefficients, a copy a shard, with their partial sums, and by shared tensors, a
    /// copy a group.
    pub gradients: usize,
    /// Logits and their two moments, where the engine keeps them while it learns; what the caller keeps of
    /// them is not counted.
    pub learned: usize,
    /// The copy of the parameters that a bounded plan keeps for evaluations.
    pub parameters: usize,
}

impl Memory {
    /// Bytes that a limit counts, with so many workers: all but parameters.
    pub fn limited(&self, workers: usize) -> usize {
        self.total(workers) - self.parameters
    }

    /// Bytes in all with so many workers.
    pub fn total(&self, workers: usize) -> usize {
        let making = workers * self.making;
        let weights = self.coefficients + self.gradients + self.learned + self.parameters;
        self.activations(workers) + making + weights
    }

    /// Bytes of activations with so many workers.
    pub fn activations(&self, workers: usize) -> usize {
        workers * self.worker + self.outputs + self.data
    }
}

/// Partial sums that leave room for the rest of a tile in a second-level cache of a megabyte.
const CACHED_SUMS: usize = 1 << 17;

/// Numbers that buffers in one allocation may skip, so that each begins on a line of the cache.
const SLACK: usize = 16 * 5;

impl super::Making {
    /// Numbers of one worker in all.
    pub fn numbers(&self) -> usize {
        2 * self.tile + self.logits + self.own + self.work + SLACK
    }
}

/// Bytes of a number.
pub(super) const WORD: usize = 4;

impl Plan {
    /// Leaves the steps of learning to the caller, so that nothing is kept of what is learned. Bits are the same.
    pub fn leave_steps(&mut self) {
        self.making.learned = 0;
    }

    /// Bytes of a run.
    pub fn memory(&self) -> Memory {
        let row = LANES * WORD;
        let arenas = |program: &Program| {
            let rows = program.rows + 2 * program.exponents + program.gradient_rows;
            rows as usize * row
        };
        let scratch = (0..self.programs.len()).map(|p| self.scratch(p) * row);
        let worker =
            self.programs.iter().map(arenas).max().unwrap_or(0) + scratch.max().unwrap_or(0);
        // Of each row ln p in f64, and its number if it is in doubt.
        // How often it occurs, where it is read, and who stands for it.
        let per_row = self.tiles() * LANES * (2 * 8 + 5 * 4);
        let making_bytes = self.making.numbers() * WORD;
        if let Some(bounded) = &self.bounded {
            let bytes = self.bounded_bytes(bounded);
            return Memory {
                worker: worker + bytes.worker,
                data: 0,
                outputs: bytes.outputs + per_row,
                making: making_bytes,
                coefficients: 0,
                gradients: bytes.shared,
                learned: 0,
                parameters: bounded.parameters * WORD,
            };
        }
        let train = self.purpose == Purpose::Train;
        let outputs: usize =
            self.below_head().iter().map(|part| self.output_rows(part, train)).sum();
        let making = if train { self.making.shared * self.groups.len() } else { 0 };
        let partial = self.below_head().iter().map(|part| self.partial_sums(self.program(part)));
        let partial: usize = partial.sum();
        let (sharing, shared) = self.sharing_bytes();
        Memory {
            worker: worker + sharing,
            data: self.variables as usize * row * self.tiles(),
            outputs: outputs * self.tiles() * row + per_row + shared,
            making: making_bytes,
            coefficients: self.coefficients * WORD,
            gradients: if train {
                (self.shards as usize * (self.coefficients + partial) + making) * WORD
            } else {
                0
            },
            learned: if train { 3 * self.making.learned * WORD } else { 0 },
            parameters: 0,
        }
    }

    /// Lane rows of scratch that the steps of a program need: what is formed, its gradient, and
    /// partial sums of four of its rows; two inline inputs and their gradients; and
    /// [`SCRATCH_EXTRA`].
    pub fn scratch(&self, program: usize) -> usize {
        let program = &self.programs[program];
        3 * program.scratch_rows as usize + 4 * program.widest() + SCRATCH_EXTRA
    }

    /// Numbers of partial sums that each shard of a part keeps of its gradients by coefficients, so
    /// that it adds across vectors once for all tiles: [`PARTIAL`] for each, where there are several
    /// tiles and they stay in cache; else none.
    pub fn partial_sums(&self, program: &Program) -> usize {
        let len = program.coefficients as usize * PARTIAL;
        let several = self.tiles() > self.shards as usize;
        let wanted = self.purpose == Purpose::Train && several && len <= CACHED_SUMS;
        if wanted { len + PARTIAL } else { 0 }
    }

    /// Lane rows that a part hands to the head for a tile: its outputs' units, and a row of exponents
    /// and one of bounds for each; and, to train, gets back: gradients by the units.
    pub fn output_rows(&self, part: &super::Part, train: bool) -> usize {
        let program = self.program(part);
        let rows = |&output: &u32| {
            let units = program.values[output as usize].units as usize;
            units + 2 + if train { units } else { 0 }
        };
        program.outputs.iter().map(rows).sum()
    }

    /// Multiply-adds of a forward pass over one row.
    pub fn multiply_adds(&self) -> u64 {
        self.parts.iter().map(|part| self.program(part).multiply_adds).sum()
    }

    /// Steps of all parts.
    pub fn stages(&self) -> usize {
        self.parts.iter().map(|part| self.program(part).steps.len()).sum()
    }

    /// The most regions alive at once in any part below the head.
    pub fn live_regions(&self) -> u32 {
        let parts = self.below_head().iter().map(|part| self.program(part).live_regions);
        parts.max().unwrap_or_else(|| self.program(self.head()).live_regions)
    }
}

/// Lane rows of scratch besides what is formed: the indicators of a look-up, and a row of scales.
pub const SCRATCH_EXTRA: usize = INDICATORS + 1;

/// States up to which a look-up is a product with indicators, and may be made inline.
pub const INDICATORS: usize = 8;
