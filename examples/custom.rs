//! A parameterizer and a structure of one's own: compiled, trained and evaluated on made data.
//!
//! Run with `cargo run --release --example custom`.
//!
//! The parameterizer is a *rank-one* one. A sector of R rows and C columns has C logits that all its
//! rows share, each row turned up or down by a factor of its own: logit\[r\]\[c\] = u\[r\] · v\[c\], which is
//! R + C numbers in place of R · C. The structure is a chain: variable i, together with the hidden
//! state before it, leads to the variables after it.

use std::error::Error;
use std::sync::Arc;

use pcc::circuit::{Circuit, SourceMap, WeightSource};
use pcc::compile;
use pcc::data::Dataset;
use pcc::diag::Diagnostic;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::ids::{Id, NodeId, VarId};
use pcc::leaf::Dist;
use pcc::model::evaluate;
use pcc::param::direct::Direct;
use pcc::param::laws::check_parameterizer_laws;
use pcc::param::{Block, Bound, Generator, Init, OwnTensor, Parameterizer, Shape, TensorSpec};
use pcc::plan::{self, Purpose, Schedule, Sharing};
use pcc::real::Real;
use pcc::train::{self, Recipe, Splits, fit};
use pcc::variables::Variables;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Mixture weights from two vectors a sector.
#[derive(Debug)]
struct RankOne;

impl Parameterizer for RankOne {
    fn name(&self) -> &str {
        "RankOne"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        let mut offsets = vec![0];
        let mut total = 0;
        for shape in shapes {
            total += (shape.rows + shape.cols) as usize;
            offsets.push(total);
        }
        let spec = TensorSpec::new("factors", vec![total], Init::Normal(1.0));
        let factors = Factors { offsets: offsets.clone() };
        Ok(Bound {
            own: Some(OwnTensor { spec, offsets }),
            shared: Vec::new(),
            decay: 0.0,
            single: Box::new(factors.clone()),
            double: Box::new(factors),
            device: None,
        })
    }
}

/// Where the factors of each sector begin: first u, [rows], then v, [cols].
#[derive(Clone)]
struct Factors {
    offsets: Vec<usize>,
}

impl Factors {
    /// u and v of a sector.
    fn of<'a, T>(&self, own: &'a [T], sector: u32, shape: Shape) -> (&'a [T], &'a [T]) {
        let at = self.offsets[sector as usize];
        own[at..at + (shape.rows + shape.cols) as usize].split_at(shape.rows as usize)
    }
}

impl<T: Real> Generator<T> for Factors {
    fn scratch(&self, _sectors: usize) -> usize {
        0
    }

    fn logits(&self, own: &[T], _: &[T], block: Block<'_>, out: &mut [T], _: &mut [T]) {
        for (out, &sector) in out.chunks_exact_mut(block.shape.len()).zip(block.sectors) {
            let (u, v) = self.of(own, sector, block.shape);
            for (out, &u) in out.chunks_exact_mut(v.len()).zip(u) {
                out.iter_mut().zip(v).for_each(|(out, &v)| *out = u * v);
            }
        }
    }

    fn backward(
        &self,
        own: &[T],
        _shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        _d_shared: &mut [T],
        _scratch: &mut [T],
    ) {
        let Shape { rows, cols } = block.shape;
        let d_own = d_own.chunks_exact_mut((rows + cols) as usize);
        let d_logits = d_logits.chunks_exact(block.shape.len());
        for ((d_own, d_logits), &sector) in d_own.zip(d_logits).zip(block.sectors) {
            let (u, v) = self.of(own, sector, block.shape);
            let (d_u, d_v) = d_own.split_at_mut(rows as usize);
            d_v.fill(T::zero());
            for ((d_u, &u), d_logits) in d_u.iter_mut().zip(u).zip(d_logits.chunks_exact(v.len())) {
                *d_u = d_logits.iter().zip(v).fold(T::zero(), |sum, (&d, &v)| sum + d * v);
                d_v.iter_mut().zip(d_logits).for_each(|(d_v, &d)| *d_v += u * d);
            }
        }
    }
}

/// A chain of `length` binary variables with `states` hidden states before each.
fn chain(length: usize, states: u32) -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(length));
    let emission = |circuit: &mut Circuit, index: usize| -> NodeId {
        let dist = circuit.add_dist(Dist::indicators(2));
        let leaf = circuit.leaf(VarId::from_index(index), dist);
        circuit.sum(states, &[leaf], WeightSource::Parameterizer)
    };
    let mut rest = emission(&mut circuit, length - 1);
    for index in (0..length - 1).rev() {
        let here = emission(&mut circuit, index);
        let transition = circuit.sum(states, &[rest], WeightSource::Parameterizer);
        rest = circuit.product(&[here, transition]);
    }
    let root = circuit.sum(1, &[rest], WeightSource::Direct);
    circuit.set_root(root);
    circuit
}

/// Rows of bits in which each repeats the one before it four times out of five.
fn walk(variables: &Variables, rows: usize, seed: u64) -> Result<Dataset, Diagnostic> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let row = |_| {
        let mut bit = rng.random_bool(0.5);
        let next = |_| {
            bit ^= rng.random_bool(0.2);
            Some(f32::from(u8::from(bit)))
        };
        (0..variables.len()).map(next).collect()
    };
    Dataset::from_rows(variables, (0..rows).map(row))
}

/// What learning came to.
struct Learned {
    /// Numbers learned.
    learnable: usize,
    /// Mean log-likelihood of the test rows before and after, in nats.
    test_ll: [Option<f64>; 2],
}

/// Compiles the chain, learns from 2,000 rows and evaluates on 1,000 others.
fn learn(parameterizer: &dyn Parameterizer) -> Result<Learned, Box<dyn Error>> {
    let options = compile::Options::default();
    let compiled = compile::compile(chain(12, 4), &SourceMap::default(), parameterizer, &options)?;
    let compiled = Arc::new(compiled);
    let parameters = &compiled.parameters;
    let recipe = Recipe { steps: 600, batch: 100, rate: 2e-2, ..Recipe::default() };
    let how = plan::Options {
        purpose: Purpose::Train,
        schedule: Schedule::Wide,
        batch: 100,
        sharing: Sharing::WherePays,
    };
    let plan = plan::plan(&compiled.circuit, parameters, &how);
    let mut engine = CpuExecutable::new(Arc::clone(&compiled), plan, 0)?;

    let variables = compiled.written.variables();
    let (train, test) = (walk(variables, 2_000, 1)?, walk(variables, 1_000, 2)?);
    let initial = parameters.initial(&compiled.written, 0, None);
    engine.load(&initial);
    let before = evaluate(&mut engine, &test).ok().and_then(|evaluation| evaluation.mean_ll);
    let data = Splits { train: &train, valid: None, test: Some(&test) };
    let options = train::Options { recipe, ..train::Options::default() };
    let outcome = fit(&mut engine, parameters, initial, &data, &options, &mut ())?;
    let after = outcome.test.and_then(|evaluation| evaluation.mean_ll);
    Ok(Learned { learnable: parameters.learnable(), test_ll: [before, after] })
}

fn main() -> Result<(), Box<dyn Error>> {
    let shapes =
        [Shape { rows: 4, cols: 2 }, Shape { rows: 4, cols: 4 }, Shape { rows: 1, cols: 3 }];
    check_parameterizer_laws(&RankOne, &shapes)?;
    println!("RankOne keeps the laws of a parameterizer.");
    println!("entropy of the data: {:.3} nats", entropy(12));
    for parameterizer in [&RankOne as &dyn Parameterizer, &Direct] {
        let Learned { learnable, test_ll } = learn(parameterizer)?;
        let [before, after] = test_ll.map(|ll| ll.unwrap_or(f64::NEG_INFINITY));
        let name = parameterizer.name();
        println!("{name}: {learnable} parameters, test {before:.3} → {after:.3} nats");
    }
    Ok(())
}

/// Entropy of [`walk`], in nats: no model's mean log-likelihood is higher than its negative.
fn entropy(length: usize) -> f64 {
    let step = -(0.2 * 0.2_f64.ln() + 0.8 * 0.8_f64.ln());
    2.0_f64.ln() + (length - 1) as f64 * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameterizer_keeps_the_laws() {
        let shapes = [(4, 2), (4, 4), (1, 4), (4, 2), (1, 1)];
        let shapes = shapes.map(|(rows, cols)| Shape { rows, cols });
        assert_eq!(check_parameterizer_laws(&RankOne, &shapes), Ok(()));
    }

    #[test]
    fn the_chain_learns_nearly_all_there_is_with_fewer_parameters() {
        let [own, direct] = [&RankOne as &dyn Parameterizer, &Direct].map(|p| learn(p).unwrap());
        assert!(own.learnable < direct.learnable);
        let best = -entropy(12);
        for learned in [own, direct] {
            let [before, after] = learned.test_ll.map(Option::unwrap);
            // Two standard errors of the mean of 1,000 rows are about 0.1.
            assert!(before < best - 0.5 && after > best - 0.4, "{before} {after} {best}");
        }
    }
}
