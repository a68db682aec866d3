//! Who asks: tokens, service principals whose tokens are renewed, refusals, and secrets that are shown
//! nowhere.

use provender_core::request::SourceRef;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_service_principal_is_let_in_and_its_token_is_renewed() {
    let Some(workspace) = Workspace::stand_in(json!({"token_ttl": 2})).await else {
        return;
    };
    let store = workspace
        .with(json!({
            "token": null, "client_id": workspace.name, "client_secret": "oauth-canary",
        }))
        .open()
        .await;
    append(&*store, "t", numbered(3)).await.unwrap();
    let n_before = workspace.count("token").await;
    assert!(n_before >= 1);
    // A token of two seconds is sent for one.
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(n_rows(&*store, "t").await, 3);
    assert!(workspace.count("token").await > n_before);
    // One that is not taken any more is asked for again, too.
    workspace.set(json!({"token_ttl": 3600})).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(n_rows(&*store, "t").await, 3);
    workspace.revoke_tokens().await;
    assert_eq!(n_rows(&*store, "t").await, 3);
}

#[tokio::test]
async fn one_token_is_asked_for_by_many_calls_at_once() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let owner = workspace.open().await;
    append(&*owner, "t", numbered(3)).await.unwrap();
    let store = workspace
        .with(json!({
            "token": null, "client_id": workspace.name, "client_secret": "oauth-canary",
        }))
        .open()
        .await;
    let reads = (0..6).map(|_| n_rows(&*store, "t"));
    assert_eq!(futures::future::join_all(reads).await, [3; 6]);
    assert_eq!(workspace.count("token").await, 1);
}

#[tokio::test]
async fn refused_logins_name_the_way_out_and_no_secret() {
    let Some(workspace) = Workspace::stand_in(json!({})).await else {
        return;
    };
    let wrong = workspace
        .with(json!({"token": "wrong-canary"}))
        .open()
        .await;
    for error in [
        wrong.check(&cx()).await.unwrap_err(),
        failure(&*wrong, all(SourceRef::table("t"))).await,
    ] {
        assert_eq!(error.code(), "P530", "{error}");
        assert!(
            error
                .message()
                .contains("does not take the personal access token"),
            "{error}"
        );
        assert!(error.help_text().unwrap().contains("revoked"), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let wrong = workspace
        .with(json!({"token": null, "client_id": "somebody", "client_secret": "other-canary"}))
        .open()
        .await;
    let error = wrong.check(&cx()).await.unwrap_err();
    assert_eq!(error.code(), "P530", "{error}");
    assert!(
        error.message().contains("service principal \"somebody\""),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    let shown = format!("{wrong:?} {:?}", wrong.info());
    assert!(!shown.contains("canary"), "{shown}");

    let none = workspace.with(json!({"warehouse_id": "zzz"})).open().await;
    let error = failure(&*none, all(SourceRef::table("t"))).await;
    assert!(error.message().contains("warehouse not found"), "{error}");
}

#[tokio::test]
async fn options_are_checked_when_the_store_is_opened() {
    let good = json!({
        "host": "dbc-1.cloud.databricks.com", "token": "canary", "catalog": "main", "warehouse_id": "abc123",
    });
    let opened = |other: serde_json::Value| {
        let mut options = good.as_object().unwrap().clone();
        for (name, value) in other.as_object().unwrap() {
            match value {
                serde_json::Value::Null => options.remove(name),
                value => options.insert(name.clone(), value.clone()),
            };
        }
        open_options(options)
    };
    let store = opened(json!({})).await.unwrap();
    assert_eq!(
        store.info().display_name,
        "Databricks at dbc-1.cloud.databricks.com, main.default"
    );
    assert!(store.capabilities().point_in_time_join);
    let store = opened(json!({"warehouse_id": null})).await.unwrap();
    assert!(!store.capabilities().point_in_time_join && !store.capabilities().sql_sources);
    for (other, text) in [
        (json!({"client_id": "x"}), "are given together"),
        (
            json!({"token": null, "client_id": "x"}),
            "client_secret is missing",
        ),
        (
            json!({"token": null, "client_secret": "canary"}),
            "client_id is missing",
        ),
        (json!({"host": "http://x"}), "without TLS"),
        (
            json!({"host": "https://me:canary@x"}),
            "holds a user or password",
        ),
        (json!({"catalog": null}), "missing field `catalog`"),
        (json!({"catalog": " "}), "catalog is empty"),
        (
            json!({"warehouse_id": "/sql/1.0/warehouses/1"}),
            "no id of a warehouse",
        ),
        (
            json!({"warehouse_id": null, "execution": "warehouse"}),
            "no warehouse_id is set",
        ),
        (json!({"execution": "fast"}), "unknown variant `fast`"),
        (json!({"direct_limit": "much"}), "direct_limit \"much\""),
        (
            json!({"storage": {"secret_access_key": "canary"}}),
            "storage holds credentials",
        ),
        (json!({"location": "ftp://x"}), "unsupported kind ftp://"),
        (
            json!({"wharehouse_id": "x"}),
            "unknown field `wharehouse_id`",
        ),
        (json!({"token": 271_828}), "a secret is a text"),
    ] {
        let error = opened(other.clone()).await.unwrap_err();
        assert_eq!(error.code(), "P203", "{other} {error}");
        assert!(error.message().contains(text), "{other} {error}");
        let shown = format!("{error:?}");
        assert!(
            !shown.contains("canary") && !shown.contains("271828"),
            "{shown}"
        );
    }
}
