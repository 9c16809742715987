//! Numbers for things in the order in which they are first seen.

/// No number.
const NONE: u32 = u32::MAX;

/// A hash table of numbers, by linear probing. What the numbers stand for is kept by the caller.
#[derive(Default)]
pub(super) struct Numbering {
    slots: Vec<u32>,
    /// How far a hash is shifted to give a slot.
    shift: u32,
    count: u32,
}

impl Numbering {
    /// For at most so many things.
    pub(super) fn new(most: usize) -> Self {
        let mut numbering = Numbering::default();
        numbering.clear(most);
        numbering
    }

    /// Forgets all numbers, and makes room for so many things.
    fn clear(&mut self, most: usize) {
        // At most half full.
        let bits = (2 * most).next_power_of_two().trailing_zeros().max(1);
        self.slots.clear();
        self.slots.resize(1 << bits, NONE);
        (self.shift, self.count) = (u64::BITS - bits, 0);
    }

    /// The number of a thing, given its hash, of which the high bits count: that for which `is` holds, or
    /// the next, which it then has. Says whether it is new.
    #[inline(always)]
    pub(super) fn number(&mut self, hash: u64, is: impl Fn(u32) -> bool) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let mut slot = (hash >> self.shift) as usize & mask;
        loop {
            let number = self.slots[slot];
            if number == NONE {
                self.slots[slot] = self.count;
                self.count += 1;
                return (self.count - 1, true);
            }
            if is(number) {
                return (number, false);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// What rows have of one thing: a number below `count` each.
#[derive(Clone, Copy)]
pub(super) struct Half<'a> {
    pub(super) of_row: &'a [u32],
    pub(super) count: usize,
    /// Whether each row has its own number.
    pub(super) is_row: bool,
}

/// Numbers pairs in the order in which rows have them.
#[derive(Default)]
pub(super) struct Pairs {
    numbering: Numbering,
    /// Those that have a number.
    known: Vec<u64>,
    /// Where there are few that there could be, the number of each.
    direct: Vec<u32>,
}

/// So many times as many pairs as rows may there be for a list of all of them.
const DIRECT: usize = 2;

impl Pairs {
    /// The number of each row's pair, and for each number the first row that has it.
    pub(super) fn number(&mut self, left: Half<'_>, right: Half<'_>) -> (Vec<u32>, Vec<u32>) {
        let rows = left.of_row.len();
        if left.is_row || right.is_row {
            let all: Vec<u32> = (0..rows as u32).collect();
            return (all.clone(), all);
        }
        let mut first = Vec::with_capacity(rows.min(left.count.saturating_mul(right.count)));
        let pairs = left.of_row.iter().zip(right.of_row).zip(0..);
        let of_row = if left.count.saturating_mul(right.count) <= DIRECT * rows {
            self.direct.clear();
            self.direct.resize(left.count * right.count, NONE);
            let number = |((&left, &other), row): ((&u32, &u32), u32)| {
                let number = &mut self.direct[left as usize * right.count + other as usize];
                if *number == NONE {
                    *number = first.len() as u32;
                    first.push(row);
                }
                *number
            };
            pairs.map(number).collect()
        } else {
            self.numbering.clear(rows);
            self.known.clear();
            let number = |((&left, &right), row): ((&u32, &u32), u32)| {
                let pair = u64::from(left) << 32 | u64::from(right);
                let is = |number: u32| self.known[number as usize] == pair;
                let (number, is_new) = self.numbering.number(mixed(0, pair), is);
                if is_new {
                    first.push(row);
                    self.known.push(pair);
                }
                number
            };
            pairs.map(number).collect()
        };
        (of_row, first)
    }
}

/// A hash of a number that goes on from another; its high bits depend on all of both.
#[inline(always)]
pub(super) fn mixed(hash: u64, number: u64) -> u64 {
    let product = u128::from(hash ^ number) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_have_numbers_in_the_order_in_which_they_come_even_where_their_hashes_agree() {
        let things = [7, 7, 3, 9, 3, 7, 1];
        for hash in [|_| 0, |thing: u64| mixed(1, thing), |thing| thing << 60] {
            let (mut numbering, mut seen) = (Numbering::new(4), Vec::new());
            let numbers = things.map(|thing| {
                let is = |number: u32| seen[number as usize] == thing;
                let (number, is_new) = numbering.number(hash(thing), is);
                if is_new {
                    seen.push(thing);
                }
                number
            });
            assert_eq!(numbers, [0, 0, 1, 2, 1, 0, 3]);
        }
    }
}
