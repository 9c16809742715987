//! Discrete circuits of every structure against the table of all worlds.

use std::collections::BTreeMap;

use pcc::circuit::Determinism;
use pcc::ids::VarId;
use pcc::query::{
    Answer, Conditional, Entropy, MutualInformation, Posterior, conditionals, joint,
    log_conditional, map, moments,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{INSTANCES, Instance, assert_close, evidence, instances, structures};
use crate::structures::random::Kinds;
use crate::support::enumerate::{Table, agrees, states};

/// Rounding of sums over some hundred worlds.
const TOLERANCE: f64 = 1e-11;

/// Calls `check` with each instance of each structure, its table, and evidence: none, and some.
fn for_all(check: impl Fn(&Instance, &Worlds<'_>)) {
    for structure in structures() {
        for (seed, instance) in (0..).zip(instances(structure, Kinds::Discrete, INSTANCES)) {
            let table = instance.table();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let nothing = vec![None; instance.circuit.variables().len()];
            for row in [nothing, evidence(&table, &mut rng)] {
                check(&instance, &Worlds::new(&table, row));
            }
        }
    }
}

/// The worlds that agree with a row, and their probabilities given it.
pub struct Worlds<'a> {
    pub row: Vec<Option<f32>>,
    pub log_evidence: f64,
    pub each: Vec<(&'a [f32], f64)>,
}

impl<'a> Worlds<'a> {
    pub fn new(table: &'a Table, row: Vec<Option<f32>>) -> Self {
        let log_evidence = table.log_marginal(&row);
        let agreeing = table.entries.iter().filter(|(world, _)| agrees(world, &row));
        let each = agreeing.map(|(world, log_p)| (&world[..], (log_p - log_evidence).exp()));
        Worlds { log_evidence, each: each.collect(), row }
    }

    pub fn mean(&self, of: impl Fn(&[f32]) -> f64) -> f64 {
        self.each.iter().map(|(world, p)| p * of(world)).sum()
    }

    /// The entropy of some variables.
    pub fn entropy(&self, of: &[VarId]) -> f64 {
        let mut p: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
        for (world, of_world) in &self.each {
            let key = of.iter().map(|var| world[var.0 as usize] as u32).collect();
            *p.entry(key).or_default() += of_world;
        }
        p.values().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
    }
}

#[test]
fn every_variables_conditional_is_the_ratio_of_sums_of_worlds() {
    for_all(|instance, worlds| {
        let (circuit, values) = (&instance.circuit, &instance.values);
        let posterior = Posterior::new(circuit, values, &worlds.row).unwrap();
        assert_close(
            &instance.name,
            "ln p(e)",
            posterior.log_evidence(),
            worlds.log_evidence,
            TOLERANCE,
        );
        for (at, found) in conditionals(&posterior).iter().enumerate() {
            let Conditional::States(found) = found else { panic!("{}: no states", instance.name) };
            assert_eq!(found.len(), states(circuit)[at] as usize, "{}", instance.name);
            for (state, &p) in found.iter().enumerate() {
                let expected = worlds.mean(|world| f64::from(u8::from(world[at] == state as f32)));
                let what = format!("p(v{at} = {state} | {:?})", worlds.row);
                assert_close(&instance.name, &what, p, expected, TOLERANCE);
            }
        }
    });
}

#[test]
fn some_variables_given_others_have_the_ratio_of_two_sums_of_worlds() {
    for structure in structures() {
        for (seed, instance) in (0..).zip(instances(structure, Kinds::Discrete, INSTANCES)) {
            let table = instance.table();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let row = evidence(&table, &mut rng);
            let mut of = instance.shuffled(&mut rng);
            of.truncate(rng.random_range(0..=of.len()));
            let mut given = row.clone();
            of.iter().for_each(|var| given[var.0 as usize] = None);
            let expected = table.log_marginal(&row) - table.log_marginal(&given);
            let found = log_conditional(&instance.circuit, &instance.values, &of, &row).unwrap();
            assert_close(&instance.name, &format!("{of:?} in {row:?}"), found, expected, TOLERANCE);
        }
    }
}

#[test]
fn moments_are_the_means_over_worlds() {
    for_all(|instance, worlds| {
        let posterior = Posterior::new(&instance.circuit, &instance.values, &worlds.row).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(worlds.each.len() as u64);
        let mut of = instance.shuffled(&mut rng);
        of.truncate(rng.random_range(1..=of.len()));
        let found = moments(&posterior, &of);
        let value = |world: &[f32], var: VarId| f64::from(world[var.0 as usize]);
        let mean: Vec<f64> = of.iter().map(|&var| worlds.mean(|world| value(world, var))).collect();
        for (i, &a) in of.iter().enumerate() {
            assert_close(
                &instance.name,
                &format!("the mean of {a}"),
                found.mean[i],
                mean[i],
                TOLERANCE,
            );
            for (j, &b) in of.iter().enumerate() {
                let expected =
                    worlds.mean(|world| (value(world, a) - mean[i]) * (value(world, b) - mean[j]));
                let what = format!("the covariance of {a} and {b} given {:?}", worlds.row);
                assert_close(&instance.name, &what, found.covariance(i, j), expected, TOLERANCE);
            }
        }
    });
}

#[test]
fn map_is_the_argmax_where_it_is_called_exact_and_below_it_elsewhere() {
    let count = |answer| std::cell::RefCell::new((answer, 0));
    let (exact, bounds, gaps) = (count("exact"), count("bounds"), count("gaps"));
    let add = |counter: &std::cell::RefCell<(&str, usize)>| counter.borrow_mut().1 += 1;
    for_all(|instance, worlds| {
        let best = map(&instance.circuit, &instance.values, &worlds.row).unwrap();
        let greatest = worlds.each.iter().map(|&(_, p)| p).fold(0.0, f64::max);
        let found = worlds.each.iter().find(|(world, _)| *world == best.row);
        let &(_, p) = found.unwrap_or_else(|| panic!("{}: not of the evidence", instance.name));
        assert_close(
            &instance.name,
            "its ln p",
            best.log_p - worlds.log_evidence,
            p.ln(),
            TOLERANCE,
        );
        let deterministic = instance.circuit.properties().deterministic != Determinism::Unknown;
        assert_eq!(best.answer == Answer::Exact, deterministic, "{}", instance.name);
        if deterministic {
            assert_close(&instance.name, "the greatest p", p, greatest, TOLERANCE);
            add(&exact);
        } else {
            assert!(p <= greatest * (1.0 + TOLERANCE), "{}: above all worlds", instance.name);
            add(&bounds);
            if p < greatest * 0.999 {
                add(&gaps);
            }
        }
        let again = map(&instance.circuit, &instance.values, &worlds.row);
        assert_eq!(again.as_ref(), Some(&best), "{}: not the same twice", instance.name);
    });
    let counted = [exact, bounds, gaps].map(|counter| counter.into_inner().1);
    assert!(counted[0] > 50 && counted[1] > 800 && counted[2] > 20, "{counted:?}");
}

#[test]
fn the_table_of_some_variables_is_their_marginal_over_worlds() {
    for_all(|instance, worlds| {
        let posterior = Posterior::new(&instance.circuit, &instance.values, &worlds.row).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(worlds.each.len() as u64);
        let mut of = instance.shuffled(&mut rng);
        of.truncate(rng.random_range(0..=of.len()));
        let states = states(&instance.circuit);
        let found = joint(&posterior, &of);
        let lengths: Vec<usize> = of.iter().map(|var| states[var.0 as usize] as usize).collect();
        assert_eq!(found.len(), lengths.iter().product::<usize>());
        let mut expected = vec![0.0; found.len()];
        for (world, p) in &worlds.each {
            let digits = of.iter().map(|var| world[var.0 as usize] as usize).zip(&lengths);
            let at = digits.rev().fold(0, |at, (digit, length)| at * length + digit);
            expected[at] += p;
        }
        for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            assert_close(
                &instance.name,
                &format!("state {at} of {of:?}"),
                found,
                expected,
                TOLERANCE,
            );
        }
    });
}

#[test]
fn entropies_and_informations_are_sums_over_worlds() {
    for_all(|instance, worlds| {
        let circuit = &instance.circuit;
        let posterior = Posterior::new(circuit, &instance.values, &worlds.row).unwrap();
        let all: Vec<VarId> = circuit.variables().ids().collect();
        let entropy = Entropy::new(circuit, &all).unwrap().given(&posterior);
        assert_close(&instance.name, "the entropy", entropy, worlds.entropy(&all), TOLERANCE);
        let mut rng = ChaCha8Rng::seed_from_u64(worlds.each.len() as u64);
        let shuffled = instance.shuffled(&mut rng);
        let (a, rest) = shuffled.split_at(rng.random_range(0..=shuffled.len()));
        let b = &rest[..rng.random_range(0..=rest.len())];
        let of_a = Entropy::new(circuit, a).unwrap().given(&posterior);
        assert_close(
            &instance.name,
            &format!("the entropy of {a:?}"),
            of_a,
            worlds.entropy(a),
            TOLERANCE,
        );
        let found = MutualInformation::new(circuit, a, b).unwrap().given(&posterior);
        let both = worlds.entropy(&[a, b].concat());
        let expected = worlds.entropy(a) + worlds.entropy(b) - both;
        assert_close(&instance.name, &format!("I({a:?}; {b:?})"), found, expected, TOLERANCE);
    });
}
