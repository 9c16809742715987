//! The text of a plan: stable, the same on every machine.

use std::fmt;

use super::{Choice, Chosen, ChosenSpace, Kind, Op, Plan, Program, Step, Unshared};

/// Steps printed of a program at most.
const MOST: usize = 200;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_plan(f, self)?;
        write!(f, "{}", self.choice())
    }
}

fn write_plan(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    let memory = plan.memory();
    writeln!(
        f,
        "plan {} schedule={} batch={} tiles={} shards={}",
        format!("{:?}", plan.purpose).to_lowercase(),
        format!("{:?}", plan.schedule).to_lowercase(),
        plan.batch,
        plan.tiles(),
        plan.shards
    )?;
    writeln!(
        f,
        "  multiply-adds/row={} coefficients={} sectors={} live-regions={}",
        plan.multiply_adds(),
        plan.coefficients,
        plan.sectors,
        plan.live_regions()
    )?;
    if let Some(bounded) = &plan.bounded {
        writeln!(
            f,
            "  bounded: segments={} waves={} groups={} kept rows={} exponents={}; nothing shared",
            plan.below_head().len(),
            bounded.waves.len(),
            plan.groups.len(),
            bounded.rows,
            bounded.exponents
        )?;
    }
    write!(
        f,
        "  bytes worker={} data={} outputs={} making={} coefficients={} gradients={}",
        memory.worker,
        memory.data,
        memory.outputs,
        memory.making,
        memory.coefficients,
        memory.gradients
    )?;
    if memory.learned > 0 {
        write!(f, " learned={}", memory.learned)?;
    }
    writeln!(f)?;
    for (number, program) in plan.programs.iter().enumerate() {
        let is_head = plan.head().program as usize == number;
        let parts = plan.below_head().iter().filter(|part| part.program as usize == number);
        let parts = parts.count();
        match (is_head, parts) {
            (true, 0) => writeln!(f, "program {number}, the head")?,
            (true, parts) => writeln!(f, "program {number}, the head and {parts} parts")?,
            (false, parts) => writeln!(f, "program {number}, of {parts} parts")?,
        }
        write!(f, "{program}")?;
    }
    write_blocks(f, plan)
}

impl Plan {
    /// The text of the plan, with what is shared of some data in place of what is shared of unknown ones.
    pub fn text(&self, choice: &Choice) -> String {
        format!("{}{choice}", Body(self))
    }
}

/// A plan without what is shared.
struct Body<'a>(&'a Plan);

impl fmt::Display for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_plan(f, self.0)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let purpose = format!("{:?}", self.purpose).to_lowercase();
        write!(f, "sharing to {purpose}, of ")?;
        match self.rows {
            Some([rows, distinct, batch]) => {
                write!(f, "{rows} rows, {distinct} different, {batch} in a shard of a batch")?;
            }
            None => write!(f, "rows that are not interned")?,
        }
        match self.bytes.filter(|_| self.rows.is_some()) {
            Some(bytes) => writeln!(f, ": {bytes} bytes are interned")?,
            None => writeln!(f)?,
        }
        let programs = self.programs.iter().enumerate();
        for (number, chosen) in programs.filter(|(_, chosen)| chosen.parts > 0) {
            writeln!(f, "  program {number}, of {} parts: {chosen}", chosen.parts)?;
            write_spaces(f, &chosen.spaces)?;
        }
        Ok(())
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unshared {
            None => write!(f, "shared")?,
            Some(why) => write!(f, "row by row, {why}")?,
        }
        if !self.spaces.is_empty() {
            let [shared, dense] = self.cycles.map(|cycles| cycles.round() as u64);
            write!(f, ": cycles={shared} (row by row {dense})")?;
            let [shared, dense] = self.multiply_adds;
            write!(f, " multiply-adds={shared} (row by row {dense})")?;
        }
        if let Some((bundles, tables)) = self.bundles() {
            write!(f, " bundles={bundles} of {tables} tables side by side")?;
        }
        Ok(())
    }
}

impl fmt::Display for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unshared::Off => write!(f, "since sharing is off"),
            Unshared::Head => write!(f, "since it is the head"),
            Unshared::Deep => write!(f, "since it goes depth first"),
            Unshared::Step("sum") => write!(f, "since a sum over several inputs cannot be shared"),
            Unshared::Step(op) => write!(f, "since a step {op} cannot be shared"),
            Unshared::TooLarge => write!(f, "since a worker cannot hold so many values"),
            Unshared::TakesLonger => write!(f, "since to share is expected to take longer"),
        }
    }
}

/// A line for all spaces of one size and kind.
fn write_spaces(f: &mut fmt::Formatter<'_>, spaces: &[ChosenSpace]) -> fmt::Result {
    let kind = |space: &ChosenSpace| match space.kind {
        Kind::Table(_) => "table",
        Kind::Listed => "listed",
        Kind::Each => "each row",
    };
    let line = |space: &&ChosenSpace| (space.width, space.domain, kind(space));
    let mut spaces: Vec<&ChosenSpace> = spaces.iter().collect();
    spaces.sort_by_key(line);
    for group in spaces.chunk_by(|a, b| line(a) == line(b)).take(MOST) {
        let first = group[0];
        let values: u32 = group.iter().map(|space| space.values).sum();
        let kind = kind(first);
        write!(f, "    scope={} spaces={} values={values} {kind}", first.width, group.len())?;
        if let Some(domain) = first.domain {
            write!(f, " domain={domain}")?;
        }
        let in_data = || group.iter().flat_map(|space| space.in_data);
        if let (Some(least), Some(most)) =
            (in_data().map(|[least, _]| least).min(), in_data().map(|[_, most]| most).max())
        {
            write!(f, " in-data={least}")?;
            if most > least {
                write!(f, "..{most}")?;
            }
        }
        let in_batch: Option<f64> = group.iter().map(|space| space.in_batch).sum();
        if let Some(sum) = in_batch {
            write!(f, " in-shard={:.1}", sum / group.len() as f64)?;
        }
        writeln!(f)?;
    }
    Ok(())
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
        Op::Sum { weights }
        | Op::Mix { weights }
        | Op::ProductSum { weights }
        | Op::KroneckerSum { weights } => write!(f, " w{weights}")?,
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
