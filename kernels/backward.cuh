// The backward pass of a program over the rows of a block, after its forward pass.
//
// Gradients are by mantissas: each mantissa is a function of others with powers of two as constants, so the
// derivative of ln p by it is linear arithmetic too. What a step formed on the way is formed again.
//
// Each step has the same four movements: every thread forms what the gradients are made of, in rows of its
// own; a barrier; the block sums over its lanes, for the gradients by coefficients; a barrier; every thread
// delivers the gradients by the inputs. The last comes late because an input's gradient may take the rows
// of the output's. Which steps have sums is the same for all threads, so all meet at the same barriers.
//
// For queries nothing is learned: there are no sums over lanes and no barriers, and the gradients by a leaf's units are
// the row's flows.

// The rows of a block that begin where a lane's do.
__device__ __forceinline__ float* of_block(float* rows) { return rows - threadIdx.x; }

// Writes the gradient by unit i of an input, or adds to it.
__device__ __forceinline__ void deliver(Lane& lane, const Operand& input, int i, float d) {
    float& gradient = at(lane.gradients, input.gradient + i);
    gradient = input.first ? d : gradient + d;
}

// Block-wide: adds the gradient by the table of an inline input, given that by its units.
__device__ __forceinline__ void inline_table(
    Lane& lane, const Operand& input, float* d, float* state
) {
    if (input.gradient != TO_TABLE) return;
    float* out = lane.d_coefficients + input.table;
    by_table(of_block(d), input.units, of_block(state), input.states, out);
}

// Notes the state that an inline input was looked up by, for `inline_table`.
__device__ __forceinline__ void note_state(const Lane& lane, const Operand& input, float* state) {
    if (input.gradient == TO_TABLE) *state = column_of(lane, input.column);
}

// Through a product, or a sum of one.
template <int K>
__device__ __forceinline__ void product_back(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    Units<K> a = units_of<K>(lane, in[0], lane.left), b = units_of<K>(lane, in[1], lane.right);
    Units<K> p(lane.formed), d(lane.d_formed);
    const Scaled scaled = multiply<K>(lane, in, a, b, p);
    const int width = p.count(in[0].units);
    float* d_out = lane.gradients + step.out.gradient * THREADS;
    const bool weighted = K > 0 || step.op == PRODUCT_SUM;
    if (weighted) {
        // Written first: the registers of the product are wanted for its gradient.
        if (K > 0 && !QUERIES) {
#pragma unroll (K > 0 ? K : 1)
            for (int i = 0; i < width; ++i) at(lane.formed, i) = p[i];
        }
        weigh_back<K>(lane.coefficients + step.table, step.out.units, width, d_out, d);
    } else {
        for (int i = 0; i < width; ++i) d[i] = at(d_out, i);
    }
    const bool looks_up = in[0].gradient == TO_TABLE || in[1].gradient == TO_TABLE;
    if (looks_up) {
        note_state(lane, in[0], lane.states);
        note_state(lane, in[1], lane.states + THREADS);
#pragma unroll (K > 0 ? K : 1)
        for (int i = 0; i < width; ++i) {
            if (in[0].gradient == TO_TABLE) at(lane.d_left, i) = d[i] * scaled.down * b[i];
            if (in[1].gradient == TO_TABLE) at(lane.d_right, i) = d[i] * scaled.down * a[i];
        }
    }
    if (QUERIES) {
        inline_flows(buffers, lane, in[0], lane.d_left);
        inline_flows(buffers, lane, in[1], lane.d_right);
    } else if (weighted || looks_up) {
        __syncthreads();
        if (weighted) {
            float* out = lane.d_coefficients + step.table;
            by_weights(of_block(d_out), step.out.units, of_block(lane.formed), width, out);
        }
        inline_table(lane, in[0], lane.d_left, lane.states);
        inline_table(lane, in[1], lane.d_right, lane.states + THREADS);
        __syncthreads();
    }
    const bool to_a = in[0].gradient >= 0, to_b = in[1].gradient >= 0;
#pragma unroll (K > 0 ? K : 1)
    for (int i = 0; i < width; ++i) {
        const float scaled_d = d[i] * scaled.down;
        if (to_a) deliver(lane, in[0], i, scaled_d * b[i]);
        if (to_b) deliver(lane, in[1], i, scaled_d * a[i]);
    }
}

// The gradient by unit `n` of one factor of all pairs.
__device__ __forceinline__ float pair_gradient(
    const Operand* in, bool left, int n, Units<0>& d, Units<0>& other
) {
    const int wide = in[0].units, count = left ? in[1].units : wide;
    float sum = 0.0f;
    for (int m = 0; m < count; ++m) sum += d[left ? n + wide * m : m + wide * n] * other[m];
    return sum;
}

__device__ __forceinline__ void kronecker_back(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    Units<0> a = units_of<0>(lane, in[0], lane.left), b = units_of<0>(lane, in[1], lane.right);
    Units<0> p(lane.formed), d(lane.d_formed);
    const Scaled scaled = pairs(lane, in, a, b, p);
    for (int i = 0; i < step.out.units; ++i) {
        d[i] = at(lane.gradients, step.out.gradient + i) * scaled.down;
    }
    for (int side = 0; side < 2; ++side) {
        float* d_inline = side == 0 ? lane.d_left : lane.d_right;
        note_state(lane, in[side], lane.states + side * THREADS);
        for (int i = 0; i < in[side].units; ++i) {
            const float sum = pair_gradient(in, side == 0, i, d, side == 0 ? b : a);
            if (in[side].gradient == TO_TABLE) at(d_inline, i) = sum;
            if (in[side].gradient >= 0) deliver(lane, in[side], i, sum);
        }
    }
    if (QUERIES) {
        inline_flows(buffers, lane, in[0], lane.d_left);
        inline_flows(buffers, lane, in[1], lane.d_right);
    } else if (in[0].gradient == TO_TABLE || in[1].gradient == TO_TABLE) {
        __syncthreads();
        inline_table(lane, in[0], lane.d_left, lane.states);
        inline_table(lane, in[1], lane.d_right, lane.states + THREADS);
        __syncthreads();
    }
}

// Through a sum over all pairs.
__device__ __forceinline__ void kronecker_sum_back(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    const Formed formed = form_factors(lane, in);
    const float* weights = lane.coefficients + step.table;
    float* d_out = lane.gradients + step.out.gradient * THREADS;
    float* d[2] = {lane.d_formed, lane.d_formed + in[0].units * THREADS};
    weigh_pairs_back(weights, step.out.units, d_out, formed.pairs, d[0], d[1]);
    // So far they are by scaled factors.
    for (int side = 0; side < 2; ++side) {
        const float by = formed.by.far ? 0.0f : side == 0 ? formed.by.left : formed.by.right;
        for (int i = 0; i < in[side].units; ++i) at(d[side], i) *= by;
        note_state(lane, in[side], lane.states + side * THREADS);
    }
    if (QUERIES) {
        inline_flows(buffers, lane, in[0], d[0]);
        inline_flows(buffers, lane, in[1], d[1]);
    } else {
        __syncthreads();
        float* out = lane.d_coefficients + step.table;
        const Pairs pairs = formed.pairs.from(threadIdx.x);
        by_terms(of_block(d_out), step.out.units, pairs, pairs.count(), out);
        inline_table(lane, in[0], d[0], lane.states);
        inline_table(lane, in[1], d[1], lane.states + THREADS);
        __syncthreads();
    }
    for (int side = 0; side < 2; ++side) {
        for (int i = 0; i < in[side].units && in[side].gradient >= 0; ++i) {
            deliver(lane, in[side], i, at(d[side], i));
        }
    }
}

// Block-wide: the gradients by the weights of a sum of `inputs`, given those by its inputs in `d_rows`.
__device__ __forceinline__ void by_sum(
    Lane& lane, const Step& step, const Operand* in, bool mixes, float* d_out, float* inputs, float* d_rows
) {
    if (step.inputs == 1) note_state(lane, in[0], lane.states);
    __syncthreads();
    float* out = lane.d_coefficients + step.table;
    if (mixes) {
        by_mixing_weights(of_block(d_out), step.out.units, of_block(inputs), step.inputs, out);
    } else {
        by_weights(of_block(d_out), step.out.units, of_block(inputs), step.width, out);
    }
    if (step.inputs == 1) inline_table(lane, in[0], d_rows, lane.states);
    __syncthreads();
}

template <int OPS>
__device__ __forceinline__ void sum_back(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    const Gathered all = gather(lane, in, step.inputs);
    const float* weights = lane.coefficients + step.table;
    float* d_out = lane.gradients + step.out.gradient * THREADS;
    Units<0> d(lane.d_formed);
    const bool mixes = OCCURS(MIX) && (!OCCURS(SUM) || step.op == MIX);
    if (mixes) {
        mix_back(weights, step.out.units, step.inputs, d_out, d.rows);
    } else {
        weigh_back<0>(weights, step.out.units, step.width, d_out, d);
    }
    if (!QUERIES) {
        by_sum(lane, step, in, mixes, d_out, all.rows, d.rows);
    } else if (step.inputs == 1) {
        inline_flows(buffers, lane, in[0], d.rows);
    }
    int row = 0;
    for (int n = 0; n < step.inputs; ++n) {
        const float factor = step.inputs > 1 ? alignment(lane, in[n], all.exponent) : 1.0f;
        for (int i = 0; i < in[n].units; ++i, ++row) {
            if (in[n].gradient >= 0) deliver(lane, in[n], i, d[row] * factor);
        }
    }
}

__device__ __forceinline__ bool is_leaf(int op) {
    return op == LOOKUP || op == GAUSSIAN || op == LOG_LOOKUP || op == POISSON;
}

// Whether the units of an operation are logarithms.
__device__ __forceinline__ bool is_logarithm(int op) {
    return op == GAUSSIAN || op == LOG_LOOKUP || op == POISSON || op == ADD_LOGS;
}

// Through a leaf in the arena, to the row's flows. Of densities and of counts there are none.
__device__ __forceinline__ void leaf_to_flows(const Buffers& buffers, Lane& lane, const Step& step) {
    if (step.op != LOOKUP) return;
    float* d = lane.gradients + step.out.gradient * THREADS;
    const float* table = lane.coefficients + step.table;
    leaf_flows(buffers, lane, step.column, table, step.states, step.out.units, d);
}

// Through a leaf in the arena, to its table.
template <int OPS>
__device__ __forceinline__ void leaf_back(Lane& lane, const Step& step) {
    *lane.states = column_of(lane, step.column);
    __syncthreads();
    const float* d = of_block(lane.gradients + step.out.gradient * THREADS);
    const float* x = of_block(lane.states);
    float* out = lane.d_coefficients + step.table;
    const float* table = lane.coefficients + step.table;
    if (OCCURS(GAUSSIAN) && step.op == GAUSSIAN) {
        by_densities(d, step.out.units, x, table, out);
    } else if (OCCURS(POISSON) && step.op == POISSON) {
        by_rates(d, step.out.units, x, table, out);
    } else {
        by_table(d, step.out.units, x, step.states, out);
    }
    __syncthreads();
}

// Through a step of one-to-one units: d by each input is d by the output, times the output if it is an
// exponential.
__device__ __forceinline__ void elementwise_back(Lane& lane, const Step& step, const Operand* in) {
    for (int i = 0; i < step.out.units; ++i) {
        const float d = at(lane.gradients, step.out.gradient + i);
        const float factor = step.op == EXPONENTIATE ? at(lane.values, step.out.rows + i) : 1.0f;
        at(lane.d_formed, i) = d * factor;
    }
    for (int n = 0; n < step.inputs; ++n) {
        for (int i = 0; i < step.out.units && in[n].gradient >= 0; ++i) {
            deliver(lane, in[n], i, at(lane.d_formed, i));
        }
    }
}

// Hands the gradient by an output of a part back to it.
__device__ __forceinline__ void export_gradient(
    const Buffers& buffers, Lane& lane, const Step& step, long long row
) {
    for (int i = 0; i < step.out.units; ++i) {
        const float d = at(lane.gradients, step.out.gradient + i);
        buffers.d_handed[(step.table + i) * buffers.pitch + row] = d;
    }
}

// Runs all steps back. The gradients by the program's outputs are in their rows already; those by
// coefficients are added to the block's. Ends with no barrier pending: what a thread wrote last is its own.
template <int OPS>
__device__ __forceinline__ void backward(const Buffers& buffers, Lane& lane, long long row) {
    const bool has_leaves =
        OCCURS(LOOKUP) || OCCURS(GAUSSIAN) || OCCURS(LOG_LOOKUP) || OCCURS(POISSON);
    for (int n = lane.count - 1; n >= 0; --n) {
        const Step& step = lane.steps[n];
        if (step.out.gradient == NOWHERE) continue;
        const Operand* in = lane.operands + step.first_input;
        const int width = step.inputs > 0 ? in[0].units : 0;
        if (QUERIES && lane.guarded && !is_logarithm(step.op)) keep_possible(lane, step.out);
        if (OCCURS(PRODUCT_SUM) && step.op == PRODUCT_SUM) {
            switch (width) {
#define CASE(K) case K: product_back<K>(buffers, lane, step, in); break;
                EACH_WIDTH(CASE)
#undef CASE
                default:
                    if (ANY_WIDTH) product_back<0>(buffers, lane, step, in);
            }
        } else if (OCCURS(PRODUCT) && step.op == PRODUCT) {
            product_back<0>(buffers, lane, step, in);
        } else if (OCCURS(KRONECKER) && step.op == KRONECKER) {
            kronecker_back(buffers, lane, step, in);
        } else if (OCCURS(KRONECKER_SUM) && step.op == KRONECKER_SUM) {
            kronecker_sum_back(buffers, lane, step, in);
        } else if ((OCCURS(SUM) && step.op == SUM) || (OCCURS(MIX) && step.op == MIX)) {
            sum_back<OPS>(buffers, lane, step, in);
        } else if (QUERIES && OCCURS(SPARSE) && step.op == SPARSE) {
            sparse_back(buffers, lane, step, in);
        } else if (QUERIES && has_leaves && is_leaf(step.op)) {
            leaf_to_flows(buffers, lane, step);
        } else if (has_leaves && is_leaf(step.op)) {
            leaf_back<OPS>(lane, step);
        } else if (OCCURS(IMPORT) && step.op == IMPORT) {
            export_gradient(buffers, lane, step, row);
        } else if ((OCCURS(ADD_LOGS) && step.op == ADD_LOGS) || (OCCURS(EXPONENTIATE) && step.op == EXPONENTIATE)) {
            elementwise_back(lane, step, in);
        }
    }
}
