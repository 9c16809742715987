//! Lifts the nodes of an SDD to where they stand in its vtree.
//!
//! An SDD is trimmed: a prime or sub may be of a node far below its side of the vtree, or be no more than
//! true. The variables that it does not mention may be anything. So that every product splits the
//! variables of a vtree node into those of its left and of its right side, they are multiplied in one
//! vtree node at a time, on the way up:
//!
//! ```text
//! vtree (a b) (c d)     c    becomes   (any a · any b) · (c · any d)
//!                       true becomes   (any a · any b) · (any c · any d)
//! ```
//! There is one lifted node for each pair of a node and a vtree node, shared by all that use it. A
//! circuit that is structured by the vtree cannot do with fewer.

use std::collections::HashMap;

use super::nodes::{Nodes, What};
use super::vtree::{Vnode, VtreeFile};
use crate::diag::Span;

/// Nodes made at most: they may be as many as nodes of the file times the depth of the vtree.
const MOST_LIFTED: usize = 1 << 22;

/// What was lifted so far.
pub(super) struct Lift<'a> {
    vtree: &'a VtreeFile,
    /// A node over all variables of a vtree node above its own.
    lifted: HashMap<(u32, u64), u32>,
    /// What is true, over all variables of a vtree node.
    free: HashMap<u64, u32>,
}

impl<'a> Lift<'a> {
    /// Nothing yet.
    pub(super) fn new(vtree: &'a VtreeFile) -> Self {
        Lift { vtree, lifted: HashMap::new(), free: HashMap::new() }
    }

    /// A node of the vtree node `own`, or a constant, over all variables of the vtree node `to`, at
    /// `own` or above it. What is made stands at `span`. `None` if too much was made.
    pub(super) fn lift(
        &mut self,
        nodes: &mut Nodes,
        (node, own): (u32, Option<u64>),
        to: u64,
        span: Span,
    ) -> Option<u32> {
        let own = match (own, &nodes.get(node).what) {
            (Some(own), _) => own,
            (None, What::True) => return self.free(nodes, to, span),
            (None, _) => return Some(node),
        };
        let (mut at, mut lifted) = (to, node);
        // Vtree nodes on the way down, each with the side that is to be anything.
        let mut path = Vec::new();
        while at != own {
            if let Some(&known) = self.lifted.get(&(node, at)) {
                lifted = known;
                break;
            }
            let Some(Vnode::Split(left, right)) = self.vtree.get(at) else { break };
            let goes_left = self.vtree.contains(left, own);
            path.push((at, if goes_left { right } else { left }, goes_left));
            at = if goes_left { left } else { right };
        }
        for (at, other, is_left) in path.into_iter().rev() {
            let other = self.free(nodes, other, span)?;
            let inputs = if is_left { [lifted, other] } else { [other, lifted] };
            lifted = nodes.push(What::Product, None, span, inputs.map(|input| (input, 0.0)));
            self.lifted.insert((node, at), lifted);
            self.bounded()?;
        }
        Some(lifted)
    }

    /// What is true, over all variables of a vtree node.
    fn free(&mut self, nodes: &mut Nodes, vnode: u64, span: Span) -> Option<u32> {
        let mut stack = vec![vnode];
        while let Some(&at) = stack.last() {
            let node = match self.vtree.get(at)? {
                _ if self.free.contains_key(&at) => None,
                Vnode::Leaf(var) => Some(nodes.leaf(What::Free { var }, None, span)),
                Vnode::Split(left, right) => {
                    let [Some(&a), Some(&b)] = [left, right].map(|side| self.free.get(&side))
                    else {
                        stack.extend([right, left]);
                        continue;
                    };
                    Some(nodes.push(What::Product, None, span, [(a, 0.0), (b, 0.0)]))
                }
            };
            if let Some(node) = node {
                self.free.insert(at, node);
            }
            stack.pop();
        }
        self.bounded()?;
        self.free.get(&vnode).copied()
    }

    fn bounded(&self) -> Option<()> {
        (self.lifted.len() <= MOST_LIFTED).then_some(())
    }
}
