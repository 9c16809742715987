// Likeliest completions: trees of `tree.cuh` that pick the first of the greatest terms, and a leaf's likeliest value.
//
//   take_logs       the logarithms of all coefficients, once for any number of batches
//   best_parts      every part below the head over every tile, by max-product     any grid; work: parts × tiles
//   best_head       the head, and from its root down                              any grid; work: tiles
//   complete_parts  the parts that trees have reached, again and down             any grid; work: parts × tiles
//
// Contract of all functions here: a thread runs them for its own row, without barriers. Max-product goes by logarithms
// in double precision: a product adds, a sum takes its greatest term, a missing value is the likeliest of each leaf. So
// there is nothing to scale, to lose or to doubt, and terms compare as on the processor. A thread's arena holds
// doubles, [rows][THREADS], then what is picked, a float a row; a plan for queries keeps all values, so that no step
// writes where its inputs lie.

// What a thread has of max-product beside its Lane.
struct Best {
    const double* logs;  // Of the part's coefficients.
    double* values;      // The arena, each pointer at this thread's column:
    double* left;        //   inline inputs, as they were looked up for the step at hand.
    double* right;
    long long row;       // Of the batch.

    // What `tree.cuh` asks.
    __device__ __forceinline__ int of_product(
        const Lane& lane, const Step& step, const Operand* in, int unit, int number
    ) const;
    __device__ __forceinline__ Two of_pairs(
        const Lane& lane, const Step& step, const Operand* in, int unit, int number
    ) const;
    __device__ __forceinline__ Two of_inputs(
        const Lane& lane, const Step& step, const Operand* in, int unit, int number
    ) const;
    __device__ __forceinline__ int of_list(
        const Buffers& buffers, const Lane& lane, const Step& step, int unit, int number
    ) const;
    template <int OPS>
    __device__ __forceinline__ float leaf(const Lane& lane, const Step& step, int unit, int number) const;
    __device__ __forceinline__ float inline_leaf(
        const Lane& lane, const Operand& input, int unit, int number, int side
    ) const;
};

__device__ __forceinline__ double& at(double* rows, int row) { return rows[row * THREADS]; }

// The first index of the greatest of `count` numbers; NOWHERE where all are −∞.
template <class Number>
__device__ __forceinline__ int greatest(int count, Number number) {
    double top = -infinity();
    int first = NOWHERE;
    for (int i = 0; i < count; ++i) {
        const double own = number(i);
        if (!(own > top)) continue;
        top = own;
        first = i;
    }
    return first;
}

// The likeliest state by a row of a table, the least of several; the first where none is possible.
__device__ __forceinline__ int likeliest_state(const float* row, int states) {
    const int state = greatest(states, [=](int s) { return (double)row[s]; });
    return state == NOWHERE ? 0 : state;
}

// The likeliest value of a unit of a leaf.
template <int OPS>
__device__ __forceinline__ float likeliest(const Lane& lane, const Step& step, int unit) {
    const float* table = lane.coefficients + step.table;
    if (OCCURS(GAUSSIAN) && step.op == GAUSSIAN) return table[4 * unit];
    if (OCCURS(POISSON) && step.op == POISSON) {
        // Of a whole rate both it and the count before are likeliest, and this is the lesser.
        return (float)fmax(ceil(exp((double)table[4 * unit])) - 1.0, 0.0);
    }
    return (float)likeliest_state(table + unit * pitch_of(step.states), step.states);
}

// ln p of a unit of a leaf at a value.
template <int OPS>
__device__ __forceinline__ double leaf_log(
    const Lane& lane, const Best& best, const Step& step, int unit, float x
) {
    const float* table = lane.coefficients + step.table;
    if (OCCURS(GAUSSIAN) && step.op == GAUSSIAN) {
        const float4 normal = four(table + 4 * unit);
        const double d = (double)x - normal.x;
        return normal.z - 0.5 * d * d * normal.y;
    }
    if (OCCURS(POISSON) && step.op == POISSON) {
        const double log_rate = table[4 * unit];
        const bool counts = x >= 0.0f && x == floorf(x);
        return counts ? x * log_rate - exp(log_rate) - lgamma((double)x + 1.0) : -infinity();
    }
    const int entry = unit * pitch_of(step.states) + (int)x;
    return OCCURS(LOG_LOOKUP) && step.op == LOG_LOOKUP ? table[entry] : best.logs[step.table + entry];
}

// Where the units of an input lie: what is inline, in `scratch`.
__device__ __forceinline__ const double* units_of(const Best& best, const Operand& input, const double* scratch) {
    return input.rows == NOWHERE ? scratch : best.values + input.rows * THREADS;
}

__device__ __forceinline__ double unit_at(const double* rows, int unit) { return rows[unit * THREADS]; }

// Looks an inline input up into `scratch`.
__device__ __forceinline__ void look_up(
    const Lane& lane, const Best& best, const Operand& input, double* scratch
) {
    if (input.rows != NOWHERE) return;
    const float x = column_of(lane, input.column);
    const int pitch = pitch_of(input.states);
    for (int i = 0; i < input.units; ++i) {
        const long long row = input.table + (long long)i * pitch;
        const int state = x == x ? (int)x : likeliest_state(lane.coefficients + row, input.states);
        at(scratch, i) = best.logs[row + state];
    }
}

// The same of all inputs that may be inline: the first two.
__device__ __forceinline__ void look_up(
    const Lane& lane, const Best& best, const Step& step, const Operand* in
) {
    if (step.inputs > 0) look_up(lane, best, in[0], best.left);
    if (step.inputs > 1) look_up(lane, best, in[1], best.right);
}

// Calls each(i, log) with the factors of all terms of a sum, in their order, which all of its units share: the units of
// all inputs, the products of two, or those of all pairs.
template <int OPS, class Each>
__device__ __forceinline__ void each_factor(
    const Best& best, const Step& step, const Operand* in, Each each
) {
    int i = 0;
    if ((OCCURS(PRODUCT_SUM) && step.op == PRODUCT_SUM) || (OCCURS(KRONECKER_SUM) && step.op == KRONECKER_SUM)) {
        const bool all = step.op == KRONECKER_SUM;
        const double* left = units_of(best, in[0], best.left);
        const double* right = units_of(best, in[1], best.right);
        for (int j = 0; j < (all ? in[1].units : 1); ++j) {
            for (int unit = 0; unit < in[0].units; ++unit, ++i) {
                each(i, unit_at(left, unit) + unit_at(right, all ? j : unit));
            }
        }
        return;
    }
    for (int n = 0; n < step.inputs; ++n) {
        const double* units = units_of(best, in[n], best.left);
        for (int unit = 0; unit < in[n].units; ++unit, ++i) each(i, unit_at(units, unit));
    }
}

// The greatest terms of all units of a sum, four at a time, so that a factor read serves four.
template <int OPS>
__device__ __forceinline__ void best_sum(
    const Best& best, const Step& step, const Operand* in, double* out
) {
    for (int j = 0; j < step.out.units; j += 4) {
        const int last = step.out.units - 1 - j;
        const double* weights = best.logs + step.table + (long long)j * step.pitch;
        double tops[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) tops[r] = -infinity();
        each_factor<OPS>(best, step, in, [&](int i, double factor) {
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const double term = weights[(long long)(r < last ? r : last) * step.pitch + i] + factor;
                tops[r] = term > tops[r] ? term : tops[r];
            }
        });
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            if (r <= last) at(out, j + r) = tops[r];
        }
    }
}

// Term n of a unit of a mixing layer.
__device__ __forceinline__ double mixed(
    const Best& best, const Step& step, const Operand* in, int unit, int n
) {
    const double weight = best.logs[step.table + (long long)unit * step.pitch + n];
    return weight + unit_at(units_of(best, in[n], best.left), unit);
}

// A term of a sparse sum.
__device__ __forceinline__ double listed(const Buffers& buffers, const Best& best, int term) {
    const Term of = buffers.terms[term];
    const double weight = of.weight == NOWHERE ? 0.0 : best.logs[of.weight];
    const double right = of.right == NOWHERE ? 0.0 : unit_at(best.values, of.right);
    return weight + (unit_at(best.values, of.left) + right);
}

// A product of two values, elementwise or of all pairs, the unit of the first varying fastest.
template <int OPS>
__device__ __forceinline__ void best_product(
    const Best& best, const Step& step, const Operand* in, double* out
) {
    const double* left = units_of(best, in[0], best.left);
    const double* right = units_of(best, in[1], best.right);
    const bool pairs = OCCURS(KRONECKER) && step.op == KRONECKER;
    const int wide = in[0].units;
    for (int i = 0; i < step.out.units; ++i) {
        const int l = pairs ? i % wide : i, r = pairs ? i / wide : i;
        at(out, i) = unit_at(left, l) + unit_at(right, r);
    }
}

// A step of one unit at a time.
template <int OPS>
__device__ __forceinline__ double best_unit(
    const Buffers& buffers, const Lane& lane, const Best& best, const Step& step, const Operand* in, int unit
) {
    if (is_leaf(step.op)) {
        const float x = column_of(lane, step.column);
        return leaf_log<OPS>(lane, best, step, unit, x == x ? x : likeliest<OPS>(lane, step, unit));
    }
    if (OCCURS(IMPORT) && step.op == IMPORT) {
        return buffers.handed_logs[(step.table + unit) * buffers.pitch + best.row];
    }
    if (OCCURS(EXPONENTIATE) && step.op == EXPONENTIATE) {
        return unit_at(units_of(best, in[0], best.left), unit);
    }
    double top = -infinity();
    if (OCCURS(MIX) && step.op == MIX) {
        for (int n = 0; n < step.inputs; ++n) top = fmax(top, mixed(best, step, in, unit, n));
        return top;
    }
    if (OCCURS(SPARSE) && step.op == SPARSE) {
        const List list = buffers.lists[step.table + unit];
        for (int t = list.first; t < list.end; ++t) top = fmax(top, listed(buffers, best, t));
        return top;
    }
    return 0.0;  // ONE
}

// Runs all steps of a part for a row.
template <int OPS>
__device__ __forceinline__ void best_forward(const Buffers& buffers, const Lane& lane, const Best& best) {
    for (int n = 0; n < lane.count; ++n) {
        const Step& step = lane.steps[n];
        const Operand* in = lane.operands + step.first_input;
        double* out = best.values + step.out.rows * THREADS;
        look_up(lane, best, step, in);
        if (step.op == PRODUCT_SUM || step.op == KRONECKER_SUM || step.op == SUM) {
            best_sum<OPS>(best, step, in, out);
        } else if (step.op == PRODUCT || step.op == KRONECKER || step.op == ADD_LOGS) {
            best_product<OPS>(best, step, in, out);
        } else {
            for (int i = 0; i < step.out.units; ++i) {
                at(out, i) = best_unit<OPS>(buffers, lane, best, step, in, i);
            }
        }
    }
}

__device__ __forceinline__ int Best::of_product(
    const Lane& lane, const Step& step, const Operand* in, int unit, int number
) const {
    look_up(lane, *this, step, in);
    const double* first = units_of(*this, in[0], left);
    const double* second = units_of(*this, in[1], right);
    const double* weights = logs + step.table + (long long)unit * step.pitch;
    return greatest(step.width, [=](int i) {
        return weights[i] + (unit_at(first, i) + unit_at(second, i));
    });
}

__device__ __forceinline__ Two Best::of_pairs(
    const Lane& lane, const Step& step, const Operand* in, int unit, int number
) const {
    look_up(lane, *this, step, in);
    const double* first = units_of(*this, in[0], left);
    const double* second = units_of(*this, in[1], right);
    const double* weights = logs + step.table + (long long)unit * step.pitch;
    const int wide = in[0].units;
    const int i = greatest(step.width, [=](int i) {
        return weights[i] + (unit_at(first, i % wide) + unit_at(second, i / wide));
    });
    return i == NOWHERE ? Two{NOWHERE, NOWHERE} : Two{i % wide, i / wide};
}

__device__ __forceinline__ Two Best::of_inputs(
    const Lane& lane, const Step& step, const Operand* in, int unit, int number
) const {
    look_up(lane, *this, step, in);
    if (step.op == MIX) {
        return {greatest(step.inputs, [&](int n) { return mixed(*this, step, in, unit, n); }), unit};
    }
    const double* weights = logs + step.table + (long long)unit * step.pitch;
    Two found = {NOWHERE, NOWHERE};
    double top = -infinity();
    for (int n = 0; n < step.inputs; ++n) {
        const double* units = units_of(*this, in[n], left);
        const int i = greatest(in[n].units, [=](int i) { return weights[i] + unit_at(units, i); });
        if (i != NOWHERE && weights[i] + unit_at(units, i) > top) {
            top = weights[i] + unit_at(units, i);
            found = {n, i};
        }
        weights += in[n].units;
    }
    return found;
}

__device__ __forceinline__ int Best::of_list(
    const Buffers& buffers, const Lane&, const Step& step, int unit, int number
) const {
    const List list = buffers.lists[step.table + unit];
    const int picked =
        greatest(list.end - list.first, [&](int t) { return listed(buffers, *this, list.first + t); });
    return picked == NOWHERE ? NOWHERE : list.first + picked;
}

template <int OPS>
__device__ __forceinline__ float Best::leaf(const Lane& lane, const Step& step, int unit, int number) const {
    return likeliest<OPS>(lane, step, unit);
}

__device__ __forceinline__ float Best::inline_leaf(
    const Lane& lane, const Operand& input, int unit, int number, int side
) const {
    const float* row = lane.coefficients + input.table + unit * pitch_of(input.states);
    return (float)likeliest_state(row, input.states);
}

// A thread's view of a part for max-product; of the lane, the arena is no more than what is picked.
__device__ __forceinline__ Best best_of(const Buffers& buffers, Lane& lane, int number, long long tile) {
    const Part& part = buffers.parts[number];
    lane = lane_of(buffers, number, tile);
    Best best;
    best.logs = buffers.logs + part.coefficients;
    best.values = reinterpret_cast<double*>(arena_of(buffers)) + threadIdx.x;
    best.left = best.values + part.rows * THREADS;
    best.right = best.left + part.inline_rows * THREADS;
    best.row = tile * THREADS + threadIdx.x;
    const int doubles = part.rows + 2 * part.inline_rows;
    lane.gradients = arena_of(buffers) + 2 * doubles * THREADS + threadIdx.x;
    return best;
}

// Writes the outputs of a part for a row.
__device__ __forceinline__ void hand_logs(
    const Buffers& buffers, const Lane& lane, const Best& best, const Part& part
) {
    long long unit = part.handed * buffers.pitch + best.row;
    for (int n = 0; n < part.outputs; ++n) {
        const Operand& out = lane.operands[part.first_output + n];
        for (int i = 0; i < out.units; ++i, unit += buffers.pitch) {
            buffers.handed_logs[unit] = unit_at(best.values, out.rows + i);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) take_logs(const Buffers buffers) {
    if (!QUERIES) return;
    const long long stride = (long long)gridDim.x * THREADS;
    const long long count = buffers.all_coefficients;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
        buffers.logs[i] = log((double)buffers.coefficients[i]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) best_parts(const Buffers buffers) {
    if constexpr (QUERIES) {
        const long long tiles = tiles_of(buffers);
        for (long long item = blockIdx.x; item < buffers.parts_below * tiles; item += gridDim.x) {
            const int number = (int)(item / tiles);
            Lane lane;
            const Best best = best_of(buffers, lane, number, item % tiles);
            best_forward<PART_OPS>(buffers, lane, best);
            hand_logs(buffers, lane, best, buffers.parts[number]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) best_head(const Buffers buffers) {
    if constexpr (QUERIES) {
        const int number = (int)buffers.parts_below;
        for (long long tile = blockIdx.x; tile < tiles_of(buffers); tile += gridDim.x) {
            Lane lane;
            const Best best = best_of(buffers, lane, number, tile);
            best_forward<HEAD_OPS>(buffers, lane, best);
            const Operand& out = lane.operands[buffers.parts[number].first_output];
            const double log = unit_at(best.values, out.rows);
            buffers.log_p[best.row] = log;
            clear_drawn(buffers, best.row);
            if (out.gradient < 0) continue;
            at(lane.gradients, out.gradient) = log > -infinity() ? 0.0f : (float)NOWHERE;
            follow<HEAD_OPS>(buffers, lane, best);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) complete_parts(const Buffers buffers) {
    if constexpr (QUERIES) {
        const long long tiles = tiles_of(buffers);
        for (long long item = blockIdx.x; item < buffers.parts_below * tiles; item += gridDim.x) {
            const int number = (int)(item / tiles);
            Lane lane;
            const Best best = best_of(buffers, lane, number, item % tiles);
            // A mixture sends a row into one of its parts.
            if (!take_picked(buffers, lane, buffers.parts[number], best.row)) continue;
            best_forward<PART_OPS>(buffers, lane, best);
            follow<PART_OPS>(buffers, lane, best);
        }
    }
}
