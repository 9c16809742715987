// Products of matrices by tensor cores: for sums that are too wide for registers.
//
// All terms of a sum here are positive and are added up in single precision, so a sum is off by no more than its
// products are, each as a part of itself. How far that is, the user chooses by PRECISION:
//
//   F32   an operand x is split into two numbers of eleven bits, high + low, whose sum is x but for 2^-23 of it; of the
//         four products of halves the three largest are added up: off by some 2^-21
//   TF32  operands are rounded to eleven bits, one product: off by 2^-10
//   BF16  operands are rounded to eight bits, one product, twice as many at a time: off by 2^-7
//
// Contract of all functions here: all threads of the warp call them together, with the same arguments but for what a
// lambda reads. They wait for the warp where they say so, and for no other.

enum Precision { F32, TF32, BF16 };

// x, its mantissa rounded by that many bits. What is no number stays none.
template <int BITS>
__device__ __forceinline__ float rounded(float x) {
    const unsigned half = 1u << (BITS - 1), kept = ~0u << BITS;
    return x == x ? __uint_as_float((__float_as_uint(x) + half) & kept) : x;
}
#define TO_ELEVEN 13  // As `mma` reads numbers of TF32,
#define TO_EIGHT 16   //   and those of BF16.

// Two numbers of BF16 in a word, the first in its lower half.
__device__ __forceinline__ unsigned word_of(float first, float second) {
    const unsigned low = __float_as_uint(rounded<TO_EIGHT>(first)) >> 16;
    return low | (__float_as_uint(rounded<TO_EIGHT>(second)) & 0xffff0000u);
}

// c += a b for a 16 × 8 tile a and an 8 × 8 tile b of rounded numbers, each thread holding a few of each: with
// g = lane / 4 and t = lane % 4, a are rows g, g + 8, g, g + 8 of columns t, t, t + 4, t + 4; b are rows t and t + 4
// of column g; c are columns 2t, 2t + 1 of row g, then of row g + 8.
__device__ __forceinline__ void multiply_tile(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
    const unsigned left[4] = {
        __float_as_uint(a[0]), __float_as_uint(a[1]), __float_as_uint(a[2]), __float_as_uint(a[3])
    };
    const unsigned right[2] = {__float_as_uint(b[0]), __float_as_uint(b[1])};
#ifdef ON_CPU
    on_cpu::multiply_tile(c, left, right);
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#endif
}

// The same for a 16 × 16 tile a and a 16 × 8 tile b of pairs: a are rows g, g + 8, g, g + 8 of columns 2t and 2t + 1,
// the last two eight columns on; b are rows 2t and 2t + 1 of column g, the second eight rows on.
__device__ __forceinline__ void multiply_pairs(
    float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]
) {
#ifdef ON_CPU
    on_cpu::multiply_pairs(c, a, b);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#define TILE_ROWS 16
#define TILE_COLUMNS 32  // Four tiles beside each other share what is read of a.
#define SLICE (PRECISION == BF16 ? 16 : 8)  // Columns of a that are multiplied at a time.

// Adds the products of columns k … k + 7 of a and as many rows of b, by numbers of eleven bits.
template <class A, class B>
__device__ __forceinline__ void add_slice(float (&sums)[4][4], int k, A a, B b) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float high[4], low[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        const float x = a(g + n % 2 * 8, k + t + n / 2 * 4);
        high[n] = rounded<TO_ELEVEN>(x);
        low[n] = rounded<TO_ELEVEN>(x - high[n]);
    }
#pragma unroll
    for (int tile = 0; tile < 4; ++tile) {
        float upper[2], lower[2];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const float x = b(k + t + n * 4, tile * 8 + g);
            upper[n] = rounded<TO_ELEVEN>(x);
            lower[n] = rounded<TO_ELEVEN>(x - upper[n]);
        }
        if (PRECISION == F32) {
            multiply_tile(sums[tile], low, upper);
            multiply_tile(sums[tile], high, lower);
        }
        multiply_tile(sums[tile], high, upper);
    }
}

// The same of columns k … k + 15, by numbers of eight bits.
template <class A, class B>
__device__ __forceinline__ void add_pairs(float (&sums)[4][4], int k, A a, B b) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    unsigned left[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        const int row = g + n % 2 * 8, column = k + 2 * t + n / 2 * 8;
        left[n] = word_of(a(row, column), a(row, column + 1));
    }
#pragma unroll
    for (int tile = 0; tile < 4; ++tile) {
        unsigned right[2];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const int row = k + 2 * t + n * 8, column = tile * 8 + g;
            right[n] = word_of(b(row, column), b(row + 1, column));
        }
        multiply_pairs(sums[tile], left, right);
    }
}

// Warp-wide: adds to a 16 × 32 tile, of which each thread holds as many sums of four as `multiply_tile` says, the
// product of a, 16 × depth, and b, depth × 32, both functions of row and column, which are zero beyond the matrices' ends.
template <class A, class B>
__device__ __forceinline__ void sum_tile(float (&sums)[4][4], int depth, A a, B b) {
    for (int k = 0; k < depth; k += SLICE) {
        if (PRECISION == BF16) {
            add_pairs(sums, k, a, b);
        } else {
            add_slice(sums, k, a, b);
        }
    }
}

// The same, calling store(row, column, sum) for each entry.
template <class A, class B, class Store>
__device__ __forceinline__ void tile_of_product(int depth, A a, B b, Store store) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float sums[4][4] = {};
    sum_tile(sums, depth, a, b);
#pragma unroll
    for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
        for (int n = 0; n < 4; ++n) store(g + n / 2 * 8, tile * 8 + 2 * t + n % 2, sums[tile][n]);
    }
}

// The rows of a warp that begin where a lane's do.
__device__ __forceinline__ float* of_warp(float* rows) { return rows - threadIdx.x % 32; }

// Whether a sum of this shape is worth tiles.
__device__ __forceinline__ bool fills_tiles(int units, int width) {
    return units >= TILE_ROWS && width >= TILE_ROWS;
}

// out[j] = Σᵢ weights[j][i] x(i) of all lanes of the warp: `weigh`, by tiles; x(i, lane) is theirs. Waits for the warp
// before and after.
template <class X>
__device__ __forceinline__ void weigh_tiles(
    const float* weights, int units, int width, X x, float* out
) {
    const int pitch = pitch_of(width);
    float* sums = of_warp(out);
    __syncwarp();
    for (int first = 0; first < units; first += TILE_ROWS) {
        tile_of_product(
            width,
            [=](int j, int i) {
                const bool inside = first + j < units && i < width;
                return inside ? weights[(long long)(first + j) * pitch + i] : 0.0f;
            },
            [=](int i, int lane) { return i < width ? x(i, lane) : 0.0f; },
            [=](int j, int lane, float sum) {
                if (first + j < units) sums[(first + j) * THREADS + lane] = sum;
            }
        );
    }
    __syncwarp();
}

// out[i] = Σⱼ weights[j][i] d[j]: `weigh_back`, by tiles. Waits for the warp before and after.
__device__ __forceinline__ void weigh_tiles_back(
    const float* weights, int units, int width, float* d, float* out
) {
    const int pitch = pitch_of(width);
    const float* rows = of_warp(d);
    float* sums = of_warp(out);
    __syncwarp();
    for (int first = 0; first < width; first += TILE_ROWS) {
        tile_of_product(
            units,
            [=](int i, int j) {
                const bool inside = first + i < width && j < units;
                return inside ? weights[(long long)j * pitch + first + i] : 0.0f;
            },
            [=](int j, int lane) { return j < units ? rows[j * THREADS + lane] : 0.0f; },
            [=](int i, int lane, float sum) {
                if (first + i < width) sums[(first + i) * THREADS + lane] = sum;
            }
        );
    }
    __syncwarp();
}

// out[j][i] += Σ over the block's lanes of d[j] x(i, lane): `by_units`, by tiles, with its contract. A warp takes a tile.
template <class X>
__device__ __forceinline__ void by_tiles(const float* d, int units, X x, int width, int pitch, float* out) {
    const int across = (width + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int tiles = (units + TILE_ROWS - 1) / TILE_ROWS * across;
    for (int tile = threadIdx.x / 32; tile < tiles; tile += WARPS) {
        const int row = tile / across * TILE_ROWS, column = tile % across * TILE_COLUMNS;
        tile_of_product(
            THREADS,
            [=](int j, int lane) { return row + j < units ? d[(row + j) * THREADS + lane] : 0.0f; },
            [=](int lane, int i) { return column + i < width ? x(column + i, lane) : 0.0f; },
            [=](int j, int i, float sum) {
                const bool inside = row + j < units && column + i < width;
                if (inside) out[(long long)(row + j) * pitch + column + i] += sum;
            }
        );
    }
}
