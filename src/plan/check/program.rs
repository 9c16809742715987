//! What holds of a program by itself.

use super::super::{Domain, INDICATORS, Input, NOWHERE, Op, Plan, Program, Purpose, Step, Value};
use super::arena::Arena;

/// The step that is at fault, if one is, and what is wrong.
pub(super) type Fault = (Option<usize>, String);

/// The column that an operation reads.
pub(super) fn column_of(op: Op) -> Option<u32> {
    match op {
        Op::Lookup { column, .. }
        | Op::Gaussian { column, .. }
        | Op::LogLookup { column, .. }
        | Op::Poisson { column, .. } => Some(column),
        _ => None,
    }
}

/// Checks the steps, one by one, then the places of what they make.
pub(super) fn check_program(plan: &Plan, program: &Program) -> Result<(), Fault> {
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
        check_sparse(plan.purpose, program, step).map_err(fail)?;
    }
    if program.outputs.iter().any(|&output| made.get(output as usize) != Some(&true)) {
        return Err((None, "an output that no step makes".into()));
    }
    if program.outputs.iter().any(|&output| program.values[output as usize].domain == Domain::Log) {
        return Err((None, "an output in the log domain".into()));
    }
    check_places(program, plan.purpose)
}

/// A step takes as many inputs as its operation does, of widths and domains that fit.
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
        Op::KroneckerSum { .. } => (2, true),
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
fn check_sparse(purpose: Purpose, program: &Program, step: &Step) -> Result<(), String> {
    let Op::Sparse { lists, left } = step.op else { return Ok(()) };
    let output = &program.values[step.output as usize];
    let inputs = program.inputs(step);
    let end = u64::from(lists) + u64::from(output.units);
    if left == 0 || left as usize > inputs.len() || end > program.lists.len() as u64 {
        return Err("factors or lists that the program does not have".into());
    }
    let value = |input: &Input| &program.values[input.value as usize];
    let learns = |value: &Value| value.learns && purpose != Purpose::Query;
    let side = |inputs: &[Input]| {
        let mut rows = Vec::new();
        for input in inputs {
            let value = value(input);
            let is_scaled = value.exponent != NOWHERE && inputs.len() > 1;
            if value.is_inline() || learns(value) || is_scaled {
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
    match learns(output) {
        true => Err("a sparse sum that learns".into()),
        false => Ok(()),
    }
}

/// Walks the steps forward and, in a plan that goes back, back, and keeps what each place holds.
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
    if !purpose.goes_back() {
        return Ok(());
    }
    let scales_again =
        |step: &Step| purpose == Purpose::Query && matches!(step.op, Op::Sparse { .. });
    let is_sum = |step: &Step| matches!(step.op, Op::Sum { .. });
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
        if scales_again(step) {
            exponents.expect(value.exponent, 1, step.output).map_err(fail)?;
        }
        for input in program.inputs(step) {
            let value = &program.values[input.value as usize];
            rows.expect(value.rows, value.units, input.value).map_err(fail)?;
            let several = step.inputs.1 - step.inputs.0 > 1;
            let aligns = matches!(step.op, Op::Mix { .. }) || several && is_sum(step);
            if aligns || scales_again(step) {
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

/// What holds of a value by itself: it is that of its step; only small look-ups are inline; what can
/// have exponents has a place for them; and what learns, in a plan that goes back, one for its gradient.
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
    if plan.purpose.goes_back() && value.learns && value.gradient == NOWHERE {
        return Err(format!("v{} has no place for its gradient", step.output));
    }
    Ok(())
}

/// Where the coefficients that a step reads begin in its part, and how many there are.
pub(super) fn table(program: &Program, step: &Step) -> Option<(u64, u64)> {
    let units = u64::from(program.values[step.output as usize].units);
    let inputs = program.inputs(step);
    let widths = inputs.iter().map(|input| u64::from(program.values[input.value as usize].units));
    let (at, len) = match step.op {
        Op::Lookup { table, states, .. } | Op::LogLookup { table, states, .. } => {
            (table, units * u64::from(states))
        }
        Op::Gaussian { table, .. } => (table, units * 3),
        Op::Poisson { table, .. } => (table, units),
        Op::Sum { weights } => (weights, units * widths.sum::<u64>()),
        Op::ProductSum { weights } => (weights, units * widths.sum::<u64>() / 2),
        Op::KroneckerSum { weights } => (weights, units * widths.product::<u64>()),
        Op::Mix { weights } => (weights, units * inputs.len() as u64),
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
