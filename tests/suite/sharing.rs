//! Each distinct sub-assignment once: the same answers as row by row, and where it is done.

use std::sync::Arc;

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::{CpuExecutable, Evaluated, choice, evaluated_once};
use pcc::plan::{self, Chosen, Kind, Plan, Purpose, Schedule, Sharing, plan};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agreement::{assert_agree, by_reference};
use crate::support::describe::compiled;

const ROWS: usize = 300;

fn planned(compiled: &Compiled, purpose: Purpose, sharing: Sharing) -> Plan {
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
                let plan = planned(&compiled, Purpose::Train, Sharing::Wherever);
                let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
                let kept = if prepare { engine.prepare(&data) } else { 0 };
                assert_eq!(kept > 0, prepare, "{name}");
                let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
                engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
                let name = format!("{name}, missing {missing}, prepared {prepare}");
                assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
                if prepare {
                    assert!(engine.prepare_evaluations(&data, 1) > 0, "{name}");
                }
                engine.load(&flat);
                engine.log_likelihood(&data, &rows, &mut log_p);
                let name = format!("{name}, evaluated");
                assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            }
        }
    }
}

/// Weights for which single precision has no number but zero: what is shared says what rows say one by one.
#[test]
fn weights_that_a_softmax_has_rounded_to_zero_are_shared_like_others() {
    for (name, text) in CIRCUITS {
        let compiled = compiled(text);
        let data = repeated(&compiled, false);
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let numbers = compiled.parameters.initial::<f32>(&compiled.written, 3, None);
        let mut far = || if rng.random_bool(0.2) { -120.0 } else { 0.0 };
        let flat: Vec<f32> = numbers.iter().map(|x| x + far()).collect();
        let run = |sharing| {
            let plan = planned(&compiled, Purpose::Train, sharing);
            let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
            engine.prepare(&data);
            let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
            engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
            (log_p, gradient, engine.evaluated())
        };
        let (log_p, gradient, evaluated) = run(Sharing::Wherever);
        let (expected, truth, _) = run(Sharing::Off);
        assert!(evaluated.listed + evaluated.table > 0 && evaluated.dense == 0, "{name}");
        for (p, q) in log_p.iter().zip(&expected) {
            assert!(p == q || (p - q).abs() <= 1e-5 * q.abs().max(1.0), "{name}: {p}, not {q}");
        }
        let largest = truth.iter().fold(0.0f32, |top, d| top.max(d.abs()));
        for (d, e) in gradient.iter().zip(&truth) {
            assert!((d - e).abs() <= 1e-5 * largest, "{name}: {d}, not {e}, of {largest}");
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
            let plan = planned(&compiled, Purpose::Train, Sharing::WherePays);
            let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
            engine.prepare(&data);
            let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
            let tally = engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
            let name = format!("{name}, weights down to e^{}", -2.0 * spread);
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            engine.prepare_evaluations(&data, 1);
            engine.load(&flat);
            let evaluated = engine.log_likelihood(&data, &rows, &mut log_p);
            assert_agree(&format!("{name}, at once"), &compiled, &expected, (&log_p, &gradient));
            assert!(evaluated.in_logs == 0 || tally.in_logs > 0, "{name}");
            in_logs.push(tally.in_logs);
        }
    }
    assert!(in_logs.contains(&0), "all rows were in doubt: {in_logs:?}");
    assert!(in_logs.iter().any(|&rows| rows > 0), "no row was in doubt");
}

#[test]
fn the_same_bits_come_of_prepared_data_at_any_number_of_threads() {
    let compiled = compiled(CIRCUITS[0].1);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let data = repeated(&compiled, true);
    let rows: Vec<u32> = (0..ROWS as u32).rev().collect();
    let run = |threads| {
        let plan = planned(&compiled, Purpose::Train, Sharing::Wherever);
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

/// Rows that agree much pay for interning at once, others after many evaluations or never.
#[test]
fn a_set_is_evaluated_at_once_where_that_takes_less_time_in_all() {
    let compiled = compiled(
        "(variables: Binary(24), structure: RatSpn(units: 5, replicas: 50, seed: 1), leaves: Indicators)",
    );
    let variables = compiled.written.variables();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut row = || (0..24).map(|_| Some(rng.random_range(0..2) as f32)).collect::<Vec<_>>();
    let differ: Vec<_> = (0..ROWS).map(|_| row()).collect();
    let agree: Vec<_> = (0..ROWS).map(|number| differ[number % 20].clone()).collect();
    let kept = |rows: &[Vec<Option<f32>>], sharing, times| {
        let plan = planned(&compiled, Purpose::Evaluate, sharing);
        let mut engine = CpuExecutable::new(compiled.clone(), plan, 1).unwrap();
        let data = Dataset::from_rows(variables, rows.to_vec()).unwrap();
        engine.prepare_evaluations(&data, times)
    };
    assert!(kept(&agree, Sharing::WherePays, 1) > 0);
    assert_eq!(kept(&agree, Sharing::Off, 1), 0);
    assert_eq!(kept(&differ, Sharing::WherePays, 1), 0);
    assert!(kept(&differ, Sharing::WherePays, 1000) > 0);
    assert!(kept(&differ, Sharing::Wherever, 1) > 0);
}

#[test]
fn evaluations_at_once_keep_to_a_limit_and_their_bits_do_not_depend_on_threads() {
    let compiled = compiled(CIRCUITS[0].1);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let data = repeated(&compiled, true);
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let run = |threads, limit| {
        let plan = planned(&compiled, Purpose::Evaluate, Sharing::Wherever);
        let engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
        let mut engine = engine.keeping(limit);
        let kept = engine.prepare_evaluations(&data, 2);
        assert!(kept <= limit, "{kept} bytes of {limit}");
        let mut log_p = vec![f64::NAN; ROWS];
        engine.load(&flat);
        engine.log_likelihood(&data, &rows, &mut log_p);
        (log_p, kept)
    };
    let (expected, one) = run(1, usize::MAX);
    let (_, three) = run(3, usize::MAX);
    assert!(three > one);
    let mut kept_before = three;
    for limit in (0..=12).rev().map(|part| three * part / 12) {
        let (log_p, kept) = run(3, limit);
        assert!(kept <= kept_before);
        kept_before = kept;
        assert!(log_p == run(1, limit).0, "{limit} bytes");
        // Fewer workers say the same.
        assert!(limit < one || log_p == expected, "{limit} bytes");
    }
}

/// The values that a choice has a batch evaluate, at the least and at the most: entries of tables, listed
/// ones, and those with an entry a row. Of a batch of all rows, in a single shard.
fn promised(chosen: &Chosen, distinct: usize) -> [[usize; 2]; 3] {
    let mut promised = [[0; 2]; 3];
    for space in &chosen.spaces {
        let (at, entries) = match space.kind {
            Kind::Table(entries) => (0, [entries as usize; 2]),
            Kind::Listed => (1, space.in_data.unwrap()),
            Kind::Each => (2, [distinct; 2]),
        };
        let values = space.values as usize * chosen.parts;
        promised[at].iter_mut().zip(entries).for_each(|(sum, entries)| *sum += values * entries);
    }
    promised
}

#[test]
fn what_is_said_of_data_is_what_an_engine_does_with_them() {
    // So many parts that a batch is a single shard.
    let circuits = [
        "(variables: Binary(24), structure: RatSpn(units: 5, replicas: 16, seed: 1), leaves: Indicators)",
        "(variables: Binary(40), structure: RatSpn(units: 40, replicas: 17, seed: 1), leaves: Bernoulli())",
        "(variables: Categorical(n: 6, states: 7), structure: RatSpn(units: 4, replicas: 16, seed: 4), leaves: Categorical())",
        "(variables: Real(4), structure: RatSpn(units: 3, replicas: 2, seed: 0), leaves: Gaussian())",
    ];
    let mut verdicts = std::collections::BTreeSet::new();
    let mut once = std::collections::BTreeSet::new();
    for (number, text) in circuits.into_iter().enumerate() {
        let compiled = compiled(text);
        let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        for sharing in [Sharing::Off, Sharing::WherePays, Sharing::Wherever] {
            for missing in [false, true] {
                let data = match number {
                    3 => Dataset::from_rows(
                        compiled.written.variables(),
                        vec![vec![Some(0.5); 4]; ROWS],
                    )
                    .unwrap(),
                    _ => repeated(&compiled, missing),
                };
                let plan = planned(&compiled, Purpose::Train, sharing);
                let said = choice(&plan, &data, usize::MAX);
                let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
                let name = format!("circuit {number}, {sharing:?}, missing {missing}");
                assert_eq!(engine.prepare(&data), said.bytes.unwrap(), "{name}");
                once.extend(said_of_one_evaluation(&name, &compiled, &data, sharing));
                let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
                engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
                let Evaluated { table, listed, each, dense } = engine.evaluated();
                let chosen = said.programs.iter().find(|chosen| chosen.parts > 0).unwrap();
                verdicts.insert(format!("{:?}", chosen.unshared));
                if chosen.unshared.is_some() {
                    assert!(table + listed + each == 0 && dense > 0, "{name}");
                    continue;
                }
                assert_eq!(dense, 0, "{name}");
                let bounds = promised(chosen, said.rows.unwrap()[1]);
                for (found, [least, most]) in [table, listed, each].into_iter().zip(bounds) {
                    let found = found as usize;
                    assert!((least..=most).contains(&found), "{name}: {found} of {least}..={most}");
                }
            }
        }
    }
    assert_eq!(
        verdicts.into_iter().collect::<Vec<_>>(),
        ["None", "Some(Off)", "Some(Step(\"gaussian\"))", "Some(TakesLonger)"]
    );
    let once: Vec<&str> = once.iter().map(String::as_str).collect();
    assert_eq!(once, ["NotShared", "TakesLonger", "TooLarge", "Whole"]);
}

/// Asserts that data are evaluated once as it is said, within any memory and within hardly any; how they are.
fn said_of_one_evaluation(
    name: &str,
    compiled: &Arc<Compiled>,
    data: &Dataset,
    sharing: Sharing,
) -> [String; 2] {
    let plan = planned(compiled, Purpose::Evaluate, sharing);
    [usize::MAX, 20_000].map(|limit| {
        let engine = CpuExecutable::new(compiled.clone(), plan.clone(), 1).unwrap();
        let kept = engine.keeping(limit).prepare_evaluations(data, 1);
        let said = evaluated_once(&plan, data, limit);
        let (bytes, how) = match said {
            plan::Evaluated::Whole { bytes, .. } => (bytes, "Whole".into()),
            plan::Evaluated::InBatches(why) => (0, format!("{why:?}")),
        };
        assert_eq!(kept, bytes, "{name}, {limit} bytes: {how}");
        how
    })
}

#[test]
fn rows_that_are_not_prepared_may_be_more_than_a_scope_has_sub_assignments() {
    // Of three categories of seven states there are 343 sub-assignments, too many for a table.
    let compiled = compiled(
        "(variables: Categorical(n: 6, states: 7), structure: RatSpn(units: 4, replicas: 16, seed: 4), leaves: Categorical())",
    );
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let wide: Vec<f64> = flat.iter().map(|&x| x.into()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut row = || (0..6).map(|_| Some(rng.random_range(0..7) as f32)).collect::<Vec<_>>();
    let rows: Vec<_> = (0..500).map(|_| row()).collect();
    let data = Dataset::from_rows(compiled.written.variables(), rows).unwrap();
    let expected = by_reference(&compiled, &wide, &data);
    let options = plan::Options {
        purpose: Purpose::Train,
        schedule: Schedule::Wide,
        batch: 500,
        sharing: Sharing::Wherever,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
    let (mut log_p, mut gradient) = (vec![0.0; 500], vec![0.0; flat.len()]);
    let rows: Vec<u32> = (0..500).collect();
    engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
    assert!(engine.evaluated().each > 0);
    assert_agree("not prepared", &compiled, &expected, (&log_p, &gradient));
}

#[test]
fn what_takes_more_than_the_limit_falls_back_region_by_region() {
    let compiled = compiled(CIRCUITS[0].1);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 3, None);
    let wide: Vec<f64> = flat.iter().map(|&x| x.into()).collect();
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    for missing in [false, true] {
        let data = repeated(&compiled, missing);
        let expected = by_reference(&compiled, &wide, &data);
        let prepared = |limit| {
            let plan = planned(&compiled, Purpose::Train, Sharing::Wherever);
            let said = choice(&plan, &data, limit);
            let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
            let kept = engine.prepare_within(&data, limit);
            assert!(kept <= limit && kept == said.bytes.unwrap(), "{kept} of {limit}");
            (engine, kept)
        };
        let (_, all) = prepared(usize::MAX);
        let mut kept_before = all;
        let mut mixed = 0;
        for limit in (0..=24).rev().map(|part| all * part / 24) {
            let (mut engine, kept) = prepared(limit);
            assert!(kept <= kept_before, "{kept} bytes in a lower limit than took {kept_before}");
            kept_before = kept;
            let (mut log_p, mut gradient) = (vec![0.0; ROWS], vec![0.0; flat.len()]);
            engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
            let name = format!("{limit} of {all} bytes");
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
            let Evaluated { listed, each, dense, .. } = engine.evaluated();
            assert_eq!(dense, 0, "{name}");
            mixed += usize::from(listed > 0 && each > 0);
        }
        assert!(mixed >= 2, "{mixed} limits had lists and rows beside each other");
        assert_eq!(kept_before, 0);
    }
}

#[test]
fn a_prepared_set_is_evaluated_at_once_to_the_same_bits_whatever_its_rows_are_asked_for_by() {
    for (name, text) in CIRCUITS {
        let compiled = compiled(text);
        let data = repeated(&compiled, true);
        let run = |threads, rows: &[u32], seeds: &[u64]| {
            let plan = planned(&compiled, Purpose::Evaluate, Sharing::Wherever);
            let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
            assert!(engine.prepare_evaluations(&data, 1) > 0, "{name}");
            let mut log_p = vec![f64::NAN; rows.len()];
            for &seed in seeds {
                engine.load(&compiled.parameters.initial(&compiled.written, seed, None));
                engine.log_likelihood(&data, rows, &mut log_p);
            }
            log_p
        };
        let forward: Vec<u32> = (0..ROWS as u32).collect();
        let expected = run(1, &forward, &[3]);
        // Backwards, some rows twice and others not at all, after other weights.
        let others: Vec<u32> = forward.iter().rev().map(|row| row / 3 * 2).collect();
        for threads in [1, 2, 5] {
            let log_p = run(threads, &others, &[1, 3]);
            let same = |(&row, log_p): (&u32, &f64)| *log_p == expected[row as usize];
            assert!(others.iter().zip(&log_p).all(same), "{name}, {threads} threads");
        }
    }
}

#[test]
fn tables_lists_and_rows_are_chosen_where_each_belongs() {
    let said = |text: &str, sharing, known: bool| {
        let compiled = compiled(text);
        let plan = planned(&compiled, Purpose::Train, sharing);
        match known {
            true => choice(&plan, &repeated(&compiled, false), usize::MAX).to_string(),
            false => plan.choice().to_string(),
        }
    };
    let real = "(variables: Real(4), structure: RatSpn(units: 3, replicas: 2, seed: 0), leaves: Gaussian())";
    let found = [
        said(CIRCUITS[0].1, Sharing::WherePays, false),
        said(CIRCUITS[0].1, Sharing::WherePays, true),
        said(CIRCUITS[0].1, Sharing::Off, true),
        said(CIRCUITS[3].1, Sharing::WherePays, true),
        said(real, Sharing::WherePays, false),
    ];
    insta::assert_snapshot!(found.join("--\n"));
}
