//! The laws of a parameterizer, for the tests of whoever writes one.
//!
//! [`check_parameterizer_laws`] binds a parameterizer to sectors of given shapes, draws its tensors
//! as they begin, and checks that
//!
//! 1. binding twice fixes the same tensors, and the own tensor has a row for each sector;
//! 2. every logit is written, and is finite;
//! 3. a second call, on scratch full of NaN, gives the same numbers bit for bit: no hidden state;
//! 4. a sector has the same logits, and the same gradient by its own row, in a block by itself as
//!    among all of its shape, bit for bit in double precision;
//! 5. the gradient by own rows is written over what was there, that by shared tensors is added to it;
//! 6. the gradient equals central differences of the logits in double precision, tensor by tensor;
//! 7. single precision agrees with double;
//! 8. on tiles it makes the same numbers, bit for bit, if it works on such.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Block, Bound, Generator, Parameterizer, Shape, TensorSet, TensorSpec};
use crate::ids::IdVec;
use crate::real::Real;
use crate::simd::LANES;

/// Largest difference between the precisions, relative to the largest number beside it or to one.
const SINGLE_TOLERANCE: f64 = 1e-4;
/// The same between the gradient and central differences: their truncation and rounding.
const DIFFERENCE_TOLERANCE: f64 = 1e-6;
/// The same between sums taken in another order in double precision.
const ORDER_TOLERANCE: f64 = 1e-11;
/// Half the step of central differences.
const STEP: f64 = 1e-6;

/// Checks the laws of this module for sectors of these shapes. Shapes of different sizes, and counts
/// around powers of two, find more faults.
///
/// # Errors
/// The first law that does not hold, in one sentence.
pub fn check_parameterizer_laws(
    parameterizer: &dyn Parameterizer,
    shapes: &[Shape],
) -> Result<(), String> {
    let name = parameterizer.name();
    let bind = || parameterizer.bind(shapes).map_err(|fault| format!("{name}: {fault}"));
    let (bound, again) = (bind()?, bind()?);
    check_binding(&bound, &again, shapes.len()).map_err(|fault| format!("{name}: {fault}"))?;
    let tensors = Tensors::draw(&bound);
    let double = Subject::new(bound.double.as_ref(), &bound, tensors.clone());
    let single = Subject::new(bound.single.as_ref(), &bound, tensors.rounded());
    for (shape, sectors) in blocks(shapes) {
        let block = Block { shape, sectors: &sectors };
        let check = || -> Result<(), String> {
            double.check_calls(block)?;
            single.check_calls(block)?;
            double.check_tiles(block)?;
            single.check_tiles(block)?;
            double.check_blocking(block)?;
            double.check_differences(block)?;
            check_precisions(&single, &double, block)
        };
        check().map_err(|fault| format!("{name}, sectors of {shape}: {fault}"))?;
    }
    Ok(())
}

/// The ordinals of each shape.
fn blocks(shapes: &[Shape]) -> BTreeMap<Shape, Vec<u32>> {
    let mut blocks: BTreeMap<Shape, Vec<u32>> = BTreeMap::new();
    for (ordinal, &shape) in (0..).zip(shapes) {
        blocks.entry(shape).or_default().push(ordinal);
    }
    blocks
}

fn check_binding(bound: &Bound, again: &Bound, sectors: usize) -> Result<(), String> {
    let specs = |bound: &Bound| (bound.own.clone().map(|own| own.spec), bound.shared.clone());
    ensure(specs(bound) == specs(again), "binding twice fixes different tensors")?;
    let Some(own) = &bound.own else { return Ok(()) };
    ensure(
        own.offsets.len() == sectors + 1,
        "the own tensor needs an offset a sector and one more",
    )?;
    ensure(own.offsets.is_sorted(), "rows of the own tensor overlap")?;
    ensure(own.offsets[sectors] == own.spec.len(), "rows do not end where the own tensor does")
}

fn ensure(holds: bool, message: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message.into()) }
}

/// Fails where two lists differ by more than the tolerance, relative to the largest number or one.
fn ensure_close<A: Real, B: Real>(
    left: &[A],
    right: &[B],
    tolerance: f64,
    message: &str,
) -> Result<(), String> {
    let scale = right.iter().fold(1.0, |scale: f64, value| scale.max(value.double().abs()));
    for (at, (left, right)) in left.iter().zip(right).enumerate() {
        let error = (left.double() - right.double()).abs();
        if error.is_nan() || error > tolerance * scale {
            return Err(format!("{message} (at {at}: {left} and {right})"));
        }
    }
    Ok(())
}

/// Values of all tensors.
#[derive(Clone)]
struct Tensors<T> {
    own: Vec<T>,
    shared: Vec<T>,
}

impl Tensors<f64> {
    fn draw(bound: &Bound) -> Self {
        let draw = |specs: &[TensorSpec]| {
            let mut set = TensorSet::new();
            specs.iter().for_each(|spec| _ = set.push(spec.clone()));
            let mut values = Vec::new();
            let none = (IdVec::new(), IdVec::new());
            set.iter().for_each(|(id, _)| set.initialise(id, 1, &none.0, &none.1, &mut values));
            values
        };
        let own: Vec<TensorSpec> = bound.own.iter().map(|own| own.spec.clone()).collect();
        Tensors { own: draw(&own), shared: draw(&bound.shared) }
    }

    fn rounded(&self) -> Tensors<f32> {
        let round = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Tensors { own: round(&self.own), shared: round(&self.shared) }
    }
}

/// A generator with tensors to call it on.
struct Subject<'a, T> {
    generator: &'a dyn Generator<T>,
    bound: &'a Bound,
    tensors: Tensors<T>,
}

/// What a backward call leaves.
struct Gradient<T> {
    own: Vec<T>,
    shared: Vec<T>,
}

impl<'a, T: Real> Subject<'a, T> {
    fn new(generator: &'a dyn Generator<T>, bound: &'a Bound, tensors: Tensors<T>) -> Self {
        Subject { generator, bound, tensors }
    }

    fn row(&self, sector: u32) -> Range<usize> {
        let at = sector as usize;
        self.bound.own.as_ref().map_or(0..0, |own| own.offsets[at]..own.offsets[at + 1])
    }

    /// The logits, with `poison` in all that the call must not read.
    fn logits(&self, tensors: &Tensors<T>, block: Block<'_>, poison: f64) -> Vec<T> {
        let mut out = vec![T::of(poison); block.len()];
        let mut scratch = vec![T::of(poison); self.generator.scratch(block.sectors.len())];
        self.generator.logits(&tensors.own, &tensors.shared, block, &mut out, &mut scratch);
        out
    }

    /// The gradient, with `poison` in all that the call must not read, added to `start`.
    fn backward(&self, block: Block<'_>, d_logits: &[T], start: f64, poison: f64) -> Gradient<T> {
        let rows: usize = block.sectors.iter().map(|&sector| self.row(sector).len()).sum();
        let mut own = vec![T::of(poison); rows];
        let mut shared = vec![T::of(start); self.tensors.shared.len()];
        let mut scratch = vec![T::of(poison); self.generator.scratch(block.sectors.len())];
        let Tensors { own: rows, shared: network } = &self.tensors;
        let (d_own, d_shared) = (&mut own, &mut shared);
        self.generator.backward(rows, network, block, d_logits, d_own, d_shared, &mut scratch);
        Gradient { own, shared }
    }

    /// Laws 2, 3 and 5.
    fn check_calls(&self, block: Block<'_>) -> Result<(), String> {
        let logits = self.logits(&self.tensors, block, f64::NAN);
        ensure(logits.iter().all(|x| x.is_finite()), "a logit is unwritten or not finite")?;
        let again = self.logits(&self.tensors, block, 7.0);
        ensure(logits == again, "a second call makes other logits: there is hidden state")?;
        let d_logits: Vec<T> = direction(block.len(), 2).into_iter().map(T::of).collect();
        let first = self.backward(block, &d_logits, 0.0, 7.0);
        let again = self.backward(block, &d_logits, 0.0, 7.0);
        let same = first.own == again.own && first.shared == again.shared;
        ensure(same, "a second call makes another gradient: there is hidden state")?;
        let over = self.backward(block, &d_logits, 0.0, f64::NAN);
        let message = "the gradient by own rows is not written over what was there";
        ensure(first.own == over.own, message)?;
        let added = self.backward(block, &d_logits, 3.0, 7.0);
        let expected: Vec<T> = first.shared.iter().map(|&d| d + T::of(3.0)).collect();
        let message = "the gradient by shared tensors is not added to what was there";
        ensure_close(&added.shared, &expected, SINGLE_TOLERANCE, message)
    }
}

impl<T: Real> Subject<'_, T> {
    /// Law 8.
    fn check_tiles(&self, block: Block<'_>) -> Result<(), String> {
        let Some(on_tiles) = self.generator.on_tiles() else { return Ok(()) };
        let Tensors { own, shared } = &self.tensors;
        let len = block.shape.len();
        let tiles = block.sectors.len().div_ceil(LANES);
        let mut scratch = vec![T::of(f64::NAN); self.generator.scratch(block.sectors.len())];
        let mut out = vec![T::of(f64::NAN); tiles * len * LANES];
        on_tiles.tiles(own, shared, block, &mut out, &mut scratch);
        ensure(out.iter().all(|x| x.is_finite()), "a lane of a tile is not finite")?;
        let place = |at: usize| {
            let (sector, entry) = (at / len, at % len);
            (sector / LANES * len + entry) * LANES + sector % LANES
        };
        let rows = self.logits(&self.tensors, block, f64::NAN);
        let same = rows.iter().enumerate().all(|(at, &logit)| logit == out[place(at)]);
        ensure(same, "logits on tiles are not those in rows")?;
        let d_logits: Vec<T> = direction(block.len(), 2).into_iter().map(T::of).collect();
        let mut d_tiles = vec![T::zero(); out.len()];
        d_logits.iter().enumerate().for_each(|(at, &d)| d_tiles[place(at)] = d);
        let truth = self.backward(block, &d_logits, 0.0, f64::NAN);
        let mut found = Gradient {
            own: vec![T::of(f64::NAN); truth.own.len()],
            shared: vec![T::zero(); shared.len()],
        };
        let (d_own, d_shared) = (&mut found.own, &mut found.shared);
        on_tiles.backward_tiles(own, shared, block, &d_tiles, d_own, d_shared, &mut scratch);
        let same = found.own == truth.own && found.shared == truth.shared;
        ensure(same, "the gradient on tiles is not that in rows")
    }
}

impl Subject<'_, f64> {
    /// Law 4.
    fn check_blocking(&self, block: Block<'_>) -> Result<(), String> {
        let together = self.logits(&self.tensors, block, f64::NAN);
        let d_logits = direction(block.len(), 3);
        let gradient = self.backward(block, &d_logits, 0.0, f64::NAN);
        let mut alone = Vec::new();
        let mut d_own = Vec::new();
        let mut d_shared = vec![0.0; gradient.shared.len()];
        for (at, d_logits) in d_logits.chunks(block.shape.len()).enumerate() {
            let block = Block { shape: block.shape, sectors: &block.sectors[at..=at] };
            alone.extend(self.logits(&self.tensors, block, f64::NAN));
            let gradient = self.backward(block, d_logits, 0.0, f64::NAN);
            d_own.extend(gradient.own);
            d_shared.iter_mut().zip(gradient.shared).for_each(|(sum, d)| *sum += d);
        }
        ensure(alone == together, "a sector alone has other logits than in a block")?;
        ensure(d_own == gradient.own, "a sector alone has another gradient than in a block")?;
        let message = "gradients by shared tensors of single sectors do not sum to the block's";
        ensure_close(&d_shared, &gradient.shared, ORDER_TOLERANCE, message)
    }

    /// Law 6, for the function Σ dᵢ logitᵢ with random d, along random directions.
    fn check_differences(&self, block: Block<'_>) -> Result<(), String> {
        let d_logits = direction(block.len(), 4);
        let gradient = self.backward(block, &d_logits, 0.0, f64::NAN);
        let mut own = vec![0.0; self.tensors.own.len()];
        let mut packed = gradient.own.as_slice();
        for &sector in block.sectors {
            let row = &mut own[self.row(sector)];
            let (head, rest) = packed.split_at(row.len());
            row.copy_from_slice(head);
            packed = rest;
        }
        if let Some(tensor) = &self.bound.own {
            let slope = self.slope(block, &d_logits, |tensors| &mut tensors.own, 0..own.len());
            ensure_slope(&own, slope, &tensor.spec.name)?;
        }
        let mut start = 0;
        for spec in &self.bound.shared {
            let range = start..start + spec.len();
            start = range.end;
            let slope = self.slope(block, &d_logits, |all| &mut all.shared, range.clone());
            ensure_slope(&gradient.shared[range], slope, &spec.name)?;
        }
        Ok(())
    }

    /// The central difference of Σ dᵢ logitᵢ along the direction of a range of one of the tensors.
    fn slope(
        &self,
        block: Block<'_>,
        d_logits: &[f64],
        tensor: impl Fn(&mut Tensors<f64>) -> &mut Vec<f64>,
        range: Range<usize>,
    ) -> f64 {
        let value = |step: f64| -> f64 {
            let mut moved = self.tensors.clone();
            let values = &mut tensor(&mut moved)[range.clone()];
            values.iter_mut().zip(direction(range.len(), 5)).for_each(|(x, d)| *x += step * d);
            let logits = self.logits(&moved, block, f64::NAN);
            logits.iter().zip(d_logits).map(|(logit, d)| logit * d).sum()
        };
        (value(STEP) - value(-STEP)) / (2.0 * STEP)
    }
}

fn ensure_slope(gradient: &[f64], slope: f64, tensor: &str) -> Result<(), String> {
    let along: f64 = gradient.iter().zip(direction(gradient.len(), 5)).map(|(g, d)| g * d).sum();
    let message = format!("the gradient by `{tensor}` is not that of the logits");
    ensure_close(&[along], &[slope], DIFFERENCE_TOLERANCE, &message)
}

/// Law 7.
fn check_precisions(
    single: &Subject<'_, f32>,
    double: &Subject<'_, f64>,
    block: Block<'_>,
) -> Result<(), String> {
    let logits = single.logits(&single.tensors, block, f64::NAN);
    let truth = double.logits(&double.tensors, block, f64::NAN);
    ensure_close(&logits, &truth, SINGLE_TOLERANCE, "the precisions disagree on logits")?;
    let d_logits = direction(block.len(), 6);
    let truth = double.backward(block, &d_logits, 0.0, f64::NAN);
    let d_logits: Vec<f32> = d_logits.iter().map(|&d| d as f32).collect();
    let gradient = single.backward(block, &d_logits, 0.0, f64::NAN);
    let message = "the precisions disagree on the gradient";
    ensure_close(&gradient.own, &truth.own, SINGLE_TOLERANCE, message)?;
    ensure_close(&gradient.shared, &truth.shared, SINGLE_TOLERANCE, message)
}

/// Numbers uniform on ±1.
fn direction(len: usize, stream: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(stream);
    (0..len).map(|_| 2.0 * rng.random::<f64>() - 1.0).collect()
}

#[cfg(test)]
mod tests;
