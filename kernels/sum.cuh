// Sums: matrices of weights, [units][pitch], times what a lane has formed, and their transposes.

// Four weights at once; `weights` lies at a multiple of sixteen bytes.
__device__ __forceinline__ float4 four(const float* weights) {
    return *reinterpret_cast<const float4*>(weights);
}

// out[j] = Σᵢ weights[j][i] x[i], x in registers. `out` are rows of this lane.
template <int K>
__device__ __forceinline__ void weigh(const float* weights, int units, int, Units<K>& x, float* out) {
    for (int j = 0; j < units; ++j) {
        const float* row = weights + j * pitch_of(K);
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < K; i += 4) {
            const float4 w = four(row + i);
            sum += w.x * x[i];
            if (i + 1 < K) sum += w.y * x[i + 1];
            if (i + 2 < K) sum += w.z * x[i + 2];
            if (i + 3 < K) sum += w.w * x[i + 3];
        }
        at(out, j) = sum;
    }
}

// Rows of a lane one after the other.
struct InOrder {
    float* rows;

    __device__ __forceinline__ float next() {
        const float x = *rows;
        rows += THREADS;
        return x;
    }
};

// The same with x in the arena, or made on the way, for any width: eight outputs at a time, so that each x read serves
// eight multiply-adds, and each weight load four. Padding of the table is zero.
template <class X>
__device__ __forceinline__ void weigh_in_order(const float* weights, int units, int width, X x, float* out) {
    const int pitch = pitch_of(width);
    for (int j = 0; j < units; j += 8) {
        const int last = units - 1 - j;
        X from = x;
        float sums[8] = {};
        for (int i = 0; i < width; i += 4) {
            const float x0 = from.next();
            const float x1 = i + 1 < width ? from.next() : 0.0f;
            const float x2 = i + 2 < width ? from.next() : 0.0f;
            const float x3 = i + 3 < width ? from.next() : 0.0f;
#pragma unroll
            for (int r = 0; r < 8; ++r) {
                const float4 w = four(weights + (long long)(j + (r < last ? r : last)) * pitch + i);
                sums[r] += w.x * x0 + w.y * x1 + (w.z * x2 + w.w * x3);
            }
        }
#pragma unroll
        for (int r = 0; r < 8; ++r) {
            if (r <= last) at(out, j + r) = sums[r];
        }
    }
}

// What fills tiles is left to tensor cores.
template <>
__device__ __forceinline__ void weigh<0>(
    const float* weights, int units, int width, Units<0>& x, float* out
) {
    if (fills_tiles(units, width)) {
        const float* rows = of_warp(x.rows);
        return weigh_tiles(
            weights, units, width, [=](int i, int lane) { return rows[i * THREADS + lane]; }, out
        );
    }
    weigh_in_order(weights, units, width, InOrder{x.rows}, out);
}

// out[i] = Σⱼ weights[j][i] d[j], `out` in registers and d rows of this lane: the way back of `weigh`.
template <int K>
__device__ __forceinline__ void weigh_back(
    const float* weights, int units, int, float* d, Units<K>& out
) {
#pragma unroll
    for (int i = 0; i < K; ++i) out[i] = 0.0f;
    for (int j = 0; j < units; ++j) {
        const float* row = weights + j * pitch_of(K);
        const float dj = at(d, j);
#pragma unroll
        for (int i = 0; i < K; i += 4) {
            const float4 w = four(row + i);
            out[i] += w.x * dj;
            if (i + 1 < K) out[i + 1] += w.y * dj;
            if (i + 2 < K) out[i + 2] += w.z * dj;
            if (i + 3 < K) out[i + 3] += w.w * dj;
        }
    }
}

template <>
__device__ __forceinline__ void weigh_back<0>(
    const float* weights, int units, int width, float* d, Units<0>& out
) {
    if (fills_tiles(units, width)) return weigh_tiles_back(weights, units, width, d, out.rows);
    const int pitch = pitch_of(width);
    for (int i = 0; i < width; i += 4) {
        float sums[4] = {};
        for (int j = 0; j < units; ++j) {
            const float4 w = four(weights + (long long)j * pitch + i);
            const float dj = at(d, j);
            sums[0] += w.x * dj;
            sums[1] += w.y * dj;
            sums[2] += w.z * dj;
            sums[3] += w.w * dj;
        }
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            if (i + r < width) out[i + r] = sums[r];
        }
    }
}

// The inputs of a sum, one after the other, brought to one exponent.
struct Gathered {
    float* rows;  // Of this lane; a single input is taken where it lies.
    int exponent;
    float bound;
};

// The power of two that brings an input to a common exponent. Zero below 2^-126, which loses nothing that
// the guard keeps, and above 2^127, where only an input that is zero can be.
__device__ __forceinline__ float alignment(const Lane& lane, const Operand& value, int common) {
    return power_of_two(difference(exponent_of(lane, value), common));
}

// Concatenates the inputs of a sum. Where there are several, the top of all comes to lie in [1, 2).
__device__ __forceinline__ Gathered gather(const Lane& lane, const Operand* in, int inputs) {
    if (inputs == 1) {
        Units<0> units = units_of<0>(lane, in[0], lane.left);
        return {units.rows, exponent_of(lane, in[0]), bound_of(lane, in[0])};
    }
    Gathered all = {lane.formed, 0, 0.0f};
    bool any = false;
    for (int n = 0; n < inputs; ++n) {
        float top = 0.0f;
        for (int i = 0; i < in[n].units; ++i) top = fmaxf(top, at(lane.values, in[n].rows + i));
        const int exponent = exponent_of(lane, in[n]) + exponent_bits(top);
        if (top > 0.0f && (!any || exponent > all.exponent)) all.exponent = exponent;
        any = any || top > 0.0f;
    }
    int row = 0;
    for (int n = 0; n < inputs; ++n) {
        const float factor = alignment(lane, in[n], all.exponent);
        const float bound = bound_of(lane, in[n]);
        // Of an input that is zero for what it lost, far above all others, nothing is known.
        const bool above = difference(exponent_of(lane, in[n]), all.exponent) > 127;
        if (bound > 0.0f) all.bound += above ? infinity() : traced(bound * factor);
        for (int i = 0; i < in[n].units; ++i, ++row) {
            const float unit = at(lane.values, in[n].rows + i);
            const float moved = unit * factor;
            const bool lost = moved < LOSS && unit > 0.0f;
            at(lane.formed, row) = lost ? 0.0f : moved;
            if (lost) all.bound += LOSS;
        }
    }
    return all;
}

// What a sum over x may lack because a term of it is too small for a float to keep all of its digits.
template <int K>
__device__ __forceinline__ float small_terms(const Lane& lane, int width, Units<K>& x) {
    if (!lane.guarded) return 0.0f;
    float smallest = infinity();
#pragma unroll (K > 0 ? K : 1)
    for (int i = 0; i < x.count(width); ++i) {
        if (x[i] > 0.0f) smallest = fminf(smallest, x[i]);
    }
    return smallest * lane.least < TRACE ? (float)width * TRACE : 0.0f;
}

// out[j] = Σₙ weights[j][n] x[n][j], over the n inputs of a mixing layer.
__device__ __forceinline__ void mix(const float* weights, int units, int inputs, float* x, float* out) {
    const int pitch = pitch_of(inputs);
    for (int j = 0; j < units; ++j) {
        float sum = 0.0f;
        for (int n = 0; n < inputs; ++n) sum += weights[j * pitch + n] * at(x, n * units + j);
        at(out, j) = sum;
    }
}

// d_x[n][j] = weights[j][n] d[j]: the way back of `mix`.
__device__ __forceinline__ void mix_back(
    const float* weights, int units, int inputs, float* d, float* d_x
) {
    const int pitch = pitch_of(inputs);
    for (int j = 0; j < units; ++j) {
        for (int n = 0; n < inputs; ++n) at(d_x, n * units + j) = weights[j * pitch + n] * at(d, j);
    }
}
