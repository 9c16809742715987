//! The exponential function on vectors.

use pulp::Simd;

/// Below this, e^x is taken to be exactly zero: it would leave the normal numbers.
pub const EXP_ZERO_BELOW: f32 = -87.3;

/// Above this, e^x is taken to be what it is here: it would soon overflow.
pub const EXP_LARGEST: f32 = 88.3;

/// e^x of each lane: within 2 units in the last place from [`EXP_ZERO_BELOW`] to [`EXP_LARGEST`],
/// exactly 0 below (for −∞ too), constant above. A NaN gives an unspecified number or NaN.
///
/// With n the integer nearest to x / ln 2, e^x = 2ⁿ e^r for r = x − n ln 2 in ±ln 2 / 2, where a
/// polynomial serves (that of the Cephes library's `expf`).
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // 1.5 · 2²³ rounds what is added to it to an integer, in its lowest bits; 127 is the bias of an
    // exponent, so that those bits are the exponent of 2ⁿ.
    let shift = simd.splat_f32s(12_582_912.0 + 127.0);
    let zero = simd.splat_f32s(0.0);
    let tiny = simd.less_than_f32s(x, simd.splat_f32s(EXP_ZERO_BELOW));
    let bounded = simd.max_f32s(x, simd.splat_f32s(EXP_ZERO_BELOW));
    let bounded = simd.min_f32s(bounded, simd.splat_f32s(EXP_LARGEST));
    let shifted = simd.mul_add_e_f32s(bounded, simd.splat_f32s(std::f32::consts::LOG2_E), shift);
    let n = simd.sub_f32s(shifted, shift);
    // ln 2 in two parts, of which n times the first is exact.
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-0.693_359_4), bounded);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);
    let mut tail = simd.splat_f32s(1.987_569_1e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        tail = simd.mul_add_e_f32s(tail, r, simd.splat_f32s(coefficient));
    }
    let sum = simd.mul_add_e_f32s(simd.mul_f32s(r, r), tail, r);
    let fraction = simd.add_f32s(sum, simd.splat_f32s(1.0));
    let bits = simd.transmute_u32s_f32s(shifted);
    let power = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23)));
    simd.select_f32s(tiny, zero, simd.mul_f32s(fraction, power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::WithSimd;

    struct Exp<'a>(&'a mut [f32]);

    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for x in S::as_mut_simd_f32s(self.0).0 {
                *x = exp(simd, *x);
            }
        }
    }

    /// On this machine's vectors, and on scalars.
    fn exps(xs: &[f32]) -> [Vec<f32>; 2] {
        [pulp::Arch::new(), pulp::Arch::Scalar].map(|arch| {
            let mut values = xs.to_vec();
            values.resize(xs.len().next_multiple_of(64), 0.0);
            arch.dispatch(Exp(&mut values));
            values.truncate(xs.len());
            values
        })
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let xs: Vec<f32> = (0..1_000_000).map(|i| EXP_ZERO_BELOW + i as f32 * 1.756e-4).collect();
        for values in exps(&xs) {
            for (&x, &value) in xs.iter().zip(&values) {
                let truth = f64::from(x).exp();
                let unit = f64::from(f32::from_bits((truth as f32).to_bits() + 1) - truth as f32);
                let error = (f64::from(value) - truth).abs() / unit;
                assert!(error <= 2.0, "exp({x}) = {value}, {error} units off");
            }
        }
    }

    #[test]
    fn exp_of_very_negative_numbers_is_exactly_zero_and_of_zero_one() {
        let xs = [f32::NEG_INFINITY, f32::MIN, -200.0, -87.31, 0.0, -0.0];
        for values in exps(&xs) {
            assert_eq!(values, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        }
    }
}
