//! The checker: whether a plan may be run. It knows only the types of a plan, and nothing of the code
//! that makes one.
//!
//! Checked: every input is made before it is read; no two values, or exponents, or gradients that are
//! needed at once overlap, and all lie within their arena; gradients are written once and then added
//! to; widths and domains are those the operation demands; each step reads the whole of one table of
//! every part that runs it; parts and programs that are named exist.
//!
//! Not checked: that the plan computes the circuit it was made from; for that there is the oracle.

use std::collections::HashSet;
use std::fmt;

use super::{
    Bounded, Column, Domain, INDICATORS, Input, LANES, NOWHERE, Op, Part, Place, Plan, Program,
    Purpose, Step,
};

/// Why a plan may not be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFault {
    /// The program, if one is meant.
    pub program: Option<usize>,
    /// The step, if one is meant.
    pub step: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plan may not be run: ")?;
        if let Some(program) = self.program {
            write!(f, "program {program}, ")?;
        }
        if let Some(step) = self.step {
            write!(f, "step {step}: ")?;
        }
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for PlanFault {}

/// Checks a plan.
///
/// # Errors
/// The first fault.
pub fn check(plan: &Plan) -> Result<(), PlanFault> {
    let fault = |message: &str| PlanFault { program: None, step: None, message: message.into() };
    if plan.parts.is_empty() {
        return Err(fault("no head"));
    }
    if plan.shards == 0 {
        return Err(fault("no shards"));
    }
    if plan.batch == 0 || plan.shards as usize > (plan.batch as usize).div_ceil(LANES) {
        return Err(fault("more shards than tiles"));
    }
    let mut next = 0;
    for part in &plan.parts {
        let Some(program) = plan.programs.get(part.program as usize) else {
            return Err(fault("a part of no program"));
        };
        if part.first_coefficient != next {
            return Err(fault("coefficients of parts overlap or leave gaps"));
        }
        next += program.coefficients as usize;
        let columns = program.steps.iter().filter_map(|step| column_of(step.op)).max();
        if columns.is_some_and(|column| column as usize >= part.columns.len()) {
            return Err(fault("a column that the part lacks"));
        }
        let unknown =
            |column: &Column| matches!(column, Column::Variable(var) if var.0 >= plan.variables);
        if part.columns.iter().any(unknown) {
            return Err(fault("a column of an unknown variable"));
        }
    }
    check_groups(plan).map_err(fault)?;
    check_head(plan).map_err(fault)?;
    if next != plan.coefficients {
        return Err(fault("the number of coefficients is wrong"));
    }
    for (number, program) in plan.programs.iter().enumerate() {
        check_program(plan, program).map_err(|(step, message)| PlanFault {
            program: Some(number),
            step,
            message,
        })?;
    }
    check_imports(plan).map_err(fault)?;
    if let Some(bounded) = &plan.bounded {
        check_bounded(plan, bounded).map_err(fault)?;
    }
    check_tables(plan).map_err(fault)
}

/// Each step reads the whole of one table, in every part that runs it.
fn check_tables(plan: &Plan) -> Result<(), &'static str> {
    let tables = |program: &Program| {
        let mut tables: Vec<(u64, u64)> =
            program.steps.iter().filter_map(|step| table(program, step)).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    };
    let read: Vec<Vec<(u64, u64)>> = plan.programs.iter().map(tables).collect();
    let lacks = |part: &Part| {
        let start = |at: usize| at.checked_sub(part.first_coefficient);
        let held: HashSet<(u64, u64)> = (part.coefficients.iter())
            .filter_map(|entry| Some((start(entry.at)? as u64, entry.len as u64)))
            .collect();
        !read[part.program as usize].iter().all(|table| held.contains(table))
    };
    match plan.parts.iter().any(lacks) {
        true => Err("a step that reads no table of its part, or not the whole of one"),
        false => Ok(()),
    }
}

/// Where the coefficients that a step reads begin in its part, and how many there are.
fn table(program: &Program, step: &Step) -> Option<(u64, u64)> {
    let units = u64::from(program.values[step.output as usize].units);
    let inputs = program.inputs(step);
    let width = |input: &Input| u64::from(program.values[input.value as usize].units);
    let total: u64 = inputs.iter().map(width).sum();
    let (at, len) = match step.op {
        Op::Lookup { table, states, .. } | Op::LogLookup { table, states, .. } => {
            (table, units * u64::from(states))
        }
        Op::Gaussian { table, .. } => (table, units * 3),
        Op::Poisson { table, .. } => (table, units),
        Op::Sum { weights } => (weights, units * total),
        Op::Mix { weights } => (weights, units * inputs.len() as u64),
        Op::ProductSum { weights } => (weights, units * total / 2),
        Op::One
        | Op::Import { .. }
        | Op::Product
        | Op::Kronecker
        | Op::AddLogs
        | Op::Exponentiate
        | Op::Sparse { .. } => return None,
    };
    Some((at.into(), len))
}

/// The head has one output, of one unit.
fn check_head(plan: &Plan) -> Result<(), &'static str> {
    let head = plan.program(plan.head());
    let root = match head.outputs[..] {
        [root] => head.values.get(root as usize),
        _ => return Err("a head without exactly one output"),
    };
    if root.is_none_or(|root| root.units != 1) {
        return Err("a root of more than one unit");
    }
    Ok(())
}

/// What a part imports was made before it, is as wide, and is handed to the head alone unless the plan is
/// bounded; the numbers of the head's imports are then those of the parts.
fn check_imports(plan: &Plan) -> Result<(), &'static str> {
    for (number, part) in plan.parts.iter().enumerate() {
        let program = plan.program(part);
        for step in &program.steps {
            let Op::Import { part: slot, output } = step.op else { continue };
            let Some(&from) = part.imports.get(slot as usize) else {
                return Err("an import that the part does not list");
            };
            if from as usize >= number {
                return Err("a part that imports what is not made before it");
            }
            if plan.bounded.is_none() && (number + 1 < plan.parts.len() || from != slot) {
                return Err("a part below the head that imports, or a head that renumbers");
            }
            let from = plan.program(&plan.parts[from as usize]);
            let made = from.outputs.get(output as usize).map(|&v| from.values[v as usize].units);
            if made != Some(program.values[step.output as usize].units) {
                return Err("an import that no part makes so wide");
            }
        }
    }
    Ok(())
}

/// Waves cover the groups in order; no part imports what its own wave makes; and what a part hands on is
/// still there when it is read and, to train, to the end.
fn check_bounded(plan: &Plan, bounded: &Bounded) -> Result<(), &'static str> {
    if bounded.places.len() != plan.parts.len() || plan.shards != 1 {
        return Err("segments without places, or in shards");
    }
    let (mut rows, mut exponents) = (Arena::new(bounded.rows), Arena::new(bounded.exponents));
    let holds = |rows: &mut Arena, exponents: &mut Arena, part: usize, put: bool| {
        let units = plan.program(&plan.parts[part]).outputs.iter();
        let units = units.map(|&v| plan.program(&plan.parts[part]).values[v as usize].units);
        let (Place { rows: row, exponent }, number) = (bounded.places[part], part as u32);
        let units = units.sum();
        let done = match put {
            true => rows.put(row, units, number).and(exponents.put(exponent, 1, number)),
            false => rows.expect(row, units, number).and(exponents.expect(exponent, 1, number)),
        };
        done.map_err(|_| "what a segment hands on has no place, or not until it is read")
    };
    let mut next = 0;
    let head = plan.parts.len() - 1;
    for &(first, end) in &bounded.waves {
        if first != next || end <= first || end as usize > plan.groups.len() {
            return Err("waves that do not cover the groups in order");
        }
        next = end;
        let parts = plan.parts_of_wave((first, end));
        if parts.contains(&head) && parts.len() > 1 {
            return Err("a wave of the head and others");
        }
        for part in parts.clone() {
            let imports = &plan.parts[part].imports;
            if !imports.is_empty() && parts.len() > 1 {
                return Err("a segment that imports in a wave with others");
            }
            let mut read = imports.iter();
            read.try_for_each(|&from| holds(&mut rows, &mut exponents, from as usize, false))?;
        }
        let mut made = parts.filter(|&part| part != head);
        made.try_for_each(|part| holds(&mut rows, &mut exponents, part, true))?;
    }
    if next as usize != plan.groups.len() {
        return Err("waves that leave out a group");
    }
    match plan.purpose {
        Purpose::Evaluate => Ok(()),
        Purpose::Train => {
            (0..head).try_for_each(|part| holds(&mut rows, &mut exponents, part, false))
        }
    }
}

/// What holds of a value by itself: it is that of its step; only small look-ups are inline; what can
/// have exponents has a place for them; and what learns, in a plan that trains, one for its gradient.
fn check_value(plan: &Plan, program: &Program, index: usize, step: &Step) -> Result<(), String> {
    let value = &program.values[step.output as usize];
    if value.units == 0 {
        return Err("a value of no units".into());
    }
    if value.step as usize != index {
        return Err(format!("v{} says that another step makes it", step.output));
    }
    if value.is_inline() {
        let small = matches!(step.op, Op::Lookup { states, .. } if states as usize <= INDICATORS);
        return if small { Ok(()) } else { Err("an inline value that is no small look-up".into()) };
    }
    let inputs = program.inputs(step).iter();
    let read = inputs.map(|input| program.values[input.value as usize].units);
    let formed = match step.op {
        Op::Sum { .. } | Op::Mix { .. } => read.sum(),
        Op::Sparse { .. } => 0,
        _ => read.max().unwrap_or(0),
    };
    if formed.max(value.units) > program.scratch_rows {
        return Err("more is formed on the way than scratch holds".into());
    }
    let plain = matches!(step.op, Op::Lookup { .. } | Op::One);
    if value.domain == Domain::Linear && !plain && value.exponent == NOWHERE {
        return Err(format!("v{} has no place for exponents", step.output));
    }
    if plan.purpose == Purpose::Train && value.learns && value.gradient == NOWHERE {
        return Err(format!("v{} has no place for its gradient", step.output));
    }
    Ok(())
}

/// Groups cover the parts in order, and blocks write within their own parts.
fn check_groups(plan: &Plan) -> Result<(), &'static str> {
    let mut next = 0;
    for group in &plan.groups {
        let (first, end) = group.parts;
        if first != next || end <= first || end as usize > plan.parts.len() {
            return Err("groups that do not cover the parts in order");
        }
        next = end;
        for block in &group.blocks {
            let len = u64::from(block.rows) * u64::from(block.cols);
            let within = |&(part, at): &(u32, u32)| {
                (first..end).contains(&part)
                    && u64::from(at) + len
                        <= u64::from(plan.program(&plan.parts[part as usize]).coefficients)
            };
            if block.sectors.len() != block.at.len() || !block.at.iter().all(within) {
                return Err("a block that writes beyond its parts");
            }
            if !block.sectors.len().is_multiple_of(block.span.max(1) as usize) {
                return Err("a block that splits a normalisation group");
            }
        }
    }
    match next as usize == plan.parts.len() {
        true => Ok(()),
        false => Err("groups that leave out a part"),
    }
}

type Fault = (Option<usize>, String);

fn column_of(op: Op) -> Option<u32> {
    match op {
        Op::Lookup { column, .. }
        | Op::Gaussian { column, .. }
        | Op::LogLookup { column, .. }
        | Op::Poisson { column, .. } => Some(column),
        _ => None,
    }
}

fn check_program(plan: &Plan, program: &Program) -> Result<(), Fault> {
    let values = program.values.len() as u64;
    let known = |value: u32| u64::from(value) < values;
    for (index, step) in program.steps.iter().enumerate() {
        let (first, end) = (step.inputs.0 as usize, step.inputs.1 as usize);
        if first > end || end > program.inputs.len() {
            return Err((Some(index), "inputs that the program does not list".into()));
        }
        if !known(step.output) || !program.inputs(step).iter().all(|input| known(input.value)) {
            return Err((Some(index), "a value that the program does not have".into()));
        }
    }
    if !program.outputs.iter().all(|&output| known(output)) {
        return Err((None, "an output that the program does not have".into()));
    }
    let mut made = vec![false; program.values.len()];
    for (index, step) in program.steps.iter().enumerate() {
        let fail = |message: String| (Some(index), message);
        for input in program.inputs(step) {
            if made.get(input.value as usize) != Some(&true) {
                return Err(fail(format!("reads v{} before it is made", input.value)));
            }
        }
        match made.get_mut(step.output as usize) {
            Some(made) if !*made => *made = true,
            _ => return Err(fail(format!("v{} is made twice, or unknown", step.output))),
        }
        check_value(plan, program, index, step).map_err(fail)?;
        check_step(program, step).map_err(fail)?;
        check_sparse(program, step).map_err(fail)?;
    }
    if program.outputs.iter().any(|&output| made.get(output as usize) != Some(&true)) {
        return Err((None, "an output that no step makes".into()));
    }
    if program.outputs.iter().any(|&output| program.values[output as usize].domain == Domain::Log) {
        return Err((None, "an output in the log domain".into()));
    }
    check_places(program, plan.purpose)
}

fn check_step(program: &Program, step: &Step) -> Result<(), String> {
    let value = |input: &Input| &program.values[input.value as usize];
    let inputs = program.inputs(step);
    let output = &program.values[step.output as usize];
    let units = u64::from(output.units);
    let total: u64 = inputs.iter().map(|input| u64::from(value(input).units)).sum();
    let even = |input: &Input| value(input).units == output.units;
    let (count, width) = match step.op {
        Op::Lookup { .. }
        | Op::Gaussian { .. }
        | Op::LogLookup { .. }
        | Op::Poisson { .. }
        | Op::One => (0, true),
        // What it imports is checked part by part.
        Op::Import { .. } => (0, true),
        Op::Product | Op::AddLogs => (2, inputs.iter().all(even)),
        Op::Kronecker => {
            let pairs = inputs.iter().map(|input| u64::from(value(input).units)).product::<u64>();
            (2, pairs == units)
        }
        Op::Exponentiate => (1, total == units),
        Op::Sum { .. } => (inputs.len().max(1), true),
        Op::Mix { .. } => (inputs.len().max(1), inputs.iter().all(even)),
        Op::ProductSum { .. } => {
            (2, inputs.len() == 2 && value(&inputs[0]).units == value(&inputs[1]).units)
        }
        Op::Sparse { .. } => (inputs.len().max(1), true),
    };
    if inputs.len() != count {
        return Err(format!("{} takes {count} inputs, not {}", step.op.name(), inputs.len()));
    }
    if !width {
        return Err(format!("the widths of {} do not fit", step.op.name()));
    }
    if table(program, step).is_some_and(|(at, len)| at + len > u64::from(program.coefficients)) {
        return Err("coefficients beyond those of the part".into());
    }
    let reads = match step.op {
        Op::AddLogs | Op::Exponentiate => Domain::Log,
        _ => Domain::Linear,
    };
    let makes = match step.op {
        Op::AddLogs | Op::Gaussian { .. } | Op::LogLookup { .. } | Op::Poisson { .. } => {
            Domain::Log
        }
        _ => Domain::Linear,
    };
    if inputs.iter().any(|input| value(input).domain != reads) || output.domain != makes {
        return Err(format!("{} of the wrong domain", step.op.name()));
    }
    Ok(())
}

/// Each list of a sparse sum is there, and each of its terms reads a weight of the part and a row of a
/// factor on its own side; a side has one exponent, and nothing of it is learned.
fn check_sparse(program: &Program, step: &Step) -> Result<(), String> {
    let Op::Sparse { lists, left } = step.op else { return Ok(()) };
    let output = &program.values[step.output as usize];
    let inputs = program.inputs(step);
    let end = u64::from(lists) + u64::from(output.units);
    if left == 0 || left as usize > inputs.len() || end > program.lists.len() as u64 {
        return Err("factors or lists that the program does not have".into());
    }
    let value = |input: &Input| &program.values[input.value as usize];
    let side = |inputs: &[Input]| {
        let mut rows = Vec::new();
        for input in inputs {
            let value = value(input);
            if value.is_inline() || value.learns || (value.exponent != NOWHERE && inputs.len() > 1)
            {
                return Err(format!("v{} is no factor of a sparse sum", input.value));
            }
            rows.push((value.rows, value.rows.saturating_add(value.units)));
        }
        rows.sort_unstable();
        Ok(rows)
    };
    let (lefts, rights) = inputs.split_at(left as usize);
    let (lefts, rights) = (side(lefts)?, side(rights)?);
    let holds = |side: &[(u32, u32)], row: u32| {
        let after = side.partition_point(|&(first, _)| first <= row);
        after > 0 && row < side[after - 1].1
    };
    for &(first, end) in program.lists(step) {
        let Some(terms) = program.terms.get(first as usize..end as usize) else {
            return Err("terms that the program does not have".into());
        };
        for term in terms {
            if !holds(&lefts, term.left) || (term.right != NOWHERE && !holds(&rights, term.right)) {
                return Err("a term of no factor".into());
            }
            if term.weight != NOWHERE && term.weight >= program.coefficients {
                return Err("a term of no weight".into());
            }
        }
    }
    match output.learns {
        true => Err("a sparse sum that learns".into()),
        false => Ok(()),
    }
}

/// Walks the steps forward and, in a plan that trains, back, and keeps what each place holds.
fn check_places(program: &Program, purpose: Purpose) -> Result<(), Fault> {
    let mut rows = Arena::new(program.rows);
    let mut exponents = Arena::new(program.exponents);
    for (index, step) in program.steps.iter().enumerate() {
        let fail = |message: String| (Some(index), message);
        for input in program.inputs(step) {
            let value = &program.values[input.value as usize];
            rows.expect(value.rows, value.units, input.value).map_err(fail)?;
            exponents.expect(value.exponent, 1, input.value).map_err(fail)?;
        }
        let value = &program.values[step.output as usize];
        rows.put(value.rows, value.units, step.output).map_err(fail)?;
        exponents.put(value.exponent, 1, step.output).map_err(fail)?;
    }
    for &output in &program.outputs {
        let value = &program.values[output as usize];
        rows.expect(value.rows, value.units, output).map_err(|message| (None, message))?;
        exponents.expect(value.exponent, 1, output).map_err(|message| (None, message))?;
    }
    if purpose == Purpose::Evaluate {
        return Ok(());
    }
    let mut gradients = Arena::new(program.gradient_rows);
    let mut reached = vec![false; program.values.len()];
    for &output in &program.outputs {
        let value = &program.values[output as usize];
        reached[output as usize] = true;
        gradients.put(value.gradient, value.units, output).map_err(|message| (None, message))?;
    }
    for (index, step) in program.steps.iter().enumerate().rev() {
        let fail = |message: String| (Some(index), format!("{message}, going back"));
        let value = &program.values[step.output as usize];
        gradients.expect(value.gradient, value.units, step.output).map_err(fail)?;
        for input in program.inputs(step) {
            let value = &program.values[input.value as usize];
            rows.expect(value.rows, value.units, input.value).map_err(fail)?;
            if matches!(step.op, Op::Mix { .. }) || step.inputs.1 - step.inputs.0 > 2 {
                exponents.expect(value.exponent, 1, input.value).map_err(fail)?;
            }
            let later = std::mem::replace(&mut reached[input.value as usize], true);
            if input.first && later {
                return Err(fail(format!("the gradient by v{} is written over", input.value)));
            }
            if input.first {
                gradients.put(value.gradient, value.units, input.value).map_err(fail)?;
            } else {
                gradients.expect(value.gradient, value.units, input.value).map_err(fail)?;
            }
        }
    }
    Ok(())
}

/// What each place of an arena holds.
struct Arena {
    holds: Vec<u32>,
}

impl Arena {
    fn new(len: u32) -> Self {
        Arena { holds: vec![NOWHERE; len as usize] }
    }

    fn range(&self, at: u32, len: u32) -> Result<std::ops::Range<usize>, String> {
        let end = u64::from(at) + u64::from(len);
        match end <= self.holds.len() as u64 {
            true => Ok(at as usize..end as usize),
            false => Err(format!("places {at}..{end} lie outside their arena")),
        }
    }

    fn put(&mut self, at: u32, len: u32, value: u32) -> Result<(), String> {
        if at != NOWHERE {
            let range = self.range(at, len)?;
            self.holds[range].fill(value);
        }
        Ok(())
    }

    fn expect(&self, at: u32, len: u32, value: u32) -> Result<(), String> {
        if at == NOWHERE {
            return Ok(());
        }
        match self.holds[self.range(at, len)?].iter().find(|&&held| held != value) {
            Some(&NOWHERE) => Err(format!("v{value} is read where nothing was written")),
            Some(held) => Err(format!("v{value} was overwritten by v{held}")),
            None => Ok(()),
        }
    }
}
