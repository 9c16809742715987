//! Conditional samples of every structure, by chi-square tests at 1e-4 with fixed seeds.

use pcc::sample::sample_rows;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::discrete::Worlds;
use super::{INSTANCES, evidence, instances, structures};
use crate::sampling::{assert_drawn_from, counts, key};
use crate::structures::random::Kinds;

/// Samples a test.
const DRAWS: usize = 100_000;

#[test]
fn conditional_samples_of_every_structure_have_the_frequencies_of_worlds() {
    for structure in structures() {
        for (seed, instance) in (0..).zip(instances(structure, Kinds::Discrete, INSTANCES)) {
            let table = instance.table();
            let row = evidence(&table, &mut ChaCha8Rng::seed_from_u64(seed));
            let worlds = Worlds::new(&table, row);
            let (circuit, values) = (&instance.circuit, &instance.values);
            let samples = sample_rows(circuit, values, &worlds.row, DRAWS, seed).unwrap();
            let mut drawn = counts(&samples, worlds.row.len());
            let cells: Vec<(f64, usize)> = worlds
                .each
                .iter()
                .map(|(world, p)| (*p, drawn.remove(&key(world)).unwrap_or(0)))
                .collect();
            assert!(drawn.is_empty(), "{}: against the evidence: {drawn:?}", instance.name);
            assert_drawn_from(&format!("{} given {:?}", instance.name, worlds.row), &cells);
        }
    }
}
