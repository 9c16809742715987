//! Which queries a circuit answers exactly, by what validation proved of it.

use std::fmt;

use crate::circuit::{Determinism, ValidCircuit};
use crate::ids::VarId;
use crate::variables::VarKind;

use super::joint::{MOST_STATES, joint_states};
use super::map;

/// A kind of query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// log p(x).
    LogLikelihood,
    /// log p(A), the other variables summed out.
    Marginal,
    /// p(A | B), and every variable's distribution given evidence.
    Conditional,
    /// Draws from p, or from p given evidence.
    Sampling,
    /// The most probable completion of the evidence.
    Map,
    /// Means, variances and covariances, given evidence.
    Moments,
    /// The entropy of all variables that the evidence leaves open.
    Entropy,
    /// The mutual information of any two variables.
    MutualInformation,
    /// Expected log-likelihood and divergence, the circuit being the second of two of one vtree.
    Kl,
}

impl Query {
    /// All of them, in the order of the table.
    pub const ALL: [Query; 9] = [
        Query::LogLikelihood,
        Query::Marginal,
        Query::Conditional,
        Query::Sampling,
        Query::Map,
        Query::Moments,
        Query::Entropy,
        Query::MutualInformation,
        Query::Kl,
    ];

    /// What it is called in the table.
    pub fn name(self) -> &'static str {
        match self {
            Query::LogLikelihood => "log-likelihood",
            Query::Marginal => "marginal",
            Query::Conditional => "conditional",
            Query::Sampling => "sampling",
            Query::Map => "MAP",
            Query::Moments => "moments",
            Query::Entropy => "entropy",
            Query::MutualInformation => "mutual information",
            Query::Kl => "expected LL, KL",
        }
    }

    /// What an exact answer requires of the circuit.
    pub fn requires(self) -> &'static str {
        match self {
            Query::LogLikelihood => "nothing more",
            Query::Marginal | Query::Conditional | Query::Sampling | Query::Moments => {
                "smooth, decomposable"
            }
            Query::Map => "deterministic",
            Query::Entropy => "deterministic, or few joint states",
            Query::MutualInformation => "few joint states, or deterministic over its variables",
            Query::Kl => {
                "structured-decomposable, deterministic, a first circuit of the same vtree"
            }
        }
    }
}

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the value asked for.
    Exact,
    /// It is a lower bound: the value of the best assignment that max-product finds.
    Bound,
    /// There is none.
    Refused,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Exact => "exact",
            Answer::Bound => "lower bound",
            Answer::Refused => "refused",
        })
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRow {
    /// The query.
    pub query: Query,
    /// What an exact answer requires.
    pub requires: &'static str,
    /// What this circuit gives.
    pub answer: Answer,
}

/// The answers that a circuit gives, a row a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTable(pub Vec<QueryRow>);

/// What a circuit answers.
pub fn table(circuit: &ValidCircuit) -> QueryTable {
    let row = |query: Query| QueryRow {
        query,
        requires: query.requires(),
        answer: answer(query, circuit),
    };
    QueryTable(Query::ALL.into_iter().map(row).collect())
}

/// The quality of the answer to one query, of all variables that it may be asked of.
pub fn answer(query: Query, circuit: &ValidCircuit) -> Answer {
    let properties = circuit.properties();
    let deterministic = properties.deterministic != Determinism::Unknown;
    let exact_if = |holds| if holds { Answer::Exact } else { Answer::Refused };
    match query {
        Query::LogLikelihood
        | Query::Marginal
        | Query::Conditional
        | Query::Sampling
        | Query::Moments => Answer::Exact,
        Query::Map => map::answer(properties.deterministic),
        Query::Entropy => exact_if(deterministic || few_states(circuit)),
        Query::MutualInformation => exact_if(pairs_are_few(circuit)),
        Query::Kl => exact_if(properties.structured_decomposable && deterministic),
    }
}

/// Whether all variables together have few joint states.
fn few_states(circuit: &ValidCircuit) -> bool {
    let all: Vec<VarId> = circuit.variables().ids().collect();
    joint_states(circuit, &all).is_some()
}

/// Whether any two variables have few joint states.
fn pairs_are_few(circuit: &ValidCircuit) -> bool {
    let variables = circuit.variables();
    let states = variables.ids().map(|var| match variables.kind(var) {
        VarKind::Categorical { states } => Some(states as usize),
        VarKind::Real => None,
    });
    let Some(mut states) = states.collect::<Option<Vec<usize>>>() else { return false };
    states.sort_unstable_by(|a, b| b.cmp(a));
    states.iter().take(2).product::<usize>() <= MOST_STATES
}

impl fmt::Display for QueryTable {
    /// A line a query, in columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<19} {:<12} an exact answer requires", "query", "answer")?;
        for row in &self.0 {
            let answer = row.answer.to_string();
            writeln!(f, "{:<19} {answer:<12} {}", row.query.name(), row.requires)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Circuit, SourceMap, WeightSource, validate};
    use crate::leaf::{Dist, Family};
    use crate::variables::Variables;

    /// A mixture of `terms` products over so many binary variables, or as many real ones.
    fn answers(variables: &Variables, family: Family, terms: u32) -> Vec<Answer> {
        let mut circuit = Circuit::new(variables.clone());
        let dist = circuit.add_dist(Dist::learnable(family, terms));
        let leaves: Vec<_> = variables.ids().map(|var| circuit.leaf(var, dist)).collect();
        let product = circuit.product(&leaves);
        let root = circuit.sum(1, &[product], WeightSource::Direct);
        circuit.set_root(root);
        let circuit = validate(circuit, &SourceMap::default()).map(|(circuit, _)| circuit);
        table(&circuit.unwrap()).0.iter().map(|row| row.answer).collect()
    }

    #[test]
    fn a_circuit_answers_what_its_properties_and_its_number_of_states_allow() {
        use Answer::{Bound, Exact, Refused};
        let [e, b, r] = [Exact, Bound, Refused];
        let of_bits = |count, terms| answers(&Variables::binary(count), Family::Bernoulli, terms);
        assert_eq!(of_bits(3, 1), [e, e, e, e, e, e, e, e, e]);
        assert_eq!(of_bits(3, 2), [e, e, e, e, b, e, e, e, r]);
        assert_eq!(of_bits(17, 2), [e, e, e, e, b, e, r, e, r]);
        let real = Variables::uniform(VarKind::Real, 2);
        assert_eq!(answers(&real, Family::GAUSSIAN, 1), [e, e, e, e, e, e, e, r, e]);
        assert_eq!(answers(&real, Family::GAUSSIAN, 2), [e, e, e, e, b, e, r, r, r]);
    }
}
