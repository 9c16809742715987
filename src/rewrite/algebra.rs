//! Circuit algebra: rounds of sharing and of e-graphs over islands, until nothing changes.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::Options;
use super::flat::{Draft, Flat, Layers};
use super::island::{Island, Item, Kind, Pattern, active, islands};
use super::report::Stop;
use super::rules::Rule;
use super::saturate::{Outcome, Replacement, saturate};
use super::share::share;
use crate::circuit::{Node, Op};
use crate::ids::{NodeId, WeightsId};

/// The name under which sharing is reported.
pub(super) const SHARE: &str = "share-equal-subcircuits";

/// What the rounds did.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// How often each rule fired, sharing first.
    pub fired: Vec<(&'static str, usize)>,
    pub islands: usize,
    pub graphs: usize,
    pub rounds: usize,
    pub stop: Stop,
    pub inexact: bool,
}

/// Rewrites by the rules; `None` for a circuit that stays as it is.
pub(super) fn simplify(
    flat: &Flat,
    layers: &mut Layers<'_>,
    rules: &[&'static Rule],
    options: &Options,
) -> (Option<Flat>, Trace) {
    let mut trace = Trace::default();
    let mut known: HashMap<Pattern, Outcome> = HashMap::new();
    let mut counts = vec![0; rules.len()];
    let mut shared_nodes = 0;
    let mut result: Option<Flat> = None;
    for _ in 0..options.limits.rounds {
        let mut changed = false;
        if let Some((shared, saved)) = share(result.as_ref().unwrap_or(flat), layers) {
            shared_nodes += saved;
            result = Some(shared);
            changed = true;
        }
        let current = result.as_ref().unwrap_or(flat);
        if let Some(active) = active(current, layers, rules) {
            trace.rounds += 1;
            let mut draft = Draft::new(current);
            let mut replaced = false;
            let islands = islands(current, layers, &active, options.limits.island);
            trace.islands += islands.len();
            learn(&mut known, &islands, |island| {
                saturate(island, layers, rules, &options.target, &options.limits)
            });
            for island in &islands {
                let Some(outcome) = known.get(&island.pattern) else { continue };
                trace.stop = trace.stop.max(outcome.stop);
                trace.inexact |= !outcome.exact;
                for (count, rule) in counts.iter_mut().zip(rules) {
                    let fired = outcome.fired.iter().find(|(name, _)| *name == rule.name);
                    *count += fired.map_or(0, |&(_, times)| times);
                }
                if let Some(replacement) = &outcome.replacement {
                    put(&mut draft, layers, island, replacement);
                    replaced = true;
                }
            }
            if replaced {
                result = Some(draft.finish());
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    trace.graphs = known.len();
    let named = rules.iter().map(|rule| rule.name).zip(counts);
    trace.fired =
        [(SHARE, shared_nodes)].into_iter().chain(named).filter(|&(_, n)| n > 0).collect();
    (result, trace)
}

/// Saturates the patterns that are not known yet, each once; in parallel, for e-graphs know nothing of one
/// another.
fn learn(
    known: &mut HashMap<Pattern, Outcome>,
    islands: &[Island],
    saturate: impl Fn(&Island) -> Outcome + Sync,
) {
    let mut seen = HashSet::new();
    let mut new: Vec<&Island> = islands.iter().collect();
    new.retain(|&island| !known.contains_key(&island.pattern) && seen.insert(&island.pattern));
    let outcome = |&island: &&Island| (island.pattern.clone(), saturate(island));
    let outcomes: Vec<(Pattern, Outcome)> = new.par_iter().map(outcome).collect();
    known.extend(outcomes);
}

/// Puts the replacement in the island's place.
fn put(draft: &mut Draft, layers: &mut Layers<'_>, island: &Island, replacement: &Replacement) {
    let made: Vec<WeightsId> = replacement
        .made
        .iter()
        .filter_map(|matrix| Some(layers.intern(matrix.rows, matrix.frozen.as_deref()?)))
        .collect();
    let weights = |number: u32| {
        let number = number as usize;
        island.weights.get(number).copied().unwrap_or_else(|| made[number - island.weights.len()])
    };
    let mut nodes = island.nodes.clone();
    for &Item { kind, units, ref inputs } in &replacement.nodes {
        let op = match kind {
            // A hole is an item of the pattern and never a new node.
            Kind::Hole => continue,
            Kind::Product => Op::Product,
            Kind::Kronecker => Op::Kronecker,
            Kind::Sum(number) => Op::Sum { weights: weights(number) },
            Kind::Mixing(number) => Op::Mixing { weights: weights(number) },
        };
        let inputs: Vec<NodeId> = inputs.iter().map(|&input| nodes[input as usize]).collect();
        nodes.push(draft.push(Node { op, units }, &inputs));
    }
    for (&output, &new) in island.pattern.outputs.iter().zip(&replacement.outputs) {
        draft.replace(island.nodes[output as usize], nodes[new as usize]);
    }
}
