//! What a circuit can be asked beyond the likelihood of a row.
//!
//! A [`Posterior`] is a circuit given a row of evidence, after one forward pass. [`conditionals`],
//! [`moments`], [`Entropy`], [`MutualInformation`], [`ExpectedLogLikelihood`] and [`Divergence`] walk it; [`map`] is by max-product,
//! [`log_conditional`] by two marginals. All of it is in f64, walks the circuit *as written*, and costs one
//! or two passes over it a row where nothing else is said. What has no exact answer is a bound, and says
//! so, or is refused with a diagnostic, E0704; what can be refused is settled before any row is seen.
//!
//! Conditionals of many rows are an engine's, some hundred times faster and to its precision
//! ([`Executable::conditionals`](crate::Executable::conditionals)); what is here judges it.
//!
//! | query | requires | otherwise |
//! |---|---|---|
//! | conditionals, moments | every valid circuit: smooth and decomposable | |
//! | MAP | deterministic | a lower bound |
//! | entropy, mutual information | deterministic over the variables, or few joint states | refused |
//! | expected log-likelihood | one vtree, the second circuit deterministic | refused |
//! | Kullback–Leibler divergence | one vtree, both circuits deterministic | refused |
//!
//! Smooth and decomposable circuits sum out variables by setting their leaves to one, in one pass. In a
//! deterministic one at most one term of a sum is not zero, so that the sum is their maximum and its logarithm
//! is that term's. See Vergari et al. 2021, *A Compositional Atlas of Tractable Circuit Operations for
//! Probabilistic Inference*; each module names what it takes from where.
//!
//! [`table()`] says what holds of a circuit, and runs nothing.

mod compare;
mod conditional;
mod entropy;
mod forward;
mod joint;
mod leaves;
mod map;
mod moments;
mod pairs;
mod posterior;
mod table;

pub use self::compare::{Divergence, ExpectedLogLikelihood};
pub use self::conditional::{Conditional, conditionals, log_conditional};
pub use self::entropy::{Entropy, MutualInformation};
pub use self::joint::{MOST_STATES, joint, joint_states};
pub use self::map::{Completion, map};
pub use self::moments::{Moments, moments};
pub use self::posterior::Posterior;
pub use self::table::{Answer, Query, QueryRow, QueryTable, answer, table};
