//! Where everything of a figure stands (after Sugiyama, Tagawa and Toda 1981, Methods for Visual
//! Understanding of Hierarchical System Structures).
//!
//! A block's rank is the longest way to it; a link over several ranks bends in each of them. The
//! order within a rank is that of the neighbours' mean places, swept down and up, the order of fewest
//! crossings being kept. Then each moves towards its neighbours as far as those beside it let it: the
//! nearest places in the sense of least squares that keep their distances. Lengths are in pixels.

use super::{Block, Figure, Kind};

/// Between neighbours of a rank, and between ranks.
const GAP: f64 = 18.0;
const RANK_GAP: f64 = 46.0;
/// Room that a bend takes.
const BEND: f64 = 6.0;
/// A character of text, on average and rather too much, and a line of it.
const CHARACTER: f64 = 6.6;
pub(super) const LINE: f64 = 15.0;
/// Within a box.
pub(super) const PADDING: f64 = 8.0;
/// The height of the strip of sectors.
pub(super) const STRIP: f64 = 9.0;
/// The radius of a product's circle.
pub(super) const RADIUS: f64 = 11.0;
const SWEEPS: usize = 12;

/// A figure's places.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Middle of the top, width and height of each block.
    pub(super) boxes: Vec<Rect>,
    /// The points that each link goes through.
    pub(super) ways: Vec<Vec<(f64, f64)>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The room that a block's text and strip take.
fn extent(block: &Block) -> (f64, f64) {
    let longest = block.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let text = longest as f64 * CHARACTER;
    match block.kind {
        // Its words stand at its right; as much is left free at its left.
        Kind::Product(_) => (2.0 * (RADIUS + text + 6.0), 2.0 * RADIUS),
        _ => {
            let strip = if block.cells.is_empty() { 0.0 } else { STRIP };
            let lines = block.lines.len() as f64 * LINE;
            ((text + 2.0 * PADDING).max(70.0), lines + PADDING + strip)
        }
    }
}

/// Places all blocks and links of a figure.
pub(super) fn place(figure: &Figure) -> Placed {
    let mut ranked = Ranked::of(figure);
    ranked.order();
    let x = ranked.across();
    let extents: Vec<(f64, f64)> = figure.blocks.iter().map(extent).collect();
    let mut boxes = vec![Rect::default(); figure.blocks.len()];
    let (mut y, mut width) = (0.0, 0.0f64);
    let mut middle = vec![0.0; ranked.items.len()];
    for rank in &ranked.ranks {
        let blocks = || rank.iter().filter(|&&item| item < boxes.len());
        let height = blocks().map(|&item| extents[item].1).fold(0.0, f64::max);
        for &item in rank {
            middle[item] = y + height / 2.0;
            width = width.max(x[item] + ranked.items[item].room / 2.0);
        }
        for &item in rank.iter().filter(|&&item| item < extents.len()) {
            let (width, own) = extents[item];
            boxes[item] = Rect { x: x[item], y: y + (height - own) / 2.0, width, height: own };
        }
        y += height + RANK_GAP;
    }
    let way = |(link, bends): (&super::Link, &Vec<usize>)| {
        let (from, to) = (boxes[link.from], boxes[link.to]);
        let mut points = vec![(from.x, from.y + from.height)];
        points.extend(bends.iter().map(|&bend| (x[bend], middle[bend])));
        points.push((to.x, to.y));
        points
    };
    let ways = figure.links.iter().zip(&ranked.bends).map(way).collect();
    Placed { width, height: (y - RANK_GAP).max(0.0), boxes, ways }
}

/// A block or a bend.
struct Item {
    /// Width, with the gap beside it.
    room: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Blocks, numbered as in the figure, and behind them bends; in ranks, from left to right.
struct Ranked {
    items: Vec<Item>,
    ranks: Vec<Vec<usize>>,
    bends: Vec<Vec<usize>>,
}

impl Ranked {
    fn of(figure: &Figure) -> Self {
        let mut rank = vec![0; figure.blocks.len()];
        let mut leading: Vec<Vec<usize>> = vec![Vec::new(); figure.blocks.len()];
        for (index, link) in figure.links.iter().enumerate() {
            leading[link.from].push(index);
        }
        // Blocks stand before those they lead to.
        for from in 0..figure.blocks.len() {
            for &link in &leading[from] {
                let to = figure.links[link].to;
                rank[to] = rank[to].max(rank[from] + 1);
            }
        }
        let item = |room| Item { room, above: Vec::new(), below: Vec::new() };
        let mut items: Vec<Item> =
            figure.blocks.iter().map(|block| item(extent(block).0 + GAP)).collect();
        let mut ranks = vec![Vec::new(); rank.iter().max().map_or(0, |&last| last + 1)];
        (0..figure.blocks.len()).for_each(|block| ranks[rank[block]].push(block));
        let mut bends = Vec::new();
        for link in &figure.links {
            let mut way = Vec::new();
            for rank in &mut ranks[rank[link.from] + 1..rank[link.to]] {
                rank.push(items.len());
                way.push(items.len());
                items.push(item(BEND + GAP));
            }
            let mut last = link.from;
            for &next in way.iter().chain([&link.to]) {
                items[last].below.push(next);
                items[next].above.push(last);
                last = next;
            }
            bends.push(way);
        }
        let mut ranked = Ranked { items, ranks, bends };
        ranked.begin();
        ranked
    }

    /// The order in which a walk down from the first meets them.
    fn begin(&mut self) {
        let mut met = vec![usize::MAX; self.items.len()];
        let mut open: Vec<usize> =
            self.ranks.first().into_iter().flatten().rev().copied().collect();
        let mut count = 0;
        while let Some(item) = open.pop() {
            if met[item] == usize::MAX {
                met[item] = count;
                count += 1;
                open.extend(self.items[item].below.iter().rev());
            }
        }
        self.ranks.iter_mut().for_each(|rank| rank.sort_by_key(|&item| met[item]));
    }

    /// Finds an order of few crossings.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.ranks.clone());
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            for at in directed(self.ranks.len(), down) {
                let place = self.places();
                let mean = |item: usize| mean(self.neighbours(item, down), |other| place[other]);
                let mut keyed: Vec<(f64, usize)> = self.ranks[at]
                    .iter()
                    .map(|&item| (mean(item).unwrap_or(place[item]), item))
                    .collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.ranks[at] = keyed.into_iter().map(|(_, item)| item).collect();
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.ranks.clone());
            }
        }
        self.ranks = best.1;
    }

    fn neighbours(&self, item: usize, above: bool) -> &[usize] {
        if above { &self.items[item].above } else { &self.items[item].below }
    }

    /// The place of each item in its rank, as a share of it.
    fn places(&self) -> Vec<f64> {
        let mut place = vec![0.0; self.items.len()];
        for rank in &self.ranks {
            for (at, &item) in rank.iter().enumerate() {
                place[item] = (at as f64 + 0.5) / rank.len() as f64;
            }
        }
        place
    }

    /// Pairs of links that cross between two ranks.
    fn crossings(&self) -> usize {
        let mut at = vec![0; self.items.len()];
        for rank in &self.ranks {
            rank.iter().enumerate().for_each(|(place, &item)| at[item] = place);
        }
        let mut count = 0;
        for rank in &self.ranks {
            let mut ends: Vec<usize> = Vec::new();
            for &item in rank {
                let mut own: Vec<usize> =
                    self.items[item].below.iter().map(|&below| at[below]).collect();
                own.sort_unstable();
                let crossed = |end: &usize| ends.iter().filter(|&other| other > end).count();
                count += own.iter().map(crossed).sum::<usize>();
                ends.extend(own);
            }
        }
        count
    }

    /// The middle of each item, from 0 on.
    fn across(&self) -> Vec<f64> {
        let mut x = vec![0.0; self.items.len()];
        for rank in &self.ranks {
            let mut at = 0.0;
            for &item in rank {
                x[item] = at + self.items[item].room / 2.0;
                at += self.items[item].room;
            }
        }
        for sweep in 0..2 * SWEEPS {
            let down = sweep % 2 == 0;
            for at in directed(self.ranks.len(), down) {
                let rank = &self.ranks[at];
                let wish = |&item: &usize| {
                    mean(self.neighbours(item, down), |other| x[other]).unwrap_or(x[item])
                };
                let wishes: Vec<f64> = rank.iter().map(wish).collect();
                let rooms: Vec<f64> = rank.iter().map(|&item| self.items[item].room).collect();
                for (&item, place) in rank.iter().zip(apart(&wishes, &rooms)) {
                    x[item] = place;
                }
            }
        }
        let left = (0..x.len()).map(|item| x[item] - self.items[item].room / 2.0);
        let least = left.fold(f64::INFINITY, f64::min);
        x.iter_mut().for_each(|x| *x -= least);
        x
    }
}

/// All ranks but the one that a sweep begins at.
fn directed(ranks: usize, down: bool) -> Vec<usize> {
    if down { (1..ranks).collect() } else { (0..ranks.saturating_sub(1)).rev().collect() }
}

fn mean(of: &[usize], value: impl Fn(usize) -> f64) -> Option<f64> {
    let sum: f64 = of.iter().map(|&item| value(item)).sum();
    (!of.is_empty()).then(|| sum / of.len() as f64)
}

/// The places nearest to `wishes`, by least squares, at which neighbours are half of both their rooms
/// apart: isotonic regression of what the wishes are beyond the least places, by pooling.
fn apart(wishes: &[f64], rooms: &[f64]) -> Vec<f64> {
    let mut least = Vec::with_capacity(rooms.len());
    let mut at = 0.0;
    for &room in rooms {
        least.push(at + room / 2.0);
        at += room;
    }
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wish, least) in wishes.iter().zip(&least) {
        let mut pool = (wish - least, 1);
        while let Some(&(mean, count)) = pools.last()
            && mean > pool.0
        {
            let both = count + pool.1;
            pool = ((mean * count as f64 + pool.0 * pool.1 as f64) / both as f64, both);
            pools.pop();
        }
        pools.push(pool);
    }
    let beyond = pools.iter().flat_map(|&(mean, count)| std::iter::repeat_n(mean, count));
    beyond.zip(least).map(|(beyond, least)| beyond + least).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::Link;

    /// A figure of boxes with the given links.
    fn figure(blocks: usize, links: &[(usize, usize)]) -> Figure {
        let block = |_| Block { kind: Kind::Sum, lines: vec!["sum".into()], cells: Vec::new() };
        let link = |&(from, to): &(usize, usize)| Link { from, to, label: String::new(), width: 1 };
        Figure {
            blocks: (0..blocks).map(block).collect(),
            links: links.iter().map(link).collect(),
            ..Figure::default()
        }
    }

    #[test]
    fn blocks_are_below_what_leads_to_them_and_no_two_overlap() {
        let links = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 5), (0, 5), (4, 6), (5, 6)];
        let placed = place(&figure(7, &links));
        for &(from, to) in &links {
            let (from, to) = (placed.boxes[from], placed.boxes[to]);
            assert!(from.y + from.height < to.y, "{from:?} {to:?}");
        }
        for (at, a) in placed.boxes.iter().enumerate() {
            for b in &placed.boxes[at + 1..] {
                let aside = (a.x - b.x).abs() >= (a.width + b.width) / 2.0;
                let above = a.y + a.height <= b.y || b.y + b.height <= a.y;
                assert!(aside || above, "{a:?} {b:?}");
            }
        }
        let inside = |rect: &Rect| rect.x + rect.width / 2.0 <= placed.width;
        assert!(placed.boxes.iter().all(inside));
        // The link over two ranks bends once.
        assert_eq!(placed.ways[6].len(), 3);
    }

    #[test]
    fn an_order_without_crossings_is_found() {
        // The first below the root shares one of its two with the last.
        let links = [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (2, 6), (3, 4)];
        let mut ranked = Ranked::of(&figure(7, &links));
        assert_eq!(ranked.crossings(), 2);
        ranked.order();
        assert_eq!(ranked.crossings(), 0);
    }

    #[test]
    fn places_are_the_nearest_that_keep_their_distances() {
        assert_eq!(apart(&[10.0, 30.0], &[4.0, 4.0]), [10.0, 30.0]);
        assert_eq!(apart(&[10.0, 10.0], &[4.0, 4.0]), [8.0, 12.0]);
        assert_eq!(apart(&[10.0, 0.0, 50.0], &[4.0, 4.0, 2.0]), [3.0, 7.0, 50.0]);
    }
}
