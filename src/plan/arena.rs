//! Places in an arena from lifetimes: first fit over a list of gaps.

use std::collections::BTreeMap;
use std::ops::Range;

/// Something that needs `size` places during `life`; empty lives need none.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) life: Range<u32>,
    pub(super) size: u32,
}

/// A place for each tenant, such that no two that live at once overlap, and the places in all. A
/// tenant may take the place of one that ends where it begins.
pub(super) fn allocate(tenants: &[Tenant]) -> (Vec<u32>, u32) {
    let mut order: Vec<u32> = (0..tenants.len() as u32).collect();
    order.sort_by_cached_key(|&index| tenants[index as usize].life.start);
    let mut ends: std::collections::BinaryHeap<std::cmp::Reverse<(u32, u32)>> = Default::default();
    let mut places = vec![0; tenants.len()];
    let mut gaps = Gaps::default();
    for index in order {
        let tenant = &tenants[index as usize];
        if tenant.size == 0 || tenant.life.is_empty() {
            continue;
        }
        while let Some(&std::cmp::Reverse((end, ended))) = ends.peek() {
            if end > tenant.life.start {
                break;
            }
            ends.pop();
            gaps.free(places[ended as usize], tenants[ended as usize].size);
        }
        places[index as usize] = gaps.take(tenant.size);
        ends.push(std::cmp::Reverse((tenant.life.end, index)));
    }
    (places, gaps.end)
}

/// The unused places below `end`, by where they begin.
#[derive(Default)]
struct Gaps {
    by_start: BTreeMap<u32, u32>,
    end: u32,
}

impl Gaps {
    fn take(&mut self, size: u32) -> u32 {
        let found =
            self.by_start.iter().find(|&(_, &len)| len >= size).map(|(&at, &len)| (at, len));
        if let Some((at, len)) = found {
            self.by_start.remove(&at);
            if len > size {
                self.by_start.insert(at + size, len - size);
            }
            return at;
        }
        // The last gap, if it ends the arena, grows.
        let last = self.by_start.last_key_value().map(|(&at, &len)| (at, len));
        let at = match last {
            Some((at, len)) if at + len == self.end => {
                self.by_start.remove(&at);
                at
            }
            _ => self.end,
        };
        self.end = at + size;
        at
    }

    fn free(&mut self, mut at: u32, mut size: u32) {
        if let Some((&before, &len)) = self.by_start.range(..at).next_back()
            && before + len == at
        {
            self.by_start.remove(&before);
            (at, size) = (before, size + len);
        }
        if let Some(len) = self.by_start.remove(&(at + size)) {
            size += len;
        }
        self.by_start.insert(at, size);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn no_two_tenants_that_live_at_once_overlap() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for _ in 0..200 {
            let tenants: Vec<Tenant> = (0..rng.random_range(1..40))
                .map(|_| {
                    let start = rng.random_range(0..30);
                    let life = start..start + rng.random_range(1..10);
                    Tenant { life, size: rng.random_range(1..6) }
                })
                .collect();
            let (places, total) = allocate(&tenants);
            for (a, first) in tenants.iter().enumerate() {
                assert!(places[a] + first.size <= total);
                for (b, second) in tenants.iter().enumerate().skip(a + 1) {
                    let together =
                        first.life.start < second.life.end && second.life.start < first.life.end;
                    let apart =
                        places[a] + first.size <= places[b] || places[b] + second.size <= places[a];
                    assert!(!together || apart, "{first:?} {second:?}");
                }
            }
        }
    }

    #[test]
    fn a_chain_of_equal_tenants_needs_one_place() {
        let chain: Vec<Tenant> = (0..9).map(|t| Tenant { life: t..t + 1, size: 3 }).collect();
        assert_eq!(allocate(&chain).1, 3);
    }
}
