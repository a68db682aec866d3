//! How a provider crosses a C ABI: the layout that both sides agree on ([`abi`]), the side of a
//! vendor's shared library ([`export`]) and the side of the program that loads it ([`load`]).
//!
//! Calls are a narrow waist: a method's number, control bytes that a person can read (JSON), rows as
//! Arrow C data, and a completion. This crate decides how the provider traits of `provender-core` are
//! spelled in these, and that neither a panic, nor a damaged answer, nor a call that never ends on
//! one side harms the other. It does not know any provider, and needs no async runtime on the
//! vendor's side.

pub mod abi;
mod columns;
mod control;
pub mod export;
mod fence;
#[cfg(feature = "load")]
pub mod load;
mod reads;
mod streams;

pub use control::{Manifest, ManifestProvider, Role};
pub use streams::Spawn;
