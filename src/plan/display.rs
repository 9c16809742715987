//! The text of a plan: stable, the same on every machine.

use std::fmt;

use super::{Op, Plan, Program, Shares, Step};

/// Steps printed of a program at most.
const MOST: usize = 200;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory();
        writeln!(
            f,
            "plan {} schedule={} batch={} tiles={} shards={}",
            format!("{:?}", self.purpose).to_lowercase(),
            format!("{:?}", self.schedule).to_lowercase(),
            self.batch,
            self.tiles(),
            self.shards
        )?;
        writeln!(
            f,
            "  multiply-adds/row={} coefficients={} sectors={} live-regions={}",
            self.multiply_adds(),
            self.coefficients,
            self.sectors,
            self.live_regions()
        )?;
        if let Some(bounded) = &self.bounded {
            writeln!(
                f,
                "  bounded: segments={} waves={} groups={} kept rows={} exponents={}; nothing shared",
                self.below_head().len(),
                bounded.waves.len(),
                self.groups.len(),
                bounded.rows,
                bounded.exponents
            )?;
        }
        writeln!(
            f,
            "  bytes worker={} data={} outputs={} making={} coefficients={} gradients={}",
            memory.worker,
            memory.data,
            memory.outputs,
            memory.making,
            memory.coefficients,
            memory.gradients
        )?;
        for (number, program) in self.programs.iter().enumerate() {
            let is_head = self.head().program as usize == number;
            let parts = self.below_head().iter().filter(|part| part.program as usize == number);
            let parts = parts.count();
            match (is_head, parts) {
                (true, 0) => writeln!(f, "program {number}, the head")?,
                (true, parts) => writeln!(f, "program {number}, the head and {parts} parts")?,
                (false, parts) => writeln!(f, "program {number}, of {parts} parts")?,
            }
            if let Some(shares) = self.shares(number) {
                writeln!(f, "{shares}")?;
            }
            write!(f, "{program}")?;
        }
        write_blocks(f, self)
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shares { tables, listed, entries, rows, pays } = self;
        let verdict = if *pays { "shared" } else { "not shared: it would not pay" };
        write!(f, "  {verdict}, tables={tables} listed={listed} evaluations={entries} of {rows}")
    }
}

fn write_blocks(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    let mut kinds: Vec<(String, usize, usize)> = Vec::new();
    for block in plan.groups.iter().flat_map(|group| &group.blocks) {
        let span = if block.span > 1 { format!(" span {}", block.span) } else { String::new() };
        let maker = format!("{:?}", block.maker).to_lowercase();
        let kind = format!("{maker} {}×{}{span}", block.rows, block.cols);
        match kinds.iter_mut().find(|(known, _, _)| *known == kind) {
            Some((_, blocks, sectors)) => {
                *blocks += 1;
                *sectors += block.sectors.len();
            }
            None => kinds.push((kind, 1, block.sectors.len())),
        }
    }
    for (kind, blocks, sectors) in kinds {
        writeln!(f, "weights {kind} sectors={sectors} blocks={blocks}")?;
    }
    Ok(())
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  rows={} exponents={} gradients={} scratch={} coefficients={} chain=",
            self.rows, self.exponents, self.gradient_rows, self.scratch_rows, self.coefficients
        )?;
        match self.chain {
            Some(chain) => writeln!(f, "{chain}")?,
            None => writeln!(f, "unbounded")?,
        }
        for (index, step) in self.steps.iter().take(MOST).enumerate() {
            write_step(f, self, index, step)?;
        }
        if self.steps.len() > MOST {
            writeln!(f, "  … {} more steps", self.steps.len() - MOST)?;
        }
        Ok(())
    }
}

fn write_step(
    f: &mut fmt::Formatter<'_>,
    program: &Program,
    index: usize,
    step: &Step,
) -> fmt::Result {
    let value = &program.values[step.output as usize];
    write!(f, "  {index:>4} v{} = {}", step.output, step.op.name())?;
    match step.op {
        Op::Lookup { column, table, states } | Op::LogLookup { column, table, states } => {
            write!(f, " c{column} w{table} states={states}")?;
        }
        Op::Gaussian { column, table } | Op::Poisson { column, table } => {
            write!(f, " c{column} w{table}")?;
        }
        Op::Import { part, output } => write!(f, " part{part}.{output}")?,
        Op::Sum { weights } | Op::Mix { weights } | Op::ProductSum { weights } => {
            write!(f, " w{weights}")?;
        }
        Op::Sparse { .. } => {
            let terms = program.lists(step).iter().map(|&(first, end)| end - first);
            write!(f, " terms={}", terms.sum::<u32>())?;
        }
        Op::One | Op::Product | Op::Kronecker | Op::AddLogs | Op::Exponentiate => {}
    }
    let inputs: Vec<String> =
        program.inputs(step).iter().map(|input| format!("v{}", input.value)).collect();
    if !inputs.is_empty() {
        write!(f, " ({})", inputs.join(", "))?;
    }
    write!(f, " [{}]", value.units)?;
    if value.is_inline() {
        write!(f, " inline")?
    } else {
        write!(f, " @{}", value.rows)?
    }
    writeln!(f)
}
