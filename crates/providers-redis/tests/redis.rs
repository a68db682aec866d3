//! The Redis online store on real servers: the rules of every online store, and what production does to
//! Redis. The servers are started by the tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/conformance.rs"]
mod conformance;
#[path = "redis/load.rs"]
mod load;
#[path = "redis/losses.rs"]
mod losses;
#[path = "redis/refusals.rs"]
mod refusals;
#[path = "redis/restarts.rs"]
mod restarts;
#[path = "redis/secrets.rs"]
mod secrets;
#[path = "redis/sentinel.rs"]
mod sentinel;
mod servers;
#[path = "redis/slow.rs"]
mod slow;
#[path = "redis/support.rs"]
mod support;
#[path = "redis/values.rs"]
mod values;
