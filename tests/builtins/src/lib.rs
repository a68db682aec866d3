//! Every built-in provider, and those of the conformance kit that keep everything in memory, behind the
//! C interface of plug-ins: as a shared library, and in this process. So the tests can judge them the
//! three ways in which a program can meet them.
//!
//! It decides nothing but on which threads their futures run: those of one async runtime of its own.

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use provender_core::provider::Factory;
use provender_plugin::Spawn;
use provender_plugin::export::{Exports, plugin};
use provender_plugin::load::Loaded;
use tokio::runtime::{Builder, Runtime};

/// The factories.
pub fn factories() -> Vec<Factory> {
    vec![
        provender_conformance::memory::factory(),
        provender_providers_delta::databricks::factory(),
        provender_providers_delta::factory(),
        provender_providers_local::factory(),
        provender_providers_redis::factory(),
        provender_providers_registry::sqlite_factory(),
        provender_providers_registry::postgres_factory(),
        provender_providers_snowflake::factory(),
    ]
}

/// What the library exports.
pub fn exports() -> Exports {
    Exports {
        name: "builtins".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        factories: factories(),
        spawn: Arc::new(OneRuntime),
    }
}

/// The library's structure as a host sees it, without a file in between.
///
/// # Panics
/// If the interface refuses its own structure.
pub fn in_process() -> &'static Loaded {
    static LOADED: OnceLock<&'static Loaded> = OnceLock::new();
    LOADED.get_or_init(|| {
        // SAFETY: the structure was made by the export side, which leaks what it points at.
        let loaded = unsafe { Loaded::new("this process".to_owned(), plugin(exports())) };
        loaded.expect("the interface takes what its export side makes")
    })
}

struct OneRuntime;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        let built = builder.worker_threads(2).enable_all().build();
        built.expect("an async runtime")
    })
}

impl Spawn for OneRuntime {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        runtime().spawn(future);
    }

    fn enter(&self, work: &mut dyn FnMut()) {
        let _entered = runtime().enter();
        work();
    }
}

provender_plugin::export_plugin!(exports());
