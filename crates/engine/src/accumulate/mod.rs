//! Sliding windows by mergeable partial aggregates, without sorting or holding the feature side.
//!
//! A source row counts for the slots (distinct spine times of its key) with
//! `event <= t < event + window`, and under `as_known` with `created <= t` too. Memory follows the
//! number of slots, not of rows, in either of two ways:
//!
//! - Where the event time alone decides, slots and the starts of their windows cut each key's time
//!   into cells. A row is added to the one cell that it lies in, and in the end a window slides over
//!   the cells ([`segments`]).
//! - Under `as_known` a row counts for a range of slots that no cut of event times describes. Each key
//!   has a segment tree over its slots ([`tree`]).

mod aggregation;
mod cell_rows;
mod cells;
mod distinct;
mod double;
mod last_cells;
mod moments;
mod ordinal;
mod packed;
mod partial;
mod room;
mod segments;
mod sliding;
mod tree;

pub(crate) use self::aggregation::window_aggregations;
pub(crate) use self::room::bytes_per_slot;
pub(crate) use self::sliding::{WindowCells, WindowPlan};
pub(crate) use self::tree::WindowTree;
