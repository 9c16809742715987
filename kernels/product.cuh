// Products of two values: elementwise, or of all pairs.
//
// A product's top, its largest unit, is brought to [1, 2) by a power of two. When the lane is guarded, a
// unit that is not zero but falls below LOSS is set to zero, and the bound, an upper limit of what each
// unit may lack, grows by as much; the bounds of the factors go into it too.

// What scaling did to a product.
struct Scaled {
    float down;    // The power of two; zero where no gradient can pass.
    int exponent;  // Of the product.
    float bound;
};

// p = a * b elementwise, scaled. Reads and writes this lane alone. Factors in rows of the arena must not be
// those of `p`.
template <int K>
__device__ __forceinline__ Scaled multiply(
    const Lane& lane, const Operand* in, Units<K>& a, Units<K>& b, Units<K>& p
) {
    const int width = p.count(in[0].units);
    float top = 0.0f;
#pragma unroll (K > 0 ? K : 1)
    for (int i = 0; i < width; ++i) {
        p[i] = a[i] * b[i];
        top = fmaxf(top, p[i]);
    }
    Scaled scaled = {normaliser(top), exponent_bits(top), 0.0f};
    scaled.exponent += exponent_of(lane, in[0]) + exponent_of(lane, in[1]);
    if (!lane.guarded) {
#pragma unroll (K > 0 ? K : 1)
        for (int i = 0; i < width; ++i) p[i] *= scaled.down;
        return scaled;
    }
    float top_a = 0.0f, top_b = 0.0f;
    // A top below the normal numbers has lost digits: all of the lane is lost, and that is anything up to the
    // smallest normal number, which the scale makes two.
    const bool flat = scaled.down >= SUBNORMAL;
    float lost = 0.0f;
#pragma unroll (K > 0 ? K : 1)
    for (int i = 0; i < width; ++i) {
        top_a = fmaxf(top_a, a[i]);
        top_b = fmaxf(top_b, b[i]);
        p[i] *= scaled.down;
        if ((flat || p[i] < LOSS) && a[i] > 0.0f && b[i] > 0.0f) {
            p[i] = 0.0f;
            lost += flat ? 2.0f : LOSS;
        }
    }
    const float bound_a = bound_of(lane, in[0]), bound_b = bound_of(lane, in[1]);
    scaled.bound = inherited(bound_a, bound_b, top_a, top_b, scaled.down) + lost;
    if (flat) scaled.down = 0.0f;
    return scaled;
}

// What brings two factors to tops whose product, the top of all their pairs, lies in [1, 2).
struct PairScale {
    float left, right;
    bool far;  // Whether no float holds the scale: then no gradient can pass, and all of the lane is lost.
    Scaled scaled;
};

__device__ __forceinline__ PairScale scale_of_pairs(
    const Lane& lane, const Operand* in, Units<0>& a, Units<0>& b
) {
    float top_a = 0.0f, top_b = 0.0f;
    for (int i = 0; i < in[0].units; ++i) top_a = fmaxf(top_a, a[i]);
    for (int j = 0; j < in[1].units; ++j) top_b = fmaxf(top_b, b[j]);
    const bool zero = !(top_a > 0.0f && top_b > 0.0f);
    const float down_a = zero ? 1.0f : normaliser(top_a), down_b = zero ? 1.0f : normaliser(top_b);
    int shift = zero ? 0 : exponent_bits(top_a) + exponent_bits(top_b);
    const bool carries = top_a * down_a * (top_b * down_b) >= 2.0f;
    const float half = carries ? 0.5f : 1.0f;
    shift += carries;
    const bool far = shift < -126;
    Scaled scaled = {far ? 0.0f : power_of_two(-shift), shift, 0.0f};
    const float bound_a = bound_of(lane, in[0]) * down_a, bound_b = bound_of(lane, in[1]) * down_b;
    scaled.bound = inherited(bound_a, bound_b, top_a * down_a, top_b * down_b, half);
    scaled.exponent += exponent_of(lane, in[0]) + exponent_of(lane, in[1]);
    return {down_a, down_b * half, far, scaled};
}

// What is kept of a scaled pair.
__device__ __forceinline__ float kept(float pair) { return pair < LOSS ? 0.0f : pair; }

// p = all pairs of a and b, the unit of a varying fastest, scaled.
__device__ __forceinline__ Scaled pairs(
    const Lane& lane, const Operand* in, Units<0>& a, Units<0>& b, Units<0>& p
) {
    PairScale by = scale_of_pairs(lane, in, a, b);
    for (int j = 0; j < in[1].units; ++j) {
        const float right = b[j] * by.right;
        for (int i = 0; i < in[0].units; ++i) {
            const float pair = by.far ? 0.0f : kept(a[i] * by.left * right);
            p[i + in[0].units * j] = pair;
            if (pair == 0.0f && a[i] > 0.0f && b[j] > 0.0f) by.scaled.bound += LOSS;
        }
    }
    return by.scaled;
}
