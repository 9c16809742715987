// Draws: trees of `tree.cuh` that pick each term of a sum by its share of the sum, and draw from the leaf they come to.
//
// Contract of all functions here: a thread runs them for its own row, without barriers. Shares are taken in double
// precision of what the forward pass has left, so no term that it kept is too small to be picked.
//
// Random numbers follow from the seed, the draw's number, the part and the step alone, by Philox 4x32-10 (Salmon et
// al. 2011, *Parallel Random Numbers: As Easy as 1, 2, 3*): so draws depend neither on the grid nor on each other.

// What the draws of a row follow from, beside the step.
struct Draw {
    unsigned key[2];   // The seed,
    unsigned draw[2];  //   and the number of the draw.
    unsigned part;
    long long row;     // Of the batch.

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

// What a random number of a step is for.
enum Use { PICK, LEAF, LEFT_LEAF, RIGHT_LEAF, USES };

// Two numbers in [0, 1), of 53 bits each.
struct Uniforms {
    double first, second;
};

__device__ __forceinline__ double uniform(unsigned high, unsigned low) {
    return ((double)(high >> 5) * 67108864.0 + (double)(low >> 6)) / 9007199254740992.0;
}

__device__ __forceinline__ Uniforms uniforms(const Draw& draw, int step, int use) {
    unsigned counter[4] = {(unsigned)step, draw.part * USES + use, draw.draw[0], draw.draw[1]};
    unsigned key[2] = {draw.key[0], draw.key[1]};
    for (int round = 0; round < 10; ++round) {
        const unsigned long long a = 0xd2511f53ull * counter[0], b = 0xcd9e8d57ull * counter[2];
        const unsigned next[4] = {
            (unsigned)(b >> 32) ^ counter[1] ^ key[0], (unsigned)b,
            (unsigned)(a >> 32) ^ counter[3] ^ key[1], (unsigned)a
        };
#pragma unroll
        for (int i = 0; i < 4; ++i) counter[i] = next[i];
        key[0] += 0x9e3779b9u;
        key[1] += 0xbb67ae85u;
    }
    return {uniform(counter[0], counter[1]), uniform(counter[2], counter[3])};
}

// The one of `count` terms that `u` falls to, each by its share; NOWHERE where none is above zero. What rounding
// leaves over falls to the last that is.
template <class Term>
__device__ __forceinline__ int pick(int count, double u, Term term) {
    double total = 0.0;
    for (int i = 0; i < count; ++i) total += term(i);
    double left = u * total;
    int last = NOWHERE;
    for (int i = 0; i < count; ++i) {
        const double own = term(i);
        if (!(own > 0.0)) continue;
        last = i;
        if (left < own) break;
        left -= own;
    }
    return last;
}

// A count by Poisson's law, from the mode outwards: the fewest terms, none of which is too small.
__device__ __forceinline__ double poisson(double log_rate, double u) {
    const double rate = exp(log_rate), mode = floor(rate);
    const double top = exp(mode * log_rate - rate - lgamma(mode + 1.0));
    double low = mode, high = mode, p_low = top, p_high = top;
    double left = u - top;
    // Twice forty deviations hold all that a double can tell from one.
    for (double end = 40.0 * sqrt(rate) + 40.0; left >= 0.0 && high - mode < end;) {
        high += 1.0;
        p_high *= rate / high;
        left -= p_high;
        if (left < 0.0) return high;
        if (low == 0.0) continue;
        p_low *= low / rate;
        low -= 1.0;
        left -= p_low;
        if (left < 0.0) return low;
    }
    return mode;
}

// A number by the normal law (Box & Muller 1958).
__device__ __forceinline__ double normal(const Uniforms& u) {
    return sqrt(-2.0 * log(1.0 - u.first)) * cos(6.28318530717958647692 * u.second);
}

// A state by a row of a table of probabilities.
__device__ __forceinline__ float drawn_state(const float* row, int states, double u) {
    return (float)pick(states, u, [=](int s) { return (double)row[s]; });
}

__device__ __forceinline__ float Draw::inline_leaf(
    const Lane& lane, const Operand& input, int unit, int number, int side
) const {
    const float* table = lane.coefficients + input.table + unit * pitch_of(input.states);
    const int use = side == 0 ? LEFT_LEAF : RIGHT_LEAF;
    return drawn_state(table, input.states, uniforms(*this, number, use).first);
}

// Unit i of an input, inline or not.
__device__ __forceinline__ double unit_of(const Lane& lane, const Operand& input, int i) {
    if (input.rows != NOWHERE) return at(lane.values, input.rows + i);
    const float x = column_of(lane, input.column);
    const float* row = lane.coefficients + input.table + i * pitch_of(input.states);
    return x == x ? row[(int)x] : 1.0f;
}

// A term of a sum of a product: its weight and both factors.
__device__ __forceinline__ int Draw::of_product(
    const Lane& lane, const Step& step, const Operand* in, int unit, int number
) const {
    const float* weights = lane.coefficients + step.table + (long long)unit * step.pitch;
    return pick(step.width, uniforms(*this, number, PICK).first, [&](int i) {
        return weights[i] * unit_of(lane, in[0], i) * unit_of(lane, in[1], i);
    });
}

__device__ __forceinline__ Two Draw::of_pairs(
    const Lane& lane, const Step& step, const Operand* in, int unit, int number
) const {
    const float* weights = lane.coefficients + step.table + (long long)unit * step.pitch;
    const int wide = in[0].units;
    const int i = pick(step.width, uniforms(*this, number, PICK).first, [&](int i) {
        return weights[i] * unit_of(lane, in[0], i % wide) * unit_of(lane, in[1], i / wide);
    });
    return i == NOWHERE ? Two{NOWHERE, NOWHERE} : Two{i % wide, i / wide};
}

__device__ __forceinline__ Two Draw::of_inputs(
    const Lane& lane, const Step& step, const Operand* in, int unit, int number
) const {
    const double u = uniforms(*this, number, PICK).first;
    const Gathered all = gather(lane, in, step.inputs);
    const float* weights = lane.coefficients + step.table + (long long)unit * step.pitch;
    if (step.op == MIX) {
        const int input = pick(step.inputs, u, [&](int n) {
            return (double)weights[n] * at(all.rows, n * step.out.units + unit);
        });
        return {input, unit};
    }
    int i = pick(step.width, u, [&](int i) { return (double)weights[i] * at(all.rows, i); });
    int input = 0;
    while (i != NOWHERE && i >= in[input].units) i -= in[input++].units;
    return {i == NOWHERE ? NOWHERE : input, i};
}

__device__ __forceinline__ int Draw::of_list(
    const Buffers& buffers, const Lane& lane, const Step& step, int unit, int number
) const {
    const List list = buffers.lists[step.table + unit];
    const int picked = pick(list.end - list.first, uniforms(*this, number, PICK).first, [&](int t) {
        const Term term = buffers.terms[list.first + t];
        const double weight = term.weight == NOWHERE ? 1.0f : lane.coefficients[term.weight];
        const double right = term.right == NOWHERE ? 1.0f : at(lane.values, term.right);
        return weight * at(lane.values, term.left) * right;
    });
    return picked == NOWHERE ? NOWHERE : list.first + picked;
}

template <int OPS>
__device__ __forceinline__ float Draw::leaf(
    const Lane& lane, const Step& step, int unit, int number
) const {
    const float* table = lane.coefficients + step.table;
    const Uniforms u = uniforms(*this, number, LEAF);
    if (OCCURS(GAUSSIAN) && step.op == GAUSSIAN) {
        const float4 density = four(table + 4 * unit);
        return (float)(density.x + normal(u) / sqrt((double)density.y));
    }
    if (OCCURS(POISSON) && step.op == POISSON) return (float)poisson(table[4 * unit], u.first);
    const float* row = table + unit * pitch_of(step.states);
    if (OCCURS(LOG_LOOKUP) && step.op == LOG_LOOKUP) {
        return (float)pick(step.states, u.first, [=](int s) { return exp((double)row[s]); });
    }
    return drawn_state(row, step.states, u.first);
}
