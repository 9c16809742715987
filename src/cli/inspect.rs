//! `pcc inspect`: what a model or a circuit holds.

use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Table, thousands};
use super::args::Inspect;
use super::failure::Failure;
use super::load::{self, Ready};
use super::run;
use super::size::ByteSize;
use crate::compile::Compiled;
use crate::diag::{Code, Source};
use crate::import::Models;
use crate::model::{Model, Training, file};
use crate::plan::{self, Plan, Purpose, Schedule, Sharing, plan};
use crate::rewrite::Request;

/// What programs read.
#[derive(Default, Serialize)]
struct Report {
    name: String,
    variables: usize,
    nodes: usize,
    edges: usize,
    sectors: usize,
    weights: usize,
    learnable_parameters: usize,
    tensors: Vec<Tensor>,
    /// Bytes of a run in batches, by purpose and schedule, with as many threads as the machine has.
    memory: Vec<Memory>,
    /// How the model was learned; null for a circuit.
    training: Option<Training>,
    /// Of a formula, how many models it has, beyond 64 bits as a text of digits; null with weights of
    /// literals, for a formula too large to count exactly, and for what is no formula.
    model_count: Option<serde_json::Value>,
    /// ln of the number, or of the weight, of a formula's models; null if it has none.
    log_model_weight: Option<f64>,
}

/// A learned tensor.
#[derive(Serialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

/// What a plan takes.
#[derive(Serialize)]
struct Memory {
    purpose: &'static str,
    schedule: &'static str,
    batch: u32,
    activation_bytes: usize,
    total_bytes: usize,
    multiply_adds: u64,
}

/// Describes the file.
///
/// # Errors
/// What is wrong with it.
pub fn run(args: &Inspect) -> Result<Answer, Failure> {
    let opened = match opened(args) {
        Err(failure) if failure.has(Code::E0804) => {
            let report = unsatisfied();
            return Ok(Answer::new(&report)?.table(text(&report)));
        }
        opened => opened?,
    };
    let Opened { name, source, compiled, training, models } = opened;
    let report = Report {
        name,
        variables: compiled.written.variables().len(),
        nodes: compiled.written.node_count(),
        edges: compiled.written.edge_count(),
        sectors: compiled.parameters.table().sectors().len(),
        weights: run::weights(&compiled),
        learnable_parameters: compiled.parameters.learnable(),
        tensors: tensors(&compiled),
        memory: memory(&compiled, args.batch.get()),
        training,
        model_count: count(models.as_ref()),
        log_model_weight: models.map(|models| models.log_weight),
    };
    let answer = Answer::new(&report)?.table(text(&report));
    Ok(answer.warnings(compiled.warnings.clone(), &source))
}

/// What is inspected.
struct Opened {
    name: String,
    source: Source,
    compiled: Arc<Compiled>,
    training: Option<Training>,
    models: Option<Models>,
}

/// The report on a formula that nothing satisfies: it has a number of models, and is no circuit.
fn unsatisfied() -> Report {
    Report { model_count: Some(0.into()), ..Report::default() }
}

/// A number as programs read it: beyond 64 bits, a text of its digits.
fn count(models: Option<&Models>) -> Option<serde_json::Value> {
    let digits = models?.count.as_ref()?.to_string();
    Some(digits.parse::<u64>().map_or(digits.into(), serde_json::Value::from))
}

fn opened(args: &Inspect) -> Result<Opened, Failure> {
    let run = run::defaults();
    if load::is_circuit(&args.path) {
        let Ready { source, spec, compiled, models, .. } = load::ready(&args.path, None, &run)?;
        return Ok(Opened { name: spec.name, source, compiled, training: None, models });
    }
    let stored = file::load(&args.path)?;
    let loaded = load::circuit(&stored.source)?;
    let ready = load::compiled(stored.source.clone(), loaded, Request::default(), &run)?;
    let name = ready.spec.name;
    let model = Model::from_file(&args.path, &stored, ready.compiled)?;
    let Model { source, compiled, .. } = model;
    Ok(Opened { name, source, compiled, training: stored.training, models: ready.models })
}

fn tensors(compiled: &Compiled) -> Vec<Tensor> {
    let tensors = compiled.parameters.tensors().iter();
    tensors.map(|(_, spec)| Tensor { name: spec.name.clone(), shape: spec.shape.clone() }).collect()
}

fn memory(compiled: &Compiled, batch: u32) -> Vec<Memory> {
    let threads = run::threads(&run::defaults());
    let purposes = [("evaluate", Purpose::Evaluate), ("train", Purpose::Train)];
    let schedules = [("wide", Schedule::Wide), ("deep", Schedule::Deep)];
    let mut all = Vec::new();
    for (purpose_name, purpose) in purposes {
        for (schedule_name, schedule) in schedules {
            let options = plan::Options { purpose, schedule, batch, sharing: Sharing::WherePays };
            let plan: Plan = plan(&compiled.circuit, &compiled.parameters, &options);
            let memory = plan.memory();
            all.push(Memory {
                purpose: purpose_name,
                schedule: schedule_name,
                batch,
                activation_bytes: memory.activations(threads),
                total_bytes: memory.total(threads),
                multiply_adds: plan.multiply_adds(),
            });
        }
    }
    all
}

fn text(report: &Report) -> String {
    let mut sizes = Table::new()
        .row([&"circuit", &report.name])
        .row([&"variables", &thousands(report.variables)])
        .row([&"nodes", &thousands(report.nodes)])
        .row([&"edges", &thousands(report.edges)])
        .row([&"sectors", &thousands(report.sectors)])
        .row([&"weights", &thousands(report.weights)])
        .row([&"learnable parameters", &thousands(report.learnable_parameters)]);
    if let Some(count) = &report.model_count {
        let digits = count.as_str().map_or_else(|| count.to_string(), str::to_string);
        sizes.push([&"models", &digits]);
    }
    if let Some(log) = report.log_model_weight {
        sizes.push([&"ln of the models' weight", &format!("{log:.6}")]);
    }
    if let Some(training) = &report.training {
        sizes.push([&"steps", &thousands(training.steps)]);
        sizes.push([&"selected step", &thousands(training.selected_step)]);
        sizes.push([&"seed", &training.seed]);
        let lls = [
            ("train log-likelihood", training.train_ll),
            ("valid log-likelihood", training.valid_ll),
            ("test log-likelihood", training.test_ll),
        ];
        for (name, value) in lls {
            if let Some(value) = value {
                sizes.push([&name, &format!("{value:.5}")]);
            }
        }
    }
    let mut tensors = Table::new().row([&"tensor", &"shape"]);
    for tensor in &report.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        tensors.push([&tensor.name, &shape.join(" × ")]);
    }
    let mut memory =
        Table::new().row([&"plan", &"schedule", &"activations", &"in all", &"multiply-adds a row"]);
    for plan in &report.memory {
        memory.push([
            &plan.purpose,
            &plan.schedule,
            &ByteSize(plan.activation_bytes as u64),
            &ByteSize(plan.total_bytes as u64),
            &thousands(plan.multiply_adds),
        ]);
    }
    format!("{sizes}\n{tensors}\n{memory}")
}
