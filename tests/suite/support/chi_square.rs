//! Whether counts are those of a distribution, by chi-square tests at 1e-4.

/// Cells expected less often than this are counted together.
const LEAST_EXPECTED: f64 = 8.0;

/// Fails where counts are such as occur once in 10,000 times or less if each draw falls into a cell
/// with its probability. A cell of probability zero may not occur at all.
pub fn assert_drawn_from(name: &str, cells: &[(f64, usize)]) {
    let draws = cells.iter().map(|&(_, count)| count).sum::<usize>() as f64;
    let (mut statistic, mut kept) = (0.0, 0);
    let mut rare = (0.0, 0.0);
    let mut add = |expected: f64, count: f64| {
        statistic += (count - expected).powi(2) / expected;
        kept += 1;
    };
    for &(p, count) in cells {
        assert!(p > 0.0 || count == 0, "{name}: an impossible cell was drawn {count} times");
        if p * draws >= LEAST_EXPECTED {
            add(p * draws, count as f64);
        } else {
            rare = (rare.0 + p * draws, rare.1 + count as f64);
        }
    }
    if rare.0 >= LEAST_EXPECTED {
        add(rare.0, rare.1);
    } else {
        // Too few for a chi-square: a Poisson count this small is not above 30 by chance.
        assert!(rare.1 < 30.0, "{name}: rare cells were drawn {} times, not {}", rare.1, rare.0);
    }
    if kept > 1 {
        let most = chi_square_quantile(f64::from(kept - 1));
        assert!(statistic <= most, "{name}: chi-square {statistic} of {kept} cells, over {most}");
    }
}

/// The value that a chi-square variable passes with probability 1e-4, by Wilson and Hilferty.
fn chi_square_quantile(freedom: f64) -> f64 {
    const NORMAL_QUANTILE: f64 = 3.719;
    let variance = 2.0 / (9.0 * freedom);
    freedom * (1.0 - variance + NORMAL_QUANTILE * variance.sqrt()).powi(3)
}
