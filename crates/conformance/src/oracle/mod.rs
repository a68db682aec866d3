//! The naive evaluation: what the right answers of a request are.
//!
//! Everything is a plain loop over rows and one owned [`Value`] per cell, so that each rule can be
//! read beside the product's semantics. Where several answers are right (rows that tie in event time,
//! created time and tie breakers; NaNs of several bit patterns; sums of floats in any order), the
//! checks accept each of them, and a winner always as a whole row.
//!
//! Choices where the semantics leave one open:
//! - Order of floats (tie breakers, min, max): -0.0 is less than 0.0, and every NaN, whatever its sign
//!   bit, is greater than all else; NaNs tie.
//! - `count_distinct` counts values that are equal once: 0.0 and -0.0 are one value, all NaNs are one.
//! - A checked cast fits if the cast value, cast back, is the value it came from. Times are floored to
//!   microseconds first, and a timestamp fits a date only at midnight.
//! - A value that does not fit must fail the request if every right answer would hold it, and may
//!   fail it if it stands anywhere in a requested column of the source.
//! - A sum overflows if its total does, not if a running total would.
//! - Sums and means of floats agree within 1e-9 of the sum (mean) of the magnitudes, since the
//!   order of additions is free; standard deviations within 1e-9 of themselves and 1e-12 of the
//!   greatest magnitude.
//!
//! It deliberately knows nothing of how an engine works: no sorting, no hashing, no Arrow kernels.

mod aggregate;
mod cast;
mod compare;
mod join;
mod latest;
mod online;
mod order;
mod source;
#[cfg(test)]
mod tests;
mod value;
mod windows;

pub use cast::cast;
pub use compare::Expected;
pub use join::{
    ExpectedView, check_point_in_time_join, check_point_in_time_join_error, point_in_time_join,
};
pub use latest::{ExpectedKey, check_latest, check_latest_error, latest};
pub use online::{LatestRows, OnlineRow};
pub use order::{is_same, order};
pub use value::Value;
pub use windows::{ExpectedWindows, check_windows, check_windows_error, windows};
