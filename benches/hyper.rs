//! Arithmetic rate of the hyper parameterizer on one core, beside the core's own peak.
//!
//! Run with `cargo bench --bench hyper`.

use std::hint::black_box;
use std::time::Instant;

use pcc::param::hyper::Hyper;
use pcc::param::{Block, Parameterizer, Shape};
use pulp::{Simd, WithSimd};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("peak               {:7.1} GFLOP/s", peak());
    let hyper = Hyper { embedding: 5, hidden: vec![20, 20] };
    for (shape, label) in [((5, 5), "5×5"), ((5, 2), "5×2"), ((1, 5), "1×5")] {
        for sectors in [64, 1024] {
            measure(&hyper, Shape { rows: shape.0, cols: shape.1 }, sectors, label)?;
        }
    }
    Ok(())
}

/// Prints the rate of one shape in a circuit whose largest sector is 5 × 5.
fn measure(
    hyper: &Hyper,
    shape: Shape,
    sectors: usize,
    label: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut shapes = vec![shape; sectors];
    shapes.push(Shape { rows: 5, cols: 5 });
    let bound = hyper.bind(&shapes)?;
    let ordinals: Vec<u32> = (0..sectors as u32).collect();
    let block = Block { shape, sectors: &ordinals };
    let own = vec![0.5f32; shapes.len() * hyper.embedding];
    let shared = vec![0.1f32; bound.shared.iter().map(|spec| spec.len()).sum()];
    let mut out = vec![0.0; block.len()];
    let d_logits = vec![0.1; block.len()];
    let mut d_own = vec![0.0; sectors * hyper.embedding];
    let mut d_shared = vec![0.0; shared.len()];
    let mut scratch = vec![0.0; bound.single.scratch(sectors)];
    let mut widths = vec![hyper.embedding];
    widths.extend(&hyper.hidden);
    widths.push(shape.len());
    let products = |pair: &[usize]| pair[0] * pair[1];
    let all: usize = widths.windows(2).map(products).sum();
    let hidden: usize = widths[..widths.len() - 1].windows(2).map(products).sum();
    let forward = time(|| bound.single.logits(&own, &shared, block, &mut out, &mut scratch));
    let backward = time(|| {
        let (d_own, d_shared) = (&mut d_own, &mut d_shared);
        bound.single.backward(&own, &shared, block, &d_logits, d_own, d_shared, &mut scratch);
    });
    let rate = |products: usize, seconds: f64| 2.0 * (products * sectors) as f64 / seconds / 1e9;
    println!(
        "{label}, {sectors:4} sectors  forward {:7.1} GFLOP/s ({:7.2} µs)  \
         backward {:7.1} GFLOP/s ({:7.2} µs)",
        rate(all, forward),
        forward * 1e6,
        rate(hidden + 2 * all, backward),
        backward * 1e6,
    );
    Ok(())
}

/// Seconds of one call: the least of several means.
fn time(mut call: impl FnMut()) -> f64 {
    let mean = |calls: u32, call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_secs_f64() / f64::from(calls)
    };
    (0..30).map(|_| mean(200, &mut call)).fold(f64::INFINITY, f64::min)
}

/// Fused multiply-adds of independent registers alone.
fn peak() -> f64 {
    struct Peak;
    impl WithSimd for Peak {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            const ROUNDS: usize = 100_000;
            let mut sums = [simd.splat_f32s(black_box(1.0)); 12];
            let (factor, term) =
                (black_box(simd.splat_f32s(0.5)), black_box(simd.splat_f32s(0.25)));
            let start = Instant::now();
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = simd.mul_add_e_f32s(*sum, factor, term);
                }
            }
            let seconds = start.elapsed().as_secs_f64();
            black_box(sums);
            (2 * ROUNDS * sums.len() * S::F32_LANES) as f64 / seconds / 1e9
        }
    }
    let arch = pulp::Arch::new();
    (0..20).map(|_| arch.dispatch(Peak)).fold(0.0, f64::max)
}
