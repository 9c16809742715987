// Powers of two that keep mantissas in range. All scaling is exact.

#define LOSS 7.8886090522101181e-31f   // 2^-100: units below this, beside a top in [1, 2), are lost.
#define SUBNORMAL 1.6999999e38f        // Below 2^127: the scale of a top that is zero or no normal number.
#define TRACE 1.17549435e-38f           // What is left of a bound that a float cannot hold: the least normal.
#define DOUBT 9.5367431640625e-07f     // 2^-20: a row whose bound passes this share of it is in doubt.
#define LN_2 0.693147180559945309417
#define LOG2_E 1.44269504088896340736

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fc00000); }

// ⌊log₂ x⌋ of a normal number.
__device__ __forceinline__ int exponent_bits(float x) { return (int)(__float_as_uint(x) >> 23) - 127; }

// 2^-⌊log₂ top⌋, which brings `top` to [1, 2); 2^127 for zero.
__device__ __forceinline__ float normaliser(float top) {
    return __uint_as_float(0x7f000000u - (__float_as_uint(top) & 0x7f800000u));
}

// 2^e; zero where that is no normal number.
__device__ __forceinline__ float power_of_two(int e) {
    const bool normal = e >= -126 && e <= 127;
    return normal ? __int_as_float((e + 127) << 23) : 0.0f;
}

// A bound that is not zero: infinite where nothing is known, and never less than a trace.
__device__ __forceinline__ float traced(float bound) {
    return bound != bound ? infinity() : fmaxf(bound, TRACE);
}

// What the units of a product may lack because the factors do: by their bounds and their tops, brought to the
// product's scale.
__device__ __forceinline__ float inherited(float a, float b, float top_a, float top_b, float scale) {
    const bool reaches = (a > 0.0f && (top_b > 0.0f || b > 0.0f)) || (b > 0.0f && top_a > 0.0f);
    return reaches ? traced((a * top_b + b * top_a + a * b) * scale) : 0.0f;
}

// a - b, held within what an int can hold.
__device__ __forceinline__ int difference(int a, int b) {
    const long long d = (long long)a - b;
    return d > 100000 ? 100000 : d < -100000 ? -100000 : (int)d;
}
