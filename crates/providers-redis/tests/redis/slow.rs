//! Redis that answers late or not at all, with its connections open.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use provender_core::{Context, ErrorKind};
use serde_json::json;

use crate::servers::Server;
use crate::support::{
    answers, cx, is_away, keys, label, layout, numbered, on, open, read, reader, row, rows, soon,
    try_write, write,
};

/// How much later than its deadline a call may end on a machine that is busy.
const LATENESS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_costs_a_call_its_deadline_and_no_more() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let reader = reader(&store, &layout).await;
    let wanted = keys(&layout, &["a".to_owned()]);
    server.freeze();
    for _ in 0..3 {
        let deadline = Duration::from_millis(200);
        let brief = || Context::new("p").with_timeout(deadline);
        let started = Instant::now();
        let error = reader.read(&brief(), &wanted).await.err().unwrap();
        assert!(is_away(&error), "{error:?}");
        assert!(started.elapsed() < deadline + LATENESS);
        let started = Instant::now();
        let written = try_write(&brief(), &store, &layout, &[row("a", 2)]).await;
        let error = written.err().unwrap();
        assert!(is_away(&error), "{error:?}");
        assert!(started.elapsed() < deadline + LATENESS);
    }
    server.thaw();
    soon(|| async { reader.read(&cx(), &wanted).await }).await;
    soon(|| async { try_write(&cx(), &store, &layout, &[row("a", 3)]).await }).await;
    assert_eq!(read(&store, &layout, &["a".to_owned()]).await, [Some(3)]);
}

/// Connections are taken and nothing is ever said on them, with a login to wait for and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_hangs_is_given_up_and_the_server_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (layout, endless) = (layout("v"), Context::new("p"));
    let wanted = keys(&layout, &["a".to_owned()]);
    for login in ["", ":s3cret@"] {
        let url = format!("redis://{login}127.0.0.1:{port}");
        let store = open(json!({"url": url, "timeout": "300ms", "connect_timeout": "300ms"}));
        let reader = reader(&store, &layout).await;
        for _ in 0..2 {
            let error = reader.read(&endless, &wanted).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.to_string().contains(&port.to_string()), "{error}");
            assert!(!format!("{error:?}").contains("s3cret"));
        }
        // A call's own deadline comes first.
        let brief = Context::new("p").with_timeout(Duration::from_millis(50));
        let written = try_write(&brief, &store, &layout, &[row("a", 1)]).await;
        let error = written.err().unwrap();
        assert!(is_away(&error), "{error:?}");
    }
    drop(listener);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_counts_as_gone_after_the_timeout_where_a_call_has_no_deadline() {
    let server = Server::start();
    let store = open(json!({"url": server.url(), "timeout": "300ms", "connect_timeout": "300ms"}));
    let layout = layout("v");
    write(&store, &layout, &[row("a", 1)]).await;
    let reader = reader(&store, &layout).await;
    let wanted = keys(&layout, &["a".to_owned()]);
    server.freeze();
    let endless = Context::new("p");
    let started = Instant::now();
    let error = reader.read(&endless, &wanted).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let written = try_write(&endless, &store, &layout, &[row("a", 2)]).await;
    assert_eq!(written.err().unwrap().kind(), ErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_secs(10));
    server.thaw();
    let found = soon(|| async { reader.read(&cx(), &wanted).await }).await;
    assert!(answers(&found)[0].is_some());
}

/// A call that gives up leaves its reply behind on a connection that others share: nobody else may get it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_give_up_harm_no_other() {
    let server = Server::start();
    let store = open(json!({"url": server.url(), "read_connections": 1, "timeout": "20s"}));
    let layout = layout("v");
    let all = numbered(200);
    let each: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(i, key)| row(key, i as i64 + 1))
        .collect();
    write(&store, &layout, &each).await;
    let reader = reader(&store, &layout).await;
    let mut wire = server.wire();
    for _ in 0..3 {
        wire.run("CLIENT PAUSE 400 ALL");
        let calls = all.iter().enumerate().map(|(number, key)| {
            let (reader, layout) = (&reader, &layout);
            async move {
                let wanted = keys(layout, std::slice::from_ref(key));
                match number % 4 {
                    // Gives up by its deadline, ...
                    0 => {
                        let brief = Context::new("p").with_timeout(Duration::from_millis(50));
                        let error = reader.read(&brief, &wanted).await.err();
                        let error = error.expect("Redis is paused for longer");
                        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
                    }
                    // ... because it is cancelled, ...
                    1 => {
                        let cx = cx();
                        let (ended, ()) = tokio::join!(reader.read(&cx, &wanted), async {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            cx.cancel();
                        });
                        let error = ended.expect_err("Redis is paused for longer");
                        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
                    }
                    // ... or because nobody waits any more.
                    2 => {
                        let cx = cx();
                        let reading = reader.read(&cx, &wanted);
                        assert!(
                            tokio::time::timeout(Duration::from_millis(50), reading)
                                .await
                                .is_err()
                        );
                    }
                    _ => {
                        let found = reader.read(&cx(), &wanted).await.unwrap();
                        let value = number as i64 + 1;
                        assert_eq!(answers(&found), [Some((value, value, label(key, value)))]);
                    }
                }
            }
        });
        join_all(calls.map(FutureExt::boxed)).await;
    }
    let found = read(&store, &layout, &all).await;
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(i, value)| *value == Some(i as i64 + 1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_while_a_great_write_runs() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("a", 1)]).await;
    let reader = reader(&store, &layout).await;
    let writing = {
        let (store, layout) = (store.clone(), layout.clone());
        let all = numbered(100_000);
        tokio::spawn(async move { write(&store, &layout, &rows(&all, 1)).await })
    };
    let mut n_reads = 0;
    while !writing.is_finished() {
        let brief = Context::new("p").with_timeout(Duration::from_secs(5));
        let found = reader
            .read(&brief, &keys(&layout, &["a".to_owned()]))
            .await
            .unwrap();
        assert!(answers(&found)[0].is_some());
        n_reads += 1;
    }
    writing.await.unwrap();
    assert!(n_reads > 10, "only {n_reads} reads went through");
}

/// What the server took longest over, as it says itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_script_keeps_redis_busy_for_long() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    let all = numbered(20_000);
    write(&store, &layout, &rows(&all, 1)).await;
    let mut wire = server.wire();
    wire.run("CONFIG RESETSTAT");
    for value in 2..5 {
        write(&store, &layout, &rows(&all, value)).await;
    }
    let stats = wire.run("INFO commandstats").text();
    let scripts = stats
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha"));
    let scripts = scripts.expect("rows that are held are written by scripts");
    let per_call = scripts.split("usec_per_call=").nth(1).unwrap();
    let per_call: f64 = per_call.split(',').next().unwrap().parse().unwrap();
    // A mean, since a single one can be interrupted by other processes; a millisecond is promised.
    assert!(per_call < 1_000.0, "{scripts}");
}
