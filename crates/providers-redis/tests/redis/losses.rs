//! Rows that Redis acknowledged and then lost: they must be noticed.

use provender_core::ErrorKind;
use provender_core::provider::OnlineStore;
use provender_core::request::ViewLayout;
use provender_providers_redis::RedisOnlineStore;
use serde_json::json;

use crate::servers::{Cluster, Sentinel, Server, slot_of};
use crate::support::{
    cx, layout, numbered, on, on_cluster, open, read, row, rows, sentinel_options, soon, write,
};

async fn mark(store: &RedisOnlineStore, layout: &ViewLayout, since: Option<i64>) -> i64 {
    let view = layout.view_version();
    let marked = store.checkpoint(&cx(), &view, since).await.unwrap();
    marked.expect("Redis can lose rows, so it has marks")
}

async fn holds(store: &RedisOnlineStore, layout: &ViewLayout, checkpoint: i64) -> bool {
    let view = layout.view_version();
    soon(|| async { store.holds(&cx(), &view, checkpoint).await }).await
}

/// What goes on from a checkpoint that is lost.
async fn is_refused(store: &RedisOnlineStore, layout: &ViewLayout, since: i64) {
    let view = layout.view_version();
    let marked = store.checkpoint(&cx(), &view, Some(since)).await;
    let error = marked.expect_err("rows are missing");
    assert_eq!(
        (error.code(), error.kind()),
        ("P612", ErrorKind::DataLoss),
        "{error:?}"
    );
    let told = format!("{error} {}", error.help_text().unwrap_or_default());
    assert!(
        told.contains(&layout.view) && told.contains("materialize"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_held_is_vouched_for_by_every_later_checkpoint() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let first = mark(&store, &layout, None).await;
    let second = mark(&store, &layout, Some(first)).await;
    write(&store, &layout, &[row("a", 2)]).await;
    let third = mark(&store, &layout, Some(second)).await;
    assert!(first < second && second < third);
    for checkpoint in [first, second, third] {
        assert!(holds(&store, &layout, checkpoint).await);
    }
    assert!(!holds(&store, &layout, third + 1).await);
    assert!(!holds(&store, &layout, first - 1).await);
    // Another handle, as another process has it.
    assert!(holds(&on(&server), &layout, third).await);
    assert!(!holds(&store, &crate::support::layout("other"), third).await);
    let view = layout.view_version();
    store.drop_view(&cx(), &view).await.unwrap();
    assert!(!holds(&store, &layout, third).await);
    let left = server.wire().keys();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_restart_without_a_disk_is_noticed_until_the_view_is_filled_again() {
    let mut server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let before = mark(&store, &layout, None).await;
    let before = mark(&store, &layout, Some(before)).await;
    server.kill();
    server.start_again();
    assert!(!holds(&store, &layout, before).await);
    is_refused(&store, &layout, before).await;
    // Rows that come meanwhile do not make up for those that are missing.
    write(&store, &layout, &[row("b", 1)]).await;
    assert!(!holds(&store, &layout, before).await);
    is_refused(&store, &layout, before).await;
    write(&store, &layout, &[row("a", 1)]).await;
    let after = mark(&store, &layout, None).await;
    assert!(holds(&store, &layout, after).await);
    assert!(!holds(&store, &layout, before).await);
}

#[tokio::test]
async fn a_restart_with_a_disk_loses_nothing() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let before = mark(&store, &layout, None).await;
    server.kill();
    server.start_again();
    assert!(holds(&store, &layout, before).await);
    assert_eq!(read(&store, &layout, &["a".to_owned()]).await, [Some(1)]);
}

#[tokio::test]
async fn a_flush_is_noticed() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let before = mark(&store, &layout, None).await;
    server.wire().run("FLUSHALL");
    assert!(!holds(&store, &layout, before).await);
}

/// The replica stands still while the primary acknowledges rows, the primary is lost, and the replica
/// takes its place without them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_failover_lost_are_noticed() {
    let mut sentinel = Sentinel::start();
    let mut options = sentinel_options(&sentinel);
    options["wait_replicas"] = json!(0);
    let (store, layout) = (open(options), layout("v"));
    write(&store, &layout, &[row("kept", 1)]).await;
    let kept = mark(&store, &layout, None).await;
    let before = sentinel.primary();
    let replica = 1 - before;
    let mut wires = [
        sentinel.servers[before].wire(),
        sentinel.servers[replica].wire(),
    ];
    crate::servers::wait_until("the replica has the mark", || {
        wires[1].run("DBSIZE") == wires[0].run("DBSIZE")
    });
    sentinel.servers[replica].freeze();
    // More than the system keeps for a reader that stands still.
    for number in 0..48 {
        let row = (format!("lost-{number}"), 1, "x".repeat(1_000_000));
        write(&store, &layout, &[row]).await;
    }
    let lost = mark(&store, &layout, Some(kept)).await;
    assert!(holds(&store, &layout, lost).await);
    sentinel.servers[before].kill();
    sentinel.servers[replica].thaw();
    sentinel.wait_for_failover_from(before);
    assert!(!holds(&store, &layout, lost).await);
    assert!(
        holds(&store, &layout, kept).await,
        "the failover kept what was older"
    );
    is_refused(&store, &layout, lost).await;
    let found = read(&store, &layout, &["kept".to_owned()]).await;
    assert_eq!(found, [Some(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_empty_is_noticed_and_slots_that_move_are_no_loss() {
    let mut cluster = Cluster::start(3, false);
    let (store, layout) = (on_cluster(&cluster), layout("v"));
    let all = numbered(300);
    write(&store, &layout, &rows(&all, 1)).await;
    let before = mark(&store, &layout, None).await;
    // The slots of every mark move.
    let marks: Vec<u16> = cluster
        .nodes
        .iter()
        .flat_map(|node| node.wire().keys())
        .filter(|key| key.starts_with(b"pv:marks:"))
        .map(|key| slot_of(&key))
        .collect();
    assert_eq!(marks.len(), 3);
    for slot in marks {
        let to = (cluster.owner_of(slot) + 1) % 3;
        cluster.move_slot(slot, to);
    }
    assert!(holds(&store, &layout, before).await);
    let before = mark(&store, &layout, Some(before)).await;
    assert!(holds(&store, &layout, before).await);
    cluster.nodes[1].kill();
    cluster.nodes[1].start_again();
    cluster.wait_until_well();
    assert!(!holds(&store, &layout, before).await);
    is_refused(&store, &layout, before).await;
    let found = read(&store, &layout, &all).await;
    let n_held = found.iter().flatten().count();
    assert!((1..all.len()).contains(&n_held), "{n_held}");
}
