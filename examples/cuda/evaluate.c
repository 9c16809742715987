/* Evaluates rows with a circuit that pcc has compiled, through CUDA's driver alone.

       pcc compile circuit.ron --target cuda:sm_90 -o OUT
       cc -I OUT -I $CUDA/include evaluate.c -lcuda -o evaluate
       ./evaluate OUT parameters.f32 rows.f32

   parameters.f32 are the learned numbers as module.h lays them out, rows.f32 the rows, PCC_VARIABLES numbers each,
   NaN where a value is missing: both 32-bit floats as they lie in memory. Prints ln p of each row, in nats, a line
   each; `in doubt` where single precision may have lost a part of the row, which pcc evaluates in the log domain. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda.h>

#include "module.h"

enum { BUFFERS = sizeof(pcc_buffers) / sizeof(pcc_buffers[0]) };
enum { KERNELS = sizeof(pcc_kernels) / sizeof(pcc_kernels[0]) };

/* The only argument of every kernel: a word for each entry of pcc_buffers, an address or a number. */
static unsigned long long words[BUFFERS];

static void must(CUresult result, const char *what) {
    const char *text = "?";
    if (result == CUDA_SUCCESS) return;
    cuGetErrorString(result, &text);
    fprintf(stderr, "%s: %s\n", what, text);
    exit(3);
}

/* All of a file, and its size. */
static void *contents(const char *folder, const char *name, size_t *bytes) {
    char path[4096];
    void *read;
    FILE *file;
    snprintf(path, sizeof(path), "%s%s%s", folder, *folder ? "/" : "", name);
    file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    read = malloc(*bytes + 1);
    if (!read || fread(read, 1, *bytes, file) != *bytes) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return read;
}

static size_t place(const char *name) {
    size_t i;
    for (i = 0; i < BUFFERS; ++i) {
        if (strcmp(pcc_buffers[i].name, name) == 0) return i;
    }
    fprintf(stderr, "no buffer is called %s\n", name);
    exit(1);
}

/* Allocates every buffer, and fills those that have a file. */
static void prepare(const char *folder) {
    size_t i, bytes;
    for (i = 0; i < BUFFERS; ++i) {
        const struct pcc_buffer *buffer = &pcc_buffers[i];
        words[i] = buffer->number;
        if (buffer->bytes == 0) continue;
        must(cuMemAlloc(&words[i], buffer->bytes), buffer->name);
        if (buffer->file) {
            void *from = contents(folder, buffer->file, &bytes);
            must(cuMemcpyHtoD(words[i], from, bytes), buffer->name);
            free(from);
        }
    }
}

/* Launches the kernels, in order, all of them or those that make no weights: these need be made once. */
static void launch(CUmodule module, int makes_weights) {
    void *arguments[] = {words};
    size_t i;
    for (i = 0; i < KERNELS; ++i) {
        const struct pcc_kernel *kernel = &pcc_kernels[i];
        CUfunction function;
        if (kernel->makes_weights && !makes_weights) continue;
        must(cuModuleGetFunction(&function, module, kernel->name), kernel->name);
        must(
            cuFuncSetAttribute(
                function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)kernel->shared_bytes
            ),
            kernel->name
        );
        must(
            cuLaunchKernel(
                function, kernel->blocks, 1, 1, kernel->threads, 1, 1, kernel->shared_bytes, NULL,
                arguments, NULL
            ),
            kernel->name
        );
    }
}

/* Rows first to first + count of all, as the kernels read them: PCC_LANES rows side by side. */
static void lay_out(const float *rows, size_t first, size_t count, float *data) {
    size_t row, v;
    for (row = 0; row < PCC_PITCH; ++row) {
        float *lane = data + row / PCC_LANES * PCC_LANES * PCC_VARIABLES + row % PCC_LANES;
        for (v = 0; v < PCC_VARIABLES; ++v) {
            lane[v * PCC_LANES] = row < count ? rows[(first + row) * PCC_VARIABLES + v] : NAN;
        }
    }
}

int main(int count, char **arguments) {
    static float data[(size_t)PCC_PITCH * PCC_VARIABLES];
    static double log_p[PCC_BATCH];
    static int in_doubt[PCC_BATCH];
    char path[4096];
    size_t bytes, all, first, row;
    float *parameters, *rows;
    CUdevice device;
    CUcontext context;
    CUmodule module;
    if (count != 4) {
        fprintf(stderr, "usage: evaluate FOLDER PARAMETERS ROWS\n");
        return 2;
    }
    must(cuInit(0), "cuInit");
    must(cuDeviceGet(&device, 0), "cuDeviceGet");
    must(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    must(cuCtxSetCurrent(context), "cuCtxSetCurrent");
    snprintf(path, sizeof(path), "%s/module.cubin", arguments[1]);
    must(cuModuleLoad(&module, path), path);
    prepare(arguments[1]);
    parameters = contents("", arguments[2], &bytes);
    if (bytes != PCC_PARAMETERS * sizeof(float)) {
        fprintf(stderr, "%s: %d parameters are wanted\n", arguments[2], PCC_PARAMETERS);
        return 1;
    }
    must(cuMemcpyHtoD(words[place("parameters")], parameters, bytes), "parameters");
    rows = contents("", arguments[3], &bytes);
    all = bytes / (PCC_VARIABLES * sizeof(float));
    for (first = 0; first < all; first += PCC_BATCH) {
        const size_t some = all - first < PCC_BATCH ? all - first : PCC_BATCH;
        lay_out(rows, first, some, data);
        must(cuMemcpyHtoD(words[place("data")], data, sizeof(data)), "data");
        words[place("rows")] = some;
        launch(module, first == 0);
        must(cuCtxSynchronize(), "the kernels");
        must(cuMemcpyDtoH(log_p, words[place("log_p")], some * sizeof(double)), "log_p");
        must(cuMemcpyDtoH(in_doubt, words[place("in_doubt")], some * sizeof(int)), "in_doubt");
        for (row = 0; row < some; ++row) {
            if (in_doubt[row]) {
                printf("in doubt\n");
            } else {
                printf("%.17g\n", log_p[row]);
            }
        }
    }
    free(rows);
    free(parameters);
    return 0;
}
