//! What `pcc compile` makes for CUDA: the source, PTX, or a folder that another program can load.

use std::io;
use std::path::{Path, PathBuf};

use super::args::{Emit, PrecisionName, Run};
use super::failure::Failure;
use super::size::ByteSize;
use crate::compile::Compiled;
use crate::data::write::write_whole;
use crate::diag::{Code, Diagnostic};
use crate::engine::cuda::{
    self, Architecture, Cache, Form, Layout, Manifest, Precision, Specialisation, compile, source,
};
use crate::plan::{self, Schedule, Sharing};

/// The architecture that a target names: `cuda` is that of the device at hand; `None` for `cpu`.
///
/// # Errors
/// E0701 where the device at hand is asked for and there is none.
pub fn architecture(target: &str) -> Result<Option<Architecture>, Failure> {
    match target.strip_prefix("cuda") {
        None => Ok(None),
        Some("") => Ok(Some(cuda::probe()?)),
        // The command line lets no other text pass than `cuda:sm_NN`.
        Some(named) => Ok(named.trim_start_matches(':').parse().ok()),
    }
}

/// The precision that the user chose.
fn precision(name: PrecisionName) -> Precision {
    match name {
        PrecisionName::F32 => Precision::F32,
        PrecisionName::Tf32 => Precision::Tf32,
        PrecisionName::Bf16 => Precision::Bf16,
    }
}

/// A plan laid out for a device within the memory that the user allows there, if any, and `free`, what the device has:
/// of the schedule asked for where that fits, else depth first, and in as many blocks and shards as there is room for.
///
/// # Errors
/// E0702 if the user's limit leaves none, E0705 if the device does; they say what the least one takes.
pub fn layout(
    compiled: &Compiled,
    options: &plan::Options,
    run: &Run,
    free: usize,
) -> Result<Layout, Diagnostic> {
    let allowed = run.memory.map_or(usize::MAX, ByteSize::bytes);
    let limit = allowed.min(free);
    let mut least = usize::MAX;
    for schedule in [options.schedule, Schedule::Deep] {
        // Nothing is shared on a device.
        let options = plan::Options { schedule, sharing: Sharing::Off, ..*options };
        let plan = plan::plan(&compiled.circuit, &compiled.parameters, &options);
        let precision = precision(run.precision);
        let specialisation = Specialisation::of(&plan, &compiled.parameters, precision);
        match Layout::within(compiled, plan, specialisation, limit) {
            Ok(layout) => return Ok(layout),
            Err(bytes) => least = least.min(bytes),
        }
    }
    let (least, limit, batch) = (ByteSize(least as u64), ByteSize(limit as u64), options.batch);
    let takes = format!("the plan takes {least} on the device at least");
    if free < allowed {
        let message = format!("{takes}, which has {limit} free");
        return Err(Diagnostic::new(Code::E0705, message).help(format!(
            "take smaller batches: these are of {batch} rows; or use `--engine cpu`"
        )));
    }
    Err(Diagnostic::new(Code::E0702, format!("{takes}, more than {limit}")).help(format!(
        "allow more by `--memory`, or take smaller batches: these are of {batch} rows"
    )))
}

/// The text of a stage: the source, which needs nothing, or PTX, which needs NVRTC.
///
/// # Errors
/// E0701 without NVRTC, and for source that it refuses.
pub fn emitted(
    emit: Option<Emit>,
    layout: &Layout,
    architecture: Option<Architecture>,
) -> Result<String, Failure> {
    let source = source(layout.specialisation());
    if emit == Some(Emit::Cuda) {
        return Ok(source);
    }
    let module = compile(&source, architecture.unwrap_or(Architecture::OLDEST), Form::Ptx)?;
    Ok(String::from_utf8_lossy(&module.code).into_owned())
}

/// Writes a folder: code, source, manifest, header and tables.
///
/// # Errors
/// E0701 without NVRTC; E0001 for what cannot be written.
pub fn write(
    folder: &Path,
    layout: &Layout,
    compiled: &Compiled,
    architecture: Architecture,
) -> Result<(), Failure> {
    let source = source(layout.specialisation());
    let module = compile(&source, architecture, Form::Cubin)?;
    let manifest = Manifest::new(layout, &compiled.parameters, architecture);
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let file =
            |name: &str, bytes: &[u8]| write_whole(&folder.join(name), |out| out.write_all(bytes));
        file("module.cubin", &module.code)?;
        file("module.cu", source.as_bytes())?;
        for (name, words) in layout.words() {
            file(&format!("{name}.bin"), &little_ended(words, |word| word.to_le_bytes()))?;
        }
        let constants = little_ended(layout.constants(), |number| number.to_le_bytes());
        file("coefficients.bin", &constants)?;
        let text = serde_json::to_string_pretty(&manifest).map_err(io::Error::from)?;
        file("module.h", manifest.header().as_bytes())?;
        file("manifest.json", format!("{text}\n").as_bytes())
    });
    written.map_err(|error| {
        Diagnostic::new(Code::E0001, format!("the folder cannot be written: {error}"))
            .in_file(folder.display().to_string())
            .into()
    })
}

fn little_ended<T: Copy>(numbers: &[T], bytes: impl Fn(T) -> [u8; 4]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| bytes(number)).collect()
}

/// Where compiled modules are kept: `pcc` in the folder for caches that the environment names.
pub fn cache() -> Option<Cache> {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = named.map(PathBuf::from).or_else(home)?;
    Some(Cache::new(folder.join("pcc")))
}
