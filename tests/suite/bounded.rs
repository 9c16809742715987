//! Plans that are run segment by segment: what they keep, what they give, and what the checker lets pass.
//! That they agree with the oracle on random circuits is in the grid of `agreement.rs`.

use std::sync::Arc;

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::{BoundedExecutable, CpuExecutable};
use pcc::plan::{self, Bounded, Plan, Purpose, Schedule, Sharing, bounded_by, check, plan};

use crate::support::describe::{compiled, rat_spn};

const HYPER: &str = "leaves: Indicators, parameterizer: Hyper(embedding: 5, hidden: [20])";

fn options(purpose: Purpose, batch: u32) -> plan::Options {
    plan::Options { purpose, schedule: Schedule::Wide, batch, sharing: Sharing::Off }
}

fn segments(compiled: &Compiled, purpose: Purpose, batch: u32, size: usize) -> Plan {
    let (circuit, parameters) = (&compiled.circuit, &compiled.parameters);
    bounded_by(circuit, parameters, &options(purpose, batch), size).unwrap()
}

/// Rows of bits, some missing.
fn rows(compiled: &Compiled, rows: usize) -> Dataset {
    let variables = compiled.written.variables();
    let value = |at: usize| match (at * 2_654_435_761) >> 7 & 7 {
        0 => None,
        bits => Some((bits & 1) as f32),
    };
    let row = |row: usize| (0..variables.len()).map(|var| value(row * 977 + var)).collect();
    Dataset::from_rows(variables, (0..rows).map(row).collect::<Vec<_>>()).unwrap()
}

fn differentiate(
    engine: &mut dyn Executable,
    flat: &[f32],
    data: &Dataset,
) -> (Vec<f64>, Vec<f32>) {
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let (mut log_p, mut gradient) = (vec![f64::NAN; rows.len()], vec![f32::NAN; flat.len()]);
    engine.gradient(flat, data, &rows, &mut log_p, &mut gradient);
    (log_p, gradient)
}

#[test]
fn gradients_are_those_of_the_whole_circuit_and_the_same_bits_with_any_threads() {
    let compiled = compiled(&rat_spn(300, 4, 2, HYPER));
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let data = rows(&compiled, 150);
    let whole = plan(&compiled.circuit, &compiled.parameters, &options(Purpose::Train, 150));
    let mut engine = CpuExecutable::new(Arc::clone(&compiled), whole, 2).unwrap();
    let (log_p, gradient) = differentiate(&mut engine, &flat, &data);
    let plan = segments(&compiled, Purpose::Train, 150, 30);
    let bounded = plan.bounded.as_ref().unwrap();
    assert!(bounded.waves.len() > 5 && plan.groups.len() > bounded.waves.len(), "{plan}");
    let by_threads: Vec<_> = [1, 2, 3, 5]
        .map(|threads| {
            let mut engine = BoundedExecutable::new(&compiled, plan.clone(), threads).unwrap();
            // Twice: nothing is left of a batch.
            differentiate(&mut engine, &flat, &data);
            differentiate(&mut engine, &flat, &data)
        })
        .into();
    assert!(by_threads.iter().all(|found| found == &by_threads[0]), "threads change bits");
    let (log_q, found) = &by_threads[0];
    for (p, q) in log_p.iter().zip(log_q) {
        assert!((p - q).abs() <= 1e-5 * p.abs().max(1.0), "{p} and {q}");
    }
    let tensors = compiled.parameters.tensors();
    for (id, tensor) in tensors.iter() {
        let range = tensors.range(id);
        let largest = gradient[range.clone()].iter().fold(0.0, |most: f32, d| most.max(d.abs()));
        for (d, other) in gradient[range.clone()].iter().zip(&found[range]) {
            assert!((d - other).abs() <= 1e-5 * largest, "{}: {d} and {other}", tensor.name);
        }
    }
}

#[test]
fn the_plan_is_the_first_that_the_limit_has_room_for() {
    let compiled = compiled(&rat_spn(2_000, 4, 1, HYPER));
    let (circuit, parameters) = (&compiled.circuit, &compiled.parameters);
    for purpose in [Purpose::Evaluate, Purpose::Train] {
        let options = options(purpose, 100);
        let within = |limit| plan::within(circuit, parameters, &options, limit);
        let wide = plan(circuit, parameters, &options);
        assert_eq!(within(usize::MAX), Ok(wide.clone()));
        let limit = wide.memory().limited(1);
        assert_eq!(within(limit), Ok(wide));
        let lower = within(limit / 4).unwrap();
        assert!(lower.bounded.is_some() && lower.memory().limited(1) <= limit / 4, "{lower}");
        let least = within(1).unwrap_err();
        assert!(within(least - 1) == Err(least) && within(least).is_ok());
    }
}

#[test]
fn what_segments_hand_on_grows_as_the_logarithm_of_the_circuit() {
    let kept = |variables: usize| {
        let text = rat_spn(variables, 3, 1, "leaves: Indicators");
        let plan = segments(&compiled(&text), Purpose::Evaluate, 64, 16);
        (plan.below_head().len(), plan.bounded.unwrap().rows)
    };
    let found: Vec<(usize, u32)> = (8..=16).step_by(2).map(|m| kept(1 << m)).collect();
    for pair in found.windows(2) {
        let ((few, before), (many, after)) = (pair[0], pair[1]);
        assert!(many > 3 * few, "{found:?}");
        // As much more at each step, once waves are full.
        assert!(after <= before + found[1].1, "{found:?}");
    }
}

/// Ways to break a bounded plan: those that found something to break say so.
type Break = (&'static str, fn(&mut Plan, &mut Bounded) -> bool);

const BREAKS: &[Break] = &[
    ("a wave left out", |_, bounded| bounded.waves.pop().is_some()),
    ("waves the other way round", |_, bounded| {
        bounded.waves.reverse();
        bounded.waves.len() > 1
    }),
    ("a wave of two that wait for each other", |_, bounded| {
        let last = bounded.waves.pop().unwrap();
        let before = bounded.waves.last_mut();
        before.map(|wave| wave.1 = last.1).is_some()
    }),
    ("an empty wave", |_, bounded| {
        bounded.waves.insert(0, (0, 0));
        true
    }),
    ("too small an arena", |_, bounded| {
        bounded.rows -= 1;
        true
    }),
    ("too few exponents", |_, bounded| {
        bounded.exponents -= 1;
        true
    }),
    ("a segment without a place", |_, bounded| {
        bounded.places[0].rows = plan::NOWHERE;
        true
    }),
    ("too few places", |_, bounded| bounded.places.pop().is_some()),
    ("a place that is still needed", |_, bounded| {
        let at = bounded.places[0];
        bounded.places[1] = at;
        true
    }),
    ("a segment that two read", |plan, _| {
        let parts = plan.parts.iter_mut().filter(|part| part.imports.len() > 1);
        parts.map(|part| part.imports[1] = part.imports[0]).count() > 0
    }),
    ("an import of what comes later", |plan, _| {
        let later = plan.parts.len() as u32;
        let part = plan.parts.iter_mut().find(|part| !part.imports.is_empty());
        part.map(|part| part.imports[0] = later).is_some()
    }),
    ("an import that is not listed", |plan, _| {
        let part = plan.parts.iter_mut().find(|part| !part.imports.is_empty());
        part.map(|part| part.imports.clear()).is_some()
    }),
    ("shards", |plan, _| {
        plan.shards = 2;
        true
    }),
];

#[test]
fn the_checker_refuses_every_broken_plan_of_segments() {
    let compiled = compiled(&rat_spn(200, 3, 2, HYPER));
    for purpose in [Purpose::Evaluate, Purpose::Train] {
        let whole = segments(&compiled, purpose, 150, 10);
        assert_eq!(check(&whole), Ok(()));
        for (what, break_it) in BREAKS {
            let mut plan = whole.clone();
            let mut bounded = plan.bounded.take().unwrap();
            assert!(break_it(&mut plan, &mut bounded), "nothing to break: {what}");
            plan.bounded = Some(bounded);
            let found = std::panic::catch_unwind(|| check(&plan));
            assert!(matches!(found, Ok(Err(_))), "{what}: {found:?}");
        }
    }
}

#[test]
fn neither_engine_runs_the_plans_of_the_other() {
    let compiled = compiled(&rat_spn(40, 2, 1, HYPER));
    let whole = plan(&compiled.circuit, &compiled.parameters, &options(Purpose::Train, 64));
    let cut = segments(&compiled, Purpose::Train, 64, 5);
    let faults = [
        BoundedExecutable::new(&compiled, whole, 1).err().unwrap(),
        CpuExecutable::new(Arc::clone(&compiled), cut, 1).err().unwrap(),
    ];
    assert_eq!(faults.map(|fault| fault.code.to_string()), ["E0702", "E0702"]);
}

#[test]
fn a_circuit_that_cannot_be_cut_is_its_own_head() {
    // A chain of mixtures that share their weights: nothing is closed below the root.
    let text = "(variables: Binary(6), structure: Hmm(units: 3, tied: true), leaves: Bernoulli())";
    let compiled = compiled(text);
    let plan = segments(&compiled, Purpose::Train, 64, 1);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 5, None);
    let data = rows(&compiled, 20);
    let mut engine = BoundedExecutable::new(&compiled, plan, 2).unwrap();
    let (log_p, _) = differentiate(&mut engine, &flat, &data);
    assert!(log_p.iter().all(|log_p| log_p.is_finite() && *log_p < 0.0), "{log_p:?}");
}
