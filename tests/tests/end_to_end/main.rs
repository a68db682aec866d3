//! The product from outside: the command line on real data, checked by an independent engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod dataset;
mod flights;
mod kill;
mod online_faults;
mod plugins;
mod product;
#[path = "../../../crates/providers-redis/tests/servers/mod.rs"]
#[allow(unused)]
mod redis_servers;
mod snowflake;
#[path = "../../standins/start.rs"]
mod stand_in;
mod visits;
mod warehouses;
