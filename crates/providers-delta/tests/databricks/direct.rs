//! Tables read where they lie: what can be, what cannot, keys that are renewed, and the choice that
//! `auto` makes and explains.

use futures::StreamExt;
use provender_core::request::{OfflineRequest, Scan, SourceRef, WriteMode};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_direct_read_runs_no_statement() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    append(&*workspace.open().await, "t", numbered(20))
        .await
        .unwrap();
    let n_before = workspace.state().await["statements"]
        .as_array()
        .unwrap()
        .len();
    for options in [
        json!({"execution": "direct"}),
        json!({"execution": "auto", "warehouse_id": null}),
        json!({"execution": "auto"}),
    ] {
        let store = workspace.with(options).open().await;
        assert_eq!(n_rows(&*store, "T").await, 20);
        let scan = Scan {
            columns: Some(vec!["k".to_owned(), "at".to_owned()]),
            ..all(SourceRef::table("t"))
        };
        assert!(store.open_rows(&cx(), scan).await.unwrap().is_some());
        let (join, spine) = crate::faults::spine_of("t", 10);
        let answer = joined(&store, join, spine).await.unwrap();
        let rows = answer.collect().await.unwrap();
        assert_eq!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>(), 10);
    }
    let n_after = workspace.state().await["statements"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(n_before, n_after);
}

#[tokio::test]
async fn auto_goes_by_size_and_says_why() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open_as("auto").await;
    append(&*store, "t", numbered(20)).await.unwrap();
    let (join, _) = crate::faults::spine_of("t", 1);
    let request = OfflineRequest::PointInTimeJoin(join, None);
    let text = store.explain(&cx(), &request).await.unwrap();
    assert!(
        text.starts_with("-- answered directly from storage, on this machine: 1 table has "),
        "{text}"
    );
    assert!(text.contains("within direct_limit (2.0 GiB)"), "{text}");
    let size = format!("-- {}: ", workspace.full("t"));
    assert!(
        text.contains(&size) && text.contains("at s3://lake/"),
        "{text}"
    );
    let small = workspace
        .with(json!({"execution": "auto", "direct_limit": "100B"}))
        .open()
        .await;
    let text = small.explain(&cx(), &request).await.unwrap();
    assert!(
        text.starts_with("-- answered in the SQL warehouse: 1 table has "),
        "{text}"
    );
    assert!(text.contains("more than direct_limit (100 B)"), "{text}");
    assert!(
        text.contains("CREATE TABLE") && text.contains("DROP TABLE"),
        "{text}"
    );
    let scan = OfflineRequest::Scan(all(SourceRef::table("t")));
    let text = store.explain(&cx(), &scan).await.unwrap();
    assert!(
        text.contains("DeltaScan") || text.contains("parquet"),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_directly_goes_to_the_warehouse() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace.open_as("auto").await;
    append(&*store, "t", numbered(20)).await.unwrap();
    let full = workspace
        .full("t")
        .split('.')
        .map(|part| format!("`{part}`"))
        .collect::<Vec<_>>()
        .join(".");
    let view = full.replace("`t`", "`seen`");
    workspace
        .sql(&format!(
            "CREATE VIEW {view} AS SELECT * FROM {full} WHERE k < 5"
        ))
        .await;
    let filtered = SourceRef {
        filter: Some("k < 5".to_owned()),
        ..SourceRef::table("t")
    };
    let asked = query(&format!("SELECT k FROM {full} WHERE k < 5"));
    for (source, why) in [
        (SourceRef::table("seen"), "table \"seen\" is a view"),
        (
            filtered,
            "the filter of table \"t\" is SQL of the warehouse",
        ),
        (asked, "a query is SQL of the warehouse"),
    ] {
        assert_eq!(
            read(&*store, all(source.clone())).await.unwrap().num_rows(),
            5,
            "{why}"
        );
        let scan = OfflineRequest::Scan(all(source.clone()));
        let text = store.explain(&cx(), &scan).await.unwrap();
        assert!(
            text.starts_with(&format!("-- answered in the SQL warehouse: {why}")),
            "{text}"
        );
        // Where no warehouse may run, the reason is the error.
        for (options, help) in [
            (json!({"execution": "direct"}), "set execution: auto"),
            (
                json!({"execution": "auto", "warehouse_id": null}),
                "set warehouse_id",
            ),
        ] {
            let store = workspace.with(options).open().await;
            let error = failure(&*store, all(source.clone())).await;
            assert_eq!(error.code(), "P801", "{error}");
            assert!(error.message().starts_with(why), "{error}");
            assert_eq!(error.help_text(), Some(help));
        }
    }
    // A table that the login may only see through a filter of the workspace's own.
    workspace.set(json!({"row_filter": true})).await;
    let fresh = workspace.open_as("auto").await;
    let scan = OfflineRequest::Scan(all(SourceRef::table("t")));
    let text = fresh.explain(&cx(), &scan).await.unwrap();
    assert!(text.contains("table \"t\" has a row filter"), "{text}");
    assert_eq!(n_rows(&*fresh, "t").await, 20);
}

#[tokio::test]
async fn keys_that_are_refused_name_the_grant_and_leave_the_warehouse() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    append(&*workspace.open().await, "t", numbered(20))
        .await
        .unwrap();
    workspace.set(json!({"deny_keys": true})).await;
    let store = workspace.open_as("auto").await;
    assert_eq!(n_rows(&*store, "t").await, 20);
    let scan = OfflineRequest::Scan(all(SourceRef::table("t")));
    let text = store.explain(&cx(), &scan).await.unwrap();
    assert!(text.contains("cannot be read directly"), "{text}");
    assert!(text.contains("EXTERNAL USE SCHEMA"), "{text}");
    append(&*store, "t", numbered(1)).await.unwrap();
    let keys = numbered(1).project(&[0]).unwrap();
    store
        .delete(&cx(), &SourceRef::table("t"), keys)
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, "t").await, 19);
    let store = workspace.open_as("direct").await;
    let error = failure(&*store, all(SourceRef::table("t"))).await;
    assert_eq!(error.code(), "P531", "{error}");
    assert!(error.message().contains("EXTERNAL USE SCHEMA"), "{error}");
}

#[tokio::test]
async fn keys_are_renewed_before_they_end() {
    let Some(workspace) = Workspace::stand_in(json!({"key_ttl": 2})).await else {
        return;
    };
    let store = workspace.open_as("direct").await;
    for n in 1..=5_usize {
        append(&*store, "t", numbered(10)).await.unwrap();
        assert_eq!(n_rows(&*store, "t").await, n * 10);
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
    assert!(
        workspace.count("keys").await >= 4,
        "{}",
        workspace.state().await
    );
    // While a stream is being read, too.
    let streams = store.scan(&cx(), all(SourceRef::table("t"))).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_300)).await;
    let mut n_rows = 0;
    for mut stream in streams {
        while let Some(rows) = stream.batches.next().await {
            n_rows += rows.unwrap().num_rows();
        }
    }
    assert_eq!(n_rows, 50);
    // Keys that last are asked for once.
    workspace.set(json!({"key_ttl": 3600})).await;
    let store = workspace.open_as("direct").await;
    let n_before = workspace.count("keys").await;
    for _ in 0..5 {
        read(&*store, all(SourceRef::table("t"))).await.unwrap();
    }
    assert_eq!(workspace.count("keys").await, n_before + 1);
}

#[tokio::test]
async fn a_table_that_was_made_anew_is_read_anew() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let workspace = workspace.with(json!({"location": null}));
    let store = workspace.open_as("auto").await;
    append(&*store, "t", numbered(3)).await.unwrap();
    assert_eq!(n_rows(&*store, "t").await, 3);
    // A managed table is replaced by the warehouse, and lies elsewhere then.
    let other = numbered(7).project(&[0, 2]).unwrap();
    write(&*store, request("t", WriteMode::Overwrite), numbered(4))
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, "t").await, 4);
    write(&*store, request("u", WriteMode::Overwrite), other)
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, "u").await, 7);
}

#[tokio::test]
async fn without_a_warehouse_tables_are_not_made_and_the_way_out_is_told() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let store = workspace
        .with(json!({"execution": "auto", "warehouse_id": null}))
        .open()
        .await;
    let error = append(&*store, "t", numbered(1)).await.unwrap_err();
    assert_eq!(error.code(), "P801", "{error}");
    assert!(
        error.message().contains("table \"t\" has to be made"),
        "{error}"
    );
    assert_eq!(error.help_text(), Some("set warehouse_id"));
    let error = failure(&*store, all(SourceRef::table("t"))).await;
    assert_eq!(error.code(), "P120", "{error}");
    let found = store.check(&cx()).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(
        found[0].starts_with("0 tables that the personal access token may see"),
        "{found:?}"
    );
    append(&*workspace.open().await, "t", numbered(1))
        .await
        .unwrap();
    assert_eq!(n_rows(&*store, "t").await, 1);
    append(&*store, "t", numbered(2)).await.unwrap();
    assert_eq!(n_rows(&*store, "t").await, 3);
    let found = workspace.open().await.check(&cx()).await.unwrap();
    assert_eq!(found[1], "SQL warehouse abc123 is running");
}
