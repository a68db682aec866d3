//! What doctor tells.

use provender_core::Context;
use provender_core::provider::Provider;

use super::servers::Server;
use crate::RedisOnlineStore;

async fn findings(options: &[&str]) -> String {
    let server = Server::start_with(options);
    let options = serde_json::json!({"url": server.url()});
    let store = RedisOnlineStore::from_options(options).unwrap();
    store.check(&Context::new("p")).await.unwrap().join("\n")
}

#[tokio::test]
async fn findings_tell_version_memory_persistence_and_latency() {
    let told = findings(&[]).await;
    for expected in [
        "one primary holds all rows",
        "no limit (maxmemory 0)",
        "warning: no persistence: a restart loses all rows",
        "no replicas",
        "us a call (median of 9)",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(
        told.contains("Redis ") || told.contains("Valkey "),
        "{told}"
    );
}

#[tokio::test]
async fn evicting_policies_are_warned_of() {
    let options = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"];
    let told = findings(&options).await;
    assert!(
        told.contains("warning: maxmemory-policy is allkeys-lru"),
        "{told}"
    );
    let options = [
        "--maxmemory",
        "64mb",
        "--maxmemory-policy",
        "noeviction",
        "--appendonly",
        "yes",
    ];
    let told = findings(&options).await;
    assert!(
        told.contains("of at most 64.00M, policy noeviction"),
        "{told}"
    );
    assert!(told.contains("appendfsync everysec"), "{told}");
    assert!(!told.contains("warning"), "{told}");
}
