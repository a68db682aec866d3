//! The rules that every online store keeps, on every kind of Redis.

use std::sync::Arc;

use provender_conformance::online::{Harness, all};
use provender_core::provider::OnlineStore;
use provender_providers_redis::RedisOnlineStore;
use serde_json::{Value, json};

use crate::servers::{Certificates, Cluster, Sentinel, Server};
use crate::support::{cluster_options, sentinel_options};

async fn every_rule_holds(options: Value, with: impl FnOnce(&mut Harness)) {
    let mut harness = Harness::open(|| {
        let options = options.clone();
        async move {
            let store = RedisOnlineStore::from_options(options)?;
            Ok(Arc::new(store) as Arc<dyn OnlineStore>)
        }
    })
    .await
    .unwrap();
    with(&mut harness);
    all(&harness).await.unwrap();
}

/// Less work where only the way to Redis differs.
fn quick(harness: &mut Harness) {
    harness.n_cases = 4;
    harness.n_large_rows = 5_000;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_kit_holds_on_one_server() {
    let server = Server::start();
    every_rule_holds(json!({"url": server.url()}), |_| ()).await;
    let left = server.wire().keys();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_kit_holds_on_a_cluster() {
    let cluster = Cluster::start(3, false);
    every_rule_holds(cluster_options(&cluster), |_| ()).await;
    for node in &cluster.nodes {
        let left = node.wire().keys();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_kit_holds_behind_sentinels() {
    let sentinel = Sentinel::start();
    every_rule_holds(sentinel_options(&sentinel), quick).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_kit_holds_over_tls_with_a_user_a_database_and_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path(), "tls");
    let (server, port) = certificates.start_server(true, &["--requirepass", "of-the-test"]);
    let mut wire = server.wire();
    wire.run("AUTH of-the-test");
    wire.run("ACL SETUSER features on >s3cret ~* +@all -flushall");
    wire.run("SELECT 3");
    let options = json!({
        "url": format!("rediss://features:s3cret@localhost:{port}/3"),
        "prefix": "team-a:",
        "tls": {
            "ca": certificates.file("ca.crt"),
            "cert": certificates.file("client.crt"),
            "key": certificates.file("client.key"),
        },
    });
    let store = RedisOnlineStore::from_options(options.clone()).unwrap();
    let layout = crate::support::layout("v");
    crate::support::write(&store, &layout, &crate::support::rows(&["a".to_owned()], 1)).await;
    let held = wire.keys();
    assert!(!held.is_empty(), "the rows lie in database 3");
    for key in held {
        let text = String::from_utf8_lossy(&key).into_owned();
        assert!(text.contains("team-a:"), "{text}");
    }
    store
        .drop_view(&crate::support::cx(), &layout.view_version())
        .await
        .unwrap();
    every_rule_holds(options, quick).await;
    let left = wire.keys();
    assert!(left.is_empty(), "left behind: {left:?}");
}
