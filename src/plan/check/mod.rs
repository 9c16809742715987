//! The checker: whether a plan may be run. It knows only the types of a plan, and nothing of the code
//! that makes one.
//!
//! Checked: every input is made before it is read; no two values, or exponents, or gradients that are
//! needed at once overlap, and all lie within their arena; gradients are written once and then added
//! to; widths and domains are those the operation demands; each step reads the whole of one table of
//! every part that runs it; parts and programs that are named exist.
//!
//! Not checked: that the plan computes the circuit it was made from; for that there is the oracle.

mod arena;
mod bounded;
mod program;

use std::collections::HashSet;
use std::fmt;

use self::bounded::check_bounded;
use self::program::{check_program, column_of, table};
use super::{Column, LANES, Op, Part, Plan, Program};

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
        if part.imports.iter().any(|&from| from as usize >= number) {
            return Err("a part that imports what is not made before it");
        }
        let program = plan.program(part);
        for step in &program.steps {
            let Op::Import { part: slot, output } = step.op else { continue };
            let Some(&from) = part.imports.get(slot as usize) else {
                return Err("an import that the part does not list");
            };
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
