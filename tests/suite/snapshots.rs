//! What `pcc compile --emit` shows of small circuits, as recorded: the circuit, its sectors, its plans
//! and what rewriting did.

use pcc::compile::Compiled;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};

use crate::support::describe::{collected, compiled, rat_spn};

fn text(compiled: &Compiled) -> String {
    let plan = |schedule| {
        let options = plan::Options {
            purpose: Purpose::Train,
            schedule,
            batch: 100,
            sharing: Sharing::WherePays,
        };
        plan(&compiled.circuit, &compiled.parameters, &options)
    };
    let rewrites = compiled.rewriting.as_ref().map(ToString::to_string).unwrap_or_default();
    [
        ("circuit", compiled.circuit.to_string()),
        ("rewrites", rewrites),
        ("sectors", compiled.parameters.to_string()),
        ("plan, wide", plan(Schedule::Wide).to_string()),
        ("plan, deep", plan(Schedule::Deep).to_string()),
    ]
    .map(|(name, text)| format!("== {name}\n{text}"))
    .join("\n")
}

fn assert_as_recorded(name: &str, description: &str) {
    let first = text(&compiled(description));
    assert_eq!(first, text(&compiled(description)), "{name}: two texts of one circuit");
    insta::with_settings!({
        snapshot_path => "../snapshots/plans",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, first);
    });
}

#[test]
fn the_sprinkler_is_compiled_as_recorded() {
    assert_as_recorded("sprinkler", &collected("sprinkler.ron"));
}

#[test]
fn the_mixture_of_patients_is_compiled_as_recorded() {
    assert_as_recorded("patients", &collected("patients.ron"));
}

#[test]
fn a_small_hyperspn_is_compiled_as_recorded() {
    let hyper = "leaves: Indicators, parameterizer: Hyper(embedding: 3, hidden: [4])";
    assert_as_recorded("hyperspn", &rat_spn(6, 2, 2, hyper));
}
