//! What stores are asked: plain data with public fields, no SQL of ours and no vendor's types.
//!
//! Column names in requests are the source's own, already found (case resolved) unless said otherwise.

mod maintenance;
mod offline;
mod online;

pub use maintenance::{Maintenance, MaintenanceSummary, MaintenanceWork, Optimise, Vacuum};
pub use offline::{
    ColumnRange, FeatureColumn, KeyColumn, LatestPerKey, OfflineRequest, OfflineWrite,
    PointInTimeJoin, Scan, SourceRef, Spine, SpineRows, SqlSpine, TimedSource, ViewJoin,
    WindowAggregate, WindowsAt, WriteMode, WriteSummary,
};
pub use online::{OnlineRows, OnlineStats, ReadPlan, ViewLayout, ViewRead, ViewRows};
