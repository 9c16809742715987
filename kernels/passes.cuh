// The kernels of a batch. Each takes `Buffers` by value.
//
//   forward_parts   every part below the head over every tile      any grid; work: parts × tiles
//   head            the head, forward and, to train, back          any grid; work: shards
//   backward_parts  every part forward again and back              any grid; work: runs of parts × shards
//   sum_shards      the gradients of all shards to one             any grid; work: coefficients
//
// For queries the way back draws rows, or sums flows up: a shard's rows are gone through by one block for each run of
// parts, and the last kernel sums flows of all runs.
//
// A tile is THREADS rows. Blocks have THREADS threads and go through the work in steps of the grid, so any
// grid gives the same bits; a grid must have no more blocks than `workspace` has arenas. They are launched in
// this order on one stream, and share nothing else.

#if ARENA_IN_SHARED
alignas(16) extern __shared__ float shared_arena[];
#endif

// Where the arena of this block begins.
__device__ __forceinline__ float* arena_of(const Buffers& buffers) {
#if ARENA_IN_SHARED
    return shared_arena;
#else
    return buffers.workspace + blockIdx.x * buffers.arena * THREADS;
#endif
}

// A thread's view of a part, for tile `tile`.
__device__ __forceinline__ Lane lane_of(const Buffers& buffers, int number, long long tile) {
    const Part& part = buffers.parts[number];
    const long long row = tile * THREADS + threadIdx.x;
    const long long first = row / LANES * buffers.variables * LANES + row % LANES;
    float* arena = arena_of(buffers) + threadIdx.x;
    Lane lane;
    lane.steps = buffers.steps + part.first_step;
    lane.operands = buffers.operands;
    lane.columns = buffers.columns + part.first_column;
    lane.coefficients = buffers.coefficients + part.coefficients;
    lane.d_coefficients = nullptr;
    lane.flows = nullptr;
    lane.data = buffers.data + first;
    lane.count = part.steps;
    lane.guarded = !buffers.certified[number];
    lane.least = buffers.least[number];
    const auto take = [&](int rows) {
        float* taken = arena;
        arena += rows * THREADS;
        return taken;
    };
    lane.values = take(part.rows);
    lane.exponents = reinterpret_cast<int*>(take(part.exponents));
    lane.bounds = take(part.exponents);
    lane.gradients = take(part.gradients);
    lane.formed = take(part.formed);
    lane.left = take(part.inline_rows);
    lane.right = take(part.inline_rows);
    const int back = buffers.train ? 1 : 0;
    lane.d_formed = take(back * part.formed);
    lane.d_left = take(back * part.inline_rows);
    lane.d_right = take(back * part.inline_rows);
    lane.states = take(back * 2);
    return lane;
}

// Block-wide: where a shard's gradients by a part's coefficients lie, cleared.
__device__ __forceinline__ float* cleared(const Buffers& buffers, const Part& part, long long shard) {
    float* sums = buffers.partial + shard * buffers.all_coefficients + part.coefficients;
    for (long long i = threadIdx.x; i < part.count; i += THREADS) sums[i] = 0.0f;
    __syncthreads();
    return sums;
}

__device__ __forceinline__ long long tiles_of(const Buffers& buffers) {
    return (buffers.rows + THREADS - 1) / THREADS;
}

// The first tile of a shard.
__device__ __forceinline__ long long shard_begin(const Buffers& buffers, long long shard) {
    return tiles_of(buffers) * shard / buffers.shards;
}

// Writes the outputs of a part for a row.
__device__ __forceinline__ void hand(
    const Buffers& buffers, Lane& lane, const Part& part, long long row
) {
    long long unit = part.handed * buffers.pitch + row;
    for (int n = 0; n < part.outputs; ++n) {
        const Operand& out = lane.operands[part.first_output + n];
        for (int i = 0; i < out.units; ++i, unit += buffers.pitch) {
            buffers.handed[unit] = at(lane.values, out.rows + i);
        }
        const long long place = (part.handed_outputs + n) * buffers.pitch + row;
        buffers.handed_exponents[place] = exponent_of(lane, out);
        buffers.handed_bounds[place] = bound_of(lane, out);
    }
}

// Takes the gradient by the outputs of a part from the head.
__device__ __forceinline__ void take_back(
    const Buffers& buffers, Lane& lane, const Part& part, long long row
) {
    long long unit = part.handed * buffers.pitch + row;
    for (int n = 0; n < part.outputs; ++n) {
        const Operand& out = lane.operands[part.first_output + n];
        for (int i = 0; i < out.units; ++i, unit += buffers.pitch) {
            if (out.gradient >= 0) at(lane.gradients, out.gradient + i) = buffers.d_handed[unit];
        }
    }
}

// Reads ln p of a row off the root. Returns the gradient of ln p by the root's mantissa: zero for a row that
// is impossible, in doubt, or not there.
__device__ __forceinline__ float root(
    const Buffers& buffers, Lane& lane, const Operand& out, long long row
) {
    const float mantissa = at(lane.values, out.rows);
    const float bound = bound_of(lane, out);
    // Written so that a bound that is no number raises doubt too.
    const bool sure = bound == 0.0f || bound <= mantissa * DOUBT;
    buffers.log_p[row] = log((double)mantissa) + exponent_of(lane, out) * LN_2;
    buffers.in_doubt[row] = sure ? 0 : 1;
    return sure && mantissa > 0.0f && row < buffers.rows ? 1.0f / mantissa : 0.0f;
}

// Where the flows of a row through a run of parts lie; the last run is the head.
__device__ __forceinline__ float* flows_of(const Buffers& buffers, long long run, long long row) {
    return buffers.partial + run * buffers.summed + row;
}

// Clears the flows of a row through a run of parts.
__device__ __forceinline__ void clear_flows(const Buffers& buffers, long long run, long long row) {
    float* flows = flows_of(buffers, run, row);
    for (long long at = 0; at < buffers.summed; at += buffers.pitch) flows[at] = 0.0f;
}

__device__ __forceinline__ Draw draw_of(const Buffers& buffers, int part, long long row) {
    const unsigned long long seed = buffers.seed, number = buffers.first_draw + row;
    const unsigned keys[2] = {(unsigned)seed, (unsigned)(seed >> 32)};
    return {{keys[0], keys[1]}, {(unsigned)number, (unsigned)(number >> 32)}, (unsigned)part, row};
}

// Goes back from the root, given the gradient by its mantissa: zero where there is no way back.
__device__ __forceinline__ void root_back(
    const Buffers& buffers, Lane& lane, const Operand& out, float seed, long long row
) {
    if (out.gradient < 0) return;
    if (QUERIES && buffers.draws) {
        clear_drawn(buffers, row);
        at(lane.gradients, out.gradient) = seed > 0.0f ? 0.0f : (float)NOWHERE;
        const Draw draw = draw_of(buffers, (int)buffers.parts_below, row);
        if constexpr (QUERIES) follow<HEAD_OPS>(buffers, lane, draw);
        return;
    }
    if (QUERIES) {
        clear_flows(buffers, buffers.runs, row);
        lane.flows = flows_of(buffers, buffers.runs, row);
    }
    at(lane.gradients, out.gradient) = seed;
    backward<HEAD_OPS>(buffers, lane, row);
}

// Draws what a row lacks of a part's variables, where the head has picked some of its outputs.
__device__ __forceinline__ void draw_part(const Buffers& buffers, Lane& lane, int number, long long row) {
    take_picked(buffers, lane, buffers.parts[number], row);
    if constexpr (QUERIES) follow<PART_OPS>(buffers, lane, draw_of(buffers, number, row));
}

// Takes a part forward again and back, for tile `tile`.
__device__ __forceinline__ void part_back(
    const Buffers& buffers, int number, long long tile, float* sums, float* flows
) {
    Lane lane = lane_of(buffers, number, tile);
    lane.d_coefficients = sums;
    lane.flows = flows;
    const long long row = tile * THREADS + threadIdx.x;
    forward<PART_OPS>(buffers, lane, row);
    if (QUERIES && buffers.draws) return draw_part(buffers, lane, number, row);
    take_back(buffers, lane, buffers.parts[number], row);
    backward<PART_OPS>(buffers, lane, row);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) forward_parts(const Buffers buffers) {
    const long long tiles = tiles_of(buffers);
    for (long long item = blockIdx.x; item < buffers.parts_below * tiles; item += gridDim.x) {
        const int number = (int)(item / tiles);
        const long long row = item % tiles * THREADS + threadIdx.x;
        Lane lane = lane_of(buffers, number, item % tiles);
        forward<PART_OPS>(buffers, lane, row);
        hand(buffers, lane, buffers.parts[number], row);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) head(const Buffers buffers) {
    const int number = (int)buffers.parts_below;
    const Part& part = buffers.parts[number];
    for (long long shard = blockIdx.x; shard < buffers.shards; shard += gridDim.x) {
        float* sums = buffers.train && !QUERIES ? cleared(buffers, part, shard) : nullptr;
        const long long end = shard_begin(buffers, shard + 1);
        for (long long tile = shard_begin(buffers, shard); tile < end; ++tile) {
            Lane lane = lane_of(buffers, number, tile);
            lane.d_coefficients = sums;
            const long long row = tile * THREADS + threadIdx.x;
            forward<HEAD_OPS>(buffers, lane, row);
            const Operand& out = lane.operands[part.first_output];
            const float seed = root(buffers, lane, out, row);
            if (buffers.train) root_back(buffers, lane, out, seed, row);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) backward_parts(const Buffers buffers) {
    const long long items = buffers.runs * buffers.shards;
    for (long long item = blockIdx.x; item < items; item += gridDim.x) {
        const long long run = item / buffers.shards, shard = item % buffers.shards;
        const int number = (int)(buffers.parts_below * run / buffers.runs);
        const int last = QUERIES ? (int)(buffers.parts_below * (run + 1) / buffers.runs) - 1 : number;
        float* sums = QUERIES ? nullptr : cleared(buffers, buffers.parts[number], shard);
        const long long end = shard_begin(buffers, shard + 1);
        for (long long tile = shard_begin(buffers, shard); tile < end; ++tile) {
            const long long row = tile * THREADS + threadIdx.x;
            float* flows = QUERIES ? flows_of(buffers, run, row) : nullptr;
            if (QUERIES && !buffers.draws) clear_flows(buffers, run, row);
            for (int n = number; n <= last; ++n) part_back(buffers, n, tile, sums, flows);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) sum_shards(const Buffers buffers) {
    const long long stride = (long long)gridDim.x * THREADS;
    const long long count = buffers.summed;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
        float sum = 0.0f;
        for (long long n = 0; n < buffers.summands; ++n) sum += buffers.partial[n * count + i];
        buffers.d_coefficients[i] = sum;
    }
}
