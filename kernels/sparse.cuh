// Sparse sums: what is irregular and frozen, an imported circuit's single sums and products.
//
//   unit k = Σₜ weight · left · right, a list of terms each; all units brought to a top in [1, 2)
//
// Units keep their relative precision, however far below their top they are, until a product of two of them
// leaves the normal numbers. The least units above zero of both sides, and the least weight, say whether that
// can have happened; then each term may lack the last digit of the smallest numbers there are, and the bound
// says so. Nothing below a sparse sum is learned, so the way back is that of queries alone: to the factors.

#define MOST 3.40282347e38f     // The largest number.
#define DIGIT 2.80259693e-45f   // Twice the smallest number: what such a term may lack.

// The factors of one side of a sparse sum.
struct Side {
    float top, least;  // The largest unit, and the least above zero.
    float bound;       // Several factors are tables, and lack nothing.
    int exponent;
};

// A side of no factors is one.
__device__ __forceinline__ Side side_of(const Lane& lane, const Operand* in, int inputs) {
    Side side = {inputs > 0 ? 0.0f : 1.0f, infinity(), 0.0f, 0};
    for (int n = 0; n < inputs; ++n) {
        for (int i = 0; i < in[n].units; ++i) {
            const float unit = at(lane.values, in[n].rows + i);
            side.top = fmaxf(side.top, unit);
            if (unit > 0.0f) side.least = fminf(side.least, unit);
        }
        side.bound += bound_of(lane, in[n]);
        side.exponent += exponent_of(lane, in[n]);
    }
    return side;
}

// Σₜ weight · left · right of a list. Lowers `least` to the least weight above zero.
__device__ __forceinline__ float list_sum(
    const Buffers& buffers, const Lane& lane, const List& list, float& least
) {
    float sum = 0.0f;
    for (int t = list.first; t < list.end; ++t) {
        const Term term = buffers.terms[t];
        float product = at(lane.values, term.left);
        if (term.right != NOWHERE) product *= at(lane.values, term.right);
        const float weight = term.weight == NOWHERE ? 1.0f : lane.coefficients[term.weight];
        if (weight > 0.0f) least = fminf(least, weight);
        sum += weight * product;
    }
    return sum;
}

// The first `column` inputs of the step are left factors.
__device__ __forceinline__ void sparse(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    float top = 0.0f, least_weight = 1.0f;
    int most = 0;
    for (int k = 0; k < step.out.units; ++k) {
        const List list = buffers.lists[step.table + k];
        const float sum = list_sum(buffers, lane, list, least_weight);
        at(lane.formed, k) = sum;
        top = fmaxf(top, sum);
        most = list.end - list.first > most ? list.end - list.first : most;
    }
    const Side left = side_of(lane, in, step.column);
    const Side right = side_of(lane, in + step.column, step.inputs - step.column);
    const float down = normaliser(top);
    float bound = inherited(left.bound, right.bound, left.top, right.top, down);
    const float least = left.least * fminf(right.least, MOST) * least_weight;
    if (least < TRACE) bound += fmaxf((float)most * DIGIT * down, TRACE);
    // The output may lie where an input does.
    for (int k = 0; k < step.out.units; ++k) {
        at(lane.values, step.out.rows + k) = at(lane.formed, k) * down;
    }
    finish(lane, step.out, exponent_bits(top) + left.exponent + right.exponent, bound);
}

// The way back, of queries: to the gradients by both factors of each term. A thread adds to rows of its own alone, term
// by term, so there is nothing to wait for. What the units were scaled by is what their exponents have gained, which
// plans for queries keep.
__device__ __forceinline__ void sparse_back(
    const Buffers& buffers, Lane& lane, const Step& step, const Operand* in
) {
    int below = 0;
    for (int n = 0; n < step.inputs; ++n) below += exponent_of(lane, in[n]);
    const float down = power_of_two(difference(below, exponent_of(lane, step.out)));
    // An input's gradient may take the rows of the output's.
    for (int k = 0; k < step.out.units; ++k) {
        at(lane.d_formed, k) = at(lane.gradients, step.out.gradient + k) * down;
    }
    for (int n = 0; n < step.inputs; ++n) {
        if (!in[n].first || in[n].gradient < 0) continue;
        for (int i = 0; i < in[n].units; ++i) at(lane.gradients, in[n].gradient + i) = 0.0f;
    }
    for (int k = 0; k < step.out.units; ++k) {
        const float d = at(lane.d_formed, k);
        const List list = buffers.lists[step.table + k];
        for (int t = list.first; t < list.end && d != 0.0f; ++t) {
            const Term term = buffers.terms[t];
            const float own = term.weight == NOWHERE ? d : d * lane.coefficients[term.weight];
            const float left = at(lane.values, term.left);
            const float right = term.right == NOWHERE ? 1.0f : at(lane.values, term.right);
            if (term.d_left != NOWHERE) at(lane.gradients, term.d_left) += own * right;
            if (term.d_right != NOWHERE) at(lane.gradients, term.d_right) += own * left;
        }
    }
}
