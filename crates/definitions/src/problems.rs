//! Collects mistakes, so that one run tells all of them, in the order in which a reader meets them.

use provender_core::Error;

use crate::locations::Location;

/// Errors found so far, each with its place if it has one.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<(Option<Location>, Error)>,
}

impl Problems {
    /// Adds an error at a place, which its message then names.
    pub(crate) fn at(&mut self, at: &Location, error: Error) {
        self.found.push((Some(at.clone()), at.attach(error)));
    }

    /// Adds an error that belongs to no place in a file.
    pub(crate) fn nowhere(&mut self, error: Error) {
        self.found.push((None, error));
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many were found.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// `value` if nothing was found.
    pub(crate) fn or_errors<T>(mut self, value: T) -> Result<T, Vec<Error>> {
        if self.found.is_empty() {
            return Ok(value);
        }
        // Stable: several errors of one place stay in the order in which they were found.
        self.found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Err(self.found.into_iter().map(|(_, error)| error).collect())
    }
}
