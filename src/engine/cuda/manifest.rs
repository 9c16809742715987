//! What another program must know to load and launch the kernels of a plan: the manifest beside the code.
//!
//! `pcc compile --target cuda:sm_90 -o OUT` writes a folder: `module.cubin`, `module.cu`, `manifest.json`,
//! `module.h` with what a program in C needs of it, and the tables. `docs/cuda-artifact.md` explains it. To evaluate a batch: allocate the buffers, fill each that has a `file` from it, write
//! `parameters` and `data`, fill in a struct of 64-bit words from `buffers` in order, and launch the kernels in
//! order on one stream, each with that struct as its only argument, by value. Where no kernel makes weights, write
//! `coefficients` and `certified` in place of the parameters. Rows that come back `in_doubt` need the log domain.

use std::fmt::Write;

use serde::Serialize;

use super::compile::Architecture;
use super::device::Kernel;
use super::layout::{Content, Field, Layout};
use super::tables::PlacedTable;
use crate::plan::{LANES, Purpose};
use crate::sector::Parameters;

/// The version of the layout that this module writes.
pub const FORMAT: u32 = 1;

/// The description of an artifact.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    format: u32,
    architecture: String,
    /// Of sums on tensor cores.
    precision: &'static str,
    batch: u32,
    /// Rows that there is room for.
    pitch: usize,
    lanes: usize,
    variables: u32,
    kernels: Vec<KernelEntry>,
    buffers: Vec<BufferEntry>,
    bytes: usize,
    coefficients: Vec<PlacedTable>,
    parameters: Vec<TensorEntry>,
}

#[derive(Clone, Debug, Serialize)]
struct KernelEntry {
    name: &'static str,
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
    makes_weights: bool,
}

/// A field of `Buffers`: memory, or a number.
#[derive(Clone, Debug, Serialize)]
struct BufferEntry {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constant: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

/// A tensor of the flat buffer of parameters, from which coefficients are made.
#[derive(Clone, Debug, Serialize)]
struct TensorEntry {
    name: String,
    shape: Vec<usize>,
    at: usize,
}

impl Manifest {
    /// The manifest of a plan's kernels, in the order in which they are launched.
    pub fn new(layout: &Layout, parameters: &Parameters, architecture: Architecture) -> Self {
        let train = layout.plan.purpose == Purpose::Train;
        let kernels = Kernel::ALL.iter().filter(|kernel| {
            train || Kernel::MAKE.contains(kernel) || Kernel::EVALUATE.contains(kernel)
        });
        let kernels = kernels.filter_map(|&kernel| {
            let launch = layout.launch(kernel, layout.plan.batch as usize)?;
            let (blocks, threads) = (launch.blocks, launch.threads);
            let shared_bytes = launch.shared_bytes;
            let (name, makes_weights) = (kernel.name(), Kernel::MAKE.contains(&kernel));
            Some(KernelEntry { name, blocks, threads, shared_bytes, makes_weights })
        });
        let words = layout.words();
        let file = |name: &str| words.iter().any(|(table, _)| *table == name);
        let fields = layout.fields();
        let entry = |field: &Field| entry(field, file(field.name) || field.name == "coefficients");
        let tensors = parameters.tensors();
        Manifest {
            format: FORMAT,
            architecture: architecture.to_string(),
            precision: layout.specialisation.precision.name(),
            batch: layout.plan.batch,
            pitch: layout.pitch(),
            lanes: LANES,
            variables: layout.plan.variables,
            kernels: kernels.collect(),
            buffers: fields.iter().map(entry).collect(),
            bytes: layout.bytes(),
            coefficients: layout.tables.placed(&layout.plan),
            parameters: (tensors.iter())
                .map(|(id, spec)| TensorEntry {
                    name: spec.name.clone(),
                    shape: spec.shape.clone(),
                    at: tensors.range(id).start,
                })
                .collect(),
        }
    }

    /// What a program in C needs, as a header.
    pub fn header(&self) -> String {
        let mut text = String::from(HEADER);
        let parameters: usize =
            self.parameters.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        let numbers = [
            ("BATCH", self.batch as usize),
            ("PITCH", self.pitch),
            ("LANES", self.lanes),
            ("VARIABLES", self.variables as usize),
            ("PARAMETERS", parameters),
        ];
        // Writing to a string cannot fail.
        for (name, number) in numbers {
            let _ = writeln!(text, "#define PCC_{name} {number}");
        }
        text.push_str("\nstatic const struct pcc_kernel pcc_kernels[] = {\n");
        for KernelEntry { name, blocks, threads, shared_bytes, makes_weights } in &self.kernels {
            let makes = i32::from(*makes_weights);
            let _ =
                writeln!(text, "    {{\"{name}\", {blocks}, {threads}, {shared_bytes}, {makes}}},");
        }
        text.push_str("};\n\nstatic const struct pcc_buffer pcc_buffers[] = {\n");
        for BufferEntry { name, bytes, number, file, .. } in &self.buffers {
            let (bytes, number) = (bytes.unwrap_or(0), number.unwrap_or(0));
            let file = file.as_ref().map_or("0".to_string(), |file| format!("\"{file}\""));
            let _ = writeln!(text, "    {{\"{name}\", {bytes}u, {number}u, {file}}},");
        }
        text.push_str("};\n");
        text
    }
}

/// What the constants of [`Manifest::header`] are.
const HEADER: &str = "/* Launches and buffers of module.cubin: see docs/cuda-artifact.md. */

struct pcc_kernel {
    const char *name;
    unsigned blocks, threads, shared_bytes;
    int makes_weights; /* Not needed again while the parameters stay. */
};

/* A word of the kernels' argument: the address of `bytes` bytes, or `number`. */
struct pcc_buffer {
    const char *name;
    unsigned long long bytes, number;
    const char *file; /* What it begins with; 0 if nothing. */
};

";

fn entry(field: &Field, has_file: bool) -> BufferEntry {
    let (bytes, constant, number) = match field.content {
        Content::Buffer { bytes, constant } => (Some(bytes), Some(constant), None),
        Content::Number(number) => (None, None, Some(number)),
    };
    let file = has_file.then(|| format!("{}.bin", field.name));
    BufferEntry { name: field.name, bytes, constant, file, number }
}
