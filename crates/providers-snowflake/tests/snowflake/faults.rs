//! What the service does on bad days: slow statements, lost sessions, throttling, broken downloads,
//! callers that go away, and clients that are killed.

use std::process::{Command, Stdio};
use std::time::Duration;

use provender_core::Context;
use provender_core::request::SourceRef;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn faults_that_pass_are_not_seen() {
    if stand_in().is_none() {
        return;
    }
    for fault in [
        "throttle",
        "unavailable",
        "lost_answer",
        "expire",
        "gone",
        "chunk_unavailable",
        "chunk_cut",
        "in_progress",
    ] {
        let name = unique(fault);
        let n_faults = if fault == "gone" || fault == "expire" {
            1
        } else {
            3
        };
        let store = open(json!({"name": name, fault: n_faults, "chunk_rows": 10}))
            .await
            .unwrap();
        let source = query("SELECT RANGE AS \"n\" FROM RANGE(0, 100) ORDER BY 1");
        let batch = read(&*store, all(source))
            .await
            .unwrap_or_else(|error| panic!("{fault}: {error:?}"));
        assert_eq!(batch.num_rows(), 100, "{fault}");
        let log = state(&name).await;
        match fault {
            "expire" => assert_eq!(log["renewals"], json!(1)),
            "gone" => assert_eq!(log["logins"], json!(2)),
            _ => assert_eq!(log["logins"], json!(1), "{fault}"),
        }
    }
}

#[tokio::test]
async fn faults_that_stay_are_told() {
    let Some(_) = stand_in() else { return };
    let name = unique("down");
    let store = open(json!({"name": name, "chunk_cut": 1000, "chunk_rows": 10}))
        .await
        .unwrap();
    let source = query("SELECT RANGE AS \"n\" FROM RANGE(0, 30)");
    let error = tokio::time::timeout(Duration::from_secs(60), failure(&*store, all(source)))
        .await
        .unwrap();
    assert_eq!(error.code(), "P503", "{error:?}");
    assert!(error.is_retryable());
    let mut options = options("http://127.0.0.1:9", &json!({}));
    options.insert("account".to_owned(), "nowhere".into());
    let store = open_with(options, resources()).await.unwrap();
    let cx = Context::new("test").with_timeout(Duration::from_millis(300));
    let error = store.schema(&cx, &SourceRef::table("t")).await.unwrap_err();
    assert_eq!(error.code(), "P905", "{error:?}");
}

#[tokio::test]
async fn a_cancelled_call_and_one_out_of_time_are_aborted_in_snowflake() {
    let Some(_) = stand_in() else { return };
    let name = unique("abort");
    let store = open(json!({"name": name, "slow": "SLOWPOKE"}))
        .await
        .unwrap();
    let slow = || all(query("SELECT 1 AS \"SLOWPOKE\""));

    let cx = Context::new("test");
    let (scanned, ()) = tokio::join!(store.scan(&cx, slow()), async {
        while state(&name).await["statements"]
            .as_array()
            .unwrap()
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cx.cancel();
    });
    assert_eq!(scanned.unwrap_err().code(), "P906");
    assert_eq!(state(&name).await["aborts"].as_array().unwrap().len(), 1);

    let cx = Context::new("test").with_timeout(Duration::from_millis(700));
    assert_eq!(store.scan(&cx, slow()).await.unwrap_err().code(), "P905");
    assert_eq!(state(&name).await["aborts"].as_array().unwrap().len(), 2);

    // A future that is dropped says so in the background.
    let cx = Context::new("test");
    let dropped = tokio::time::timeout(Duration::from_millis(700), store.scan(&cx, slow())).await;
    assert!(dropped.is_err());
    while state(&name).await["aborts"].as_array().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The part of the kill test that is killed: it uploads a spine for ever.
#[tokio::test]
async fn killed_part() {
    let Ok(url) = std::env::var("PROVENDER_KILLED_PART") else {
        return;
    };
    let name = std::env::var("PROVENDER_KILLED_NAME").unwrap();
    let mut options = options(&url, &json!({"name": name}));
    options.insert("inline_rows".to_owned(), 0.into());
    options.insert("insert_bytes".to_owned(), 1_000.into());
    let store = open_with(options, resources()).await.unwrap();
    let case = crate::properties::endless_spine(&name);
    let joined = store
        .point_in_time_join(&Context::new("test"), case.0, case.1)
        .await;
    panic!("the spine ended: {joined:?}");
}

#[tokio::test]
async fn what_a_killed_client_leaves_ends_with_its_session() {
    let Some(url) = stand_in() else { return };
    let name = unique("killed");
    sql(&format!(
        "CREATE TABLE \"{name}\" (\"k\" NUMBER(38,0), \"at\" TIMESTAMP_NTZ, \"f\" FLOAT)"
    ))
    .await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::killed_part"])
        .env("PROVENDER_KILLED_PART", url)
        .env("PROVENDER_KILLED_NAME", &name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let uploads = |log: &serde_json::Value| {
        let statements = log["statements"].as_array().unwrap().clone();
        let is_upload = |s: &&serde_json::Value| {
            s["ok"] == json!(true)
                && s["sql"]
                    .as_str()
                    .unwrap()
                    .contains("INSERT INTO \"TESTS\".\"PUBLIC\".\"PROVENDER_TMP_")
        };
        statements.iter().find(is_upload).map(|s| {
            let sql = s["sql"].as_str().unwrap();
            let start = sql.find("PROVENDER_TMP_").unwrap();
            sql[start..start + "PROVENDER_TMP_".len() + 32].to_owned()
        })
    };
    let mut n_waits = 0;
    let table = loop {
        if let Some(table) = uploads(&state(&name).await) {
            break table;
        }
        n_waits += 1;
        assert!(n_waits < 1_500, "no upload was seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let holds =
        |log: &serde_json::Value| log["temporary"].as_array().unwrap().contains(&json!(table));
    assert!(holds(&state(&name).await), "the table outlives its client");
    // Snowflake ends sessions that are idle.
    let mut n_waits = 0;
    while holds(&state(&name).await) {
        tell("expire", json!({"name": name})).await;
        n_waits += 1;
        assert!(n_waits < 100, "the table outlives its session");
    }
    assert_eq!(state(&name).await["sessions"], json!(0));
}

#[tokio::test]
async fn an_answer_that_is_dropped_half_read_leaves_nothing() {
    let Some(url) = stand_in() else { return };
    let name = unique("dropped");
    sql(&format!(
        "CREATE TABLE \"{name}\" (\"k\" NUMBER(38,0), \"at\" TIMESTAMP_NTZ, \"f\" FLOAT)"
    ))
    .await;
    let mut options = options(url, &json!({"name": name, "chunk_rows": 10}));
    options.insert("inline_rows".to_owned(), 0.into());
    let store = open_with(options, resources()).await.unwrap();
    let (join, spine) = crate::properties::spine_of(&name, 100);
    let mut stream = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    let first = futures::StreamExt::next(&mut stream.batches)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.num_rows(), 10);
    let held = state(&name).await;
    assert!(
        held["temporary"]
            .as_array()
            .unwrap()
            .iter()
            .any(|t| t.as_str().unwrap().starts_with("PROVENDER_TMP_"))
    );
    assert_eq!(held["sessions"], json!(2));
    drop(stream);
    while state(&name).await["sessions"] != json!(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
