//! Keeps a call's deadline and cancellation, whatever it waits for.

use provender_core::{Context, Result};

/// Does some work, and gives it up once the call is cancelled or late.
///
/// # Errors
/// The work's own, `Cancelled` and `DeadlineExceeded`.
pub(crate) async fn within<T>(cx: &Context, work: impl Future<Output = Result<T>>) -> Result<T> {
    cx.check()?;
    let ended = async {
        match cx.deadline() {
            Some(deadline) => tokio::select! {
                () = cx.cancelled() => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            },
            None => cx.cancelled().await,
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = ended => {
            cx.check()?;
            // The timer rings a little early at times.
            Err(provender_core::Error::new(
                &provender_core::codes::DEADLINE,
                "the call's deadline passed",
            ))
        }
    }
}
