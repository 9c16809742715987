//! The laws hold for what they should, and each fault is found and named.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::diag::Diagnostic;
use crate::param::direct::{Direct, WeightDecay};
use crate::param::hyper::Hyper;

fn shapes(count: usize) -> Vec<Shape> {
    let cycle = [(5, 5), (5, 2), (3, 4), (1, 5), (5, 2)];
    (0..count).map(|at| cycle[at % 5]).map(|(rows, cols)| Shape { rows, cols }).collect()
}

fn check(parameterizer: &dyn Parameterizer) {
    for count in [0, 1, 63, 64, 65, 200] {
        let mixed = shapes(count);
        let single = vec![Shape { rows: 4, cols: 7 }; count];
        for shapes in [mixed, single] {
            assert_eq!(check_parameterizer_laws(parameterizer, &shapes), Ok(()), "{count}");
        }
    }
}

#[test]
fn direct_and_weight_decay_keep_the_laws() {
    check(&Direct);
    check(&WeightDecay { lambda: 1e-4 });
}

#[test]
fn hyper_keeps_the_laws_with_any_hidden_layers() {
    for (embedding, hidden) in [(5, vec![20, 20]), (3, vec![]), (1, vec![7]), (8, vec![10, 1, 33])]
    {
        check(&Hyper { embedding, hidden });
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    ImpureBinding,
    ShortOffsets,
    UnwrittenLogit,
    HiddenState,
    SeesBlock,
    AddsToOwn,
    OverwritesShared,
    WrongOwn,
    WrongShared,
    ImpreciseLogits,
    ImpreciseGradient,
}

/// A linear network with a fault.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    bindings: AtomicUsize,
}

struct FaultyGenerator<T> {
    inner: Box<dyn Generator<T>>,
    fault: Fault,
    calls: AtomicUsize,
}

impl Parameterizer for Faulty {
    fn name(&self) -> &str {
        "Faulty"
    }

    fn bind(&self, shapes: &[Shape]) -> Result<Bound, Diagnostic> {
        let mut bound = Hyper { embedding: 2, hidden: Vec::new() }.bind(shapes)?;
        let before = self.bindings.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::ImpureBinding {
            bound.shared[0].name = format!("network.{before}");
        }
        if let (Fault::ShortOffsets, Some(own)) = (self.fault, &mut bound.own) {
            own.offsets.pop();
        }
        let (fault, calls) = (self.fault, AtomicUsize::new);
        let (single, double) = (bound.single, bound.double);
        bound.single = Box::new(FaultyGenerator { inner: single, fault, calls: calls(0) });
        bound.double = Box::new(FaultyGenerator { inner: double, fault, calls: calls(0) });
        Ok(bound)
    }
}

impl<T: Real> Generator<T> for FaultyGenerator<T> {
    fn scratch(&self, sectors: usize) -> usize {
        self.inner.scratch(sectors)
    }

    fn logits(&self, own: &[T], shared: &[T], block: Block<'_>, out: &mut [T], work: &mut [T]) {
        let before = out[0];
        self.inner.logits(own, shared, block, out, work);
        let single = size_of::<T>() == size_of::<f32>();
        match self.fault {
            Fault::UnwrittenLogit => out[0] = before,
            Fault::HiddenState => {
                out[0] += T::of(self.calls.fetch_add(1, Ordering::Relaxed) as f64);
            }
            Fault::SeesBlock => out[0] += T::of(block.sectors.len() as f64),
            Fault::ImpreciseLogits if single => out[0] += T::of(0.01),
            _ => {}
        }
    }

    fn backward(
        &self,
        own: &[T],
        shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        d_shared: &mut [T],
        work: &mut [T],
    ) {
        let before = d_own[0];
        if self.fault == Fault::OverwritesShared {
            d_shared.fill(T::zero());
        }
        self.inner.backward(own, shared, block, d_logits, d_own, d_shared, work);
        let single = size_of::<T>() == size_of::<f32>();
        match self.fault {
            Fault::AddsToOwn => d_own[0] += before,
            Fault::WrongOwn => d_own.iter_mut().for_each(|d| *d *= T::of(1.01)),
            Fault::WrongShared => {
                self.inner.backward(own, shared, block, d_logits, d_own, d_shared, work);
            }
            Fault::ImpreciseGradient if single => d_own[0] += T::of(0.01),
            _ => {}
        }
    }
}

#[test]
fn each_fault_is_found_and_named() {
    for (fault, message) in [
        (Fault::ImpureBinding, "binding twice fixes different tensors"),
        (Fault::ShortOffsets, "the own tensor needs an offset a sector and one more"),
        (Fault::UnwrittenLogit, "a logit is unwritten or not finite"),
        (Fault::HiddenState, "a second call makes other logits"),
        (Fault::SeesBlock, "a sector alone has other logits than in a block"),
        (Fault::AddsToOwn, "the gradient by own rows is not written over what was there"),
        (Fault::OverwritesShared, "the gradient by shared tensors is not added to"),
        (Fault::WrongOwn, "the gradient by `embedding` is not that of the logits"),
        (Fault::WrongShared, "the gradient by `network.0.weight` is not that of the logits"),
        (Fault::ImpreciseLogits, "the precisions disagree on logits"),
        (Fault::ImpreciseGradient, "the precisions disagree on the gradient"),
    ] {
        let faulty = Faulty { fault, bindings: AtomicUsize::new(0) };
        let found = check_parameterizer_laws(&faulty, &shapes(7));
        let named = found.as_ref().is_err_and(|text| text.contains(message));
        assert!(named, "{fault:?}: {found:?}");
    }
}
