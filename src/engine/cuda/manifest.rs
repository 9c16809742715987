//! What another program must know to load and launch the kernels of a plan: the manifest beside the code.
//!
//! `pcc compile --target cuda:sm_90 -o OUT` writes a folder: `module.cubin`, `module.cu`, `manifest.json`
//! and the tables. To evaluate a batch: allocate the buffers, fill each that has a `file` from it, write
//! `parameters` and `data`, fill in a struct of 64-bit words from `buffers` in order, and launch the kernels in
//! order on one stream, each with that struct as its only argument, by value. Where no kernel makes weights, write
//! `coefficients` and `certified` in place of the parameters. Rows that come back `in_doubt` need the log domain.

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
    batch: u32,
    lanes: usize,
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
            Some(KernelEntry { name: kernel.name(), blocks, threads, shared_bytes })
        });
        let words = layout.words();
        let file = |name: &str| words.iter().any(|(table, _)| *table == name);
        let fields = layout.fields();
        let entry = |field: &Field| entry(field, file(field.name) || field.name == "coefficients");
        let tensors = parameters.tensors();
        Manifest {
            format: FORMAT,
            architecture: architecture.to_string(),
            batch: layout.plan.batch,
            lanes: LANES,
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
}

fn entry(field: &Field, has_file: bool) -> BufferEntry {
    let (bytes, constant, number) = match field.content {
        Content::Buffer { bytes, constant } => (Some(bytes), Some(constant), None),
        Content::Number(number) => (None, None, Some(number)),
    };
    let file = has_file.then(|| format!("{}.bin", field.name));
    BufferEntry { name: field.name, bytes, constant, file, number }
}
