//! Rows so far out that single precision does not hold their densities.

use pcc::data::Dataset;
use pcc::plan::{Purpose, Schedule};

use super::{by_oracle, general, on_processor, planned, skipped, spread_single};
use crate::support::cpu_device::{self, Order};
use crate::support::describe::compiled;

#[test]
fn rows_whose_densities_leave_single_precision_are_told_by_the_host() {
    let Some(kernels) = cpu_device::Compiled::new(general(32, true)) else {
        return skipped("rows far out", "there is no C++ compiler");
    };
    let compiled = compiled(
        "(variables: Real(4), structure: RatSpn(units: 3, replicas: 2, seed: 0), leaves: Gaussian())",
    );
    let flat = spread_single(&compiled, 1);
    for far in [1e3, 1e5, 1e15, 1e20] {
        let value = |row: usize, var: usize| match (row + var).is_multiple_of(3) {
            true => far,
            false => row as f32 / 40.0,
        };
        let rows = (0..40).map(|row| (0..4).map(|var| Some(value(row, var))).collect());
        let data = Dataset::from_rows(compiled.written.variables(), rows).unwrap();
        let expected = by_oracle(&compiled, &flat, &data).log_p;
        let plan = planned(&compiled, Purpose::Evaluate, Schedule::Wide, 40);
        let mut engine = on_processor(&kernels, Order::Shuffled)(&compiled, plan);
        let rows: Vec<u32> = (0..40).collect();
        let mut log_p = vec![f64::NAN; rows.len()];
        engine.load(&flat);
        let tally = engine.log_likelihood(&data, &rows, &mut log_p);
        for (found, expected) in log_p.iter().zip(&expected) {
            let most = 1e-5 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= most, "{far}: {found}, not {expected}");
        }
        assert_eq!(tally.in_logs > 0, far > 1e4, "{far}: {tally:?}");
    }
}
