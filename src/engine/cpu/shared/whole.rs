//! A part over a whole interned data set: each entry of each of its spaces once, in the order in which
//! they were interned, so that nothing has to be found.
//!
//! Values lie one after the other, each as long as its space has entries. Entries come in groups of
//! eight; the places after the last hold numbers that are never read.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::bounds::{lacking, largest};
use super::eight::{self, Index, Operand, Results};
use super::forward::{form_of, lookup};
use super::interned::{Interned, Map};
use super::narrow;
use super::rows::{Factor, rows_times, scale_taking, taken};
use crate::plan::layout::{
    BLOCK, Form, Kind, Layout, NARROW, Placed, Read, SLACK, Through, stride,
};
use crate::plan::{LANES, Program, Spaces};
use crate::simd::{align, transpose};

/// Entries of a step whose inputs are looked up at once, where they do not come eight at a time.
const RUN: usize = 512;

/// What a part hands to the head, for all distinct rows of a data set.
#[derive(Default)]
pub(in crate::engine::cpu) struct Outputs {
    /// Units, [tiles][units of all outputs][LANES].
    pub(in crate::engine::cpu) units: Vec<f32>,
    /// Exponents and, unless they are all zero, bounds, [tiles][outputs][LANES].
    pub(in crate::engine::cpu) exponents: Vec<i32>,
    pub(in crate::engine::cpu) bounds: Vec<f32>,
    pub(in crate::engine::cpu) is_bounded: bool,
}

impl Outputs {
    /// Makes room for so many rows.
    pub(in crate::engine::cpu) fn reserve(&mut self, program: &Program, rows: usize) {
        let lanes = rows.next_multiple_of(LANES);
        grow(&mut self.units, lanes * units_of(program));
        grow(&mut self.exponents, lanes * program.outputs.len());
        grow(&mut self.bounds, lanes * program.outputs.len());
    }

    /// Bytes for so many rows.
    pub(in crate::engine::cpu) fn bytes(program: &Program, rows: usize) -> usize {
        4 * rows.next_multiple_of(LANES) * (units_of(program) + 2 * program.outputs.len())
    }
}

/// Makes a buffer longer, if it is shorter.
pub(in crate::engine::cpu) fn grow<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.reserve_exact(len - buffer.len());
        buffer.resize(len, T::default());
    }
}

fn units_of(program: &Program) -> usize {
    program.outputs.iter().map(|&output| program.values[output as usize].units as usize).sum()
}

/// Where a value lies.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Its first number, and numbers of an entry.
    rows: usize,
    stride: usize,
    /// Its first exponent, and bound.
    entries: usize,
    /// Entries, in whole groups of eight.
    count: usize,
}

impl Place {
    fn rows(&self) -> Range<usize> {
        self.rows..self.rows + self.count * self.stride
    }

    fn entries(&self) -> Range<usize> {
        self.entries..self.entries + self.count
    }
}

/// Numbers that a worker needs to run a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::cpu) struct Size {
    /// Of values.
    rows: usize,
    /// Of exponents, and of bounds.
    entries: usize,
    /// Of what a block of entries forms, and of the widest matrix of weights.
    formed: usize,
    weights: usize,
    steps: usize,
}

impl Size {
    pub(super) fn max(self, other: Size) -> Size {
        Size {
            rows: self.rows.max(other.rows),
            entries: self.entries.max(other.entries),
            formed: self.formed.max(other.formed),
            weights: self.weights.max(other.weights),
            steps: self.steps.max(other.steps),
        }
    }

    /// Bytes of a worker's memory.
    pub(in crate::engine::cpu) fn bytes(self) -> usize {
        let Size { rows, entries, formed, weights, steps } = self;
        let numbers = rows + 3 * entries + formed + weights + 3 * SLACK + 3 * RUN;
        4 * numbers + steps * size_of::<Place>()
    }
}

/// Gives the values of a part their places: calls `place` with each, in order. With `columns`, one of a
/// single unit that only the head reads is a number an entry. Returns what they take.
fn places(
    layout: &Layout,
    interned: &Interned,
    columns: bool,
    mut place: impl FnMut(Place),
) -> Size {
    let mut size = Size::default();
    for step in &layout.steps {
        let count = match layout.kinds[step.output.space] {
            Kind::Table(entries) => entries as usize,
            Kind::Listed | Kind::Each => interned.entries(step.output.space),
        };
        let is_column = columns
            && step.output.units == 1
            && !step.output.is_read
            && matches!(step.form, Form::ProductSum { narrow: true, .. });
        let stride = if is_column { 1 } else { step.output.stride };
        let count = count.next_multiple_of(NARROW);
        place(Place { rows: size.rows, stride, entries: size.entries, count });
        size.rows += count * stride;
        size.entries += count;
    }
    size
}

/// What a part takes.
pub(super) fn size(layout: &Layout, interned: &Interned) -> Size {
    let (formed, weights) = (layout.sizes.formed, layout.sizes.weights);
    let steps = layout.steps.len();
    Size { formed, weights, steps, ..places(layout, interned, false, |_| {}) }
}

/// The memory of one worker.
#[derive(Default)]
pub(in crate::engine::cpu) struct WholeWorkspace {
    places: Vec<Place>,
    rows: Vec<f32>,
    exponents: Vec<i32>,
    /// For each entry its bound, and the largest of its units, if they are wanted.
    bounds: Vec<f32>,
    tops: Vec<f32>,
    /// What the entries of a run read of either input.
    index: [Vec<u32>; 2],
    scales: Vec<f32>,
    formed: Vec<f32>,
    weights: Vec<f32>,
}

impl WholeWorkspace {
    pub(in crate::engine::cpu) fn reserve(&mut self, size: Size) {
        self.places.clear();
        self.places.reserve_exact(size.steps);
        grow(&mut self.rows, size.rows + SLACK);
        grow(&mut self.exponents, size.entries);
        grow(&mut self.bounds, size.entries);
        grow(&mut self.tops, size.entries);
        self.index.iter_mut().for_each(|index| grow(index, RUN));
        grow(&mut self.scales, RUN);
        grow(&mut self.formed, size.formed + SLACK);
        grow(&mut self.weights, size.weights + SLACK);
    }
}

/// A part over all entries.
pub(super) struct WholePart<'a> {
    pub(super) of_program: (&'a Program, &'a Spaces, &'a Layout),
    pub(super) interned: &'a Interned,
    pub(super) coefficients: &'a [f32],
    /// Whether no unit can be lost.
    pub(super) certified: bool,
    pub(super) workspace: &'a mut WholeWorkspace,
    /// Distinct rows.
    pub(super) rows: usize,
    pub(super) outputs: &'a mut Outputs,
}

impl WithSimd for WholePart<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let WholePart { of_program, interned, coefficients, certified, .. } = self;
        let WholePart { workspace, rows, outputs, .. } = self;
        let (program, spaces, layout) = of_program;
        let WholeWorkspace { places: of_value, rows: values, exponents, bounds, .. } = workspace;
        let WholeWorkspace { index, scales, formed, weights, tops, .. } = workspace;
        of_value.clear();
        places(layout, interned, eight::fits::<S>(), |place| of_value.push(place));
        let (values, formed, weights) = (align(values), align(formed), align(weights));
        let unit = Unit { layout, interned, coefficients, places: of_value };
        let mut scratch = Scratch { index, scales, formed, weights };
        for (number, step) in unit.layout.steps.iter().enumerate() {
            let place = &unit.places[number];
            let (below, out) = values.split_at_mut(place.rows);
            let (exponents_below, own) = exponents.split_at_mut(place.entries);
            let to = (&mut out[..place.count * place.stride], &mut own[..place.count]);
            unit.run(simd, step, (below, exponents_below), to, &mut scratch);
            if !certified {
                unit.bound(simd, number, (&*values, &*exponents), (bounds, tops));
            }
        }
        outputs.is_bounded = !certified;
        unit.export((program, spaces), rows, (values, exponents, bounds), outputs);
    }
}

/// A part, and where its values lie.
struct Unit<'a> {
    layout: &'a Layout,
    interned: &'a Interned,
    coefficients: &'a [f32],
    places: &'a [Place],
}

/// What a step works in.
struct Scratch<'a> {
    index: &'a mut [Vec<u32>; 2],
    scales: &'a mut [f32],
    formed: &'a mut [f32],
    weights: &'a mut [f32],
}

/// Values, and their exponents.
type Values<'a> = (&'a [f32], &'a [i32]);
type ValuesMut<'a> = (&'a mut [f32], &'a mut [i32]);

/// Where a kernel writes values whose scales nobody reads.
fn unscaled<'a>(rows: &'a mut [f32], exponents: &'a mut [i32]) -> Results<'a> {
    Results { rows, exponents, scales: &mut [] }
}

impl<'a> Unit<'a> {
    /// One step over all of its entries.
    fn run<S: Simd>(
        &self,
        simd: S,
        step: &Placed,
        below: Values<'_>,
        (out, exponents): ValuesMut<'_>,
        scratch: &mut Scratch<'_>,
    ) {
        let table = |at: usize, len: usize| &self.coefficients[at..at + len];
        match step.form {
            Form::Lookup { table: at, states } => {
                // Rows beyond the states and one for a missing value are not read.
                let rows = out.len().min((states + 1) * step.output.stride);
                lookup(table(at, step.output.units * states), states, step, &mut out[..rows]);
                exponents.fill(0);
                return;
            }
            Form::One => {
                for row in out.chunks_exact_mut(step.output.stride) {
                    row.fill(0.0);
                    row[..step.output.units].fill(1.0);
                }
                exponents.fill(0);
                return;
            }
            Form::ProductSum { weights, narrow: false }
            | Form::PairSum { weights }
            | Form::Sum { weights } => {
                let (width, units, own) = (step.width, step.output.units, step.output.stride);
                let columns = &mut scratch.weights[..width * own];
                columns.fill(0.0);
                transpose((table(weights, width * units), width), (columns, own), units, width);
            }
            Form::ProductSum { .. } | Form::Product { .. } => {}
        }
        let (a, b) = (self.operand(&step.inputs[0], below), self.operand(&step.inputs[1], below));
        match step.form {
            Form::ProductSum { weights, narrow: true } if eight::fits::<S>() => {
                let shape = (step.width, step.output.units);
                let weights = table(weights, shape.0 * shape.1);
                eight::product_sum(simd, shape, a, b, weights, unscaled(out, exponents));
            }
            Form::Product { pairs: false } if self.layout.narrow && eight::fits::<S>() => {
                eight::product(simd, a, b, unscaled(out, exponents));
            }
            _ => {
                let runs = out.chunks_mut(RUN * step.output.stride).zip(exponents.chunks_mut(RUN));
                for (run, to) in runs.enumerate() {
                    self.in_rows(simd, step, [a, b], run * RUN, to, scratch);
                }
            }
        }
    }

    /// What a step reads of an input.
    #[inline]
    fn operand<'b>(&self, read: &Read, (rows, exponents): Values<'b>) -> Operand<'b>
    where
        'a: 'b,
    {
        let place = &self.places[read.value.id];
        let index = self.index(read);
        Operand { rows: &rows[place.rows()], exponents: &exponents[place.entries()], index }
    }

    /// Which entry of an input each entry of an output reads.
    #[inline]
    fn index(&self, read: &Read) -> Index<'a> {
        match read.through {
            Through::Same => Index::Same,
            Through::Map(projection) => Index::Long(self.layout.map(projection)),
            Through::Found(projection) => self.interned.map(projection).index(),
        }
    }

    /// A run of entries, from number `first` on, by kernels that leave the scales, from which exponents
    /// are told.
    fn in_rows<S: Simd>(
        &self,
        simd: S,
        step: &Placed,
        operands: [Operand<'_>; 2],
        first: usize,
        (out, exponents): ValuesMut<'_>,
        scratch: &mut Scratch<'_>,
    ) {
        let Scratch { index, scales, formed, weights } = scratch;
        let scales = &mut scales[..exponents.len()];
        for (operand, index) in operands.iter().zip(index.iter_mut()) {
            operand.index.copy(first, &mut index[..exponents.len()]);
        }
        let index = index.each_ref().map(|index| &index[..exponents.len()]);
        let factors = [0, 1].map(|input| {
            let (stride, rows) = (step.inputs[input].value.stride, operands[input].rows);
            Factor { rows, stride, index: index[input] }
        });
        let (own, width) = (step.output.stride, step.width);
        match step.form {
            Form::ProductSum { weights: at, narrow: true } => {
                let shape = (width, step.output.units);
                let weights = &self.coefficients[at..at + shape.0 * shape.1];
                narrow::product_sum(simd, shape, factors[0], factors[1], weights, out, scales);
            }
            Form::ProductSum { .. } | Form::PairSum { .. } | Form::Sum { .. } => {
                let narrow = self.layout.narrow;
                let stride = stride(narrow, width);
                let blocks = out.chunks_mut(BLOCK * own).zip(scales.chunks_mut(BLOCK));
                for (block, (out, scales)) in blocks.enumerate() {
                    let formed = &mut formed[..scales.len() * stride];
                    form_of(simd, step, narrow, factors, block * BLOCK, formed, scales);
                    rows_times(simd, (formed, stride), width, weights, own, out);
                }
            }
            _ => form_of(simd, step, self.layout.narrow, factors, 0, out, scales),
        }
        let inputs = if matches!(step.form, Form::Sum { .. }) { 1 } else { 2 };
        exponents.iter_mut().zip(&*scales).for_each(|(out, &scale)| *out = taken(scale));
        for (operand, index) in operands.iter().zip(index).take(inputs) {
            let entries = exponents.iter_mut().zip(index);
            entries.for_each(|(out, &entry)| *out += operand.exponents[entry as usize]);
        }
    }

    /// The bounds of a step that was run.
    fn bound<S: Simd>(
        &self,
        simd: S,
        number: usize,
        (values, exponents): Values<'_>,
        (bounds, tops): (&mut [f32], &mut [f32]),
    ) {
        let (step, place) = (&self.layout.steps[number], &self.places[number]);
        let (below, bounds) = bounds.split_at_mut(place.entries);
        let (tops_below, tops) = tops.split_at_mut(place.entries);
        if place.stride == step.output.stride {
            largest(simd, &values[place.rows()], place.stride, &mut tops[..place.count]);
        }
        let inputs = step.inputs.map(|read| {
            let own = match step.form {
                Form::Lookup { .. } | Form::One => 0..0,
                _ => self.places[read.value.id].entries(),
            };
            let lists = (&below[own.clone()], &tops_below[own.clone()], &exponents[own]);
            (lists, self.index(&read))
        });
        let read = |input: usize, entry: usize| {
            let ((bounds, tops, _), index) = inputs[input];
            let entry = index.of(entry);
            (bounds[entry], tops[entry])
        };
        let taken = &exponents[place.entries()];
        let scale = |entry: usize| {
            let [a, b] = inputs.map(|((_, _, exponents), index)| exponents[index.of(entry)]);
            scale_taking(taken[entry].wrapping_sub(a).wrapping_sub(b))
        };
        lacking(step, read, scale, &mut bounds[..place.count]);
    }

    /// Hands the outputs to the head, row by row.
    fn export(
        &self,
        (program, spaces): (&Program, &Spaces),
        rows: usize,
        (values, exponents, bounds): (&[f32], &[i32], &[f32]),
        outputs: &mut Outputs,
    ) {
        let (total, count) = (units_of(program), program.outputs.len());
        let mut before = 0;
        for (output, &value) in program.outputs.iter().enumerate() {
            let place = &self.places[value as usize];
            let (values, exponents) = (&values[place.rows()], &exponents[place.entries()]);
            let bounds = &bounds[place.entries()];
            let of_row = self.interned.of_row(spaces.of_value[value as usize] as usize);
            let of_row = of_row.map_or(Index::Same, Map::index);
            let units = program.values[value as usize].units as usize;
            for first in (0..rows).step_by(LANES) {
                let lanes = LANES.min(rows - first);
                let entry = |lane: usize| of_row.of(first + lane);
                let to = &mut outputs.units[first * total + before * LANES..];
                for (unit, to) in to.chunks_exact_mut(LANES).take(units).enumerate() {
                    for (lane, to) in to.iter_mut().enumerate().take(lanes) {
                        *to = values[entry(lane) * place.stride + unit];
                    }
                }
                let at = first * count + output * LANES..first * count + output * LANES + LANES;
                for (lane, to) in outputs.exponents[at.clone()].iter_mut().enumerate().take(lanes) {
                    *to = exponents[entry(lane)];
                }
                if outputs.is_bounded {
                    for (lane, to) in outputs.bounds[at].iter_mut().enumerate().take(lanes) {
                        *to = bounds[entry(lane)];
                    }
                }
            }
            before += units;
        }
    }
}
