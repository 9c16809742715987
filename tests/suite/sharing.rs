//! Each distinct sub-assignment once: the same answers as row by row, and where it is done.

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::plan::{self, Plan, Purpose, Schedule, plan};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agreement::{assert_agree, by_reference};
use crate::support::describe::compiled;

const ROWS: usize = 300;

fn planned(compiled: &Compiled, purpose: Purpose, sharing: bool) -> Plan {
    let options = plan::Options { purpose, schedule: Schedule::Wide, batch: ROWS as u32, sharing };
    plan(&compiled.circuit, &compiled.parameters, &options)
}

/// Rows that repeat themselves: each is one of a few, with a few values drawn again, or missing.
fn repeated(compiled: &Compiled, missing: bool) -> Dataset {
    let variables = compiled.written.variables();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let states = |var| match variables.kind(var) {
        pcc::variables::VarKind::Categorical { states } => states,
        pcc::variables::VarKind::Real => unreachable!("discrete circuits alone"),
    };
    let mut row = || -> Vec<Option<f32>> {
        variables.ids().map(|var| Some(rng.random_range(0..states(var)) as f32)).collect()
    };
    let few: Vec<_> = (0..12).map(|_| row()).collect();
    let other = row();
    let rows = (0..ROWS).map(|_| {
        let mut row = few[rng.random_range(0..few.len())].clone();
        let at = rng.random_range(0..row.len());
        row[at] = if missing && rng.random_bool(0.5) { None } else { other[at] };
        row
    });
    Dataset::from_rows(variables, rows.collect::<Vec<_>>()).unwrap()
}

/// Of every kind of step: narrow sums, wide ones, all pairs, products that stand alone; binary and
/// categorical columns.
const CIRCUITS: [(&str, &str); 5] = [
    (
        "narrow",
        "(variables: Binary(24), structure: RatSpn(units: 5, replicas: 3, seed: 1), leaves: Indicators)",
    ),
    (
        "wide",
        "(variables: Binary(20), structure: RatSpn(units: 11, replicas: 2, seed: 2), leaves: Bernoulli())",
    ),
    (
        "pairs",
        "(variables: Binary(12), structure: Einet(units: 3, replicas: 2, depth: 3, seed: 3), leaves: Bernoulli())",
    ),
    (
        "categories",
        "(variables: Categorical(n: 10, states: 5), structure: RatSpn(units: 4, replicas: 2, seed: 4), leaves: Categorical())",
    ),
    ("chain", "(variables: Binary(14), structure: Hmm(units: 6, tied: true), leaves: Bernoulli())"),
];

#[test]
fn rows_that_agree_are_evaluated_once_and_every_answer_is_the_oracles() {
    for (name, text) in CIRCUITS {
        let compiled = compiled(text);
        let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
        let wide: Vec<f64> = flat.iter().map(|&x| x.into()).collect();
        for missing in [false, true] {
            let data = repeated(&compiled, missing);
            let expected = by_reference(&compiled, &wide, &data);
            let rows: Vec<u32> = (0..ROWS as u32).collect();
            for (threads, prepare) in [(1, false), (1, true), (2, true)] {
                let plan = planned(&compiled, Purpose::Train, true);
                let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
                let kept = if prepare { engine.prepare(&data) } else { 0 };
                assert_eq!(kept > 0, prepare, "{name}");
                let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
                engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
                let name = format!("{name}, missing {missing}, prepared {prepare}");
                assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            }
        }
    }
}

/// Weights too small for the certificate: the engine must say itself which rows it cannot be sure of.
#[test]
fn what_small_weights_lose_is_bounded_and_rows_in_doubt_go_through_logs() {
    // Of two units both may shrink at once, and so much that their product is lost.
    let two = "(variables: Binary(24), structure: RatSpn(units: 2, replicas: 1, seed: 5), leaves: Indicators)";
    let mut in_logs = Vec::new();
    for (name, text) in CIRCUITS.into_iter().chain([("two units", two)]) {
        let compiled = compiled(text);
        let data = repeated(&compiled, name == "narrow");
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        // Of e^−2·spread, at the least: from where the certificate holds to where products underflow.
        for spread in [15.0, 25.0, 35.0] {
            let mut rng = ChaCha8Rng::seed_from_u64(11);
            let mut far = || if rng.random_bool(0.5) { spread } else { -spread };
            let numbers = compiled.parameters.initial::<f32>(&compiled.written, 3, None);
            let flat: Vec<f32> = numbers.iter().map(|x| x + far()).collect();
            let wide: Vec<f64> = flat.iter().map(|&x| x.into()).collect();
            let expected = by_reference(&compiled, &wide, &data);
            let plan = planned(&compiled, Purpose::Train, true);
            let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
            engine.prepare(&data);
            let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
            let tally = engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
            let name = format!("{name}, weights down to e^{}", -2.0 * spread);
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            in_logs.push(tally.in_logs);
        }
    }
    assert!(in_logs.iter().any(|&rows| rows == 0), "all rows were in doubt: {in_logs:?}");
    assert!(in_logs.iter().any(|&rows| rows > 0), "no row was in doubt");
}

#[test]
fn the_same_bits_come_of_prepared_data_at_any_number_of_threads() {
    let compiled = compiled(CIRCUITS[0].1);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let data = repeated(&compiled, true);
    let rows: Vec<u32> = (0..ROWS as u32).rev().collect();
    let run = |threads| {
        let plan = planned(&compiled, Purpose::Train, true);
        let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
        engine.prepare(&data);
        let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
        engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
        (log_p, gradient)
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        assert!(one == run(threads), "{threads} threads");
    }
}

#[test]
fn tables_lists_and_rows_are_chosen_where_each_belongs() {
    let shares = |text: &str, sharing| {
        let compiled = compiled(text);
        let plan = planned(&compiled, Purpose::Train, sharing);
        let of_program = |program| plan.shares(program).map(|shares| shares.to_string());
        let all: Vec<Option<String>> = (0..plan.programs.len()).map(of_program).collect();
        all.into_iter().map(|shares| shares.unwrap_or("  row by row".into())).collect::<Vec<_>>()
    };
    let real = "(variables: Real(4), structure: RatSpn(units: 3, replicas: 2, seed: 0), leaves: Gaussian())";
    let found = [
        shares(CIRCUITS[0].1, true).join("\n"),
        shares(CIRCUITS[0].1, false).join("\n"),
        shares(real, true).join("\n"),
    ];
    insta::assert_snapshot!(found.join("\n--\n"), @r"
      shared, tables=42 listed=5 evaluations=512 of 3008
      row by row
    --
      row by row
      row by row
    --
      row by row
      row by row
    ");
}
