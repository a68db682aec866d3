//! The feature store over reference stores in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cleanup;
mod dataset;
mod dataset_store;
mod delete;
mod historical;
mod losses;
mod materialize;
mod materialize_random;
mod materialize_runs;
mod names_and_types;
mod online;
mod plan;
mod push;
mod push_tables;
mod pushdown;
mod status;
mod support;
mod surroundings;
mod verify;
mod versions;
