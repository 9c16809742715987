// Draws: the missing values of a row, top down, after a program's forward pass.
//
//   a sum picks one of its terms by its share of the sum, a product all its factors, and a leaf that is reached
//   draws a value
//
// Contract of all functions here: a thread runs them for its own row, without barriers. Which unit of a value is
// picked, if any, lies where the gradient by its first unit would: both are wanted from the value's last reader back
// to its own step. Shares are taken in double precision of what the forward pass has left, so no term that it kept is
// too small to be picked. A row that finds no term to pick, because all were lost, is in doubt.
//
// Random numbers follow from the seed, the draw's number, the part and the step alone, by Philox 4x32-10 (Salmon et
// al. 2011, *Parallel Random Numbers: As Easy as 1, 2, 3*): so draws depend neither on the grid nor on each other.

// What the draws of a row follow from, beside the step.
struct Draw {
    unsigned key[2];   // The seed,
    unsigned draw[2];  //   and the number of the draw.
    unsigned part;
    long long row;     // Of the batch.
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

// Writes a value of the variable that a column reads, if the row lacks it.
template <class Value>
__device__ __forceinline__ void draw_leaf(
    const Buffers& buffers, const Lane& lane, const Draw& draw, int column, Value value
) {
    const float x = column_of(lane, column);
    const int variable = lane.columns[column].variable;
    if (variable == NOWHERE || x == x) return;
    buffers.drawn[variable * buffers.pitch + draw.row] = value();
}

// A state by a row of a table of probabilities.
__device__ __forceinline__ float drawn_state(const float* row, int states, double u) {
    return (float)pick(states, u, [=](int s) { return (double)row[s]; });
}

// Picks a unit of an input, or none. What is inline draws at once.
__device__ __forceinline__ void choose(
    const Buffers& buffers, Lane& lane, const Draw& draw, const Operand& input, int unit, int step, int use
) {
    if (input.gradient >= 0) {
        float& picked = at(lane.gradients, input.gradient);
        if (input.first || unit != NOWHERE) picked = (float)unit;
    } else if (input.gradient == TO_TABLE && unit != NOWHERE) {
        draw_leaf(buffers, lane, draw, input.column, [&] {
            const float* table = lane.coefficients + input.table + unit * pitch_of(input.states);
            return drawn_state(table, input.states, uniforms(draw, step, use).first);
        });
    }
}

// Unit i of an input, inline or not.
__device__ __forceinline__ double unit_of(const Lane& lane, const Operand& input, int i) {
    if (input.rows != NOWHERE) return at(lane.values, input.rows + i);
    const float x = column_of(lane, input.column);
    const float* row = lane.coefficients + input.table + i * pitch_of(input.states);
    return x == x ? row[(int)x] : 1.0f;
}

// The units that a step's picked unit picks of two inputs.
struct Two {
    int left, right;
};

// A term of a sum of a product: its weight and both factors.
__device__ __forceinline__ int pick_product(
    const Lane& lane, const Step& step, const Operand* in, int unit, double u
) {
    const float* weights = lane.coefficients + step.table + (long long)unit * step.pitch;
    return pick(step.width, u, [&](int i) {
        return weights[i] * unit_of(lane, in[0], i) * unit_of(lane, in[1], i);
    });
}

// A term of a sum over all pairs: a unit of each factor.
__device__ __forceinline__ Two pick_pair(
    const Lane& lane, const Step& step, const Operand* in, int unit, double u
) {
    const float* weights = lane.coefficients + step.table + (long long)unit * step.pitch;
    const int wide = in[0].units;
    const int i = pick(step.width, u, [&](int i) {
        return weights[i] * unit_of(lane, in[0], i % wide) * unit_of(lane, in[1], i / wide);
    });
    return i == NOWHERE ? Two{NOWHERE, NOWHERE} : Two{i % wide, i / wide};
}

// An input of a sum, and a unit of it. Returns no input where there is no term.
__device__ __forceinline__ Two pick_input(
    const Lane& lane, const Step& step, const Operand* in, int unit, double u
) {
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

// A term of a list of a sparse sum.
__device__ __forceinline__ int pick_term(
    const Buffers& buffers, const Lane& lane, const Step& step, int unit, double u
) {
    const List list = buffers.lists[step.table + unit];
    const int picked = pick(list.end - list.first, u, [&](int t) {
        const Term term = buffers.terms[list.first + t];
        const double weight = term.weight == NOWHERE ? 1.0f : lane.coefficients[term.weight];
        const double right = term.right == NOWHERE ? 1.0f : at(lane.values, term.right);
        return weight * at(lane.values, term.left) * right;
    });
    return picked == NOWHERE ? NOWHERE : list.first + picked;
}

// Picks the factors of a term of a sparse sum: the units that lie in its rows.
__device__ __forceinline__ void choose_factors(
    const Buffers& buffers, Lane& lane, const Draw& draw, const Operand* in, int inputs, int term
) {
    const Term picked = term == NOWHERE ? Term{NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE} : buffers.terms[term];
    for (int n = 0; n < inputs; ++n) {
        const int left = picked.left - in[n].rows, right = picked.right - in[n].rows;
        const bool in_left = picked.left != NOWHERE && left >= 0 && left < in[n].units;
        const bool in_right = picked.right != NOWHERE && right >= 0 && right < in[n].units;
        const int unit = in_left ? left : in_right ? right : NOWHERE;
        choose(buffers, lane, draw, in[n], unit, 0, LEAF);
    }
}

// Draws from a leaf in the arena.
template <int OPS>
__device__ __forceinline__ void draw_value(
    const Buffers& buffers, const Lane& lane, const Draw& draw, const Step& step, int unit, int number
) {
    const float* table = lane.coefficients + step.table;
    draw_leaf(buffers, lane, draw, step.column, [&] {
        const Uniforms u = uniforms(draw, number, LEAF);
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
    });
}

// The units that a picked unit of any step but a sparse sum picks of its inputs, or NOWHERE twice: of a sum of
// several inputs `left` is the input and `right` its unit.
template <int OPS>
__device__ __forceinline__ Two picked_units(
    const Lane& lane, const Draw& draw, const Step& step, const Operand* in, int unit, int number
) {
    if (OCCURS(KRONECKER) && step.op == KRONECKER) {
        return {unit % in[0].units, unit / in[0].units};
    }
    if (OCCURS(PRODUCT_SUM) && step.op == PRODUCT_SUM) {
        const int i = pick_product(lane, step, in, unit, uniforms(draw, number, PICK).first);
        return {i, i};
    }
    if (OCCURS(KRONECKER_SUM) && step.op == KRONECKER_SUM) {
        return pick_pair(lane, step, in, unit, uniforms(draw, number, PICK).first);
    }
    if ((OCCURS(SUM) && step.op == SUM) || (OCCURS(MIX) && step.op == MIX)) {
        return pick_input(lane, step, in, unit, uniforms(draw, number, PICK).first);
    }
    return {unit, unit};
}

// Runs all steps of a part back for a row; which units of its outputs are picked stands in their rows already.
template <int OPS>
__device__ __forceinline__ void draw_back(const Buffers& buffers, Lane& lane, const Draw& draw) {
    for (int n = lane.count - 1; n >= 0; --n) {
        const Step& step = lane.steps[n];
        if (step.out.gradient == NOWHERE) continue;
        const Operand* in = lane.operands + step.first_input;
        const int unit = (int)at(lane.gradients, step.out.gradient);
        if (OCCURS(IMPORT) && step.op == IMPORT) {
            buffers.picked[step.column * buffers.pitch + draw.row] = unit;
            continue;
        }
        if (is_leaf(step.op)) {
            if (unit != NOWHERE) draw_value<OPS>(buffers, lane, draw, step, unit, n);
            continue;
        }
        bool lost = false;
        if (OCCURS(SPARSE) && step.op == SPARSE) {
            int term = NOWHERE;
            if (unit != NOWHERE) {
                term = pick_term(buffers, lane, step, unit, uniforms(draw, n, PICK).first);
                lost = term == NOWHERE;
            }
            choose_factors(buffers, lane, draw, in, step.inputs, term);
        } else {
            Two two = {NOWHERE, NOWHERE};
            if (unit != NOWHERE) {
                two = picked_units<OPS>(lane, draw, step, in, unit, n);
                lost = two.left == NOWHERE;
            }
            const bool sums = step.op == SUM || step.op == MIX;
            for (int i = 0; i < step.inputs; ++i) {
                const int of_sum = i == two.left ? two.right : NOWHERE;
                const int of_input = sums ? of_sum : i == 0 ? two.left : two.right;
                choose(buffers, lane, draw, in[i], of_input, n, i == 0 ? LEFT_LEAF : RIGHT_LEAF);
            }
        }
        if (lost) buffers.in_doubt[draw.row] = 1;
    }
}
