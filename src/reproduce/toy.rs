//! The hand-made data set: 256 binary variables, the nearer the more alike.
//!
//! The paper draws its curves (appendix): the HyperSPN and the RAT-SPN with weight decay have the same
//! circuit, and so the same mixture weights, but the HyperSPN makes them with a small network from an
//! embedding a sector. It learns a fraction of the numbers and overfits less.

use super::{Contestant, Entry};
use crate::diag::Source;
use crate::train::Recipe;

/// What the paper claims of it.
pub const CLAIM: &str = "The paper: of one circuit, a HyperSPN learns fewer parameters than weight \
                         decay does and generalises better.";

/// How long to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Until the curves have settled.
    Full,
    /// Until it is clear that it works.
    Quick,
}

/// The two contestants. Both see the same batches.
pub fn contestants(seed: u64, length: Length) -> [Contestant; 2] {
    let (steps, eval_every) = match length {
        Length::Full => (800, 50),
        Length::Quick => (20, 5),
    };
    let contestant = |name, parameterizer: &str, rate| {
        let text = format!(
            "(\n    name: \"toy-{name}\",\n    variables: Binary(256),\n    \
             structure: RatSpn(units: 5, replicas: 50, seed: {seed}),\n    \
             parameterizer: {parameterizer},\n)\n"
        );
        let circuit = Source::new(format!("toy-{name}.ron"), text);
        let recipe = Recipe { steps, eval_every, rate, seed, ..Recipe::default() };
        Contestant { name, circuit, recipe }
    };
    [
        contestant("hyperspn", "Hyper(embedding: 5, hidden: [20, 20])", 5e-3),
        contestant("weight-decay", "WeightDecay(lambda: 1e-4)", 2e-2),
    ]
}

/// Whether the outcome bears the claim out: fewer parameters, and a test log-likelihood at least as
/// high.
pub fn bears_out(hyper: &Entry, decay: &Entry) -> bool {
    let test = |entry: &Entry| entry.outcome.test.as_ref().and_then(|test| test.mean_ll);
    hyper.learnable < decay.learnable && test(hyper) >= test(decay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_contestants_have_the_same_weights_and_the_hyperspn_learns_fewer_numbers() {
        let sizes = contestants(0, Length::Quick).map(|contestant| {
            let compiled = contestant.compile();
            compiled.map(|compiled| {
                let weights = compiled.written.weights().values();
                (
                    weights.map(|weights| weights.len()).sum::<usize>(),
                    compiled.parameters.learnable(),
                )
            })
        });
        // (n − 2) k² + (2n + 1) k a replica, and the mixture of 50 of them.
        let weights = 50 * (254 * 25 + 513 * 5) + 50;
        // An embedding of 5 for each of 2n − 1 sectors a replica, the network, and the mixture.
        let network = (5 * 20 + 20) + (20 * 20 + 20) + (20 * 25 + 25);
        let learned = 50 * 511 * 5 + network + 50;
        assert_eq!(sizes, [Ok((weights, learned)), Ok((weights, weights))]);
    }
}
