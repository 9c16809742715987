//! The calls that only promises make safe: compiling by NVRTC, asking for libraries, and launching. No other
//! file of the engine has unsafe code.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use cudarc::driver::{
    CudaFunction, CudaGraph, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
    result, sys,
};
use cudarc::nvrtc;
use cudarc::nvrtc::result::NvrtcError;

use super::device::Launch;

/// Whether the driver's library can be loaded. Without it every other call into the driver would panic.
pub(super) fn driver_is_present() -> bool {
    // SAFETY: loads a library and runs its initialisers, which the system's own driver is trusted with.
    unsafe { sys::is_culib_present() }
}

/// Whether NVRTC can be loaded.
pub(super) fn nvrtc_is_present() -> bool {
    // SAFETY: as for the driver.
    unsafe { nvrtc::sys::is_culib_present() }
}

/// The version of CUDA that the driver speaks, 1000 · major + 10 · minor. The driver must be present.
pub(super) fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: writes one integer, to which the pointer is valid.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map(|()| version)
}

/// The version of NVRTC: major, minor. It must be present.
pub(super) fn nvrtc_version() -> Result<(i32, i32), NvrtcError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers, to which the pointers are valid.
    unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) }.result().map(|()| (major, minor))
}

/// What is wanted of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Code for one architecture.
    Cubin,
    /// NVIDIA's intermediate language.
    Ptx,
}

/// What NVRTC made, or why not; and its log in either case.
pub(super) struct Compilation {
    pub(super) made: Result<Vec<u8>, NvrtcError>,
    pub(super) log: String,
}

/// A program of NVRTC, destroyed when it is dropped.
struct Program<'a> {
    program: nvrtc::sys::nvrtcProgram,
    /// NVRTC may keep pointers into the source.
    _source: &'a CStr,
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: the program was made by `create_program` and is destroyed here alone. What destroying
        // reports is of no use to anyone.
        let _ = unsafe { nvrtc::result::destroy_program(self.program) };
    }
}

/// Compiles a source. NVRTC must be present.
pub(super) fn nvrtc_compile(source: &CStr, options: &[String], form: Form) -> Compilation {
    let refused = |fault| Compilation { made: Err(fault), log: String::new() };
    // An option with a zero byte is none; cudarc would panic.
    if options.iter().any(|option| CString::new(option.as_str()).is_err()) {
        return refused(NvrtcError(nvrtc::sys::nvrtcResult::NVRTC_ERROR_INVALID_OPTION));
    }
    let program = match nvrtc::result::create_program(source, Some(c"pcc.cu")) {
        Ok(program) => Program { program, _source: source },
        Err(fault) => return refused(fault),
    };
    // SAFETY: the program lives until the end of this function.
    let compiled = unsafe { nvrtc::result::compile_program(program.program, options) };
    // SAFETY: as above.
    let log = unsafe { nvrtc::result::get_program_log(program.program) };
    let log = log.map(|log| text_of(&log)).unwrap_or_default();
    let made = compiled.and_then(|()| match form {
        Form::Cubin => cubin(&program),
        // SAFETY: as above.
        Form::Ptx => {
            unsafe { nvrtc::result::get_ptx(program.program) }.map(|ptx| text_of(&ptx).into_bytes())
        }
    });
    Compilation { made, log }
}

fn cubin(program: &Program<'_>) -> Result<Vec<u8>, NvrtcError> {
    let mut size = 0;
    // SAFETY: the program has been compiled, and the pointer is to one number.
    unsafe { nvrtc::sys::nvrtcGetCUBINSize(program.program, &mut size) }.result()?;
    let mut code = vec![0u8; size];
    // SAFETY: the buffer has the size that was asked for.
    unsafe { nvrtc::sys::nvrtcGetCUBIN(program.program, code.as_mut_ptr().cast::<c_char>()) }
        .result()?;
    Ok(code)
}

/// The text before the zero that ends it.
fn text_of(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `Buffers` of `kernels/program.cuh`: that many words, and nothing else.
#[repr(transparent)]
struct Words([u64; super::layout::FIELDS]);

// SAFETY: words without padding, and the kernels' structure has as many, of eight bytes each, at the same
// places; a test compares the fields.
unsafe impl DeviceRepr for Words {}

/// Launches on a stream, recorded as a CUDA graph: one call to the driver replays them all.
pub(super) struct Recording(CudaGraph);

// SAFETY: a graph must not be used by two threads at once. This one is owned by one `Gpu`, which replays it
// through `&mut self`, so it is used by one thread at a time.
unsafe impl Send for Recording {}

impl Recording {
    /// Launches all that was recorded.
    pub(super) fn replay(&self) -> Result<(), DriverError> {
        self.0.launch()
    }
}

/// Records launches on `Buffers`, whose words these are, in their order. Nothing runs yet.
pub(super) fn record(
    stream: &Arc<CudaStream>,
    launches: &[(&CudaFunction, Launch)],
    words: [u64; super::layout::FIELDS],
) -> Result<Recording, DriverError> {
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    let launched = launches
        .iter()
        .try_for_each(|&(function, of_kernel)| launch(stream, function, of_kernel, words));
    // The capture is ended even where a launch was refused; else the stream would be of no more use.
    let ended = stream.end_capture(sys::CUgraphInstantiate_flags(0));
    launched?;
    match ended? {
        Some(graph) => Ok(Recording(graph)),
        None => Err(DriverError(sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)),
    }
}

/// Launches a kernel on `Buffers`, whose words these are.
///
/// The caller has checked that the function is a kernel of this engine, and that every address among the
/// words is of a live buffer of the size that the plan demands.
fn launch(
    stream: &CudaStream,
    function: &CudaFunction,
    launch: Launch,
    words: [u64; super::layout::FIELDS],
) -> Result<(), DriverError> {
    let words = Words(words);
    let config = LaunchConfig {
        grid_dim: (launch.blocks, 1, 1),
        block_dim: (launch.threads, 1, 1),
        shared_mem_bytes: launch.shared_bytes,
    };
    let mut builder = stream.launch_builder(function);
    builder.arg(&words);
    // SAFETY: all kernels of the engine take one argument, `Buffers` by value, which `words` is. Its
    // addresses are those of buffers of the sizes in `Layout::fields`, which the kernels keep to: a test runs
    // them under the address sanitizer. Buffers live as long as the device, and are dropped after a
    // synchronisation. All work is on one stream, so nothing is read while it is written.
    unsafe { builder.launch(config) }.map(|_| ())
}

/// The number of devices.
pub(super) fn device_count() -> Result<i32, DriverError> {
    result::init()?;
    result::device::get_count()
}
