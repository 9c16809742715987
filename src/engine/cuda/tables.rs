//! A plan as the tables of integers that the kernels read, and the layout of coefficients on a device.
//!
//! The structures are those of `kernels/program.cuh`, word for word; the test below reads that file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::arenas::Needs;
use crate::ids::Id;
use crate::plan::{Column, Op, Part, Plan, Program, Purpose, Source, Step, Term, Value};

/// The names of the operations in the kernels, by code.
pub(super) const OPS: [&str; 15] = [
    "LOOKUP",
    "GAUSSIAN",
    "LOG_LOOKUP",
    "POISSON",
    "ONE",
    "IMPORT",
    "PRODUCT",
    "KRONECKER",
    "ADD_LOGS",
    "EXPONENTIATE",
    "SUM",
    "MIX",
    "PRODUCT_SUM",
    "SPARSE",
    "KRONECKER_SUM",
];

/// No place, and a gradient that goes on to a table; see `Operand`.
pub(super) const NOWHERE: i32 = -1;
const TO_TABLE: i32 = -2;

/// The code of an operation.
pub(super) fn code(op: Op) -> usize {
    match op {
        Op::Lookup { .. } => 0,
        Op::Gaussian { .. } => 1,
        Op::LogLookup { .. } => 2,
        Op::Poisson { .. } => 3,
        Op::One => 4,
        Op::Import { .. } => 5,
        Op::Product => 6,
        Op::Kronecker => 7,
        Op::AddLogs => 8,
        Op::Exponentiate => 9,
        Op::Sum { .. } => 10,
        Op::Mix { .. } => 11,
        Op::ProductSum { .. } => 12,
        Op::Sparse { .. } => 13,
        Op::KroneckerSum { .. } => 14,
    }
}

/// A table of coefficients: `rows` × `cols`, at `host` of its part in the plan and at `device` of all
/// coefficients on the device, where each row begins at a multiple of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Table {
    host: usize,
    device: usize,
    rows: usize,
    cols: usize,
}

/// `cols`, rounded up to a multiple of four.
fn pitch(cols: usize) -> usize {
    cols.next_multiple_of(4)
}

/// What the kernels read of a plan.
pub(super) struct Tables {
    /// `Step`s of all programs, skipping inline values.
    steps: Vec<i32>,
    /// `Operand`s: of all steps, then the outputs of all programs.
    operands: Vec<i32>,
    /// `Column`s of all parts.
    columns: Vec<i32>,
    /// `Part`s, as 64-bit words.
    parts: Vec<i32>,
    /// `List`s of all programs.
    lists: Vec<i32>,
    /// `Term`s of all programs.
    terms: Vec<i32>,
    /// Units that all parts hand to the head.
    pub(super) handed: usize,
    /// Outputs of all parts.
    pub(super) outputs: usize,
    /// Numbers of all coefficients on the device.
    pub(super) coefficients: usize,
    /// The tables of each part.
    layouts: Vec<Vec<Table>>,
}

/// A table of coefficients on the device, as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PlacedTable {
    /// Which part; the head is last.
    part: usize,
    /// Whose coefficients these are.
    source: Source,
    /// Its first number among all coefficients.
    at: usize,
    /// Rows.
    rows: usize,
    /// Columns.
    cols: usize,
    /// Numbers from one row to the next.
    pitch: usize,
}

/// Where a program's steps and outputs begin, and the rows that it needs.
struct Placed {
    first_step: usize,
    steps: usize,
    first_output: usize,
    first_list: usize,
    /// The shape of the table at each place of the part's coefficients.
    shapes: BTreeMap<usize, (usize, usize)>,
    /// Where each of the plan's places lies on the device.
    device: BTreeMap<usize, usize>,
    needs: Needs,
}

impl Placed {
    /// Where a coefficient lies on the device, if it is in a table.
    fn place(&self, host: usize) -> Option<usize> {
        let (&at, &(rows, cols)) = self.shapes.range(..=host).next_back()?;
        let off = host - at;
        (off < rows * cols).then(|| self.device[&at] + off / cols * pitch(cols) + off % cols)
    }
}

/// Where the coefficients of an operation begin in its part, and its rows and columns.
fn table(program: &Program, step: &Step) -> Option<(usize, usize, usize)> {
    let units = program.values[step.output as usize].units as usize;
    let (at, cols) = match step.op {
        Op::Lookup { table, states, .. } | Op::LogLookup { table, states, .. } => {
            (table, states as usize)
        }
        Op::Poisson { table, .. } => (table, 1),
        Op::Gaussian { table, .. } => (table, 3),
        Op::Mix { weights } => (weights, program.inputs(step).len()),
        op => (op.weights()?, program.formed(step) as usize),
    };
    Some((at as usize, units, cols))
}

/// The weights that only terms of sparse sums read, neighbours as tables of one row; `tables` are those that
/// steps read.
fn runs(program: &Program, tables: &[(usize, usize, usize)]) -> Vec<(usize, usize, usize)> {
    let tables: BTreeMap<usize, usize> =
        tables.iter().map(|&(at, rows, cols)| (at, at + rows * cols)).collect();
    let in_table = |at: usize| tables.range(..=at).next_back().is_some_and(|(_, &end)| at < end);
    let weights = program.terms.iter().map(|term| term.weight);
    let weights = weights.filter(|&weight| weight != crate::plan::NOWHERE);
    let mut weights: Vec<usize> =
        weights.map(|weight| weight as usize).filter(|&at| !in_table(at)).collect();
    weights.sort_unstable();
    weights.dedup();
    let follow = |a: &usize, b: &usize| a + 1 == *b;
    weights.chunk_by(follow).map(|run| (run[0], 1, run.len())).collect()
}

/// Where the gradient by a row of values lies that a sparse sum reads; no place where none is wanted.
fn gradient_rows(program: &Program, step: &Step) -> impl Fn(u32) -> i32 {
    let values = program.inputs(step).iter().map(|input| &program.values[input.value as usize]);
    let rows: BTreeMap<u32, u32> = values.map(|value| (value.rows, value.gradient)).collect();
    move |row| match rows.range(..=row).next_back() {
        Some((&first, &gradient)) if row != crate::plan::NOWHERE && place(gradient) != NOWHERE => {
            place(gradient + (row - first))
        }
        _ => NOWHERE,
    }
}

/// A row of the arena, or no place.
fn place(row: u32) -> i32 {
    if row == crate::plan::NOWHERE { NOWHERE } else { row as i32 }
}

impl Tables {
    /// The tables of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut tables = Tables {
            steps: Vec::new(),
            operands: Vec::new(),
            columns: Vec::new(),
            parts: Vec::new(),
            lists: Vec::new(),
            terms: Vec::new(),
            handed: 0,
            outputs: 0,
            coefficients: 0,
            layouts: Vec::new(),
        };
        let first_handed = Handed::all(plan);
        let placed: Vec<Placed> = (plan.programs.iter())
            .map(|program| tables.program(program, &first_handed, plan.purpose))
            .collect();
        for part in &plan.parts {
            let is_head = std::ptr::eq(part, plan.head());
            tables.part(plan.program(part), part, &placed[part.program as usize], is_head);
        }
        tables
    }

    fn program(&mut self, program: &Program, handed: &[Handed], purpose: Purpose) -> Placed {
        let mut shapes = BTreeMap::new();
        let mut device = BTreeMap::new();
        let mut read: Vec<(usize, usize, usize)> =
            program.steps.iter().filter_map(|step| table(program, step)).collect();
        read.extend(runs(program, &read));
        read.sort_unstable();
        let mut end = 0;
        for (at, rows, cols) in read {
            if shapes.insert(at, (rows, cols)).is_none() {
                device.insert(at, end);
                end += rows * pitch(cols);
            }
        }
        let needs = Needs::of(program, purpose);
        let first_output = 0;
        let first_step = self.steps.len() / STEP;
        let first_list = self.lists.len() / LIST;
        let mut placed =
            Placed { first_step, steps: 0, first_output, first_list, shapes, device, needs };
        self.sparse(program, &placed);
        for step in &program.steps {
            if !program.values[step.output as usize].is_inline() {
                self.step(program, step, &placed, handed);
                placed.steps += 1;
            }
        }
        placed.first_output = self.operands.len() / OPERAND;
        for &output in &program.outputs {
            let words = operand(program, &program.values[output as usize], false, &placed);
            self.operands.extend(words);
        }
        placed
    }

    /// The lists and terms of a program's sparse sums.
    fn sparse(&mut self, program: &Program, placed: &Placed) {
        let first = (self.terms.len() / TERM) as u32;
        let list = |&(begin, end): &(u32, u32)| [begin, end].map(|term| (first + term) as i32);
        self.lists.extend(program.lists.iter().flat_map(list));
        let weight = |weight: u32| placed.place(weight as usize).map_or(NOWHERE, |at| at as i32);
        let mut back = vec![[NOWHERE; 2]; program.terms.len()];
        for step in program.steps.iter().filter(|step| matches!(step.op, Op::Sparse { .. })) {
            let gradient = gradient_rows(program, step);
            for &(begin, end) in program.lists(step) {
                let range = begin as usize..end as usize;
                for (back, term) in back[range.clone()].iter_mut().zip(&program.terms[range]) {
                    *back = [term.left, term.right].map(&gradient);
                }
            }
        }
        let words = |(term, [left, right]): (&Term, [i32; 2])| {
            [place(term.left), place(term.right), weight(term.weight), left, right]
        };
        self.terms.extend(program.terms.iter().zip(back).flat_map(words));
    }

    fn step(&mut self, program: &Program, step: &Step, placed: &Placed, handed: &[Handed]) {
        let first_input = (self.operands.len() / OPERAND) as i32;
        for input in program.inputs(step) {
            let value = &program.values[input.value as usize];
            self.operands.extend(operand(program, value, input.first, placed));
        }
        let (at, width) = match table(program, step) {
            Some((at, _, cols)) => (placed.device[&at] as i32, cols),
            None => (0, 0),
        };
        let (table, column, states) = match step.op {
            Op::Lookup { column, states, .. } | Op::LogLookup { column, states, .. } => {
                (at, column as i32, states as i32)
            }
            Op::Gaussian { column, .. } | Op::Poisson { column, .. } => (at, column as i32, 0),
            Op::Import { part, output } => {
                let of_part = &handed[part as usize];
                (of_part.units[output as usize] as i32, (of_part.first + output as usize) as i32, 0)
            }
            Op::Sparse { lists, left } => (placed.first_list as i32 + lists as i32, left as i32, 0),
            _ => (at, 0, 0),
        };
        let inputs = program.inputs(step).len() as i32;
        let op = code(step.op) as i32;
        let (width, pitch) = (width as i32, pitch(width) as i32);
        self.steps.extend([op, table, column, states, first_input, inputs, width, pitch]);
        let value = &program.values[step.output as usize];
        self.steps.extend(operand(program, value, false, placed));
    }

    fn part(&mut self, program: &Program, part: &Part, placed: &Placed, is_head: bool) {
        let first_column = self.columns.len() / COLUMN;
        for column in &part.columns {
            self.columns.extend(match column {
                Column::Variable(var) => [var.index() as i32, 0],
                Column::Fixed(value) => [NOWHERE, value.to_bits() as i32],
            });
        }
        let Needs { formed, inline, .. } = placed.needs;
        let words = [
            placed.first_step,
            placed.steps,
            first_column,
            placed.first_output,
            program.outputs.len(),
            self.handed,
            self.outputs,
            program.rows as usize,
            program.exponents as usize,
            program.gradient_rows as usize,
            formed,
            inline,
        ];
        self.parts.extend(words.map(|word| word as i32));
        let first = self.coefficients;
        let mut layout: Vec<Table> = (placed.device.iter())
            .map(|(&host, &device)| {
                let (rows, cols) = placed.shapes[&host];
                Table { host, device: first + device, rows, cols }
            })
            .collect();
        layout.sort_unstable_by_key(|table| table.device);
        let count: usize = layout.iter().map(|table| table.rows * pitch(table.cols)).sum();
        self.parts.extend([first, count].into_iter().flat_map(words_of));
        self.coefficients += count;
        self.layouts.push(layout);
        if !is_head {
            self.handed += units_of(program).sum::<usize>();
            self.outputs += program.outputs.len();
        }
    }

    /// The tables that never change, with the names of the buffers that hold them.
    pub(super) fn words(&self) -> [(&'static str, &[i32]); 6] {
        [
            ("steps", &self.steps),
            ("operands", &self.operands),
            ("columns", &self.columns),
            ("parts", &self.parts),
            ("lists", &self.lists),
            ("terms", &self.terms),
        ]
    }

    /// Where each table of coefficients lies.
    pub(super) fn placed(&self, plan: &Plan) -> Vec<PlacedTable> {
        let mut placed = Vec::new();
        for (number, (part, layout)) in plan.parts.iter().zip(&self.layouts).enumerate() {
            for table in layout {
                let at = part.first_coefficient + table.host;
                let place = part.coefficients.binary_search_by_key(&at, |entry| entry.at);
                let entry = place.ok().map(|place| &part.coefficients[place]);
                placed.extend(entry.map(|entry| PlacedTable {
                    part: number,
                    source: entry.source,
                    at: table.device,
                    rows: table.rows,
                    cols: table.cols,
                    pitch: pitch(table.cols),
                }));
            }
        }
        placed
    }

    /// Where a coefficient of a part lies on the device, and the pitch of its table.
    pub(super) fn place(&self, part: usize, host: usize) -> Option<(usize, usize)> {
        // Tables lie in the same order on both sides.
        let tables = &self.layouts[part];
        let table = tables[..tables.partition_point(|table| table.host <= host)].last()?;
        if host >= table.host + table.rows * table.cols {
            return None;
        }
        let (row, col) = ((host - table.host) / table.cols, (host - table.host) % table.cols);
        let pitch = pitch(table.cols);
        Some((table.device + row * pitch + col, pitch))
    }

    /// Writes the coefficients of a part to their places among all on the device.
    pub(super) fn spread(&self, part: usize, host: &[f32], device: &mut [f32]) {
        for table in &self.layouts[part] {
            for row in 0..table.rows {
                let (from, to) =
                    (table.host + row * table.cols, table.device + row * pitch(table.cols));
                device[to..to + table.cols].copy_from_slice(&host[from..from + table.cols]);
            }
        }
    }

    /// The way back of [`Tables::spread`].
    pub(super) fn collect(&self, part: usize, device: &[f32], host: &mut [f32]) {
        for table in &self.layouts[part] {
            for row in 0..table.rows {
                let (to, from) =
                    (table.host + row * table.cols, table.device + row * pitch(table.cols));
                host[to..to + table.cols].copy_from_slice(&device[from..from + table.cols]);
            }
        }
    }
}

/// Words of each structure.
const OPERAND: usize = 8;
const STEP: usize = 8 + OPERAND;
const COLUMN: usize = 2;
const LIST: usize = 2;
const TERM: usize = 5;

/// The words of a 64-bit number, lowest first.
pub(super) fn words_of(number: usize) -> [i32; 2] {
    [number as u32 as i32, (number as u64 >> 32) as i32]
}

fn units_of(program: &Program) -> impl Iterator<Item = usize> + '_ {
    program.outputs.iter().map(|&output| program.values[output as usize].units as usize)
}

/// Where the outputs of a part lie among those of all parts.
struct Handed {
    /// The number of its first output.
    first: usize,
    /// The first unit of each output.
    units: Vec<usize>,
}

impl Handed {
    fn all(plan: &Plan) -> Vec<Handed> {
        let (mut first, mut unit) = (0, 0);
        let of = |part: &Part| {
            let program = plan.program(part);
            let begin = first;
            first += program.outputs.len();
            let units = units_of(program).map(|units| {
                unit += units;
                unit - units
            });
            Handed { first: begin, units: units.collect() }
        };
        plan.below_head().iter().map(of).collect()
    }
}

/// The words of an `Operand`.
fn operand(program: &Program, value: &Value, first: bool, placed: &Placed) -> [i32; OPERAND] {
    let step = &program.steps[value.step as usize];
    let (column, table, states) = match step.op {
        Op::Lookup { column, table, states } if value.is_inline() => {
            (column as i32, placed.device[&(table as usize)] as i32, states as i32)
        }
        _ => (0, 0, 0),
    };
    let gradient = match value.is_inline() && value.learns {
        true => TO_TABLE,
        false => place(value.gradient),
    };
    let (units, rows) = (value.units as i32, place(value.rows));
    [units, rows, place(value.exponent), gradient, i32::from(first), column, table, states]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = include_str!("../../../kernels/program.cuh");

    /// The names between the braces that follow `opening`, comments left out.
    fn members(opening: &str) -> Vec<String> {
        let after = PROGRAM.split_once(opening).map(|(_, after)| after).unwrap_or_default();
        let body = after.split_once('}').map(|(body, _)| body).unwrap_or_default();
        let code = body.lines().map(|line| line.split("//").next().unwrap_or_default());
        let code: String = code.collect();
        let names = code.split([',', ';']).map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| name.rsplit(' ').next().unwrap_or_default().to_string()).collect()
    }

    #[test]
    fn the_kernels_name_the_same_operations_in_the_same_order() {
        assert_eq!(members("enum Op {"), OPS);
    }

    #[test]
    fn the_kernels_structures_have_as_many_words_and_the_same_fields() {
        assert_eq!(
            members("struct Operand {"),
            ["units", "rows", "exponent", "gradient", "first", "column", "table", "states"]
        );
        let step =
            ["op", "table", "column", "states", "first_input", "inputs", "width", "pitch", "out"];
        assert_eq!(members("struct Step {"), step);
        assert_eq!(members("struct Column {"), ["variable", "fixed"]);
        assert_eq!(members("struct Term {"), ["left", "right", "weight", "d_left", "d_right"]);
        assert_eq!(members("struct List {"), ["first", "end"]);
        let part = [
            "first_step",
            "steps",
            "first_column",
            "first_output",
            "outputs",
            "handed",
            "handed_outputs",
            "rows",
            "exponents",
            "gradients",
            "formed",
            "inline_rows",
            "coefficients",
            "count",
        ];
        assert_eq!(members("struct Part {"), part);
    }
}
