//! Sizes of memory as people write them: `64MiB`, `2GB`, `65536`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Suffixes, longest first, so that `MiB` is not taken for a number that ends in `B`.
const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl ByteSize {
    /// The bytes that this machine could address.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|&(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .unwrap_or((text, 1));
        let wrong = || "expected a size such as 64MiB, 2GB or 65536 (bytes)".to_string();
        let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
        let bytes = number * unit as f64;
        // 2^53: above it a floating-point number no longer counts single bytes.
        if !(1.0..=9.007_199_254_740_992e15).contains(&bytes) {
            return Err(wrong());
        }
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit of which there is at least one, with three significant digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = UNITS[..4].iter().rev();
        match units.clone().find(|&&(_, unit)| self.0 >= unit) {
            Some(&(name, unit)) => {
                let number = self.0 as f64 / unit as f64;
                let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
                write!(f, "{number:.digits$} {name}")
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(|size| size.0).ok();
        assert_eq!(bytes("64MiB"), Some(64 << 20));
        assert_eq!(bytes("1.5 kB"), Some(1_500));
        assert_eq!(bytes("65536"), Some(65_536));
        assert_eq!(bytes("7B"), Some(7));
        for wrong in ["", "MiB", "-1MiB", "0", "NaN", "inf", "64 miles", "1e40"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let shown = |bytes| ByteSize(bytes).to_string();
        assert_eq!(shown(1_023), "1023 B");
        assert_eq!(shown(1 << 20), "1.00 MiB");
        assert_eq!(shown(200 << 10), "200 KiB");
        assert_eq!(shown(3 << 29), "1.50 GiB");
        assert_eq!(shown(25 << 30), "25.0 GiB");
    }
}
