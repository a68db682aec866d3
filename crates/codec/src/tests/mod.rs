//! What rows and keys must hold, on random layouts and by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod document;
mod format;
mod generate;
mod hostile;
mod keys;
mod nested;
mod order;
mod round_trip;
