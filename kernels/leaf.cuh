// Densities, and the way from logarithms to mantissas.

#define LEAST_LOG -1e30f            // Of a density, so that the sum over any region is finite.
#define MOST_EXPONENT 536870912.0f  // What those of all regions of a row may come to.

// out[j] = ln N(x; mean, variance) from a table [units][4] of mean, 1/variance, -½ ln(2π variance) and
// padding; zero where x is missing.
__device__ __forceinline__ void log_densities(float x, const float* table, int units, float* out) {
    for (int j = 0; j < units; ++j) {
        const float4 normal = four(table + 4 * j);
        const float d = x - normal.x;
        const float log = fmaxf(normal.z - 0.5f * d * d * normal.y, LEAST_LOG);
        at(out, j) = x != x ? 0.0f : log;
    }
}

// out[j] = entry x of row j of a table of logarithms; zero where x is missing.
__device__ __forceinline__ void log_rows(
    float x, const float* table, int states, int units, float* out
) {
    const int pitch = pitch_of(states);
    for (int j = 0; j < units; ++j) at(out, j) = x != x ? 0.0f : table[j * pitch + (int)x];
}

// out[j] = ln p(x) of a Poisson leaf, from a table [units][4] of the logarithm of its rate and padding; zero where
// x is missing. The terms are far larger than what they add up to, so they are doubles.
__device__ __forceinline__ void log_counts(float x, const float* table, int units, float* out) {
    const bool counts = x >= 0.0f && x == floorf(x);
    const double factorial = lgamma((double)(counts ? x : 0.0f) + 1.0);
    for (int j = 0; j < units; ++j) {
        const double log_rate = table[4 * j];
        const float log = (float)(x * log_rate - exp(log_rate) - factorial);
        at(out, j) = x != x ? 0.0f : counts ? log : -infinity();
    }
}

// rows = e^rows, as mantissas with one exponent: the largest comes to lie in [1, 2) times rounding. The
// difference is taken in double precision, so that a large logarithm keeps its digits. Of rows so far out that the
// exponents of all variables might leave their numbers nothing is known.
__device__ __forceinline__ Scaled exponentiate(int units, float* rows, long long variables) {
    float top = -infinity();
    for (int j = 0; j < units; ++j) top = fmaxf(top, at(rows, j));
    const bool finite = top > -infinity() && top < infinity();
    if (finite && fabsf(top) > MOST_EXPONENT * (float)LN_2 / variables) {
        for (int j = 0; j < units; ++j) at(rows, j) = 0.0f;
        return {1.0f, 0, infinity()};
    }
    const double exponent = finite ? floor(top * LOG2_E) : 0.0;
    Scaled scaled = {1.0f, (int)exponent, 0.0f};
    for (int j = 0; j < units; ++j) {
        const float log = at(rows, j);
        const float unit = expf((float)(log - exponent * LN_2));
        const bool lost = unit < LOSS && log > -infinity();
        at(rows, j) = lost ? 0.0f : unit;
        if (lost) scaled.bound += LOSS;
    }
    return scaled;
}
