//! Packed rows and keys of online stores, byte for byte.
//!
//! This crate decides how one row of a feature view becomes one string of bytes ([`RowFormat`]), how
//! N such strings become Arrow columns again ([`RowDecoder`]), which of two rows is newer
//! ([`order`]), and how join keys become the bytes under which a store keeps a row ([`KeyFormat`]).
//! `docs/online-rows.md` specifies the bytes, so that rows can be read without this crate.
//!
//! It deliberately knows no store: not where rows are kept, what stands before a key, nor how long a
//! row lives. Bytes that it decodes are not trusted: a damaged or foreign row becomes an entry of
//! [`ViewRows::unreadable`](provender_core::request::ViewRows::unreadable), never a wrong value.

mod decode;
mod encode;
mod fingerprint;
mod format;
mod header;
mod key;
mod scalar;
mod shape;
mod tie;

#[cfg(test)]
mod tests;

pub use decode::RowDecoder;
pub use encode::RowEncoder;
pub use format::RowFormat;
pub use header::{RowOrder, is_sound, is_tombstone, order};
pub use key::{BoundKeys, KeyFormat};
