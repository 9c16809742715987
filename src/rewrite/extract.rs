//! Extraction: one term of each class that the outputs need, so that the DAG of all is cheapest.
//!
//! A term that several use is paid once; finding the best is NP-hard. Three selections are made and the
//! cheapest is taken: the original terms, which makes the result never costlier than the input; the
//! best tree; and the best sets of classes, joined greedily with what they share counted once. On a
//! small graph branch and bound then goes on from there, and is exact if it ends within its budget.

/// A term of a class, in dense numbers.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The classes below it, ascending, each once.
    pub children: Vec<usize>,
    /// Its own price.
    pub cost: u64,
    /// Its item, if it is a hole.
    pub hole: Option<u32>,
}

/// What there is to choose from.
#[derive(Debug)]
pub(super) struct Choices {
    /// The terms of each class.
    pub classes: Vec<Vec<Choice>>,
    /// The classes that are needed.
    pub roots: Vec<usize>,
    /// The term that each class had at first: that of its earliest item.
    pub original: Vec<Option<usize>>,
}

/// A term for each class that is needed; those of other classes mean nothing.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub pick: Vec<usize>,
    /// The price of all picked terms that the roots need, each once.
    pub cost: u64,
    /// Whether there is none cheaper, for certain.
    pub exact: bool,
}

/// Chooses; branch and bound visits at most `budget` states.
pub(super) fn extract(choices: &Choices, budget: usize) -> Selection {
    let allowed = allowed(choices);
    let original = choices.original.iter().map(|pick| pick.unwrap_or(0)).collect();
    let candidates = [original, tree(choices, &allowed), shared(choices, &allowed)];
    let priced = candidates.into_iter().filter_map(|pick| {
        let cost = price(choices, &pick)?;
        Some(Selection { pick, cost, exact: false })
    });
    let best = priced.min_by_key(|selection| selection.cost);
    let best = best.unwrap_or(Selection { pick: Vec::new(), cost: u64::MAX, exact: false });
    branch_and_bound(choices, &allowed, best, budget)
}

/// The price of a selection; `None` if a class depends on itself.
fn price(choices: &Choices, pick: &[usize]) -> Option<u64> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; choices.classes.len()];
    let mut stack: Vec<(usize, bool)> = choices.roots.iter().map(|&root| (root, false)).collect();
    let mut cost = 0u64;
    while let Some((class, children_done)) = stack.pop() {
        let choice = &choices.classes[class][pick[class]];
        match state[class] {
            State::Open if children_done => state[class] = State::Done,
            State::Open => return None,
            State::Done => {}
            State::New => {
                state[class] = State::Open;
                cost = cost.saturating_add(choice.cost);
                stack.push((class, true));
                for &child in &choice.children {
                    match state[child] {
                        State::Open => return None,
                        State::New => stack.push((child, false)),
                        State::Done => {}
                    }
                }
            }
        }
    }
    Some(cost)
}

/// Which terms may be picked: those that depend on no later hole than their class must. The class of an
/// item thus depends on earlier items only, and islands put in their places make no cycle.
fn allowed(choices: &Choices) -> Vec<Vec<bool>> {
    // The place after the last hole needed; the least fixed point over the terms.
    let mut rank = vec![u32::MAX; choices.classes.len()];
    let term_rank = |rank: &[u32], choice: &Choice| match choice.hole {
        Some(item) => item + 1,
        None => choice.children.iter().map(|&child| rank[child]).max().unwrap_or(0),
    };
    loop {
        let mut changed = false;
        for (class, terms) in choices.classes.iter().enumerate().rev() {
            let least = terms.iter().map(|choice| term_rank(&rank, choice)).min();
            if let Some(least) = least.filter(|&least| least < rank[class]) {
                rank[class] = least;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let each = |(class, terms): (usize, &Vec<Choice>)| {
        terms.iter().map(|choice| term_rank(&rank, choice) <= rank[class]).collect()
    };
    choices.classes.iter().enumerate().map(each).collect()
}

/// The terms of the cheapest trees, in which what is shared is paid at each use.
fn tree(choices: &Choices, allowed: &[Vec<bool>]) -> Vec<usize> {
    let mut best = vec![(u64::MAX, 0); choices.classes.len()];
    loop {
        let mut changed = false;
        for (class, terms) in choices.classes.iter().enumerate().rev() {
            for (index, choice) in terms.iter().enumerate().filter(|&(i, _)| allowed[class][i]) {
                let below = choice.children.iter().map(|&child| best[child].0);
                // A term costs at least one more than what is below it, so that none pays for itself.
                let cost = below.fold(choice.cost.saturating_add(1), u64::saturating_add);
                if cost < best[class].0 {
                    best[class] = (cost, index);
                    changed = true;
                }
            }
        }
        if !changed {
            return best.into_iter().map(|(_, index)| index).collect();
        }
    }
}

/// The terms of the cheapest sets of classes, in which what is shared is paid once.
fn shared(choices: &Choices, allowed: &[Vec<bool>]) -> Vec<usize> {
    const MOST_ROUNDS: usize = 32;
    let count = choices.classes.len();
    let mut needs: Vec<Option<Set>> = vec![None; count];
    let mut best = vec![(u64::MAX, 0); count];
    let mut own = vec![0u64; count];
    let mut union = Set::new(count);
    for _ in 0..MOST_ROUNDS {
        let mut changed = false;
        for (class, terms) in choices.classes.iter().enumerate().rev() {
            for (index, choice) in terms.iter().enumerate().filter(|&(i, _)| allowed[class][i]) {
                union.clear();
                let known = choice.children.iter().all(|&child| match &needs[child] {
                    Some(set) => {
                        union.add_all(set);
                        true
                    }
                    None => false,
                });
                if !known || union.contains(class) {
                    continue;
                }
                let below = union.iter().map(|child| own[child]);
                let cost = below.fold(choice.cost, u64::saturating_add);
                if cost < best[class].0 {
                    best[class] = (cost, index);
                    own[class] = choice.cost;
                    let mut set = union.clone();
                    set.add(class);
                    needs[class] = Some(set);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    best.into_iter().map(|(_, index)| index).collect()
}

/// A set of classes.
#[derive(Clone)]
struct Set(Vec<u64>);

impl Set {
    fn new(count: usize) -> Self {
        Set(vec![0; count.div_ceil(64)])
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }

    fn add(&mut self, class: usize) {
        self.0[class / 64] |= 1 << (class % 64);
    }

    fn add_all(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn contains(&self, class: usize) -> bool {
        self.0[class / 64] >> (class % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(word, &bits)| {
            std::iter::successors(Some(bits).filter(|&b| b != 0), |&b| {
                Some(b & (b - 1)).filter(|&b| b != 0)
            })
            .map(move |bits| word * 64 + bits.trailing_zeros() as usize)
        })
    }
}

/// Improves a selection by trying every allowed term of every needed class, in states that could yet
/// be cheaper than the best so far.
fn branch_and_bound(
    choices: &Choices,
    allowed: &[Vec<bool>],
    best: Selection,
    budget: usize,
) -> Selection {
    /// Classes beyond which the recursion is not begun.
    const MOST_CLASSES: usize = 512;
    if choices.classes.len() > MOST_CLASSES || best.cost == u64::MAX {
        return best;
    }
    let least = |(class, terms): (usize, &Vec<Choice>)| {
        let open = terms.iter().zip(&allowed[class]).filter(|&(_, &allowed)| allowed);
        open.map(|(choice, _)| choice.cost).min().unwrap_or(0)
    };
    let mut search = Search {
        choices,
        allowed,
        least: choices.classes.iter().enumerate().map(least).collect(),
        pick: vec![0; choices.classes.len()],
        needed: vec![false; choices.classes.len()],
        best,
        left: budget,
    };
    let mut todo = Vec::new();
    let bound = search.need(&choices.roots, &mut todo);
    search.visit(todo, bound);
    search.best.exact = search.left > 0;
    search.best
}

struct Search<'a> {
    choices: &'a Choices,
    allowed: &'a [Vec<bool>],
    /// The price of the cheapest term of each class.
    least: Vec<u64>,
    pick: Vec<usize>,
    needed: Vec<bool>,
    best: Selection,
    left: usize,
}

impl Search<'_> {
    /// Marks classes as needed and puts the new ones on the list; returns the least they cost.
    fn need(&mut self, classes: &[usize], todo: &mut Vec<usize>) -> u64 {
        let mut least = 0u64;
        for &class in classes {
            if !std::mem::replace(&mut self.needed[class], true) {
                todo.push(class);
                least = least.saturating_add(self.least[class]);
            }
        }
        least
    }

    /// `bound`: the price of what is picked and the least price of what is to do.
    fn visit(&mut self, mut todo: Vec<usize>, bound: u64) {
        if self.left == 0 || bound >= self.best.cost {
            return;
        }
        self.left -= 1;
        let Some(class) = todo.pop() else {
            if let Some(cost) = price(self.choices, &self.pick)
                && cost < self.best.cost
            {
                self.best = Selection { pick: self.pick.clone(), cost, exact: false };
            }
            return;
        };
        let terms = &self.choices.classes[class];
        let mut order: Vec<usize> = (0..terms.len()).filter(|&i| self.allowed[class][i]).collect();
        order.sort_by_key(|&index| terms[index].cost);
        for index in order {
            let mut next = todo.clone();
            let before = next.len();
            let added = self.need(&terms[index].children, &mut next);
            self.pick[class] = index;
            let bound =
                (bound - self.least[class]).saturating_add(terms[index].cost).saturating_add(added);
            let new = next[before..].to_vec();
            self.visit(next, bound);
            new.into_iter().for_each(|child| self.needed[child] = false);
        }
    }
}
