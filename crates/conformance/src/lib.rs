//! The test kit that every Provender provider must pass.
//!
//! It decides what is right: [`oracle`] evaluates requests by plain loops over rows, exactly by the
//! product's semantics, and says of any answer whether it is one of the right ones. [`generate`] makes
//! random cases from a seed, [`memory`] holds reference stores that keep everything in memory,
//! [`registry`], [`online`] and [`offline`] hold the rules of each role as functions over the provider
//! traits. A vendor calls [`run`], which judges a provider in all its roles and answers a [`Report`]:
//!
//! ```
//! use provender_conformance::{Options, Subject, memory, run};
//!
//! let subject = Subject::of(memory::factory(), serde_json::Map::new());
//! let report = futures::executor::block_on(run(&subject, &Options::quick()));
//! assert!(report.passed(), "{report}");
//! ```
//!
//! It deliberately knows no engine and no provider, so that it stays independent of what it judges.

pub mod generate;
mod harness;
mod kit;
pub mod memory;
pub mod offline;
pub mod online;
pub mod oracle;
pub mod registry;
mod rules;
mod table;

pub use harness::{Harness, Rule};
pub use kit::{Options, Outcome, Report, Role, RoleReport, Subject, Verdict, run};
pub use table::{SpineTable, Table, Tables};
