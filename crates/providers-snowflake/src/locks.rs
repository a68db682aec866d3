//! Waiting for the transactions of others: work that one was in the way of is done again.

use provender_core::{Context, Error, ErrorKind, Result};

use crate::error::snowflake_code;

/// How often work is done that others are in the way of, the first time included.
const MAX_ATTEMPTS: u32 = 8;

/// Whether another transaction was in the way, so that the same work may succeed after it.
pub(crate) fn is_in_the_way(error: &Error) -> bool {
    const LOCKED: [&str; 3] = ["000625", "000635", "200001"];
    error.kind() == ErrorKind::Conflict
        || snowflake_code(error).is_some_and(|code| LOCKED.contains(&code))
}

/// How often one piece of work has failed.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    n_failures: u32,
}

impl Patience {
    /// Waits, longer after each failure, until the work may be done again.
    ///
    /// # Errors
    /// The failure itself, where another try would not help or enough were made; else that the caller cancelled or
    /// is out of time.
    pub(crate) async fn wait(&mut self, cx: &Context, failure: Error) -> Result<()> {
        self.n_failures += 1;
        if !is_in_the_way(&failure) || self.n_failures >= MAX_ATTEMPTS {
            return Err(failure);
        }
        let pause = provender_engine::parts::pause(self.n_failures);
        provender_engine::parts::within(cx, tokio::time::sleep(pause)).await
    }
}
