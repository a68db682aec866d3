//! The scenarios.

pub mod commits;
pub mod conformance;
pub mod damage;
pub mod intervals;
pub mod leases;
pub mod only_postgres;
pub mod only_sqlite;
pub mod writers;
