//! The measured peak of this machine: fused multiply-adds of independent registers, and nothing else.
//!
//! `pcc bench` divides by it, so that its share says how much of the arithmetic that this very
//! processor can do was spent on the circuit.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

/// Independent sums: more than the latency of a multiply-add times the units that do one.
const SUMS: usize = 12;
/// Multiply-adds of each sum in a measurement; a tenth of a millisecond or so.
const ROUNDS: usize = 40_000;
/// Measurements, of which the fastest counts.
const TRIES: usize = 400;

/// Multiply-adds of single precision a second, of `threads` threads together.
pub fn multiply_adds_per_second(threads: usize) -> f64 {
    let start = Barrier::new(threads);
    let one = || {
        start.wait();
        let arch = Arch::new();
        (0..TRIES).map(|_| arch.dispatch(Pulse)).fold(0.0, f64::max)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let own = one();
        // A thread that ended otherwise has done nothing to count.
        own + others.into_iter().filter_map(|other| other.join().ok()).sum::<f64>()
    })
}

/// One measurement on one core.
struct Pulse;

impl WithSimd for Pulse {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut sums = [simd.splat_f32s(black_box(1.0)); SUMS];
        let (factor, term) = (black_box(simd.splat_f32s(0.5)), black_box(simd.splat_f32s(0.25)));
        let start = Instant::now();
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, term);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        black_box(sums);
        (ROUNDS * SUMS * S::F32_LANES) as f64 / seconds
    }
}
