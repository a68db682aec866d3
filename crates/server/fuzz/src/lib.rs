//! The parts of the server that read what clients send, from its own sources and without the rest, so
//! that fuzzing needs neither the store nor the engine.

// What is built here goes by the server's name, as it does in its tests.
extern crate self as provender_server;

#[path = "../../src/command.rs"]
#[allow(dead_code)]
pub mod command;
mod targets;
#[path = "../../src/wire/mod.rs"]
pub mod wire;

pub use targets::{command as read_command, framed, wire as read_wire};
