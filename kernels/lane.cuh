// One row of the batch as one thread sees it: the columns of a block's arena that are its own.
//
// An arena is [rows][THREADS], so that the threads of a warp read 32 neighbouring numbers. What a thread
// reads and writes through a Lane is its own; only `reduce.cuh` and `tensor.cuh` look at the lanes of
// others, and say when the block or the warp must wait.

// Everything that a thread needs to run the program of a part for its row.
struct Lane {
    const Step* steps;
    const Operand* operands;
    const Column* columns;
    const float* coefficients;  // Of the part.
    float* d_coefficients;      // The gradient by them, of the block.
    float* flows;               // For queries: flow s of this row is flows[s * pitch].
    const float* data;          // Column v of this row is data[v * LANES].
    int count;                  // Steps.
    bool guarded;               // Whether losses are watched.
    float least;                // The least weight above zero.
    // The arena, each pointer at this thread's column.
    float* values;
    int* exponents;
    float* bounds;
    float* gradients;
    float* formed;    // What a step forms on the way, and the gradient by it.
    float* d_formed;
    float* left;  // Inline inputs, the gradients by them, and the states they were looked up by.
    float* right;
    float* d_left;
    float* d_right;
    float* states;
};

__device__ __forceinline__ float& at(float* rows, int row) { return rows[row * THREADS]; }
__device__ __forceinline__ int& at(int* rows, int row) { return rows[row * THREADS]; }

// K units of this lane: in registers if K > 0, else rows of the arena.
template <int K>
struct Units {
    float unit[K];
    __device__ __forceinline__ explicit Units(float*) {}
    __device__ __forceinline__ float& operator[](int i) { return unit[i]; }
    __device__ __forceinline__ int count(int) const { return K; }
};

template <>
struct Units<0> {
    float* rows;
    __device__ __forceinline__ explicit Units(float* rows) : rows(rows) {}
    __device__ __forceinline__ float& operator[](int i) { return rows[i * THREADS]; }
    __device__ __forceinline__ int count(int width) const { return width; }
};

__device__ __forceinline__ float column_of(const Lane& lane, int column) {
    const Column c = lane.columns[column];
    return c.variable == NOWHERE ? c.fixed : lane.data[(long long)c.variable * LANES];
}

__device__ __forceinline__ int pitch_of(int width) { return (width + 3) & ~3; }

__device__ __forceinline__ int exponent_of(const Lane& lane, const Operand& value) {
    return value.exponent == NOWHERE ? 0 : at(lane.exponents, value.exponent);
}

__device__ __forceinline__ float bound_of(const Lane& lane, const Operand& value) {
    return lane.guarded && value.exponent != NOWHERE ? at(lane.bounds, value.exponent) : 0.0f;
}

// Row j of a table [units, states] at the column's state; one where it is missing.
template <int K>
__device__ __forceinline__ void look_up(
    const Lane& lane, int column, const float* table, int states, int units, Units<K>& out
) {
    const float x = column_of(lane, column);
    const bool missing = x != x;
    const int state = missing ? 0 : (int)x;
    const int pitch = pitch_of(states);
    const int count = out.count(units);
#pragma unroll (K > 0 ? K : 1)
    for (int j = 0; j < count; ++j) out[j] = missing ? 1.0f : table[j * pitch + state];
}

// The units of an input. Rows of the arena are taken as they lie where K is 0; what is inline is looked up
// into `scratch`.
template <int K>
__device__ __forceinline__ Units<K> units_of(const Lane& lane, const Operand& value, float* scratch) {
    Units<K> out(value.rows == NOWHERE ? scratch : lane.values + value.rows * THREADS);
    if (value.rows == NOWHERE) {
        look_up<K>(
            lane, value.column, lane.coefficients + value.table, value.states, value.units, out
        );
    } else if (K > 0) {
#pragma unroll (K > 0 ? K : 1)
        for (int i = 0; i < K; ++i) out[i] = at(lane.values, value.rows + i);
    }
    return out;
}

// Writes what belongs to a value as a whole.
__device__ __forceinline__ void finish(Lane& lane, const Operand& out, int exponent, float bound) {
    if (out.exponent == NOWHERE) return;
    at(lane.exponents, out.exponent) = exponent;
    if (lane.guarded) at(lane.bounds, out.exponent) = bound;
}
