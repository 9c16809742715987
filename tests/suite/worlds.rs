//! The CPU engine against enumeration: it is asked for every world of small circuits, and what it says
//! of a row with missing entries is the sum of what it says of the row's completions.

use std::sync::Arc;

use pcc::circuit::SourceMap;
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::CpuExecutable;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::sector::SectorKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::case::{parameterizers, spread};
use crate::support::enumerate::{agrees, observed, worlds};
use crate::support::random_circuits::{Kinds, circuit};

/// How far the mass of all worlds, or of a row's completions, may be from what it should be.
const TOLERANCE: f64 = 1e-6;

/// Rows with missing entries that each circuit is asked for.
const PARTIAL: usize = 8;

#[test]
fn the_cpu_engine_gives_all_worlds_mass_one_and_a_marginal_its_completions() {
    let parameterizers = parameterizers();
    let mut most_worlds = 0;
    for seed in 0..240 {
        let kinds = if seed % 3 == 2 { Kinds::Discrete } else { Kinds::Binary };
        let parameterizer = &*parameterizers[seed as usize % parameterizers.len()];
        let sectors = [SectorKind::PerLayer, SectorKind::Slices(1)][seed as usize / 4 % 2];
        for no_rewrite in [false, true] {
            let options = Options { sectors, no_rewrite, ..Options::default() };
            let made =
                compile(circuit(seed, kinds), &SourceMap::default(), parameterizer, &options);
            let made = Arc::new(made.unwrap());
            for schedule in [Schedule::Wide, Schedule::Deep] {
                let parameterizer = parameterizer.name();
                let name =
                    format!("seed {seed}, {parameterizer}, rewrite {}, {schedule:?}", !no_rewrite);
                most_worlds = most_worlds.max(check(&name, &made, schedule, seed));
            }
        }
    }
    assert!(most_worlds >= 1 << 12, "no circuit of twelve binary variables; at most {most_worlds}");
}

/// Returns the number of worlds.
fn check(name: &str, made: &Arc<Compiled>, schedule: Schedule, seed: u64) -> usize {
    let worlds: Vec<Vec<f32>> = worlds(&made.written).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let partial: Vec<Vec<Option<f32>>> = (0..PARTIAL)
        .map(|at| {
            let world = &worlds[rng.random_range(0..worlds.len())];
            let keep = at as f64 / PARTIAL as f64;
            world.iter().map(|&value| rng.random_bool(keep).then_some(value)).collect()
        })
        .collect();
    let all = worlds.iter().map(|world| observed(world));
    let p = probabilities(made, schedule, seed, all.chain(partial.iter().cloned()).collect());
    let (of_worlds, of_partial) = p.split_at(worlds.len());
    let mass: f64 = of_worlds.iter().sum();
    assert!((mass - 1.0).abs() <= TOLERANCE, "{name}: the worlds have mass {mass}");
    for (row, &marginal) in partial.iter().zip(of_partial) {
        let completions = worlds.iter().zip(of_worlds).filter(|(world, _)| agrees(world, row));
        let sum: f64 = completions.map(|(_, p)| p).sum();
        let close = (marginal - sum).abs() <= TOLERANCE;
        assert!(close, "{name}: {row:?} has {marginal}, its completions {sum}");
    }
    worlds.len()
}

/// The probability of each row.
fn probabilities(
    made: &Arc<Compiled>,
    schedule: Schedule,
    seed: u64,
    rows: Vec<Vec<Option<f32>>>,
) -> Vec<f64> {
    let data = Dataset::from_rows(made.written.variables(), rows).unwrap();
    let options = plan::Options {
        purpose: Purpose::Evaluate,
        schedule,
        batch: 256,
        sharing: Sharing::WherePays,
    };
    let plan = plan(&made.circuit, &made.parameters, &options);
    let mut engine = CpuExecutable::new(made.clone(), plan, 2).unwrap();
    let flat = spread(&made.written, &made.parameters, seed);
    engine.load(&flat.iter().map(|&value| value as f32).collect::<Vec<_>>());
    let mut log_p = vec![f64::NAN; data.rows()];
    engine.log_likelihood(&data, &(0..data.rows() as u32).collect::<Vec<_>>(), &mut log_p);
    log_p.into_iter().map(f64::exp).collect()
}
