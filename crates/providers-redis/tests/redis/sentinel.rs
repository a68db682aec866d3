//! A primary that is lost, and the Sentinels that choose another.

use crate::load::Load;
use crate::servers::Sentinel;
use crate::support::{layout, on_sentinel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_loses_no_acknowledged_row() {
    let mut sentinel = Sentinel::start();
    let load = Load::start(on_sentinel(&sentinel), layout("v")).await;
    let before = sentinel.primary();
    sentinel.servers[before].kill();
    load.failing().await;
    sentinel.wait_for_failover_from(before);
    load.settled().await;
    load.stop().await;
}
