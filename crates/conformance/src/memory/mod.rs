//! Reference stores that keep everything in memory.
//!
//! They are the shortest right implementations of the provider traits, for tests of what builds on
//! the traits and as examples for implementors. They deliberately know no durability and no speed.

mod factory;
mod offline;
mod online;
mod pushdown;
mod registry;
mod rows;

pub use factory::factory;
pub use offline::{MemoryOfflineStore, ScanShape};
pub use online::{MemoryOnlineStore, OnlineCall};
pub use registry::MemoryRegistry;
