//! Logging in: every way, what is refused, and that no secret is ever shown.

use std::process::Command;

use provender_core::request::SourceRef;
use serde_json::{Map, Value, json};

use crate::support::*;

/// Options without a way to log in.
fn bare(url: &str) -> Map<String, Value> {
    let mut options = options(url, &json!({}));
    options.remove("password");
    options
}

fn openssl(folder: &std::path::Path, arguments: &[&str]) -> bool {
    let ran = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output();
    ran.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn key_pairs_encrypted_or_not_log_in() {
    let Some(url) = stand_in() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let is_made = openssl(path, &["genrsa", "-out", "raw.pem", "2048"])
        && openssl(
            path,
            &[
                "pkcs8", "-topk8", "-nocrypt", "-in", "raw.pem", "-out", "plain.p8",
            ],
        )
        && openssl(
            path,
            &["rsa", "-in", "raw.pem", "-pubout", "-out", "public.pem"],
        );
    if !is_made {
        assert!(std::env::var_os("CI").is_none(), "openssl makes no keys");
        println!("skipped: openssl makes no keys");
        return;
    }
    for (cipher, file) in [("des3", "des3.p8"), ("aes256", "aes.p8")] {
        let arguments = [
            "pkcs8",
            "-topk8",
            "-v2",
            cipher,
            "-in",
            "raw.pem",
            "-out",
            file,
            "-passout",
            "pass:passphrase-canary",
        ];
        assert!(openssl(path, &arguments), "{cipher}");
    }
    let public = std::fs::read_to_string(path.join("public.pem")).unwrap();
    tell("key", json!({"user": "keyed", "pem": public})).await;
    for file in ["plain.p8", "des3.p8", "aes.p8"] {
        let mut options = bare(url);
        options.insert("user".to_owned(), "keyed".into());
        options.insert(
            "private_key_path".to_owned(),
            path.join(file).to_str().unwrap().into(),
        );
        options.insert(
            "private_key_passphrase".to_owned(),
            "passphrase-canary".into(),
        );
        let store = open_with(options.clone(), resources()).await.unwrap();
        let findings = store
            .check(&cx())
            .await
            .unwrap_or_else(|error| panic!("{file}: {error:?}"));
        assert!(findings[0].contains("TESTS.PUBLIC"), "{findings:?}");
        if file != "plain.p8" {
            options.insert("private_key_passphrase".to_owned(), "wrong-canary".into());
            let error = open_with(options.clone(), resources()).await.unwrap_err();
            assert!(
                error
                    .message()
                    .ends_with("cannot be decrypted with private_key_passphrase"),
                "{error}"
            );
            options.remove("private_key_passphrase");
            let error = open_with(options, resources()).await.unwrap_err();
            assert!(
                error
                    .message()
                    .ends_with("is encrypted, and private_key_passphrase is not set"),
                "{error}"
            );
        }
    }
    // The key of somebody else.
    assert!(openssl(
        path,
        &["genpkey", "-algorithm", "RSA", "-out", "other.p8"]
    ));
    let mut options = bare(url);
    options.insert("user".to_owned(), "keyed".into());
    options.insert(
        "private_key_path".to_owned(),
        path.join("other.p8").to_str().unwrap().into(),
    );
    let store = open_with(options, resources()).await.unwrap();
    let error = store.check(&cx()).await.unwrap_err();
    assert_eq!(error.code(), "P530");
    assert!(error.to_string().contains("RSA_PUBLIC_KEY"), "{error}");
}

#[tokio::test]
async fn tokens_log_in_and_are_refused_by_name() {
    let Some(url) = stand_in() else { return };
    for (option, good, code) in [
        ("oauth_token", "oauth-canary-token", "390318"),
        ("access_token", "pat-canary-token", "394400"),
        ("password", "password-canary", "390100"),
    ] {
        let mut options = bare(url);
        options.insert(option.to_owned(), good.into());
        if option == "oauth_token" {
            options.remove("user");
        }
        let store = open_with(options.clone(), resources()).await.unwrap();
        store
            .check(&cx())
            .await
            .unwrap_or_else(|error| panic!("{option}: {error:?}"));
        options.insert(option.to_owned(), "wrong-canary".into());
        let store = open_with(options, resources()).await.unwrap();
        let error = store.check(&cx()).await.unwrap_err();
        assert_eq!(error.code(), "P530", "{option}");
        assert!(
            error.context_pairs().iter().any(|(_, value)| value == code),
            "{error:?}"
        );
        assert!(
            !format!("{error:?} {error} {:?}", error.causes()).contains("canary"),
            "{error:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "oauth-canary-token\n").unwrap();
    let mut options = bare(url);
    options.insert("oauth_token_path".to_owned(), file.to_str().unwrap().into());
    let store = open_with(options, resources()).await.unwrap();
    store.check(&cx()).await.unwrap();
}

#[tokio::test]
async fn sessions_are_told_their_place_utc_the_query_tag_and_more() {
    let Some(url) = stand_in() else { return };
    let name = unique("session");
    let tag = json!({"name": name});
    let mut options = options(url, &tag);
    let more = json!({"STATEMENT_TIMEOUT_IN_SECONDS": 600, "JSON_INDENT": 2});
    options.insert("session_parameters".to_owned(), more);
    options.insert("database".to_owned(), "\"Mixed\"".into());
    let store = open_with(options, resources()).await.unwrap();
    store.check(&cx()).await.unwrap();
    let login = state(&name).await["login"].clone();
    assert_eq!(login["roleName"], "TESTER");
    assert_eq!(login["warehouse"], "TEST_WH");
    assert_eq!(login["databaseName"], "\"Mixed\"");
    assert_eq!(login["schemaName"], "PUBLIC");
    let parameters = &login["parameters"];
    assert_eq!(parameters["TIMEZONE"], "UTC");
    assert_eq!(parameters["QUERY_TAG"], tag.to_string());
    assert_eq!(parameters["ABORT_DETACHED_QUERY"], true);
    assert_eq!(parameters["STATEMENT_TIMEOUT_IN_SECONDS"], 600);
    assert_eq!(parameters["JSON_INDENT"], 2);
}

#[tokio::test]
async fn contradicting_options_are_told() {
    let url = "http://127.0.0.1:9";
    for (change, message) in [
        (
            json!({}),
            "offline_store (type snowflake): there is nothing to log in with",
        ),
        (
            json!({"password": "a-canary", "access_token": "b-canary"}),
            "offline_store (type snowflake): password and access_token are given together",
        ),
        (
            json!({"password": "a-canary", "user": ""}),
            "offline_store (type snowflake): password needs a user",
        ),
        (
            json!({"private_key": "canary"}),
            "offline_store (type snowflake): private_key is not PEM: it should start with -----BEGIN PRIVATE KEY-----",
        ),
        (
            json!({"password": "canary", "endpoint": "https://u:canary@host"}),
            "offline_store (type snowflake): endpoint holds a user or password, which belong into options of their own",
        ),
        (
            json!({"password": "canary", "account": "my org/x"}),
            "offline_store (type snowflake): account \"my org/x\" is no account identifier",
        ),
    ] {
        let mut options = bare(url);
        options.extend(change.as_object().unwrap().clone());
        let error = open_with(options, resources()).await.unwrap_err();
        assert_eq!(error.code(), "P203");
        assert_eq!(error.message(), message);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn no_secret_is_shown() {
    let Some(url) = stand_in() else { return };
    let config: provender_providers_snowflake::SnowflakeConfig = serde_json::from_value(json!({
        "account": "a", "database": "d", "user": "u", "password": "password-canary",
        "private_key": "key-canary", "private_key_passphrase": "passphrase-canary",
        "oauth_token": "oauth-canary", "access_token": "pat-canary",
    }))
    .unwrap();
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    let store = open_with(
        options(url, &json!({"unavailable": 100, "name": unique("secret")})),
        resources(),
    )
    .await
    .unwrap();
    assert!(!format!("{store:?} {:?}", store.info()).contains("canary"));
    let error = store
        .schema(&cx(), &SourceRef::table("nothing"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P503");
    assert!(
        !format!("{error:?} {:?}", error.causes()).contains("canary"),
        "{error:?}"
    );
}
