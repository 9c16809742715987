//! What is proven, what is not although it holds, and what nearly holds; and that no proof is wrong.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::circuit::{SourceMap, ValidCircuit, validate};
use crate::variables::Variables;

/// A circuit of frozen numbers under construction.
struct Build(Circuit);

impl Build {
    /// Variables of so many states each.
    fn new(states: &[u32]) -> Self {
        let named = states.iter().enumerate();
        let named =
            named.map(|(var, &states)| (format!("x{var}"), VarKind::Categorical { states }));
        Build(Circuit::new(Variables::named(named)))
    }

    /// A leaf of so many units, a row of probabilities each.
    fn leaf(&mut self, var: u32, rows: &[&[f64]], frozen: bool) -> NodeId {
        let family = Family::Categorical { states: rows[0].len() as u32 };
        let given = Some(rows.concat());
        let dist = self.0.add_dist(Dist { family, units: rows.len() as u32, given, frozen });
        self.0.leaf(VarId(var), dist)
    }

    /// A leaf of one unit that allows some states, all equally likely.
    fn one_of(&mut self, var: u32, allowed: &[usize]) -> NodeId {
        let VarKind::Categorical { states } = self.0.variables().kind(VarId(var)) else {
            panic!("x{var} has no states");
        };
        let mut p = vec![0.0; states as usize];
        allowed.iter().for_each(|&state| p[state] = 1.0 / allowed.len() as f64);
        self.leaf(var, &[&p], true)
    }

    /// A leaf of one unit that anything but zero may become.
    fn any(&mut self, var: u32) -> NodeId {
        let VarKind::Categorical { states } = self.0.variables().kind(VarId(var)) else {
            panic!("x{var} has no states");
        };
        let dist = self.0.add_dist(Dist::learnable(Family::Categorical { states }, 1));
        self.0.leaf(VarId(var), dist)
    }

    /// A learnable sum of one unit.
    fn sum(&mut self, inputs: &[NodeId]) -> NodeId {
        self.0.sum(1, inputs, WeightSource::Parameterizer)
    }

    /// A sum over products of two nodes each.
    fn sum_of_pairs(&mut self, pairs: &[[NodeId; 2]]) -> NodeId {
        let products: Vec<NodeId> = pairs.iter().map(|pair| self.0.product(pair)).collect();
        self.sum(&products)
    }

    fn valid(mut self, root: NodeId) -> ValidCircuit {
        self.0.set_root(root);
        validate(self.0, &SourceMap::default()).unwrap_or_else(|faults| panic!("{faults}")).0
    }

    fn verdict(self, root: NodeId) -> Determinism {
        self.valid(root).properties().deterministic
    }
}

#[test]
fn inputs_that_differ_in_a_variable_are_proven_apart_and_one_shared_state_undoes_it() {
    for (first, second, expected) in [
        (&[0, 1][..], &[2, 3][..], Determinism::Proven),
        (&[0, 1], &[1, 2, 3], Determinism::Unknown),
        (&[3], &[3], Determinism::Unknown),
    ] {
        let mut b = Build::new(&[4, 2]);
        let (x, y) = (b.one_of(0, first), b.one_of(0, second));
        let (u, v) = (b.any(1), b.any(1));
        let root = b.sum_of_pairs(&[[x, u], [y, v]]);
        assert_eq!(b.verdict(root), expected, "{first:?}, {second:?}");
    }
}

#[test]
fn each_pair_of_inputs_is_compared_and_not_neighbours_alone() {
    for (third, expected) in [(2, Determinism::Proven), (0, Determinism::Unknown)] {
        let mut b = Build::new(&[3]);
        let leaves = [0, 1, third].map(|state| b.one_of(0, &[state]));
        let root = b.sum(&leaves);
        assert_eq!(b.verdict(root), expected, "{third}");
    }
}

#[test]
fn what_is_learned_restricts_nothing_even_if_it_begins_at_zero() {
    for (frozen, expected) in [(true, Determinism::Proven), (false, Determinism::Unknown)] {
        let mut b = Build::new(&[2]);
        let leaves = [b.leaf(0, &[&[1.0, 0.0]], true), b.leaf(0, &[&[0.0, 1.0]], frozen)];
        let root = b.sum(&leaves);
        assert_eq!(b.verdict(root), expected, "frozen leaf: {frozen}");
        let mut b = Build::new(&[2]);
        let leaves = [b.one_of(0, &[0]), b.one_of(0, &[0, 1])];
        let weights = vec![1.0, 0.0];
        let source =
            if frozen { WeightSource::Frozen(weights) } else { WeightSource::Given(weights) };
        let root = b.0.sum(1, &leaves, source);
        assert_eq!(b.verdict(root), expected, "frozen weights: {frozen}");
    }
}

#[test]
fn however_small_a_probability_is_its_state_is_in_the_support() {
    let mut b = Build::new(&[2]);
    let leaves = [b.leaf(0, &[&[1.0, 1e-300]], true), b.one_of(0, &[1])];
    let root = b.sum(&leaves);
    assert_eq!(b.verdict(root), Determinism::Unknown);
}

#[test]
fn inputs_may_differ_in_another_variable_each_but_must_differ() {
    // [a = 0] · [b = 1] and [a = 1] · [b = 0] exclude each other, [a = 0] and [b = 1] do not.
    for (b_of_first, a_of_second, expected) in
        [(&[1][..], &[1][..], Determinism::Proven), (&[0, 1], &[0, 1], Determinism::Unknown)]
    {
        let mut b = Build::new(&[2, 2]);
        let first = [b.one_of(0, &[0]), b.one_of(1, b_of_first)];
        let second = [b.one_of(0, a_of_second), b.one_of(1, &[0])];
        let root = b.sum_of_pairs(&[first, second]);
        assert_eq!(b.verdict(root), expected);
    }
}

#[test]
fn a_sum_anywhere_below_the_root_must_be_deterministic_too() {
    for (again, expected) in [(1, Determinism::Proven), (0, Determinism::Unknown)] {
        let mut b = Build::new(&[2, 2]);
        let inner = [b.one_of(1, &[0]), b.one_of(1, &[again])];
        let inner = b.sum(&inner);
        let (x, y, other) = (b.one_of(0, &[0]), b.one_of(0, &[1]), b.any(1));
        let root = b.sum_of_pairs(&[[x, inner], [y, other]]);
        assert_eq!(b.verdict(root), expected);
    }
}

#[test]
fn units_of_a_mixing_layer_are_looked_at_one_by_one() {
    for (last, expected) in [([0.0, 1.0], Determinism::Proven), ([1.0, 0.0], Determinism::Unknown)]
    {
        let mut b = Build::new(&[2, 2]);
        let left = b.leaf(0, &[&[1.0, 0.0], &[1.0, 0.0]], true);
        let right = b.leaf(0, &[&[0.0, 1.0], &last], true);
        let mixing = b.0.mixing(&[left, right], WeightSource::Direct);
        // One unit of the two, so that the layer alone decides.
        let picked = b.0.sum(1, &[mixing], WeightSource::Frozen(vec![1.0, 0.0]));
        let other = b.any(1);
        let root = b.0.product(&[picked, other]);
        assert_eq!(b.verdict(root), expected, "{last:?}");
    }
}

#[test]
fn pairs_of_units_are_numbered_as_the_circuit_numbers_them() {
    // Unit 1 of the pairs is [a = 1] · [b = 0], unit 2 [a = 0] · [b = 1, 2].
    let of = |weights: [f64; 6]| {
        let mut b = Build::new(&[2, 3]);
        let left = b.leaf(0, &[&[1.0, 0.0], &[0.0, 1.0]], true);
        let right = b.leaf(1, &[&[1.0, 0.0, 0.0], &[0.0, 0.5, 0.5], &[0.5, 0.5, 0.0]], true);
        let pairs = b.0.kronecker(&[left, right]);
        let root = b.0.sum(1, &[pairs], WeightSource::Frozen(weights.to_vec()));
        b.verdict(root)
    };
    assert_eq!(of([0.5, 0.0, 0.5, 0.0, 0.0, 0.0]), Determinism::Proven);
    assert_eq!(of([0.0, 0.5, 0.0, 0.0, 0.5, 0.0]), Determinism::Proven);
    assert_eq!(of([0.5, 0.0, 0.0, 0.0, 0.5, 0.0]), Determinism::Unknown);
    assert_eq!(of([0.0, 0.5, 0.5, 0.0, 0.0, 0.0]), Determinism::Proven);
    assert_eq!(of([0.0, 0.0, 0.5, 0.0, 0.5, 0.0]), Determinism::Unknown);
}

#[test]
fn of_two_states_beyond_the_63rd_nothing_is_concluded() {
    for (pair, expected) in [
        ([61, 62], Determinism::Proven),
        ([62, 63], Determinism::Proven),
        ([62, 99], Determinism::Proven),
        ([63, 64], Determinism::Unknown),
    ] {
        let mut b = Build::new(&[100]);
        let leaves = pair.map(|state| b.one_of(0, &[state]));
        let root = b.sum(&leaves);
        assert_eq!(b.verdict(root), expected, "{pair:?}");
    }
}

/// Even against odd parity of `n` bits: 2^(n−1) assignments each, no two of which are neighbours, so
/// that no cuboid holds more than one.
fn parity(n: u32) -> Determinism {
    let mut b = Build::new(&vec![2; n as usize]);
    let [mut even, mut odd] = [0, 1].map(|state| b.one_of(0, &[state]));
    for var in 1..n {
        let [zero, one] = [0, 1].map(|state| b.one_of(var, &[state]));
        (even, odd) = (
            b.sum_of_pairs(&[[zero, even], [one, odd]]),
            b.sum_of_pairs(&[[zero, odd], [one, even]]),
        );
    }
    let root = b.sum(&[even, odd]);
    b.verdict(root)
}

#[test]
fn a_support_of_too_many_cuboids_is_taken_for_the_one_around_them() {
    assert_eq!(MOST_CUBOIDS, 1 << 5);
    assert_eq!(parity(6), Determinism::Proven);
    assert_eq!(parity(7), Determinism::Unknown);
}

#[test]
fn the_work_is_bounded() {
    // Each of the inputs is compared with each before it: half of 4,000² pairs.
    for (count, expected) in [(500, Determinism::Proven), (4000, Determinism::Unknown)] {
        let mut b = Build::new(&[50, 80]);
        let nodes: Vec<NodeId> = (0..count)
            .map(|at| {
                let (x, y) = (b.one_of(0, &[at % 50]), b.one_of(1, &[at / 50]));
                b.0.product(&[x, y])
            })
            .collect();
        let root = b.sum(&nodes);
        let verdict = b.verdict(root);
        assert_eq!(verdict, expected, "{count}");
    }
}

#[test]
fn a_declaration_does_not_replace_a_proof() {
    let of = |second| {
        let mut b = Build::new(&[2]);
        let leaves = [b.one_of(0, &[0]), b.one_of(0, &[second])];
        let root = b.sum(&leaves);
        b.valid(root).declare_deterministic().properties().deterministic
    };
    assert_eq!(of(1), Determinism::Proven);
    assert_eq!(of(0), Determinism::Declared);
}

/// A random node over some variables: a leaf that allows some states, or a sum of products.
fn random(b: &mut Build, variables: &mut [u32], depth: u32, rng: &mut ChaCha8Rng) -> NodeId {
    if let &mut [var] = variables {
        let mut states = [0, 1, 2];
        states.shuffle(rng);
        let count = rng.random_range(1..=3);
        return b.one_of(var, &states[..count]);
    }
    let inputs = if depth == 0 { 1 } else { rng.random_range(1..=3) };
    let products: Vec<NodeId> = (0..inputs)
        .map(|_| {
            variables.shuffle(rng);
            let cut = rng.random_range(1..variables.len());
            let (left, right) = variables.split_at_mut(cut);
            let pair = [random(b, left, depth - 1, rng), random(b, right, depth - 1, rng)];
            b.0.product(&pair)
        })
        .collect();
    let weight = |_| if rng.random_bool(0.2) { 0.0 } else { 1.0 };
    let mut weights: Vec<f64> = products.iter().map(weight).collect();
    weights[0] = 1.0;
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= total);
    b.0.sum(1, &products, WeightSource::Frozen(weights))
}

/// By enumeration: whether for every assignment each sum has one non-zero input at most.
fn is_deterministic(circuit: &ValidCircuit, variables: u32) -> bool {
    (0..3usize.pow(variables)).all(|world| {
        let mut possible = IdVec::<NodeId, bool>::filled(false, circuit.node_count());
        circuit.order().iter().all(|&node| {
            let mut inputs = circuit.inputs(node).map(|input| possible[input]);
            let (value, fits) = match circuit.op(node) {
                Op::Leaf { var, dist } => {
                    let p = circuit.dists()[dist].given.as_deref().unwrap_or(&[]);
                    (p[world / 3usize.pow(var.0) % 3] > 0.0, true)
                }
                Op::Product => (inputs.all(|input| input), true),
                Op::Sum { weights } => {
                    let WeightSource::Frozen(weights) = &circuit.weights()[weights].source else {
                        panic!("the weights are frozen");
                    };
                    let weighed = inputs.zip(weights).filter(|&(input, &w)| input && w > 0.0);
                    let count = weighed.count();
                    (count > 0, count <= 1)
                }
                op => panic!("{op:?} was not made"),
            };
            possible[node] = value;
            fits
        })
    })
}

#[test]
fn no_proof_is_wrong_and_most_of_what_holds_is_proven() {
    let (mut proven, mut holds, mut fails) = (0, 0, 0);
    for seed in 0..4000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let variables = rng.random_range(2..=4);
        let mut b = Build::new(&vec![3; variables as usize]);
        let mut all: Vec<u32> = (0..variables).collect();
        let root = random(&mut b, &mut all, 3, &mut rng);
        let circuit = b.valid(root);
        match (circuit.properties().deterministic, is_deterministic(&circuit, variables)) {
            (Determinism::Proven, true) => proven += 1,
            (Determinism::Unknown, true) => holds += 1,
            (Determinism::Unknown, false) => fails += 1,
            (verdict, truth) => panic!("seed {seed}: {verdict:?}, in truth {truth}\n{circuit}"),
        }
    }
    assert!(
        proven > 500 && fails > 500,
        "{proven} proven, {holds} not proven, {fails} do not hold"
    );
    assert!(10 * holds < proven, "{proven} proven, {holds} not proven, {fails} do not hold");
}
