//! The test kit that every Provender provider must pass.
//!
//! It decides what is right: [`oracle`] evaluates requests by plain loops over rows, exactly by the
//! product's semantics, and says of any answer whether it is one of the right ones. [`generate`] makes
//! random cases from a seed, [`memory`] holds reference stores that keep everything in memory,
//! [`registry`] holds the rules of a registry as functions over `&dyn Registry`, and [`online`] those of
//! an online store.
//!
//! It deliberately knows no engine and no provider, so that it stays independent of what it judges.

pub mod generate;
pub mod memory;
pub mod online;
pub mod oracle;
pub mod registry;
mod rules;
mod table;

pub use table::{SpineTable, Table, Tables};
