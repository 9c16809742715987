//! Which queries a circuit answers exactly, by what validation proved of it.
//!
//! Smooth and decomposable circuits, which all valid ones are, sum out variables by setting their
//! leaves to one, in one pass. To maximise instead, a sum must be deterministic: then at most one
//! input is not zero and the sum is their maximum. The product of two circuits, and with it the KL
//! divergence, can be made if both split every scope in the same way (Vergari et al. 2021, A
//! Compositional Atlas of Tractable Circuit Operations).
//!
//! This module says what holds; it runs nothing.

use std::fmt;

use crate::circuit::{Determinism, Properties};

/// A kind of query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// log p(x).
    LogLikelihood,
    /// log p(A), the other variables summed out.
    Marginal,
    /// p(A | B).
    Conditional,
    /// Draws from p, or from p given evidence.
    Sampling,
    /// The most probable completion of the evidence.
    Map,
    /// Products and divergences of two circuits.
    Kl,
}

impl Query {
    /// All of them, in the order of the table.
    pub const ALL: [Query; 6] = [
        Query::LogLikelihood,
        Query::Marginal,
        Query::Conditional,
        Query::Sampling,
        Query::Map,
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
            Query::Kl => "product, KL",
        }
    }

    /// What an exact answer requires of the circuit.
    pub fn requires(self) -> &'static str {
        match self {
            Query::LogLikelihood => "nothing more",
            Query::Marginal | Query::Conditional | Query::Sampling => "smooth, decomposable",
            Query::Map => "deterministic",
            Query::Kl => "structured-decomposable, a second circuit of the same vtree",
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

/// The answers a circuit of these properties gives, a row a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTable(pub Vec<QueryRow>);

/// What a circuit of these properties answers.
pub fn table(properties: &Properties) -> QueryTable {
    let row = |query: Query| QueryRow {
        query,
        requires: query.requires(),
        answer: answer(query, properties),
    };
    QueryTable(Query::ALL.into_iter().map(row).collect())
}

/// The quality of the answer to one query.
pub fn answer(query: Query, properties: &Properties) -> Answer {
    match query {
        Query::LogLikelihood | Query::Marginal | Query::Conditional | Query::Sampling => {
            Answer::Exact
        }
        Query::Map if properties.deterministic == Determinism::Unknown => Answer::Bound,
        Query::Map => Answer::Exact,
        Query::Kl if properties.structured_decomposable => Answer::Exact,
        Query::Kl => Answer::Refused,
    }
}

impl fmt::Display for QueryTable {
    /// A line a query, in columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<15} {:<12} an exact answer requires", "query", "answer")?;
        for row in &self.0 {
            let answer = row.answer.to_string();
            writeln!(f, "{:<15} {answer:<12} {}", row.query.name(), row.requires)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(structured_decomposable: bool, deterministic: Determinism) -> Vec<Answer> {
        let rows = table(&Properties { structured_decomposable, deterministic }).0;
        rows.iter().map(|row| row.answer).collect()
    }

    #[test]
    fn map_is_exact_only_of_deterministic_and_kl_only_of_structured_circuits() {
        use Answer::{Bound, Exact, Refused};
        let [e, b, r] = [Exact, Bound, Refused];
        assert_eq!(answers(false, Determinism::Unknown), [e, e, e, e, b, r]);
        assert_eq!(answers(true, Determinism::Declared), [e, e, e, e, e, e]);
        assert_eq!(answers(false, Determinism::Proven), [e, e, e, e, e, r]);
    }
}
