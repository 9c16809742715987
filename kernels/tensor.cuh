// Products of matrices by tensor cores, in single precision: for sums that are too wide for registers.
//
// An operand x is split into two numbers of eleven bits, high + low, whose sum is x but for 2^-23 of it; of the four
// products of halves the three largest are added up, in single precision. So a product of the sum is off by some
// 2^-21 of itself at most, and all terms of a sum here are positive.
//
// Contract of all functions here: all threads of the warp call them together, with the same arguments but for what a
// lambda reads. They wait for the warp where they say so, and for no other.

// A number rounded to eleven bits of mantissa, as `mma` reads it. What is no number stays none.
__device__ __forceinline__ float rounded(float x) {
    return x == x ? __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u) : x;
}

// c += a b for a 16 × 8 tile a and an 8 × 8 tile b of rounded numbers, each thread holding a few of each: with
// g = lane / 4 and t = lane % 4, a are rows g, g + 8, g, g + 8 of columns t, t, t + 4, t + 4; b are rows t and t + 4
// of column g; c are columns 2t, 2t + 1 of row g, then of row g + 8.
__device__ __forceinline__ void multiply_tile(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
#ifdef ON_CPU
    on_cpu::multiply_tile(c, a, b);
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#endif
}

#define TILE_ROWS 16
#define TILE_COLUMNS 32  // Four tiles beside each other share what is read of a.

// Warp-wide: calls store(row, column, sum) for each entry of a 16 × 32 tile of the product of a, 16 × depth, and b,
// depth × 32, both functions of row and column, which are zero beyond the matrices' ends.
template <class A, class B, class Store>
__device__ __forceinline__ void tile_of_product(int depth, A a, B b, Store store) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float sums[4][4] = {};
    for (int k = t; k < depth + t; k += 8) {
        float high[4], low[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            const float x = a(g + n % 2 * 8, k + n / 2 * 4);
            high[n] = rounded(x);
            low[n] = rounded(x - high[n]);
        }
#pragma unroll
        for (int tile = 0; tile < 4; ++tile) {
            float upper[2], lower[2];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                const float x = b(k + n * 4, tile * 8 + g);
                upper[n] = rounded(x);
                lower[n] = rounded(x - upper[n]);
            }
            multiply_tile(sums[tile], low, upper);
            multiply_tile(sums[tile], high, lower);
            multiply_tile(sums[tile], high, upper);
        }
    }
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

// out[j] = Σᵢ weights[j][i] x[i] of all lanes of the warp: `weigh`, by tiles. Waits for the warp before and after.
__device__ __forceinline__ void weigh_tiles(
    const float* weights, int units, int width, float* x, float* out
) {
    const int pitch = pitch_of(width);
    const float* rows = of_warp(x);
    float* sums = of_warp(out);
    __syncwarp();
    for (int first = 0; first < units; first += TILE_ROWS) {
        tile_of_product(
            width,
            [=](int j, int i) {
                const bool inside = first + j < units && i < width;
                return inside ? weights[(long long)(first + j) * pitch + i] : 0.0f;
            },
            [=](int i, int lane) { return i < width ? rows[i * THREADS + lane] : 0.0f; },
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

// out[j][i] += Σ over the block's lanes of d[j] x[i]: `by_units`, by tiles, with its contract. A warp takes a tile.
__device__ __forceinline__ void by_tiles(
    const float* d, int units, const float* x, int width, int pitch, float* out
) {
    const int across = (width + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int tiles = (units + TILE_ROWS - 1) / TILE_ROWS * across;
    for (int tile = threadIdx.x / 32; tile < tiles; tile += WARPS) {
        const int row = tile / across * TILE_ROWS, column = tile % across * TILE_COLUMNS;
        tile_of_product(
            THREADS,
            [=](int j, int lane) { return row + j < units ? d[(row + j) * THREADS + lane] : 0.0f; },
            [=](int lane, int i) {
                return column + i < width ? x[(column + i) * THREADS + lane] : 0.0f;
            },
            [=](int j, int i, float sum) {
                const bool inside = row + j < units && column + i < width;
                if (inside) out[(long long)(row + j) * pitch + column + i] += sum;
            }
        );
    }
}
