//! Plans: what they promise of memory and work, what the checker lets pass, and that the same circuit
//! always has the same plan.

use std::sync::Arc;

use pcc::circuit::{Circuit, Op, SourceMap, WeightSource, Weights};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::ids::VarId;
use pcc::leaf::{Dist, Family};
use pcc::param::direct::Direct;
use pcc::plan::{self, Input, Plan, Program, Purpose, Schedule, Sharing, Step, check, plan};
use pcc::variables::{VarKind, Variables};

use crate::agreement::{assert_agree, by_cpu, by_reference};
use crate::support::case::spread;
use crate::support::describe::{collected, compiled, compiled_with, rat_spn};
use crate::support::random_circuits::{Kinds, circuit};

fn planned(compiled: &Compiled, purpose: Purpose, schedule: Schedule, batch: u32) -> Plan {
    let options = plan::Options { purpose, schedule, batch, sharing: Sharing::WherePays };
    plan(&compiled.circuit, &compiled.parameters, &options)
}

/// The most values that must be kept at once, counted from the steps alone: a value is born when its
/// step has read its inputs, and dies when its last reader has read it. Inline values live while a
/// step reads them.
fn most_alive(program: &Program) -> i64 {
    let moments = 2 * program.steps.len() + 1;
    let is_output = |value: u32| program.outputs.contains(&value);
    let mut last_read = vec![0; program.values.len()];
    let mut changes = vec![0i64; moments + 2];
    let mut inline_now = vec![0i64; moments + 2];
    for (index, step) in program.steps.iter().enumerate() {
        for input in program.inputs(step) {
            last_read[input.value as usize] = 2 * index;
            inline_now[2 * index] += i64::from(program.values[input.value as usize].is_inline());
        }
    }
    for (index, step) in program.steps.iter().enumerate() {
        let value = step.output as usize;
        if program.values[value].is_inline() {
            continue;
        }
        let born = 2 * index + 1;
        let dead = if is_output(step.output) { moments } else { last_read[value].max(born) };
        changes[born] += 1;
        changes[dead + 1] -= 1;
    }
    let mut alive = 0;
    let mut most = 0;
    for (change, inline) in changes.iter().zip(&inline_now) {
        alive += change;
        most = most.max(alive + inline);
    }
    most
}

/// Shih, Sadigh and Ermon 2021, Proposition 1. In the arena, too: no more lane rows than that many
/// regions of `units`.
fn assert_few_regions(variables: usize, units: usize) {
    // As it is written: of single units, rewriting would leave no sums.
    let compiled = compiled_with(&rat_spn(variables, units, 1, "leaves: Indicators"), true);
    let plan = planned(&compiled, Purpose::Evaluate, Schedule::Deep, 64);
    let bound = variables.ilog2() + 1;
    let regions = plan.live_regions();
    assert!(regions <= bound, "{variables} variables: {regions} live regions, not {bound}");
    for part in plan.below_head() {
        let program = plan.program(part);
        assert_eq!(most_alive(program), i64::from(program.live_regions), "{variables} variables");
        assert!(program.rows as usize <= bound as usize * units, "{variables} variables");
        assert!(program.exponents <= bound, "{variables} variables");
    }
}

#[test]
fn the_deep_schedule_keeps_no_more_regions_than_levels() {
    for m in 4..=16 {
        for variables in [(1 << m) - 1, 1 << m, (1 << m) + 1] {
            assert_few_regions(variables, 2);
        }
    }
}

#[test]
fn the_deep_schedule_keeps_twenty_regions_of_a_million_variables() {
    assert_few_regions(1_000_000, 1);
}

#[test]
fn the_wide_schedule_keeps_more_regions_and_does_the_same_work() {
    let compiled = compiled(&rat_spn(64, 3, 2, "leaves: Indicators"));
    let of = |schedule| planned(&compiled, Purpose::Evaluate, schedule, 64);
    let (wide, deep) = (of(Schedule::Wide), of(Schedule::Deep));
    assert!(wide.live_regions() > 2 * deep.live_regions());
    assert_eq!(wide.multiply_adds(), deep.multiply_adds());
    assert_eq!(wide.stages(), deep.stages());
}

#[test]
fn the_papers_hyperspn_has_the_papers_numbers() {
    let compiled = compiled(&collected("nltcs-hyperspn.ron"));
    let weights: usize = compiled.written.weights().values().map(Weights::len).sum();
    assert_eq!(weights, 25_800);
    assert_eq!(compiled.parameters.learnable(), 8_865);
    let (variables, units, replicas) = (16, 5, 50);
    // Of a replica, n − 2 inner regions and the root, each a product and a sum; leaves are looked up.
    let inner = (variables - 2) * (units + units * units) + (units + units);
    for schedule in [Schedule::Wide, Schedule::Deep] {
        let plan = planned(&compiled, Purpose::Train, schedule, 500);
        assert_eq!(plan.multiply_adds(), replicas * inner + replicas);
        assert_eq!(plan.coefficients, weights);
        assert_eq!(plan.sectors, 50 * 31 + 1);
    }
}

/// Plans of random circuits, for both purposes and schedules, over one tile and over several.
fn each_plan(circuits: u64, mut see: impl FnMut(&str, Plan)) {
    for seed in 0..circuits {
        let kinds = [Kinds::Binary, Kinds::Discrete, Kinds::Mixed, Kinds::Real];
        let circuit = circuit(seed, kinds[seed as usize % kinds.len()]);
        let made = compile(circuit, &SourceMap::default(), &Direct, &Options::default()).unwrap();
        for purpose in [Purpose::Evaluate, Purpose::Train] {
            for schedule in [Schedule::Wide, Schedule::Deep] {
                let name = format!("seed {seed}, {purpose:?}, {schedule:?}");
                see(&name, planned(&made, purpose, schedule, 40 + 100 * (seed as u32 % 2)));
            }
        }
    }
}

#[test]
fn the_checker_accepts_every_plan_and_its_counts_are_those_of_its_steps() {
    each_plan(100, |name, plan| {
        check(&plan).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        for program in &plan.programs {
            assert_eq!(most_alive(program), i64::from(program.live_regions), "{name}");
        }
    });
}

#[test]
fn a_plan_survives_being_written_and_read() {
    each_plan(25, |name, plan| {
        let text = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&text).unwrap();
        assert!(read == plan, "{name}");
        assert_eq!(read.to_string(), plan.to_string(), "{name}");
    });
}

#[test]
fn the_same_circuit_has_the_same_plan_in_every_thread() {
    let text = |seed: u64| {
        let options = Options::default();
        let circuit = circuit(seed, Kinds::Mixed);
        let made = compile(circuit, &SourceMap::default(), &Direct, &options).unwrap();
        let plan = planned(&made, Purpose::Train, Schedule::Deep, 100);
        format!("{plan}\n{}", serde_json::to_string(&plan).unwrap())
    };
    for seed in 0..20 {
        let first = text(seed);
        assert_eq!(first, text(seed));
        let others: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| text(seed))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(others.iter().all(|other| *other == first), "seed {seed}");
    }
}

/// A way to break a plan; whether the plan had what it breaks.
type Break = fn(&mut Plan) -> bool;

/// The first program and step for which `edit` finds something to break.
fn at_some_step(plan: &mut Plan, edit: impl Fn(&mut Program, usize) -> bool) -> bool {
    plan.programs.iter_mut().any(|program| (0..program.steps.len()).any(|step| edit(program, step)))
}

fn edit_block(plan: &mut Plan, edit: impl FnMut(&mut plan::Block) -> bool) -> bool {
    plan.groups.iter_mut().flat_map(|group| &mut group.blocks).any(edit)
}

fn edit_op(plan: &mut Plan, edit: impl Fn(&mut plan::Op) -> bool) -> bool {
    at_some_step(plan, |program, step| edit(&mut program.steps[step].op))
}

/// Changes the first stored value with a reader.
fn edit_read_value(plan: &mut Plan, edit: impl Fn(&mut Program, u32) -> bool) -> bool {
    at_some_step(plan, |program, step| {
        let inputs: Vec<Input> = program.inputs(&program.steps[step]).to_vec();
        inputs.iter().any(|input| edit(program, input.value))
    })
}

/// The first two different stored values that one step reads, each with rows of its own.
fn two_alive(program: &Program, step: &Step) -> Option<(usize, usize)> {
    let stored: Vec<usize> = (program.inputs(step).iter())
        .map(|input| input.value as usize)
        .filter(|&value| !program.values[value].is_inline())
        .collect();
    let (&first, rest) = stored.split_first()?;
    rest.iter().find(|&&other| other != first).map(|&other| (first, other))
}

fn table(op: &mut plan::Op) -> Option<&mut u32> {
    match op {
        plan::Op::Lookup { table, .. } | plan::Op::Gaussian { table, .. } => Some(table),
        plan::Op::Sum { weights }
        | plan::Op::Mix { weights }
        | plan::Op::ProductSum { weights }
        | plan::Op::KroneckerSum { weights } => Some(weights),
        _ => None,
    }
}

/// What the checker must refuse, each by the name of what is wrong.
const BREAKS: &[(&str, Break)] = &[
    ("no parts", |plan| {
        plan.parts.clear();
        true
    }),
    ("an empty batch", |plan| {
        plan.batch = 0;
        true
    }),
    ("more shards than tiles", |plan| {
        plan.shards = plan.tiles() as u32 + 1;
        true
    }),
    ("no shards", |plan| {
        plan.shards = 0;
        true
    }),
    ("a part of an unknown program", |plan| {
        plan.parts[0].program = plan.programs.len() as u32;
        true
    }),
    ("a part's coefficients one too far", |plan| {
        plan.parts[0].first_coefficient += 1;
        true
    }),
    ("too few coefficients", |plan| {
        let some = plan.coefficients > 0;
        plan.coefficients = plan.coefficients.saturating_sub(1);
        some
    }),
    ("a column that a part lacks", |plan| {
        let part = plan.parts.iter_mut().find(|part| !part.columns.is_empty());
        part.map(|part| part.columns.pop()).is_some()
    }),
    ("a column of an unknown variable", |plan| {
        let variables = plan.variables;
        let mut columns = plan.parts.iter_mut().flat_map(|part| &mut part.columns);
        columns.next().map(|column| *column = plan::Column::Variable(VarId(variables))).is_some()
    }),
    ("no groups", |plan| {
        plan.groups.clear();
        true
    }),
    ("a part in no group", |plan| {
        plan.groups.pop();
        true
    }),
    ("a block that writes beyond its part", |plan| {
        edit_block(plan, |block| block.at.first_mut().map(|at| at.1 = u32::MAX).is_some())
    }),
    ("a block that writes to an unknown part", |plan| {
        edit_block(plan, |block| block.at.first_mut().map(|at| at.0 = u32::MAX).is_some())
    }),
    ("a block with a place too few", |plan| edit_block(plan, |block| block.at.pop().is_some())),
    ("a block of half a normalisation group", |plan| {
        edit_block(plan, |block| {
            block.span = block.sectors.len() as u32 + 1;
            true
        })
    }),
    ("a block of larger sectors than its part has room for", |plan| {
        edit_block(plan, |block| {
            block.cols = u32::MAX;
            true
        })
    }),
    ("two steps in the wrong order", |plan| {
        at_some_step(plan, |program, step| {
            let reads =
                |step: &Step, value| program.inputs(step).iter().any(|input| input.value == value);
            let next = program.steps.get(step + 1);
            let found = next.is_some_and(|next| reads(next, program.steps[step].output));
            if found {
                program.steps.swap(step, step + 1);
            }
            found
        })
    }),
    ("a value made twice", |plan| {
        at_some_step(plan, |program, step| {
            let found = step > 0 && program.steps[step].inputs.0 == program.steps[step].inputs.1;
            if found {
                program.steps[step].output = program.steps[step - 1].output;
            }
            found
        })
    }),
    ("a value whose step is another", |plan| {
        at_some_step(plan, |program, step| {
            let value = program.steps[step].output as usize;
            program.values[value].step += 1;
            true
        })
    }),
    ("a step of an unknown value", |plan| {
        at_some_step(plan, |program, step| {
            program.steps[step].output = program.values.len() as u32;
            true
        })
    }),
    ("an unknown input", |plan| {
        at_some_step(plan, |program, _| {
            let unknown = program.values.len() as u32;
            program.inputs.first_mut().map(|input| input.value = unknown).is_some()
        })
    }),
    ("inputs beyond the list", |plan| {
        at_some_step(plan, |program, step| {
            program.steps[step].inputs.1 = program.inputs.len() as u32 + 1;
            true
        })
    }),
    ("inputs that end before they begin", |plan| {
        at_some_step(plan, |program, step| {
            let found = program.steps[step].inputs.0 > 0;
            program.steps[step].inputs.1 = 0;
            found
        })
    }),
    ("one input too few", |plan| {
        at_some_step(plan, |program, step| {
            let found = program.steps[step].inputs.0 < program.steps[step].inputs.1;
            program.steps[step].inputs.1 -= u32::from(found);
            found
        })
    }),
    ("a value on a live one", |plan| {
        at_some_step(plan, |program, step| {
            let found = two_alive(program, &program.steps[step]);
            found.map(|(a, b)| program.values[a].rows = program.values[b].rows).is_some()
        })
    }),
    ("an exponent on a live one", |plan| {
        at_some_step(plan, |program, step| {
            let Some((a, b)) = two_alive(program, &program.steps[step]) else { return false };
            let exponents = (program.values[a].exponent, program.values[b].exponent);
            let found = exponents.0 != plan::NOWHERE && exponents.1 != plan::NOWHERE;
            if found {
                program.values[a].exponent = exponents.1;
            }
            found
        })
    }),
    ("a value beyond the arena", |plan| {
        edit_read_value(plan, |program, value| {
            let found = !program.values[value as usize].is_inline();
            if found {
                program.values[value as usize].rows = program.rows;
            }
            found
        })
    }),
    ("an exponent beyond its arena", |plan| {
        edit_read_value(plan, |program, value| {
            let found = program.values[value as usize].exponent != plan::NOWHERE;
            if found {
                program.values[value as usize].exponent = program.exponents;
            }
            found
        })
    }),
    ("a gradient beyond its arena", |plan| {
        edit_read_value(plan, |program, value| {
            let found = program.values[value as usize].gradient != plan::NOWHERE;
            if found {
                program.values[value as usize].gradient = program.gradient_rows;
            }
            found
        })
    }),
    ("a gradient that a value which learns lacks", |plan| {
        edit_read_value(plan, |program, value| {
            let value = &mut program.values[value as usize];
            let found = value.gradient != plan::NOWHERE;
            value.gradient = plan::NOWHERE;
            found
        })
    }),
    ("a gradient on a live one", |plan| {
        at_some_step(plan, |program, step| {
            let Some((a, b)) = two_alive(program, &program.steps[step]) else { return false };
            let gradients = (program.values[a].gradient, program.values[b].gradient);
            let found = gradients.0 != plan::NOWHERE && gradients.1 != plan::NOWHERE;
            if found {
                program.values[a].gradient = gradients.1;
            }
            found
        })
    }),
    ("a gradient added before one is written", |plan| {
        plan.purpose == Purpose::Train
            && edit_read_value(plan, |program, value| {
                let stored = program.values[value as usize].gradient != plan::NOWHERE;
                let found = program.inputs.iter_mut().filter(|input| input.value == value);
                stored && found.fold(false, |any, input| any | std::mem::take(&mut input.first))
            })
    }),
    ("a gradient written over another", |plan| {
        plan.purpose == Purpose::Train
            && edit_read_value(plan, |program, value| {
                let stored = program.values[value as usize].gradient != plan::NOWHERE;
                let found = program
                    .inputs
                    .iter_mut()
                    .find(|input| stored && input.value == value && !input.first);
                found.map(|input| input.first = true).is_some()
            })
    }),
    ("an inline value that no reader can make", |plan| {
        at_some_step(plan, |program, step| {
            let makes = matches!(program.steps[step].op, plan::Op::ProductSum { .. });
            let value = program.steps[step].output as usize;
            if makes {
                program.values[value].rows = plan::NOWHERE;
            }
            makes
        })
    }),
    ("a product without exponents", |plan| {
        at_some_step(plan, |program, step| {
            let makes = matches!(program.steps[step].op, plan::Op::Product);
            let value = program.steps[step].output as usize;
            if makes {
                program.values[value].exponent = plan::NOWHERE;
            }
            makes
        })
    }),
    ("a wider value", |plan| {
        at_some_step(plan, |program, step| {
            let value = program.steps[step].output as usize;
            let even = !matches!(program.steps[step].op, plan::Op::One);
            program.values[value].units += u32::from(even);
            even
        })
    }),
    ("a value of no units", |plan| {
        at_some_step(plan, |program, step| {
            let value = program.steps[step].output as usize;
            program.values[value].units = 0;
            true
        })
    }),
    ("a value of the wrong domain", |plan| {
        at_some_step(plan, |program, step| {
            let value = &mut program.values[program.steps[step].output as usize];
            value.domain = match value.domain {
                plan::Domain::Linear => plan::Domain::Log,
                plan::Domain::Log => plan::Domain::Linear,
            };
            true
        })
    }),
    ("weights beyond those of the program", |plan| {
        at_some_step(plan, |program, step| {
            let coefficients = program.coefficients;
            table(&mut program.steps[step].op).map(|at| *at = coefficients).is_some()
        })
    }),
    ("weights at the end of all numbers", |plan| {
        edit_op(plan, |op| table(op).map(|at| *at = u32::MAX).is_some())
    }),
    ("a table of more states than it has", |plan| {
        edit_op(plan, |op| match op {
            plan::Op::Lookup { states, .. } => {
                *states = u32::MAX;
                true
            }
            _ => false,
        })
    }),
    ("an import from no part", |plan| {
        let parts = plan.parts.len() as u32;
        edit_op(plan, |op| match op {
            plan::Op::Import { part, .. } => {
                *part = parts - 1;
                true
            }
            _ => false,
        })
    }),
    ("an import of no output", |plan| {
        edit_op(plan, |op| match op {
            plan::Op::Import { output, .. } => {
                *output = 1 << 20;
                true
            }
            _ => false,
        })
    }),
    ("an import below the head", |plan| {
        let head = plan.head().program as usize;
        let below = plan.below_head().first().map(|part| part.program as usize);
        let Some(program) = below.filter(|&below| below != head) else { return false };
        let step = plan.programs[program].steps.iter_mut().find(|s| s.inputs.0 == s.inputs.1);
        step.map(|step| step.op = plan::Op::Import { part: 0, output: 0 }).is_some()
    }),
    ("an output that no step makes", |plan| {
        let unknown = plan.programs[0].values.len() as u32;
        plan.programs[0].outputs[0] = unknown;
        true
    }),
    ("a head with no output", |plan| {
        let head = plan.head().program as usize;
        plan.programs[head].outputs.clear();
        true
    }),
    ("a head with two outputs", |plan| {
        let head = plan.head().program as usize;
        let output = plan.programs[head].outputs[0];
        plan.programs[head].outputs.push(output);
        true
    }),
    ("too little scratch", |plan| {
        at_some_step(plan, |program, _| {
            let found = program.scratch_rows > 0;
            program.scratch_rows = 0;
            found
        })
    }),
    ("too small an arena", |plan| {
        at_some_step(plan, |program, _| {
            let found = program.rows > 0;
            program.rows = program.rows.saturating_sub(1);
            found
        })
    }),
];

#[test]
fn a_sum_forms_all_pairs_that_it_alone_reads() {
    let steps = |more: &str| {
        let text = format!(
            "(variables: Binary(2), structure: Graph(nodes: {{ \
                \"a\": Leaf(var: \"x0\", dist: Bernoulli(p: [0.1, 0.2, 0.3]), units: 3), \
                \"b\": Leaf(var: \"x1\", dist: Bernoulli(p: [0.4, 0.5]), units: 2), \
                \"pairs\": Kronecker([\"a\", \"b\"]), \
                \"one\": Sum(inputs: [\"pairs\"]), {more} \"root\": Mixing(inputs: [\"one\", \"other\"]) }}, \
                root: \"root\"), parameterizer: Direct)"
        );
        let compiled = compiled_with(&text, true);
        let plan = planned(&compiled, Purpose::Train, Schedule::Wide, 64);
        let steps = plan.programs.iter().flat_map(|program| &program.steps);
        steps.map(|step| step.op.name()).collect::<Vec<_>>()
    };
    let apart = "\"pairs of others\": Kronecker([\"a\", \"b\"]), \"other\": Sum(inputs: [\"pairs of others\"]),";
    let formed = steps(apart);
    assert_eq!(formed.iter().filter(|op| **op == "kronecker+sum").count(), 2, "{formed:?}");
    assert!(!formed.contains(&"kronecker"), "{formed:?}");
    let twice = steps("\"other\": Sum(inputs: [\"pairs\"]),");
    assert_eq!(twice.iter().filter(|op| **op == "kronecker").count(), 1, "{twice:?}");
    assert!(!twice.contains(&"kronecker+sum"), "{twice:?}");
}

#[test]
fn the_checker_refuses_every_broken_plan() {
    let mut broken = vec![0; BREAKS.len()];
    let mut accepted = std::collections::BTreeMap::new();
    each_plan(40, |name, plan| {
        for (&(what, break_it), count) in BREAKS.iter().zip(&mut broken) {
            let mut plan = plan.clone();
            if break_it(&mut plan) {
                *count += 1;
                let found = std::panic::catch_unwind(|| check(&plan));
                let refused = matches!(found, Ok(Err(_)));
                if !refused {
                    let how = if found.is_err() { "panics at" } else { "accepts" };
                    accepted.entry(what).or_insert_with(|| format!("{how} {name}"));
                }
            }
        }
    });
    for (&(what, _), count) in BREAKS.iter().zip(&broken) {
        assert!(*count > 0, "no plan could have {what}");
    }
    assert!(accepted.is_empty(), "the checker lets pass: {accepted:#?}");
}

/// One variable of each kind under a root that is itself a leaf, and other circuits as small as can be.
fn smallest_circuits() -> Vec<(&'static str, Circuit)> {
    let leaf_alone = |kind, family| {
        let mut circuit = Circuit::new(Variables::uniform(kind, 1));
        let dist = circuit.add_dist(Dist::learnable(family, 1));
        let root = circuit.leaf(VarId(0), dist);
        circuit.set_root(root);
        circuit
    };
    let three = VarKind::Categorical { states: 3 };
    vec![
        ("a Bernoulli leaf", leaf_alone(VarKind::BINARY, Family::Bernoulli)),
        ("a categorical leaf", leaf_alone(three, Family::Categorical { states: 3 })),
        ("a Gaussian leaf", leaf_alone(VarKind::Real, Family::GAUSSIAN)),
        ("a sum over indicators", sum_over_indicators()),
        ("a product of leaves", product_of_leaves()),
        ("a root tied to a sum below", tied_root()),
        ("a mixture of one variable", one_variable_mixture()),
    ]
}

fn sum_over_indicators() -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(1));
    let dist = circuit.add_dist(Dist::indicators(2));
    let leaf = circuit.leaf(VarId(0), dist);
    let root = circuit.sum(1, &[leaf], WeightSource::Parameterizer);
    circuit.set_root(root);
    circuit
}

fn product_of_leaves() -> Circuit {
    let kinds = [("a", VarKind::BINARY), ("b", VarKind::Real), ("c", VarKind::Real)];
    let named = kinds.map(|(name, kind)| (name.to_owned(), kind));
    let mut circuit = Circuit::new(Variables::named(named));
    let families = [Family::Bernoulli, Family::GAUSSIAN, Family::GAUSSIAN];
    let leaves: Vec<_> = (0..)
        .zip(families)
        .map(|(var, family)| {
            let dist = circuit.add_dist(Dist::learnable(family, 1));
            circuit.leaf(VarId(var), dist)
        })
        .collect();
    let root = circuit.product(&leaves);
    circuit.set_root(root);
    circuit
}

/// The weights [1, 2] of the root are those of the sum below it, too.
fn tied_root() -> Circuit {
    let mut circuit = Circuit::new(Variables::binary(2));
    let source = WeightSource::Parameterizer;
    let weights = circuit.add_weights(Weights { rows: 1, cols: 2, source });
    let leaves: Vec<_> = [(0, 2), (1, 1), (0, 1), (1, 1)]
        .into_iter()
        .map(|(var, units)| {
            let dist = circuit.add_dist(Dist::learnable(Family::Bernoulli, units));
            circuit.leaf(VarId(var), dist)
        })
        .collect();
    let sum = circuit.add_over(Op::Sum { weights }, 1, &leaves[..1]);
    let products = [circuit.product(&[sum, leaves[1]]), circuit.product(&leaves[2..])];
    let root = circuit.add_over(Op::Sum { weights }, 1, &products);
    circuit.set_root(root);
    circuit
}

fn one_variable_mixture() -> Circuit {
    let mut circuit = Circuit::new(Variables::uniform(VarKind::Real, 1));
    let leaves: Vec<_> = (0..3)
        .map(|_| {
            let dist = circuit.add_dist(Dist::learnable(Family::GAUSSIAN, 1));
            circuit.leaf(VarId(0), dist)
        })
        .collect();
    let root = circuit.mixing(&leaves, WeightSource::Direct);
    circuit.set_root(root);
    circuit
}

#[test]
fn the_smallest_circuits_run_as_the_oracle_says() {
    for (name, circuit) in smallest_circuits() {
        for no_rewrite in [false, true] {
            let options = Options { no_rewrite, ..Options::default() };
            let circuit = circuit.clone();
            let made = compile(circuit, &SourceMap::default(), &Direct, &options).unwrap();
            let made = Arc::new(made);
            let flat = spread(&made.written, &made.parameters, 3);
            let single: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
            let flat: Vec<f64> = single.iter().map(|&value| value.into()).collect();
            let width = made.written.variables().len();
            for rows in
                [vec![vec![Some(1.0); width]], vec![vec![Some(0.0); width], vec![None; width]]]
            {
                let data = Dataset::from_rows(made.written.variables(), rows).unwrap();
                let expected = by_reference(&made, &flat, &data);
                for schedule in [Schedule::Wide, Schedule::Deep] {
                    let (log_p, gradient, _) = by_cpu(name, &made, &single, &data, schedule, 2);
                    assert_agree(name, &made, &expected, (&log_p, &gradient));
                }
            }
        }
    }
}
