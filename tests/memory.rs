//! The bytes of a run, counted by the allocator and not by the plan, are those the plan predicts.
//!
//! A binary of its own, for its allocator counts everything; and one test, so that nothing else runs.

#[path = "suite/support/describe.rs"]
mod describe;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pcc::compile::Compiled;
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::{BoundedExecutable, CpuExecutable};
use pcc::plan::{self, Plan, Purpose, Schedule, Sharing, bounded, plan};
use pcc::train::{Method, Optimizer};

use describe::{collected, compiled, rat_spn};

/// The system's allocator, counting bytes that are held, and the most that were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counters allocate nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(held, Ordering::SeqCst);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> usize {
    HELD.load(Ordering::SeqCst)
}

/// What a run took.
struct Taken {
    /// By the executable, ready to run.
    ready: usize,
    /// More than that, at the most, while it ran.
    running: usize,
}

fn take(compiled: &Arc<Compiled>, plan: Plan, threads: usize, data: &Dataset) -> Taken {
    let train = plan.purpose == Purpose::Train;
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let flat = compiled.parameters.initial::<f32>(&compiled.written, 0, None);
    let (mut log_p, mut gradient) = (vec![0.0; rows.len()], vec![0.0; flat.len()]);
    let mut optimizer =
        Optimizer::new(Method::default(), compiled.parameters.tensors(), 0.1, 0.0, &[]).unwrap();
    // So that a step allocates nothing for its updates.
    optimizer.next_step(1.0);
    let before = held();
    let mut engine: Box<dyn Executable> = match plan.bounded {
        Some(_) => Box::new(BoundedExecutable::new(compiled, plan, threads).unwrap()),
        None => Box::new(CpuExecutable::new(compiled.clone(), plan, threads).unwrap()),
    };
    let ready = held() - before;
    MOST.store(held(), Ordering::SeqCst);
    let start = held();
    if let Some(stepper) = engine.stepper() {
        assert!(stepper.begin(data, &flat, optimizer.moments()));
        stepper.step(data, &rows, optimizer.next_step(1.0), &mut log_p);
    } else if train {
        engine.gradient(&flat, data, &rows, &mut log_p, &mut gradient);
    }
    engine.load(&flat);
    engine.log_likelihood(data, &rows, &mut log_p);
    Taken { ready, running: MOST.load(Ordering::SeqCst) - start }
}

fn binary_data(compiled: &Compiled, rows: usize) -> Dataset {
    let width = compiled.written.variables().len();
    let row = |at: usize| (0..width).map(|var| Some(f32::from(at >> (var % 7) & 1 == 1))).collect();
    Dataset::from_rows(compiled.written.variables(), (0..rows).map(row).collect::<Vec<_>>())
        .unwrap()
}

/// Bytes that a plan does not count: the pool's queues, and for each thread a block of its queue and
/// what crossbeam keeps; the headers of parts and shards; an offset for each value, for the log domain;
/// and whose gradients are whose, for each tensor that a sector has alone.
fn bookkeeping(plan: &Plan, threads: usize) -> usize {
    let headers = plan.parts.len() * (plan.shards as usize + 1) * 400;
    let offsets: usize = plan.programs.iter().map(|program| 8 * (program.values.len() + 1)).sum();
    let owners = plan.sectors as usize * 24;
    (20 << 10) + threads * (8 << 10) + headers + offsets + owners
}

/// What a plan predicts wrongly, if it does so by more than its bookkeeping.
fn wrong(name: &str, compiled: &Arc<Compiled>, plan: Plan, threads: usize) -> Option<String> {
    let predicted = plan.memory().total(threads);
    let slack = bookkeeping(&plan, threads);
    let (purpose, schedule, batch) = (plan.purpose, plan.schedule, plan.batch);
    let cut = if plan.bounded.is_some() { ", bounded" } else { "" };
    let data = binary_data(compiled, batch as usize);
    let taken = take(compiled, plan, threads, &data);
    let more = (taken.ready + taken.running) as i64 - predicted as i64;
    (more.unsigned_abs() as usize > slack).then(|| {
        format!(
            "{name}, {purpose:?}, {schedule:?}{cut}, batch {batch}, {threads} threads: {predicted} \
             predicted, {more:+} taken, slack {slack}"
        )
    })
}

/// What evaluating a data set at once is said to take wrongly, as [`wrong`] does.
fn wrong_at_once(
    name: &str,
    compiled: &Arc<Compiled>,
    plan: Plan,
    threads: usize,
) -> Option<String> {
    let slack = bookkeeping(&plan, threads);
    let data = binary_data(compiled, 1500);
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let flat = compiled.parameters.initial::<f32>(&compiled.written, 0, None);
    let mut log_p = vec![0.0; rows.len()];
    let mut engine = CpuExecutable::new(compiled.clone(), plan, threads).unwrap();
    engine.load(&flat);
    let before = held();
    let said = engine.prepare_evaluations(&data, 1);
    let ready = held() - before;
    MOST.store(held(), Ordering::SeqCst);
    engine.log_likelihood(&data, &rows, &mut log_p);
    let taken = MOST.load(Ordering::SeqCst) - before;
    let is_wrong = said == 0 || ready.abs_diff(said) > slack || taken.abs_diff(said) > slack;
    is_wrong.then(|| {
        format!("{name}, at once, {threads} threads: {said} said, {ready} and {taken} taken, slack {slack}")
    })
}

#[test]
fn a_run_takes_the_bytes_that_its_plan_predicts() {
    let hyper = "leaves: Indicators, parameterizer: Hyper(embedding: 5, hidden: [20])";
    let circuits = [
        ("nltcs", compiled(&collected("nltcs-hyperspn.ron"))),
        ("rat 200", compiled(&rat_spn(200, 5, 4, "leaves: Indicators"))),
        ("rat 1000", compiled(&rat_spn(1000, 3, 1, "leaves: Indicators"))),
        ("rat 4000", compiled(&rat_spn(4000, 8, 1, hyper))),
    ];
    let mut faults = Vec::new();
    for (name, compiled) in &circuits {
        for purpose in [Purpose::Evaluate, Purpose::Train] {
            for (batch, threads) in [(64, 1), (500, 1), (500, 2), (2000, 2)] {
                let of = |schedule| plan::Options {
                    purpose,
                    schedule,
                    batch,
                    sharing: Sharing::WherePays,
                };
                let (circuit, parameters) = (&compiled.circuit, &compiled.parameters);
                let whole = [Schedule::Wide, Schedule::Deep]
                    .map(|schedule| plan(circuit, parameters, &of(schedule)));
                let cut = bounded(circuit, parameters, &of(Schedule::Deep));
                for plan in whole.into_iter().chain(cut) {
                    faults.extend(wrong(name, compiled, plan, threads));
                }
            }
        }
    }
    for (name, compiled) in &circuits[..3] {
        for threads in [1, 2] {
            let options = plan::Options {
                purpose: Purpose::Evaluate,
                schedule: Schedule::Wide,
                batch: 500,
                sharing: Sharing::Wherever,
            };
            let plan = plan(&compiled.circuit, &compiled.parameters, &options);
            faults.extend(wrong_at_once(name, compiled, plan, threads));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
