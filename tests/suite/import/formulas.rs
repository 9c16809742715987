//! Formulas: random ones, compiled by the tests into the dialects, counted over all assignments.

use std::collections::BTreeMap;

use pcc::diag::Source;
use pcc::import::{Companions, Imported};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{accepted, computes, is_deterministic, with_vtree};

/// Clauses of literals, a variable counted from 1 and its sign.
pub type Clauses = Vec<Vec<i64>>;

pub fn random_clauses(variables: i64, seed: u64) -> Clauses {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = rng.random_range(1..=2 * variables);
    let literal = |rng: &mut ChaCha8Rng| {
        let var = rng.random_range(1..=variables);
        if rng.random_bool(0.5) { var } else { -var }
    };
    (0..count)
        .map(|_| {
            let len = rng.random_range(1..=3);
            (0..len).map(|_| literal(&mut rng)).collect()
        })
        .collect()
}

pub fn satisfies(clauses: &Clauses, world: &[f32]) -> bool {
    let holds =
        |&literal: &i64| (world[literal.unsigned_abs() as usize - 1] == 1.0) == (literal > 0);
    clauses.iter().all(|clause| clause.iter().any(holds))
}

/// A formula, decided variable by variable.
enum Node {
    Constant(bool),
    /// The variable, and the nodes where it is false and where it is true.
    Decision(i64, usize, usize),
}

/// Decides variables in their order; equal formulas are one node.
pub struct Decided {
    nodes: Vec<Node>,
    known: BTreeMap<Option<Clauses>, usize>,
    root: usize,
}

impl Decided {
    pub fn new(clauses: &Clauses) -> Self {
        let (nodes, known) = (Vec::new(), BTreeMap::new());
        let mut decided = Decided { nodes, known, root: 0 };
        decided.root = decided.node(Some(clauses.clone()));
        decided
    }

    fn node(&mut self, clauses: Option<Clauses>) -> usize {
        if let Some(&known) = self.known.get(&clauses) {
            return known;
        }
        let var = clauses.iter().flatten().flatten().map(|literal| literal.abs()).min();
        let node = match (&clauses, var) {
            (None, _) => Node::Constant(false),
            (Some(_), None) => Node::Constant(true),
            (Some(clauses), Some(var)) => {
                let [no, yes] = [-var, var].map(|literal| self.node(under(clauses, literal)));
                if no == yes {
                    return no;
                }
                Node::Decision(var, no, yes)
            }
        };
        self.nodes.push(node);
        self.known.insert(clauses, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// In c2d's dialect. Of odd seeds the ors do not say what they decide.
    pub fn c2d(&self, variables: i64, seed: u64) -> String {
        let mut lines = Vec::new();
        let mut at = Vec::new();
        let add = |lines: &mut Vec<String>, line: String| {
            lines.push(line);
            lines.len() - 1
        };
        for node in &self.nodes {
            let place = match node {
                Node::Constant(true) => add(&mut lines, "A 0".into()),
                Node::Constant(false) => add(&mut lines, "O 0 0".into()),
                &Node::Decision(var, no, yes) => {
                    let branches = [(-var, at[no]), (var, at[yes])].map(|(literal, below)| {
                        let literal = add(&mut lines, format!("L {literal}"));
                        add(&mut lines, format!("A 2 {literal} {below}"))
                    });
                    let decided = if seed.is_multiple_of(2) { var } else { 0 };
                    add(&mut lines, format!("O {decided} 2 {} {}", branches[0], branches[1]))
                }
            };
            at.push(place);
        }
        // The root is the last line.
        if at[self.root] != lines.len() - 1 {
            lines.push(format!("A 1 {}", at[self.root]));
        }
        format!("nnf {} {} {variables}\n{}\n", lines.len(), 0, lines.join("\n"))
    }

    /// In d4's dialect: the root first, edges before the nodes they lead to are used elsewhere.
    fn d4(&self) -> String {
        let id = |node: usize| self.nodes.len() - node;
        let mut text = String::new();
        for (place, node) in self.nodes.iter().enumerate().rev() {
            let kind = match node {
                Node::Constant(true) => "t",
                Node::Constant(false) => "f",
                Node::Decision(..) => "o",
            };
            text += &format!("{kind} {} 0\n", id(place));
        }
        for (place, node) in self.nodes.iter().enumerate() {
            if let &Node::Decision(var, no, yes) = node {
                text += &format!("{} {} -{var} 0\n", id(place), id(no));
                text += &format!("{} {} {var} 0\n", id(place), id(yes));
            }
        }
        text
    }

    /// As an SDD over a vtree that has variable i on the left and the later ones on the right.
    fn sdd(&self, variables: i64) -> (String, String) {
        // Leaf i of the vtree is variable i; inner node n + i splits off variable i.
        let inner = |var: i64| variables + var;
        let mut vtree = String::new();
        for var in (1..=variables).rev() {
            vtree += &format!("L {var} {var}\n");
            let right = if var + 1 == variables { variables } else { inner(var + 1) };
            if var < variables {
                vtree += &format!("I {} {var} {right}\n", inner(var));
            }
        }
        let mut text = String::new();
        let mut next = self.nodes.len();
        for (id, node) in self.nodes.iter().enumerate() {
            match node {
                Node::Constant(true) => text += &format!("T {id}\n"),
                Node::Constant(false) => text += &format!("F {id}\n"),
                &Node::Decision(var, no, yes) if var < variables => {
                    let literals = [next, next + 1];
                    next += 2;
                    text +=
                        &format!("L {} {var} -{var}\nL {} {var} {var}\n", literals[0], literals[1]);
                    let at = inner(var);
                    text += &format!("D {id} {at} 2 {} {no} {} {yes}\n", literals[0], literals[1]);
                }
                // The last variable is a leaf of the vtree: a literal, since it is decided.
                &Node::Decision(var, no, _) => {
                    let negative = matches!(self.nodes[no], Node::Constant(true));
                    text += &format!("L {id} {var} {}\n", if negative { -var } else { var });
                }
            }
        }
        let count = text.lines().count();
        (format!("sdd {count}\n{text}"), format!("vtree {}\n{vtree}", 2 * variables - 1))
    }
}

/// What is left of clauses where a literal holds; nothing if they cannot hold any more.
fn under(clauses: &Clauses, literal: i64) -> Option<Clauses> {
    let mut left: Clauses = Vec::new();
    for clause in clauses.iter().filter(|clause| !clause.contains(&literal)) {
        let rest: Vec<i64> = clause.iter().copied().filter(|&other| other != -literal).collect();
        if rest.is_empty() {
            return None;
        }
        left.push(rest);
    }
    left.sort();
    left.dedup();
    Some(left)
}

/// All assignments of some variables.
pub fn assignments(variables: usize) -> impl Iterator<Item = Vec<f32>> {
    (0..1usize << variables)
        .map(move |world| (0..variables).map(|var| (world >> var & 1) as f32).collect())
}

/// The number of models is right, and the circuit uniform over them.
pub fn is_counted(imported: &Imported, clauses: &Clauses, variables: usize) {
    let models = assignments(variables).filter(|world| satisfies(clauses, world)).count();
    let counted = imported.models.as_ref().unwrap();
    assert_eq!(counted.count.as_ref().unwrap().to_string(), models.to_string(), "{clauses:?}");
    if models == 0 {
        assert!(imported.circuit.is_none());
        return;
    }
    assert!((counted.log_weight - (models as f64).ln()).abs() < 1e-12);
    assert!(is_deterministic(imported));
    computes(imported, |world| match satisfies(clauses, world) {
        true => -(models as f64).ln(),
        false => f64::NEG_INFINITY,
    });
}

#[test]
fn random_formulas_of_c2d_and_d4_have_the_models_that_all_assignments_show() {
    for seed in 0..80 {
        let variables = 1 + seed as i64 % 7;
        let clauses = random_clauses(variables, seed);
        let decided = Decided::new(&clauses);
        let c2d = decided.c2d(variables, seed);
        is_counted(
            &accepted("c2d.nnf", &c2d, &Companions::default()),
            &clauses,
            variables as usize,
        );
        // d4's dialect does not say how many variables there are: those up to the greatest named.
        let d4 = accepted("d4.nnf", &decided.d4(), &Companions::default());
        let named = clauses.iter().flatten().map(|literal| literal.abs()).max().unwrap_or(0);
        let decides = decided.nodes.iter().filter_map(|node| match node {
            Node::Decision(var, ..) => Some(*var),
            Node::Constant(_) => None,
        });
        if decides.max() == Some(named) {
            is_counted(&d4, &clauses, named as usize);
        }
    }
}

#[test]
fn random_sdds_have_the_models_that_all_assignments_show() {
    for seed in 0..60 {
        let variables = 2 + seed as i64 % 6;
        let clauses = random_clauses(variables, 1000 + seed);
        let (sdd, vtree) = Decided::new(&clauses).sdd(variables);
        let imported = accepted("random.sdd", &sdd, &with_vtree(&vtree));
        is_counted(&imported, &clauses, variables as usize);
    }
}

#[test]
fn weights_of_literals_weigh_models_in_all_three_forms() {
    for seed in 0..40 {
        let variables = 2 + seed as i64 % 5;
        let clauses = random_clauses(variables, 2000 + seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = vec![[1.0f64; 2]; variables as usize];
        let mut text = String::from("c weights\n# of literals\n");
        for (var, pair) in (1..).zip(&mut weights) {
            match rng.random_range(0..4) {
                0 => {}
                1 => {
                    pair[1] = rng.random_range(0.0..1.0);
                    pair[0] = 1.0 - pair[1];
                    text += &format!("w {var} {}\n", pair[1]);
                }
                2 => {
                    *pair = [rng.random_range(0.0..9.0), 0.0];
                    text += &format!("-{var} {}\n{var} 0\n", pair[0]);
                }
                _ => {
                    *pair = [1.0, rng.random_range(0.0..5.0)];
                    text += &format!("c p weight {var} {} 0\n", pair[1]);
                }
            }
        }
        let weight = |world: &[f32]| -> f64 {
            let of = weights.iter().zip(world).map(|(pair, &state)| pair[state as usize]);
            if satisfies(&clauses, world) { of.product() } else { 0.0 }
        };
        let total: f64 = assignments(variables as usize).map(|world| weight(&world)).sum();
        let file = Some(Source::new("test.weights", text));
        let companions = Companions { weights: file, ..Companions::default() };
        let c2d = Decided::new(&clauses).c2d(variables, seed);
        let imported = accepted("c2d.nnf", &c2d, &companions);
        let models = imported.models.as_ref().unwrap();
        assert_eq!(imported.circuit.is_some(), total > 0.0);
        if total > 0.0 {
            assert!((models.log_weight - total.ln()).abs() < 1e-9, "{c2d}");
            computes(&imported, |world| (weight(world) / total).ln());
        }
    }
}

#[test]
fn counts_have_all_their_digits_beyond_machine_integers() {
    // Two hundred variables, of which the first decides nothing but itself: 2^200 models.
    let text = "nnf 3 2 200\nL 1\nL -1\nO 1 2 0 1\n";
    let imported = accepted("free.nnf", text, &Companions::default());
    let count = imported.models.unwrap().count.unwrap().to_string();
    assert_eq!(count, "1606938044258990275541962092341162602522202993782792835301376");
}

#[test]
fn a_formula_that_is_always_true_or_never_is_no_failure() {
    for (name, text, count) in [
        ("t.nnf", "t 1 0\n", "1"),
        ("f.nnf", "f 1 0\n", "0"),
        ("stub.nnf", "a 1 0\nf 2 0\n1 2 0\n", "0"),
        ("A.nnf", "nnf 1 0 3\nA 0\n", "8"),
        ("O.nnf", "nnf 1 0 3\nO 0 0\n", "0"),
        ("t.sdd", "sdd 1\nT 0\n", "1"),
        ("f.sdd", "sdd 1\nF 0\n", "0"),
    ] {
        let imported = accepted(name, text, &Companions::default());
        assert_eq!(imported.models.unwrap().count.unwrap().to_string(), count, "{name}");
        assert_eq!(imported.circuit.is_some(), count != "0", "{name}");
    }
}
