//! The rows of a batch: those of prepared data each distinct one once.

use super::passes::{Batch, Distinct};
use super::shared::Prepared;
use crate::data::Dataset;
use crate::plan::Plan;

/// No place.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What is evaluated of a batch, and what for.
pub(super) struct BatchRows {
    /// Which prepared data they are of.
    prepared: Option<usize>,
    /// Their numbers among its distinct rows.
    numbers: Vec<u32>,
    /// What is recorded of each.
    records: Vec<u16>,
    /// A row of the data for each.
    read: Vec<u32>,
    /// Whether some rows of these data lack values.
    pub(super) missing: bool,
    /// How many rows of the batch each stands for.
    weights: Vec<f32>,
    /// Which of them stands for each row of the batch.
    place: Vec<u32>,
    /// ln p of each.
    pub(super) log_p: Vec<f64>,
}

impl BatchRows {
    /// For batches of at most `most` rows.
    pub(super) fn new(most: usize) -> Self {
        BatchRows {
            prepared: None,
            missing: false,
            numbers: Vec::with_capacity(most),
            records: Vec::new(),
            read: Vec::with_capacity(most),
            weights: Vec::with_capacity(most),
            place: Vec::with_capacity(most),
            log_p: Vec::with_capacity(most),
        }
    }

    /// Takes rows of a data set, which may be a prepared one.
    pub(super) fn take(&mut self, rows: &[u32], known: Option<(usize, &mut Prepared)>) {
        let BatchRows { prepared, numbers, records, read, weights, place, log_p, .. } = self;
        [&mut *numbers, &mut *read, &mut *place].into_iter().for_each(Vec::clear);
        weights.clear();
        *prepared = None;
        if let Some((number, known)) = known {
            *prepared = Some(number);
            for &row in rows {
                let distinct = known.rows.number[row as usize];
                let at = &mut known.places[distinct as usize];
                if *at == NOWHERE {
                    *at = numbers.len() as u32;
                    numbers.push(distinct);
                    read.push(known.rows.first[distinct as usize]);
                    weights.push(0.0);
                }
                weights[*at as usize] += 1.0;
                place.push(*at);
            }
            numbers.iter().for_each(|&distinct| known.places[distinct as usize] = NOWHERE);
            known.records.read(numbers, records);
        } else {
            read.extend(rows);
            weights.resize(rows.len(), 1.0);
            place.extend(0..rows.len() as u32);
        }
        log_p.clear();
        log_p.resize(read.len(), 0.0);
    }

    /// Rows of the data that are to be evaluated.
    pub(super) fn read(&self) -> &[u32] {
        &self.read
    }

    /// Which prepared data they are of.
    pub(super) fn prepared(&self) -> Option<usize> {
        self.prepared
    }

    /// What all tasks of the batch read.
    pub(super) fn batch<'a>(&'a self, plan: &'a Plan, data: &'a [f32], missing: bool) -> Batch<'a> {
        let (numbers, records) = (&self.numbers[..], &self.records[..]);
        let distinct = self.prepared.map(|_| Distinct { numbers, records });
        Batch { plan, data, missing, rows: self.read.len(), weights: &self.weights, distinct }
    }

    /// How many rows of the batch one of those evaluated stands for.
    pub(super) fn standing_for(&self, row: u32) -> usize {
        self.weights[row as usize] as usize
    }

    /// Writes ln p of each row of the batch.
    pub(super) fn tell(&self, log_p: &mut [f64]) {
        for (out, &place) in log_p.iter_mut().zip(&self.place) {
            *out = self.log_p[place as usize];
        }
    }
}

impl Prepared {
    /// Whether it is this data set that was prepared.
    pub(super) fn is_of(&self, data: &Dataset) -> bool {
        std::sync::Arc::ptr_eq(&self.data, data.identity())
    }
}
