//! What only a server can meet: logins, rights, absence, restarts.

use std::time::{Duration, Instant};

use provender_core::provider::{ProviderConfig, Revision};
use provender_core::{Error, ErrorKind};

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::common::postgres::{PASSWORD, Postgres};
use crate::common::{Backend, by, cx, open, put, server};

fn config(url: &str) -> ProviderConfig {
    let mut config = Backend::sqlite().config();
    config.scheme = "postgres".to_owned();
    config.options = serde_json::Map::from_iter([("url".to_owned(), url.into())]);
    config
}

/// Opening fails, and no text of the error holds the password.
async fn refusal(url: &str) -> Error {
    let error = open(config(url)).await.unwrap_err();
    for text in [format!("{error:?}"), format!("{:?}", error.causes())] {
        assert!(
            !text.contains("hunter2") && !text.contains(PASSWORD),
            "{text}"
        );
    }
    error
}

#[tokio::test]
async fn nobody_listening_is_told_at_once() {
    let started = Instant::now();
    // Port 1 of the loopback interface is nobody's.
    let error = refusal("postgres://ann:hunter2@127.0.0.1:1/features").await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "P304")
    );
    assert!(
        error.message().starts_with(
            "the PostgreSQL registry 127.0.0.1:1/features (schema provender) cannot be reached \
             (Connection refused"
        ),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn silent_server_is_given_up_by_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let config = config(&format!("postgres://ann:hunter2@127.0.0.1:{port}/features"));
    let factory = provender_providers_registry::postgres_factory();
    let cx = cx().with_timeout(Duration::from_millis(300));
    let error = factory
        .open_registry(&cx, config.clone())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::DeadlineExceeded, "P905")
    );

    let started = Instant::now();
    let error = factory
        .open_registry(&crate::common::cx(), config)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "P304")
    );
    assert!(
        error
            .message()
            .ends_with("did not accept a connection within 10 s"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn wrong_password_and_missing_database_are_told() {
    let Some(server) = server() else { return };
    let error = refusal(&server.url_as("provender", "hunter2")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unauthenticated, "P304")
    );
    assert!(error.message().contains("refused the login"), "{error}");
    assert!(!error.is_retryable());

    let error = refusal(&server.url().replace("/postgres", "/nowhere")).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "P304"));
    assert!(error.message().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn missing_rights_are_told() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    backend.open().await;
    backend.run("CREATE USER reader PASSWORD 'hunter2'").await;
    let mut config = backend.config();
    let url = server().unwrap().url_as("reader", "hunter2");
    config.options.insert("url".to_owned(), url.into());
    let error = open(config.clone()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::PermissionDenied, "P304")
    );
    assert!(
        error
            .message()
            .ends_with("denies its user the right to use its schema"),
        "{error}"
    );

    let schema = config.options["schema"].as_str().unwrap();
    let grant = format!(
        "GRANT USAGE ON SCHEMA {schema} TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader"
    );
    backend.run(&grant).await;
    let reader = open(config.clone()).await.unwrap();
    assert_eq!(reader.revision(&cx()).await.unwrap(), Revision(0));
    let error = reader
        .commit(&cx(), Revision(0), &[], &by("ann"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::PermissionDenied, "P304")
    );
    let error = reader.check(&cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn connections_that_the_server_closed_are_replaced() {
    // A server of its own, whose connections are nobody else's.
    let Some(server) = Postgres::start() else {
        return;
    };
    let registry = open(config(&server.url())).await.unwrap();
    registry.revision(&cx()).await.unwrap();
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    for base in 0..5 {
        let close = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'provender'";
        other.execute(close).await.unwrap();
        let changes = [put("a", 1, base)];
        let made = registry
            .commit(&cx(), Revision(base), &changes, &by("ann"))
            .await;
        assert_eq!(made.unwrap(), Revision(base + 1));
    }
}

#[tokio::test]
async fn many_may_open_an_empty_database_at_once() {
    let Some(backend) = Backend::postgres() else {
        return;
    };
    let opened = (0..12).map(|_| backend.try_open());
    for registry in futures::future::join_all(opened).await {
        assert_eq!(
            registry.unwrap().revision(&cx()).await.unwrap(),
            Revision(0)
        );
    }
}

#[tokio::test]
async fn stopped_server_is_told() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let registry = open(config(&server.url())).await.unwrap();
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(0));
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .unwrap();
    let error = registry
        .commit(&cx(), Revision(0), &[], &by("ann"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "P304")
    );
    assert!(error.is_retryable());
    assert!(error.message().contains("cannot be reached"), "{error}");
}
