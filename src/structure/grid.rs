//! Variables on a grid, such as the pixels of an image.
//!
//! The variables lie in row-major order, the last axis varying fastest. Where there are a whole
//! number of times as many variables as places, each place holds so many neighbouring ones, its
//! *channels*: a vector-valued variable, of which a leaf's unit is the product of a leaf a channel.

use std::ops::Range;

use crate::diag::{Code, Diagnostic};
use crate::ids::{Id, VarId};
use crate::spec::{GridShape, Spec};

/// A grid and how many variables are at each place.
pub(super) struct Grid {
    lengths: Vec<u32>,
    channels: usize,
}

/// A part of a grid: a range of places on each axis.
pub(super) type Cuboid = Vec<Range<u32>>;

impl Grid {
    /// The grid of a description.
    ///
    /// # Errors
    /// E0117 if its places do not divide the variables.
    pub(super) fn of(spec: &Spec, shape: &GridShape) -> Result<Grid, Diagnostic> {
        let variables = spec.variables.value.len();
        let places: u128 =
            shape.value.iter().fold(1, |places, &length| places.saturating_mul(length.into()));
        if !(variables as u128).is_multiple_of(places) {
            let lengths: Vec<String> = shape.value.iter().map(u32::to_string).collect();
            let message = format!(
                "a grid of {} has {places} places, and the circuit {variables} variables",
                lengths.join(" × ")
            );
            let help = "the variables must be as many as the places, or a multiple of them where \
                        each place has several channels";
            return Err(Diagnostic::new(Code::E0117, message).at(shape.span).help(help));
        }
        // A divisor of the number of variables fits where that does.
        Ok(Grid { lengths: shape.value.clone(), channels: variables / places as usize })
    }

    /// All of the grid.
    pub(super) fn whole(&self) -> Cuboid {
        self.lengths.iter().map(|&length| 0..length).collect()
    }

    /// The variables of a part, ascending.
    pub(super) fn variables(&self, part: &[Range<u32>]) -> Vec<VarId> {
        let mut places = vec![0];
        for (range, &length) in part.iter().zip(&self.lengths) {
            places = (places.into_iter())
                .flat_map(|before| {
                    range.clone().map(move |at| before * length as usize + at as usize)
                })
                .collect();
        }
        let channels = |place| place * self.channels..(place + 1) * self.channels;
        places.into_iter().flat_map(channels).map(VarId::from_index).collect()
    }
}
