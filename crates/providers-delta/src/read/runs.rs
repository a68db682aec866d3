//! Parquet's runs of small numbers: equal ones told once, others packed side by side in bits.
//!
//! Source: "Run Length Encoding / Bit-Packing Hybrid" of the Parquet format's page on encodings.

use parquet::errors::{ParquetError, Result};

/// Some numbers of a sequence.
pub(super) enum Run<'a> {
    /// So many times the same.
    Same { n: usize, value: u32 },
    /// So many, packed.
    Packed { n: usize, packed: Packed<'a> },
}

/// Numbers of `width` bits each, from the lowest bit of the first byte on.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    bytes: &'a [u8],
    width: usize,
}

/// Reads a sequence run by run.
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    width: usize,
    n_left: usize,
}

impl<'a> Runs<'a> {
    /// At most `n` numbers of `width` bits.
    ///
    /// # Errors
    /// For more bits than a number has.
    pub(super) fn new(bytes: &'a [u8], width: u8, n: usize) -> Result<Self> {
        if u32::from(width) > u32::BITS {
            return Err(damaged());
        }
        Ok(Self {
            bytes,
            width: usize::from(width),
            n_left: n,
        })
    }

    fn take(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n_bytes)?;
        self.bytes = rest;
        Some(taken)
    }

    fn header(&mut self) -> Option<u64> {
        let mut header = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.take(1)?.first()?;
            header |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(header);
            }
        }
        None
    }

    fn run(&mut self) -> Option<Run<'a>> {
        let header = self.header()?;
        let n = usize::try_from(header >> 1).ok()?;
        if header & 1 == 0 {
            let mut value = [0; 4];
            let bytes = self.take(self.width.div_ceil(8))?;
            value[..bytes.len()].copy_from_slice(bytes);
            let n = n.min(self.n_left);
            self.n_left -= n;
            let value = u32::from_le_bytes(value);
            return Some(Run::Same { n, value });
        }
        // Groups of eight. The last may be cut off where no number of it is there.
        let n_bytes = n.checked_mul(self.width)?.min(self.bytes.len());
        let n = n.checked_mul(8)?.min(self.n_left);
        self.n_left -= n;
        let (bytes, width) = (self.take(n_bytes)?, self.width);
        let packed = Packed { bytes, width };
        Some(Run::Packed { n, packed })
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Result<Run<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.n_left == 0 || self.bytes.is_empty() {
            return None;
        }
        Some(self.run().ok_or_else(damaged))
    }
}

impl Packed<'_> {
    /// # Errors
    /// If it is not there.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Result<u32> {
        let bit = at * self.width;
        if bit + self.width > self.bytes.len() * 8 {
            return Err(damaged());
        }
        let there = self.bytes.get(bit / 8..).unwrap_or_default();
        let word = match there.first_chunk::<8>() {
            Some(word) => *word,
            None => {
                let mut word = [0; 8];
                word[..there.len()].copy_from_slice(there);
                word
            }
        };
        let mask = (1_u64 << self.width) - 1;
        Ok(((u64::from_le_bytes(word) >> (bit % 8)) & mask) as u32)
    }

    /// How many of numbers of one bit are 1, from one place up to another.
    pub(super) fn n_ones(&self, from: usize, to: usize) -> usize {
        let (first, last) = (from / 8, to / 8);
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let below = |bit: usize| (1_u8 << (bit % 8)) - 1;
        if first == last {
            return (byte(first) & below(to) & !below(from)).count_ones() as usize;
        }
        let whole = self.bytes.get(first + 1..last.min(self.bytes.len()));
        let whole: u32 = whole
            .unwrap_or_default()
            .iter()
            .map(|it| it.count_ones())
            .sum();
        let edges =
            (byte(first) & !below(from)).count_ones() + (byte(last) & below(to)).count_ones();
        (whole + edges) as usize
    }
}

/// The error of a page whose bytes do not fit together.
pub(super) fn damaged() -> ParquetError {
    ParquetError::General("a page's bytes do not fit together".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn numbers(bytes: &[u8], width: u8, n: usize) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for run in Runs::new(bytes, width, n)? {
            match run? {
                Run::Same { n, value } => numbers.extend(std::iter::repeat_n(value, n)),
                Run::Packed { n, packed } => {
                    for at in 0..n {
                        numbers.push(packed.get(at)?);
                    }
                }
            }
        }
        Ok(numbers)
    }

    #[test]
    fn runs_are_read_as_the_format_says() {
        // The format's own example: 0 to 7 in three bits.
        let packed = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(numbers(&packed, 3, 8).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(numbers(&packed, 3, 5).unwrap(), [0, 1, 2, 3, 4]);
        // 130 times 300, in two bytes of nine bits, then eight single bits' worth of nothing.
        assert_eq!(
            numbers(&[0x84, 0x02, 0x2c, 0x01], 9, 200).unwrap(),
            [300; 130]
        );
        assert_eq!(numbers(&[6], 0, 9).unwrap(), [0; 3]);
        assert!(numbers(&[0x80], 1, 1).is_err());
        assert!(numbers(&[0b11, 1], 3, 8).is_err());
        assert!(Runs::new(&[], 33, 1).is_err());
    }

    #[test]
    fn ones_are_counted_between_any_places() {
        let bytes = [0b1010_0110, 0xff, 0, 0b0001_1000];
        let packed = Packed {
            bytes: &bytes,
            width: 1,
        };
        for from in 0..32 {
            for to in from..=32 {
                let expected: u32 = (from..to).map(|at| packed.get(at).unwrap()).sum();
                assert_eq!(packed.n_ones(from, to), expected as usize, "{from}..{to}");
            }
        }
    }
}
