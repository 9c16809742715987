//! Leaves of counts, and leaves of several kinds together: sums, gradients, refusals.

use pcc::diag::Source;
use pcc::engine::reference;
use pcc::plan::Schedule;
use pcc::structure::load;

use crate::agreement::{assert_agree, by_cpu, by_reference, rows_of};
use crate::structures::numbers;
use crate::structures::random::{Kinds, STRUCTURES, description};
use crate::support::describe::compiled;

#[test]
fn counts_of_a_poisson_mixture_sum_to_one_and_to_their_marginals() {
    for seed in 0..20 {
        let text =
            "(variables: Real(2), structure: Einet(units: 3, replicas: 2), leaves: Poisson())";
        let compiled = compiled(text);
        let (_, values) = numbers(&compiled, seed);
        let p = |row: [Option<f32>; 2]| {
            reference::log_likelihood(&compiled.written, &values, &row).exp()
        };
        let counts = || (0..80).map(|count| count as f32);
        let mass: f64 =
            counts().flat_map(|a| counts().map(move |b| [Some(a), Some(b)])).map(p).sum();
        assert!((mass - 1.0).abs() < 1e-12, "seed {seed}: mass {mass}");
        let slice: f64 = counts().map(|b| p([Some(2.0), Some(b)])).sum();
        let marginal = p([Some(2.0), None]);
        assert!((slice - marginal).abs() < 1e-12, "seed {seed}: {slice} {marginal}");
        for none in [-1.0, 0.5] {
            assert_eq!(p([Some(none), None]), 0.0, "{none} is no count");
        }
    }
}

#[test]
fn gradients_of_mixed_tables_equal_finite_differences() {
    const STEP: f64 = 1e-5;
    let mut compared = 0;
    for structure in STRUCTURES {
        for seed in 0..16 {
            let text = description(structure, seed, Kinds::Any);
            let compiled = compiled(&text);
            let (flat, _) = numbers(&compiled, seed);
            let data = rows_of(&compiled, 8, 2 * seed + 1);
            let log_p = |flat: &[f64]| -> Option<f64> {
                let log_p = by_reference(&compiled, flat, &data).log_p;
                let sum: f64 = log_p.iter().sum();
                sum.is_finite().then_some(sum)
            };
            let gradient = by_reference(&compiled, &flat, &data).gradient;
            for at in (0..flat.len()).step_by(1 + flat.len() / 6) {
                let moved = |step: f64| {
                    let mut flat = flat.clone();
                    flat[at] += step;
                    log_p(&flat)
                };
                let (Some(above), Some(below)) = (moved(STEP), moved(-STEP)) else { continue };
                let slope = (above - below) / (2.0 * STEP);
                let difference = (slope - gradient[at]).abs();
                assert!(
                    difference <= 1e-5 * slope.abs().max(1.0),
                    "{text}: {at}: {slope} {}",
                    gradient[at]
                );
                compared += usize::from(slope.abs() > 1e-3);
            }
        }
    }
    assert!(compared > 200, "only {compared} derivatives were not about zero");
}

#[test]
fn binomials_of_many_trials_keep_counts_that_single_precision_cannot_hold() {
    let text = "(variables: Categorical(n: 6, states: 256), \
                structure: QuadTree(shape: (3, 2), units: 4), leaves: Binomial(n: 255))";
    let compiled = compiled(text);
    let (flat, _) = numbers(&compiled, 1);
    let single: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
    let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
    // Counts that few units make likely, and none.
    let rows =
        (0..64).map(|row| (0..6).map(|at| Some(((row * 37 + at * 91) % 256) as f32)).collect());
    let data = pcc::data::Dataset::from_rows(compiled.written.variables(), rows).unwrap();
    let expected = by_reference(&compiled, &flat, &data);
    assert!(expected.log_p.iter().any(|&log_p| log_p < -500.0), "{:?}", expected.log_p);
    for schedule in [Schedule::Wide, Schedule::Deep] {
        let (log_p, gradient, _) = by_cpu(text, &compiled, &single, &data, schedule, 1);
        assert_agree(text, &compiled, &expected, (&log_p, &gradient));
    }
}

#[test]
fn leaves_of_counts_that_suit_nothing_are_refused() {
    let said = |variables: &str, leaf: &str| {
        let text = format!(
            "(variables: {variables}, structure: RatSpn(units: 2, replicas: 1), leaves: {leaf})"
        );
        match load(&Source::new("t.ron", text), false) {
            Ok(_) => format!("accepted: {leaf}\n"),
            Err(faults) => faults
                .iter()
                .map(|fault| format!("{fault}; {}\n", fault.help.as_deref().unwrap_or("no help")))
                .collect(),
        }
    };
    let all = [
        said("Binary(2)", "Poisson()"),
        said("Real(2)", "Binomial()"),
        said("Categorical(n: 2, states: 5)", "Binomial(n: 5)"),
        said("Categorical(n: 2, states: 5)", "Binomial(n: -1)"),
        said("Categorical(n: 2, states: 5)", "Binomial(n: 4, p: 1.5)"),
        said("Categorical(n: 2, states: 5)", "Binomial(n: 4, p: [0.5, 0.5, 0.5])"),
        said("Categorical(n: 2, states: 5)", "Binomial(frozen: true)"),
        said("Categorical(n: 2, states: 5)", "Binomial(n: 4, p: [0.0, 1.0], frozen: true)"),
        said("Real(2)", "Poisson(rate: 0.0)"),
        said("Real(2)", "Poisson(lambda: 1.0)"),
        said("Real(2)", "Poisson(rate: [1.0, 20.0])"),
        said("Real(2)", "Poisson"),
    ];
    insta::with_settings!({
        snapshot_path => "../../snapshots/structures",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("leaves-refused", all.concat());
    });
}
