//! What Redis refuses: logins, commands, rows for which it has no memory.

use provender_core::ErrorKind;
use provender_core::provider::{OnlineStore, Provider};
use serde_json::json;

use crate::servers::{Certificates, Server};
use crate::support::{
    answers, cx, keys, layout, numbered, on, open, read, reader, row, rows, try_write, write,
};

#[tokio::test]
async fn a_wrong_password_is_told_as_such_and_not_shown() {
    let server = Server::start_with(&["--requirepass", "right-one"]);
    let layout = layout("v");
    let wanted = keys(&layout, &["a".to_owned()]);
    let port = server.port();
    let urls = [
        format!("redis://:wrong-one@127.0.0.1:{port}"),
        format!("redis://nobody:wrong-one@127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}"),
    ];
    for url in urls {
        let store = open(json!({"url": url}));
        let reader = reader(&store, &layout).await;
        let read = reader.read(&cx(), &wanted).await.err().unwrap();
        let written = try_write(&cx(), &store, &layout, &[row("a", 1)]).await;
        for error in [read, written.err().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
            assert!(!format!("{error:?} {error}").contains("wrong-one"));
            assert!(error.help_text().is_some(), "{error:?}");
        }
    }
    let store = open(json!({"url": server.url(), "password": "right-one"}));
    write(&store, &layout, &[row("a", 1)]).await;
    assert_eq!(read(&store, &layout, &["a".to_owned()]).await, [Some(1)]);
}

#[tokio::test]
async fn a_user_who_may_only_read_reads_and_is_refused_writes() {
    let server = Server::start();
    let layout = layout("v");
    write(&on(&server), &layout, &[row("a", 1)]).await;
    let mut wire = server.wire();
    wire.run("ACL SETUSER reader on >s3cret ~* +@read +@connection +info");
    let store = open(json!({"url": server.url(), "username": "reader", "password": "s3cret"}));
    assert_eq!(read(&store, &layout, &["a".to_owned()]).await, [Some(1)]);
    let written = try_write(&cx(), &store, &layout, &[row("a", 2)]).await;
    let error = written.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("s3cret"));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = Certificates::make(folder.path(), "theirs");
    let others = Certificates::make(folder.path(), "others");
    let (_server, port) = theirs.start_server(false, &[]);
    let layout = layout("v");
    let wanted = keys(&layout, &["a".to_owned()]);
    let url = format!("rediss://localhost:{port}");
    let trusting = open(json!({"url": url, "tls": {"ca": theirs.file("ca.crt")}}));
    assert_eq!(read(&trusting, &layout, &["a".to_owned()]).await, [None]);
    for tls in [json!({"ca": others.file("ca.crt")}), json!({})] {
        let store = open(json!({"url": url, "tls": tls}));
        let reader = reader(&store, &layout).await;
        let error = reader.read(&cx(), &wanted).await.err().unwrap();
        let all = format!("{error:?}");
        assert!(all.to_lowercase().contains("certificate"), "{all}");
    }
}

#[tokio::test]
async fn a_full_redis_refuses_rows_still_answers_and_takes_them_when_there_is_room() {
    let server = Server::start_with(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let (store, layout) = (on(&server), layout("v"));
    let all = numbered(200_000);
    let written = try_write(&cx(), &store, &layout, &rows(&all, 1)).await;
    let error = written.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    assert!(error.to_string().contains("memory"), "{error}");
    assert!(
        error.help_text().unwrap().contains("maxmemory"),
        "{error:?}"
    );
    let reader = reader(&store, &layout).await;
    let found = reader
        .read(&cx(), &keys(&layout, &all[..10_000]))
        .await
        .unwrap();
    let n_held = answers(&found).iter().flatten().count();
    assert!(
        n_held > 0,
        "some rows were written before there was no room"
    );
    server.wire().run("CONFIG SET maxmemory 0");
    write(&store, &layout, &rows(&all, 1)).await;
    let found = read(&store, &layout, &all).await;
    assert!(found.iter().all(|value| *value == Some(1)));
}

#[tokio::test]
async fn a_replica_that_takes_no_writes_says_so() {
    let primary = Server::start();
    let port = primary.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    let mut wire = replica.wire();
    crate::servers::wait_until("the replica has a copy", || {
        wire.run("INFO replication")
            .text()
            .contains("master_link_status:up")
    });
    let (store, layout) = (on(&replica), layout("v"));
    let written = try_write(&cx(), &store, &layout, &[row("a", 1)]).await;
    let error = written.err().unwrap();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::FailedPrecondition
        ),
        "{error:?}"
    );
    let told = format!("{error} {}", error.help_text().unwrap_or_default());
    assert!(told.contains("replica"), "{told}");
}

#[tokio::test]
async fn another_program_under_the_port_is_no_redis() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(20) {
            let Ok(mut stream) = stream else { return };
            let _ = std::io::Write::write_all(
                &mut stream,
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    let store =
        open(json!({"url": format!("redis://127.0.0.1:{port}"), "connect_timeout": "500ms"}));
    let views = store.views(&cx()).await;
    let error = views.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn the_doctor_tells_what_endangers_rows() {
    let server = Server::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let found = Provider::check(&on(&server), &cx())
        .await
        .unwrap()
        .join("\n");
    for wanted in [
        "Redis 7",
        "allkeys-lru",
        "noeviction",
        "no persistence",
        "latency",
    ] {
        // Another server than the usual one has another name.
        if wanted != "Redis 7" || std::env::var_os("PROVENDER_TEST_REDIS_SERVER").is_none() {
            assert!(found.contains(wanted), "{wanted}: {found}");
        }
    }
    let sound = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = Server::start_with(&sound);
    let found = Provider::check(&on(&server), &cx())
        .await
        .unwrap()
        .join("\n");
    assert!(!found.contains("warning: no persistence"), "{found}");
    assert!(!found.contains("policy allkeys"), "{found}");
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let server = Server::start();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let documented = docs.split("ACL SETUSER features on >... ").nth(1).unwrap();
    let documented = documented.split('`').next().unwrap();
    let mut wire = server.wire();
    wire.run(&format!("ACL SETUSER features on >s3cret {documented}"));
    let store = open(json!({"url": server.url(), "username": "features", "password": "s3cret"}));
    let layout = layout("v");
    let all = numbered(2_000);
    for value in [1, 3, 2] {
        write(&store, &layout, &rows(&all, value)).await;
    }
    assert!(
        read(&store, &layout, &all)
            .await
            .iter()
            .all(|value| *value == Some(3))
    );
    let view = layout.view_version();
    store.checkpoint(&cx(), &view, None).await.unwrap();
    store
        .delete(&cx(), &layout, keys(&layout, &all[..10]))
        .await
        .unwrap();
    assert_eq!(
        store.views(&cx()).await.unwrap(),
        std::slice::from_ref(&view)
    );
    store.stats(&cx(), &view).await.unwrap();
    Provider::check(&store, &cx()).await.unwrap();
    store.drop_view(&cx(), &view).await.unwrap();
    let left = wire.keys();
    assert!(left.is_empty(), "{left:?}");
}
