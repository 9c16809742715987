// Sums over all pairs of the units of two values: the layers of an EiNet (Peharz et al. 2020).
//
// The pairs, as many as the product of both widths, are written nowhere. A lane keeps both factors, scaled, in rows of
// its own; whoever wants a pair multiplies two of these, and what flows back to a pair goes on to both at once.

// The scaled factors of a lane, of a warp's or of a block's first lane.
struct Pairs {
    const float* left;   // [wide][THREADS]
    const float* right;  // [high][THREADS]
    int wide, high;

    __device__ __forceinline__ int count() const { return wide * high; }
    // Pair i, the unit of `left` varying fastest, in the lane that lies so many columns on.
    __device__ __forceinline__ float operator()(int i, int lane) const {
        return kept(left[i % wide * THREADS + lane] * right[i / wide * THREADS + lane]);
    }
    __device__ __forceinline__ Pairs from(int columns_back) const {
        return {left - columns_back, right - columns_back, wide, high};
    }
};

// A lane's pairs one after the other, without a division.
struct PairsInOrder {
    Pairs pairs;
    int i = 0, j = 0;

    __device__ __forceinline__ explicit PairsInOrder(const Pairs& pairs) : pairs(pairs) {}
    __device__ __forceinline__ float next() {
        const float pair = kept(pairs.left[i * THREADS] * pairs.right[j * THREADS]);
        if (++i == pairs.wide) {
            i = 0;
            ++j;
        }
        return pair;
    }
};

// What a lane has formed of both inputs of a step.
struct Formed {
    Pairs pairs;
    PairScale by;
};

// Scales both factors into `lane.formed`, and adds up what is lost of their pairs.
__device__ __forceinline__ Formed form_factors(const Lane& lane, const Operand* in) {
    Units<0> a = units_of<0>(lane, in[0], lane.left), b = units_of<0>(lane, in[1], lane.right);
    const int wide = in[0].units, high = in[1].units;
    float* left = lane.formed;
    float* right = lane.formed + wide * THREADS;
    Formed formed = {{left, right, wide, high}, scale_of_pairs(lane, in, a, b)};
    const PairScale& by = formed.by;
    int possible_left = 0, possible_right = 0;
    for (int i = 0; i < wide; ++i) {
        possible_left += a[i] > 0.0f;
        at(left, i) = by.far ? 0.0f : a[i] * by.left;
    }
    for (int j = 0; j < high; ++j) {
        possible_right += b[j] > 0.0f;
        at(right, j) = b[j] * by.right;
    }
    if (!lane.guarded) return formed;
    int whole = 0;
    for (PairsInOrder pairs(formed.pairs); pairs.j < high;) whole += pairs.next() > 0.0f;
    formed.by.scaled.bound += LOSS * (float)(possible_left * possible_right - whole);
    return formed;
}

// What a sum over the pairs may lack because a term of it is too small for a float: see `small_terms`.
__device__ __forceinline__ float small_pairs(const Lane& lane, const Pairs& pairs) {
    if (!lane.guarded) return 0.0f;
    const auto smallest = [](const float* rows, int count) {
        float least = infinity();
        for (int i = 0; i < count; ++i) {
            const float unit = rows[i * THREADS];
            if (unit > 0.0f) least = fminf(least, unit);
        }
        return least;
    };
    const float pair = smallest(pairs.left, pairs.wide) * smallest(pairs.right, pairs.high);
    return fmaxf(pair, LOSS) * lane.least < TRACE ? (float)pairs.count() * TRACE : 0.0f;
}

// out[j] = Σ over all pairs of weights[j][pair] · pair. `out` are rows of this lane.
__device__ __forceinline__ void weigh_pairs(
    const float* weights, int units, const Pairs& pairs, float* out
) {
    if (fills_tiles(units, pairs.count())) {
        return weigh_tiles(weights, units, pairs.count(), pairs.from(threadIdx.x % 32), out);
    }
    weigh_in_order(weights, units, pairs.count(), PairsInOrder(pairs), out);
}

// `weigh_pairs_back` by tiles, each of units of `left` and one unit of `right`; `d_left` is cleared. Waits for the warp
// before and after.
__device__ __forceinline__ void weigh_pair_tiles_back(
    const float* weights, int units, float* d, const Pairs& of_lane, float* d_left, float* d_right
) {
    const int pitch = pitch_of(of_lane.count());
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const Pairs pairs = of_lane.from(threadIdx.x % 32);
    const float* rows = of_warp(d);
    float* to_left = of_warp(d_left);
    float* to_right = of_warp(d_right);
    __syncwarp();
    for (int j = 0; j < pairs.high; ++j) {
        // Of four tiles' two columns each: the gradient by unit j of `right`.
        float own[4][2] = {};
        for (int first = 0; first < pairs.wide; first += TILE_ROWS) {
            float sums[4][4] = {};
            sum_tile(
                sums, units,
                [=](int i, int n) {
                    const bool inside = first + i < pairs.wide && n < units;
                    const float* row = weights + (long long)n * pitch + j * pairs.wide;
                    return inside ? row[first + i] : 0.0f;
                },
                [=](int n, int lane) { return n < units ? rows[n * THREADS + lane] : 0.0f; }
            );
#pragma unroll
            for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    const int i = first + g + n / 2 * 8, lane = tile * 8 + 2 * t + n % 2;
                    if (i >= pairs.wide) continue;
                    to_left[i * THREADS + lane] += sums[tile][n] * pairs.right[j * THREADS + lane];
                    own[tile][n % 2] += sums[tile][n] * pairs.left[i * THREADS + lane];
                }
            }
        }
#pragma unroll
        for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                float sum = own[tile][n];
                for (int other = 4; other < 32; other *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
                if (g == 0) to_right[j * THREADS + tile * 8 + 2 * t + n] = sum;
            }
        }
    }
    __syncwarp();
}

// Adds to d_left[i] the sum over j of g[i, j] · right[j], and to d_right[j] that over i of g[i, j] · left[i], where
// g[i, j] = Σₙ weights[n][i, j] d[n]. All are rows of this lane; `d_left` and `d_right` are cleared first.
__device__ __forceinline__ void weigh_pairs_back(
    const float* weights, int units, float* d, const Pairs& pairs, float* d_left, float* d_right
) {
    for (int i = 0; i < pairs.wide; ++i) at(d_left, i) = 0.0f;
    for (int j = 0; j < pairs.high; ++j) at(d_right, j) = 0.0f;
    if (fills_tiles(units, pairs.count())) {
        return weigh_pair_tiles_back(weights, units, d, pairs, d_left, d_right);
    }
    const int pitch = pitch_of(pairs.count());
    int i = 0, j = 0;
    for (int first = 0; first < pairs.count(); first += 4) {
        float sums[4] = {};
        for (int n = 0; n < units; ++n) {
            const float4 w = four(weights + (long long)n * pitch + first);
            const float dn = at(d, n);
            sums[0] += w.x * dn;
            sums[1] += w.y * dn;
            sums[2] += w.z * dn;
            sums[3] += w.w * dn;
        }
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            if (first + r >= pairs.count()) break;
            at(d_left, i) += sums[r] * pairs.right[j * THREADS];
            at(d_right, j) += sums[r] * pairs.left[i * THREADS];
            if (++i == pairs.wide) {
                i = 0;
                ++j;
            }
        }
    }
}
