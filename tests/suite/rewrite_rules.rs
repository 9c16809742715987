//! Rewriting against the oracle: on random circuits, made rough so that every rule has work, the
//! rewritten circuit has the same values and the same gradients, with all rules and with each alone.

use std::collections::BTreeSet;

use pcc::circuit::{Circuit, Op, SourceMap, ValidCircuit, Values, WeightSource, validate};
use pcc::engine::reference;
use pcc::ids::{Id, IdVec, NodeId, VarId};
use pcc::param::direct::Direct;
use pcc::rewrite::{Options, Request, Target, rewrite, rule_names};
use pcc::sector::SectorKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::case::Case;
use crate::support::enumerate::{observed, worlds};
use crate::support::random_circuits::{self, Kinds};

/// Prices that each make some of the rules worth applying by themselves.
const PRICES: [Target; 3] = [
    Target { batch: 1, multiply_add: 1, byte: 0, launch: 0 },
    Target { batch: 1, multiply_add: 0, byte: 1, launch: 0 },
    Target { batch: 1, multiply_add: 0, byte: 0, launch: 1 },
];

/// Writes a circuit anew as nobody would, with nodes that rules can remove: detours that keep the
/// function of a node, and frozen layers that do not.
struct Roughen {
    circuit: Circuit,
    rng: ChaCha8Rng,
}

impl Roughen {
    fn circuit(old: &ValidCircuit, seed: u64) -> Circuit {
        let circuit = Circuit::new(old.variables().clone());
        let mut rough = Roughen { circuit, rng: ChaCha8Rng::seed_from_u64(seed) };
        for dist in old.dists().values() {
            rough.circuit.add_dist(dist.clone());
        }
        for weights in old.weights().values() {
            rough.circuit.add_weights(weights.clone());
        }
        let mut place = IdVec::<NodeId, NodeId>::filled(NodeId(0), old.node_count());
        for &node in old.order() {
            let inputs: Vec<NodeId> = old.inputs(node).map(|input| place[input]).collect();
            let new = rough.node(old.op(node), old.units(node), &inputs);
            place[node] = if rough.rng.random_ratio(1, 2) { rough.detour(new) } else { new };
        }
        rough.circuit.set_root(place[old.root()]);
        rough.circuit
    }

    fn node(&mut self, op: Op, units: u32, inputs: &[NodeId]) -> NodeId {
        match op {
            Op::Product if inputs.len() > 2 && self.rng.random_ratio(1, 2) => {
                let rest = self.circuit.product(&inputs[1..]);
                self.circuit.product(&[rest, inputs[0]])
            }
            Op::Product if units == 1 && self.rng.random_ratio(1, 2) => {
                // The same product twice, in two orders and as two operations.
                let pairs = self.circuit.kronecker(inputs);
                let reversed: Vec<NodeId> = inputs.iter().rev().copied().collect();
                let product = self.circuit.product(&reversed);
                self.circuit.mixing(&[pairs, product], WeightSource::Parameterizer)
            }
            Op::Product if inputs.len() > 1 && self.rng.random_ratio(1, 2) => {
                let one = self.circuit.product(inputs);
                let last = inputs.len() - 1;
                let other = self.circuit.sum(units, &inputs[last..], WeightSource::Parameterizer);
                let mut inputs = inputs.to_vec();
                inputs[last] = other;
                let other = self.circuit.product(&inputs);
                if units == 1 && self.rng.random_ratio(1, 2) {
                    self.circuit.sum(1, &[one, other], WeightSource::Parameterizer)
                } else {
                    self.circuit.mixing(&[one, other], WeightSource::Parameterizer)
                }
            }
            Op::Kronecker if inputs.len() > 2 && self.rng.random_ratio(1, 2) => {
                let (head, tail) = inputs.split_at(self.rng.random_range(1..inputs.len()));
                let [head, tail] = [head, tail].map(|part| self.circuit.kronecker(part));
                self.circuit.kronecker(&[head, tail])
            }
            _ => self.circuit.add_over(op, units, inputs),
        }
    }

    fn detour(&mut self, x: NodeId) -> NodeId {
        let units = self.circuit.units(x);
        match self.rng.random_range(0..9) {
            0 => self.circuit.product(&[x]),
            1 => self.circuit.mixing(&[x], WeightSource::Parameterizer),
            2 => self.circuit.sum(units, &[x], WeightSource::Frozen(identity(units))),
            3 => self.circuit.mixing(&[x, x], WeightSource::Parameterizer),
            4 => self.frozen_mixing(&[x, x]),
            5 => {
                let y = self.frozen_sum(&[x]);
                let z = self.frozen_sum(&[y, x]);
                self.frozen_sum(&[z, y])
            }
            6 => {
                let y = self.frozen_mixing(&[x, x]);
                let z = self.circuit.sum(units, &[x], WeightSource::Parameterizer);
                self.frozen_mixing(&[y, z])
            }
            7 => {
                let y = self.frozen_sum(&[x]);
                let z = self.frozen_sum(&[x]);
                self.frozen_mixing(&[y, z])
            }
            _ => {
                let y = self.circuit.sum(units, &[x], WeightSource::Parameterizer);
                let rows = (0..units).flat_map(|_| [1.0, 0.0]).collect();
                self.circuit.mixing(&[x, y], WeightSource::Frozen(rows))
            }
        }
    }

    fn frozen_sum(&mut self, inputs: &[NodeId]) -> NodeId {
        let units = self.circuit.units(inputs[0]);
        let weights = self.rows(units, units * inputs.len() as u32);
        self.circuit.sum(units, inputs, weights)
    }

    fn frozen_mixing(&mut self, inputs: &[NodeId]) -> NodeId {
        let weights = self.rows(self.circuit.units(inputs[0]), inputs.len() as u32);
        self.circuit.mixing(inputs, weights)
    }

    fn rows(&mut self, rows: u32, cols: u32) -> WeightSource {
        let mut row = || {
            let raw: Vec<f64> = (0..cols).map(|_| self.rng.random_range(0.1..1.0)).collect();
            let total: f64 = raw.iter().sum();
            raw.into_iter().map(move |w| w / total)
        };
        WeightSource::Frozen((0..rows).flat_map(|_| row()).collect())
    }
}

fn identity(units: u32) -> Vec<f64> {
    let one = |place| if place / units == place % units { 1.0 } else { 0.0 };
    (0..units * units).map(one).collect()
}

fn case(seed: u64) -> Case {
    let kinds = [Kinds::Discrete, Kinds::Mixed][seed as usize % 2];
    let plain = random_circuits::circuit(seed, kinds);
    let plain = validate(plain, &SourceMap::default()).expect("a valid random circuit").0;
    let rough = Roughen::circuit(&plain, seed);
    Case::new(rough, &Direct, SectorKind::PerLayer, seed)
}

/// The numbers of a rewritten circuit: those of the original, then the frozen weights it added.
fn carried(before: &Circuit, values: &Values<f64>, after: &Circuit) -> Values<f64> {
    let mut carried = Values::zeros(after);
    for (id, weights) in after.weights().iter() {
        let from = match &weights.source {
            _ if id.index() < before.weights().len() => values.weights(id),
            WeightSource::Frozen(entries) => entries,
            other => panic!("a rule made learnable weights: {other:?}"),
        };
        carried.weights_mut(id).copy_from_slice(from);
    }
    for id in after.dists().ids() {
        carried.leaf_mut(id).copy_from_slice(values.leaf(id));
    }
    carried
}

/// The derivative by each learnable logit: a layer of one weight a row has none, a rule may remove it.
fn logit_gradient(circuit: &Circuit, values: &Values<f64>, gradient: &Values<f64>) -> Vec<f64> {
    let mut all = Vec::new();
    for (id, weights) in circuit.weights().iter() {
        if matches!(weights.source, WeightSource::Frozen(_)) {
            continue;
        }
        let cols = weights.cols as usize;
        for (w, g) in values.weights(id).chunks(cols).zip(gradient.weights(id).chunks(cols)) {
            let mean: f64 = w.iter().zip(g).map(|(w, g)| w * g).sum();
            all.extend(w.iter().zip(g).map(|(w, g)| w * (g - mean)));
        }
    }
    for id in circuit.dists().ids() {
        all.extend_from_slice(gradient.leaf(id));
    }
    all
}

/// All worlds of a few variables, else random rows; then the same with missing entries.
fn rows(circuit: &Circuit, rng: &mut ChaCha8Rng) -> Vec<Vec<Option<f32>>> {
    use pcc::variables::VarKind;
    let variables = circuit.variables();
    let discrete = variables.ids().all(|var| variables.kind(var) != VarKind::Real);
    let mut rows: Vec<Vec<Option<f32>>> = if discrete {
        worlds(circuit).take(32).map(|world| observed(&world)).collect()
    } else {
        let value = |rng: &mut ChaCha8Rng, var| match variables.kind(var) {
            VarKind::Real => rng.random_range(-2.0..2.0),
            VarKind::Categorical { states } => rng.random_range(0..states) as f32,
        };
        let row = |_| variables.ids().map(|var| Some(value(rng, var))).collect();
        (0..16).map(row).collect()
    };
    for mut row in rows.clone() {
        row.iter_mut().for_each(|value| *value = value.filter(|_| rng.random()));
        rows.push(row);
    }
    rows
}

/// The logarithm relative to what it is a logarithm of: 1e-12 of p is 1e-12 of ln p, absolutely.
fn assert_same_function(case: &Case, after: &ValidCircuit, what: &str) {
    let (before, values) = (&case.circuit, case.values());
    let after_values = carried(before, &values, after);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for row in rows(before, &mut rng) {
        let forward_before = reference::forward(before, &values, &row);
        let forward_after = reference::forward(after, &after_values, &row);
        let [a, b] = [&forward_before, &forward_after].map(reference::Forward::log_likelihood);
        let same = a == b || (a - b).abs() <= 1e-12 * a.abs().max(1.0);
        assert!(same, "{}, {what}, {row:?}: {a} is not {b}", case.name);
        let [mut g, mut h] = [before, after].map(|circuit| Values::<f64>::zeros(circuit));
        reference::backward(before, &values, &forward_before, &row, 1.0, &mut g);
        reference::backward(after, &after_values, &forward_after, &row, 1.0, &mut h);
        let g = logit_gradient(before, &values, &g);
        let h = logit_gradient(after, &after_values, &h);
        let scale = g.iter().fold(1.0f64, |top, g| top.max(g.abs()));
        assert_eq!(g.len(), h.len());
        for (at, (g, h)) in g.iter().zip(&h).enumerate() {
            let close = (g - h).abs() <= 1e-11 * scale;
            assert!(close, "{}, {what}, {row:?}, gradient {at}: {g} is not {h}", case.name);
        }
    }
}

#[test]
fn all_rules_together_keep_values_and_gradients_and_each_of_them_fires() {
    let mut fired = BTreeSet::new();
    for seed in 0..80 {
        let case = case(seed);
        for target in [Target::CPU, Target::CUDA] {
            let options = Options::for_target(target);
            let done = rewrite(case.circuit.clone(), &Request::default(), &options).unwrap();
            assert_same_function(&case, &done.circuit, "all rules");
            fired.extend(done.report.fired.iter().map(|&(name, _)| name));
            let cost = [&done.report.before, &done.report.after].map(|s| s.cost.total(&target));
            assert!(done.report.unchanged || cost[1] < cost[0], "{}: {cost:?}", case.name);
            let kept = &done.circuit.weights().as_slice()[..case.circuit.weights().len()];
            assert_eq!(kept, case.circuit.weights().as_slice());
            assert_eq!(done.circuit.dists().as_slice(), case.circuit.dists().as_slice());
        }
    }
    let silent: Vec<&str> = rule_names().filter(|name| !fired.contains(name)).collect();
    assert_eq!(silent, [""; 0], "rules that never fired");
}

#[test]
fn each_rule_alone_keeps_values_and_gradients_and_changes_some_circuit() {
    let mut idle = Vec::new();
    for only in rule_names() {
        let mut changed = 0;
        for seed in 0..24 {
            let case = case(seed);
            for target in PRICES {
                let options = Options { only: Some(only), ..Options::for_target(target) };
                let done = rewrite(case.circuit.clone(), &Request::default(), &options).unwrap();
                let used = done.report.fired.iter().any(|&(name, _)| name == only);
                if used && !done.report.unchanged {
                    changed += 1;
                    assert_same_function(&case, &done.circuit, only);
                }
            }
        }
        if changed == 0 {
            idle.push(only);
        }
    }
    assert_eq!(idle, [""; 0], "rules that changed no circuit");
}

#[test]
fn rewriting_twice_is_rewriting_once() {
    for seed in 0..60 {
        let case = case(seed);
        let options = Options::for_target(Target::CPU);
        let once = rewrite(case.circuit, &Request::default(), &options).unwrap().circuit;
        let twice = rewrite(once.clone(), &Request::default(), &options).unwrap();
        assert_eq!(twice.circuit.to_string(), once.to_string(), "seed {seed}");
        assert!(twice.report.unchanged, "seed {seed}\n{}", twice.report);
    }
}

#[test]
fn a_specialised_circuit_gives_what_the_whole_one_gives_for_the_query() {
    for seed in 0..60 {
        let case = case(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let given = rows(&case.circuit, &mut rng).remove(0);
        let mut request = Request::default();
        for (var, value) in case.circuit.variables().ids().zip(&given) {
            match (rng.random_range(0..3), value) {
                (0, _) => request.marginalize.push(var),
                (1, &Some(value)) => request.evidence.push((var, value)),
                _ => {}
            }
        }
        let options = Options::for_target(Target::CPU);
        let done = rewrite(case.circuit.clone(), &request, &options).unwrap().circuit;
        let values = case.values();
        let done_values = carried(&case.circuit, &values, &done);
        for mut row in rows(&case.circuit, &mut rng) {
            request.marginalize.iter().for_each(|&VarId(var)| row[var as usize] = None);
            for &(VarId(var), value) in &request.evidence {
                row[var as usize] = Some(value);
            }
            let a = reference::log_likelihood(&case.circuit, &values, &row);
            // What the request says of a variable holds whatever the row says.
            row.iter_mut().enumerate().for_each(|(var, value)| {
                if request.marginalize.contains(&VarId(var as u32)) {
                    *value = Some(0.0);
                }
            });
            let b = reference::log_likelihood(&done, &done_values, &row);
            assert!(a == b || (a - b).abs() <= 1e-12 * a.abs().max(1.0), "{}: {a} {b}", case.name);
        }
    }
}
