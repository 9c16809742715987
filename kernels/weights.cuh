// Weights on the device: from parameters to coefficients, and from the gradient by these back.
//
//   make_logits     the network of Hyper, over tiles of sectors      network_blocks blocks
//   make_weights    softmax of each row, and tables of leaves         any grid; work: a warp a row
//   certify         whether a part may run without its guard          any grid; work: a warp a part
//   weights_back    the gradient by logits, or by parameters          any grid; work: a warp a row
//   logits_back     the network back, over tiles of sectors           network_blocks blocks
//   sum_network     its gradients of all blocks to one                any grid; work: numbers of the network
//
// They are launched in this order on one stream, the first three before `forward_parts`, the others after
// `sum_shards`. A block of the network's kernels has its lanes on sectors: activations are rows of its arena,
// one column a sector, and gradients by the network are sums over lanes, as those by coefficients are.

__device__ __forceinline__ float* block_arena(const Buffers& buffers) {
#if ARENA_IN_SHARED
    return shared_arena;
#else
    return buffers.workspace + blockIdx.x * buffers.arena * THREADS;
#endif
}

// The sector of this thread, of no rows where there is none.
__device__ __forceinline__ Sector sector_of(const Buffers& buffers, long long tile) {
    const long long index = tile * THREADS + threadIdx.x;
    const bool live = index < buffers.sectors_count;
    Sector sector = buffers.sectors[live ? index : 0];
    if (!live) sector.rows = 0;
    return sector;
}

__device__ __forceinline__ long long sector_tiles(const Buffers& buffers) {
    return (buffers.sectors_count + THREADS - 1) / THREADS;
}

// Unit j of a layer before its ReLU, of the layer's inputs in `rows`.
__device__ __forceinline__ float affine(
    const Buffers& buffers, const Layer& layer, int j, const float* rows
) {
    const float* weights = buffers.parameters + layer.weights + (long long)j * layer.inputs;
    float sum = buffers.parameters[layer.weights + (long long)layer.outputs * layer.inputs + j];
    for (int i = 0; i < layer.inputs; ++i) sum += weights[i] * rows[(layer.first + i) * THREADS];
    return sum;
}

// The embedding and all hidden layers of a sector, to `rows` of this lane.
__device__ __forceinline__ void activate(const Buffers& buffers, const Sector& sector, float* rows) {
    for (int i = 0; i < buffers.layers[0].inputs; ++i) {
        at(rows, i) = buffers.parameters[sector.embedding + i];
    }
    for (long long l = 0; l + 1 < buffers.layers_count; ++l) {
        const Layer layer = buffers.layers[l];
        for (int j = 0; j < layer.outputs; ++j) {
            at(rows, layer.first + layer.inputs + j) = fmaxf(affine(buffers, layer, j, rows), 0.0f);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) make_logits(const Buffers buffers) {
    float* rows = block_arena(buffers) + threadIdx.x;
    const Layer output = buffers.layers[buffers.layers_count - 1];
    for (long long tile = blockIdx.x; tile < sector_tiles(buffers); tile += buffers.network_blocks) {
        const Sector sector = sector_of(buffers, tile);
        activate(buffers, sector, rows);
        for (int r = 0; r < sector.rows; ++r) {
            float* out = buffers.coefficients + sector.at + (long long)r * sector.pitch;
            for (int c = 0; c < sector.cols; ++c) {
                out[c] = affine(buffers, output, r * (int)buffers.network_columns + c, rows);
            }
        }
    }
}

// Block-wide: adds the gradients by the weights and biases of `count` units of a layer, from unit `first`, to
// the block's. `d` are rows by these units, `x` the layer's inputs, both as the block sees them.
__device__ __forceinline__ void by_layer(
    const Layer& layer, const float* d, int first, int count, const float* x, float* partial
) {
    float* weights = partial + (long long)first * layer.inputs;
    float* bias = partial + (long long)layer.outputs * layer.inputs + first;
    by_units(d, count, x, layer.inputs, layer.inputs, weights);
    sum_over_lanes(d, count, 1, 1, bias, [](int, int, int) { return 1.0f; });
}

// d_in[i] = Σⱼ weights[j][i] d[j] over `count` units from `first`, added where `adds`. Rows of this lane.
__device__ __forceinline__ void layer_back(
    const Buffers& buffers, const Layer& layer, float* d, int first, int count, float* d_in, bool adds
) {
    const float* weights = buffers.parameters + layer.weights + (long long)first * layer.inputs;
    for (int i = 0; i < layer.inputs; ++i) {
        float sum = adds ? at(d_in, i) : 0.0f;
        for (int j = 0; j < count; ++j) sum += weights[(long long)j * layer.inputs + i] * at(d, j);
        at(d_in, i) = sum;
    }
}

#define OUTPUT_CHUNK 8  // Logits of a sector that are taken back at a time.

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) logits_back(const Buffers buffers) {
    float* block = block_arena(buffers);
    const Layer output = buffers.layers[buffers.layers_count - 1];
    const int units = output.first + output.inputs;  // Rows of activations,
    float* rows = block + threadIdx.x;
    float* d_rows = rows + units * THREADS;          //   of the gradients by them,
    float* d_logits = d_rows + units * THREADS;      //   and by some logits.
    const long long start = buffers.layers[0].weights;
    float* partial = buffers.network_partial + blockIdx.x * buffers.network_size;
    for (long long i = threadIdx.x; i < buffers.network_size; i += THREADS) partial[i] = 0.0f;
    for (long long tile = blockIdx.x; tile < sector_tiles(buffers); tile += buffers.network_blocks) {
        const Sector sector = sector_of(buffers, tile);
        activate(buffers, sector, rows);
        const int columns = (int)buffers.network_columns;
        for (int first = 0; first < output.outputs; first += OUTPUT_CHUNK) {
            const int rest = output.outputs - first, count = rest < OUTPUT_CHUNK ? rest : OUTPUT_CHUNK;
            for (int j = 0; j < count; ++j) {
                const int r = (first + j) / columns, c = (first + j) % columns;
                const bool taken = r < sector.rows && c < sector.cols;
                const long long place = sector.at + (long long)r * sector.pitch + c;
                at(d_logits, j) = taken ? buffers.d_coefficients[place] : 0.0f;
            }
            float* d_in = d_rows + output.first * THREADS;
            layer_back(buffers, output, d_logits, first, count, d_in, first > 0);
            __syncthreads();
            const float* x = block + output.first * THREADS;
            by_layer(output, of_block(d_logits), first, count, x, partial + (output.weights - start));
            __syncthreads();
        }
        for (long long l = buffers.layers_count - 2; l >= 0; --l) {
            const Layer layer = buffers.layers[l];
            const int made = layer.first + layer.inputs;
            for (int j = 0; j < layer.outputs; ++j) {
                if (!(at(rows, made + j) > 0.0f)) at(d_rows, made + j) = 0.0f;
            }
            float* d = d_rows + made * THREADS;
            layer_back(buffers, layer, d, 0, layer.outputs, d_rows + layer.first * THREADS, false);
            __syncthreads();
            const float* x = block + layer.first * THREADS;
            by_layer(layer, of_block(d), 0, layer.outputs, x, partial + (layer.weights - start));
            __syncthreads();
        }
        for (int i = 0; i < buffers.layers[0].inputs && sector.rows > 0; ++i) {
            buffers.gradient[sector.embedding + i] = at(d_rows, i);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) sum_network(const Buffers buffers) {
    const long long stride = (long long)gridDim.x * THREADS;
    const long long count = buffers.network_size;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
        float sum = 0.0f;
        for (long long b = 0; b < buffers.network_blocks; ++b) {
            sum += buffers.network_partial[b * count + i];
        }
        buffers.gradient[buffers.layers[0].weights + i] = sum;
    }
}

// The warps of a grid, and which this one is.
__device__ __forceinline__ long long warps() { return (long long)gridDim.x * WARPS; }
__device__ __forceinline__ long long own_warp() {
    return (long long)blockIdx.x * WARPS + threadIdx.x / 32;
}

__device__ __forceinline__ float warp_least(float x) {
#pragma unroll
    for (int half = 16; half > 0; half /= 2) x = fminf(x, __shfl_xor_sync(0xffffffffu, x, half));
    return x;
}

// Warp-wide: weights = softmax of logits, which may be the same. The sum is taken in double precision: its error
// would be one of all weights of the row, in every row of the batch. Returns the least weight.
__device__ __forceinline__ float softmax(const float* logits, int len, float* weights) {
    const int lane = threadIdx.x % 32;
    float top = infinity();
    for (int i = lane; i < len; i += 32) top = fminf(top, -logits[i]);
    top = -warp_least(top);
    double sum = 0.0;
    for (int i = lane; i < len; i += 32) sum += (double)expf(logits[i] - top);
    sum = warp_sum(sum);
    float least = infinity();
    for (int i = lane; i < len; i += 32) {
        const float weight = (float)((double)expf(logits[i] - top) / sum);
        weights[i] = weight;
        least = fminf(least, weight);
    }
    return warp_least(least);
}

// What the variance of a normal density has over its least, and the derivative of that by raw parameter `r`.
__device__ __forceinline__ float2 over_least(const WeightRow& row, float r) {
    const float range = row.high - row.low;
    const float share = 1.0f / (1.0f + expf(-r));
    const bool bounded = row.high < infinity();
    return bounded ? float2{range * share, range * share * (1.0f - share)} : float2{expf(r), expf(r)};
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) make_weights(const Buffers buffers) {
    const int lane = threadIdx.x % 32;
    for (long long n = own_warp(); n < buffers.weight_rows_count; n += warps()) {
        const WeightRow row = buffers.weight_rows[n];
        float* out = buffers.coefficients + row.at;
        const float* raw = row.parameters == NOWHERE ? out : buffers.parameters + row.parameters;
        float least = infinity();
        if (row.kind == WEIGHTS || row.kind == CATEGORICAL) {
            least = softmax(raw, row.len, out);
        } else if (row.kind == BERNOULLI) {
            const float one = 1.0f / (1.0f + expf(-raw[0])), zero = 1.0f / (1.0f + expf(raw[0]));
            if (lane < 2) out[lane] = lane ? one : zero;
            least = fminf(zero, one);
        } else if (lane == 0) {
            const float variance = row.low + over_least(row, raw[1]).x;
            out[0] = raw[0];
            out[1] = 1.0f / variance;
            out[2] = -0.5f * logf(6.28318530717958647692f * variance);
        }
        // A leaf that excludes a state is no loss; a weight of zero leaves no bound.
        if (row.kind != WEIGHTS && !(least > 0.0f)) least = 0x1p-126f;
        if (lane == 0) buffers.row_least[n] = least;
    }
}

// A chain of coefficients of at least 2^-bits keeps above 2^-100 if chain · (bits + 2) is at most 100.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) certify(const Buffers buffers) {
    for (long long n = own_warp(); n <= buffers.parts_below; n += warps()) {
        const Certificate certificate = buffers.certificates[n];
        float least = certificate.least;
        for (int i = threadIdx.x % 32; i < certificate.rows; i += 32) {
            least = fminf(least, buffers.row_least[certificate.first_row + i]);
        }
        least = warp_least(least);
        const float bits = least > 0.0f && least < 1.0f ? ceilf(-log2f(least)) : 0.0f;
        const bool kept = least > 0.0f && (bits + 2.0f) * (float)certificate.chain <= 100.0f;
        const bool certified = certificate.chain == 0 || (certificate.chain > 0 && kept);
        if (threadIdx.x % 32 > 0) continue;
        buffers.certified[n] = certified ? 1 : 0;
        buffers.least[n] = least;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) weights_back(const Buffers buffers) {
    const int lane = threadIdx.x % 32;
    for (long long n = own_warp(); n < buffers.weight_rows_count; n += warps()) {
        const WeightRow row = buffers.weight_rows[n];
        const float* weights = buffers.coefficients + row.at;
        float* d = buffers.d_coefficients + row.at;
        float* out = row.parameters == NOWHERE ? d : buffers.gradient + row.parameters;
        if (row.kind == WEIGHTS || row.kind == CATEGORICAL) {
            double dot = 0.0;
            for (int i = lane; i < row.len; i += 32) dot += (double)weights[i] * d[i];
            dot = warp_sum(dot);
            for (int i = lane; i < row.len; i += 32) out[i] = weights[i] * (float)(d[i] - dot);
        } else if (lane > 0) {
            continue;
        } else if (row.kind == BERNOULLI) {
            out[0] = weights[0] * weights[1] * (d[1] - d[0]);
        } else {
            const float2 over = over_least(row, buffers.parameters[row.parameters + 1]);
            const float variance = row.low + over.x;
            out[0] = d[0];
            out[1] = over.y * (-d[1] / (variance * variance) - d[2] / (2.0f * variance));
        }
    }
}
