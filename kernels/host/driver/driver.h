// The driver's calls of `cuda.h` on kernels that were compiled for the processor: memory is the process's own, and
// a launch runs the kernel at once. KERNELS are all of them; NAMES are their names, in that order.
#pragma once

#include "cuda.h"

struct CUfunc_st {
    const char* name;
    void (*kernel)(Buffers);
    size_t shared_bytes;
};

namespace on_cpu {

static std::vector<CUfunc_st> functions() {
    std::vector<CUfunc_st> all;
    const char* names[] = {NAMES};
    size_t n = 0;
    // What a kernel has of shared memory without asking for more.
    for (auto kernel : {KERNELS}) all.push_back({names[n++], kernel, 48 << 10});
    return all;
}

}  // namespace on_cpu

extern "C" {

CUresult cuInit(unsigned flags) { return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }

CUresult cuGetErrorString(CUresult error, const char** text) {
    *text = error == CUDA_SUCCESS ? "no error" : "an error";
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    *context = nullptr;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxSynchronize() { return CUDA_SUCCESS; }

// The code itself is for a device: here it is only looked at.
CUresult cuModuleLoad(CUmodule* module, const char* path) {
    char magic[4] = {};
    FILE* file = std::fopen(path, "rb");
    const bool read = file && std::fread(magic, 1, sizeof(magic), file) == sizeof(magic);
    if (file) std::fclose(file);
    *module = nullptr;
    return read && std::memcmp(magic, "\x7f" "ELF", 4) == 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
    static std::vector<CUfunc_st> functions = on_cpu::functions();
    for (CUfunc_st& known : functions) {
        if (std::strcmp(known.name, name) != 0) continue;
        *function = &known;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute, int value) {
    if (value < 0 || (size_t)value > SHARED_BYTES) return CUDA_ERROR_INVALID_VALUE;
    function->shared_bytes = (size_t)value;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* memory, size_t bytes) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    void* made = std::malloc(bytes);
    std::memset(made, 0xff, bytes);
    *memory = reinterpret_cast<CUdeviceptr>(made);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(
    CUfunction function, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned,
    unsigned shared_bytes, CUstream, void** arguments, void**
) {
    if (shared_bytes > function->shared_bytes) return CUDA_ERROR_INVALID_VALUE;
    Buffers buffers;
    std::memcpy(&buffers, arguments[0], sizeof(buffers));
    on_cpu::launch(blocks, threads, shared_bytes, [=] { function->kernel(buffers); });
    return CUDA_SUCCESS;
}

}  // extern "C"
