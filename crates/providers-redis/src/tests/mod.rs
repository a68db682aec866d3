//! Against a Redis that the tests start: the scripts' order of rows, marks, and findings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod findings;
mod marks;
mod newer;
// Other tests use the rest of it.
#[allow(unused_imports)]
#[path = "../../tests/servers/mod.rs"]
mod servers;

use std::path::Path;
use std::sync::Arc;

use self::servers::Server;
use crate::config::{RedisConfig, Settings};
use crate::fleet::Fleet;

/// Connections to a server, without a store.
fn fleet(server: &Server) -> Arc<Fleet> {
    let config = RedisConfig {
        url: Some(server.url()),
        ..RedisConfig::default()
    };
    Fleet::new(Settings::new(&config, "online_store", Path::new("")).unwrap())
}
