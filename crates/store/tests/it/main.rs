//! The feature store over reference stores in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod historical;
mod names_and_types;
mod plan;
mod pushdown;
mod support;
mod surroundings;
mod versions;
