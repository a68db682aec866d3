//! SQL texts from requests, for every warehouse that Provender pushes work down to.
//!
//! Decides how a point-in-time join, the latest rows, windows and scans are written in SQL such that a
//! warehouse answers exactly what the product's semantics say: templates are written once, and a
//! [`Dialect`] decides how names, types, times and values are spelled. It deliberately knows no
//! connection: it looks nothing up, sends nothing, and casts no feature.

mod aggregate;
mod answer;
mod column;
mod decode;
mod dialect;
mod fallback;
mod join;
mod latest;
mod rows;
mod source;
mod spine;
mod sql_text;
mod view;
mod windows;

pub use answer::{Answer, AnswerColumn, Encoding};
pub use decode::{Cast, Decoder};
pub use dialect::{Dialect, Limits};
pub use fallback::{explained, is_for_the_engine, refuse_equal_names, sources_of};
pub use join::{JoinPlan, SpineInput, point_in_time_join, supports};
pub use latest::{latest, scan, windows};
pub use rows::{RowTexts, TimeRange, decimal_text, float_text, hex_text};
pub use source::{SourceTable, Sources, TableName, source_sql};
pub use spine::SpineLayout;
