//! Slots that move, and nodes that are lost.

use crate::load::Load;
use crate::servers::{Cluster, Server, slot_of};
use crate::support::{layout, numbered, on_cluster, read, rows, write};

/// The slots of all rows that the nodes hold, each once.
fn slots_in_use(cluster: &Cluster) -> Vec<u16> {
    let nodes = cluster.nodes.iter();
    let keys = nodes.flat_map(|node: &Server| node.wire().keys());
    let mut slots: Vec<u16> = keys.map(|key| slot_of(&key)).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_under_load_cost_no_row_and_no_call() {
    let cluster = Cluster::start(3, false);
    let load = Load::start(on_cluster(&cluster), layout("v")).await;
    for slot in slots_in_use(&cluster).into_iter().step_by(5) {
        let to = (cluster.owner_of(slot) + 1) % 3;
        cluster.move_slot(slot, to);
    }
    load.settled().await;
    assert_eq!(load.n_failed(), 0, "moves must be followed");
    load.stop().await;
}

/// Half of a slot's keys on either node, which answers ASK for those that have gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_half_moved_is_read_and_written_whole() {
    let cluster = Cluster::start(3, false);
    let (store, layout) = (on_cluster(&cluster), layout("v"));
    // As many keys that some slots have several.
    let all = numbered(30_000);
    write(&store, &layout, &rows(&all, 1)).await;
    let slots: Vec<u16> = slots_in_use(&cluster).into_iter().step_by(400).collect();
    for slot in &slots {
        let to = (cluster.owner_of(*slot) + 1) % 3;
        cluster.begin_move(*slot, to);
        cluster.move_keys(*slot, to, 1);
    }
    let found = read(&store, &layout, &all).await;
    assert!(found.iter().all(|value| *value == Some(1)));
    write(&store, &layout, &rows(&all, 2)).await;
    let found = read(&store, &layout, &all).await;
    assert!(found.iter().all(|value| *value == Some(2)));
    write(&store, &layout, &rows(&all, 1)).await;
    for slot in &slots {
        let from = cluster.owner_of(*slot);
        let to = (from + 1) % 3;
        while cluster.move_keys(*slot, to, 100) > 0 {}
        cluster.end_move(*slot, to);
    }
    let found = read(&store, &layout, &all).await;
    assert!(found.iter().all(|value| *value == Some(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_lost_under_load_is_replaced_and_no_acknowledged_row_is_missing() {
    let mut cluster = Cluster::start(3, true);
    let load = Load::start(on_cluster(&cluster), layout("v")).await;
    cluster.nodes[0].kill();
    load.failing().await;
    cluster.wait_until_well();
    load.settled().await;
    load.stop().await;
}
