//! The engine, and what is materialised, against the naive oracle on random cases.
//!
//! `PROVENDER_CASES` sets how many point-in-time joins are run (the others run a share of it), and
//! `PROVENDER_SEED` runs one seed alone. A failure prints the seed and the smallest case found
//! that still fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod delta;
mod latest;
mod online;
mod point_in_time;
mod runner;
mod windows;
