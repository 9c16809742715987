//! PSDDs, random ones over random vtrees, and what is written of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pcc::CpuExecutable;
use pcc::circuit::Determinism;
use pcc::compile::{Options, compile};
use pcc::export;
use pcc::import::Companions;
use pcc::param::direct::Direct;
use pcc::plan::{self, NOWHERE, Op, Plan, Purpose, Schedule, Sharing, plan};
use pcc::real::log_sum_exp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{accepted, circuit, computes, computes_by, is_deterministic, with_vtree};

/// A node of a vtree; children by their place in a list that ends with the root.
#[derive(Clone, Copy)]
enum Vnode {
    Leaf(usize),
    Split(usize, usize),
}

/// A node of a PSDD; children by their place in a list that ends with the root.
enum Node {
    /// ln p that the variable is 0, and that it is 1.
    Leaf { vnode: usize, var: usize, log_p: [f64; 2] },
    /// Elements of prime, sub and logarithm.
    Decision { vnode: usize, elements: Vec<(usize, usize, f64)> },
}

/// What a node is of: its vtree node, and the variables below that it fixes.
type Kind = (usize, Vec<(usize, bool)>);

/// A way to break a plan, given a program and a step of it.
type Break = fn(&mut Plan, usize, usize);

/// A random PSDD and its vtree.
pub struct Random {
    rng: ChaCha8Rng,
    vtree: Vec<Vnode>,
    nodes: Vec<Node>,
    /// Nodes by what they are of, to be used again.
    made: BTreeMap<Kind, Vec<usize>>,
    /// How small probabilities may be, as a logarithm.
    least: f64,
}

impl Random {
    /// A PSDD over some variables, in which the logarithms of probabilities reach down to `least`.
    pub fn new(variables: usize, least: f64, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (vtree, nodes, made) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut random = Random { rng, vtree, nodes, made, least };
        let mut order: Vec<usize> = (0..variables).collect();
        for place in (1..variables).rev() {
            order.swap(place, random.rng.random_range(0..=place));
        }
        let root = random.grow(&order);
        random.node(root, &BTreeMap::new(), true);
        random
    }

    fn grow(&mut self, variables: &[usize]) -> usize {
        let node = match variables {
            &[var] => Vnode::Leaf(var),
            _ => {
                let (left, right) = variables.split_at(self.rng.random_range(1..variables.len()));
                Vnode::Split(self.grow(left), self.grow(right))
            }
        };
        self.vtree.push(node);
        self.vtree.len() - 1
    }

    fn variables(&self, vnode: usize) -> Vec<usize> {
        match self.vtree[vnode] {
            Vnode::Leaf(var) => vec![var],
            Vnode::Split(left, right) => [self.variables(left), self.variables(right)].concat(),
        }
    }

    /// A node that is zero wherever a variable is not as `fixed` says.
    fn node(&mut self, vnode: usize, fixed: &BTreeMap<usize, bool>, fresh: bool) -> usize {
        let own = self.variables(vnode);
        let fixed: BTreeMap<usize, bool> = fixed
            .iter()
            .filter(|(var, _)| own.contains(var))
            .map(|(&var, &to)| (var, to))
            .collect();
        let key = (vnode, fixed.iter().map(|(&var, &to)| (var, to)).collect());
        if !fresh && let Some(known) = self.made.get(&key) {
            let again = known[self.rng.random_range(0..known.len())];
            if self.rng.random_bool(0.3) {
                return again;
            }
        }
        let node = match self.vtree[vnode] {
            Vnode::Leaf(var) => {
                let log_p = match fixed.get(&var) {
                    Some(&to) => [to, !to].map(|not| if not { f64::NEG_INFINITY } else { 0.0 }),
                    None => self.logs(2).try_into().unwrap(),
                };
                Node::Leaf { vnode, var, log_p }
            }
            Vnode::Split(left, right) => {
                let inside = self.variables(left);
                let tested = inside[self.rng.random_range(0..inside.len())];
                let states: Vec<Option<bool>> = match self.rng.random_bool(0.25) {
                    true => vec![None],
                    false => vec![Some(false), Some(true)],
                };
                let states: Vec<Option<bool>> = states
                    .into_iter()
                    .filter(|&to| {
                        to.is_none() || fixed.get(&tested).is_none_or(|&is| to == Some(is))
                    })
                    .collect();
                let logs = self.logs(states.len());
                let elements = states.into_iter().zip(logs).map(|(to, log)| {
                    let mut below = fixed.clone();
                    below.extend(to.map(|to| (tested, to)));
                    (self.node(left, &below, false), self.node(right, &fixed, false), log)
                });
                let elements = elements.collect();
                Node::Decision { vnode, elements }
            }
        };
        self.nodes.push(node);
        let place = self.nodes.len() - 1;
        self.made.entry(key).or_default().push(place);
        place
    }

    /// Logarithms of probabilities that sum to one.
    fn logs(&mut self, count: usize) -> Vec<f64> {
        let logs: Vec<f64> = (0..count).map(|_| self.rng.random_range(self.least..=0.0)).collect();
        let total = log_sum_exp(logs.iter().copied());
        logs.into_iter().map(|log| log - total).collect()
    }

    /// The text of the PSDD.
    pub fn psdd(&self) -> String {
        let mut text = format!("c made for a test\npsdd {}\n", self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            match node {
                Node::Leaf { vnode, var, log_p } => {
                    let var = *var as i64 + 1;
                    text += &match log_p {
                        [_, log] if *log == f64::NEG_INFINITY => {
                            format!("L {id} {vnode} {}\n", -var)
                        }
                        [log, _] if *log == f64::NEG_INFINITY => format!("L {id} {vnode} {var}\n"),
                        [_, log] if id % 2 == 0 && *log < -1e-3 => {
                            format!("T {id} {vnode} {var} {log}\n")
                        }
                        [no, yes] => format!("T {id} {vnode} {var} {no} {yes}\n"),
                    };
                }
                Node::Decision { vnode, elements } => {
                    text += &format!("D {id} {vnode} {}", elements.len());
                    for (prime, sub, log) in elements {
                        text += &format!(" {prime} {sub} {log}");
                    }
                    text.push('\n');
                }
            }
        }
        text
    }

    /// The text of its vtree.
    pub fn vtree(&self) -> String {
        let mut text = format!("vtree {}\n", self.vtree.len());
        for (id, node) in self.vtree.iter().enumerate() {
            text += &match node {
                Vnode::Leaf(var) => format!("L {id} {}\n", var + 1),
                Vnode::Split(left, right) => format!("I {id} {left} {right}\n"),
            };
        }
        text
    }

    /// ln p of a world, by the definition of a PSDD.
    fn log_p(&self, world: &[f32]) -> f64 {
        let mut logs: Vec<f64> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            logs.push(match node {
                Node::Leaf { var, log_p, .. } => log_p[world[*var] as usize],
                Node::Decision { elements, .. } => {
                    let term =
                        |&(prime, sub, log): &(usize, usize, f64)| log + logs[prime] + logs[sub];
                    log_sum_exp(elements.iter().map(term))
                }
            });
        }
        logs[logs.len() - 1]
    }
}

#[test]
fn a_psdd_of_three_variables_is_the_distribution_that_its_numbers_give_by_hand() {
    // x0 decides between two distributions of x1; x2 is by itself.
    let text = "psdd 8\nL 0 0 -1\nL 1 0 1\nT 2 2 2 -0.6931471805599453\nT 3 2 2 -1.6094379124341003\n\
                T 4 4 3 -0.35667494393873245\n\
                D 5 1 2 0 2 -0.916290731874155 1 3 -0.5108256237659907\nD 6 3 1 5 4 0\n";
    let imported = accepted("by-hand.psdd", text, &Companions::default());
    computes(&imported, |world| {
        let (p, q) = if world[0] == 1.0 { (0.6, 0.2) } else { (0.4, 0.5) };
        let second = if world[1] == 1.0 { q } else { 1.0 - q };
        let third = if world[2] == 1.0 { 0.7 } else { 0.3 };
        f64::ln(p * second * third)
    });
}

#[test]
fn random_psdds_compute_what_their_definition_says_with_a_vtree_and_without() {
    for seed in 0..60 {
        let random = Random::new(2 + seed as usize % 8, -4.0, seed);
        let companions = match seed % 2 {
            0 => with_vtree(&random.vtree()),
            _ => Companions::default(),
        };
        let imported = accepted("random.psdd", &random.psdd(), &companions);
        computes(&imported, |world| random.log_p(world));
        assert!(is_deterministic(&imported));
        assert!(circuit(&imported).properties().structured_decomposable);
    }
}

#[test]
fn sums_of_probabilities_beyond_single_precision_lead_to_logarithms_and_not_to_wrong_numbers() {
    let mut in_logs = 0;
    for seed in 100..108 {
        let random = Random::new(11, -60.0, seed);
        let imported = accepted("steep.psdd", &random.psdd(), &Companions::default());
        // As it is written it runs as sparse sums; rewritten, as dense ones.
        in_logs += computes_by(&imported, &[true, false], |world| random.log_p(world));
    }
    assert!(in_logs > 0, "no row came near the limits of single precision");
}

#[test]
fn what_is_written_of_a_psdd_reads_back_as_the_same_function() {
    for seed in 0..30 {
        let random = Random::new(1 + seed as usize % 8, -3.0, seed);
        let imported = accepted("random.psdd", &random.psdd(), &with_vtree(&random.vtree()));
        let diagram = export::psdd(&circuit(&imported).declare_deterministic()).unwrap();
        let again = accepted("again.psdd", &diagram.psdd, &with_vtree(&diagram.vtree));
        computes(&again, |world| random.log_p(world));
    }
}

#[test]
fn what_is_no_psdd_is_not_written_as_one() {
    let mixture = "+ 1 2 0.5 3 0.5\ncategorical 2 1 0.2 0.8\ncategorical 3 1 0.4 0.6\n";
    let three = "categorical 1 1 0.2 0.3 0.5\n";
    let ternary = "* 1 2 3 4\ncategorical 2 1 0.2 0.8\ncategorical 3 2 0.4 0.6\n\
                   categorical 4 3 0.4 0.6\n";
    let mut told = String::new();
    for text in [mixture, three, ternary] {
        let imported = accepted("x.spn", text, &Companions::default());
        told += &format!("{}\n", export::psdd(&circuit(&imported)).unwrap_err());
    }
    insta::assert_snapshot!(told, @r"
    error[E0704]: a PSDD is deterministic, and this circuit is not known to be
    error[E0704]: a PSDD has binary variables only, and `x0` is none
    error[E0704]: a vtree is binary, and a scope of 3 variables is not split in two
    ");
}

/// The plan of a PSDD that is run as it is written.
fn planned(random: &Random) -> (Arc<pcc::Compiled>, Plan) {
    let imported = accepted("random.psdd", &random.psdd(), &Companions::default());
    let options = Options { no_rewrite: true, ..Options::default() };
    let compiled = compile(imported.circuit.unwrap(), &imported.map, &Direct, &options).unwrap();
    let how = plan::Options {
        purpose: Purpose::Evaluate,
        schedule: Schedule::Deep,
        batch: 64,
        sharing: Sharing::WherePays,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &how);
    (Arc::new(compiled), plan)
}

#[test]
fn a_plan_has_a_step_a_vtree_node_and_not_one_a_node_of_the_psdd() {
    let random = Random::new(14, -3.0, 7);
    let (_, plan) = planned(&random);
    let steps = plan.programs.iter().flat_map(|program| &program.steps);
    let (sparse, tables): (Vec<&plan::Step>, Vec<&plan::Step>) =
        steps.partition(|step| matches!(step.op, Op::Sparse { .. }));
    assert_eq!(sparse.len(), 13);
    assert!(tables.iter().all(|step| matches!(step.op, Op::Lookup { .. })));
    let decisions = random.nodes.iter().filter(|node| matches!(node, Node::Decision { .. }));
    assert!(decisions.count() > 3 * sparse.len());
}

#[test]
fn a_plan_whose_sparse_sums_read_what_is_not_theirs_is_not_run() {
    let (compiled, plan) = planned(&Random::new(14, -3.0, 7));
    let program = plan.head().program as usize;
    let step = plan.programs[program].steps.iter().rposition(|s| matches!(s.op, Op::Sparse { .. }));
    let step = step.unwrap();
    let breaks: [(&str, Break); 8] = [
        ("a left factor elsewhere", |plan, program, _| {
            let rows = plan.programs[program].rows;
            plan.programs[program].terms.last_mut().unwrap().left = rows;
        }),
        ("a right factor elsewhere", |plan, program, _| {
            let term = plan.programs[program].terms.last_mut().unwrap();
            term.right = term.left;
        }),
        ("no left factor", |plan, program, _| {
            plan.programs[program].terms.last_mut().unwrap().left = NOWHERE;
        }),
        ("no such weight", |plan, program, _| {
            let coefficients = plan.programs[program].coefficients;
            plan.programs[program].terms.last_mut().unwrap().weight = coefficients;
        }),
        ("a list that does not end", |plan, program, _| {
            plan.programs[program].lists.last_mut().unwrap().1 += 1;
        }),
        ("a list that is not there", |plan, program, _| {
            plan.programs[program].lists.pop();
        }),
        ("all factors on the left", |plan, program, step| {
            if let Op::Sparse { left, .. } = &mut plan.programs[program].steps[step].op {
                *left += 1;
            }
        }),
        ("a sum that learns", |plan, program, step| {
            let output = plan.programs[program].steps[step].output as usize;
            plan.programs[program].values[output].learns = true;
        }),
    ];
    assert_eq!(plan::check(&plan), Ok(()));
    for (what, breaking) in breaks {
        let mut broken = plan.clone();
        breaking(&mut broken, program, step);
        assert!(plan::check(&broken).is_err(), "{what}");
        assert!(CpuExecutable::new(Arc::clone(&compiled), broken, 1).is_err(), "{what}");
    }
}

#[test]
fn determinism_is_proven_where_literals_show_it_and_else_carried_from_the_format() {
    let imported = accepted("random.psdd", &Random::new(6, -3.0, 1).psdd(), &Companions::default());
    assert_eq!(circuit(&imported).properties().deterministic, Determinism::Proven);
    assert!(imported.deterministic);
    let mixture = "+ 1 2 0.5 3 0.5\ncategorical 2 1 0.2 0.8\ncategorical 3 1 0.4 0.6\n";
    let imported = accepted("x.spn", mixture, &Companions::default());
    assert_eq!(circuit(&imported).properties().deterministic, Determinism::Unknown);
    assert!(!imported.deterministic);
}
