//! The shapes of small sums that have kernels of their own.

/// Calls a function with the constants that a shape (width, units) is, after its other generic arguments:
/// square, or of one unit. Of another shape nothing is done.
macro_rules! by_shape {
    ($shape:expr, $run:ident [$($generic:tt),*] $args:tt) => {
        match $shape {
            (1, 1) => by_shape!(@call $run, [$($generic),*, 1, 1], $args),
            (2, 1) => by_shape!(@call $run, [$($generic),*, 2, 1], $args),
            (3, 1) => by_shape!(@call $run, [$($generic),*, 3, 1], $args),
            (4, 1) => by_shape!(@call $run, [$($generic),*, 4, 1], $args),
            (5, 1) => by_shape!(@call $run, [$($generic),*, 5, 1], $args),
            (6, 1) => by_shape!(@call $run, [$($generic),*, 6, 1], $args),
            (7, 1) => by_shape!(@call $run, [$($generic),*, 7, 1], $args),
            (8, 1) => by_shape!(@call $run, [$($generic),*, 8, 1], $args),
            (2, 2) => by_shape!(@call $run, [$($generic),*, 2, 2], $args),
            (3, 3) => by_shape!(@call $run, [$($generic),*, 3, 3], $args),
            (4, 4) => by_shape!(@call $run, [$($generic),*, 4, 4], $args),
            (5, 5) => by_shape!(@call $run, [$($generic),*, 5, 5], $args),
            (6, 6) => by_shape!(@call $run, [$($generic),*, 6, 6], $args),
            (7, 7) => by_shape!(@call $run, [$($generic),*, 7, 7], $args),
            (8, 8) => by_shape!(@call $run, [$($generic),*, 8, 8], $args),
            shape => debug_assert!(false, "no kernel of shape {shape:?}"),
        }
    };
    (@call $run:ident, [$($generic:tt),*], ($($arg:expr),* $(,)?)) => {
        $run::<$($generic),*>($($arg),*)
    };
}
pub(super) use by_shape;
