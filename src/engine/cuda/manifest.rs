//! What another program must know to load and launch the kernels of a plan: the manifest beside the code.
//!
//! `pcc compile --target cuda:sm_90 -o OUT` writes a folder: `module.cubin`, `module.cu`, `manifest.json`
//! and the tables. To evaluate a batch: allocate the buffers, fill each that has a `file` from it, write
//! coefficients, `certified` and data, fill in a struct of 64-bit words from `buffers` in order, and launch the
//! kernels in order on one stream, each with that struct as its only argument, by value.

use serde::Serialize;

use super::buffers::{self, Content};
use super::compile::Architecture;
use super::device::Kernel;
use super::emit::Specialisation;
use super::tables::{PlacedTable, Tables};
use crate::plan::{LANES, Plan, Purpose};
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
    /// The manifest of a plan's kernels.
    pub fn new(
        plan: &Plan,
        parameters: &Parameters,
        specialisation: &Specialisation,
        tables: &Tables,
        architecture: Architecture,
    ) -> Self {
        let fields = buffers::fields(plan, specialisation, tables);
        let train = plan.purpose == Purpose::Train;
        let kernels = if train { &Kernel::ALL[..] } else { &Kernel::ALL[..2] };
        let kernels = kernels.iter().filter_map(|&kernel| {
            let rows = plan.batch as usize;
            let launch = buffers::launch(kernel, rows, plan, specialisation, tables)?;
            let (blocks, threads) = (launch.blocks, launch.threads);
            Some(KernelEntry {
                name: kernel.name(),
                blocks,
                threads,
                shared_bytes: launch.shared_bytes,
            })
        });
        let tensors = parameters.tensors();
        Manifest {
            format: FORMAT,
            architecture: architecture.to_string(),
            batch: plan.batch,
            lanes: LANES,
            kernels: kernels.collect(),
            buffers: fields.iter().map(|field| entry(field.name, field.content, tables)).collect(),
            bytes: buffers::bytes(&fields),
            coefficients: tables.placed(plan),
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

fn entry(name: &'static str, content: Content, tables: &Tables) -> BufferEntry {
    let (bytes, constant, number) = match content {
        Content::Buffer { bytes, constant } => (Some(bytes), Some(constant), None),
        Content::Number(number) => (None, None, Some(number)),
    };
    let has_file = tables.words().iter().any(|(table, _)| *table == name);
    let file = has_file.then(|| format!("{name}.bin"));
    BufferEntry { name, bytes, constant, file, number }
}
