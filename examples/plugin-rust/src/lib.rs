//! An example of a plug-in in Rust: `type: ledger`, an online store that keeps rows in memory and
//! writes each view to a file of Arrow before it acknowledges a write.
//!
//! It depends on `provender-core` for the contract, on `provender-plugin` for the symbol that the
//! library exports, and on Arrow. It is small, not fast: a write rewrites its view's file.

mod file;
mod rows;
mod store;

use std::sync::Arc;

use futures::future::BoxFuture;
use provender_core::provider::{Factory, OnlineStore, options};
use provender_plugin::Spawn;
use provender_plugin::export::Exports;
use serde::Deserialize;

pub use store::LedgerOnlineStore;

/// The options of `type: ledger`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerOptions {
    /// The folder of the files, which is made if it is not there.
    path: std::path::PathBuf,
}

/// What the library offers.
pub fn factory() -> Factory {
    Factory::new(
        "ledger",
        "Latest rows in memory, with a file for each view",
        || {
            serde_json::json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "The folder of the files"},
                },
                "required": ["path"],
                "additionalProperties": false,
            })
        },
    )
    .online(|_cx, config| async move {
        let LedgerOptions { path } = options(&config)?;
        let store = LedgerOnlineStore::open(config.base_path.join(path))?;
        Ok(Arc::new(store) as Arc<dyn OnlineStore>)
    })
}

/// Runs each future on a thread of its own: this store never waits for long. One that talks to a server
/// would hand futures to its async runtime here.
struct Threads;

impl Spawn for Threads {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        std::thread::spawn(move || futures::executor::block_on(future));
    }
}

provender_plugin::export_plugin!(Exports {
    name: "ledger".to_owned(),
    version: env!("CARGO_PKG_VERSION").to_owned(),
    factories: vec![factory()],
    spawn: Arc::new(Threads),
});
