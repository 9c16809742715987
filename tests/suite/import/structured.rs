//! SDDs over any vtree: random functions, compiled by the tests, follow it when they are read.

use std::collections::BTreeMap;

use pcc::circuit::ValidCircuit;
use pcc::diag::Source;
use pcc::export;
use pcc::ids::{ScopeId, VarId};
use pcc::import::{Companions, Imported};
use pcc::query::{Divergence, Posterior};
use pcc::variables::Variables;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::formulas::{assignments, is_counted, random_clauses, satisfies};
use super::{accepted, circuit, computes, with_vtree};

/// A node of a vtree; children by their place in a list that ends with the root.
#[derive(Clone, Copy)]
enum Vnode {
    /// A variable, counted from 0.
    Leaf(usize),
    Split(usize, usize),
}

/// A random vtree.
struct Vtree {
    nodes: Vec<Vnode>,
}

impl Vtree {
    fn new(variables: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..variables).collect();
        for place in (1..variables).rev() {
            order.swap(place, rng.random_range(0..=place));
        }
        let mut vtree = Vtree { nodes: Vec::new() };
        vtree.grow(&order, &mut rng);
        vtree
    }

    fn grow(&mut self, order: &[usize], rng: &mut ChaCha8Rng) -> usize {
        let node = match order {
            &[var] => Vnode::Leaf(var),
            _ => {
                let (left, right) = order.split_at(rng.random_range(1..order.len()));
                Vnode::Split(self.grow(left, rng), self.grow(right, rng))
            }
        };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn root(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The variables below a node, from left to right.
    fn order(&self, node: usize) -> Vec<usize> {
        match self.nodes[node] {
            Vnode::Leaf(var) => vec![var],
            Vnode::Split(left, right) => [self.order(left), self.order(right)].concat(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("vtree {}\n", self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            text += &match node {
                Vnode::Leaf(var) => format!("L {id} {}\n", var + 1),
                Vnode::Split(left, right) => format!("I {id} {left} {right}\n"),
            };
        }
        text
    }
}

/// A function of the variables below a vtree node: its value for each assignment, of which the
/// leftmost variable is the lowest bit.
type Function = Vec<bool>;

/// Writes the one compressed and trimmed SDD of a function.
struct Compiler<'a> {
    vtree: &'a Vtree,
    lines: Vec<String>,
    known: BTreeMap<(usize, Function), usize>,
}

impl Compiler<'_> {
    fn line(&mut self, of: impl FnOnce(usize) -> String) -> usize {
        let id = self.lines.len();
        self.lines.push(of(id));
        id
    }

    fn node(&mut self, vnode: usize, function: Function) -> usize {
        // All constants are one node, wherever they stand.
        let constant = function.iter().all(|&value| value == function[0]);
        let key = match constant {
            true => (0, function[..1].to_vec()),
            false => (vnode + 1, function.clone()),
        };
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let node = match self.vtree.nodes[vnode] {
            _ if constant => {
                let kind = if function[0] { "T" } else { "F" };
                self.line(|id| format!("{kind} {id}"))
            }
            Vnode::Leaf(var) => {
                let sign = if function[1] { "" } else { "-" };
                self.line(|id| format!("L {id} {vnode} {sign}{}", var + 1))
            }
            Vnode::Split(left, right) => self.decision(vnode, [left, right], &function),
        };
        self.known.insert(key, node);
        node
    }

    fn decision(&mut self, vnode: usize, [left, right]: [usize; 2], function: &Function) -> usize {
        let [below_left, below_right] = [left, right].map(|side| 1 << self.vtree.order(side).len());
        // The subs, and where each of them is what is left of the function.
        let mut primes: BTreeMap<Function, Function> = BTreeMap::new();
        for a in 0..below_left {
            let sub = (0..below_right).map(|b| function[a + b * below_left]).collect();
            primes.entry(sub).or_insert_with(|| vec![false; below_left])[a] = true;
        }
        let is = |sub: &Function, value: bool| sub.iter().all(|&is| is == value);
        let elements: Vec<(Function, Function)> = primes.into_iter().collect();
        match &elements[..] {
            // {(true, sub)} is the sub, and {(prime, true), (¬prime, false)} the prime.
            [(sub, _)] => self.node(right, sub.clone()),
            [(no, _), (yes, prime)] if is(no, false) && is(yes, true) => {
                self.node(left, prime.clone())
            }
            _ => {
                let mut text = String::new();
                for (sub, prime) in &elements {
                    let (prime, sub) =
                        (self.node(left, prime.clone()), self.node(right, sub.clone()));
                    text += &format!(" {prime} {sub}");
                }
                self.line(|id| format!("D {id} {vnode} {}{text}", elements.len()))
            }
        }
    }
}

/// The text of the SDD of what `holds` says of worlds.
fn sdd(vtree: &Vtree, holds: impl Fn(&[f32]) -> bool) -> String {
    let order = vtree.order(vtree.root());
    let function = (0..1usize << order.len()).map(|assignment| {
        let mut world = vec![0.0; order.len()];
        for (place, &var) in order.iter().enumerate() {
            world[var] = (assignment >> place & 1) as f32;
        }
        holds(&world)
    });
    let function = function.collect();
    let mut compiler = Compiler { vtree, lines: Vec::new(), known: BTreeMap::new() };
    let root = compiler.node(vtree.root(), function);
    // The last line is the root.
    assert_eq!(root + 1, compiler.lines.len());
    format!("sdd {}\n{}\n", compiler.lines.len(), compiler.lines.join("\n"))
}

/// All products split scopes as the vtree splits its nodes, down to single variables.
fn follows(circuit: &ValidCircuit, vtree: &Vtree) {
    assert!(circuit.properties().structured_decomposable);
    let found = circuit.vtree().unwrap();
    let variables = |scope: ScopeId| circuit.scopes().variables(scope);
    let sorted = |vnode: usize| {
        let mut order: Vec<VarId> =
            vtree.order(vnode).into_iter().map(|var| VarId(var as u32)).collect();
        order.sort_unstable();
        order
    };
    let mut stack = vec![(vtree.root(), found.root())];
    while let Some((vnode, scope)) = stack.pop() {
        assert_eq!(variables(scope), sorted(vnode));
        match (vtree.nodes[vnode], found.parts(scope)) {
            (Vnode::Leaf(_), []) => {}
            (Vnode::Split(left, right), &[a, b]) => {
                let (a, b) = if variables(a) == sorted(left) { (a, b) } else { (b, a) };
                stack.extend([(left, a), (right, b)]);
            }
            (_, parts) => panic!("{:?} is split in {}", variables(scope), parts.len()),
        }
    }
}

/// A random formula over some variables.
struct Instance {
    clauses: Vec<Vec<i64>>,
    vtree: Vtree,
    variables: usize,
}

impl Instance {
    fn new(seed: u64) -> Self {
        let variables = 1 + seed as usize % 7;
        let clauses = random_clauses(variables as i64, 3000 + seed);
        Instance { clauses, vtree: Vtree::new(variables, seed), variables }
    }

    fn read(&self, companions: Companions) -> Imported {
        let text = sdd(&self.vtree, |world| satisfies(&self.clauses, world));
        accepted("random.sdd", &text, &companions)
    }
}

#[test]
fn an_sdd_follows_its_vtree_and_has_the_models_that_all_assignments_show() {
    let mut satisfied = 0;
    for seed in 0..70 {
        let instance = Instance::new(seed);
        let imported = instance.read(with_vtree(&instance.vtree.text()));
        is_counted(&imported, &instance.clauses, instance.variables);
        if imported.circuit.is_some() {
            follows(&circuit(&imported), &instance.vtree);
            satisfied += 1;
        }
    }
    assert!(satisfied > 30, "{satisfied}");
}

#[test]
fn variables_beyond_the_vtree_are_free_and_leave_the_circuit_structured() {
    for seed in 0..28 {
        let instance = Instance::new(seed);
        let more = instance.variables + 1 + seed as usize % 3;
        let variables = Some(Variables::binary(more));
        let companions = Companions { variables, ..with_vtree(&instance.vtree.text()) };
        let imported = instance.read(companions);
        is_counted(&imported, &instance.clauses, more);
        if imported.circuit.is_some() {
            assert!(circuit(&imported).properties().structured_decomposable);
        }
    }
}

#[test]
fn an_sdd_whose_literals_weigh_is_written_as_a_psdd_of_the_same_values() {
    let mut written = 0;
    for seed in 0..50 {
        let instance = Instance::new(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut text = String::new();
        let mut weights = vec![[1.0f64; 2]; instance.variables];
        for (var, pair) in (1..).zip(&mut weights).filter(|_| seed % 3 != 0) {
            *pair = [rng.random_range(0.0..4.0), f64::from(rng.random_range(0..3u8))];
            text += &format!("-{var} {}\n{var} {}\n", pair[0], pair[1]);
        }
        let weight = |world: &[f32]| -> f64 {
            let of = weights.iter().zip(world).map(|(pair, &state)| pair[state as usize]);
            if satisfies(&instance.clauses, world) { of.product() } else { 0.0 }
        };
        let total: f64 = assignments(instance.variables).map(|world| weight(&world)).sum();
        let file = Some(Source::new("test.weights", text));
        let companions = Companions { weights: file, ..with_vtree(&instance.vtree.text()) };
        let imported = instance.read(companions);
        assert_eq!(imported.circuit.is_some(), total > 0.0);
        if total > 0.0 {
            let log_p = |world: &[f32]| (weight(world) / total).ln();
            computes(&imported, log_p);
            let circuit = circuit(&imported).declare_deterministic();
            follows(&circuit, &instance.vtree);
            let diagram = export::psdd(&circuit).unwrap_or_else(|fault| panic!("{fault}"));
            let again = accepted("again.psdd", &diagram.psdd, &with_vtree(&diagram.vtree));
            computes(&again, log_p);
            written += 1;
        }
    }
    assert!(written > 20, "{written}");
}

#[test]
fn the_divergence_of_a_formula_from_a_weaker_one_is_that_of_their_numbers_of_models() {
    let mut differing = 0;
    for seed in 0..60 {
        let strong = Instance::new(seed);
        let clauses = strong.clauses[..strong.clauses.len() / 2].to_vec();
        let vtree = Vtree { nodes: strong.vtree.nodes.clone() };
        let weak = Instance { clauses, vtree, variables: strong.variables };
        let [p, q] = [&strong, &weak].map(|instance| {
            let imported = instance.read(with_vtree(&instance.vtree.text()));
            let models = imported.models.as_ref().unwrap().log_weight;
            imported.circuit.is_some().then(|| {
                let circuit = circuit(&imported).declare_deterministic();
                let compiled = super::compiled(&imported, true);
                let flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 0, None);
                let values = compiled.parameters.values(&compiled.written, &vec![0.0; flat.len()]);
                (circuit, values, models)
            })
        });
        let (Some((p, of_p, p_models)), Some((q, of_q, q_models))) = (p, q) else { continue };
        let nothing: Vec<Option<f32>> = vec![None; strong.variables];
        let [seen_p, seen_q] = [(&p, &of_p), (&q, &of_q)]
            .map(|(circuit, values)| Posterior::new(circuit, values, &nothing).unwrap());
        let divergence = Divergence::new(&p, &q).unwrap_or_else(|fault| panic!("{fault}"));
        let found = divergence.given(&seen_p, &seen_q);
        assert!((found - (q_models - p_models)).abs() < 1e-9, "{found}");
        differing += usize::from(q_models > p_models);
    }
    assert!(differing > 20, "{differing}");
}

#[test]
fn an_sdd_that_is_true_or_a_literal_is_over_its_whole_vtree() {
    let vtree = Vtree::new(5, 1);
    let leaf = vtree.nodes.iter().position(|node| matches!(node, Vnode::Leaf(2))).unwrap();
    for (text, models) in
        [("sdd 1\nT 0\n".to_string(), 32), (format!("sdd 1\nL 0 {leaf} -3\n"), 16)]
    {
        let imported = accepted("x.sdd", &text, &with_vtree(&vtree.text()));
        let count = imported.models.as_ref().unwrap().count.as_ref().unwrap();
        assert_eq!(count.to_string(), models.to_string());
        let circuit = circuit(&imported).declare_deterministic();
        follows(&circuit, &vtree);
        assert!(export::psdd(&circuit).is_ok());
        // Every vtree node once, and a product for each that is above the literal.
        assert!(circuit.order().len() <= 9 + 4, "{}", circuit.order().len());
    }
}

#[test]
fn nodes_that_skip_the_same_of_a_vtree_share_what_fills_it() {
    // A chain of 400 variables: the last is decided below the first three, and all between is anything.
    let count = 400;
    let mut vtree = format!("vtree {}\nL {count} {count}\n", 2 * count - 1);
    for var in (1..count).rev() {
        let right = if var + 1 == count { count } else { count + var + 1 };
        vtree += &format!("L {var} {var}\nI {} {var} {right}\n", count + var);
    }
    let mut text = format!("sdd 10\nL 0 {count} {count}\nL 1 {count} -{count}\n");
    for var in [3, 2, 1] {
        let id = 10 - 2 * var;
        let below = if var == 3 { [0, 1] } else { [id - 1, 1] };
        text += &format!("L {} {var} {var}\nL {} {var} -{var}\n", 100 + id, 101 + id);
        let (yes, no) = (100 + id, 101 + id);
        let at = count + var;
        text += &format!("D {} {at} 2 {yes} {} {no} {}\n", id + 1, below[0], below[1]);
    }
    let imported = accepted("skips.sdd", &text, &with_vtree(&vtree));
    let circuit = circuit(&imported);
    assert!(circuit.properties().structured_decomposable);
    // The chain twice, once for each literal of the last variable, a product a vtree node.
    let edges = circuit.edge_count();
    assert!(edges < 2 * 3 * count, "{edges}");
}
