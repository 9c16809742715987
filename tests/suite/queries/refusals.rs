//! What has no exact answer is refused, and it is said why.

use pcc::circuit::ValidCircuit;
use pcc::diag::{Code, Diagnostic};
use pcc::ids::VarId;
use pcc::query::{Divergence, Entropy, ExpectedLogLikelihood, MutualInformation};

use crate::support::describe::compiled_with;

fn circuit(text: &str) -> ValidCircuit {
    compiled_with(text, true).written.clone()
}

/// A fully factorised circuit, which is deterministic.
fn factorised(variables: &str, leaves: &str) -> ValidCircuit {
    let vtree = "vtree 3\nL 0 1\nL 1 2\nI 2 0 1";
    circuit(&format!(
        "(variables: {variables}, structure: Vtree(text: {vtree:?}, units: 1), leaves: {leaves})"
    ))
}

#[test]
fn refusals_say_what_is_missing() {
    let mut said = String::new();
    let mut add = |what: &str, refused: Result<(), Diagnostic>| {
        let Err(fault) = refused else { panic!("{what} is answered") };
        assert_eq!(fault.code, Code::E0704, "{what}");
        let help = fault.help.as_deref().unwrap_or("no help");
        said += &format!("{what}\n    {}\n    {help}\n", fault.message);
    };
    let many =
        circuit("(variables: Binary(17), structure: RatSpn(units: 2, replicas: 2, seed: 0))");
    let all: Vec<VarId> = many.variables().ids().collect();
    add("the entropy of a mixture", Entropy::new(&many, &all).map(drop));
    let real = circuit("(variables: Real(3), structure: RatSpn(units: 2, replicas: 2, seed: 0))");
    let of = [VarId(0)];
    add("the entropy of a real variable", Entropy::new(&real, &of).map(drop));
    let information = MutualInformation::new(&real, &of, &[VarId(1)]);
    add("the information of two real variables", information.map(drop));
    let information = MutualInformation::new(&many, &all[..3], &all[2..5]);
    add("the information of sets that share a variable", information.map(drop));

    let two = factorised("Binary(2)", "Indicators");
    let replicas =
        circuit("(variables: Binary(2), structure: RatSpn(units: 2, replicas: 2, seed: 0))");
    let expected = |p: &ValidCircuit, q: &ValidCircuit| ExpectedLogLikelihood::new(p, q).map(drop);
    add("the expected log-likelihood of a mixture", expected(&two, &replicas));
    add("the divergence of a mixture", Divergence::new(&replicas, &two).map(drop));
    add(
        "other variables",
        expected(&two, &factorised("Categorical(n: 2, states: 3)", "Indicators")),
    );
    add("more variables", expected(&two, &many));
    let densities = factorised("Real(2)", "Gaussian()");
    add("densities and counts", expected(&densities, &factorised("Real(2)", "Poisson()")));
    let chain = |text: &str| {
        circuit(&format!("(variables: Binary(3), structure: Vtree(text: {text:?}, units: 1))"))
    };
    let left = chain("vtree 5\nL 0 1\nL 1 2\nI 2 0 1\nL 3 3\nI 4 2 3");
    let right = chain("vtree 5\nL 0 1\nL 1 2\nL 3 3\nI 2 1 3\nI 4 0 2");
    add("other splits", expected(&left, &right));
    let unstructured =
        circuit("(variables: Binary(6), structure: RatSpn(units: 2, replicas: 3, seed: 0))");
    let hmm = circuit("(variables: Binary(6), structure: Hmm(units: 1))");
    add("no vtree at all", expected(&unstructured, &hmm));
    insta::assert_snapshot!(said);
}

#[test]
fn what_a_rule_makes_may_be_deterministic_over_some_of_its_variables() {
    // One unit: a product, of any of whose variables the entropy is a sum.
    let one = circuit("(variables: Real(5), structure: Hmm(units: 1))");
    assert!(Entropy::new(&one, &[VarId(1), VarId(3)]).is_ok_and(|entropy| !entropy.is_listed()));
    assert!(MutualInformation::new(&one, &[VarId(1)], &[VarId(3), VarId(4)]).is_ok());
}
