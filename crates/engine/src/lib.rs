//! Execution on this machine: the point-in-time join, the latest row per key, sliding windows, SQL.
//!
//! Decides how the rules of the product's semantics are computed over any store that can `scan`,
//! streaming over the feature side, in bounded memory. It deliberately knows no definitions, no
//! registry and no vendor: it is given requests of `provender-core` and a store to scan.

mod accumulate;
mod beaten;
pub mod cast;
mod error;
mod join;
mod keys;
mod latest;
mod matches;
pub mod on_demand;
mod pages;
mod parallel;
pub mod parts;
mod prefetch;
mod search;
mod source;
pub mod spill;
mod spine;
pub mod sql;
mod values;
mod vector;
mod windows;
mod winners;
mod worth;
mod woven;
pub mod zip;

pub use join::point_in_time_join;
pub use latest::latest;
pub use windows::windows;
