//! Means, variances and covariances given evidence: exact, by smoothness and decomposability.
//!
//! An induced tree parts two variables at exactly one product, and there they are independent. With m_u the
//! vector of means of a unit, and all means taken about those of the root, so that large means do not cancel,
//!
//! ```text
//! cov(xᵢ, xⱼ) = Σ over units u of products, a and b its factors with i below a and j below b:
//!               flow(u) · m_a[i] · m_b[j]
//! var(xᵢ)     = Σ over units u of leaves of i:  flow(u) · (variance of u + m_u[i]²)
//! ```
//!
//! One pass up makes the vectors, one pass down the flows, and then each product adds its outer products:
//! for n variables two passes, plus about n² / 2 multiply-adds for each unit of a replica, where computing
//! every E[xᵢ xⱼ] by a pass of its own would take n passes over all weights. The vectors take as many numbers
//! as the units' scopes have variables together.

use crate::circuit::Op;
use crate::ids::{Id, IdVec, NodeId, VarId};

use super::posterior::{PerUnit, Posterior, Terms};

/// Moments of some variables, categories standing for their numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The variables, in the order of the numbers.
    pub variables: Vec<VarId>,
    /// The mean of each.
    pub mean: Vec<f64>,
    /// The covariance of each two, [n, n], symmetric; variances on the diagonal. All that an observed
    /// variable has are zero.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// The covariance of the variables at two positions.
    pub fn covariance(&self, i: usize, j: usize) -> f64 {
        self.covariance[i * self.variables.len() + j]
    }
}

/// The moments of some variables, none named twice, given the evidence. Of a variable that is not
/// observed and on which the circuit does not depend, they are NaN.
pub fn moments(posterior: &Posterior<'_>, of: &[VarId]) -> Moments {
    let vectors = Vectors::new(posterior, of);
    let mean = vectors.root_means();
    let mut covariance = Covariance { n: of.len(), sums: vec![0.0; of.len() * of.len()] };
    let flows = posterior.flows();
    for &node in posterior.circuit().order() {
        match posterior.circuit().op(node) {
            Op::Leaf { .. } => vectors.add_leaf(node, &flows, &mean, &mut covariance),
            Op::Product | Op::Kronecker => {
                vectors.add_product(node, &flows, &mean, &mut covariance);
            }
            Op::Given { .. } | Op::One | Op::Sum { .. } | Op::Mixing { .. } => {}
        }
    }
    let unknown = |at: &usize| mean[*at].is_nan();
    for at in (0..of.len()).filter(unknown) {
        for other in 0..of.len() {
            covariance.sums[at * of.len() + other] = f64::NAN;
            covariance.sums[other * of.len() + at] = f64::NAN;
        }
    }
    Moments { variables: of.to_vec(), mean, covariance: covariance.sums }
}

/// Sums of products of deviations, [n, n].
struct Covariance {
    n: usize,
    sums: Vec<f64>,
}

impl Covariance {
    /// Adds to what two different variables have, both ways.
    fn add(&mut self, i: usize, j: usize, term: f64) {
        self.sums[i * self.n + j] += term;
        self.sums[j * self.n + i] += term;
    }
}

/// The means of every unit of one node.
#[derive(Clone, Default)]
struct NodeMeans {
    /// Positions of the variables in its scope, ascending.
    positions: Vec<usize>,
    /// [units, positions]; zero of units that are not possible.
    means: Vec<f64>,
}

impl NodeMeans {
    fn of(&self, unit: usize) -> &[f64] {
        &self.means[unit * self.positions.len()..][..self.positions.len()]
    }

    fn of_mut(&mut self, unit: usize) -> &mut [f64] {
        let len = self.positions.len();
        &mut self.means[unit * len..][..len]
    }
}

/// The means of every unit of every node.
struct Vectors<'a> {
    posterior: &'a Posterior<'a>,
    of: &'a [VarId],
    nodes: IdVec<NodeId, NodeMeans>,
}

impl<'a> Vectors<'a> {
    fn new(posterior: &'a Posterior<'a>, of: &'a [VarId]) -> Self {
        let circuit = posterior.circuit();
        let mut position_of = vec![None; circuit.variables().len()];
        of.iter().enumerate().for_each(|(at, var)| position_of[var.index()] = Some(at));
        let nodes = IdVec::filled(NodeMeans::default(), circuit.node_count());
        let mut vectors = Vectors { posterior, of, nodes };
        for &node in circuit.order() {
            vectors.nodes[node] = vectors.means(node, &position_of);
        }
        vectors
    }

    /// The means of one node, those of its inputs being there.
    fn means(&self, node: NodeId, position_of: &[Option<usize>]) -> NodeMeans {
        let circuit = self.posterior.circuit();
        let positions = match circuit.op(node) {
            Op::Leaf { var, .. } => position_of[var.index()].into_iter().collect(),
            Op::Given { .. } | Op::One => Vec::new(),
            Op::Product | Op::Kronecker => {
                let inputs = circuit.inputs(node);
                let mut all: Vec<usize> =
                    inputs.flat_map(|input| self.nodes[input].positions.clone()).collect();
                all.sort_unstable();
                all
            }
            // All inputs of a sum have one scope.
            Op::Sum { .. } | Op::Mixing { .. } => {
                let first = circuit.inputs(node).next();
                first.map(|input| self.nodes[input].positions.clone()).unwrap_or_default()
            }
        };
        let units = circuit.units(node) as usize;
        let means = vec![0.0; units * positions.len()];
        let mut made = NodeMeans { positions, means };
        if !made.positions.is_empty() {
            let terms = self.posterior.terms(node);
            let possible = (0..units).filter(|&unit| self.posterior.possible(node, unit));
            possible.for_each(|unit| match &terms {
                Some(terms) => self.mix(terms, unit, &mut made),
                None => self.fill(node, unit, &mut made),
            });
        }
        made
    }

    /// Writes the means of one possible unit of a node that is no sum.
    fn fill(&self, node: NodeId, unit: usize, made: &mut NodeMeans) {
        match self.posterior.circuit().op(node) {
            Op::Leaf { var, dist } => {
                let observed = self.posterior.observed(var).map(f64::from);
                let mean = || self.posterior.leaf(dist, unit).moments().0;
                made.of_mut(unit)[0] = observed.unwrap_or_else(mean);
            }
            Op::Product | Op::Kronecker => {
                for (input, of_input) in self.posterior.factors(node, unit) {
                    let below = &self.nodes[input];
                    for (position, mean) in below.positions.iter().zip(below.of(of_input)) {
                        if let Ok(at) = made.positions.binary_search(position) {
                            made.of_mut(unit)[at] = *mean;
                        }
                    }
                }
            }
            Op::Given { .. } | Op::One | Op::Sum { .. } | Op::Mixing { .. } => {}
        }
    }

    /// Writes the means of one possible unit of a sum or mixing layer.
    fn mix(&self, terms: &Terms<'_>, unit: usize, made: &mut NodeMeans) {
        for ((input, of_input), share) in terms.shares(unit) {
            let below = self.nodes[input].of(of_input);
            made.of_mut(unit).iter_mut().zip(below).for_each(|(m, of)| *m += share * of);
        }
    }

    /// The means at the root; of what it does not depend on the observed value, or NaN.
    fn root_means(&self) -> Vec<f64> {
        let observed = |&var: &VarId| self.posterior.observed(var).map_or(f64::NAN, f64::from);
        let mut mean: Vec<f64> = self.of.iter().map(observed).collect();
        let root = &self.nodes[self.posterior.circuit().root()];
        root.positions.iter().zip(root.of(0)).for_each(|(&at, &of)| mean[at] = of);
        mean
    }

    /// Adds what a leaf has of the variance of its variable.
    fn add_leaf(&self, node: NodeId, flows: &PerUnit<f64>, mean: &[f64], sums: &mut Covariance) {
        let made = &self.nodes[node];
        let Op::Leaf { var, dist } = self.posterior.circuit().op(node) else { return };
        let Some(&at) = made.positions.first() else { return };
        if self.posterior.observed(var).is_some() {
            return;
        }
        for unit in 0..self.posterior.circuit().units(node) as usize {
            let flow = *flows.at(node, unit);
            if flow > 0.0 {
                let variance = self.posterior.leaf(dist, unit).moments().1;
                let deviation = made.of(unit)[0] - mean[at];
                sums.sums[at * sums.n + at] += flow * (variance + deviation * deviation);
            }
        }
    }

    /// Adds what a product has of the covariances between variables of different factors.
    fn add_product(&self, node: NodeId, flows: &PerUnit<f64>, mean: &[f64], sums: &mut Covariance) {
        let circuit = self.posterior.circuit();
        let inputs: Vec<NodeId> = circuit.inputs(node).collect();
        let flowing: Vec<(f64, Vec<usize>)> = (0..circuit.units(node) as usize)
            .map(|unit| (*flows.at(node, unit), unit))
            .filter(|&(flow, _)| flow > 0.0)
            .map(|(flow, unit)| {
                (flow, self.posterior.factors(node, unit).map(|(_, unit)| unit).collect())
            })
            .collect();
        let is_over_some = |&at: &usize| !self.nodes[inputs[at]].positions.is_empty();
        let over: Vec<usize> = (0..inputs.len()).filter(is_over_some).collect();
        for (nth, &a) in over.iter().enumerate() {
            for &b in &over[nth + 1..] {
                let pairs = flowing.iter().map(|(flow, units)| (*flow, units[a], units[b]));
                self.add_pair([inputs[a], inputs[b]], pairs, mean, sums);
            }
        }
    }

    /// Adds the covariances between the variables of two factors, given the flow of each pair of their
    /// units that a product's unit makes. Pairs with one left unit share its outer product.
    fn add_pair(
        &self,
        [left, right]: [NodeId; 2],
        pairs: impl Iterator<Item = (f64, usize, usize)>,
        mean: &[f64],
        sums: &mut Covariance,
    ) {
        let (left_means, right_means) = (&self.nodes[left], &self.nodes[right]);
        let width = right_means.positions.len();
        let units = self.posterior.circuit().units(left) as usize;
        let mut weighed = vec![0.0; units * width];
        for (flow, a, b) in pairs {
            let row = &mut weighed[a * width..][..width];
            for ((sum, m), &at) in row.iter_mut().zip(right_means.of(b)).zip(&right_means.positions)
            {
                *sum += flow * (m - mean[at]);
            }
        }
        for (unit, row) in weighed.chunks_exact(width).enumerate() {
            if row.iter().all(|&sum| sum == 0.0) {
                continue;
            }
            for (m, &i) in left_means.of(unit).iter().zip(&left_means.positions) {
                let deviation = m - mean[i];
                for (sum, &j) in row.iter().zip(&right_means.positions) {
                    sums.add(i, j, deviation * sum);
                }
            }
        }
    }
}
