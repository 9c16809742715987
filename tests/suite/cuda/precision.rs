//! Wide sums of a precision that the user chose: how far from the oracle they lead, and that it is no further than the
//! plan says.

use std::sync::Arc;

use pcc::compile::Compiled;
use pcc::engine::cuda::{Accuracy, Architecture, Cache, Form, Precision, Specialisation, source};
use pcc::plan::{Purpose, Schedule};

use super::{Judged, general, planned, skipped};
use crate::support::cpu_device::{self, Order};
use crate::support::describe::{compiled, rat_spn};

/// Kernels of this precision.
fn kernels_of(precision: Precision) -> Specialisation {
    Specialisation { precision, ..general(64, false) }
}

/// Circuits whose sums are wide: deep ones, whose widths do and do not fill tiles, and one of pairs.
fn circuits() -> Vec<Arc<Compiled>> {
    let trees = [16, 37, 64].map(|units| rat_spn(12, units, 2, "parameterizer: Direct"));
    let pairs = "(name: \"pairs\", variables: Binary(8), \
                 structure: Einet(units: 16, replicas: 2, depth: 2, seed: 1), parameterizer: Direct)";
    trees.iter().map(String::as_str).chain([pairs]).map(compiled).collect()
}

/// How far the kernels lead from the oracle.
struct Off {
    /// The furthest that ln p is, in nats.
    log_p: f64,
    /// The greatest part of its bound that ln p takes.
    of_bound: f64,
    /// The greatest error of a gradient, as a part of the largest of its tensor.
    gradient: f64,
}

/// Nats that single precision itself may take, and the part of a gradient.
const SINGLE: f64 = 1e-5;

fn off(kernels: &cpu_device::Compiled, order: Order) -> Off {
    let mut worst = Off { log_p: 0.0, of_bound: 0.0, gradient: 0.0 };
    for (number, compiled) in circuits().into_iter().enumerate() {
        let judged = Judged::new(compiled, 70, number as u64);
        let (log_p, gradient) = judged.by_kernels(kernels, order);
        let Judged { compiled, data, expected, .. } = &judged;
        let plan = planned(compiled, Purpose::Train, Schedule::Wide, 70);
        let accuracy = Accuracy::of(&plan, &kernels.specialisation);
        assert!(accuracy.wide_sums > 0, "circuit {number} has no wide sum");
        for (expected, found) in expected.log_p.iter().zip(&log_p) {
            let off = (expected - found).abs();
            let allowed = accuracy.log_p() + SINGLE * expected.abs().max(1.0);
            worst.log_p = worst.log_p.max(off);
            worst.of_bound = worst.of_bound.max(off / allowed);
        }
        let tensors = compiled.parameters.tensors();
        for (id, _) in tensors.iter() {
            let at = tensors.range(id);
            let largest =
                expected.gradient[at.clone()].iter().fold(0.0f64, |top, g| top.max(g.abs()));
            // A logit's gradient is a flow less a share of those of its row, none of which is more than the rows.
            let flows = data.rows() as f64;
            let allowed = 2.0 * flows * accuracy.log_flow().exp_m1() + SINGLE * largest.max(flows);
            for place in at {
                let off = (expected.gradient[place] - f64::from(gradient[place])).abs();
                assert!(off <= allowed, "circuit {number}: a gradient is off by {off}");
                worst.gradient = worst.gradient.max(off / largest.max(1.0));
            }
        }
    }
    worst
}

#[test]
fn each_precision_is_as_far_from_the_oracle_as_its_plan_allows_and_no_further() {
    if !cpu_device::has_compiler() {
        return skipped("precisions on the processor", "there is no C++ compiler");
    }
    let errors = Precision::ALL.map(|precision| {
        let specialisation = kernels_of(precision);
        let kernels = cpu_device::Compiled::new(specialisation).unwrap();
        let Off { log_p, of_bound, gradient } = off(&kernels, Order::Shuffled);
        let name = precision.name();
        println!(
            "{name}: ln p off by {log_p:.1e} nats, {:.1} % of the bound; gradients by {gradient:.1e}",
            100.0 * of_bound
        );
        assert!(of_bound <= 1.0, "{name}: {of_bound} times the bound");
        [log_p, gradient]
    });
    // Eleven bits are some thousand times as rough as the halves of both, and eight bits eight times as rough again.
    for measure in [0, 1] {
        let [single, eleven, eight] = [0, 1, 2].map(|precision| errors[precision][measure]);
        assert!(eleven > 20.0 * single && eight > 3.0 * eleven, "{single} {eleven} {eight}");
    }
}

#[test]
fn a_precision_is_part_of_what_a_module_is_known_by() {
    let keys = Precision::ALL.map(|precision| {
        let text = source(&kernels_of(precision));
        Cache::key(&text, Architecture(90), Form::Cubin, "13.0")
    });
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

/// A way to break a kernel: its name, what is written, and what would be instead.
type Break = (&'static str, &'static str, &'static str);

const BREAKS: [(Precision, Break); 5] = [
    (Precision::Tf32, ("eight bits for eleven", "#define TO_ELEVEN 13", "#define TO_ELEVEN 17")),
    (Precision::Bf16, ("seven bits for eight", "#define TO_EIGHT 16", "#define TO_EIGHT 20")),
    (Precision::Bf16, ("one number of a pair twice", "a(row, column + 1)", "a(row, column)")),
    (
        Precision::Bf16,
        (
            "the second eight rows first",
            "k + 2 * t + n * 8, column",
            "k + 2 * t + 8 - n * 8, column",
        ),
    ),
    (
        Precision::Bf16,
        (
            "half of the columns",
            "word_of(b(row, column), b(row + 1, column))",
            "word_of(b(row, column), 0.0f)",
        ),
    ),
];

#[test]
fn each_way_to_break_a_precision_is_noticed() {
    if !cpu_device::has_compiler() {
        return skipped("breaking precisions on purpose", "there is no C++ compiler");
    }
    let unnoticed = BREAKS.iter().filter(|(precision, (_, written, instead))| {
        let specialisation = kernels_of(*precision);
        let whole = source(&specialisation);
        let broken = whole.replace(written, instead);
        broken == whole || {
            let kernels = cpu_device::Compiled::of_text(&broken, specialisation);
            let found = std::panic::catch_unwind(|| off(&kernels, Order::Descending).of_bound);
            found.is_ok_and(|of_bound| of_bound <= 1.0)
        }
    });
    let unnoticed: Vec<&str> = unnoticed.map(|(_, (name, ..))| *name).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
