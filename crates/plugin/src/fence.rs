//! Fences: what panics inside becomes an error outside, so that nothing unwinds over the ABI.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use provender_core::{Error, Result, codes};

/// Runs `work`; a panic becomes an error (`P803`) that tells its message.
pub(crate) fn fenced<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(what, &*panic)))
}

/// The error for a caught panic.
pub(crate) fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::new(
        &codes::PLUGIN_PANICKED,
        format!("{what} panicked: {message}"),
    )
}

/// Text without NUL, which C text cannot hold.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
