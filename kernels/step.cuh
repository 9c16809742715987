// A step of learning around the passes: the rows of its batch, and the optimiser.
//
//   gather_rows        rows of the held data set to `data`     any grid; work: pitch × variables
//   inspect            whether the step can be taken           any grid; work: parameters and rows
//   update_parameters  parameters and moments                  any grid; work: parameters
//
// The first is launched before `make_logits`, the others after `sum_network`, on one stream: so a step is one
// sequence of kernels, and all that the host sends are `updates` and the numbers of rows. What a step met lies
// behind `log_p`, a double each, one or zero. Where `inspect` has met something, `update_parameters` changes
// nothing: the host settles rows in doubt and launches these two again, or finds out what is not finite.

enum Met {
    IN_DOUBT,      // A row that linear arithmetic may have lost a part of.
    NOT_FINITE,    // A log-likelihood that is NaN or +∞, or a gradient that is not finite.
    OUT_OF_RANGE,  // A parameter or a mean square that is not finite after the step.
    MET
};

__device__ __forceinline__ double& met(const Buffers& buffers, int what) {
    return buffers.log_p[buffers.pitch + what];
}

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) < infinity(); }

// The threads of a grid, and which this one is.
__device__ __forceinline__ long long threads_of_grid() { return (long long)gridDim.x * THREADS; }
__device__ __forceinline__ long long own_thread() {
    return (long long)blockIdx.x * THREADS + threadIdx.x;
}

// A value of the held data set; NaN if it is missing.
__device__ __forceinline__ float held_value(const Buffers& buffers, long long row, long long variable) {
    const long long cell = row * buffers.variables + variable;
    if (!buffers.held_bytes) return static_cast<const float*>(buffers.held)[cell];
    const unsigned char byte = static_cast<const unsigned char*>(buffers.held)[cell];
    return byte == 255 ? not_a_number() : (float)byte;
}

// Lanes past the last row have no values: all of theirs are missing.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) gather_rows(const Buffers buffers) {
    if (own_thread() < MET) met(buffers, (int)own_thread()) = 0.0;
    const unsigned* rows = reinterpret_cast<const unsigned*>(buffers.updates + buffers.updates_count);
    const long long count = buffers.pitch * buffers.variables;
    for (long long i = own_thread(); i < count; i += threads_of_grid()) {
        const long long variable = i / LANES % buffers.variables;
        const long long row = i / LANES / buffers.variables * LANES + i % LANES;
        buffers.data[i] =
            row < buffers.rows ? held_value(buffers, rows[row], variable) : not_a_number();
    }
}

// Several threads may write one answer: the same.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) inspect(const Buffers buffers) {
    for (long long i = own_thread(); i < buffers.parameters_count; i += threads_of_grid()) {
        if (!is_finite(buffers.gradient[i])) met(buffers, NOT_FINITE) = 1.0;
    }
    for (long long row = own_thread(); row < buffers.rows; row += threads_of_grid()) {
        const bool in_doubt = buffers.in_doubt[row] != 0;
        if (in_doubt) met(buffers, IN_DOUBT) = 1.0;
        // So that NaN is met too.
        if (!in_doubt && !(buffers.log_p[row] < (double)infinity())) met(buffers, NOT_FINITE) = 1.0;
    }
}

// Kingma & Ba 2015 and Loshchilov & Hutter 2019, or descent by velocity; `gradient` is of what is ascended.
// Products and sums are rounded each by itself: given the same gradients, the host's optimiser has the same bits.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) update_parameters(const Buffers buffers) {
    if (met(buffers, IN_DOUBT) != 0.0 || met(buffers, NOT_FINITE) != 0.0) return;
    for (long long i = own_thread(); i < buffers.parameters_count; i += threads_of_grid()) {
        int tensor = 0;
        while (i >= buffers.updates[tensor].end) ++tensor;
        const Update update = buffers.updates[tensor];
        const float before = buffers.parameters[i];
        const float d = __fsub_rn(__fmul_rn(update.decay, before), buffers.gradient[i]);
        const float kept = __fmul_rn(update.beta1, buffers.first[i]);
        const float mean = __fadd_rn(kept, update.descends ? d : __fmul_rn(update.fresh1, d));
        float square = 0.0f, direction = mean;
        if (!update.descends) {
            const float fresh = __fmul_rn(update.fresh2, __fmul_rn(d, d));
            square = __fadd_rn(__fmul_rn(update.beta2, buffers.second[i]), fresh);
            const float root = __fadd_rn(__fmul_rn(sqrtf(square), update.unbias), update.epsilon);
            direction = mean / root;
        }
        const float shrunk = __fmul_rn(update.shrink, before);
        const float after = __fsub_rn(shrunk, __fmul_rn(update.rate, direction));
        buffers.first[i] = mean;
        buffers.second[i] = square;
        buffers.parameters[i] = after;
        if (!is_finite(after) || !is_finite(square)) met(buffers, OUT_OF_RANGE) = 1.0;
    }
}
