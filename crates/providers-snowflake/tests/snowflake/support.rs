use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use provender_conformance::Table;
use provender_core::model::Relation;
use provender_core::provider::{OfflineStore, ProviderConfig, Providers, Resources};
use provender_core::request::{OfflineWrite, Scan, SourceRef, WriteMode, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result};
use serde_json::{Map, Value, json};

pub use crate::stand_in::StandIn;

static STAND_IN: OnceLock<Option<StandIn>> = OnceLock::new();

/// The address of the stand-in that all tests share, or a printed line that says why there is none.
pub fn stand_in() -> Option<&'static str> {
    if Account::named().is_some() {
        println!("skipped: this needs the stand-in, and an account is named");
        return None;
    }
    STAND_IN
        .get_or_init(|| StandIn::snowflake(&["--history"]))
        .as_ref()
        .map(|it| it.url.as_str())
}

/// A name that no other test of this or another run has.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}_{}_{next}", std::process::id())
}

pub fn cx() -> Context {
    Context::new("test").with_timeout(std::time::Duration::from_secs(60))
}

/// Options of the stand-in's only user.
pub fn options(url: &str, tag: &Value) -> Map<String, Value> {
    let options = json!({
        "account": "test-account",
        "endpoint": url,
        "user": "tester",
        "password": "password-canary",
        "role": "TESTER",
        "warehouse": "TEST_WH",
        "database": "TESTS",
        "schema": "PUBLIC",
        "time_travel": false,
        "query_tag": tag.to_string(),
    });
    options.as_object().unwrap().clone()
}

pub async fn open_with(
    options: Map<String, Value>,
    resources: Resources,
) -> Result<Arc<dyn OfflineStore>> {
    let mut providers = Providers::default();
    providers.register(provender_providers_snowflake::factory());
    let config = ProviderConfig {
        scheme: "snowflake".to_owned(),
        block: "offline_store".to_owned(),
        options,
        base_path: PathBuf::from("."),
        resources,
    };
    providers.open_offline(&cx(), config).await
}

pub fn resources() -> Resources {
    Resources {
        memory_limit_bytes: 256 << 20,
        spill_path: None,
        n_threads: 2,
    }
}

/// A store whose sessions are answered as the tag says (see the stand-in); `None` if there is no stand-in.
pub async fn open(tag: Value) -> Option<Arc<dyn OfflineStore>> {
    let url = stand_in()?;
    Some(open_with(options(url, &tag), resources()).await.unwrap())
}

/// Where a rule is checked.
#[derive(Clone)]
pub enum Account {
    /// The stand-in.
    StandIn(&'static str),
    /// The account that the environment names, with the options for it.
    Real(Map<String, Value>),
}

impl Account {
    /// Where rules are checked: on the named account, else on the stand-in.
    pub fn under_test() -> Option<Self> {
        Self::named().or_else(|| stand_in().map(Self::StandIn))
    }

    /// The account that `PROVENDER_TEST_SNOWFLAKE_*` name; `None` without `PROVENDER_TEST_SNOWFLAKE_ACCOUNT`.
    pub fn named() -> Option<Self> {
        let mut options = Map::new();
        for name in [
            "account",
            "user",
            "password",
            "private_key_path",
            "private_key_passphrase",
            "oauth_token",
            "access_token",
            "role",
            "warehouse",
            "database",
            "schema",
            "endpoint",
            "proxy",
        ] {
            let variable = format!("PROVENDER_TEST_SNOWFLAKE_{}", name.to_uppercase());
            if let Ok(value) = std::env::var(variable) {
                options.insert(name.to_owned(), value.into());
            }
        }
        if !options.contains_key("account") {
            return None;
        }
        assert!(
            options.contains_key("schema"),
            "PROVENDER_TEST_SNOWFLAKE_SCHEMA names a schema for the tests alone"
        );
        Some(Self::Real(options))
    }

    /// Options for it; the tag is for the stand-in.
    pub fn options(&self, tag: &Value) -> Map<String, Value> {
        match self {
            Self::StandIn(url) => options(url, tag),
            Self::Real(options) => options.clone(),
        }
    }

    /// Runs statements in a session of another client; `false` if it cannot log in there.
    pub async fn run(&self, statements: &[String]) -> bool {
        run_as_another(&self.options(&json!({})), statements).await
    }

    /// An option as Snowflake reads names that are not in quotes.
    pub fn upper(&self, option: &str) -> String {
        let options = self.options(&json!({}));
        options[option].as_str().unwrap().to_uppercase()
    }

    pub async fn open(&self, tag: Value) -> Arc<dyn OfflineStore> {
        open_with(self.options(&tag), resources()).await.unwrap()
    }
}

/// What the stand-in says has happened under a name.
pub async fn state(name: &str) -> Value {
    let url = format!("{}/standin/state?name={name}", stand_in().unwrap());
    let answer = reqwest::get(url).await.unwrap();
    answer.json().await.unwrap()
}

/// Tells the stand-in something.
pub async fn tell(path: &str, body: Value) {
    let url = format!("{}/standin/{path}", stand_in().unwrap());
    let sent = reqwest::Client::new().post(url).json(&body).send().await;
    assert!(sent.unwrap().status().is_success());
}

/// Runs a statement as another client of the stand-in would.
pub async fn sql(statement: &str) {
    let options = options(stand_in().unwrap(), &json!({}));
    assert!(run_as_another(&options, &[statement.to_owned()]).await);
}

/// Runs statements in a session of a client that is not ours; `false` and a printed line if the options log in
/// by a way that this one does not know.
async fn run_as_another(options: &Map<String, Value>, statements: &[String]) -> bool {
    let text = |name: &str| {
        options
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut data = json!({
        "ACCOUNT_NAME": text("account"), "LOGIN_NAME": text("user"), "PASSWORD": text("password"),
        "CLIENT_APP_ID": "Go", "CLIENT_APP_VERSION": "1.6.22", "SESSION_PARAMETERS": {},
    });
    let tokens = [
        ("oauth_token", "OAUTH"),
        ("access_token", "PROGRAMMATIC_ACCESS_TOKEN"),
    ];
    match tokens
        .iter()
        .find(|(option, _)| options.contains_key(*option))
    {
        Some((option, way)) => {
            data["AUTHENTICATOR"] = json!(way);
            data["TOKEN"] = json!(text(option));
        }
        None if text("password").is_empty() => {
            println!("skipped: tables of every type are made by a client that knows no key pairs");
            return false;
        }
        None => {}
    }
    let base = match text("endpoint") {
        "" => format!("https://{}.snowflakecomputing.com", text("account")),
        url if url.contains("://") => url.to_owned(),
        host => format!("https://{host}"),
    };
    let client = reqwest::Client::new();
    let ask = async |path: &str, query: &[(&str, &str)], token: &str, body: Value| -> Value {
        let id = uuid::Uuid::new_v4().to_string();
        let sent = client
            .post(format!("{base}{path}"))
            .query(query)
            .query(&[("requestId", id)])
            .header("accept", "application/snowflake")
            .header("authorization", format!("Snowflake Token=\"{token}\""))
            .json(&body)
            .send()
            .await;
        sent.unwrap().json().await.unwrap()
    };
    let place = [
        ("databaseName", text("database")),
        ("schemaName", text("schema")),
        ("warehouse", text("warehouse")),
        ("roleName", text("role")),
    ];
    let place: Vec<(&str, &str)> = place.into_iter().filter(|(_, it)| !it.is_empty()).collect();
    let login = ask(
        "/session/v1/login-request",
        &place,
        "",
        json!({"data": data}),
    )
    .await;
    let token = login["data"]["token"].as_str().unwrap().to_owned();
    for statement in statements {
        let answer = ask(
            "/queries/v1/query-request",
            &[],
            &token,
            json!({"sqlText": statement}),
        )
        .await;
        assert_eq!(answer["success"], json!(true), "{statement}: {answer}");
    }
    true
}

pub fn request(table: &str, mode: WriteMode) -> OfflineWrite {
    OfflineWrite {
        table: table.to_owned(),
        mode,
        partition_by: Vec::new(),
        id: None,
    }
}

pub async fn append(
    store: &dyn OfflineStore,
    table: &str,
    rows: RecordBatch,
) -> Result<WriteSummary> {
    let stream = BatchStream::from_batches(rows.schema(), vec![rows]);
    store
        .write(&cx(), request(table, WriteMode::Append), stream)
        .await
}

pub fn query(sql: &str) -> SourceRef {
    SourceRef {
        relation: Relation::Query(sql.to_owned()),
        filter: None,
        version: None,
    }
}

pub fn all(source: SourceRef) -> Scan {
    Scan {
        source,
        columns: None,
        ranges: Vec::new(),
    }
}

pub async fn read(store: &dyn OfflineStore, scan: Scan) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    let mut schema = None;
    for stream in store.scan(&cx(), scan).await? {
        schema = Some(stream.schema.clone());
        batches.extend(stream.collect().await?);
    }
    let table = Table {
        schema: schema.expect("a stream"),
        batches,
    };
    Ok(table.one_batch().unwrap())
}

pub async fn failure(store: &dyn OfflineStore, scan: Scan) -> Error {
    read(store, scan).await.expect_err("should fail")
}

pub async fn n_rows(store: &dyn OfflineStore, table: &str) -> usize {
    read(store, all(SourceRef::table(table)))
        .await
        .unwrap()
        .num_rows()
}
