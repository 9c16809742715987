// Gradients by coefficients: sums over the lanes of a block.
//
// Contract of all functions here: every thread of the block calls them with the same arguments, arenas as
// the *block* sees them (column 0), after a barrier that follows the last write to the rows they read, and
// with another barrier before these rows are written again. Each number of `out` is added to by one thread,
// always the same one, in one order: two runs give the same bits.

// For each lane l of a warp, the sum over the warp of v[l % 8]. Halves what is held at each exchange, so
// eight sums cost nine exchanges.
__device__ __forceinline__ float eight_sums(float (&v)[8]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 4; half > 0; half /= 2) {
        const bool upper = lane & half;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const float given = upper ? v[i] : v[i + half];
            const float kept = upper ? v[i + half] : v[i];
            v[i] = kept + __shfl_xor_sync(0xffffffffu, given, half);
        }
    }
    float sum = v[0];
    sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    return sum;
}

// out[j][i] += Σ over the lanes of d[j] · factor(j, i, lane), for all j < units and i < width; `out` has
// rows of `pitch`. A warp takes a row j, eight columns at a time.
template <class Factor>
__device__ __forceinline__ void sum_over_lanes(
    const float* d, int units, int width, int pitch, float* out, Factor factor
) {
    const int lane = threadIdx.x % 32;
    for (int j = threadIdx.x / 32; j < units; j += WARPS) {
        for (int first = 0; first < width; first += 8) {
            float sums[8] = {};
            for (int l = lane; l < THREADS; l += 32) {
                const float dj = d[j * THREADS + l];
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    if (first + i < width) sums[i] += dj * factor(j, first + i, l);
                }
            }
            const float total = eight_sums(sums);
            const int i = first + lane;
            if (lane < 8 && i < width) out[(long long)j * pitch + i] += total;
        }
    }
}

// out[j][i] += Σ d[j] x[i]: by a matrix that x was multiplied by.
__device__ __forceinline__ void by_units(
    const float* d, int units, const float* x, int width, int pitch, float* out
) {
    sum_over_lanes(d, units, width, pitch, out, [=](int, int i, int lane) {
        return x[i * THREADS + lane];
    });
}

// The same by the weights of a sum, over x(i, lane).
template <class X>
__device__ __forceinline__ void by_terms(const float* d, int units, X x, int width, float* out) {
    if (fills_tiles(units, width)) return by_tiles(d, units, x, width, pitch_of(width), out);
    sum_over_lanes(d, units, width, pitch_of(width), out, [=](int, int i, int lane) { return x(i, lane); });
}

// The same over rows.
__device__ __forceinline__ void by_weights(
    const float* d, int units, const float* x, int width, float* out
) {
    by_terms(d, units, [=](int i, int lane) { return x[i * THREADS + lane]; }, width, out);
}

// out[j][n] += Σ d[j] x[n][j]: by the weights of a mixing layer of n inputs.
__device__ __forceinline__ void by_mixing_weights(
    const float* d, int units, const float* x, int inputs, float* out
) {
    sum_over_lanes(d, units, inputs, pitch_of(inputs), out, [=](int j, int n, int lane) {
        return x[(n * units + j) * THREADS + lane];
    });
}

// out[j][s] += Σ d[j] of the lanes in state s: by a table of a look-up. A missing state, NaN, is in none.
__device__ __forceinline__ void by_table(
    const float* d, int units, const float* state, int states, float* out
) {
    const int pitch = pitch_of(states);
    if (states <= 8) {
        sum_over_lanes(d, units, states, pitch, out, [=](int, int s, int lane) {
            return state[lane] == (float)s ? 1.0f : 0.0f;
        });
        return;
    }
    // Of many states few occur: a thread takes a row, and goes through the lanes.
    for (int j = threadIdx.x; j < units; j += THREADS) {
        for (int lane = 0; lane < THREADS; ++lane) {
            const float s = state[lane];
            if (s == s) out[(long long)j * pitch + (int)s] += d[j * THREADS + lane];
        }
    }
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int half = 16; half > 0; half /= 2) x += __shfl_xor_sync(0xffffffffu, x, half);
    return x;
}

// By mean, 1/variance and -½ ln(2π variance) of each density of x, where it is not missing. A warp takes a unit;
// its sums are doubles, for rows far out on either side cancel.
__device__ __forceinline__ void by_densities(
    const float* d, int units, const float* x, const float* table, float* out
) {
    const int lane = threadIdx.x % 32;
    for (int j = threadIdx.x / 32; j < units; j += WARPS) {
        double zeroth = 0.0, first = 0.0, second = 0.0;
        for (int l = lane; l < THREADS; l += 32) {
            const double dj = d[j * THREADS + l], off = x[l] - table[4 * j];
            if (off != off) continue;
            zeroth += dj;
            first += dj * off;
            second += dj * off * off;
        }
        zeroth = warp_sum(zeroth);
        first = warp_sum(first);
        second = warp_sum(second);
        const double sum = lane == 0 ? first * table[4 * j + 1] : lane == 1 ? -0.5 * second : zeroth;
        if (lane < 3) out[4 * j + lane] += (float)sum;
    }
}

// By the logarithms of the rates of Poisson leaves of x: the count minus its mean.
__device__ __forceinline__ void by_rates(
    const float* d, int units, const float* x, const float* table, float* out
) {
    sum_over_lanes(d, units, 1, 4, out, [=](int j, int, int lane) {
        const bool counts = x[lane] >= 0.0f && d[j * THREADS + lane] != 0.0f;
        return counts ? x[lane] - expf(table[4 * j]) : 0.0f;
    });
}
