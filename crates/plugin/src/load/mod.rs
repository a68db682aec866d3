//! The side of the program that loads plug-ins: opening a library, calling it, and providers that are
//! behind it.
//!
//! It decides what is trusted before it is loaded, that a call ends by its deadline whatever the
//! library does, and that no answer is believed before it was checked. It does not know what a
//! provider does.

mod call;
mod factories;
mod library;
mod offline;
mod online;
mod options;
mod promptness;
mod provider;
mod registry;
mod threads;

pub use call::Loaded;
pub use library::{Pinned, exit, is_any_loaded, load, sha256};
