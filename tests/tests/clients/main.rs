//! Foreign clients: each does what docs/clients.md shows, by the very programs that stand there, and its
//! output is what the page says and what an independent engine computes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod go;
mod java;
mod kill_server;
#[path = "../end_to_end/product.rs"]
mod product;
mod python;
mod server;
mod snippets;
mod toolchains;
