//! Fills gaps: what an input of a sum lacks of the variables of the others.
//!
//! A gap is some runs of positions in the order of the variables. The product of the leaves of a run is
//! made of the products of shorter runs, which other runs share, so that a gap costs a few edges and
//! not one a variable (the segment trees of Shih, Van den Broeck, Beame and Amarilli 2019, *Smoothing
//! Structured Decomposable Circuits*):
//!
//! ```text
//! a block, 2ᵏ positions that begin at a multiple of 2ᵏ, is cut in half
//! any other run is cut behind the block that it begins with, or before the one that it ends with,
//! whichever is smaller
//!
//! 1..8  =  1 · 2..8  =  1 · (2..4 · 4..8)        3..8  =  3 · 4..8
//! ```
//! Blocks are fewer than the variables, and beside them a run among n variables takes 2 log₂ n products
//! at most. All runs to one end, what the branches of a decision list lack, take together no more than
//! three products each.

use super::{Builder, Made};
use crate::diag::{Code, Diagnostic};
use crate::ids::{NodeId, ScopeId, VarId};
use crate::leaf::Family;
use crate::real::log_sum_exp;

/// Runs of positions in the scopes of all nodes and in all gaps. Where no order of the variables suits a
/// formula, they are not linear in its file.
const MOST_RUNS: usize = 1 << 25;

/// Variables of which anything may hold.
#[derive(Clone, Copy)]
pub(super) struct Free {
    /// The product of a leaf of each, by what its literals weigh.
    pub(super) node: NodeId,
    /// ln of what all their assignments weigh together.
    pub(super) log_mass: f64,
}

impl Builder<'_> {
    /// The same over more variables, each of which may be anything.
    ///
    /// # Errors
    /// E0105 where gaps have too many runs.
    pub(super) fn over(&mut self, made: Made, scope: ScopeId) -> Result<Made, Diagnostic> {
        if made.scope == scope || made.log_mass == f64::NEG_INFINITY {
            return Ok(made);
        }
        let gap = self.scopes.gap(scope, made.scope);
        self.bounded()?;
        let free = self.gap(gap);
        let node = match made.node {
            None => free.node,
            Some(node) => self.circuit.product(&[node, free.node]),
        };
        let bits = self.scopes.size(gap);
        let count = self.counter.doubled(made.count, bits);
        let log_mass = made.log_mass + free.log_mass;
        Ok(Made { node: Some(node), scope, log_mass, count })
    }

    /// Whether scopes and gaps can be kept.
    ///
    /// # Errors
    /// E0105 where they have too many runs.
    pub(super) fn bounded(&self) -> Result<(), Diagnostic> {
        if self.scopes.run_count() <= MOST_RUNS {
            return Ok(());
        }
        let message = "its nodes are over too many sets of variables of too many pieces";
        Err(Diagnostic::new(Code::E0105, message)
            .help("compile it by an order of the variables, or by a vtree"))
    }

    /// The product of a gap; of equal gaps it is one node.
    fn gap(&mut self, gap: ScopeId) -> Free {
        if let Some(&known) = self.gaps.get(&gap) {
            return known;
        }
        let runs = self.scopes.runs(gap);
        let mut log_mass = 0.0;
        let mut nodes = Vec::with_capacity(runs.len());
        for run in runs {
            let free = self.run(run);
            log_mass += free.log_mass;
            nodes.push(free.node);
        }
        let node = match nodes[..] {
            [only] => only,
            _ => self.circuit.product(&nodes),
        };
        let free = Free { node, log_mass };
        self.gaps.insert(gap, free);
        free
    }

    /// The product of a run, and of all runs that it is made of.
    fn run(&mut self, run: (u32, u32)) -> Free {
        let mut stack = vec![run];
        while let Some(&(start, end)) = stack.last() {
            if self.runs.contains_key(&(start, end)) {
                stack.pop();
                continue;
            }
            let free = match end - start {
                1 => self.free(self.scopes.at(start)),
                _ => {
                    let middle = cut(start, end);
                    let halves = [(start, middle), (middle, end)];
                    let [Some(&a), Some(&b)] = halves.map(|half| self.runs.get(&half)) else {
                        stack.extend(halves);
                        continue;
                    };
                    let node = self.circuit.product(&[a.node, b.node]);
                    Free { node, log_mass: a.log_mass + b.log_mass }
                }
            };
            self.runs.insert((start, end), free);
            stack.pop();
        }
        self.runs[&run]
    }

    /// The leaf of a variable that may be anything, by what its literals weigh.
    pub(super) fn free(&mut self, var: VarId) -> Free {
        let weights = self.parsed.weights.as_ref();
        let logs = [0, 1].map(|state| weights.map_or(0.0, |weights| weights.log(var, state)));
        let log_mass = log_sum_exp(logs.into_iter());
        // Where neither literal has weight the mass is zero, and the leaf is not used.
        let p = if log_mass > f64::NEG_INFINITY { (logs[1] - log_mass).exp() } else { 0.5 };
        Free { node: self.shared_leaf(var, Family::Bernoulli, vec![p]), log_mass }
    }
}

/// Where a run of more than one position is cut in two.
fn cut(start: u32, end: u32) -> u32 {
    let block = |position: u32| 1u64 << position.trailing_zeros();
    let (len, first, last) = (u64::from(end - start), block(start), block(end));
    if len.is_power_of_two() && first >= len {
        start + (len / 2) as u32
    } else if first <= last {
        start + first as u32
    } else {
        end - last as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::cut;

    /// The runs that these are made of.
    fn made_of(runs: impl Iterator<Item = (u32, u32)>) -> HashSet<(u32, u32)> {
        let mut all = HashSet::new();
        let mut stack: Vec<(u32, u32)> = runs.collect();
        while let Some((start, end)) = stack.pop() {
            if all.insert((start, end)) && end - start > 1 {
                let middle = cut(start, end);
                assert!(start < middle && middle < end, "{start}..{end} is cut at {middle}");
                stack.extend([(start, middle), (middle, end)]);
            }
        }
        all
    }

    #[test]
    fn every_run_is_cut_inside_and_made_of_few_beside_blocks() {
        let is_block = |&&(start, end): &&(u32, u32)| {
            (end - start).is_power_of_two() && start % (end - start) == 0
        };
        for end in 1..=100 {
            for start in 0..end {
                let all = made_of([(start, end)].into_iter());
                let others = all.len() - all.iter().filter(is_block).count();
                assert!(others <= 2 * 7, "{start}..{end} takes {others}");
            }
        }
    }

    #[test]
    fn runs_to_one_end_or_from_one_beginning_take_three_products_each_at_most() {
        for count in [64u32, 1_000, 1_001, 4_095] {
            let ends = made_of((0..count).map(|start| (start, count)));
            let begins = made_of((1..=count).map(|end| (0, end)));
            for (what, all) in [("ends", ends), ("begins", begins)] {
                let products = all.iter().filter(|(start, end)| end - start > 1).count();
                assert!(products <= 3 * count as usize, "{what} of {count}: {products}");
            }
        }
    }
}
