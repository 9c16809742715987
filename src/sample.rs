//! Sampling from a circuit, with and without evidence: exact, top down.
//!
//! From the root, a sum picks one of its terms and a product follows all its factors, down to leaves
//! that draw values: the *induced tree* of the sample. Without evidence every unit is a normalised
//! distribution, so a term is picked with its weight and nothing outside the tree is looked at. With
//! evidence a term is picked with its weight times its value under the evidence, of which one forward
//! pass by the oracle is taken for any number of samples.
//!
//! This is the walk over the circuit as written. Engines draw the same way down their plans, some hundred
//! times faster: [`Executable::draws`](crate::engine::Executable::draws).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::circuit::{Op, ValidCircuit, Values};
use crate::engine::reference::{self, Forward, factors, raw, terms, weights_of};
use crate::ids::{Id, NodeId};

/// Draws rows that agree with some evidence. What does not depend on the sample is done once, in
/// [`Sampler::new`]: many samples should come from one sampler.
pub struct Sampler<'a> {
    circuit: &'a ValidCircuit,
    values: &'a Values<f64>,
    /// An entry a variable; `None` is drawn.
    evidence: &'a [Option<f32>],
    /// Values under the evidence; `None` without evidence, when all are one.
    forward: Option<Forward>,
}

impl<'a> Sampler<'a> {
    /// `evidence` has an entry a variable, `None` for those to be drawn. `None` if the evidence is
    /// impossible: has probability zero.
    pub fn new(
        circuit: &'a ValidCircuit,
        values: &'a Values<f64>,
        evidence: &'a [Option<f32>],
    ) -> Option<Self> {
        // A leaf that has been given its value is evidence too.
        let specialised =
            || circuit.order().iter().any(|&n| matches!(circuit.op(n), Op::Given { .. }));
        let informed = evidence.iter().any(Option::is_some) || specialised();
        let forward = informed.then(|| reference::forward(circuit, values, evidence));
        let impossible =
            forward.as_ref().is_some_and(|forward| forward.log_likelihood() == f64::NEG_INFINITY);
        (!impossible).then_some(Sampler { circuit, values, evidence, forward })
    }

    /// Draws one row: the evidence, and a value for each variable it leaves open. A variable that the
    /// circuit no longer depends on, and that is not in the evidence, is NaN.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<f32> {
        let mut row: Vec<f32> =
            self.evidence.iter().map(|value| value.unwrap_or(f32::NAN)).collect();
        self.draw_into(&mut row, rng);
        row
    }

    /// ln p of the evidence, in nats.
    pub fn log_evidence(&self) -> f64 {
        // Without any, all values are one.
        self.forward.as_ref().map_or(0.0, Forward::log_likelihood)
    }

    /// Draws `n` rows, [n, variables] row-major, each with random numbers of its own.
    pub fn draw_rows(&self, n: usize, rng: impl Fn(u64) -> RowRng + Sync) -> Vec<f32> {
        let width = self.evidence.len();
        let blank: Vec<f32> = self.evidence.iter().map(|value| value.unwrap_or(f32::NAN)).collect();
        let mut rows = blank.repeat(n);
        if width > 0 {
            rows.par_chunks_exact_mut(width)
                .enumerate()
                .for_each(|(number, row)| self.draw_into(row, &mut rng(number as u64)));
        }
        rows
    }

    /// Overwrites the open entries of `row`.
    fn draw_into(&self, row: &mut [f32], rng: &mut impl Rng) {
        let circuit = self.circuit;
        let mut open = vec![(circuit.root(), 0)];
        while let Some((node, unit)) = open.pop() {
            match circuit.op(node) {
                Op::Leaf { var, dist } => {
                    if self.evidence[var.index()].is_none() {
                        let array = &circuit.dists()[dist];
                        let raw = raw(circuit, self.values, dist, unit);
                        row[var.index()] = array.sample(unit, raw, rng);
                    }
                }
                Op::Given { .. } | Op::One => {}
                Op::Product | Op::Kronecker => open.extend(factors(circuit, node, unit)),
                Op::Sum { weights } | Op::Mixing { weights } => {
                    let weights = weights_of(circuit, self.values, weights, unit);
                    open.extend(self.pick(node, unit, weights, rng));
                }
            }
        }
    }

    /// One of the terms of a unit of a sum that has a value above zero.
    fn pick(
        &self,
        node: NodeId,
        unit: usize,
        weights: &[f64],
        rng: &mut impl Rng,
    ) -> Option<(NodeId, usize)> {
        // With evidence: the term's share of this unit's value, so that shares sum to one here too.
        let share = |input, unit_of_input, w: f64| match &self.forward {
            Some(forward) => {
                let term = w.ln() + forward.log_value(input, unit_of_input);
                (term - forward.log_value(node, unit)).exp()
            }
            None => w,
        };
        let mut left: f64 = rng.random();
        let mut last = None;
        for ((input, unit), &w) in terms(self.circuit, node, unit).zip(weights) {
            let share = share(input, unit, w);
            if share > 0.0 {
                last = Some((input, unit));
                if left < share {
                    return last;
                }
                left -= share;
            }
        }
        // Rounding may leave a remainder, which falls to the last possible term.
        last
    }
}

/// Draws one row that agrees with the evidence; see [`Sampler`]. `None` if that is impossible.
pub fn sample(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    evidence: &[Option<f32>],
    rng: &mut impl Rng,
) -> Option<Vec<f32>> {
    Some(Sampler::new(circuit, values, evidence)?.draw(rng))
}

/// Draws `n` rows that agree with the evidence, [n, variables] row-major. `None` if that is
/// impossible. Row i is drawn by [`row_rng`]`(seed, i)`, so the rows depend neither on one another nor
/// on the number of threads.
pub fn sample_rows(
    circuit: &ValidCircuit,
    values: &Values<f64>,
    evidence: &[Option<f32>],
    n: usize,
    seed: u64,
) -> Option<Vec<f32>> {
    let sampler = Sampler::new(circuit, values, evidence)?;
    Some(sampler.draw_rows(n, |row| row_rng(seed, row)))
}

/// A generator of random numbers that counts: each row has a stream of its own.
pub type RowRng = ChaCha8Rng;

/// The random numbers of one row: a stream of its own.
pub fn row_rng(seed: u64, row: u64) -> RowRng {
    let mut rng = RowRng::seed_from_u64(seed);
    rng.set_stream(row);
    rng
}
