// Runs the text of CUDA kernels on the processor: what of the language the kernels use, and a block of
// threads as fibers.
//
// Each thread of a block is a fiber with a stack of its own. A fiber runs until it reaches a barrier, of the
// block or of its warp, or its end; then the next one runs, in an order that is a parameter. A barrier opens
// when all threads have reached it; where some have ended or wait at another one, the program aborts and says
// so. Shared memory is filled with NaN before each block, and beyond its end is poisoned for the address
// sanitizer. One block runs after the other.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

// Where an instruction has no words in C++, the kernels call what stands for it here.
#define ON_CPU

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(threads, blocks)

struct dim3 {
    unsigned x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

struct float2 {
    float x, y;
};

static dim3 threadIdx, blockIdx, gridDim;

// The most shared memory of any device: 227 KiB.
constexpr size_t SHARED_BYTES = 227 * 1024;
alignas(16) float shared_arena[SHARED_BYTES / sizeof(float)];

template <class To, class From>
static inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}
static inline unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return bits_as<float>(x); }
static inline float __int_as_float(int x) { return bits_as<float>(x); }

// The program is compiled without contraction, so each operation rounds by itself.
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }

namespace on_cpu {

enum class State { Ready, AtBarrier, AtWarp, Done };

// In which order the threads of a block run between barriers.
enum class Order { Ascending, Descending, Shuffled };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    State state;
};

// What a thread holds of the tiles that its warp multiplies.
struct Fragment {
    unsigned a[4], b[2];
};

struct Block {
    std::vector<Fiber> fibers;
    ucontext_t scheduler;
    std::function<void()> body;
    unsigned current;
    std::vector<double> exchanged[2];  // What each thread gives at a shuffle; in turns.
    std::vector<unsigned> shuffles;   // By thread.
    std::vector<Fragment> fragments[2];  // What each thread gives to a product of tiles; in turns.
    std::vector<unsigned> products;      // By thread.
};

static Block block;
static Order order = Order::Ascending;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

[[noreturn]] static void refuse(const char* message) {
    std::fprintf(stderr, "cuda_on_cpu: %s\n", message);
    std::abort();
}

static unsigned random_below(unsigned n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % n);
}

static void wait_at(State state) {
    Fiber& fiber = block.fibers[block.current];
    fiber.state = state;
    swapcontext(&fiber.context, &block.scheduler);
}

static void run_fiber() {
    block.body();
    wait_at(State::Done);
}

// Opens the barrier that the threads first .. first + count wait at, if all of them do.
static bool open(State barrier, size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i) {
        if (block.fibers[i].state != barrier) return false;
    }
    for (size_t i = first; i < first + count; ++i) block.fibers[i].state = State::Ready;
    return true;
}

// Runs each thread that can run once, in the order. Returns whether there was one.
static bool run_ready(std::vector<unsigned>& turns) {
    const unsigned threads = (unsigned)block.fibers.size();
    for (unsigned i = 0; i < threads; ++i) turns[i] = i;
    for (unsigned i = 0; i < threads; ++i) {
        if (order == Order::Descending) turns[i] = threads - 1 - i;
        if (order == Order::Shuffled) std::swap(turns[i], turns[i + random_below(threads - i)]);
    }
    bool any = false;
    for (unsigned turn : turns) {
        Fiber& fiber = block.fibers[turn];
        if (fiber.state != State::Ready) continue;
        block.current = turn;
        threadIdx = {turn, 0, 0};
        swapcontext(&block.scheduler, &fiber.context);
        any = true;
    }
    return any;
}

static void run_block(unsigned threads) {
    constexpr size_t STACK = 128 * 1024;
    block.fibers.resize(threads);
    block.shuffles.assign(threads, 0);
    for (auto& given : block.exchanged) given.assign(threads, NAN);
    block.products.assign(threads, 0);
    for (auto& given : block.fragments) given.assign(threads, Fragment());
    for (Fiber& fiber : block.fibers) {
        fiber.stack.resize(STACK);
        // What the frames of the block before have left poisoned.
        ASAN_UNPOISON_MEMORY_REGION(fiber.stack.data(), STACK);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
        fiber.state = State::Ready;
    }
    std::vector<unsigned> turns(threads);
    for (;;) {
        while (run_ready(turns)) {
        }
        if (open(State::Done, 0, threads)) return;
        // One warp goes as far as it can before the next does: what lacks a barrier is seen soonest so.
        bool opened = open(State::AtBarrier, 0, threads);
        const unsigned warps = threads / 32;
        for (unsigned i = 0; i < warps && !opened; ++i) {
            const unsigned warp = order == Order::Descending ? warps - 1 - i : i;
            opened = open(State::AtWarp, 32 * warp, 32);
        }
        if (!opened) refuse("a barrier that not all threads reach");
    }
}

static void launch(
    unsigned blocks, unsigned threads, size_t shared_bytes, std::function<void()> body
) {
    if (threads == 0 || threads % 32 != 0 || threads > 1024) refuse("blocks of whole warps, please");
    if (shared_bytes > SHARED_BYTES) refuse("more shared memory than any device has");
    block.body = std::move(body);
    gridDim = {blocks, 1, 1};
    char* shared = reinterpret_cast<char*>(shared_arena);
    for (unsigned b = 0; b < blocks; ++b) {
        blockIdx = {b, 0, 0};
        std::memset(shared, 0xff, shared_bytes);
        ASAN_POISON_MEMORY_REGION(shared + shared_bytes, SHARED_BYTES - shared_bytes);
        run_block(threads);
        ASAN_UNPOISON_MEMORY_REGION(shared, SHARED_BYTES);
    }
}

}  // namespace on_cpu

namespace on_cpu {

// Gives a thread's fragments to its warp, and waits for those of the others. Returns those of the warp's first thread.
static const Fragment* exchanged(const unsigned (&a)[4], const unsigned (&b)[2]) {
    const unsigned thread = threadIdx.x;
    auto& given = block.fragments[block.products[thread]++ % 2];
    std::copy(a, a + 4, given[thread].a);
    std::copy(b, b + 2, given[thread].b);
    wait_at(State::AtWarp);
    return &given[thread / 32 * 32];
}

// Tensor cores read no more than eleven bits of a mantissa.
static float operand(unsigned word) {
    const float x = __uint_as_float(word);
    if (x == x && (word & 0x1fffu) != 0) refuse("an operand of more than eleven bits");
    return x;
}

// `mma.m16n8k8` of the warp, sums in single precision, in order.
static void multiply_tile(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const Fragment* warp = exchanged(a, b);
    const unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (unsigned n = 0; n < 4; ++n) {
        const unsigned column = 2 * t + n % 2;
        for (unsigned k = 0; k < 8; ++k) {
            const float left = operand(warp[4 * g + k % 4].a[n / 2 + k / 4 * 2]);
            c[n] += left * operand(warp[4 * column + k % 4].b[k / 4]);
        }
    }
}

// Number k of a run of eight or sixteen, of which each of four threads has pairs.
static float paired(unsigned word, unsigned k) {
    return __uint_as_float(k % 2 == 0 ? word << 16 : word & 0xffff0000u);
}

// `mma.m16n8k16` of the warp, of pairs of short numbers, sums in single precision, in order.
static void multiply_pairs(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    const Fragment* warp = exchanged(a, b);
    const unsigned g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (unsigned n = 0; n < 4; ++n) {
        const unsigned column = 2 * t + n % 2;
        for (unsigned k = 0; k < 16; ++k) {
            const unsigned holder = k % 8 / 2;
            const float left = paired(warp[4 * g + holder].a[n / 2 + k / 8 * 2], k);
            c[n] += left * paired(warp[4 * column + holder].b[k / 8], k);
        }
    }
}

}  // namespace on_cpu

static inline void __syncwarp() { on_cpu::wait_at(on_cpu::State::AtWarp); }
static inline void __syncthreads() { on_cpu::wait_at(on_cpu::State::AtBarrier); }

// Values are exchanged through two buffers in turns: a thread comes back to the first only after all of its
// warp have read it.
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T given, int other) {
    if (mask != 0xffffffffu) on_cpu::refuse("a shuffle of less than a warp");
    const unsigned thread = threadIdx.x;
    auto& exchanged = on_cpu::block.exchanged[on_cpu::block.shuffles[thread]++ % 2];
    exchanged[thread] = given;
    on_cpu::wait_at(on_cpu::State::AtWarp);
    return (T)exchanged[thread ^ (unsigned)other];
}
