//! The store against a stand-in for a Databricks workspace, and, where `PROVENDER_TEST_DATABRICKS_*`
//! names one, against a real workspace; see docs/databricks.md of this crate.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "databricks/direct.rs"]
mod direct;
#[path = "databricks/documents.rs"]
mod documents;
#[path = "databricks/faults.rs"]
mod faults;
#[path = "databricks/kit.rs"]
mod kit;
#[path = "databricks/logins.rs"]
mod logins;
#[path = "databricks/properties.rs"]
mod properties;
#[path = "databricks/reading.rs"]
mod reading;
#[path = "databricks/real.rs"]
mod real;
#[path = "../../../tests/standins/start.rs"]
mod stand_in;
#[path = "databricks/support.rs"]
mod support;
#[path = "databricks/writing.rs"]
mod writing;
