//! How much rows agree on the scopes of a plan's regions.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::distinct::DistinctRows;
use super::interned::Interned;
use crate::data::Dataset;
use crate::drawing::{Agreement, OfSize};
use crate::plan::{Part, Plan};

/// Batches that are looked at.
const BATCHES: usize = 8;

/// Sums over regions of one size.
#[derive(Clone, Copy, Default)]
struct Sums {
    regions: usize,
    in_data: usize,
    /// Over all batches.
    in_batches: usize,
}

/// How much rows agree; `None` where the data are not all of categories, or nothing can be shared.
pub(in crate::engine::cpu) fn agreement(plan: &Plan, data: &Dataset) -> Option<Agreement> {
    let rows = DistinctRows::of(data, usize::MAX)?;
    let size = (plan.batch as usize).min(data.rows());
    let batches = rows.batches(size, BATCHES);
    let all: Vec<u32> = (0..rows.first.len() as u32).collect();
    let of_part = |part: &Part| {
        let spaces = plan.sharing[part.program as usize].as_ref()?;
        let count = |sample: &[u32]| Interned::count(spaces, &part.columns, &rows, sample);
        let in_data = count(&all);
        let in_batches: Vec<Vec<usize>> = batches.iter().map(|batch| count(batch)).collect();
        let regions = spaces.spaces.iter().enumerate().filter(|(_, space)| space.width > 0);
        let regions = regions.map(|(number, space)| {
            let in_batches = in_batches.iter().map(|counts| counts[number]).sum();
            (space.width as usize, Sums { regions: 1, in_data: in_data[number], in_batches })
        });
        Some(regions.collect::<Vec<_>>())
    };
    let parts: Vec<_> = plan.below_head().par_iter().filter_map(of_part).collect();
    let mut sums: BTreeMap<usize, Sums> = BTreeMap::new();
    for (width, own) in parts.into_iter().flatten() {
        let sum = sums.entry(width).or_default();
        sum.regions += own.regions;
        sum.in_data += own.in_data;
        sum.in_batches += own.in_batches;
    }
    let mean = |(variables, sums): (usize, Sums)| OfSize {
        variables,
        in_data: sums.in_data as f64 / sums.regions as f64,
        in_batch: sums.in_batches as f64 / (sums.regions * batches.len()) as f64,
    };
    let sizes: Vec<OfSize> = sums.into_iter().map(mean).collect();
    (!sizes.is_empty()).then_some(Agreement { rows: data.rows(), batch: size, sizes })
}
