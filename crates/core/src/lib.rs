//! The contract of the Provender feature store.
//!
//! This crate decides the words everybody shares: what a definition is ([`model`]), what a value's
//! type is ([`ValueType`]), what a store is asked ([`request`]) and what it answers ([`provider`]),
//! how calls carry deadlines ([`Context`]) and how they fail ([`Error`]).
//!
//! It deliberately knows no YAML, no SQL engine, no async runtime and no vendor, so that a provider
//! that depends on it alone builds in seconds.

mod cancel;
pub mod catalog;
mod context;
pub mod error;
pub mod luck;
pub mod model;
pub mod names;
pub mod provider;
pub mod request;
mod secret;
pub mod size;
mod stream;
pub mod time;
mod value_type;

pub use catalog::Catalog;
pub use context::{Context, Identity};
pub use error::{Code, Error, ErrorKind, Result, codes};
pub use secret::Secret;
pub use stream::BatchStream;
pub use value_type::{CastRule, ValueType};
