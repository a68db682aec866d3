//! Providers through the plugin ABI, in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "plugin/doubles.rs"]
mod doubles;
#[path = "plugin/header.rs"]
mod header;
#[path = "plugin/hostile.rs"]
mod hostile;
#[path = "plugin/loading.rs"]
mod loading;
#[path = "plugin/panics.rs"]
mod panics;
#[path = "plugin/panics_online.rs"]
mod panics_online;
#[path = "plugin/passing.rs"]
mod passing;
#[path = "plugin/streams.rs"]
mod streams;
#[path = "plugin/tricky.rs"]
mod tricky;
