//! Rows that an online store lost, as reads see them.
//!
//! A key that is not there may be one whose row was acknowledged and lost. Decides that such a key is answered as
//! a row that cannot be read, never as one that was not found, until the view is filled again. A store's own
//! readers notice losses that happen while they are open; this is for those of before, and is asked once for a
//! prepared query.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arrow_array::{Array, ArrayRef};
use provender_core::provider::{OnlineStore, ViewVersion};
use provender_core::request::ViewRows;
use provender_core::{Context, Result};

const UNKNOWN: u8 = 0;
const HELD: u8 = 1;
const LOST: u8 = 2;

/// What is known of the rows of one view of a query.
#[derive(Debug)]
pub(super) struct Watch {
    store: Arc<dyn OnlineStore>,
    view: ViewVersion,
    /// The checkpoint that must be held.
    number: i64,
    state: AtomicU8,
}

impl Watch {
    pub(super) fn new(store: Arc<dyn OnlineStore>, view: ViewVersion, number: i64) -> Self {
        Self {
            store,
            view,
            number,
            state: AtomicU8::new(UNKNOWN),
        }
    }

    /// The view's name and version, for people.
    pub(super) fn name(&self) -> String {
        format!("{}@{}", self.view.view, self.view.version)
    }

    /// Whether rows are missing, by what was answered so far.
    pub(super) fn is_known_lost(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LOST
    }

    /// Whether rows are missing; asks the store until it has answered once.
    ///
    /// # Errors
    /// `Unavailable` of the store.
    pub(super) async fn is_lost(&self, cx: &Context) -> Result<bool> {
        match self.state.load(Ordering::Relaxed) {
            UNKNOWN => {
                let is_held = self.store.holds(cx, &self.view, self.number).await?;
                let state = if is_held { HELD } else { LOST };
                self.state.store(state, Ordering::Relaxed);
                Ok(!is_held)
            }
            state => Ok(state == LOST),
        }
    }
}

/// Makes rows that are not there unreadable, but for null keys. `keys` are the view's key columns.
pub(super) fn mark_absent(rows: &mut ViewRows, keys: &[&ArrayRef]) {
    let known: HashSet<usize> = rows.unreadable.iter().map(|(row, _)| *row).collect();
    for row in 0..rows.event_times.len() {
        let is_null_key = keys.iter().any(|key| key.is_null(row));
        if rows.event_times.is_null(row) && !is_null_key && !known.contains(&row) {
            let why = "it is not there, and the online store has lost rows of this view that it had acknowledged";
            rows.unreadable.push((row, why.to_owned()));
        }
    }
    rows.unreadable.sort_by_key(|(row, _)| *row);
}
