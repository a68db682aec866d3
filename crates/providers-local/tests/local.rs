//! The embedded online store: rows, space, damage, and several processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

#[path = "local/conformance.rs"]
mod conformance;
#[path = "local/damage.rs"]
mod damage;
#[path = "local/places.rs"]
mod places;
#[path = "local/processes.rs"]
mod processes;
#[path = "local/rows.rs"]
mod rows;
#[path = "local/space.rs"]
mod space;
#[path = "local/support.rs"]
mod support;
