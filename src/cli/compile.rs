//! `pcc compile`: a circuit through every stage, one of which is shown.

use std::borrow::Cow;
use std::time::Instant;

use serde::Serialize;

use super::answer::{Answer, Table, thousands, unwritten};
use super::args::{Compile, Emit, EngineName, ScheduleName};
use super::cuda;
use super::dot::dot;
use super::engine;
use super::failure::Failure;
use super::load::{self, Ready};
use super::run;
use super::size::ByteSize;
use crate::circuit::SourceMap;
use crate::data::Dataset;
use crate::data::write::write_whole;
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::drawing;
use crate::engine::cpu;
use crate::engine::cuda::Layout;
use crate::export;
use crate::ids::VarId;
use crate::plan::{self, Plan, Purpose, Schedule, Sharing, plan};
use crate::rewrite::Request;
use crate::spec::learning;
use crate::variables::Variables;

/// What programs read.
#[derive(Serialize)]
struct Report {
    stages: usize,
    peak_bytes: usize,
    multiply_adds: u64,
    sectors: usize,
    weights: usize,
    learnable_parameters: usize,
    compile_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    emit: Option<String>,
}

/// Compiles the circuit.
///
/// # Errors
/// Every fault of the circuit and of the request; E0701 for what CUDA lacks on this machine.
pub fn run(args: &Compile) -> Result<Answer, Failure> {
    let has_kernels = matches!(args.emit, Some(Emit::Cuda | Emit::Ptx));
    run::check_for(&args.run, on_device(args) || has_kernels)?;
    let architecture = cuda::architecture(&args.target)?;
    let start = Instant::now();
    let source = load::whole(&args.circuit, args.data.as_deref())?;
    let loaded = load::circuit(&source)?;
    let request = request(args, loaded.circuit.variables())
        .map_err(|faults| Failure::new(faults).with_source(&source))?;
    let ready = load::compiled(source, loaded, request, &args.run)?;
    let layout = match on_device(args) || has_kernels {
        true => Some(laid_out(args, &ready, Purpose::Evaluate)?),
        false => None,
    };
    let layout = layout.as_ref();
    let planned = match layout.filter(|_| on_device(args)) {
        Some(layout) => Cow::Borrowed(layout.plan()),
        None => Cow::Owned(planned(args, &ready, Purpose::Evaluate)?),
    };
    let plan = planned.as_ref();
    let mut report = report(args, &ready, (plan, layout), start)?;
    if let Some(emit @ (Emit::Plan | Emit::Sharing)) = args.emit
        && let Some(path) = &args.data
    {
        let data = load::data(path, &ready.compiled)?;
        report.emit = Some(match emit {
            Emit::Sharing => agreement(args, &ready, &data)?,
            _ => with_data(args, &ready, plan, &data)?,
        });
    }
    match (&args.output, architecture, layout) {
        (Some(path), Some(architecture), Some(layout)) => {
            cuda::write(path, layout, &ready.compiled, architecture)?;
        }
        (Some(path), ..) => write(path, plan)?,
        (None, ..) => {}
    }
    if let Some(layout) = layout.filter(|_| has_kernels) {
        report.emit = Some(cuda::emitted(args.emit, layout, architecture)?);
    }
    if let Some(layout) = layout.filter(|_| args.emit == Some(Emit::Plan)) {
        report.emit.get_or_insert_default().push_str(&layout.to_string());
    }
    let table = table(&report);
    let product = report.emit.clone().unwrap_or_default();
    let answer = Answer::new(&report)?.table(table).product(product);
    Ok(answer.warnings(ready.compiled.warnings.clone(), &ready.source))
}

/// Whether the circuit is compiled for a device.
fn on_device(args: &Compile) -> bool {
    args.target != "cpu" || args.run.engine == EngineName::Cuda
}

/// The plan, and where values are shared of some data, to evaluate and to train.
fn with_data(
    args: &Compile,
    ready: &Ready,
    plan: &Plan,
    data: &Dataset,
) -> Result<String, Diagnostic> {
    let spare = |plan| engine::spare(plan, args.run.memory);
    let choice = |plan| cpu::choice(plan, data, spare(plan));
    let train = planned(args, ready, Purpose::Train)?;
    let once = match on_device(args) {
        true => String::new(),
        false => cpu::evaluated_once(plan, data, spare(plan)).to_string(),
    };
    Ok(format!("{}{once}{}", plan.text(&choice(plan)), choice(&train)))
}

/// A figure of how much the rows of some data agree.
fn agreement(args: &Compile, ready: &Ready, data: &Dataset) -> Result<String, Diagnostic> {
    let options = plan::Options {
        purpose: Purpose::Evaluate,
        schedule: Schedule::Wide,
        batch: args.batch.get(),
        sharing: Sharing::Wherever,
    };
    let plan = plan(&ready.compiled.circuit, &ready.compiled.parameters, &options);
    let Some(agreement) = cpu::agreement(&plan, data) else {
        let message = "the circuit has no part of discrete variables whose rows could be compared";
        return Err(Diagnostic::new(Code::E0704, message)
            .help("`--emit plan` says of each part why its rows share nothing"));
    };
    drawing::agreement_svg(&ready.spec.name, &agreement)
}

fn options(args: &Compile, purpose: Purpose) -> plan::Options {
    let schedule = match args.schedule {
        ScheduleName::Wide => Schedule::Wide,
        ScheduleName::Deep => Schedule::Deep,
    };
    let sharing = match args.run.no_sharing {
        true => Sharing::Off,
        false => Sharing::WherePays,
    };
    plan::Options { purpose, schedule, batch: args.batch.get(), sharing }
}

/// The circuit laid out for a device, which need not be at hand.
fn laid_out(args: &Compile, ready: &Ready, purpose: Purpose) -> Result<Layout, Diagnostic> {
    cuda::layout(&ready.compiled, &options(args, purpose), &args.run, usize::MAX)
}

/// The plan, within the memory that the user allows, if any.
fn planned(args: &Compile, ready: &Ready, purpose: Purpose) -> Result<Plan, Diagnostic> {
    let options = options(args, purpose);
    match args.run.memory {
        _ if on_device(args) => Ok(laid_out(args, ready, purpose)?.plan().clone()),
        Some(limit) => engine::within(&ready.compiled, &options, limit),
        None => Ok(plan(&ready.compiled.circuit, &ready.compiled.parameters, &options)),
    }
}

fn report(
    args: &Compile,
    ready: &Ready,
    (plan, layout): (&Plan, Option<&Layout>),
    start: Instant,
) -> Result<Report, Failure> {
    let compiled = &ready.compiled;
    let written = &compiled.written;
    let text = |emit| {
        Ok::<_, Diagnostic>(match emit {
            Emit::Circuit => compiled.circuit.to_string(),
            Emit::Rewrites => match &compiled.rewriting {
                Some(rewriting) => rewriting.to_string(),
                None => "rewriting was turned off\n".to_string(),
            },
            Emit::Sectors => compiled.parameters.to_string(),
            Emit::Plan => plan.to_string(),
            Emit::Dot => dot(&compiled.circuit, &ready.map),
            Emit::Ron => {
                return export::ron(written, &ready.spec.name, &learning(&ready.source));
            }
            Emit::Psdd => return export::psdd(written).map(|diagram| diagram.psdd),
            Emit::Vtree => return export::psdd(written).map(|diagram| diagram.vtree),
            Emit::Svg => drawn(ready),
            // Made elsewhere: these need more than the plan.
            Emit::Sharing | Emit::Cuda | Emit::Ptx => String::new(),
        })
    };
    let emit = args.emit.map(text).transpose()?;
    Ok(Report {
        stages: plan.programs.iter().map(|program| program.steps.len()).sum(),
        peak_bytes: match layout.filter(|_| on_device(args)) {
            Some(layout) => layout.bytes(),
            None => plan.memory().total(run::threads(&args.run)),
        },
        multiply_adds: plan.multiply_adds(),
        sectors: compiled.parameters.table().sectors().len(),
        weights: run::weights(compiled),
        learnable_parameters: compiled.parameters.learnable(),
        compile_ms: start.elapsed().as_secs_f64() * 1e3,
        emit,
    })
}

/// The circuit as its author wrote it, names and all; as it is run, if something was taken from it.
fn drawn(ready: &Ready) -> String {
    let compiled = &ready.compiled;
    let table = compiled.parameters.table();
    match compiled.circuit.is_specialised() {
        true => drawing::svg(&compiled.circuit, &SourceMap::default(), table, &ready.spec.name),
        false => drawing::svg(&compiled.written, &ready.map, table, &ready.spec.name),
    }
}

fn table(report: &Report) -> Table {
    Table::new()
        .row([&"stages", &thousands(report.stages)])
        .row([&"peak memory", &ByteSize(report.peak_bytes as u64)])
        .row([&"multiply-adds a row", &thousands(report.multiply_adds)])
        .row([&"sectors", &thousands(report.sectors)])
        .row([&"weights", &thousands(report.weights)])
        .row([&"learnable parameters", &thousands(report.learnable_parameters)])
        .row([&"compiled in", &format!("{:.1} ms", report.compile_ms)])
}

/// The variables that the command line names, found.
fn request(args: &Compile, variables: &Variables) -> Result<Request, Diagnostics> {
    let mut faults = Diagnostics::new();
    let mut found = |name: &str| -> Option<VarId> {
        load::variable(name, variables).map_err(|fault| faults.push(fault)).ok()
    };
    let marginalize = args.marginalize.iter().flat_map(|names| &names.0);
    let marginalize = marginalize.filter_map(|name| found(name)).collect();
    let evidence = args.evidence.iter().flat_map(|values| &values.0);
    let evidence = evidence.filter_map(|(name, value)| Some((found(name)?, *value))).collect();
    if faults.is_empty() { Ok(Request { marginalize, evidence }) } else { Err(faults) }
}

fn write(path: &std::path::Path, plan: &Plan) -> Result<(), Failure> {
    let written = write_whole(path, |out| {
        serde_json::to_writer(&mut *out, plan)?;
        out.write_all(b"\n")
    });
    written.map_err(|error| unwritten(path, &error).into())
}
