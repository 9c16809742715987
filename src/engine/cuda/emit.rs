//! The source of the kernels: the files under `kernels/`, behind the constants that a plan needs.
//!
//! A device reads the steps of a program from tables, so the text depends on a plan by a few constants
//! alone: which operations occur, which widths are kept in registers, how many threads a block has, and
//! where its arena lies. Plans of one kind share one compiled module.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::arenas::Arenas;
use super::precision::Precision;
use super::tables::{self, OPS};
use super::weights::network_rows;
use crate::plan::{Op, Part, Plan, Purpose};
use crate::sector::Parameters;

/// The files, in the order in which they build on each other.
const FILES: [(&str, &str); 19] = [
    ("program.cuh", include_str!("../../../kernels/program.cuh")),
    ("lane.cuh", include_str!("../../../kernels/lane.cuh")),
    ("scale.cuh", include_str!("../../../kernels/scale.cuh")),
    ("product.cuh", include_str!("../../../kernels/product.cuh")),
    ("tensor.cuh", include_str!("../../../kernels/tensor.cuh")),
    ("sum.cuh", include_str!("../../../kernels/sum.cuh")),
    ("einsum.cuh", include_str!("../../../kernels/einsum.cuh")),
    ("leaf.cuh", include_str!("../../../kernels/leaf.cuh")),
    ("sparse.cuh", include_str!("../../../kernels/sparse.cuh")),
    ("forward.cuh", include_str!("../../../kernels/forward.cuh")),
    ("reduce.cuh", include_str!("../../../kernels/reduce.cuh")),
    ("flows.cuh", include_str!("../../../kernels/flows.cuh")),
    ("backward.cuh", include_str!("../../../kernels/backward.cuh")),
    ("tree.cuh", include_str!("../../../kernels/tree.cuh")),
    ("draw.cuh", include_str!("../../../kernels/draw.cuh")),
    ("passes.cuh", include_str!("../../../kernels/passes.cuh")),
    ("best.cuh", include_str!("../../../kernels/best.cuh")),
    ("weights.cuh", include_str!("../../../kernels/weights.cuh")),
    ("step.cuh", include_str!("../../../kernels/step.cuh")),
];

/// The widest product that is kept in registers: its factors and gradient take four times as many.
pub const WIDEST: u32 = 32;

/// Bytes of shared memory that the arena of a part, and of the head, may take. A multiprocessor of compute
/// capability 8.0 has 164 KiB, later ones for computing more: two blocks of parts fit on one, and one of the
/// head, which has few.
const SHARED: usize = 80 << 10;
const SHARED_HEAD: usize = 160 << 10;

/// What is constant in the kernels of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specialisation {
    /// Threads of a block, and rows of a tile on the device.
    pub threads: u32,
    /// Whether a block's arena lies in shared memory.
    pub shared: bool,
    /// Rows of the arenas. They are no part of the source.
    pub arenas: Arenas,
    /// A bit for each operation that occurs in a part below the head.
    pub part_ops: u32,
    /// The same of the head.
    pub head_ops: u32,
    /// The numbers of units of products that are kept in registers.
    pub widths: BTreeSet<u32>,
    /// Whether there are sums of products of other widths.
    pub any_width: bool,
    /// The precision of sums on tensor cores.
    pub precision: Precision,
    /// Whether the way back is that of queries, to what rows lack, and not to what is learned.
    pub queries: bool,
}

/// Threads that the registers of a multiprocessor suffice for: 65,536 of them, 255 a thread. The compiler takes
/// fewer where it can, and would spill where it was told of more threads.
const RESIDENT: u32 = 256;

impl Specialisation {
    /// Every operation there is, as of [`Specialisation::part_ops`].
    pub const ALL_OPS: u32 = (1 << OPS.len()) - 1;

    /// What suits a plan and the parameters that it learns: as many threads as leave the arena in shared
    /// memory, at least a warp; 128, and the arena in global memory, where even that does not fit.
    pub fn of(plan: &Plan, parameters: &Parameters, precision: Precision) -> Self {
        let arenas = Arenas::of(plan, network_rows(parameters));
        let fits = |&threads: &u32| {
            let row = threads as usize * size_of::<f32>();
            let Arenas { parts, head, network } = arenas;
            parts.max(network) * row <= SHARED && head * row <= SHARED_HEAD
        };
        let fitting = [128, 64, 32].into_iter().find(fits);
        let (mut part_ops, mut head_ops, mut any_width) = (0, 0, false);
        let mut widths = BTreeSet::new();
        for (number, program) in plan.programs.iter().enumerate() {
            let runs = |part: &Part| part.program as usize == number;
            let mut ops = 0;
            for step in &program.steps {
                ops |= 1 << tables::code(step.op);
            }
            head_ops |= if runs(plan.head()) { ops } else { 0 };
            part_ops |= if plan.below_head().iter().any(runs) { ops } else { 0 };
            for step in &program.steps {
                if let (Op::ProductSum { .. }, [input, ..]) = (step.op, program.inputs(step)) {
                    let width = program.values[input.value as usize].units;
                    widths.extend((width <= WIDEST).then_some(width));
                    any_width |= width > WIDEST;
                }
            }
        }
        let threads = fitting.unwrap_or(128);
        let shared = fitting.is_some();
        let queries = plan.purpose == Purpose::Query;
        Specialisation {
            threads,
            shared,
            arenas,
            part_ops,
            head_ops,
            widths,
            any_width,
            precision,
            queries,
        }
    }

    /// The constants, as the preprocessor reads them.
    pub fn constants(&self) -> String {
        let mut text = String::new();
        let names = |ops: u32| {
            let names = OPS.iter().enumerate().filter(|(bit, _)| ops >> bit & 1 == 1);
            names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
        };
        let cases: Vec<String> = self.widths.iter().map(|k| format!("CASE({k})")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "#define THREADS {}", self.threads);
        let _ = writeln!(text, "#define BLOCKS {}", RESIDENT / self.threads);
        let _ = writeln!(text, "#define ARENA_IN_SHARED {}", i32::from(self.shared));
        let _ =
            writeln!(text, "#define PART_OPS {:#x}  // {}", self.part_ops, names(self.part_ops));
        let _ =
            writeln!(text, "#define HEAD_OPS {:#x}  // {}", self.head_ops, names(self.head_ops));
        let _ = writeln!(text, "#define EACH_WIDTH(CASE) {}", cases.join(" "));
        let _ = writeln!(text, "#define ANY_WIDTH {}", i32::from(self.any_width));
        let _ = writeln!(text, "#define PRECISION {}", self.precision.constant());
        let _ = writeln!(text, "#define QUERIES {}", i32::from(self.queries));
        text
    }

    /// The most bytes of shared memory that a block takes.
    pub fn shared_bytes(&self) -> usize {
        let bytes = self.arenas.largest() * self.threads as usize * size_of::<f32>();
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
