//! Spines that clients put first and join later, for clients without DoExchange.
//!
//! Decides that a spine is kept spilled, under a handle that cannot be guessed, is used once, and is
//! forgotten after a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use provender_core::{BatchStream, Error, Result, codes};
use provender_store::spill::Spilled;
use rand::RngCore;

/// How long a spine waits for its call.
const KEPT: Duration = Duration::from_secs(600);
/// How many wait at once.
const MAX_SPINES: usize = 256;

/// Spines that wait for their call.
#[derive(Debug, Default)]
pub(crate) struct Spines {
    waiting: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    spine: Spilled,
    since: Instant,
}

impl Spines {
    /// Keeps a spine and answers its handle.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P701`) if too many wait.
    pub(crate) fn put(&self, spine: Spilled) -> Result<String> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, spine| spine.since.elapsed() < KEPT);
        if waiting.len() >= MAX_SPINES {
            return Err(Error::new(
                &codes::CALL_LIMIT,
                format!("{MAX_SPINES} spines wait to be used, and no more are taken in"),
            )
            .help("use the handles that were answered, or wait until they run out"));
        }
        let mut bytes = [0_u8; 16];
        rand::rng().fill_bytes(&mut bytes);
        let handle: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let since = Instant::now();
        waiting.insert(handle.clone(), Waiting { spine, since });
        Ok(handle)
    }

    /// Forgets what has waited too long, and with it its room on disk.
    pub(crate) fn forget_old(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, spine| spine.since.elapsed() < KEPT);
    }

    /// The schema of a spine that waits.
    ///
    /// # Errors
    /// `NotFound` (`P704`).
    pub(crate) fn schema(&self, handle: &str) -> Result<SchemaRef> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.get(handle).ok_or_else(unknown)?;
        Ok(found.spine.schema().clone())
    }

    /// Takes a spine; its handle means nothing afterwards.
    ///
    /// # Errors
    /// `NotFound` (`P704`).
    pub(crate) fn take(&self, handle: &str) -> Result<BatchStream> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.remove(handle).ok_or_else(unknown)?;
        Ok(found.spine.stream())
    }
}

fn unknown() -> Error {
    Error::new(
        &codes::UNKNOWN_HANDLE,
        "the handle names no spine on this server",
    )
    .help("put the spine again; a handle is used once and kept for ten minutes")
}
