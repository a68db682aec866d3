//! The store against a stand-in for a Snowflake account, or, where `PROVENDER_TEST_SNOWFLAKE_*` names one,
//! against a real account; see docs.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "snowflake/breadth.rs"]
mod breadth;
#[path = "snowflake/documents.rs"]
mod documents;
#[path = "snowflake/faults.rs"]
mod faults;
#[path = "snowflake/kit.rs"]
mod kit;
#[path = "snowflake/known.rs"]
mod known;
#[path = "snowflake/logins.rs"]
mod logins;
#[path = "snowflake/memory.rs"]
mod memory;
#[path = "snowflake/names.rs"]
mod names;
#[path = "snowflake/properties.rs"]
mod properties;
#[path = "snowflake/proxies.rs"]
mod proxies;
#[path = "snowflake/reading.rs"]
mod reading;
#[path = "snowflake/real.rs"]
mod real;
#[path = "../../../tests/standins/start.rs"]
mod stand_in;
#[path = "snowflake/support.rs"]
mod support;
#[path = "snowflake/travel.rs"]
mod travel;
#[path = "snowflake/writing.rs"]
mod writing;
