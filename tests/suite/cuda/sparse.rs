//! Circuits of others on the device: their sparse sums, by kernels on the processor, against the oracle.

use std::path::Path;
use std::sync::Arc;

use pcc::circuit::{SourceMap, WeightSource};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::diag::Source;
use pcc::engine::Tally;
use pcc::engine::cuda::source;
use pcc::ids::VarId;
use pcc::import::{self, Companions, Format};
use pcc::leaf::{Dist, Family};
use pcc::param::direct::Direct;
use pcc::plan::{Op, Purpose, Schedule};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Judged, by_kernels, general, on_processor, planned, skipped};
use crate::agreement::{assert_agree, by_cpu, by_reference};
use crate::import::diagrams::Random;
use crate::support::cpu_device::{self, Order};

/// A random PSDD, run as it is written.
pub(super) fn diagram(variables: usize, seed: u64) -> Arc<Compiled> {
    // Every third has probabilities whose products single precision does not hold.
    let least = if seed.is_multiple_of(3) { -60.0 } else { -4.0 };
    let text = Random::new(variables, least, seed).psdd();
    let format = Format::of(Path::new("random.psdd")).unwrap();
    let read = import::read(format, &Source::new("random.psdd", text), &Companions::default());
    let imported = read.unwrap_or_else(|faults| panic!("{faults}"));
    let options = Options { no_rewrite: true, ..Options::default() };
    Arc::new(compile(imported.circuit.unwrap(), &imported.map, &Direct, &options).unwrap())
}

/// Rows of any values, most of them far from likely, a share of them missing.
pub(super) fn any_rows(compiled: &Compiled, missing: f64, seed: u64) -> Dataset {
    let variables = compiled.written.variables();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut value = |_| (!rng.random_bool(missing)).then(|| f32::from(rng.random_bool(0.5)));
    let rows = (0..300).map(|_| variables.ids().map(&mut value).collect::<Vec<_>>());
    Dataset::from_rows(variables, rows.collect::<Vec<_>>()).unwrap()
}

/// Compares a diagram with the oracle; what became of its rows.
fn compare(kernels: &cpu_device::Compiled, order: Order, seed: u64) -> Tally {
    let compiled = diagram(12, seed);
    let data = any_rows(&compiled, 0.1, seed);
    let expected = by_reference(&compiled, &[], &data);
    let schedule = [Schedule::Wide, Schedule::Deep][seed as usize % 2];
    let plan = planned(&compiled, Purpose::Evaluate, schedule, 70);
    let mut engine = on_processor(kernels, order)(&compiled, plan);
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let mut log_p = vec![f64::NAN; rows.len()];
    engine.load(&[]);
    let tally = engine.log_likelihood(&data, &rows, &mut log_p);
    assert_eq!(engine.fault(), None);
    assert_agree(&format!("seed {seed}"), &compiled, &expected, (&log_p, &[]));
    tally
}

#[test]
fn circuits_of_others_agree_with_the_oracle() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(general(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("sparse sums on the processor", "there is no C++ compiler");
    };
    let (mut tally, mut sparse) = (Tally::default(), 0);
    for seed in 0..12 {
        let kernels = if seed % 2 == 0 { &shared } else { &global };
        tally += compare(kernels, Order::Shuffled, seed);
        let plan = planned(&diagram(12, seed), Purpose::Evaluate, Schedule::Wide, 64);
        let steps = plan.programs.iter().flat_map(|program| &program.steps);
        sparse += steps.filter(|step| matches!(step.op, Op::Sparse { .. })).count();
    }
    assert!(sparse > 50, "{sparse} sparse sums");
    assert!(tally.in_logs > 0, "no row was in doubt");
}

/// A diagram and independent variables, of which a sum with learned weights and learned leaves is made.
fn mixture(seed: u64) -> Arc<Compiled> {
    let text = Random::new(12, -4.0, seed).psdd();
    let format = Format::of(Path::new("random.psdd")).unwrap();
    let imported =
        import::read(format, &Source::new("random.psdd", text), &Companions::default()).unwrap();
    let mut circuit = imported.circuit.unwrap();
    let variables: Vec<VarId> = circuit.variables().ids().collect();
    let leaf = circuit.add_dist(Dist::learnable(Family::Bernoulli, 1));
    let leaves: Vec<_> = variables.into_iter().map(|var| circuit.leaf(var, leaf)).collect();
    let product = circuit.product(&leaves);
    let root = circuit.sum(1, &[circuit.root(), product], WeightSource::Parameterizer);
    circuit.set_root(root);
    let options = Options { no_rewrite: true, ..Options::default() };
    Arc::new(compile(circuit, &SourceMap::default(), &Direct, &options).unwrap())
}

#[test]
fn what_is_learned_beside_circuits_of_others_has_the_oracles_gradients() {
    let Some(kernels) = cpu_device::Compiled::new(general(32, true)) else {
        return skipped("learning beside sparse sums on the processor", "there is no C++ compiler");
    };
    let mut sparse = 0;
    for seed in [1, 2, 4, 5] {
        let judged = Judged::new(mixture(seed), 70, seed);
        let Judged { compiled, flat, data, expected } = &judged;
        let plan = planned(compiled, Purpose::Train, Schedule::Wide, 70);
        let steps = plan.programs.iter().flat_map(|program| &program.steps);
        sparse += steps.filter(|step| matches!(step.op, Op::Sparse { .. })).count();
        let name = format!("seed {seed}");
        let (log_p, gradient, _) = by_cpu(&name, compiled, flat, data, Schedule::Wide, 2);
        assert_agree(&name, compiled, expected, (&log_p, &gradient));
        let (log_p, gradient, _) =
            by_kernels(&kernels, Order::Shuffled, compiled, flat, data, Schedule::Wide);
        assert_agree(&name, compiled, expected, (&log_p, &gradient));
    }
    assert!(sparse > 0, "no sparse sums");
}

/// A way to break a kernel: its name, what is written, and what would be instead.
const BREAKS: [(&str, &str, &str); 6] = [
    ("sums without weights", "sum += weight * product", "sum += product"),
    ("no right factors", "product *= at(lane.values, term.right)", "product *= 1.0f"),
    ("no scaling", "at(lane.formed, k) * down", "at(lane.formed, k)"),
    ("exponents of one side", "+ left.exponent + right.exponent", "+ left.exponent"),
    ("no bound of what is lost", "if (least < TRACE) bound +=", "if (least < 0.0f) bound +="),
    ("the lists of the first step", "buffers.lists[step.table + k]", "buffers.lists[k]"),
];

#[test]
fn each_way_to_break_a_sparse_sum_is_noticed() {
    let specialisation = general(64, true);
    let whole = source(&specialisation);
    let Some(kernels) = cpu_device::Compiled::new(specialisation.clone()) else {
        return skipped("breaking sparse sums on purpose", "there is no C++ compiler");
    };
    let agree = |kernels: &cpu_device::Compiled| {
        let compare = |seed| compare(kernels, Order::Ascending, seed);
        (0..6).all(|seed| std::panic::catch_unwind(|| compare(seed)).is_ok())
    };
    assert!(agree(&kernels), "before anything is broken");
    let unnoticed = BREAKS.iter().filter(|(_, written, instead)| {
        let broken = whole.replace(written, instead);
        broken == whole || agree(&cpu_device::Compiled::of_text(&broken, specialisation.clone()))
    });
    let unnoticed: Vec<&str> = unnoticed.map(|(name, ..)| *name).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
