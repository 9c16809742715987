//! A GPU: the driver, through cudarc.

use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::sys::CUfunction_attribute as FunctionAttribute;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DriverError, sys,
};
use cudarc::nvrtc::Ptx;

use super::cache::Cache;
use super::compile::{Architecture, Form, compile, compiler};
use super::device::{Buffer, Device, Kernel, Launch};
use super::layout::FIELDS;
use super::raw::{self, Recording};
use crate::diag::{Code, Diagnostic};

/// The first device of this machine, with a module loaded.
pub struct Gpu {
    stream: Arc<CudaStream>,
    /// By place in [`Kernel::ALL`].
    functions: Vec<CudaFunction>,
    allocations: Vec<CudaSlice<u8>>,
    /// What was launched before, the latest last.
    recorded: Vec<Recorded>,
    architecture: Architecture,
    name: String,
}

/// Launches on the same buffers, which the device replays at once.
struct Recorded {
    launches: Vec<Launch>,
    words: [u64; FIELDS],
    graph: Recording,
}

/// The most recordings that are kept: of weights, of steps, and of full and of last batches of a few data sets, with
/// gradients and without.
const RECORDINGS: usize = 32;

/// What a driver's fault is called in a message.
fn fault(what: &str, error: DriverError) -> Diagnostic {
    let lost = [
        sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
        sys::CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
        sys::CUresult::CUDA_ERROR_LAUNCH_FAILED,
        sys::CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE,
    ];
    let message = match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => format!("{what}: the device has no memory left"),
        code if lost.contains(&code) => format!("{what}: the device was lost ({error})"),
        _ => format!("{what}: {error}"),
    };
    Diagnostic::new(Code::E0701, message)
}

/// A machine without what the engine needs.
fn lacking(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::E0701, message).help("use `--engine cpu`, which needs nothing installed")
}

/// Opens the first device.
///
/// # Errors
/// E0701 without a driver, with one that is too old, and without a device that the kernels are made for.
pub(super) fn open() -> Result<(Arc<CudaContext>, Architecture), Diagnostic> {
    if !raw::driver_is_present() {
        return Err(lacking("this machine has no CUDA driver"));
    }
    let speaks = raw::driver_version().map_err(|error| fault("the CUDA driver", error))?;
    let count = raw::device_count().map_err(|error| fault("the CUDA driver", error))?;
    if count == 0 {
        return Err(lacking("this machine has no CUDA device"));
    }
    // Code that NVRTC has compiled is understood by drivers of its own major version, and later ones.
    let needs = compiler().unwrap_or_default();
    let major = |version: &str| version.split('.').next().and_then(|major| major.parse().ok());
    if major(&needs).is_some_and(|major: i32| speaks / 1000 < major) {
        let speaks = format!("{}.{}", speaks / 1000, speaks % 1000 / 10);
        return Err(lacking(format!(
            "the CUDA driver is too old: it knows CUDA {speaks}, and the compiler here is of {needs}"
        )));
    }
    let context = CudaContext::new(0).map_err(|error| fault("opening the device", error))?;
    let (major, minor) =
        context.compute_capability().map_err(|error| fault("asking the device", error))?;
    let architecture = Architecture((10 * major + minor) as u32);
    if architecture < Architecture::OLDEST {
        return Err(lacking(format!(
            "the device is of {architecture}; the kernels need {} or later",
            Architecture::OLDEST
        )));
    }
    Ok((context, architecture))
}

/// Bytes of memory that a device has free.
///
/// # Errors
/// E0701 for a lost device.
pub(super) fn free(context: &CudaContext) -> Result<usize, Diagnostic> {
    let asked = context.mem_get_info();
    asked.map(|(free, _)| free).map_err(|error| fault("asking the device", error))
}

impl Gpu {
    /// Opens the first device and loads the module of this source, compiled for it or found in the cache.
    /// Kernels may ask for `shared_bytes` of shared memory.
    ///
    /// # Errors
    /// E0701 for what the machine lacks; for source that NVRTC refuses, with its log.
    pub fn new(
        source: &str,
        shared_bytes: usize,
        cache: Option<&Cache>,
    ) -> Result<Self, Diagnostic> {
        let (context, architecture) = open()?;
        let attribute = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most =
            context.attribute(attribute).map_err(|error| fault("asking the device", error))?;
        if shared_bytes > most as usize {
            return Err(lacking(format!(
                "the kernels take {shared_bytes} bytes of shared memory a block, the device has {most}"
            )));
        }
        let code = module(source, architecture, cache)?;
        let module = context
            .load_module(Ptx::from_binary(code))
            .map_err(|error| fault("loading the kernels", error))?;
        let load = |kernel: &Kernel| {
            let function = module.load_function(kernel.name())?;
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared_bytes as i32)?;
            Ok(function)
        };
        let functions = Kernel::ALL.iter().map(load).collect::<Result<_, DriverError>>();
        let name = context.name().map_err(|error| fault("asking the device", error))?;
        Ok(Gpu {
            functions: functions.map_err(|error| fault("loading the kernels", error))?,
            stream: context.new_stream().map_err(|error| fault("opening the device", error))?,
            allocations: Vec::new(),
            recorded: Vec::new(),
            architecture,
            name,
        })
    }

    /// Records launches, and returns where among the recordings.
    fn record(&mut self, launches: &[Launch], words: [u64; FIELDS]) -> Result<usize, Diagnostic> {
        let mut pairs = Vec::with_capacity(launches.len());
        for &launch in launches {
            let kernel = Kernel::ALL.iter().position(|&kernel| kernel == launch.kernel);
            let function = kernel.and_then(|kernel| self.functions.get(kernel));
            let function = function.ok_or_else(|| lacking("a kernel that the module lacks"))?;
            pairs.push((function, launch));
        }
        let graph = raw::record(&self.stream, &pairs, words);
        let graph = graph.map_err(|error| fault("recording the kernels", error))?;
        if self.recorded.len() == RECORDINGS {
            self.recorded.remove(0);
        }
        self.recorded.push(Recorded { launches: launches.to_vec(), words, graph });
        Ok(self.recorded.len() - 1)
    }
}

/// The code of a module, from the cache if it is there.
fn module(
    source: &str,
    architecture: Architecture,
    cache: Option<&Cache>,
) -> Result<Vec<u8>, Diagnostic> {
    // Without a compiler a module may still be had of one that was here before: of no known version.
    let key = Cache::key(source, architecture, Form::Cubin, &compiler().unwrap_or_default());
    if let Some(code) = cache.and_then(|cache| cache.get(&key)) {
        return Ok(code);
    }
    let code = compile(source, architecture, Form::Cubin)?.code;
    cache.into_iter().for_each(|cache| cache.put(&key, &code));
    Ok(code)
}

impl Device for Gpu {
    fn free(&self) -> Result<usize, Diagnostic> {
        free(self.stream.context())
    }

    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic> {
        let memory = self.stream.alloc_zeros::<u8>(bytes);
        let memory = memory.map_err(|error| fault(&format!("allocating {bytes} bytes"), error))?;
        let address = memory.device_ptr(&self.stream).0;
        self.allocations.push(memory);
        Ok(Buffer { index: self.allocations.len() - 1, address, bytes })
    }

    fn write_at(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), Diagnostic> {
        let memory = &mut self.allocations[buffer.index];
        let mut place = memory.slice_mut(at..at + bytes.len());
        let copied = self.stream.memcpy_htod(bytes, &mut place);
        copied.map_err(|error| fault("copying to the device", error))
    }

    fn read(&mut self, buffer: Buffer, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        let memory = self.allocations[buffer.index].slice(..bytes.len());
        let copied = self.stream.memcpy_dtoh(&memory, bytes);
        let copied = copied.and_then(|()| self.stream.synchronize());
        copied.map_err(|error| fault("copying from the device", error))
    }

    fn launch(&mut self, launches: &[Launch], buffers: &[u64]) -> Result<(), Diagnostic> {
        let words = buffers.try_into().map_err(|_| lacking("kernels of other buffers"))?;
        let is_this = |other: &Recorded| other.words == words && other.launches == launches;
        let at = match self.recorded.iter().position(is_this) {
            Some(at) => at,
            None => self.record(launches, words)?,
        };
        let replayed = self.recorded[at].graph.replay();
        replayed.map_err(|error| fault("running the kernels", error))
    }

    fn arithmetic(&self) -> String {
        format!("cuda {} {}", self.architecture, self.name)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // So that no kernel outlives the memory it reads. A device that fails now has nothing more to lose.
        let _ = self.stream.synchronize();
    }
}
