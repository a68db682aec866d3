//! What users write, as a whole: the documented example, mistakes and their messages, the store
//! configuration, the JSON Schemas, and input that no human would write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
mod contradictions;
mod example;
mod files;
mod hostile;
mod locations;
mod mistakes;
mod schemas;

/// The example of the documentation.
const EXAMPLE: &str = include_str!("../example.yaml");
