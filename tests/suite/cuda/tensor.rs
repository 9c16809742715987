//! Sums that are wide enough for tensor cores, whose instruction has a stand-in on the processor, against the oracle.

use std::sync::Arc;

use pcc::compile::Compiled;
use pcc::engine::cuda::source;

use super::{Judged, general, skipped};
use crate::agreement::assert_agree;
use crate::support::cpu_device::{self, Order};
use crate::support::describe::{compiled, rat_spn};

/// Circuits of widths that fill tiles, and do not.
fn circuits() -> Vec<Arc<Compiled>> {
    let trees = [16, 17, 40, 65].map(|units| rat_spn(5, units, 2, "parameterizer: Direct"));
    let pairs = [(6, 2), (16, 1), (19, 1)].map(|(units, replicas)| {
        let structure = format!("Einet(units: {units}, replicas: {replicas}, depth: 2, seed: 1)");
        let rest = format!("structure: {structure}, parameterizer: Direct");
        format!("(name: \"pairs\", variables: Binary(5), {rest})")
    });
    let hyper = rat_spn(4, 33, 1, "parameterizer: Hyper(embedding: 3, hidden: [4])");
    trees.iter().chain(&pairs).chain([&hyper]).map(|text| compiled(text)).collect()
}

/// Compares with the oracle. Returns the greatest error of a gradient, as a part of the largest of its tensor or of ten,
/// which stands for it where all of a tensor's cancel; and all gradients.
fn compare(kernels: &cpu_device::Compiled, order: Order) -> (f64, Vec<f32>) {
    let (mut worst, mut all) = (0.0, Vec::new());
    for (number, compiled) in circuits().into_iter().enumerate() {
        let judged = Judged::new(compiled, 70, number as u64);
        let (log_p, gradient) = judged.by_kernels(kernels, order);
        let Judged { compiled, expected, .. } = &judged;
        assert_agree(&format!("circuit {number}"), compiled, expected, (&log_p, &gradient));
        let tensors = compiled.parameters.tensors();
        for (id, _) in tensors.iter() {
            let (expected, found) =
                (&expected.gradient[tensors.range(id)], &gradient[tensors.range(id)]);
            let largest = expected.iter().fold(10.0f64, |top, g| top.max(g.abs()));
            let off = expected.iter().zip(found).map(|(g, &found)| (g - f64::from(found)).abs());
            worst = off.fold(0.0, f64::max).max(worst * largest) / largest;
        }
        all.extend(gradient);
    }
    (worst, all)
}

#[test]
fn wide_sums_by_tiles_are_about_as_near_to_the_oracle_as_plain_loops() {
    let specialisation = general(64, false);
    let Some(tiles) = cpu_device::Compiled::new(specialisation.clone()) else {
        return skipped("tensor cores on the processor", "there is no C++ compiler");
    };
    let whole = source(&specialisation);
    let loops =
        whole.replace("return units >= TILE_ROWS &&", "return false && units >= TILE_ROWS &&");
    assert_ne!(loops, whole);
    let loops = cpu_device::Compiled::of_text(&loops, specialisation);
    let (by_tiles, gradients) = compare(&tiles, Order::Shuffled);
    let (by_loops, others) = compare(&loops, Order::Ascending);
    assert!(gradients != others, "nothing was wide enough");
    let message = format!("off by {by_tiles:.1e}; plain loops by {by_loops:.1e}");
    println!("{message}");
    assert!(by_tiles < 2e-6, "{message}");
}

/// A way to break a kernel: its name, what is written, and what would be instead.
const BREAKS: [(&str, &str, &str); 11] = [
    ("no low halves of weights", "tile], low, upper);", "tile], low, lower);"),
    ("no low halves of units", "tile], high, lower);", "tile], low, lower);"),
    ("one column twice", "tile * 8 + 2 * t + n % 2", "tile * 8 + 2 * t"),
    (
        "no wait for the warp's units",
        "float* sums = of_warp(out);\n    __syncwarp();",
        "float* sums = of_warp(out);",
    ),
    (
        "weights of the first tile",
        "weights[(long long)(first + j) * pitch + i]",
        "weights[j * pitch + i]",
    ),
    ("pairs the other way round", "left[i % wide * THREADS", "left[i / high * THREADS"),
    (
        "half of the units that gain from a pair's other",
        "other = 4; other < 32;",
        "other = 4; other < 16;",
    ),
    (
        "no wait for cleared gradients by factors",
        "float* to_right = of_warp(d_right);\n    __syncwarp();",
        "float* to_right = of_warp(d_right);",
    ),
    (
        "the way back by the first unit's weights",
        "(long long)n * pitch + j * pairs.wide",
        "(long long)n * pitch",
    ),
    ("a pair's own factor", "* pairs.right[j * THREADS + lane];", "* pairs.right[lane];"),
    (
        "the way back by rows",
        "weights[(long long)j * pitch + first + i]",
        "weights[(first + i) * pitch + j]",
    ),
];

#[test]
fn each_way_to_break_a_tile_is_noticed() {
    let specialisation = general(64, false);
    let whole = source(&specialisation);
    if !cpu_device::has_compiler() {
        return skipped("breaking tiles on purpose", "there is no C++ compiler");
    }
    let unnoticed = BREAKS.iter().filter(|(_, written, instead)| {
        let broken = whole.replace(written, instead);
        broken == whole || {
            let kernels = cpu_device::Compiled::of_text(&broken, specialisation.clone());
            std::panic::catch_unwind(|| compare(&kernels, Order::Descending)).is_ok()
        }
    });
    let unnoticed: Vec<&str> = unnoticed.map(|(name, ..)| *name).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
