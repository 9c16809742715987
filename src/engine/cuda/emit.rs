//! The source of the kernels: the files under `kernels/`, behind the constants that a plan needs.
//!
//! A device reads the steps of a program from tables, so the text depends on a plan by a few constants
//! alone: which operations occur, which widths are kept in registers, how many threads a block has, and
//! where its arena lies. Plans of one kind share one compiled module.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::tables::{self, OPS, Tables};
use crate::plan::{Op, Plan};

/// The files, in the order in which they build on each other.
const FILES: [(&str, &str); 10] = [
    ("program.cuh", include_str!("../../../kernels/program.cuh")),
    ("lane.cuh", include_str!("../../../kernels/lane.cuh")),
    ("scale.cuh", include_str!("../../../kernels/scale.cuh")),
    ("product.cuh", include_str!("../../../kernels/product.cuh")),
    ("sum.cuh", include_str!("../../../kernels/sum.cuh")),
    ("leaf.cuh", include_str!("../../../kernels/leaf.cuh")),
    ("forward.cuh", include_str!("../../../kernels/forward.cuh")),
    ("reduce.cuh", include_str!("../../../kernels/reduce.cuh")),
    ("backward.cuh", include_str!("../../../kernels/backward.cuh")),
    ("passes.cuh", include_str!("../../../kernels/passes.cuh")),
];

/// The widest product that is kept in registers: its factors and gradient take four times as many.
pub const WIDEST: u32 = 32;

/// Bytes of shared memory that a block's arena may take: two blocks fit on a multiprocessor of every
/// device from compute capability 8.0 on that has 164 KiB or more.
const SHARED: usize = 80 * 1024;

/// What is constant in the kernels of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specialisation {
    /// Threads of a block, and rows of a tile on the device.
    pub threads: u32,
    /// Whether a block's arena lies in shared memory.
    pub shared: bool,
    /// A bit for each operation that occurs.
    pub ops: u32,
    /// The numbers of units of products that are kept in registers.
    pub widths: BTreeSet<u32>,
}

impl Specialisation {
    /// What suits a plan: as many threads as leave the arena in shared memory, at least a warp; 128, and
    /// the arena in global memory, where even that does not fit.
    pub fn of(plan: &Plan) -> Self {
        let arena = tables::arena_rows(plan);
        let bytes = |threads: u32| arena * threads as usize * size_of::<f32>();
        let fitting = [128, 64, 32].into_iter().find(|&threads| bytes(threads) <= SHARED);
        let mut ops = 0;
        let mut widths = BTreeSet::new();
        for program in &plan.programs {
            for step in &program.steps {
                ops |= 1 << tables::code(step.op);
                if let (Op::ProductSum { .. }, [input, ..]) = (step.op, program.inputs(step)) {
                    let width = program.values[input.value as usize].units;
                    widths.extend((width <= WIDEST).then_some(width));
                }
            }
        }
        let threads = fitting.unwrap_or(128);
        Specialisation { threads, shared: fitting.is_some(), ops, widths }
    }

    /// The constants, as the preprocessor reads them.
    pub fn constants(&self) -> String {
        let mut text = String::new();
        let names = OPS.iter().enumerate().filter(|(bit, _)| self.ops >> bit & 1 == 1);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        let cases: Vec<String> = self.widths.iter().map(|k| format!("CASE({k})")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "#define THREADS {}", self.threads);
        let _ = writeln!(text, "#define ARENA_IN_SHARED {}", i32::from(self.shared));
        let _ = writeln!(text, "#define OPS {:#x}  // {}", self.ops, names.join(", "));
        let _ = writeln!(text, "#define EACH_WIDTH(CASE) {}", cases.join(" "));
        text
    }

    /// Bytes of shared memory that a block takes.
    pub fn shared_bytes(&self, tables: &Tables) -> usize {
        let bytes = tables.arena * self.threads as usize * size_of::<f32>();
        if self.shared { bytes } else { 0 }
    }
}

/// The whole source of the kernels, one translation unit without includes.
pub fn source(specialisation: &Specialisation) -> String {
    let mut text = specialisation.constants();
    for (name, file) in FILES {
        let _ = write!(text, "\n// ---- {name}\n\n{file}");
    }
    text
}
