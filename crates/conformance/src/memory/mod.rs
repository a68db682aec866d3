//! Reference stores that keep everything in memory.
//!
//! They are the shortest right implementations of the provider traits, for tests of what builds on
//! the traits and as examples for implementors. They deliberately know no durability and no speed.

mod offline;
mod online;
mod registry;

pub use offline::{MemoryOfflineStore, ScanShape};
pub use online::{MemoryOnlineStore, OnlineCall, factory};
pub use registry::MemoryRegistry;
