//! Who may call, and over which connections.

use std::collections::BTreeMap;
use std::path::PathBuf;

use provender_definitions::ServerConfig;
use provender_server::{Limits, Server};
use serde_json::{Value, json};
use tonic::codegen::http::Uri;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::support::*;

fn with_tokens() -> Setup {
    let mut setup = Setup::default();
    setup.config.tokens = Some(json!([
        {"env": "READ", "role": "read", "name": "models"},
        {"env": "WRITE", "role": "write"},
        {"file": "tls/admin.token", "role": "admin"},
    ]));
    setup.variables = BTreeMap::from([
        ("READ".to_owned(), "reading".to_owned()),
        ("WRITE".to_owned(), " writing \n".to_owned()),
    ]);
    setup
}

fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        let value = MetadataValue::try_from(token).unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

async fn tried(served: &Served, token: &str, what: &str) -> Result<(), Status> {
    let mut client = served.client().await;
    let command = online("plain", json!({"origin": ["JFK"]}));
    match what {
        "read" => {
            let answer = client.do_get(bearing(token, ticket(&command))).await?;
            batches_of(answer.into_inner()).await?;
        }
        "list" => {
            client
                .list_flights(bearing(token, arrow_flight::Criteria::default()))
                .await?
                .into_inner()
                .message()
                .await?;
        }
        "actions" => {
            client
                .list_actions(bearing(token, arrow_flight::Empty {}))
                .await?
                .into_inner()
                .message()
                .await?;
        }
        "push" => {
            let rows = batch(&[("since", hours_ago(&[1])), ("name", strings(&["winter"]))]);
            let sent = messages(
                &json!({"op": "push", "view": "season", "to": "online"}),
                vec![rows],
            )
            .await;
            client
                .do_put(bearing(token, futures::stream::iter(sent)))
                .await?
                .into_inner()
                .message()
                .await?;
        }
        "spine" => {
            let sent = messages(&json!({"op": "spine"}), vec![spine(1)]).await;
            client
                .do_put(bearing(token, futures::stream::iter(sent)))
                .await?
                .into_inner()
                .message()
                .await?;
        }
        action => {
            let body = if action == "plan" {
                json!({"files": {"features/all.yaml": DEFINITIONS}})
            } else {
                json!({})
            };
            let action = arrow_flight::Action::new(action, body.to_string());
            client
                .do_action(bearing(token, action))
                .await?
                .into_inner()
                .message()
                .await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_allows_what_it_says() {
    let served = with_tokens().serve().await;
    let all = [
        "read",
        "list",
        "actions",
        "spine",
        "plan",
        "status",
        "push",
        "materialize",
    ];
    for (token, n_allowed) in [
        ("Bearer reading", 6),
        ("bearer writing", 7),
        ("Bearer administering", 8),
    ] {
        for (at, what) in all.iter().enumerate() {
            let outcome = tried(&served, token, what).await;
            if at < n_allowed {
                outcome.unwrap_or_else(|status| panic!("{token} {what}: {status}"));
            } else {
                let status = outcome.unwrap_err();
                assert_status(
                    &status,
                    Code::PermissionDenied,
                    &["allows", "this call needs", "P706"],
                );
            }
        }
    }
    let status = tried(&served, "Bearer reading", "push").await.unwrap_err();
    assert!(
        status
            .message()
            .contains("the token \"models\" allows read, and this call needs write")
    );
    for (token, text) in [
        ("", "no bearer token"),
        ("Basic reading", "no bearer token"),
        ("Bearer", "no bearer token"),
        ("Bearer readin", "not known"),
        ("Bearer reading2", "not known"),
    ] {
        for what in all {
            let status = tried(&served, token, what).await.unwrap_err();
            assert_status(&status, Code::Unauthenticated, &[text, "P705"]);
            assert!(!status.message().contains("readin"));
        }
    }
    assert!(
        served
            .metric(
                "provender_errors_total{operation=\"other\",kind=\"unauthenticated\",code=\"P705\"}"
            )
            .await
            > 10.0
    );
    served.stop().await;
}

async fn bound(
    config: ServerConfig,
    variables: &[(&str, &str)],
) -> Result<Server, provender_core::Error> {
    let setup = Setup {
        config,
        ..Setup::default()
    };
    let (_, _, store) = setup.open(PathBuf::from(".")).await;
    let variables: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let read = move |name: &str| variables.get(name).cloned();
    Server::bind(store, Limits::default(), &read).await
}

fn config(flight: &str, tokens: Value) -> ServerConfig {
    ServerConfig {
        flight: flight.to_owned(),
        tokens: (!tokens.is_null()).then_some(tokens),
        ..ServerConfig::default()
    }
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_served() {
    for address in ["127.0.0.1:0", "localhost:0"] {
        bound(config(address, Value::Null), &[]).await.unwrap();
    }
    let error = bound(config("0.0.0.0:0", Value::Null), &[])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P203");
    assert!(
        error.message().contains("server.tokens is not set"),
        "{error}"
    );
    assert!(error.help_text().unwrap().contains("allow_unauthenticated"));
    let mut open = config("0.0.0.0:0", Value::Null);
    open.allow_unauthenticated = Some(true);
    bound(open, &[]).await.unwrap();
    let token = json!([{"env": "T", "role": "read"}]);
    bound(config("0.0.0.0:0", token), &[("T", "x")])
        .await
        .unwrap();
}

#[tokio::test]
async fn tokens_that_are_not_there_are_told_by_their_place() {
    for (tokens, code, text) in [
        (
            json!([{"env": "NO", "role": "read"}]),
            "P202",
            "server.tokens[0] refers to the variable NO",
        ),
        (
            json!([{"file": "no.token", "role": "read"}]),
            "P203",
            "no.token cannot be read",
        ),
        (
            json!([{"env": "EMPTY", "role": "read"}]),
            "P203",
            "the token is empty",
        ),
        (
            json!([{"role": "read"}]),
            "P203",
            "needs one of `env` and `file`",
        ),
        (json!([{"env": "T", "role": "root"}]), "P203", "root"),
        (
            json!([{"token": "secret", "role": "read"}]),
            "P203",
            "token",
        ),
        (json!("x"), "P203", "server.tokens"),
    ] {
        let error = bound(config("127.0.0.1:0", tokens), &[("T", "x"), ("EMPTY", " ")])
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(text), "{error}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let error = bound(config(&taken, Value::Null), &[]).await.unwrap_err();
    assert_eq!(error.code(), "P707");
    assert!(error.message().contains(&taken), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_its_own_encrypts_the_port() {
    let mut setup = Setup::default();
    let files = [("cert", "tls/server.pem"), ("key", "tls/server.key")];
    setup.config.tls = Some(
        files
            .map(|(key, file)| (key.to_owned(), json!(file)))
            .into_iter()
            .collect(),
    );
    let served = setup.serve().await;
    let pem = include_str!("tls/server.pem");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem))
        .domain_name("localhost");
    let uri: Uri = format!("https://{}", served.address).parse().unwrap();
    let channel: Channel = Endpoint::from(uri)
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let rows = get(
        &mut Client::new(channel),
        online("plain", json!({"origin": ["JFK"]})),
    )
    .await
    .unwrap();
    assert_eq!(text(&rows, "alt"), ["13"]);
    // Plain text is not answered.
    let plain = Endpoint::new(format!("http://{}", served.address))
        .unwrap()
        .connect()
        .await;
    if let Ok(channel) = plain {
        get(
            &mut Client::new(channel),
            online("plain", json!({"origin": []})),
        )
        .await
        .unwrap_err();
    }
    served.stop().await;
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    for (tls, text) in [
        (
            json!({"cert": "no.pem", "key": "tls/server.key"}),
            "server.tls.cert: the file no.pem",
        ),
        (json!({"cert": "tls/server.pem"}), "key"),
        (
            json!({"cert": "tls/server.pem", "key": "tls/server.key", "ca": "x"}),
            "ca",
        ),
    ] {
        let mut config = config("127.0.0.1:0", Value::Null);
        config.tls = tls.as_object().cloned();
        let error = bound(config, &[]).await.unwrap_err();
        assert_eq!(error.code(), "P203");
        assert!(error.message().contains(text), "{error}");
    }
}
