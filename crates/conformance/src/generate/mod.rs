//! Random cases, each wholly decided by its seed.
//!
//! Cases are small and their keys and times few, so that collisions are frequent: ties, duplicates,
//! values exactly on the edge of a ttl or window and one microsecond beyond, nulls everywhere.
//! Spine times are drawn around the times that the sources really hold after flooring.
//!
//! This module deliberately decides nothing about right answers; that is [`crate::oracle`]'s.

mod arrays;
mod cases;
mod edges;
mod online;
mod passthrough;
mod shrink;
mod types;
mod world;

pub use arrays::build;
pub use cases::{JoinCase, LatestCase, WindowsCase};
pub use edges::{EDGES, every_type, key_values, ordered_values, special_values};
pub use online::{OnlineHistory, OnlineStep, key_batch, random_layout, random_rows, write_batch};
pub(crate) use online::{is_same_key, split_rows};
pub use passthrough::passthrough_columns;
pub use shrink::shrink;
pub(crate) use shrink::{candidates, chunks, without_rows};
pub(crate) use types::{declared_value, moderate_value};
