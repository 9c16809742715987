//! What it costs to make a formula smooth, and that it stays the same formula.

use pcc::circuit::ValidCircuit;
use pcc::engine::reference;
use pcc::import::Companions;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::formulas::{Decided, is_counted, random_clauses};
use super::{accepted, circuit, compiled};

/// The disjunction of some literals, decided one by one, in d4's dialect. Every branch that decides it
/// lacks all variables that come later.
fn d4_list(literals: &[i64], negative_first: bool) -> String {
    let (end, mut text) = (literals.len() + 1, String::new());
    (1..end).for_each(|node| text += &format!("o {node} 0\n"));
    text += &format!("t {end} 0\n");
    for (at, literal) in (1..).zip(literals) {
        let yes = format!("{at} {end} {literal} 0\n");
        // The last node has one model only.
        let no = match at + 1 == end {
            true => String::new(),
            false => format!("{at} {} {} 0\n", at + 1, -literal),
        };
        text += &if negative_first { no + &yes } else { yes + &no };
    }
    text
}

/// The same in c2d's dialect, the last variable first.
fn c2d_list(literals: &[i64]) -> String {
    let mut lines = Vec::new();
    let mut below = None;
    for literal in literals.iter().rev() {
        lines.push(format!("L {literal}"));
        let yes = lines.len() - 1;
        below = Some(match below {
            None => yes,
            Some(below) => {
                lines.push(format!("L {}", -literal));
                lines.push(format!("A 2 {} {below}", lines.len() - 1));
                let no = lines.len() - 1;
                lines.push(format!("O {} 2 {yes} {no}", literal.abs()));
                lines.len() - 1
            }
        });
    }
    format!("nnf {} 0 {}\n{}\n", lines.len(), literals.len(), lines.join("\n"))
}

/// Literals of all variables, in a random order and of random signs.
fn literals(count: i64, seed: u64) -> Vec<i64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut literals: Vec<i64> = (1..=count).collect();
    for place in (1..literals.len()).rev() {
        literals.swap(place, rng.random_range(0..=place));
        if rng.random_bool(0.5) {
            literals[place] *= -1;
        }
    }
    literals
}

/// All forms of a decision list.
fn lists(count: i64, seed: u64) -> [String; 3] {
    let literals = literals(count, seed);
    [d4_list(&literals, false), d4_list(&literals, true), c2d_list(&literals)]
}

fn read(text: &str) -> pcc::import::Imported {
    accepted("list.nnf", text, &Companions::default())
}

#[test]
fn short_decision_lists_have_the_models_that_all_assignments_show() {
    for count in 1..=9 {
        let clause = vec![literals(count, count as u64)];
        for text in lists(count, count as u64) {
            is_counted(&read(&text), &clause, count as usize);
        }
    }
}

#[test]
fn formulas_of_scattered_gaps_have_the_models_that_all_assignments_show() {
    // Where the first variable is true, the third and the fifth are lacking, and the fourth is not.
    let text = "nnf 9 10 5\nL -1\nL 2\nL 3\nL 4\nL 5\nA 5 0 1 2 3 4\nL 1\nA 3 6 1 3\nO 1 2 5 7\n";
    is_counted(&read(text), &vec![vec![2], vec![4], vec![1, 3], vec![1, 5]], 5);
    for seed in 0..10 {
        let clauses = random_clauses(10, 4000 + seed);
        let c2d = Decided::new(&clauses).c2d(10, seed);
        is_counted(&read(&c2d), &clauses, 10);
    }
}

/// 2 to some power, less one, in decimal digits.
fn power_less_one(power: usize) -> String {
    let mut digits = vec![1u8];
    for _ in 0..power {
        let mut carry = 0;
        for digit in &mut digits {
            carry += 2 * *digit;
            *digit = carry % 10;
            carry /= 10;
        }
        digits.extend((carry > 0).then_some(carry));
    }
    // No power of two ends in 0.
    digits[0] -= 1;
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

/// ln p of a row in which some variables have a value.
fn log_p(imported: &pcc::import::Imported, row: &[Option<f32>]) -> f64 {
    let compiled = compiled(imported, true);
    let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
    let values = compiled.parameters.values(&compiled.written, &vec![0.0; flat.len()]);
    reference::log_likelihood(&compiled.written, &values, row)
}

#[test]
fn a_decision_list_costs_some_edges_a_variable_however_long_it_is() {
    let edges = |text: &str| -> usize {
        let circuit: ValidCircuit = circuit(&read(text));
        circuit.edge_count()
    };
    for seed in 0..2 {
        for (short, long) in lists(1_000, seed).iter().zip(&lists(2_000, seed)) {
            let [short, long] = [short, long].map(|text| edges(text));
            assert!(long <= 12 * 2_000, "{long} edges");
            assert!(10 * long <= 22 * short, "{short} edges become {long}");
        }
    }
}

#[test]
fn a_long_decision_list_has_all_assignments_but_one_and_each_is_as_likely() {
    let count = 2_000;
    let expected = power_less_one(count);
    assert_eq!(power_less_one(12), "4095");
    let list = literals(count as i64, 0);
    for text in lists(count as i64, 0) {
        let imported = read(&text);
        let models = imported.models.as_ref().unwrap();
        assert_eq!(models.count.as_ref().unwrap().to_string(), expected);
        let log_models = count as f64 * 2f64.ln();
        assert!((models.log_weight - log_models).abs() < 1e-9 * log_models);
        // What makes every literal false is no model; to make one of them true it is enough.
        let mut row = vec![None; count];
        list.iter().for_each(|&literal| {
            row[literal.unsigned_abs() as usize - 1] = Some(if literal > 0 { 0.0 } else { 1.0 });
        });
        assert_eq!(log_p(&imported, &row), f64::NEG_INFINITY);
        for true_one in [0, 1, count / 2, count - 1] {
            let mut row: Vec<Option<f32>> = row.clone();
            let var = list[true_one].unsigned_abs() as usize - 1;
            row[var] = row[var].map(|state| 1.0 - state);
            let found = log_p(&imported, &row);
            assert!((found + log_models).abs() < 1e-9 * log_models, "{found}");
            row[var] = None;
            let found = log_p(&imported, &row);
            assert!((found + log_models).abs() < 1e-9 * log_models, "{found}");
        }
    }
}

#[test]
fn a_count_beyond_the_work_that_is_spent_on_it_is_left_to_its_logarithm() {
    // A hundred thousand sums of numbers of up to 3,125 digits.
    let count = 100_000;
    let literals: Vec<i64> = (1..=count).collect();
    let imported = read(&c2d_list(&literals));
    let models = imported.models.unwrap();
    assert_eq!(models.count, None);
    let expected = count as f64 * 2f64.ln();
    assert!((models.log_weight - expected).abs() < 1e-9 * expected);
}
