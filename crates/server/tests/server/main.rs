//! The server as its clients meet it: over a port of this machine, with arrow-flight's own client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod actions;
mod auth;
mod deadlines;
mod exchange;
mod fuzz;
mod get;
mod historical;
mod hostile;
mod info;
mod limits;
mod metrics;
mod push;
mod slow;
mod stop;
mod support;
mod values;
