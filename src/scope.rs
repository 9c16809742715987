//! Scopes: which variables a node depends on.
//!
//! Scopes are interned, so that equality is one comparison of ids, and kept as runs of positions in
//! one order of the variables. With the depth-first order in which a circuit meets its leaves, every
//! region of a single tree is one run: a million variables cost a run a region, not a bit a variable
//! a region. Sets are spelled out only for messages.

use std::hash::{BuildHasher, RandomState};

use crate::ids::{IdVec, ScopeId, VarId};

/// Positions `start..end` of the variable order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Run {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first_run: u32,
    runs: u32,
    size: u32,
}

/// The interned scopes of one circuit.
#[derive(Clone, Debug)]
pub struct Scopes {
    order: Vec<VarId>,
    position: IdVec<VarId, u32>,
    runs: Vec<Run>,
    entries: IdVec<ScopeId, Entry>,
    /// Open addressing with linear probing, a power of two long and at most half full: a scope costs
    /// a few bytes here and no allocation of its own.
    slots: Vec<u32>,
    hasher: RandomState,
    scratch: Vec<Run>,
}

/// A slot that holds no scope.
const FREE: u32 = u32::MAX;
/// Slots of the smallest table.
const FEWEST_SLOTS: usize = 16;

impl Scopes {
    /// The empty scope, always interned first.
    pub const EMPTY: ScopeId = ScopeId(0);

    /// No scopes yet but the empty one. `order` lists each of the `count` variables once.
    pub fn new(order: Vec<VarId>) -> Self {
        let mut position = IdVec::filled(u32::MAX, order.len());
        for (index, &var) in order.iter().enumerate() {
            position[var] = index as u32;
        }
        let mut scopes = Scopes {
            order,
            position,
            runs: Vec::new(),
            entries: IdVec::new(),
            slots: vec![FREE; FEWEST_SLOTS],
            hasher: RandomState::new(),
            scratch: Vec::new(),
        };
        scopes.intern_scratch();
        scopes
    }

    /// The scope of one variable.
    pub fn singleton(&mut self, var: VarId) -> ScopeId {
        let start = self.position[var];
        self.scratch.clear();
        self.scratch.push(Run { start, end: start + 1 });
        self.intern_scratch()
    }

    /// The scope of all variables.
    pub fn everything(&mut self) -> ScopeId {
        self.scratch.clear();
        if !self.order.is_empty() {
            self.scratch.push(Run { start: 0, end: self.order.len() as u32 });
        }
        self.intern_scratch()
    }

    /// The union of some scopes, and whether no two of them share a variable.
    pub fn union(&mut self, scopes: &[ScopeId]) -> (ScopeId, bool) {
        let mut all = std::mem::take(&mut self.scratch);
        all.clear();
        for &scope in scopes {
            all.extend_from_slice(self.runs_of(scope));
        }
        if !all.is_sorted() {
            all.sort_unstable();
        }
        let mut disjoint = true;
        let mut merged = 0;
        for index in 0..all.len() {
            let run = all[index];
            if merged > 0 && run.start <= all[merged - 1].end {
                disjoint &= run.start == all[merged - 1].end;
                all[merged - 1].end = all[merged - 1].end.max(run.end);
            } else {
                all[merged] = run;
                merged += 1;
            }
        }
        all.truncate(merged);
        self.scratch = all;
        (self.intern_scratch(), disjoint)
    }

    fn intern_scratch(&mut self) -> ScopeId {
        let slot = match self.find(&self.scratch) {
            Ok(scope) => return scope,
            Err(free) => free,
        };
        let scope = self.entries.push(Entry {
            first_run: self.runs.len() as u32,
            runs: self.scratch.len() as u32,
            size: self.scratch.iter().map(|run| run.end - run.start).sum(),
        });
        self.runs.extend_from_slice(&self.scratch);
        self.slots[slot] = scope.0;
        if 2 * self.entries.len() > self.slots.len() {
            self.grow();
        }
        scope
    }

    /// The scope of these runs, or the slot to put it in.
    fn find(&self, runs: &[Run]) -> Result<ScopeId, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(runs) as usize & mask;
        loop {
            match self.slots[slot] {
                FREE => return Err(slot),
                scope if self.runs_of(ScopeId(scope)) == runs => return Ok(ScopeId(scope)),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let len = 2 * self.slots.len();
        self.slots.clear();
        self.slots.resize(len, FREE);
        for scope in self.entries.ids() {
            if let Err(free) = self.find(self.runs_of(scope)) {
                self.slots[free] = scope.0;
            }
        }
    }

    fn runs_of(&self, scope: ScopeId) -> &[Run] {
        let entry = self.entries[scope];
        &self.runs[entry.first_run as usize..(entry.first_run + entry.runs) as usize]
    }

    /// Gives back what only interning needs. Nothing is interned any more.
    pub(crate) fn close(&mut self) {
        self.slots = Vec::new();
        self.scratch = Vec::new();
        self.runs.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Number of variables in `scope`.
    pub fn size(&self, scope: ScopeId) -> usize {
        self.entries[scope].size as usize
    }

    /// The variables of `scope`, ascending by id.
    pub fn variables(&self, scope: ScopeId) -> Vec<VarId> {
        let positions = self.runs_of(scope).iter().flat_map(|run| run.start..run.end);
        let mut variables: Vec<VarId> =
            positions.map(|position| self.order[position as usize]).collect();
        variables.sort_unstable();
        variables
    }

    /// The scope of what `a` has and `b` lacks.
    pub fn gap(&mut self, a: ScopeId, b: ScopeId) -> ScopeId {
        let mut left = std::mem::take(&mut self.scratch);
        left.clear();
        let mut taken = self.runs_of(b).iter().peekable();
        for &Run { mut start, end } in self.runs_of(a) {
            while taken.next_if(|run| run.end <= start).is_some() {}
            // A run of `b` may reach into the next run of `a`.
            while let Some(run) = taken.peek().copied().filter(|run| run.start < end) {
                if start < run.start {
                    left.push(Run { start, end: run.start });
                }
                start = run.end.min(end);
                if run.end > end {
                    break;
                }
                taken.next();
            }
            if start < end {
                left.push(Run { start, end });
            }
        }
        self.scratch = left;
        self.intern_scratch()
    }

    /// The runs of positions of `scope`, ascending, each without its end and none next to another.
    pub fn runs(&self, scope: ScopeId) -> Vec<(u32, u32)> {
        self.runs_of(scope).iter().map(|run| (run.start, run.end)).collect()
    }

    /// The variable at a position of the order.
    pub fn at(&self, position: u32) -> VarId {
        self.order[position as usize]
    }

    /// The variables of `a` that `b` lacks, ascending by id.
    pub fn difference(&self, a: ScopeId, b: ScopeId) -> Vec<VarId> {
        let lacks = |var: &VarId| !self.contains(b, *var);
        self.variables(a).into_iter().filter(lacks).collect()
    }

    /// The variables that both have, ascending by id.
    pub fn intersection(&self, a: ScopeId, b: ScopeId) -> Vec<VarId> {
        self.variables(a).into_iter().filter(|&var| self.contains(b, var)).collect()
    }

    /// Whether `var` is in `scope`.
    pub fn contains(&self, scope: ScopeId, var: VarId) -> bool {
        let position = self.position[var];
        let runs = self.runs_of(scope);
        let after = runs.partition_point(|run| run.start <= position);
        after > 0 && position < runs[after - 1].end
    }

    /// Number of interned scopes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is interned; never so, the empty scope is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of runs kept, the measure of this table's memory.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(order: &[u32]) -> Scopes {
        Scopes::new(order.iter().map(|&var| VarId(var)).collect())
    }

    #[test]
    fn equal_sets_are_one_scope_whatever_the_way_they_were_built() {
        let mut scopes = table(&[2, 0, 1, 3]);
        let [a, b, c] = [0, 1, 2].map(|var| scopes.singleton(VarId(var)));
        let (left, _) = scopes.union(&[a, b]);
        let (one, disjoint) = scopes.union(&[left, c]);
        let (other, _) = scopes.union(&[c, a, b]);
        assert!(disjoint);
        assert_eq!(one, other);
        assert_eq!(scopes.variables(one), [VarId(0), VarId(1), VarId(2)]);
        assert_eq!(scopes.size(one), 3);
    }

    #[test]
    fn overlapping_inputs_are_told_from_disjoint_ones() {
        let mut scopes = table(&[0, 1, 2, 3, 4]);
        let singles = [0, 1, 2, 3, 4].map(|var| scopes.singleton(VarId(var)));
        let (ac, _) = scopes.union(&[singles[0], singles[2]]);
        let (bc, _) = scopes.union(&[singles[1], singles[2]]);
        let (be, _) = scopes.union(&[singles[1], singles[4]]);
        assert!(!scopes.union(&[ac, bc]).1);
        assert!(scopes.union(&[ac, be]).1);
        assert_eq!(scopes.intersection(ac, bc), [VarId(2)]);
        assert_eq!(scopes.difference(ac, bc), [VarId(0)]);
        assert!(!scopes.union(&[ac, ac]).1);
    }

    #[test]
    fn a_gap_is_what_a_scope_has_and_another_lacks() {
        let mut scopes = table(&[4, 2, 0, 1, 3, 5]);
        let singles = [0, 1, 2, 3, 4, 5].map(|var| scopes.singleton(VarId(var)));
        let mut of = |set: usize| {
            let members: Vec<ScopeId> =
                (0..6).filter(|var| set >> var & 1 == 1).map(|var| singles[var]).collect();
            scopes.union(&members).0
        };
        let sets: Vec<ScopeId> = (0..64).map(&mut of).collect();
        for (a, b) in (0..64).flat_map(|a| (0..64).map(move |b| (a, b))) {
            assert_eq!(scopes.gap(sets[a], sets[b]), sets[a & !b], "{a:b} without {b:b}");
        }
        assert_eq!(scopes.runs(sets[0b110110]), [(0, 2), (3, 4), (5, 6)]);
        assert_eq!([0, 1, 2].map(|position| scopes.at(position)), [4, 2, 0].map(VarId));
    }

    #[test]
    fn scopes_keep_their_ids_while_the_table_grows() {
        let order: Vec<u32> = (0..200).collect();
        let mut scopes = table(&order);
        let singles: Vec<ScopeId> = (0..200).map(|var| scopes.singleton(VarId(var))).collect();
        let pairs: Vec<ScopeId> = singles.windows(2).map(|pair| scopes.union(pair).0).collect();
        assert_eq!(scopes.len(), 1 + 200 + 199);
        for (var, &single) in singles.iter().enumerate() {
            assert_eq!(scopes.singleton(VarId(var as u32)), single);
        }
        for (two, &pair) in singles.windows(2).zip(&pairs) {
            assert_eq!(scopes.union(two), (pair, true));
        }
    }

    #[test]
    fn regions_of_a_tree_in_its_own_order_cost_one_run_each() {
        let mut scopes = table(&[3, 1, 0, 2]);
        let leaves = [3, 1, 0, 2].map(|var| scopes.singleton(VarId(var)));
        let (left, _) = scopes.union(&leaves[..2]);
        let (right, _) = scopes.union(&leaves[2..]);
        scopes.union(&[left, right]);
        assert_eq!(scopes.run_count(), 7);
    }
}
