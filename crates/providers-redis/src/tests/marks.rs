//! Losses are noticed, and nothing else is taken for one.

use provender_core::provider::{OnlineStore, ViewVersion};
use provender_core::{Context, ErrorKind};

use super::servers::{Cluster, Server};
use crate::RedisOnlineStore;

fn view() -> ViewVersion {
    ViewVersion {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
    }
}

fn on(server: &Server) -> RedisOnlineStore {
    RedisOnlineStore::from_options(serde_json::json!({"url": server.url()})).unwrap()
}

async fn holds(store: &RedisOnlineStore, checkpoint: i64) -> bool {
    let cx = Context::new("p");
    store.holds(&cx, &view(), checkpoint).await.unwrap()
}

async fn checkpoint(store: &RedisOnlineStore, since: Option<i64>) -> i64 {
    let cx = Context::new("p");
    store
        .checkpoint(&cx, &view(), since)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn checkpoints_vouch_for_those_before_them() {
    let server = Server::start();
    let store = on(&server);
    assert!(!holds(&store, 1).await, "nothing was marked");
    let first = checkpoint(&store, None).await;
    let second = checkpoint(&store, Some(first)).await;
    assert!(second > first);
    assert!(holds(&store, first).await && holds(&store, second).await);
    assert!(!holds(&store, second + 1).await, "newer than what is held");
    let anew = checkpoint(&store, None).await;
    assert!(holds(&store, anew).await);
    assert!(!holds(&store, second).await, "begun anew after it");
}

#[tokio::test]
async fn a_flush_is_noticed_and_cannot_be_gone_on_from() {
    let server = Server::start();
    let store = on(&server);
    let before = checkpoint(&store, None).await;
    server.wire().run("FLUSHALL");
    assert!(!holds(&store, before).await);
    let cx = Context::new("p");
    let error = store
        .checkpoint(&cx, &view(), Some(before))
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.kind()), ("P612", ErrorKind::DataLoss));
    assert!(error.to_string().contains("lost rows of v@1"), "{error}");
    let anew = checkpoint(&store, None).await;
    assert!(holds(&store, anew).await && !holds(&store, before).await);
}

#[tokio::test]
async fn a_restart_without_persistence_is_noticed_and_one_with_it_is_none() {
    for (options, is_kept) in [
        (&[][..], false),
        (
            &["--appendonly", "yes", "--appendfsync", "always"][..],
            true,
        ),
    ] {
        let mut server = Server::start_with(options);
        let store = on(&server);
        let before = checkpoint(&store, None).await;
        server.kill();
        server.start_again();
        let store = on(&server);
        assert_eq!(holds(&store, before).await, is_kept, "{options:?}");
    }
}

#[tokio::test]
async fn a_drop_leaves_no_mark() {
    let server = Server::start();
    let store = on(&server);
    let before = checkpoint(&store, None).await;
    store.drop_view(&Context::new("p"), &view()).await.unwrap();
    assert!(!holds(&store, before).await);
    assert_eq!(server.wire().keys().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_of_a_cluster_has_a_mark_and_slots_may_move() {
    let cluster = Cluster::start(3, false);
    let urls: Vec<String> = cluster
        .addresses()
        .split(',')
        .map(|address| format!("redis://{address}"))
        .collect();
    let store = RedisOnlineStore::from_options(serde_json::json!({"urls": urls})).unwrap();
    let first = checkpoint(&store, None).await;
    assert!(holds(&store, first).await);
    // The slot that the first node's mark is in goes to the last.
    cluster.move_slot(0, 2);
    assert!(holds(&store, first).await);
    let second = checkpoint(&store, Some(first)).await;
    assert!(holds(&store, first).await && holds(&store, second).await);
    cluster.nodes[1].wire().run("FLUSHALL");
    assert!(!holds(&store, second).await);
    store.drop_view(&Context::new("p"), &view()).await.unwrap();
    for node in &cluster.nodes {
        assert_eq!(node.wire().keys().len(), 0);
    }
}
