//! The built command, run as users run it: arguments, exit codes, stdout and stderr.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apart;
mod dataset;
mod flow;
mod latest;
mod losses;
mod outputs;
mod plugins;
mod reads;
#[path = "../../../providers-redis/tests/servers/mod.rs"]
#[allow(unused)]
mod redis_servers;
mod run;
mod tables;
mod writes;
