// The forward pass of a program, for one lane. No thread reads what another writes, so there is no barrier, but for
// the warp's around tiles.
//
// Which step is next is the same for all threads of a block. A step reads all of its inputs before it
// writes its output, since the two may lie in the same rows.

// A sum of a product: the step of which a RAT-SPN consists. The product of K units stays in registers.
template <int K>
__device__ __forceinline__ void product_sum(Lane& lane, const Step& step, const Operand* in) {
    Units<K> a = units_of<K>(lane, in[0], lane.left), b = units_of<K>(lane, in[1], lane.right);
    Units<K> p(lane.formed);
    const Scaled scaled = multiply<K>(lane, in, a, b, p);
    float* out = lane.values + step.out.rows * THREADS;
    weigh<K>(lane.coefficients + step.table, step.out.units, step.width, p, out);
    const float bound = scaled.bound + small_terms<K>(lane, step.width, p);
    finish(lane, step.out, scaled.exponent, bound);
}

// A sum over all pairs of two values.
__device__ __forceinline__ void kronecker_sum(Lane& lane, const Step& step, const Operand* in) {
    const Formed formed = form_factors(lane, in);
    float* out = lane.values + step.out.rows * THREADS;
    weigh_pairs(lane.coefficients + step.table, step.out.units, formed.pairs, out);
    const float bound = formed.by.scaled.bound + small_pairs(lane, formed.pairs);
    finish(lane, step.out, formed.by.scaled.exponent, bound);
}

// Writes what was formed to the step's output.
__device__ __forceinline__ void write(Lane& lane, const Operand& out, const float* formed) {
    for (int i = 0; i < out.units; ++i) at(lane.values, out.rows + i) = formed[i * THREADS];
}

// A product that several steps read, elementwise or of all pairs.
template <int OPS>
__device__ __forceinline__ void product(Lane& lane, const Step& step, const Operand* in) {
    Units<0> a = units_of<0>(lane, in[0], lane.left), b = units_of<0>(lane, in[1], lane.right);
    Units<0> p(lane.formed);
    const bool elementwise = OCCURS(PRODUCT) && (!OCCURS(KRONECKER) || step.op == PRODUCT);
    const Scaled scaled = elementwise ? multiply<0>(lane, in, a, b, p) : pairs(lane, in, a, b, p);
    write(lane, step.out, lane.formed);
    finish(lane, step.out, scaled.exponent, scaled.bound);
}

template <int OPS>
__device__ __forceinline__ void sum(Lane& lane, const Step& step, const Operand* in) {
    const Gathered all = gather(lane, in, step.inputs);
    const float* weights = lane.coefficients + step.table;
    float* out = lane.values + step.out.rows * THREADS;
    if (OCCURS(SUM) && (!OCCURS(MIX) || step.op == SUM)) {
        // A single input is taken where it lies, and the output may lie there too.
        Units<0> x(lane.formed);
        if (step.inputs == 1) {
            for (int i = 0; i < step.width; ++i) x[i] = at(all.rows, i);
        }
        weigh<0>(weights, step.out.units, step.width, x, out);
    } else {
        mix(weights, step.out.units, step.inputs, all.rows, out);
    }
    Units<0> terms(step.inputs == 1 ? lane.formed : all.rows);
    const int count = step.op == MIX ? step.inputs * step.out.units : step.width;
    finish(lane, step.out, all.exponent, all.bound + small_terms<0>(lane, count, terms));
}

// Takes what a part has handed to the head.
__device__ __forceinline__ void import_output(
    const Buffers& buffers, Lane& lane, const Step& step, long long row
) {
    for (int i = 0; i < step.out.units; ++i) {
        at(lane.values, step.out.rows + i) = buffers.handed[(step.table + i) * buffers.pitch + row];
    }
    const long long place = step.column * buffers.pitch + row;
    finish(lane, step.out, buffers.handed_exponents[place], buffers.handed_bounds[place]);
}

__device__ __forceinline__ void add_logs(Lane& lane, const Step& step, const Operand* in) {
    for (int i = 0; i < step.out.units; ++i) {
        const float log = at(lane.values, in[0].rows + i) + at(lane.values, in[1].rows + i);
        at(lane.formed, i) = log;
    }
    write(lane, step.out, lane.formed);
}

__device__ __forceinline__ void densities(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    for (int i = 0; i < step.out.units; ++i) at(lane.formed, i) = at(lane.values, in[0].rows + i);
    const Scaled scaled = exponentiate(step.out.units, lane.formed, buffers.variables);
    write(lane, step.out, lane.formed);
    finish(lane, step.out, scaled.exponent, scaled.bound);
}

// Any step but the sum of a product.
template <int OPS>
__device__ __forceinline__ void other(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in, long long row
) {
    float* out = lane.values + step.out.rows * THREADS;
    const float* table = lane.coefficients + step.table;
    if (OCCURS(LOOKUP) && step.op == LOOKUP) {
        Units<0> units(out);
        look_up<0>(lane, step.column, table, step.states, step.out.units, units);
    } else if (OCCURS(GAUSSIAN) && step.op == GAUSSIAN) {
        log_densities(column_of(lane, step.column), table, step.out.units, out);
    } else if (OCCURS(SPARSE) && step.op == SPARSE) {
        sparse(buffers, lane, step, in);
    } else if (OCCURS(LOG_LOOKUP) && step.op == LOG_LOOKUP) {
        log_rows(column_of(lane, step.column), table, step.states, step.out.units, out);
    } else if (OCCURS(POISSON) && step.op == POISSON) {
        log_counts(column_of(lane, step.column), table, step.out.units, out);
    } else if (OCCURS(ONE) && step.op == ONE) {
        for (int i = 0; i < step.out.units; ++i) at(out, i) = 1.0f;
    } else if (OCCURS(IMPORT) && step.op == IMPORT) {
        import_output(buffers, lane, step, row);
    } else if ((OCCURS(PRODUCT) && step.op == PRODUCT) || (OCCURS(KRONECKER) && step.op == KRONECKER)) {
        product<OPS>(lane, step, in);
    } else if (OCCURS(KRONECKER_SUM) && step.op == KRONECKER_SUM) {
        kronecker_sum(lane, step, in);
    } else if (OCCURS(ADD_LOGS) && step.op == ADD_LOGS) {
        add_logs(lane, step, in);
    } else if (OCCURS(EXPONENTIATE) && step.op == EXPONENTIATE) {
        densities(buffers, lane, step, in);
    } else if ((OCCURS(SUM) && step.op == SUM) || (OCCURS(MIX) && step.op == MIX)) {
        sum<OPS>(lane, step, in);
    }
}

// Runs all steps for row `row` of the batch. OPS are those that occur.
template <int OPS>
__device__ __forceinline__ void forward(const Buffers& buffers, Lane& lane, long long row) {
    for (int n = 0; n < lane.count; ++n) {
        const Step& step = lane.steps[n];
        const Operand* in = lane.operands + step.first_input;
        const int width = step.inputs > 0 ? in[0].units : 0;
        if (OCCURS(PRODUCT_SUM) && step.op == PRODUCT_SUM) {
            switch (width) {
#define CASE(K) case K: product_sum<K>(lane, step, in); break;
                EACH_WIDTH(CASE)
#undef CASE
                default:
                    if (ANY_WIDTH) product_sum<0>(lane, step, in);
            }
        } else {
            other<OPS>(buffers, lane, step, in, row);
        }
    }
}
