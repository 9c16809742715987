//! Random valid circuits, small enough to enumerate.
//!
//! About one in three is RAT-SPN-like; the others are DAGs that use everything a circuit may have:
//! regions shared by several parents, Hadamard and Kronecker products of two or three inputs, sums
//! over several inputs, mixing layers, tied weights and leaves, weights of every source (zero among
//! the given ones), leaves of every family. Everything is a function of the seed.

use std::collections::BTreeMap;

use pcc::circuit::{Circuit, Op, SourceMap, WeightSource, Weights, validate};
use pcc::ids::{DistId, NodeId, VarId, WeightsId};
use pcc::leaf::{Dist, Family};
use pcc::variables::{VarKind, Variables};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the variables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// 1 to 12 binary variables.
    Binary,
    /// 1 to 6 variables of two to four states.
    Discrete,
    /// 1 to 3 real variables.
    Real,
    /// 2 to 6 variables of any kind.
    Mixed,
}

/// Nodes from which on a circuit is finished in the plainest way.
const ENOUGH_NODES: usize = 60;
/// Units of a Kronecker product at most.
const MOST_PAIRS: u32 = 12;

/// A random circuit that `validate` accepts.
pub fn circuit(seed: u64, kinds: Kinds) -> Circuit {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let variables = variables(&mut rng, kinds);
    let rat_like = rng.random_ratio(1, 3);
    let mut builder = Builder {
        circuit: Circuit::new(variables),
        rng,
        regions: BTreeMap::new(),
        weights: BTreeMap::new(),
        dists: Vec::new(),
    };
    let root = if rat_like { builder.rat_like() } else { builder.dag() };
    builder.circuit.set_root(root);
    builder.circuit
}

fn variables(rng: &mut ChaCha8Rng, kinds: Kinds) -> Variables {
    let any = |rng: &mut ChaCha8Rng| match rng.random_range(0..4) {
        0 => VarKind::Real,
        1 => VarKind::BINARY,
        states => VarKind::Categorical { states: states + 1 },
    };
    let each: Vec<VarKind> = match kinds {
        Kinds::Binary => {
            // Mostly few, because enumeration doubles with each.
            let count = if rng.random_ratio(1, 16) { 12 } else { rng.random_range(1..=8) };
            return Variables::binary(count);
        }
        Kinds::Discrete => (0..rng.random_range(1..=6))
            .map(|_| VarKind::Categorical { states: rng.random_range(2..=4) })
            .collect(),
        Kinds::Real => return Variables::uniform(VarKind::Real, rng.random_range(1..=3)),
        Kinds::Mixed => (0..rng.random_range(2..=6)).map(|_| any(rng)).collect(),
    };
    Variables::named(each.into_iter().enumerate().map(|(at, kind)| (format!("v{at}"), kind)))
}

struct Builder {
    circuit: Circuit,
    rng: ChaCha8Rng,
    /// Regions made so far, by scope, for sharing.
    regions: BTreeMap<Vec<VarId>, Vec<NodeId>>,
    /// Weights of sum layers made so far, by shape, for tying.
    weights: BTreeMap<(u32, u32), Vec<WeightsId>>,
    /// Distributions made so far, for tying.
    dists: Vec<(VarKind, DistId)>,
}

impl Builder {
    /// Replicas with orders of their own, paired level by level, under a mixing layer.
    fn rat_like(&mut self) -> NodeId {
        let units = self.rng.random_range(1..=5);
        let mut roots = Vec::new();
        for _ in 0..self.rng.random_range(1..=3) {
            let mut order: Vec<VarId> = self.circuit.variables().ids().collect();
            order.shuffle(&mut self.rng);
            let mut level: Vec<NodeId> = order
                .into_iter()
                .map(|var| {
                    let leaf = self.leaf(var, units);
                    self.circuit.sum(units, &[leaf], WeightSource::Parameterizer)
                })
                .collect();
            while level.len() > 1 {
                let above = if level.len() <= 3 { 1 } else { units };
                level = pairs(&level)
                    .map(|inputs| {
                        let product = self.circuit.product(inputs);
                        self.circuit.sum(above, &[product], WeightSource::Parameterizer)
                    })
                    .collect();
            }
            roots.push(match self.circuit.units(level[0]) {
                1 => level[0],
                _ => self.circuit.sum(1, &level, WeightSource::Parameterizer),
            });
        }
        match roots[..] {
            [root] => root,
            _ => self.circuit.mixing(&roots, WeightSource::Direct),
        }
    }

    /// A root over a random region.
    fn dag(&mut self) -> NodeId {
        let everything: Vec<VarId> = self.circuit.variables().ids().collect();
        let units = self.units();
        let regions: Vec<NodeId> =
            (0..self.rng.random_range(1..=2)).map(|_| self.region(&everything, units)).collect();
        self.sum(1, &regions)
    }

    fn units(&mut self) -> u32 {
        self.rng.random_range(1..=5)
    }

    /// A region of exactly `units` units over a scope (ascending): one made before, or a new one.
    fn region(&mut self, scope: &[VarId], units: u32) -> NodeId {
        let full = self.circuit.node_count() > ENOUGH_NODES;
        let made = self.regions.get(scope).map_or(&[][..], Vec::as_slice);
        let fitting: Vec<NodeId> =
            made.iter().copied().filter(|&node| self.circuit.units(node) == units).collect();
        if let Some(&node) = fitting.choose(&mut self.rng)
            && (full || self.rng.random_ratio(1, 3))
        {
            return node;
        }
        let node = match scope {
            [var] => self.one_variable(*var, units),
            _ if full => self.hadamard(scope, units),
            _ => match self.rng.random_range(0..6) {
                0 | 1 => self.hadamard(scope, units),
                2 | 3 => self.kronecker(scope, units),
                4 => self.several(scope, units),
                _ => self.mixed(scope, units),
            },
        };
        self.regions.entry(scope.to_vec()).or_default().push(node);
        node
    }

    /// A leaf, or a sum over one or two.
    fn one_variable(&mut self, var: VarId, units: u32) -> NodeId {
        let leaf = self.leaf(var, units);
        if self.circuit.units(leaf) == units && self.rng.random() {
            return leaf;
        }
        let mut inputs = vec![leaf];
        if self.rng.random_ratio(1, 4) {
            let more = self.units();
            inputs.push(self.leaf(var, more));
        }
        self.sum(units, &inputs)
    }

    fn hadamard(&mut self, scope: &[VarId], units: u32) -> NodeId {
        let inputs: Vec<NodeId> =
            self.split(scope).iter().map(|part| self.region(part, units)).collect();
        let product = self.circuit.product(&inputs);
        if self.rng.random() { self.sum(units, &[product]) } else { product }
    }

    fn kronecker(&mut self, scope: &[VarId], units: u32) -> NodeId {
        let parts = self.split(scope);
        let mut room = MOST_PAIRS;
        let mut inputs = Vec::new();
        for part in &parts {
            let width = self.rng.random_range(1..=room.min(5));
            room /= width;
            inputs.push(self.region(part, width));
        }
        let product = self.circuit.kronecker(&inputs);
        self.sum(units, &[product])
    }

    /// A sum over several inputs of any width.
    fn several(&mut self, scope: &[VarId], units: u32) -> NodeId {
        let inputs: Vec<NodeId> = (0..self.rng.random_range(2..=3))
            .map(|_| {
                let width = self.units();
                self.region(scope, width)
            })
            .collect();
        self.sum(units, &inputs)
    }

    fn mixed(&mut self, scope: &[VarId], units: u32) -> NodeId {
        let count = self.rng.random_range(2..=3);
        let inputs: Vec<NodeId> = (0..count).map(|_| self.region(scope, units)).collect();
        let source = match self.source(units, count) {
            // Mixing layers are direct whatever the parameterizer.
            WeightSource::Parameterizer => WeightSource::Direct,
            source => source,
        };
        self.circuit.mixing(&inputs, source)
    }

    /// Two or three parts of a scope, none empty, each ascending.
    fn split(&mut self, scope: &[VarId]) -> Vec<Vec<VarId>> {
        let mut shuffled = scope.to_vec();
        shuffled.shuffle(&mut self.rng);
        let count = self.rng.random_range(2..=scope.len().min(3));
        let mut cuts = vec![0; count];
        // One variable each first, the rest anywhere.
        for at in 0..scope.len() {
            let part = if at < count { at } else { self.rng.random_range(0..count) };
            cuts[part] += 1;
        }
        let mut rest = shuffled.as_slice();
        cuts.into_iter()
            .map(|len| {
                let (part, after) = rest.split_at(len);
                rest = after;
                let mut part = part.to_vec();
                part.sort_unstable();
                part
            })
            .collect()
    }

    /// A sum layer, its weights now and then tied to those of another of its shape.
    fn sum(&mut self, units: u32, inputs: &[NodeId]) -> NodeId {
        let cols = inputs.iter().map(|&input| self.circuit.units(input)).sum();
        let made = self.weights.get(&(units, cols)).map_or(&[][..], Vec::as_slice);
        let weights = match made.choose(&mut self.rng) {
            Some(&weights) if self.rng.random_ratio(1, 4) => weights,
            _ => {
                let source = self.source(units, cols);
                let weights = Weights { rows: units, cols, source };
                let weights = self.circuit.add_weights(weights);
                self.weights.entry((units, cols)).or_default().push(weights);
                weights
            }
        };
        self.circuit.add_over(Op::Sum { weights }, units, inputs)
    }

    fn source(&mut self, rows: u32, cols: u32) -> WeightSource {
        match self.rng.random_range(0..8) {
            0 => WeightSource::Direct,
            1 => WeightSource::Given(self.distributions(rows, cols)),
            2 => WeightSource::Frozen(self.distributions(rows, cols)),
            _ => WeightSource::Parameterizer,
        }
    }

    /// Rows that sum to one, about a fifth of their entries zero.
    fn distributions(&mut self, rows: u32, cols: u32) -> Vec<f64> {
        let mut all = Vec::new();
        for _ in 0..rows {
            let certain = self.rng.random_range(0..cols);
            let row: Vec<f64> = (0..cols)
                .map(|at| match at != certain && self.rng.random_ratio(1, 5) {
                    true => 0.0,
                    false => self.rng.random_range(0.1..1.0),
                })
                .collect();
            let sum: f64 = row.iter().sum();
            all.extend(row.into_iter().map(|w| w / sum));
        }
        all
    }

    /// A leaf of `units` units, or of as many as states where it is made of indicators.
    fn leaf(&mut self, var: VarId, units: u32) -> NodeId {
        let kind = self.circuit.variables().kind(var);
        let tied: Vec<DistId> =
            self.dists.iter().filter(|(of, _)| *of == kind).map(|&(_, dist)| dist).collect();
        let dist = match tied.choose(&mut self.rng) {
            Some(&dist)
                if self.rng.random_ratio(1, 6) && self.circuit.dists()[dist].units == units =>
            {
                dist
            }
            _ => {
                let dist = self.dist(kind, units);
                let dist = self.circuit.add_dist(dist);
                self.dists.push((kind, dist));
                dist
            }
        };
        self.circuit.leaf(var, dist)
    }

    fn dist(&mut self, kind: VarKind, units: u32) -> Dist {
        let family = match kind {
            VarKind::Real if self.rng.random() => Family::GAUSSIAN,
            VarKind::Real => Family::Gaussian { min_var: 0.3, max_var: 2.0 },
            VarKind::Categorical { states } => match self.rng.random_range(0..4) {
                0 | 1 => return Dist::indicators(states),
                2 if states == 2 => Family::Bernoulli,
                _ => Family::Categorical { states },
            },
        };
        let mut dist = Dist::learnable(family, units);
        if self.rng.random_ratio(1, 4) {
            dist.given = Some(self.natural(family, units));
            dist.frozen = self.rng.random();
        }
        dist
    }

    /// Parameters as a person writes them, impossible states among them.
    fn natural(&mut self, family: Family, units: u32) -> Vec<f64> {
        match family {
            Family::Indicators { .. } => Vec::new(),
            Family::Poisson => (0..units).map(|_| self.rng.random_range(0.1..9.0)).collect(),
            Family::Bernoulli | Family::Binomial { .. } => {
                let certain = [0.0, 1.0, 0.3, 0.8];
                (0..units).filter_map(|_| certain.choose(&mut self.rng).copied()).collect()
            }
            Family::Categorical { states } => self.distributions(units, states),
            Family::Gaussian { .. } => (0..units)
                .flat_map(|_| [self.rng.random_range(-2.0..2.0), self.rng.random_range(0.5..1.5)])
                .collect(),
        }
    }
}

/// Neighbours two by two, the last three together where the number is odd.
pub fn pairs(level: &[NodeId]) -> impl Iterator<Item = &[NodeId]> {
    let count = level.len() / 2;
    (0..count).map(move |at| {
        let end = if at + 1 == count { level.len() } else { 2 * at + 2 };
        &level[2 * at..end]
    })
}

/// What of the things that a circuit may have this one has.
fn features(circuit: &Circuit) -> Vec<&'static str> {
    let mut features = Vec::new();
    let mut weights_met = Vec::new();
    let mut dists_met = Vec::new();
    for node in circuit.nodes() {
        if circuit.parents(node).count() > 1 {
            features.push("shared node");
        }
        if circuit.inputs(node).count() > 2 {
            features.push("three inputs");
        }
        let op = circuit.op(node);
        features.push(match op {
            Op::Leaf { dist, .. } => circuit.dists()[dist].family.name(),
            Op::Given { .. } | Op::One => "specialised",
            Op::Product => "Hadamard",
            Op::Kronecker => "Kronecker",
            Op::Sum { .. } if circuit.inputs(node).count() > 1 => "sum over several",
            Op::Sum { .. } => "sum",
            Op::Mixing { .. } => "mixing",
        });
        if let Op::Leaf { dist, .. } = op {
            features.extend(dists_met.contains(&dist).then_some("tied leaf"));
            dists_met.push(dist);
        }
        if let Some(weights) = op.weights() {
            features.extend(weights_met.contains(&weights).then_some("tied weights"));
            weights_met.push(weights);
        }
    }
    for weights in circuit.weights().values() {
        features.push(match &weights.source {
            WeightSource::Parameterizer => "parameterized",
            WeightSource::Direct => "direct",
            WeightSource::Given(values) if values.contains(&0.0) => "zero weight",
            WeightSource::Given(_) => "given",
            WeightSource::Frozen(_) => "frozen",
        });
    }
    features
}

#[test]
fn random_circuits_have_all_that_a_circuit_may_have_again_and_again() {
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..200 {
        let of_one: std::collections::BTreeSet<_> =
            features(&circuit(seed, Kinds::Mixed)).into_iter().collect();
        of_one.into_iter().for_each(|feature| *met.entry(feature).or_default() += 1);
    }
    assert_eq!(met.len(), 18, "{met:?}");
    assert!(met.values().all(|&circuits| circuits >= 20), "{met:?}");
}

#[test]
fn a_random_circuit_is_a_function_of_its_seed() {
    let text = |seed| {
        let (circuit, _) = validate(circuit(seed, Kinds::Mixed), &SourceMap::default()).unwrap();
        format!("{circuit}\n{:?}\n{:?}", circuit.weights(), circuit.dists())
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}
