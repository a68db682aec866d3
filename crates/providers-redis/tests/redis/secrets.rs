//! Secrets are planted wherever one can be given, and then looked for in everything that is said.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use provender_core::provider::{OnlineStore, Provider, ProviderConfig, Providers, Resources};
use provender_core::{Context, Error};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::servers::{Certificates, Server};
use crate::support::{keys, layout, reader, row, try_write};

/// What no text may contain.
const CANARY: &str = "canary7f3a";

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn said(error: &Error) -> String {
    format!(
        "{error} {error:?} {:?} {:?} {:?}",
        error.help_text(),
        error.context_pairs(),
        error.causes()
    )
}

/// Opens a store as a project does, calls it, and answers everything that was said meanwhile.
async fn everything_said(options: Value) -> String {
    let mut texts = Vec::new();
    let Value::Object(options) = options else {
        panic!("options are an object");
    };
    let config = ProviderConfig {
        scheme: "redis".to_owned(),
        block: "online_store".to_owned(),
        options: options.clone(),
        base_path: "/nowhere".into(),
        resources: Resources::default(),
    };
    texts.push(format!("{config:?}"));
    let cx = Context::new("p").with_timeout(Duration::from_secs(3));
    let mut providers = Providers::default();
    providers.register(provender_providers_redis::factory());
    if let Err(error) = providers.open_online(&cx, config).await {
        texts.push(said(&error));
    }
    let parsed = serde_json::from_value::<provender_providers_redis::RedisConfig>(Value::Object(
        options.clone(),
    ));
    match parsed {
        Ok(parsed) => texts.push(format!("{parsed:?} {parsed:#?}")),
        // Serde's own message of a value of a wrong type is not ours to change; ours go through the factory.
        Err(_) => return texts.join("\n"),
    }
    match provender_providers_redis::RedisOnlineStore::from_options(Value::Object(options)) {
        Err(error) => texts.push(said(&error)),
        Ok(store) => {
            texts.push(format!("{store:?} {store:#?}"));
            let layout = layout("v");
            let reader = reader(&store, &layout).await;
            let read = reader.read(&cx, &keys(&layout, &["a".to_owned()])).await;
            let written = try_write(&cx, &store, &layout, &[row("a", 1)]).await;
            let errors = [
                read.err(),
                written.err(),
                store.views(&cx).await.err(),
                store.check(&cx).await.err(),
                store.drop_view(&cx, &layout.view_version()).await.err(),
            ];
            texts.extend(errors.iter().flatten().map(said));
        }
    }
    texts.join("\n")
}

// What other tests log meanwhile is looked through as well.
#[tokio::test]
async fn secrets_appear_nowhere() {
    let log = Log::default();
    // For the whole process, so that crates which log in the older way are heard too.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .init();

    let folder = tempfile::tempdir().unwrap();
    // The name of a folder is no secret of itself; what lies in its files is.
    let certificates = Certificates::make(folder.path(), "tls");
    let broken = folder.path().join("broken.key");
    std::fs::write(
        &broken,
        format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"),
    )
    .unwrap();
    let server = Server::start_with(&["--requirepass", "right-one"]);
    let port = server.port();
    let ca = certificates.file("ca.crt");
    let cert = certificates.file("client.crt");
    let (_tls_server, tls_port) = certificates.start_server(true, &[]);
    let mut all = String::new();
    let cases = [
        // Refused by the server.
        json!({"url": format!("redis://:{CANARY}@127.0.0.1:{port}")}),
        json!({"url": format!("redis://someone:{CANARY}@127.0.0.1:{port}/2")}),
        json!({"url": format!("redis://127.0.0.1:{port}"), "username": "u", "password": CANARY}),
        // Nobody there.
        json!({"url": format!("redis://:{CANARY}@127.0.0.1:1")}),
        json!({"url": format!("redis://:{CANARY}@no-such-host.invalid:6379"), "connect_timeout": "300ms"}),
        json!({"urls": [format!("redis://:{CANARY}@127.0.0.1:1")], "mode": "cluster", "password": CANARY}),
        json!({"urls": [format!("redis://:{CANARY}@127.0.0.1:{port}")], "password": CANARY,
            "sentinel": {"master": "m", "username": "u", "password": CANARY}}),
        // Wrong before anything is connected.
        json!({"url": format!("redis://:{CANARY}@127.0.0.1:{port}/not-a-number")}),
        json!({"url": format!("redis://:{CANARY}@127.0.0.1:99999")}),
        json!({"url": format!("http://:{CANARY}@127.0.0.1:{port}")}),
        json!({"url": format!("://{CANARY}")}),
        json!({"url": format!("redis://:{CANARY}@127.0.0.1:{port}"), "prefix": "*"}),
        json!({"url": format!("redis://:{CANARY}@127.0.0.1:{port}?timeout={CANARY}")}),
        // Certificates.
        json!({"url": format!("rediss://:{CANARY}@localhost:{tls_port}"), "tls": {"ca": ca, "cert": cert, "key": broken}}),
        json!({"url": format!("rediss://:{CANARY}@localhost:{tls_port}"), "tls": {"ca": ca}}),
        json!({"url": format!("rediss://:{CANARY}@localhost:{tls_port}"), "tls": {"ca": "/nowhere/ca.crt"}}),
        json!({"url": format!("rediss://:{CANARY}@localhost:{tls_port}"),
            "tls": {"ca": ca, "cert": cert, "key": certificates.file("client.key")}}),
    ];
    for case in cases {
        let shown = case.to_string().replace(CANARY, "...");
        let said = everything_said(case).await;
        assert!(!said.is_empty());
        assert!(!said.contains(CANARY), "{shown}: {said}");
        all.push_str(&said);
    }
    // The private key of the client, of which no line may be shown either.
    let key = std::fs::read_to_string(certificates.file("client.key")).unwrap();
    let secret_line = key.lines().nth(1).unwrap();
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for text in [&all, &logged] {
        assert!(!text.contains(CANARY), "{text}");
        assert!(!text.contains(secret_line), "{text}");
        assert!(!text.contains("right-one"), "{text}");
    }
}
