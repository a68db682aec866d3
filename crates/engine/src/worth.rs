//! Whether it pays to ask what little is held for each key before searching for a row.

/// Of fewer rows than one in so many, asking costs more than to search for them.
const WORTH_ASKING: u64 = 8;
/// After so many rows, or so many for each key, it is seen whether it is worth it.
pub(crate) const SEEN_AFTER: u64 = 1 << 20;
const SEEN_AFTER_PER_KEY: u64 = 8;

/// How many rows were asked for, and of how many there was an answer.
#[derive(Debug, Default)]
pub(crate) struct Worth {
    n_asked: u64,
    n_told: u64,
}

impl Worth {
    /// Counts some rows of so many keys. Answers whether asking for more is worth it.
    pub(crate) fn count(&mut self, n_asked: usize, n_told: usize, n_keys: usize) -> bool {
        self.n_asked += n_asked as u64;
        self.n_told += n_told as u64;
        if self.n_asked < SEEN_AFTER.max(SEEN_AFTER_PER_KEY * n_keys as u64) {
            return true;
        }
        let is_worth_it = self.n_told * WORTH_ASKING >= self.n_asked;
        *self = Self::default();
        is_worth_it
    }
}
