//! Sliding windows by mergeable partial aggregates, without sorting or holding the feature side.
//!
//! A source row counts for the slots (distinct spine times of its key) with
//! `event <= t < event + window`, and under `as_known` with `created <= t` too. Memory follows the
//! number of slots, not of rows, in one of three ways:
//!
//! - Where the event time alone decides and few windows cover a row, it is added to each of their slots
//!   ([`slot_places`]).
//! - Where more of them do, slots and the starts of their windows cut each key's time into cells. A row is added to
//!   the one cell that it lies in, and in the end a window slides over the cells ([`segments`]).
//! - Under `as_known` a row counts for a range of slots that no cut of event times describes. Each key
//!   has a segment tree over its slots ([`tree`]).

mod aggregation;
mod cell_rows;
mod cells;
mod counter;
mod cuts;
mod distinct;
mod double;
mod found_rows;
mod last_cells;
mod levels;
mod moments;
mod ordinal;
mod packed;
mod partial;
mod plan;
mod reach;
mod reached;
mod room;
mod segments;
mod slot_places;
mod tree;
mod window_values;

pub(crate) use self::aggregation::window_aggregations;
pub(crate) use self::plan::{WindowCells, WindowPlan};
pub(crate) use self::room::bytes_per_slot;
pub(crate) use self::tree::WindowTree;
pub(crate) use self::window_values::WindowValues;
