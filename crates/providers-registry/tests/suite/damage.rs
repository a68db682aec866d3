//! Registries that are newer or broken.

use std::time::Duration;

use provender_core::ErrorKind;
use provender_core::provider::{Interval, Revision, ViewVersion};

use crate::common::{Backend, by, cx, put};

const MAKE_NEWER: &str = "UPDATE registry_format SET version = 99, written_by = '9.8.7'";

pub async fn newer_format_is_refused_and_not_touched(backend: &Backend) {
    let registry = backend.open().await;
    registry
        .commit(&cx(), Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
    drop(registry);
    backend.run(MAKE_NEWER).await;
    let mut before = Vec::new();
    if backend.scheme == "sqlite" {
        // The journal mode changes only when nobody else is there.
        backend.closed().await;
        backend.run("PRAGMA journal_mode = DELETE").await;
        before = std::fs::read(backend.file()).unwrap();
    }
    let error = backend.try_open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::FailedPrecondition, "P302")
    );
    let expected = format!(
        "has format 99, written by provender 9.8.7; this is provender {}, which knows formats up to 1",
        env!("CARGO_PKG_VERSION")
    );
    assert!(error.message().ends_with(&expected), "{error}");
    assert_eq!(
        error.help_text(),
        Some("update this program; nothing was changed")
    );
    if backend.scheme == "sqlite" {
        backend.closed().await;
        assert!(
            before == std::fs::read(backend.file()).unwrap(),
            "the file changed"
        );
    }
}

pub async fn format_that_becomes_newer_while_open_is_refused(backend: &Backend) {
    let registry = backend.open().await;
    let cx = cx();
    registry
        .commit(&cx, Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
    let lease = registry
        .acquire_lease(&cx, "x", "a", Duration::from_secs(9))
        .await
        .unwrap();
    let view = ViewVersion {
        project: "flights".to_owned(),
        view: "a".to_owned(),
        version: 1,
    };
    let interval = Interval {
        start_us: None,
        end_us: 1,
    };
    backend.run(MAKE_NEWER).await;
    let ttl = Duration::from_secs(9);
    for (call, result) in [
        ("revision", registry.revision(&cx).await.err()),
        ("snapshot", registry.snapshot(&cx, None).await.err()),
        (
            "commit",
            registry
                .commit(&cx, Revision(1), &[], &by("ann"))
                .await
                .err(),
        ),
        ("history", registry.history(&cx, Revision(0), 1).await.err()),
        (
            "record",
            registry.record_interval(&cx, &view, interval).await.err(),
        ),
        ("intervals", registry.intervals(&cx, &view).await.err()),
        ("forget", registry.forget_intervals(&cx, &view).await.err()),
        (
            "acquire",
            registry.acquire_lease(&cx, "y", "a", ttl).await.err(),
        ),
        ("renew", registry.renew_lease(&cx, &lease, ttl).await.err()),
        ("release", registry.release_lease(&cx, &lease).await.err()),
        ("check", registry.check(&cx).await.err()),
    ] {
        assert_eq!(result.expect(call).code(), "P302", "{call}");
    }
    backend.run("UPDATE registry_format SET version = 1").await;
    assert_eq!(registry.revision(&cx).await.unwrap(), Revision(1));
    assert!(registry.intervals(&cx, &view).await.unwrap().is_empty());
}

pub async fn unreadable_object_is_named(backend: &Backend) {
    let registry = backend.open().await;
    let changes = [put("fine", 1, 1), put("rain", 1, 1)];
    registry
        .commit(&cx(), Revision(0), &changes, &by("ann"))
        .await
        .unwrap();
    let mut damages = vec!["body = '{\"cut'", "kind = 'gadget'", "version = -1"];
    if backend.scheme == "sqlite" {
        damages.push("body = x'00ff'");
    }
    for damage in damages {
        backend
            .run(&format!("UPDATE objects SET {damage} WHERE name = 'rain'"))
            .await;
        let error = registry.snapshot(&cx(), None).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::DataLoss, "P303"),
            "{damage}"
        );
        assert!(
            error.message().contains("\"rain\", which cannot be read"),
            "{error}"
        );
        backend
            .run("UPDATE objects SET body = '1', kind = 'feature_view', version = 1 WHERE name = 'rain'")
            .await;
    }
    assert_eq!(
        registry.snapshot(&cx(), None).await.unwrap().objects.len(),
        2
    );
}

pub async fn unreadable_history_is_named(backend: &Backend) {
    let registry = backend.open().await;
    registry
        .commit(&cx(), Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
    backend.run("UPDATE commits SET changes = '[{]'").await;
    let error = registry.history(&cx(), Revision(0), 1).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "P303"));
    let what = "holds the changes of revision 1 of project \"flights\", which cannot be read";
    assert!(error.message().ends_with(what), "{error}");
    // A conflict is still one.
    let error = registry
        .commit(&cx(), Revision(0), &[], &by("bob"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P301");
    assert!(
        error
            .message()
            .contains("revision 1 by ann (ann's change): unreadable changes"),
        "{error}"
    );
}

pub async fn missing_table_is_damage(backend: &Backend) {
    let registry = backend.open().await;
    backend.run("DROP TABLE objects").await;
    let error = registry.snapshot(&cx(), None).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "P303"));
    assert!(
        error.message().contains("lacks tables or columns"),
        "{error}"
    );
    // What failed half way was rolled back.
    let error = registry
        .commit(&cx(), Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P303");
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(0));
}

pub async fn check_tells_facts_and_leaves_no_trace(backend: &Backend) {
    let registry = backend.open().await;
    registry
        .commit(&cx(), Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
    let facts = registry.check(&cx()).await.unwrap().join("\n");
    let expected = match backend.scheme {
        "sqlite" => ["SQLite 3.", "journal mode wal"],
        _ => ["PostgreSQL 1", "encoding UTF8"],
    };
    for expected in expected {
        assert!(facts.contains(expected), "{facts}");
    }
    assert!(
        facts.ends_with("format 1, projects: 1, commits: 1"),
        "{facts}"
    );
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(1));
    let info = registry.info();
    assert_eq!(info.scheme, backend.scheme);
    assert!(!info.display_name.contains("s3cret"), "{info:?}");
    assert!(!format!("{registry:?}").contains("s3cret"), "{registry:?}");
}
