//! Providers judged by the conformance kit the three ways in which a program meets them: as they are,
//! behind the C interface in this process, and loaded from a shared library; and the plug-ins of
//! `examples/` by the kit and in a project that is served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod builtins;
mod examples;
mod libraries;
#[path = "../../../crates/providers-registry/tests/common/postgres.rs"]
#[allow(dead_code, clippy::print_stderr)]
mod postgres;
#[path = "../end_to_end/product.rs"]
#[allow(dead_code)]
mod product;
mod served;
#[path = "../../../crates/providers-redis/tests/servers/mod.rs"]
#[allow(unused)]
mod servers;
#[path = "../../standins/start.rs"]
mod stand_in;
mod tutorial;
