//! Sum-product networks: as text in every way of writing them, and as SPNC stores them.

use std::collections::BTreeMap;

use pcc::export;
use pcc::import::Companions;
use pcc::real::log_sum_exp;
use pcc::structure::load;
use pcc::{Dataset, Source, ValidCircuit};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{accepted, circuit, compiled, computes};

/// A node; children by their place in a list that ends with the root.
pub enum Node {
    Indicator(usize, usize),
    Categorical(usize, Vec<f64>),
    Gaussian(usize, f64, f64),
    Sum(Vec<(usize, f64)>),
    Product(Vec<usize>),
}

/// A random network over variables of two or three states.
pub struct Random {
    rng: ChaCha8Rng,
    pub nodes: Vec<Node>,
    known: BTreeMap<Vec<usize>, Vec<usize>>,
}

impl Random {
    pub fn new(variables: usize, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut random = Random { rng, nodes: Vec::new(), known: BTreeMap::new() };
        let all: Vec<usize> = (0..variables).collect();
        random.node(&all, true);
        random
    }

    fn states(var: usize) -> usize {
        2 + var % 2
    }

    fn node(&mut self, scope: &[usize], fresh: bool) -> usize {
        if !fresh && let Some(known) = self.known.get(scope) {
            let again = known[self.rng.random_range(0..known.len())];
            if self.rng.random_bool(0.5) {
                return again;
            }
        }
        let sum = self.rng.random_bool(0.6);
        let node = match scope {
            [var] if sum => {
                let var = *var;
                let states = Self::states(var);
                let weights = self.distribution(states);
                let leaves = (0..states).zip(weights);
                let leaves = leaves.map(|(state, p)| (self.push(Node::Indicator(var, state)), p));
                Node::Sum(leaves.collect())
            }
            [var] => {
                let var = *var;
                let p = self.distribution(Self::states(var));
                Node::Categorical(var, p)
            }
            _ if sum => {
                let count = self.rng.random_range(2..5);
                let weights = self.distribution(count);
                let products = weights.into_iter().map(|p| {
                    let product = self.product(scope);
                    (self.push(product), p)
                });
                Node::Sum(products.collect())
            }
            _ => self.product(scope),
        };
        let place = self.push(node);
        self.known.entry(scope.to_vec()).or_default().push(place);
        place
    }

    fn product(&mut self, scope: &[usize]) -> Node {
        let cut = self.rng.random_range(1..scope.len());
        let (left, right) = scope.split_at(cut);
        Node::Product(vec![self.node(left, false), self.node(right, false)])
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn distribution(&mut self, count: usize) -> Vec<f64> {
        let p: Vec<f64> = (0..count).map(|_| self.rng.random_range(0.01..1.0)).collect();
        let total: f64 = p.iter().sum();
        p.into_iter().map(|p| p / total).collect()
    }

    /// As text: the id before the kind or after it, variables and states counted from a base.
    fn spn(&self, id_first: bool, base: usize, root_first: bool) -> String {
        let mut lines: Vec<String> = (self.nodes.iter().enumerate())
            .map(|(id, node)| {
                let (kind, rest) = match node {
                    Node::Indicator(var, state) => {
                        ("indicator", format!("{} {}", var + base, state + base))
                    }
                    Node::Categorical(var, p) => {
                        let p: Vec<String> = p.iter().map(f64::to_string).collect();
                        ("categorical", format!("{} {}", var + base, p.join(" ")))
                    }
                    Node::Gaussian(var, mean, deviation) => {
                        ("gaussian", format!("{} {mean} {}", var + base, deviation * deviation))
                    }
                    Node::Sum(terms) => {
                        let terms = terms.iter().map(|(input, p)| format!("{input} {p}"));
                        ("+", terms.collect::<Vec<_>>().join(" "))
                    }
                    Node::Product(inputs) => {
                        let inputs = inputs.iter().map(usize::to_string);
                        ("*", inputs.collect::<Vec<_>>().join(" "))
                    }
                };
                match id_first {
                    true => format!("{id} {kind} {rest}"),
                    false => format!("{kind} {id} {rest}"),
                }
            })
            .collect();
        if root_first {
            lines.reverse();
        }
        format!("# made for a test\n\n{}\n", lines.join("\n"))
    }

    fn log_p(&self, world: &[f32]) -> f64 {
        let mut logs: Vec<f64> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            logs.push(match node {
                Node::Indicator(var, state) if world[*var] as usize == *state => 0.0,
                Node::Indicator(..) => f64::NEG_INFINITY,
                Node::Categorical(var, p) => p[world[*var] as usize].ln(),
                Node::Gaussian(var, mean, deviation) => {
                    let off = (f64::from(world[*var]) - mean) / deviation;
                    -0.5 * off * off - deviation.ln() - 0.5 * std::f64::consts::TAU.ln()
                }
                Node::Sum(terms) => {
                    log_sum_exp(terms.iter().map(|&(input, p)| p.ln() + logs[input]))
                }
                Node::Product(inputs) => inputs.iter().map(|&input| logs[input]).sum(),
            });
        }
        logs[logs.len() - 1]
    }
}

#[test]
fn random_networks_compute_what_their_definition_says_in_every_way_of_writing_them() {
    for seed in 0..40 {
        let random = Random::new(2 + seed as usize % 5, seed);
        let (id_first, base, root_first) = (seed & 1 == 0, seed as usize >> 1 & 1, seed & 4 == 0);
        // Only a variable or state of number 0 shows that counting begins there.
        let text = random.spn(id_first, base, root_first);
        let imported = accepted("random.spn", &text, &Companions::default());
        computes(&imported, |world| random.log_p(world));
    }
}

#[test]
fn networks_written_in_ron_read_back_as_the_same_function() {
    for seed in 0..20 {
        let random = Random::new(2 + seed as usize % 5, seed);
        let text = random.spn(true, 1, true);
        let imported = accepted("random.spn", &text, &Companions::default());
        let ron = export::ron(&circuit(&imported), "again", &[]).unwrap();
        let again = load(&Source::new("again.ron", &ron), false).unwrap();
        let same = |a: &ValidCircuit, b: &ValidCircuit| {
            assert_eq!(a.node_count(), b.node_count());
            assert_eq!(a.variables().len(), b.variables().len());
        };
        same(&circuit(&imported), &again.circuit);
        let back = pcc::import::Imported {
            circuit: Some(again.circuit.into_circuit()),
            map: again.map,
            ..imported
        };
        computes(&back, |world| random.log_p(world));
    }
}

#[test]
fn what_the_language_writes_of_its_own_circuits_reads_back_as_the_same_text() {
    for name in ["sprinkler.ron", "patients.ron"] {
        let source = Source::new(name, crate::support::describe::collected(name));
        let loaded = load(&source, false).unwrap();
        let ron = export::ron(&loaded.circuit, "again", &[]).unwrap();
        let again = load(&Source::new("again.ron", &ron), false).unwrap();
        // Names follow the text of the first; from the second on they are in order.
        let ron = export::ron(&again.circuit, "again", &[]).unwrap();
        let third = load(&Source::new("third.ron", &ron), false).unwrap();
        assert_eq!(export::ron(&third.circuit, "again", &[]).unwrap(), ron);
    }
}

/// Words of two segments of a message of Cap'n Proto.
struct Message {
    segments: [Vec<u64>; 2],
}

/// Words of a structure's numbers and its pointers, which are filled in later.
fn structure(words: &[u64], pointers: usize) -> Vec<u64> {
    words.iter().copied().chain(std::iter::repeat_n(0, pointers)).collect()
}

impl Message {
    fn push(&mut self, segment: usize, words: &[u64]) -> usize {
        self.segments[segment].extend(words);
        self.segments[segment].len() - words.len()
    }

    /// A pointer at `at` to what begins at `to`: a structure of some words and pointers.
    fn point(&mut self, segment: usize, at: usize, to: usize, low: u64, high: u64) {
        let offset = (to as i64 - at as i64 - 1) as i32 as u32;
        self.segments[segment][at] = u64::from(offset << 2) | low | high << 32;
    }

    fn list(&mut self, segment: usize, at: usize, kind: u64, words: &[u64], len: u64) {
        let to = self.push(segment, words);
        self.point(segment, at, to, 1, kind | len << 3);
    }

    fn bytes(&self) -> Vec<u8> {
        let table = [1, self.segments[0].len() as u32, self.segments[1].len() as u32, 0];
        let mut bytes: Vec<u8> = table.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(self.segments.iter().flatten().flat_map(|word| word.to_le_bytes()));
        bytes
    }
}

/// A network as SPNC stores it, its nodes in a segment of their own.
pub fn stored(random: &Random, variables: usize) -> Vec<u8> {
    let mut message = Message { segments: [Vec::new(), Vec::new()] };
    // The pointer to the header; the header, a model; the model.
    message.push(0, &structure(&[], 1));
    message.push(0, &structure(&[0], 1));
    let root = random.nodes.len() as u64 - 1;
    let model = message.push(0, &structure(&[root | (variables as u64) << 32], 4));
    message.point(0, 0, 1, 0, 1 | 1 << 16);
    message.point(0, 2, model, 0, 1 | 4 << 16);
    // The list of nodes: a landing pad, a tag, and the nodes, each of one word and a pointer.
    let count = random.nodes.len();
    let pad = message.push(1, &[0]);
    let tag = message.push(1, &[(count as u64) << 2 | (1 | 1 << 16) << 32]);
    message.point(1, pad, tag, 1, 7 | (2 * count as u64) << 3);
    message.segments[0][model + 4] = 2 | (pad as u64) << 3 | 1 << 32;
    let first = message.push(1, &vec![0; 2 * count]);
    for (id, node) in random.nodes.iter().enumerate() {
        let kind = match node {
            Node::Product(_) => 0,
            Node::Sum(_) => 1,
            // Indicators are histograms of no mass elsewhere.
            Node::Indicator(..) => 2,
            Node::Gaussian(..) => 3,
            Node::Categorical(..) => 4,
        };
        let (at, pointer) = (first + 2 * id, first + 2 * id + 1);
        let is_root = u64::from(id as u64 == root);
        message.segments[1][at] = id as u64 | is_root << 32 | kind << 48;
        let doubles = |p: &[f64]| p.iter().map(|p| p.to_bits()).collect::<Vec<u64>>();
        let integers = |list: &[usize]| -> Vec<u64> {
            let pair =
                |pair: &[usize]| pair[0] as u64 | (pair.get(1).copied().unwrap_or(0) as u64) << 32;
            list.chunks(2).map(pair).collect()
        };
        match node {
            Node::Product(inputs) => {
                let body = message.push(1, &structure(&[], 1));
                message.point(1, pointer, body, 0, 1 << 16);
                message.list(1, body, 4, &integers(inputs), inputs.len() as u64);
            }
            Node::Sum(terms) => {
                let (inputs, p): (Vec<usize>, Vec<f64>) = terms.iter().copied().unzip();
                let body = message.push(1, &structure(&[], 2));
                message.point(1, pointer, body, 0, 2 << 16);
                message.list(1, body, 4, &integers(&inputs), inputs.len() as u64);
                message.list(1, body + 1, 5, &doubles(&p), p.len() as u64);
            }
            Node::Indicator(var, state) => {
                let body = message.push(1, &structure(&[(*var as u64) << 32], 3));
                message.point(1, pointer, body, 0, 1 | 3 << 16);
                let breaks = if *state == 0 { vec![0, 1] } else { vec![0, *state, state + 1] };
                let p = if *state == 0 { vec![1.0] } else { vec![0.0, 1.0] };
                message.list(1, body + 1, 4, &integers(&breaks), breaks.len() as u64);
                message.list(1, body + 2, 5, &doubles(&p), p.len() as u64);
            }
            Node::Gaussian(var, mean, deviation) => {
                let numbers = [mean.to_bits(), deviation.to_bits(), *var as u64];
                let body = message.push(1, &structure(&numbers, 0));
                message.point(1, pointer, body, 0, 3);
            }
            Node::Categorical(var, p) => {
                let body = message.push(1, &structure(&[*var as u64], 1));
                message.point(1, pointer, body, 0, 1 | 1 << 16);
                message.list(1, body + 1, 5, &doubles(p), p.len() as u64);
            }
        }
    }
    message.bytes()
}

/// A binary file as a text.
pub fn as_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[test]
fn stored_networks_compute_what_their_definition_says() {
    for seed in 0..20 {
        let variables = 2 + seed as usize % 5;
        let random = Random::new(variables, seed);
        let text = as_text(&stored(&random, variables));
        let imported = accepted("random.bin", &text, &Companions::default());
        computes(&imported, |world| random.log_p(world));
    }
}

#[test]
fn networks_of_densities_are_densities_as_text_and_as_stored() {
    let mut random = Random::new(1, 0);
    random.nodes = vec![
        Node::Gaussian(0, -1.5, 0.25),
        Node::Gaussian(1, 2.0, 3.0),
        Node::Product(vec![0, 1]),
        Node::Gaussian(0, 0.5, 1e-4),
        Node::Gaussian(1, -2.0, 0.5),
        Node::Product(vec![3, 4]),
        Node::Sum(vec![(2, 0.25), (5, 0.75)]),
    ];
    let points = [[-1.4f32, 1.0], [0.5, -2.25], [0.5003, 7.0], [3.0, 3.0]];
    for (name, text) in
        [("dense.spn", random.spn(true, 1, true)), ("dense.bin", as_text(&stored(&random, 2)))]
    {
        let compiled = compiled(&accepted(name, &text, &Companions::default()), false);
        let rows = points.map(|point| point.map(Some).to_vec());
        let data = Dataset::from_rows(compiled.written.variables(), rows).unwrap();
        let model = pcc::Model {
            source: Source::new(name, text),
            flat: compiled.parameters.initial(&compiled.written, 0, None),
            compiled,
        };
        let mut engine = super::engine(&model.compiled);
        let log_p = model.evaluate(&mut engine, &data).unwrap().log_p;
        for (point, log_p) in points.iter().zip(log_p) {
            let truth = random.log_p(point);
            assert!(super::close(log_p, truth, 1e-5), "{name} at {point:?}: {log_p}, not {truth}");
        }
    }
}
