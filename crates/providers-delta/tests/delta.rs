//! The Delta offline store against folders of its own.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "delta/s3.rs"]
mod s3;
#[path = "delta/support.rs"]
mod support;

#[path = "delta/azure.rs"]
mod azure;
#[path = "delta/cloud.rs"]
mod cloud;
#[path = "delta/deleting.rs"]
mod deleting;
#[path = "delta/evolving.rs"]
mod evolving;
#[path = "delta/far_times.rs"]
mod far_times;
#[path = "delta/features.rs"]
mod features;
#[path = "delta/maintaining.rs"]
mod maintaining;
#[path = "delta/many_files.rs"]
mod many_files;
#[path = "delta/places.rs"]
mod places;
#[path = "delta/python_tables.rs"]
mod python_tables;
#[path = "delta/reading.rs"]
mod reading;
#[path = "delta/types.rs"]
mod types;
#[path = "delta/writing.rs"]
mod writing;
