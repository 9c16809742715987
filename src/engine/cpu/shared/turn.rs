//! Eight rows of eight numbers to their columns, in registers.

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use std::any::Any;

use pulp::Simd;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use pulp::f32x8;

use crate::plan::layout::NARROW;

/// From eight rows of eight numbers to their columns.
#[inline(always)]
pub(super) fn turned<S: Simd>(simd: S, rows: [S::f32s; NARROW]) -> [S::f32s; NARROW] {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if let (Some(simd), Some(rows)) = (as_type(simd), as_type(rows))
        && let Some(columns) = as_type(turned_avx(simd, rows))
    {
        return columns;
    }
    simd.deinterleave_shfl_f32s(rows)
}

/// A value as of a type that it may turn out to have.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[inline(always)]
fn as_type<T: Any, U: Any + Copy>(value: T) -> Option<U> {
    let value: &dyn Any = &value;
    value.downcast_ref().copied()
}

/// [`turned`] for AVX: pairs of rows, then pairs of pairs, are interleaved within each half of the
/// vectors, then halves are exchanged.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[inline(always)]
fn turned_avx(simd: pulp::x86::V3, rows: [f32x8; NARROW]) -> [f32x8; NARROW] {
    let avx = simd.avx;
    let mut pairs = rows;
    for at in (0..NARROW).step_by(2) {
        let (even, odd) = (pulp::cast(rows[at]), pulp::cast(rows[at + 1]));
        pairs[at] = pulp::cast(avx._mm256_unpacklo_ps(even, odd));
        pairs[at + 1] = pulp::cast(avx._mm256_unpackhi_ps(even, odd));
    }
    let mut fours = rows;
    for at in [0, 1, 4, 5] {
        let (above, below) = (pulp::cast(pairs[at]), pulp::cast(pairs[at + 2]));
        let to = 2 * at - at / 4 * 4;
        fours[to] = pulp::cast(avx._mm256_shuffle_ps::<0b01_00_01_00>(above, below));
        fours[to + 1] = pulp::cast(avx._mm256_shuffle_ps::<0b11_10_11_10>(above, below));
    }
    let mut columns = rows;
    for at in 0..4 {
        let (above, below) = (pulp::cast(fours[at]), pulp::cast(fours[at + 4]));
        columns[at] = pulp::cast(avx._mm256_permute2f128_ps::<0x20>(above, below));
        columns[at + 4] = pulp::cast(avx._mm256_permute2f128_ps::<0x31>(above, below));
    }
    columns
}
