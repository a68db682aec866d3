//! Rows of a batch that were found to be counted, each with where.

use std::ops::Deref;

/// A row of a batch, and the place of a cell that it lies in or of a slot whose window covers it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) place: u32,
    pub(super) row: u32,
}

/// As many as were found, and room for more. Whether a row counts is hard to foretell, so each is written to this room,
/// and those that do are then taken in: a wrong guess would cost more than the writing.
#[derive(Debug, Default)]
pub(super) struct FoundRows {
    rows: Vec<Counted>,
    n_found: usize,
}

impl FoundRows {
    pub(super) fn memory(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    pub(super) fn clear(&mut self) {
        self.n_found = 0;
    }

    /// Room for so many more.
    pub(super) fn room(&mut self, n_more: usize) -> &mut [Counted] {
        let n_rows = self.n_found + n_more;
        if self.rows.len() < n_rows {
            self.rows.resize(n_rows, Counted::default());
        }
        &mut self.rows[self.n_found..n_rows]
    }

    /// Takes in the first so many that were written to the room.
    pub(super) fn take(&mut self, n_more: usize) {
        self.n_found += n_more;
    }
}

impl Deref for FoundRows {
    type Target = [Counted];

    fn deref(&self) -> &[Counted] {
        &self.rows[..self.n_found]
    }
}
