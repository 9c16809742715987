//! Cycles, reachability and the order of evaluation.

use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::algo::{kosaraju_scc, toposort};

use super::Check;
use crate::circuit::Circuit;
use crate::diag::Code;
use crate::ids::{Id, IdVec, NodeId};

impl Check<'_> {
    /// Reports each cycle and puts its nodes in doubt. Whether there is none.
    pub(super) fn cycles(&mut self) -> bool {
        if toposort(self.circuit.graph(), None).is_ok() {
            return true;
        }
        let mut components: Vec<Vec<NodeId>> = kosaraju_scc(self.circuit.graph())
            .into_iter()
            .map(|component| {
                component.into_iter().map(|node| NodeId::from_index(node.index())).collect()
            })
            .filter(|members: &Vec<NodeId>| {
                members.len() > 1 || self.circuit.inputs(members[0]).any(|n| n == members[0])
            })
            .collect();
        components.sort_by_key(|members| members.iter().min().copied());
        for members in components {
            self.cycle(&members);
            self.spread_doubt(members.into_iter());
        }
        false
    }

    /// One shortest way round through the first node of a strongly connected component.
    fn cycle(&mut self, members: &[NodeId]) {
        let inside: HashSet<NodeId> = members.iter().copied().collect();
        let start = members.iter().copied().min().unwrap_or(members[0]);
        let mut came_from: HashMap<NodeId, NodeId> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        let mut last = start;
        'search: while let Some(node) = queue.pop_front() {
            for input in self.circuit.inputs(node).filter(|input| inside.contains(input)) {
                if input == start {
                    last = node;
                    break 'search;
                }
                came_from.entry(input).or_insert_with(|| {
                    queue.push_back(input);
                    node
                });
            }
        }
        let mut path = vec![start];
        while last != start {
            path.push(last);
            last = came_from[&last];
        }
        path.push(start);
        path.reverse();
        let mut fault = self
            .fault(Code::E0113, start, format!("a cycle: {}", self.names(&path)))
            .help("a node may not depend on itself; break one of these edges");
        for pair in path.windows(2).skip(1).take(LABELLED) {
            let (node, input) = (self.map.name(pair[0]), self.map.name(pair[1]));
            fault =
                fault.label(self.map.span(pair[0]), format!("`{node}` has the input `{input}`"));
        }
        self.faults.push(fault);
    }

    fn names(&self, path: &[NodeId]) -> String {
        let names = |nodes: &[NodeId]| {
            let names: Vec<_> = nodes.iter().map(|&n| format!("`{}`", self.map.name(n))).collect();
            names.join(" → ")
        };
        match path.len() {
            len if len > LONGEST => {
                let (first, last) = (&path[..LONGEST / 2], &path[len - LONGEST / 2..]);
                let left_out = len - LONGEST / 2 * 2;
                format!("{} → … {left_out} more … → {}", names(first), names(last))
            }
            _ => names(path),
        }
    }

    /// Warns of the nodes of `order` that come after the root: nothing uses them. Not if any node is
    /// in doubt, for that may be what uses them.
    pub(super) fn unreachable(&mut self, order: &[NodeId]) {
        if !self.root_known || self.doubt.values().any(|&doubt| doubt) {
            return;
        }
        let root = self.circuit.root();
        let unused = order.iter().skip_while(|&&node| node != root).skip(1);
        let root = self.map.name(root);
        for &node in unused {
            let name = self.map.name(node);
            let fault = self
                .fault(Code::W0114, node, format!("the root `{root}` does not reach node `{name}`"))
                .help("use it as an input, or leave it out");
            self.faults.push(fault);
        }
    }

    /// All nodes, inputs first: those that the root reaches, the root itself, the others.
    pub(super) fn order(&self) -> Vec<NodeId> {
        let root = std::iter::once(self.circuit.root());
        post_order(self.circuit, root.chain(self.circuit.nodes()))
    }
}

/// Edges of a cycle that get a label.
const LABELLED: usize = 5;
/// Nodes of a cycle that are named.
const LONGEST: usize = 16;

/// The nodes reachable from some, in depth-first post-order, inputs before the nodes that use them.
fn post_order(circuit: &Circuit, starts: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut order = Vec::with_capacity(circuit.node_count());
    let mut seen: IdVec<NodeId, bool> = IdVec::filled(false, circuit.node_count());
    let mut stack = Vec::new();
    for start in starts {
        stack.push((start, false));
        while let Some((node, inputs_done)) = stack.pop() {
            if inputs_done {
                order.push(node);
            } else if !std::mem::replace(&mut seen[node], true) {
                stack.push((node, true));
                let first = stack.len();
                stack.extend(circuit.inputs(node).filter(|&n| !seen[n]).map(|n| (n, false)));
                stack[first..].reverse();
            }
        }
    }
    order
}
