//! Redis that is killed and started again.

use std::time::Duration;

use provender_core::{Context, ErrorKind};

use crate::load::Load;
use crate::servers::Server;
use crate::support::{
    cx, is_away, keys, layout, numbered, on, read, reader, row, rows, soon, try_write, write,
};

/// Acknowledged is on disk.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_calls_fail_in_time_and_work_again_with_every_acknowledged_row() {
    let mut server = Server::start_with(DURABLE);
    let load = Load::start(on(&server), layout("v")).await;
    for _ in 0..2 {
        server.kill();
        load.failing().await;
        server.start_again();
        load.settled().await;
    }
    load.stop().await;
}

#[tokio::test]
async fn without_a_server_calls_are_unavailable_and_say_where_it_should_be() {
    let mut server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    let reader = reader(&store, &layout).await;
    server.kill();
    let wanted = ["a".to_owned()];
    let read = reader.read(&cx(), &keys(&layout, &wanted)).await;
    let written = try_write(&cx(), &store, &layout, &[row("a", 1)]).await;
    let views = provender_core::provider::OnlineStore::views(&store, &cx()).await;
    let errors = [
        read.err().unwrap(),
        written.err().unwrap(),
        views.err().unwrap(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.is_retryable(), "{error:?}");
        let address = format!("127.0.0.1:{}", server.port());
        assert!(error.to_string().contains(&address), "{error}");
        assert!(error.help_text().is_some(), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soon_after_a_start_everything_works() {
    let mut server = Server::start_with(DURABLE);
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let reader = reader(&store, &layout).await;
    server.kill();
    let wanted = keys(&layout, &["a".to_owned()]);
    for _ in 0..50 {
        // So that pauses between tries grow.
        let error = reader.read(&cx(), &wanted).await.err().unwrap();
        assert!(is_away(&error), "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.start_again();
    let up = std::time::Instant::now();
    soon(|| async { reader.read(&cx(), &wanted).await }).await;
    soon(|| async { try_write(&cx(), &store, &layout, &[row("a", 2)]).await }).await;
    let took = up.elapsed();
    // A second is promised; more is given to a machine that is busy.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(read(&store, &layout, &["a".to_owned()]).await, [Some(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_great_write_that_is_cut_off_is_unavailable_and_can_be_repeated() {
    let mut server = Server::start_with(DURABLE);
    let (store, layout) = (on(&server), layout("v"));
    let all = numbered(60_000);
    let writing = {
        let (store, layout, all) = (store.clone(), layout.clone(), all.clone());
        tokio::spawn(async move { try_write(&cx(), &store, &layout, &rows(&all, 1)).await })
    };
    let mut wire = server.wire();
    crate::servers::wait_until("some rows are there", || {
        wire.run("DBSIZE").number() > 1_000
    });
    server.kill();
    let ended = writing.await.unwrap();
    let error = ended.expect_err("it cannot have ended");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    server.start_again();
    soon(|| async { try_write(&cx(), &store, &layout, &rows(&all, 1)).await }).await;
    let found = read(&store, &layout, &all).await;
    assert!(found.iter().all(|value| *value == Some(1)));
}

#[tokio::test]
async fn a_store_opens_while_redis_is_down() {
    let mut server = Server::start();
    server.kill();
    let (store, layout) = (on(&server), layout("v"));
    let reader = reader(&store, &layout).await;
    let brief = Context::new("p").with_timeout(Duration::from_millis(500));
    let wanted = keys(&layout, &["a".to_owned()]);
    let error = reader.read(&brief, &wanted).await.err().unwrap();
    assert!(is_away(&error), "{error:?}");
    server.start_again();
    let found = soon(|| async { reader.read(&cx(), &wanted).await }).await;
    assert_eq!(crate::support::answers(&found), [None]);
}
