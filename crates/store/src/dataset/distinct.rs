//! An estimate of how many different values there are: HyperLogLog over 4,096 registers.
//!
//! After Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog: the analysis of a near-optimal
//! cardinality estimation algorithm" (2007). The hash is fixed, so the same values give the same
//! estimate on every machine.

const BITS: u32 = 12;
const N_REGISTERS: usize = 1 << BITS;

/// Values that were seen.
#[derive(Clone, Debug)]
pub(crate) struct Distinct {
    registers: Vec<u8>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            registers: vec![0; N_REGISTERS],
        }
    }
}

impl Distinct {
    /// Sees a value.
    pub(crate) fn add(&mut self, value: &[u8]) {
        let hash = hash(value);
        let register = (hash >> (64 - BITS)) as usize;
        // The bit at the end bounds the count of leading zeros.
        let rank = ((hash << BITS) | 1 << (BITS - 1)).leading_zeros() as u8 + 1;
        let known = &mut self.registers[register];
        *known = (*known).max(rank);
    }

    /// How many different values were seen, about.
    pub(crate) fn estimate(&self) -> u64 {
        let m = N_REGISTERS as f64;
        let sum: f64 = (self.registers.iter())
            .map(|&rank| (-f64::from(rank)).exp2())
            .sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let n_empty = self.registers.iter().filter(|&&rank| rank == 0).count();
        let estimate = if raw <= 2.5 * m && n_empty > 0 {
            // Few values leave registers empty, and their number tells more.
            m * (m / n_empty as f64).ln()
        } else {
            raw
        };
        estimate.round() as u64
    }
}

/// FNV-1a, mixed so that every bit of the result depends on every bit of the value.
fn hash(value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in value {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_near_for_few_and_many_values() {
        for n in [0_u64, 1, 2, 10, 1_000, 10_000, 13_000, 100_000, 1_000_000] {
            let mut distinct = Distinct::default();
            for value in (0..n).chain(0..n / 2) {
                distinct.add(&value.to_le_bytes());
            }
            let found = distinct.estimate() as f64;
            let allowed = 0.5 + 0.05 * n as f64;
            assert!((found - n as f64).abs() <= allowed, "{n}: {found}");
        }
    }
}
