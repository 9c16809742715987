//! What leaves say of their variables, weighed by the flows through them.

use pulp::Simd;

use super::super::backward::Gather;
use super::super::forward::{SLIGHT, STEEP, Unit};
use super::super::kernels::add_states;
use super::super::logs::{GatherLogs, LogRow};
use crate::ids::{Id, VarId};
use crate::plan::{Column, LANES, Op, Step, Term};
use crate::variables::{VarKind, Variables};

/// How far from one the flows over a variable's leaves may sum to, by rounding.
const CLOSE: f64 = 1.0 / (1 << 16) as f64;

/// Where what is gathered of each variable lies.
pub(super) struct Layout {
    places: Vec<Place>,
    /// States of all discrete variables.
    states: usize,
    /// Real variables.
    reals: usize,
}

/// Where what is gathered of a variable lies.
#[derive(Clone, Copy)]
struct Place {
    kind: VarKind,
    /// Its first state among all, or its number among real variables.
    first: usize,
    /// Whether some leaf reads it.
    depends: bool,
}

impl Layout {
    pub(super) fn new(variables: &Variables, depends: &[bool]) -> Self {
        let (mut states, mut reals) = (0, 0);
        let place = |var: VarId| {
            let kind = variables.kind(var);
            let (total, own) = match kind {
                VarKind::Categorical { states: own } => (&mut states, own as usize),
                VarKind::Real => (&mut reals, 1),
            };
            *total += own;
            Place { kind, first: *total - own, depends: depends[var.index()] }
        };
        let places = variables.ids().map(place).collect();
        Layout { places, states, reals }
    }

    /// Writes the numbers of all variables given a row: of its values, NaN where missing, and what was
    /// gathered of its states and real variables. Returns whether all flows sum to one.
    pub(super) fn tell(
        &self,
        value: impl Fn(usize) -> f32,
        state: impl Fn(usize) -> f64,
        real: impl Fn(usize) -> Mixture,
        mut out: &mut [f64],
    ) -> bool {
        let mut is_sure = true;
        // Written so that what is no number is not close.
        let mut check = |place: &Place, flow: f64| {
            is_sure &= !place.depends || (flow - 1.0).abs() <= CLOSE;
        };
        for (var, place) in self.places.iter().enumerate() {
            let x = value(var);
            match place.kind {
                VarKind::Categorical { states } => {
                    let own = crate::simd::take(&mut out, states as usize);
                    if !x.is_nan() {
                        own.fill(0.0);
                        own[x as usize] = 1.0;
                        continue;
                    }
                    let states = place.first..place.first + own.len();
                    own.iter_mut().zip(states).for_each(|(own, at)| *own = state(at));
                    let flow: f64 = own.iter().sum();
                    own.iter_mut().for_each(|p| *p /= flow);
                    check(place, flow);
                }
                VarKind::Real => {
                    let own = crate::simd::take(&mut out, 2);
                    if !x.is_nan() {
                        own.copy_from_slice(&[x.into(), 0.0]);
                        continue;
                    }
                    let mixture = real(place.first);
                    own.copy_from_slice(&[mixture.mean, mixture.squares / mixture.weight]);
                    check(place, mixture.weight);
                }
            }
        }
        is_sure
    }
}

/// Mean and squares of a mixture, as its parts are added. The mean of nothing is NaN once it is asked for
/// by a division.
#[derive(Clone, Copy, Default)]
pub(super) struct Mixture {
    weight: f64,
    mean: f64,
    /// Weighed sum of the squares about the mean.
    squares: f64,
}

impl Mixture {
    /// Adds a part by its weight, mean and variance. Nothing large is subtracted (West 1979, *Updating
    /// Mean and Variance Estimates: An Improved Method*).
    fn add(&mut self, weight: f64, (mean, variance): (f64, f64)) {
        if weight == 0.0 {
            return;
        }
        self.weight += weight;
        let off = mean - self.mean;
        self.mean += off * (weight / self.weight);
        self.squares += weight * (variance + off * (mean - self.mean));
    }
}

/// Mean and variance of a unit of a density's table.
fn moments(op: Op, coefficients: &[f32], unit: usize) -> (f64, f64) {
    let at = |table: u32| f64::from(coefficients[table as usize]);
    match op {
        Op::Gaussian { table, .. } => {
            let at = |entry: u32| at(table + 3 * unit as u32 + entry);
            (at(0), 1.0 / at(1))
        }
        Op::Poisson { table, .. } => {
            let rate = at(table + unit as u32).exp();
            (rate, rate)
        }
        _ => (f64::NAN, f64::NAN),
    }
}

/// What the leaves of a tile say.
pub(super) struct Leaves {
    /// [states][LANES].
    states: Vec<f32>,
    /// [real variables][LANES].
    reals: Vec<Mixture>,
    /// Of each variable, whether some row of the tile lacks it.
    open: Vec<bool>,
    /// Of each lane, whether a density that counts is too small, or too large, for its logarithm in single
    /// precision to say how it compares with others.
    steep: [bool; LANES],
}

impl Leaves {
    pub(super) fn new(layout: &Layout) -> Self {
        Leaves {
            states: vec![0.0; layout.states * LANES],
            reals: vec![Mixture::default(); layout.reals * LANES],
            open: vec![false; layout.places.len()],
            steep: [false; LANES],
        }
    }

    /// Begins a tile [variables][LANES] of which so many lanes are rows.
    pub(super) fn begin(&mut self, tile: &[f32], rows: usize) {
        self.states.fill(0.0);
        self.reals.fill(Mixture::default());
        self.steep.fill(false);
        for (open, column) in self.open.iter_mut().zip(tile.chunks_exact(LANES)) {
            *open = column[..rows].iter().any(|x| x.is_nan());
        }
    }

    /// Writes the numbers given the row of a lane. Returns whether they can be relied upon.
    pub(super) fn tell(&self, layout: &Layout, tile: &[f32], lane: usize, out: &mut [f64]) -> bool {
        let sum_to_one = layout.tell(
            |var| tile[var * LANES + lane],
            |state| self.states[state * LANES + lane].into(),
            |real| self.reals[real * LANES + lane],
            out,
        );
        sum_to_one && !self.steep[lane]
    }
}

/// Leaves of a tile, as the way back through a program meets them.
pub(super) struct Gathered<'a> {
    pub(super) layout: &'a Layout,
    pub(super) leaves: &'a mut Leaves,
    /// The terms of the program's sparse sums, by gradients.
    pub(super) terms: &'a [Term],
}

impl Gather for Gathered<'_> {
    const FLOWS: bool = true;

    fn weights<S: Simd>(&mut self, _: S, _: u32, _: &[f32], _: &[f32], _: &mut [f32]) {}

    fn weight(&mut self, _: usize, _: &[f32], _: &[f32]) {}

    fn leaf<S: Simd>(
        &mut self,
        simd: S,
        unit: &Unit<'_>,
        step: &Step,
        gradient: &[f32],
        _: (&mut [f32], &mut [f32]),
    ) {
        let Some((var, place)) = self.layout.of(unit.columns, step.op) else { return };
        if !self.leaves.open[var] {
            return;
        }
        let Leaves { states, reals, .. } = &mut *self.leaves;
        let units = gradient.len() / LANES;
        if let Some((table, count, is_log)) = table_of(step.op) {
            let table = unit.table(table, units * count);
            let out = &mut states[place.first * LANES..(place.first + count) * LANES];
            if is_log {
                let table: Vec<f32> = table.iter().map(|log| log.exp()).collect();
                return add_states(simd, &table, gradient, out);
            }
            return add_states(simd, table, gradient, out);
        }
        let column = &unit.data[var * LANES..(var + 1) * LANES];
        let own = &mut reals[place.first * LANES..(place.first + 1) * LANES];
        for (index, d) in gradient.chunks_exact(LANES).enumerate() {
            let of_unit = moments(step.op, unit.coefficients, index);
            for ((own, &d), _) in own.iter_mut().zip(d).zip(column).filter(|(_, x)| x.is_nan()) {
                own.add(d.into(), of_unit);
            }
        }
    }

    fn logs(&mut self, logs: &[f32], flows: &[f32]) {
        for (logs, flows) in logs.chunks_exact(LANES).zip(flows.chunks_exact(LANES)) {
            for ((steep, log), &flow) in self.leaves.steep.iter_mut().zip(logs).zip(flows) {
                *steep |= log.abs() > STEEP && flow > SLIGHT;
            }
        }
    }

    fn terms(&self) -> &[Term] {
        self.terms
    }
}

impl Layout {
    /// The variable that a leaf reads, and its place; nothing of a leaf whose value is fixed.
    fn of(&self, columns: &[Column], op: Op) -> Option<(usize, Place)> {
        let (Op::Lookup { column, .. }
        | Op::Gaussian { column, .. }
        | Op::LogLookup { column, .. }
        | Op::Poisson { column, .. }) = op
        else {
            return None;
        };
        match columns[column as usize] {
            Column::Variable(var) => Some((var.index(), self.places[var.index()])),
            Column::Fixed(_) => None,
        }
    }
}

/// The table [units, states] of a discrete leaf, how many states it has, and whether of logarithms.
fn table_of(op: Op) -> Option<(u32, usize, bool)> {
    match op {
        Op::Lookup { table, states, .. } => Some((table, states as usize, false)),
        Op::LogLookup { table, states, .. } => Some((table, states as usize, true)),
        _ => None,
    }
}

/// What the leaves of one row say, in the log domain.
pub(super) struct RowLeaves<'a> {
    layout: &'a Layout,
    states: Vec<f64>,
    reals: Vec<Mixture>,
}

impl<'a> RowLeaves<'a> {
    pub(super) fn new(layout: &'a Layout) -> Self {
        let (states, reals) = (vec![0.0; layout.states], vec![Mixture::default(); layout.reals]);
        RowLeaves { layout, states, reals }
    }

    /// Writes the numbers given the row, whose values are `value`.
    pub(super) fn tell(&self, value: impl Fn(usize) -> f32, out: &mut [f64]) {
        self.layout.tell(value, |state| self.states[state], |real| self.reals[real], out);
    }
}

impl GatherLogs for RowLeaves<'_> {
    fn weight(&mut self, _: usize, _: f64) {}

    fn leaf(&mut self, row: &LogRow<'_>, step: &Step, flows: &[f64]) {
        let Some((_, place)) = self.layout.of(row.unit.columns, step.op) else { return };
        for (index, &flow) in flows.iter().enumerate().filter(|(_, flow)| **flow > 0.0) {
            let Some((table, count, is_log)) = table_of(step.op) else {
                self.reals[place.first].add(flow, moments(step.op, row.unit.coefficients, index));
                continue;
            };
            let table = row.unit.table(table + (index * count) as u32, count);
            for (own, &entry) in self.states[place.first..].iter_mut().zip(table) {
                let p = f64::from(entry);
                *own += flow * if is_log { p.exp() } else { p };
            }
        }
    }
}
