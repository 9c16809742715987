//! Each rule on a small circuit by hand, against a tiny evaluator; and what must not happen.

use super::*;
use crate::circuit::{Circuit, SourceMap, WeightSource, Weights, validate};
use crate::ids::{Id, IdVec, NodeId};
use crate::leaf::{Dist, Family};
use crate::variables::Variables;

/// Values of all units of the root, in the linear domain; learnable numbers come from a formula of
/// their place in the tables, which rewriting keeps.
fn evaluate(circuit: &ValidCircuit, row: &[Option<f32>]) -> f64 {
    let mut values = IdVec::<NodeId, Vec<f64>>::filled(Vec::new(), circuit.node_count());
    for &node in circuit.order() {
        let inputs: Vec<&Vec<f64>> = circuit.inputs(node).map(|input| &values[input]).collect();
        let units = circuit.units(node) as usize;
        let leaf = |dist: crate::ids::DistId, value| {
            let dist_of = &circuit.dists()[dist];
            let len = dist_of.family.raw_len();
            let raw: Vec<f64> = match dist_of.given_raw() {
                Some(raw) => raw,
                None => (0..units * len).map(|i| ((dist.0 * 7 + i as u32) as f64).sin()).collect(),
            };
            let unit =
                |unit: usize| dist_of.log_value(unit, &raw[unit * len..][..len], value).exp();
            (0..units).map(unit).collect()
        };
        values[node] = match circuit.op(node) {
            Op::Leaf { var, dist } => leaf(dist, row[var.index()]),
            Op::Given { dist, value } => leaf(dist, Some(value)),
            Op::One => vec![1.0; units],
            Op::Product => (0..units).map(|k| inputs.iter().map(|x| x[k]).product()).collect(),
            Op::Kronecker => inputs.iter().fold(vec![1.0], |pairs, x| {
                x.iter().flat_map(|b| pairs.iter().map(move |a| a * b)).collect()
            }),
            Op::Sum { weights } => {
                let all: Vec<f64> = inputs.iter().flat_map(|x| x.iter().copied()).collect();
                let weights = weights_of(circuit, weights);
                let dot = |row: &[f64]| row.iter().zip(&all).map(|(w, x)| w * x).sum();
                weights.chunks(all.len()).map(dot).collect()
            }
            Op::Mixing { weights } => {
                let weights = weights_of(circuit, weights);
                let row = |k: usize| &weights[k * inputs.len()..][..inputs.len()];
                (0..units)
                    .map(|k| row(k).iter().zip(&inputs).map(|(w, x)| w * x[k]).sum())
                    .collect()
            }
        };
    }
    values[circuit.root()][0]
}

fn weights_of(circuit: &Circuit, id: crate::ids::WeightsId) -> Vec<f64> {
    let Weights { cols, source, .. } = &circuit.weights()[id];
    match source {
        WeightSource::Frozen(values) | WeightSource::Given(values) => values.clone(),
        _ => {
            let raw = |i: usize| 1.0 + ((id.0 * 31 + i as u32) as f64).cos();
            let raw: Vec<f64> = (0..circuit.weights()[id].len()).map(raw).collect();
            let normalised = |row: &[f64]| {
                let total: f64 = row.iter().sum();
                row.iter().map(|w| w / total).collect::<Vec<_>>()
            };
            raw.chunks(*cols as usize).flat_map(normalised).collect()
        }
    }
}

/// A circuit over binary variables under construction.
struct Build(Circuit);

impl Build {
    fn new(variables: usize) -> Self {
        Build(Circuit::new(Variables::binary(variables)))
    }

    fn leaf(&mut self, var: u32, units: u32) -> NodeId {
        let dist = self.0.add_dist(Dist::learnable(Family::Bernoulli, units));
        self.0.leaf(VarId(var), dist)
    }

    fn leaves(&mut self, vars: std::ops::Range<u32>, units: u32) -> Vec<NodeId> {
        vars.map(|var| self.leaf(var, units)).collect()
    }

    fn done(mut self, root: NodeId) -> ValidCircuit {
        self.0.set_root(root);
        validate(self.0, &SourceMap::default()).expect("valid").0
    }
}

fn frozen(values: &[f64]) -> WeightSource {
    WeightSource::Frozen(values.to_vec())
}

fn options() -> Options {
    Options::for_target(Target::CPU)
}

/// All rows of binary variables, values missing too.
fn rows(variables: usize) -> Vec<Vec<Option<f32>>> {
    let symbols = [None, Some(0.0), Some(1.0)];
    (0..3usize.pow(variables as u32))
        .map(|row| (0..variables).map(|var| symbols[row / 3usize.pow(var as u32) % 3]).collect())
        .collect()
}

/// Rewrites, and checks the function, the tables, the cost and idempotence.
fn check(circuit: ValidCircuit) -> Rewritten {
    let before = circuit.clone();
    let done = rewrite(circuit, &Request::default(), &options()).expect("rewritten");
    for row in rows(before.variables().len()) {
        let [a, b] = [&before, &done.circuit].map(|circuit| evaluate(circuit, &row));
        assert!((a - b).abs() <= 1e-12 * a, "{row:?}: {a} is not {b}\n{}", done.report);
    }
    let own = before.weights().len();
    assert_eq!(&done.circuit.weights().as_slice()[..own], before.weights().as_slice());
    assert_eq!(done.circuit.dists().as_slice(), before.dists().as_slice());
    let prices = [&done.report.before, &done.report.after].map(|s| s.cost.total(&options().target));
    assert!(done.report.unchanged || prices[1] < prices[0], "{}", done.report);
    let again = rewrite(done.circuit.clone(), &Request::default(), &options()).expect("rewritten");
    assert_eq!(again.circuit.to_string(), done.circuit.to_string());
    assert!(again.report.unchanged);
    done
}

fn fired(done: &Rewritten) -> Vec<&'static str> {
    done.report.fired.iter().map(|&(name, _)| name).collect()
}

#[test]
fn nested_products_become_one() {
    let mut b = Build::new(4);
    let x = b.leaves(0..4, 1);
    let left = b.0.product(&x[..2]);
    let right = b.0.product(&x[2..]);
    let root = b.0.product(&[left, right]);
    let done = check(b.done(root));
    insta::assert_snapshot!(done.report, @r"
    before: nodes=7 edges=6 einsums=0
      multiply-adds=3 value-bytes=52 weight-bytes=0 launches=3
      circuit variables=4 nodes=7 edges=6 root=n6
      n0 leaf x0 Bernoulli d0 units=1 scope=1
      n1 leaf x1 Bernoulli d1 units=1 scope=1
      n4 product(n0, n1) units=1 scope=2
      n2 leaf x2 Bernoulli d2 units=1 scope=1
      n3 leaf x3 Bernoulli d3 units=1 scope=1
      n5 product(n2, n3) units=1 scope=2
      n6 product(n4, n5) units=1 scope=4
    after: nodes=5 edges=4 einsums=0
      multiply-adds=3 value-bytes=36 weight-bytes=0 launches=1
      circuit variables=4 nodes=5 edges=4 root=n4
      n0 leaf x0 Bernoulli d0 units=1 scope=1
      n1 leaf x1 Bernoulli d1 units=1 scope=1
      n2 leaf x2 Bernoulli d2 units=1 scope=1
      n3 leaf x3 Bernoulli d3 units=1 scope=1
      n4 product(n0, n1, n2, n3) units=1 scope=4
    rounds=1 islands=1 e-graphs=1 stop=saturated extraction=exact
    fired flatten-products × 3
    ");
}

#[test]
fn nested_frozen_sums_become_one_of_the_product_of_their_matrices() {
    let mut b = Build::new(1);
    let x = b.leaf(0, 4);
    let inner = b.0.sum(4, &[x], frozen(&[0.25; 16]));
    let root = b.0.sum(1, &[inner], frozen(&[0.1, 0.2, 0.3, 0.4]));
    let done = check(b.done(root));
    assert_eq!(fired(&done), ["collapse-sums"]);
    assert_eq!(done.report.after.nodes, 2);
}

#[test]
fn learnable_sums_are_left_alone() {
    let mut b = Build::new(1);
    let x = b.leaf(0, 4);
    let inner = b.0.sum(4, &[x], WeightSource::Parameterizer);
    let root = b.0.sum(1, &[inner], frozen(&[0.1, 0.2, 0.3, 0.4]));
    let done = check(b.done(root));
    assert!(done.report.unchanged, "{}", done.report);
    assert_eq!(fired(&done), [""; 0]);
}

#[test]
fn a_query_keeps_only_what_it_needs() {
    let mut b = Build::new(3);
    let x = b.leaves(0..3, 2);
    let left = b.0.kronecker(&x[..2]);
    let sum = b.0.sum(2, &[left], WeightSource::Parameterizer);
    let product = b.0.product(&[sum, x[2]]);
    let root = b.0.sum(1, &[product], WeightSource::Parameterizer);
    let circuit = b.done(root);
    let request =
        Request { marginalize: vec![VarId(0), VarId(1)], evidence: vec![(VarId(2), 1.0)] };
    let done = rewrite(circuit.clone(), &request, &options()).expect("rewritten");
    let [a, b] = [(&circuit, Some(1.0)), (&done.circuit, None)]
        .map(|(circuit, value)| evaluate(circuit, &[None, None, value]));
    assert!((a - b).abs() <= 1e-15, "{a} {b}");
    insta::assert_snapshot!(done.circuit, @r"
    circuit variables=3 nodes=2 edges=1 root=n1
    n0 given d2 = 1 units=2 scope=0
    n1 sum w1(n0) units=1 scope=0
    ");
}

#[test]
fn a_one_of_several_units_keeps_its_place_among_pairs() {
    let mut b = Build::new(2);
    let x = b.leaves(0..2, 2);
    let pairs = b.0.kronecker(&x);
    let root = b.0.sum(1, &[pairs], WeightSource::Parameterizer);
    let circuit = b.done(root);
    let request = Request { marginalize: vec![VarId(0)], evidence: vec![] };
    let done = rewrite(circuit.clone(), &request, &options()).expect("rewritten");
    for value in [Some(0.0), Some(1.0), None] {
        let [a, b] = [&circuit, &done.circuit].map(|c| evaluate(c, &[None, value]));
        assert!((a - b).abs() <= 1e-15, "{a} {b}");
    }
    assert!(done.circuit.nodes().any(|node| done.circuit.op(node) == Op::One));
}

#[test]
fn summing_everything_out_leaves_a_one() {
    let mut b = Build::new(2);
    let x = b.leaves(0..2, 1);
    let root = b.0.product(&x);
    let request = Request { marginalize: vec![VarId(0), VarId(1)], evidence: vec![] };
    let done = rewrite(b.done(root), &request, &options()).expect("rewritten");
    assert_eq!(done.circuit.node_count(), 1);
    assert_eq!(done.circuit.op(done.circuit.root()), Op::One);
}

#[test]
fn a_request_that_makes_no_sense_is_refused_with_all_its_faults() {
    let mut b = Build::new(2);
    let x = b.leaves(0..2, 1);
    let root = b.0.product(&x);
    let request = Request {
        marginalize: vec![VarId(0), VarId(7)],
        evidence: vec![(VarId(0), 1.0), (VarId(1), 2.0)],
    };
    let faults = rewrite(b.done(root), &request, &options()).expect_err("refused");
    let text: Vec<String> =
        faults.iter().map(|fault| format!("{} {}", fault.code, fault.message)).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    E0115 the circuit has no variable x7
    E0106 the query names variable `x0` twice
    E0502 variable `x1` is binary and cannot be 2
    ");
}

#[test]
fn a_common_factor_of_learnable_sums_is_taken_out() {
    let mut b = Build::new(2);
    let c = b.leaf(0, 3);
    let [x, y] = [b.leaf(1, 3), b.leaf(1, 3)];
    let products = [b.0.product(&[c, x]), b.0.product(&[y, c])];
    let mixing = b.0.mixing(&products, WeightSource::Parameterizer);
    let root = b.0.sum(1, &[mixing], WeightSource::Parameterizer);
    let done = check(b.done(root));
    assert_eq!(fired(&done), ["factor-mixing"]);
    insta::assert_snapshot!(done.report, @r"
    before: nodes=7 edges=7 einsums=0
      multiply-adds=15 value-bytes=160 weight-bytes=36 launches=4
      circuit variables=2 nodes=7 edges=7 root=n6
      n0 leaf x0 Bernoulli d0 units=3 scope=1
      n1 leaf x1 Bernoulli d1 units=3 scope=1
      n3 product(n0, n1) units=3 scope=2
      n2 leaf x1 Bernoulli d2 units=3 scope=1
      n4 product(n2, n0) units=3 scope=2
      n5 mixing w0(n3, n4) units=3 scope=2
      n6 sum w1(n5) units=1 scope=2
    after: nodes=6 edges=5 einsums=0
      multiply-adds=12 value-bytes=124 weight-bytes=36 launches=3
      circuit variables=2 nodes=6 edges=5 root=n5
      n0 leaf x0 Bernoulli d0 units=3 scope=1
      n1 leaf x1 Bernoulli d1 units=3 scope=1
      n2 leaf x1 Bernoulli d2 units=3 scope=1
      n3 mixing w0(n1, n2) units=3 scope=1
      n4 product(n0, n3) units=3 scope=2
      n5 sum w1(n4) units=1 scope=2
    rounds=1 islands=1 e-graphs=1 stop=saturated extraction=exact
    fired factor-mixing × 1
    ");
}

#[test]
fn islands_of_one_form_share_one_graph() {
    let mut b = Build::new(6);
    let mut parts = Vec::new();
    for var in 0..6 {
        let x = b.leaf(var, 1);
        let one = b.0.sum(1, &[x], WeightSource::Parameterizer);
        parts.push(b.0.sum(1, &[one], WeightSource::Parameterizer));
    }
    let root = b.0.kronecker(&parts);
    let limits = Limits { island: 4, ..options().limits };
    let options = Options { limits, only: Some("identity-sum"), ..options() };
    let done = rewrite(b.done(root), &Request::default(), &options).expect("rewritten");
    assert_eq!(done.report.after.nodes, 7);
    assert!(done.report.graphs < done.report.islands, "{}", done.report);
}

#[test]
fn frozen_rows_that_sum_to_one_only_roughly_are_not_multiplied_beyond_the_tolerance() {
    let mut b = Build::new(1);
    let third = 0.3333331;
    let x = [b.leaf(0, 1), b.leaf(0, 1), b.leaf(0, 1)];
    let inner = b.0.sum(3, &x, frozen(&[third; 9]));
    let root = b.0.sum(1, &[inner], frozen(&[third; 3]));
    let done = check(b.done(root));
    assert!(done.report.unchanged, "{}", done.report);
}

#[test]
fn frozen_weights_whose_product_single_precision_cannot_hold_are_not_multiplied() {
    for (small, fires) in [(1e-18, true), (1e-20, false), (0.0, true)] {
        let mut b = Build::new(1);
        let x = [b.leaf(0, 1), b.leaf(0, 1)];
        let inner = b.0.sum(1, &x, frozen(&[1.0 - small, small]));
        let root = b.0.sum(1, &[x[0], inner], frozen(&[1.0 - small, small]));
        let done = check(b.done(root));
        assert_eq!(!done.report.unchanged, fires, "{small}: {}", done.report);
    }
}
