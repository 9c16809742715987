//! The kernels, on the processor, against enumeration on every structure; see `worlds.rs` of the suite.

use pcc::plan::Schedule;

use super::queries::{engine, for_queries};
use super::skipped;
use crate::queries::{instance, structures};
use crate::structures::random::Kinds;
use crate::support::cpu_device::{self, Order};
use crate::worlds::{Integrals, Judge};

/// Instances of each structure of discrete variables, and of any.
const INSTANCES: [u64; 2] = [4, 3];
/// Draws a row.
const DRAWS: usize = 6_000;
/// Worlds of a circuit at most, so that most are drawn often.
const MOST_WORLDS: usize = 1_100;
/// Rows of a batch: no multiple of anything.
const BATCH: u32 = 1_500;

#[test]
fn the_kernels_say_of_every_structure_what_worlds_and_integrals_add_up_to() {
    let modules = [(32, true), (64, false)]
        .map(|(threads, shared)| cpu_device::Compiled::new(for_queries(threads, shared)));
    let [Some(shared), Some(global)] = modules else {
        return skipped("every structure on the processor", "there is no C++ compiler");
    };
    let how = |seed: u64| match seed % 2 {
        0 => (&shared, Order::Shuffled, (Schedule::Wide, BATCH)),
        _ => (&global, Order::Descending, (Schedule::Deep, BATCH)),
    };
    for structure in structures() {
        let mut checked = 0;
        for seed in 0..INSTANCES[0] {
            let instance = instance(structure, Kinds::Discrete, seed, seed % 4 > 1);
            let judge = Judge::new(&instance, seed);
            if judge.worlds() > MOST_WORLDS {
                continue;
            }
            let (kernels, order, how) = how(seed);
            let mut engine = engine(kernels, order, &instance.compiled, how);
            judge.all(&format!("kernels, {how:?}"), &mut engine, DRAWS);
            checked += 1;
        }
        for seed in 0..INSTANCES[1] {
            let instance = instance(structure, Kinds::Any, seed, seed % 4 > 1);
            let Some(integrals) = Integrals::new(&instance, seed) else { continue };
            let (kernels, order, how) = how(seed);
            let [mut one, mut other] =
                [(); 2].map(|()| engine(kernels, order, &instance.compiled, how));
            integrals.check(&format!("kernels, {how:?}"), &mut one, &mut other);
            integrals.draws(&mut other, DRAWS, seed);
            checked += 1;
        }
        assert!(checked > 4, "{structure}: {checked} circuits");
    }
}
