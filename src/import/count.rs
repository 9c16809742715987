//! Whole numbers of any size, for counting models exactly: sums, products and powers of two. Their work
//! is bounded.

use std::fmt;

/// A whole number, at least zero. Digits to base 2³², the least first; the last is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    digits: Vec<u32>,
}

impl Count {
    /// One.
    pub fn one() -> Self {
        Count { digits: vec![1] }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Adds another.
    pub fn add(&mut self, other: &Count) {
        let len = self.digits.len().max(other.digits.len());
        self.digits.resize(len, 0);
        let mut carry = 0u64;
        for (place, digit) in self.digits.iter_mut().enumerate() {
            let sum =
                u64::from(*digit) + other.digits.get(place).copied().map_or(0, u64::from) + carry;
            *digit = sum as u32;
            carry = sum >> 32;
        }
        if carry > 0 {
            self.digits.push(carry as u32);
        }
    }

    /// The product with another.
    pub fn times(&self, other: &Count) -> Count {
        let mut digits = vec![0u32; self.digits.len() + other.digits.len()];
        for (i, &a) in self.digits.iter().enumerate() {
            let mut carry = 0u64;
            for (j, &b) in other.digits.iter().enumerate() {
                let sum = u64::from(a) * u64::from(b) + u64::from(digits[i + j]) + carry;
                digits[i + j] = sum as u32;
                carry = sum >> 32;
            }
            digits[i + other.digits.len()] = carry as u32;
        }
        Count { digits }.trimmed()
    }

    /// The product with 2^`bits`.
    pub fn doubled(&self, bits: usize) -> Count {
        let mut digits = vec![0; bits / 32];
        let mut carry = 0u64;
        for &digit in &self.digits {
            let shifted = (u64::from(digit) << (bits % 32)) | carry;
            digits.push(shifted as u32);
            carry = shifted >> 32;
        }
        digits.push(carry as u32);
        Count { digits }.trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        self
    }
}

impl fmt::Display for Count {
    /// In decimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GROUP: u64 = 1_000_000_000;
        let mut rest = self.digits.clone();
        let mut groups = Vec::new();
        while !rest.is_empty() {
            let mut remainder = 0u64;
            for digit in rest.iter_mut().rev() {
                let value = (remainder << 32) | u64::from(*digit);
                *digit = (value / GROUP) as u32;
                remainder = value % GROUP;
            }
            groups.push(remainder);
            while rest.last() == Some(&0) {
                rest.pop();
            }
        }
        let mut groups = groups.iter().rev();
        write!(f, "{}", groups.next().unwrap_or(&0))?;
        groups.try_for_each(|group| write!(f, "{group:09}"))
    }
}

/// Operations on digits of all counts of a formula at most, one second's work.
const MOST_WORK: usize = 1 << 28;

/// Counts while its work lasts; what is not counted is `None`, and so is what follows from it.
pub(super) struct Counter {
    work: usize,
}

impl Counter {
    /// With all its work before it, or, if nothing is to be counted, none.
    pub(super) fn new(wanted: bool) -> Self {
        Counter { work: if wanted { MOST_WORK } else { 0 } }
    }

    /// Zero.
    pub(super) fn zero(&mut self) -> Option<Count> {
        self.spend(1).map(|()| Count::default())
    }

    /// One.
    pub(super) fn one(&mut self) -> Option<Count> {
        self.spend(1).map(|()| Count::one())
    }

    /// The product of two.
    pub(super) fn times(&mut self, a: Option<Count>, b: Option<&Count>) -> Option<Count> {
        let (a, b) = a.zip(b)?;
        self.spend(a.digits.len() * b.digits.len())?;
        Some(a.times(b))
    }

    /// The sum of two.
    pub(super) fn plus(&mut self, a: Option<Count>, b: Option<&Count>) -> Option<Count> {
        let (mut a, b) = a.zip(b)?;
        self.spend(a.digits.len().max(b.digits.len()))?;
        a.add(b);
        Some(a)
    }

    /// The product with 2^`bits`.
    pub(super) fn doubled(&mut self, count: Option<Count>, bits: usize) -> Option<Count> {
        let count = count?;
        self.spend(count.digits.len() + bits / 32)?;
        Some(count.doubled(bits))
    }

    fn spend(&mut self, work: usize) -> Option<()> {
        self.work = self.work.saturating_sub(work);
        (self.work > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u128) -> Count {
        Count { digits: (0..4).map(|place| (value >> (32 * place)) as u32).collect() }.trimmed()
    }

    #[test]
    fn counts_agree_with_machine_integers() {
        let values =
            [0u128, 1, 2, 999_999_999, 1_000_000_000, 1 << 32, (1 << 60) + 7, (1 << 63) - 1];
        for a in values {
            assert_eq!(number(a).to_string(), a.to_string());
            for b in values {
                let mut sum = number(a);
                sum.add(&number(b));
                assert_eq!(sum, number(a + b), "{a} + {b}");
                assert_eq!(number(a).times(&number(b)), number(a * b), "{a} · {b}");
            }
            for bits in [0, 1, 31, 32, 33, 60] {
                assert_eq!(number(a).doubled(bits), number(a << bits), "{a} · 2^{bits}");
            }
        }
    }
}
